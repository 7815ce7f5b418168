"""Attention without projections."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

from graphspec.contract.input_checks import known_channels, need_rank
from graphspec.contract.layer import (
    Code,
    Example,
    Layer,
    LayerError,
    Leaf,
    ModuleCall,
    Site,
    Weight,
)
from graphspec.contract.stepping import PLACES
from graphspec.contract.streaming import Roles, Streaming, whole
from graphspec.contract.variance_scaling import GlorotUniform
from graphspec.diagnostics.foreign_terms import ARGUMENTS
from graphspec.layers.attention_masks import (
    TENSORS,
    WORDS,
    Attending,
    Rate,
    expanded,
    need_attention,
    stream_to_memory,
)
from graphspec.tensor import Dim, Tensor
from graphspec.traced import float_of


class Scoring(Attending, abstract=True):
    """The base of attention without projections."""

    synonyms = WORDS
    arguments = TENSORS
    call_arguments = ("return_attention_scores", "use_causal_mask")

    if TYPE_CHECKING:  # fields of the subclasses, which list all of their fields in Keras' order
        use_scale: bool
        dropout: Rate
        return_attention_scores: bool
        use_causal_mask: bool

    def infer(
        self,
        query: Tensor,
        value: Tensor,
        key: Tensor | None = None,
        query_mask: Tensor | None = None,
        value_mask: Tensor | None = None,
    ) -> Tensor | tuple[Tensor, ...]:
        need_rank(query, 3, layer=self.spec_name, shape="[length, features]")
        masks = {"query_mask": (query_mask, query), "value_mask": (value_mask, value)}
        batch = need_attention(self.spec_name, query, value, key, masks)
        scored = value if key is None else key
        if query.shape[-1] != scored.shape[-1]:
            position = 1 if key is None else 2
            raise LayerError(
                "shapes-differ",
                f"{self.spec_name} compares queries with keys of equally many features, "
                f"and {{input0}} is {query}, {{input{position}}} {scored}",
                help="a Dense layer before it changes the number of features",
                inputs=(0, position),
            )
        output = query.with_shape(batch, query.shape[1], value.shape[2])
        scores = query.with_shape(batch, query.shape[1], value.shape[1])
        return (output, scores) if self.return_attention_scores else output

    def module(self, features: int) -> ModuleCall:
        """The construction of its module, for queries of `features`."""
        raise TypeError(f"{type(self).__name__} says no module")

    def stream(self, site: Site, roles: tuple[Any, ...]) -> Streaming | None:
        query, value, key = roles[0], roles[1], roles[2] if len(roles) > 2 else None
        moving = any(each is not None and any(each) for each in (value, key))
        if moving and not self.use_causal_mask:
            return whole("attends to all steps", "write `use_causal_mask: true`")
        if query[1:] != ("new", None):
            return None
        of_queries, of_values = (*roles[3:], None, None)[:2]
        if not moving:
            return stream_to_memory(
                [(of_queries, 1), (of_values, None)], self.use_causal_mask, query, (None, "new", None)
            )
        keys: list[Roles] = [(), (None, "new", None), (None, "new", None), (), (None, "new")]
        demands = [place for place, each in enumerate(roles) if each and each == keys[place]]
        return Streaming("keys", (query, None), tuple(demands), step=StepScores(of=self))

    def code(self, site: Site) -> Code:
        construct = self.module(known_channels(site.x, layer=self.spec_name, what="features"))
        batch = site.outputs[0].shape[0]
        tensors = {argument.name: x for argument, x in zip(self.arguments, site.inputs, strict=True)}
        named = {word: x for word in ("query", "value", "key") if (x := tensors[word]) is not None}
        full = next(word for word, x in named.items() if x.shape[0] == batch)
        parts = [expanded(word, x, batch, full) for word, x in named.items()]
        masks = ["{value_mask}[:, None]"] if tensors["value_mask"] is not None else []
        masks += ["causal_mask({query}, {value})"] if self.use_causal_mask else []
        parts += [f"mask={' & '.join(masks)}"] if masks else []
        parts += ["query_mask={query_mask}"] if tensors["query_mask"] is not None else []
        parts += ["return_scores=True"] if self.return_attention_scores else []
        return Code(f"{{self}}({', '.join(parts)})", construct)

    def flops(self, site: Site) -> Dim:
        query, value = site.inputs[:2]
        pairs = query.shape[1] * value.shape[1]
        flops: Dim = pairs * (self.score_flops(query.shape[2]) + 5 + 2 * value.shape[2])
        return flops

    def score_flops(self, features: Dim) -> Dim:
        """Operations for the score of one query and one key."""
        return 2 * features + self.use_scale


_SELF = ((6, 5), (6, 5))


class Attention(Scoring):
    """Dot-product attention (Luong, 2015) of query and value [batch, length, features]; the key is the value.

    `score_mode: concat` scores by the sum of tanh(query + key) instead. Masks are boolean, [batch, length]:
    masked values are ignored, and masked queries give zeros.
    """

    remedies = {
        **ARGUMENTS,
        **dict.fromkeys(
            ("heads", "num_heads", "n_heads", "nhead"),
            "`MultiHeadAttention` has them: {layer: MultiHeadAttention, num_heads: VALUE:4, key_dim: ...}",
        ),
        **dict.fromkeys(
            ("dim", "units", "key_dim", "embed_dim"),
            "it has no weights: write {layer: MultiHeadAttention, num_heads: 4, key_dim: ...} for those",
        ),
    }

    use_scale: bool = False
    score_mode: Literal["dot", "concat"] = "dot"
    """How scores are computed: dot or concat."""
    dropout: Rate = 0.0
    seed: None = None
    return_attention_scores: bool = False
    use_causal_mask: bool = False

    examples = (Example({}, _SELF),)

    def weights(self, *inputs: Any) -> tuple[Weight, ...]:
        names = ["scale"] if self.use_scale else []
        names += ["concat_score_weight"] if self.score_mode == "concat" else []
        return tuple(Weight(name, (), name) for name in names)

    def module(self, features: int) -> ModuleCall:
        keyword: dict[str, tuple[Leaf, Leaf]] = {
            "scale": (self.use_scale, False),
            "dropout": (float_of(self.dropout), 0.0),
        }
        return ModuleCall("ConcatAttention" if self.score_mode == "concat" else "Attention", {}, keyword)

    def score_flops(self, features: Dim) -> Dim:
        if self.score_mode == "dot":
            return super().score_flops(features)
        return features * (7 + self.use_scale) + 1


class AdditiveAttention(Scoring):
    """Additive attention (Bahdanau, 2014) of query and value [batch, length, features]; the key is the value.

    Scores are the sum of tanh(query + key), weighted by feature with `use_scale`. Masks are boolean, [batch,
    length]: masked values are ignored, and masked queries give zeros.
    """

    use_scale: bool = True
    dropout: Rate = 0.0
    seed: None = None
    return_attention_scores: bool = False
    use_causal_mask: bool = False

    examples = (Example({}, _SELF),)

    def weights(self, *inputs: Any) -> tuple[Weight, ...]:
        features = known_channels(inputs[0], layer=self.spec_name, what="features")
        fill = GlorotUniform().vector_statement()
        return (Weight("scale", (features,), "scale", initializer=fill),) if self.use_scale else ()

    def module(self, features: int) -> ModuleCall:
        keyword: dict[str, tuple[Leaf, Leaf]] = {
            "scale": (self.use_scale, True),
            "dropout": (float_of(self.dropout), 0.0),
        }
        return ModuleCall("AdditiveAttention", {"features": features}, keyword)

    def score_flops(self, features: Dim) -> Dim:
        return features * (7 + self.use_scale)


class StepScores(Layer, abstract=True, spec_name="attention"):
    """Causal attention of new steps to all so far."""

    arguments = (*TENSORS, PLACES)

    of: Scoring

    def infer(self, *inputs: Any) -> Tensor:
        query, value = inputs[:2]
        return query.with_shape(*query.shape[:2], value.shape[2])  # type: ignore[no-any-return]

    def weights(self, *inputs: Any) -> tuple[Weight, ...]:
        return self.of.weights(*inputs[:5])

    def code(self, site: Site) -> Code:
        layer = self.of.model_copy(update={"return_attention_scores": False})
        code = layer.code(Site(site.inputs[:5], site.outputs))
        seen = "past({places}, {query}.shape[1], {value}.shape[1])[:, 0]"
        return replace(code, call=code.call.replace("causal_mask({query}, {value})", seen))

    def flops(self, site: Site) -> Dim:
        return self.of.flops(Site(site.inputs[:5], site.outputs))

"""Attention with several heads and projections: `MultiHeadAttention`, and the grouped variant."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from math import prod
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BeforeValidator

from graphspec.contract.broadcasting import example_axis, stretch
from graphspec.contract.fields import Positive, as_tuple
from graphspec.contract.initializers import Initializer, Zeros, need_fillable
from graphspec.contract.input_checks import known_channels, need_rank
from graphspec.contract.layer import (
    Argument,
    Build,
    Code,
    Example,
    Growth,
    Layer,
    LayerError,
    Leaf,
    ModuleCall,
    Opened,
    Site,
    Weight,
)
from graphspec.contract.penalties import Constraint, Regularizer
from graphspec.contract.random_initializers import Orthogonal
from graphspec.contract.stepping import PLACES
from graphspec.contract.streaming import LONGEST, Roles, StepState, Streaming, whole
from graphspec.contract.variance_scaling import GlorotUniform
from graphspec.layers.attention_masks import (
    TENSORS,
    WORDS,
    Attending,
    Rate,
    expanded,
    need_attention,
    need_boolean,
    stream_to_memory,
)
from graphspec.tensor import Dim, Tensor, product
from graphspec.traced import float_of

TENSORS_AND_MASKS = (
    *TENSORS,
    Argument("key_mask", required=False),
    Argument("attention_mask", required=False),
)


class Heads(Attending, abstract=True):
    """The base of attention with several heads: projections, masks, and the checks of a call."""

    synonyms = WORDS
    arguments = TENSORS_AND_MASKS
    call_arguments = ("use_causal_mask", "return_attention_scores")

    if TYPE_CHECKING:  # fields of the subclasses, which list all of their fields in Keras' order
        dropout: Rate
        use_bias: bool
        sliding_window: Positive | None
        flash_attention: bool | None
        kernel_initializer: Initializer
        bias_initializer: Initializer
        activity_regularizer: Regularizer | None
        use_gate: bool
        use_causal_mask: bool
        return_attention_scores: bool

    @property
    @abstractmethod
    def heads(self) -> tuple[int, int]:
        """The number of query heads, and of key and value heads."""

    @property
    @abstractmethod
    def sizes(self) -> tuple[int, int]:
        """The features of a head's key and value."""

    def output_features(self, query: Tensor) -> tuple[int, ...]:
        """The axes of the output that replace the query's features."""
        return (known_channels(query, layer=self.spec_name, what="features"),)

    def axes(self, rank: int) -> tuple[int, ...]:
        """The axes that attention runs along."""
        return (1,)

    def infer(
        self,
        query: Tensor,
        value: Tensor,
        key: Tensor | None = None,
        query_mask: Tensor | None = None,
        value_mask: Tensor | None = None,
        key_mask: Tensor | None = None,
        attention_mask: Tensor | None = None,
    ) -> Tensor | tuple[Tensor, ...]:
        masks = {"query_mask": (query_mask, query), "value_mask": (value_mask, value)}
        masks["key_mask"] = (key_mask, value if key is None else key)
        batch = need_attention(self.spec_name, query, value, key, masks)
        axes = self.axes(query.rank)
        others = [axis for axis in range(1, query.rank - 1) if axis not in axes]
        for axis in others:
            if query.shape[axis] != value.shape[axis]:
                raise LayerError(
                    "shapes-differ",
                    f"{self.spec_name} leaves axis {axis} alone, where {{input0}} and {{input1}} differ: "
                    f"{query} and {value}",
                    inputs=(0, 1),
                )
        self._need_arguments(axes)
        scores = query.with_shape(
            batch,
            *(query.shape[axis] for axis in others),
            self.heads[0],
            *(query.shape[axis] for axis in axes),
            *(value.shape[axis] for axis in axes),
        )
        if attention_mask is not None:
            tensors = (query, value, key, query_mask, value_mask, key_mask)
            self._need_mask(attention_mask, scores, len(axes), sum(x is not None for x in tensors))
        output = query.with_shape(batch, *query.shape[1:-1], *self.output_features(query))
        return (output, scores) if self.return_attention_scores else output

    def _need_arguments(self, axes: tuple[int, ...]) -> None:
        need_fillable(self, kernel_initializer=3, bias_initializer=1)
        if self.activity_regularizer is not None and (why := self.activity_regularizer.misfit(4)):
            raise LayerError("out-of-range", why, argument="activity_regularizer")
        queries, values = self.heads
        if queries % values:
            raise LayerError(
                "out-of-range",
                f"{values} heads of keys and values do not divide {queries} heads of queries",
                argument="num_key_value_heads",
            )
        if self.flash_attention and (self.dropout or self.return_attention_scores):
            other = "dropout" if self.dropout else "return_attention_scores"
            raise LayerError(
                "out-of-range",
                f"flash attention does not support `{other}`",
                help="leave `flash_attention` out: PyTorch chooses the fastest kernel itself",
                argument="flash_attention",
            )
        for argument in ("use_causal_mask", "sliding_window"):
            if getattr(self, argument) and len(axes) > 1:
                raise LayerError(
                    "out-of-range",
                    f"`{argument}` needs one order of places, and here attention runs over "
                    f"axes {' and '.join(map(str, axes))}",
                    argument=argument,
                )

    def _need_mask(self, mask: Tensor, scores: Tensor, axes: int, position: int) -> None:
        """Refuses an `attention_mask` whose sizes are not those of the scores.

        The mask may leave out the heads, and axes that attention does not run along.
        """
        need_boolean(self.spec_name, "attention_mask", mask, position)
        rows = scores.shape[-2 * axes :]
        fronts = (scores.shape[: -2 * axes], scores.shape[: -2 * axes - 1], scores.shape[:1])
        wanted = next((front for front in fronts if len(front) + len(rows) == mask.rank), None)
        if (
            wanted is None
            or any(stretch(a, b) != b for a, b in zip(mask.shape, (*wanted, *rows), strict=True))
            or (axes > 1 and mask.shape[-2 * axes :] != rows)
        ):
            raise LayerError(
                "shapes-differ",
                f"`attention_mask` of {self.spec_name} is {Tensor((scores.shape[0], *rows), 'bool')}, "
                f"and {{input{position}}} is {mask}",
                inputs=(position,),
            )

    def features(self, *inputs: Tensor | None) -> tuple[int, int, int]:
        """The features of query, value and key."""
        query, value, key = (
            known_channels(x, layer=self.spec_name, what="features") if x is not None else 0
            for x in inputs[:3]
        )
        return query, value, key or value

    def weights(self, *inputs: Any) -> tuple[Weight, ...]:
        query, value, key = self.features(*inputs)
        queries, others = self.heads
        size, width = self.sizes
        rows = [("query", query, queries, size), ("key", key, others, size)]
        rows += [("gate", query, queries, width)] if self.use_gate else []
        rows += [("value", value, others, width)]
        parameters = []
        for name, features, heads, each in rows:
            parameters += self._projection(name, name, (features,), (heads, each))
        shape = self.output_features(inputs[0])
        return (*parameters, *self._projection("output", "attention_output", (queries, width), shape))

    def fixed_by_inputs(self, *inputs: Any) -> object:
        """Its axes, those of its first inputs in Keras, too."""
        return self.axes(inputs[0].rank)

    def growth(self, old: Layer) -> Growth:
        """Scores are divided by the root of the size of a head; new features of a key are 0."""
        assert isinstance(old, Heads)
        return Growth({"query": (self.sizes[0] / old.sizes[0]) ** 0.5}, ("key",))

    def activities(self) -> dict[str, Regularizer]:
        """Keras penalizes what each projection gives."""
        if self.activity_regularizer is None:
            return {}
        gate = ("sigmoid",) if self.use_gate else ()
        return dict.fromkeys(("query", "key", *gate, "value", "output"), self.activity_regularizer)

    def _projection(
        self, name: str, keras: str, inputs: tuple[int, ...], outputs: tuple[int, ...]
    ) -> list[Weight]:
        """The weight of a Linear and its bias [*outputs]. In Keras the kernel is [*inputs, *outputs]."""
        order = (*range(len(inputs), len(inputs) + len(outputs)), *range(len(inputs)))
        rows, columns = prod(outputs), prod(inputs)
        blocks = rows // outputs[-1]
        kernel, bias = self.kernel_initializer.statement(), self.bias_initializer.unturned(len(outputs))
        apart = isinstance(self.kernel_initializer, Orthogonal) and blocks > 1
        if isinstance(self.kernel_initializer, Orthogonal) and apart:
            kernel = f"orthogonal_blocks_({{w}}, {blocks}, {self.kernel_initializer.gain!r})"
        shaped = len(outputs) > 1 and self.bias_initializer.uses_fans
        if shaped:
            bias = bias.replace("{w}", f"{{w}}.unflatten(0, {outputs!r})")
        shape, unmerged = (rows, columns), (*outputs, *inputs)
        weight = Weight(
            f"{name}.weight",
            shape,
            f"{keras}/kernel",
            order,
            initializer=kernel,
            unmerged=unmerged,
            particular=apart,
        )
        vector = Weight(
            f"{name}.bias", (rows,), f"{keras}/bias", initializer=bias, unmerged=outputs, particular=shaped
        )
        return [weight, vector] if self.use_bias else [weight]

    def stream(self, site: Site, roles: tuple[Any, ...]) -> Streaming | None:
        query, value, key = roles[0], roles[1], roles[2] if len(roles) > 2 else None
        moving = any(each is not None and any(each) for each in (value, key))
        masks = dict(zip(range(3, 7), (*roles[3:], None, None, None, None), strict=False))
        hidden = masks[6] is not None and masks[6][-1] == "nought"
        if moving and not self.use_causal_mask and not hidden:
            return whole("attends to all steps", "write `use_causal_mask: true`")
        if site.outputs[0].rank != 3 or query[1:] != ("new", None):
            return None
        if not moving:
            rows = {3: 1, 6: site.inputs[6].rank - 2 if masks[6] is not None else None}
            hides = self.use_causal_mask or self.sliding_window is not None
            scores: Roles = (None, None, "new", None)
            return stream_to_memory([(masks[n], rows.get(n)) for n in masks], hides, query, scores)
        if self.use_gate:
            return None
        if masks[6] is not None and (site.inputs[6].rank != 3 or masks[6][1] not in (None, "new")):
            return None
        demands = tuple(place for place in (4, 5, 6) if (masks[place] or ("",))[-1] == "new")
        (_, heads), (size, width) = self.heads, self.sizes
        keys = StepState("keys", (heads, LONGEST, size), site.x.dtype)
        values = StepState("values", (heads, LONGEST, width), site.x.dtype)
        return Streaming("keys", (query, None), demands, StepHeads(of=self), (keys, values))

    def opened(self, *arguments: Any) -> Opened | None:
        query, value, key, of_queries, _, *others = (*arguments, *[None] * 7)[:7]
        plain = not (self.use_causal_mask or self.use_gate or self.return_attention_scores)
        plain = plain and self.sliding_window is None and len(self.output_features(query.tensor)) == 1
        alone = all(each is None for each in (of_queries, *others)) and query is not key
        plain = plain and self.heads[0] == self.heads[1]
        if not (plain and alone) or query is value or {query.tensor.rank, value.tensor.rank} != {3}:
            return None
        return partial(self._built, self.output_features(query.tensor)[0])

    def _built(self, features: int, build: Build, given: Mapping[str, Any]) -> Any:
        (heads, _), (size, width) = self.heads, self.sizes
        parts = []
        for name, each in (("query", size), ("key", size), ("value", width)):
            source = given.get(name, given["value"])
            projected = build("layer", "Dense", name, source, units=heads * each, use_bias=self.use_bias)
            split = build("layer", "Reshape", f"{name}_heads", projected, target_shape=(-1, heads, each))
            parts.append(split)
        mask = given.get("value_mask")
        seen = build("op", "expand_dims", "seen", mask, axis=[1, 2]) if mask is not None else None
        found = build("op", "dot_product_attention", "found", *parts, None, seen)
        joined = build("layer", "Reshape", "joined", found, target_shape=(-1, heads * width))
        return build("layer", "Dense", "output", joined, units=features, use_bias=self.use_bias)

    def code(self, site: Site) -> Code:
        query, value, key = self.features(*site.inputs)
        output = self.output_features(site.x)
        axes = self.axes(site.x.rank)
        outputs = prod(output)
        queries, others = self.heads
        size, width = self.sizes
        positional: dict[str, Leaf] = {"in_features": query, "num_heads": queries, "key_dim": size}
        keyword: dict[str, tuple[Leaf, Leaf]] = {
            "value_dim": (width if width != size else None, None),
            "value_features": (value if value != query else None, None),
            "key_features": (key if key != value else None, None),
            "out_features": (outputs if outputs != query else None, None),
            "num_kv_heads": (others if others != queries else None, None),
            "dropout": (float_of(self.dropout), 0.0),
            "bias": (self.use_bias, True),
            "gate": (self.use_gate, False),
            "axes": (axes, (1,)),
            "output_shape": (output if len(output) > 1 else None, None),
        }
        sized = self.return_attention_scores or any(
            keyword[word][0] is not None
            for word in ("value_dim", "key_features", "out_features", "num_kv_heads")
        )
        beyond = self.use_gate or site.x.rank > 3 or len(output) > 1
        general = "GeneralAttention" if beyond else "SizedAttention"
        target = general if beyond or sized else "MultiHeadAttention"
        usual: dict[str, Leaf] = {"out_features": outputs}
        construct = ModuleCall(target, positional, keyword, general=general, usual=usual)
        call, constants = self._call(site, axes)
        return Code(call, construct, constants, defaults={"causal": False} if "causal" in constants else {})

    def _call(self, site: Site, axes: tuple[int, ...]) -> tuple[str, dict[str, Leaf]]:
        """The call, and its constants."""
        batch = site.outputs[0].shape[0]
        tensors = {argument.name: x for argument, x in zip(self.arguments, site.inputs, strict=True)}
        named = {word: tensors[word] for word in ("query", "value", "key") if tensors[word] is not None}
        full = next(word for word, x in named.items() if x.shape[0] == batch)
        parts = [expanded(word, x, batch, full) for word, x in named.items()]
        constants: dict[str, Leaf] = {}
        # With dropout, the zeros of queries that see nothing are set afterwards: a mask of keys alone is
        # [batch, 1, 1, length], and one of queries and keys as large as the scores.
        apart = tensors["query_mask"] is not None and self.dropout > 0 and site.x.rank == 3
        apart = apart and not self.return_attention_scores
        masks = self._masks(tensors | ({"query_mask": None} if apart else {}), axes, constants)
        causal_flag = not masks and not self.return_attention_scores
        if self.use_causal_mask and not causal_flag:
            masks.append(self._places("causal_mask({query}, {value})", axes, constants))
        if masks:
            parts.append(f"mask={' & '.join(masks)}")
        if causal_flag:
            parts.append("is_causal={causal}")
            constants["causal"] = self.use_causal_mask
        parts += ["query_mask={query_mask}"] if apart else []
        parts += ["return_scores=True"] if self.return_attention_scores else []
        return f"{{self}}({', '.join(parts)})", constants

    def _masks(
        self, tensors: dict[str, Tensor | None], axes: tuple[int, ...], constants: dict[str, Leaf]
    ) -> list[str]:
        """Templates of all masks except a causal one, each with as many axes as the scores."""
        query = tensors["query"]
        assert query is not None
        masks, count = list[str](), len(axes)
        last = axes == tuple(range(query.rank - 1 - count, query.rank - 1))
        for word in ("query_mask", "value_mask", "key_mask"):
            if tensors[word] is not None:
                text = f"{{{word}}}"
                if not last:
                    constants |= {"axes": axes, "last": tuple(range(-count, 0))}
                    text += ".movedim({axes}, {last})"
                text += f".flatten({-count})" if count > 1 else ""
                front = ", ".join([":"] * (query.rank - 1 - count))
                masks.append(
                    f"{text}[{front}, None, :, None]" if word[0] == "q" else f"{text}[{front}, None, None]"
                )
        mask = tensors["attention_mask"]
        if mask is not None:
            text = "{attention_mask}" + (f".flatten({-count}).flatten({-count - 1}, -2)" if count > 1 else "")
            missing = query.rank + count - mask.rank
            front = ", ".join([":"] * (mask.rank - 2 * count))
            masks.append(f"{text}[{front}{', None' * missing}]" if missing else text)
        if self.sliding_window is not None:
            constants["window"] = self.sliding_window
            masks.append(self._places("window_mask({query}, {value}, {window})", axes, constants))
        return masks

    @staticmethod
    def _places(text: str, axes: tuple[int, ...], constants: dict[str, Leaf]) -> str:
        """A mask of steps, with the axis that it belongs to where that is not the first."""
        if axes == (1,):
            return text
        constants["axis"] = axes[0]
        return text[:-1] + ", axis={axis})"

    def flops(self, site: Site) -> Dim:
        query, value, key = self.features(*site.inputs)
        queries, others = self.heads
        size, width = self.sizes
        outputs = product(self.output_features(site.x))
        axes = self.axes(site.x.rank)
        places = product(site.x.shape[1:-1])
        seen = product(site.inputs[1].shape[axis] for axis in axes)
        sources = product(site.inputs[1].shape[1:-1])
        bias = int(self.use_bias)
        projections = places * queries * size * (2 * query + bias)
        projections += sources * others * (size * (2 * key + bias) + width * (2 * value + bias))
        projections += places * outputs * (2 * queries * width + bias)
        if self.use_gate:
            projections += places * queries * width * (2 * query + bias + 5)
        return projections + places * queries * seen * (2 * size + 2 * width + 6)


Axes = Annotated[int | tuple[int, ...], BeforeValidator(as_tuple)]


Sizes = Annotated[Positive | tuple[Positive, ...], BeforeValidator(as_tuple)]


_SELF = ((6, 8), (6, 8))


class MultiHeadAttention(Heads):
    """Attention with `num_heads` heads (Vaswani, 2017): each query averages the values whose keys match it.

    Reads query, value and key [batch, length, features]; the key is the value unless given. Masks are
    boolean: of steps [batch, length], or `attention_mask` [batch, query length, value length].
    """

    num_heads: Positive
    """Heads of attention."""
    key_dim: Positive
    """Features of each head's queries and keys."""
    value_dim: Positive | None = None
    """Features of each head's values; by default `key_dim`."""
    dropout: Rate = 0.0
    use_bias: bool = True
    output_shape: Sizes | None = None
    attention_axes: Axes | None = None
    """Axes of attention; by default all but the batch and the features."""
    sliding_window: Positive | None = None
    flash_attention: bool | None = None
    kernel_initializer: Initializer = GlorotUniform()
    bias_initializer: Initializer = Zeros()
    kernel_regularizer: Regularizer | None = None
    bias_regularizer: Regularizer | None = None
    activity_regularizer: Regularizer | None = None
    kernel_constraint: Constraint | None = None
    bias_constraint: Constraint | None = None
    use_gate: bool = False
    seed: None = None
    use_causal_mask: bool = False
    return_attention_scores: bool = False

    examples = (Example({"num_heads": 2, "key_dim": 3}, _SELF),)

    @property
    def heads(self) -> tuple[int, int]:
        return self.num_heads, self.num_heads

    @property
    def sizes(self) -> tuple[int, int]:
        return self.key_dim, self.value_dim or self.key_dim

    def output_features(self, query: Tensor) -> tuple[int, ...]:
        if not self.output_shape:
            return super().output_features(query)
        return (self.output_shape,) if isinstance(self.output_shape, int) else self.output_shape

    def axes(self, rank: int) -> tuple[int, ...]:
        axes_given = self.attention_axes
        if axes_given is None:
            return tuple(range(1, rank - 1))
        axes = tuple(
            example_axis(self.spec_name, axis, rank, "attention_axes")
            for axis in (axes_given if isinstance(axes_given, tuple) else (axes_given,))
        )
        if not axes or len(set(axes)) < len(axes) or rank - 1 in axes:
            raise LayerError(
                "out-of-range",
                f"`attention_axes` are different ones between the batch and the features: 1 to {rank - 2}",
                argument="attention_axes",
            )
        return axes


class GroupQueryAttention(Heads):
    """Multi-head attention in which groups of `num_query_heads` share `num_key_value_heads`.

    Reads query, value and key [batch, length, features]; the key is the value unless given. Masks are
    boolean: of steps [batch, length], or `attention_mask` [batch, query length, value length].
    """

    head_dim: Positive
    """Features of each head."""
    num_query_heads: Positive
    """Heads of the queries."""
    num_key_value_heads: Positive
    """Heads of keys and values, each for several of the queries."""
    dropout: Rate = 0.0
    use_bias: bool = True
    sliding_window: Positive | None = None
    flash_attention: bool | None = None
    kernel_initializer: Initializer = GlorotUniform()
    bias_initializer: Initializer = Zeros()
    kernel_regularizer: Regularizer | None = None
    bias_regularizer: Regularizer | None = None
    activity_regularizer: Regularizer | None = None
    kernel_constraint: Constraint | None = None
    bias_constraint: Constraint | None = None
    use_gate: bool = False
    seed: None = None
    use_causal_mask: bool = False
    return_attention_scores: bool = False

    examples = (Example({"head_dim": 3, "num_query_heads": 4, "num_key_value_heads": 2}, _SELF),)

    @property
    def heads(self) -> tuple[int, int]:
        return self.num_query_heads, self.num_key_value_heads

    @property
    def sizes(self) -> tuple[int, int]:
        return self.head_dim, self.head_dim

    def activities(self) -> dict[str, Regularizer]:
        """Keras penalizes what each projection gives, and the result, too."""
        by_name = super().activities()
        return by_name if self.activity_regularizer is None else {**by_name, "": self.activity_regularizer}

    def infer(self, *inputs: Any) -> Tensor | tuple[Tensor, ...]:
        need_rank(inputs[0], 3, layer=self.spec_name, shape="[length, features]")
        return super().infer(*inputs)


class StepHeads(Layer, abstract=True, spec_name="attention"):
    """Causal attention of new steps to all so far, whose keys and values are kept."""

    arguments = (*TENSORS_AND_MASKS, PLACES, Argument("keys"), Argument("values"))

    of: Heads

    def infer(self, *inputs: Any) -> Tensor:
        query: Tensor = inputs[0]
        return query.with_shape(*query.shape[:-1], *self.of.output_features(query))

    def weights(self, *inputs: Any) -> tuple[Weight, ...]:
        return self.of.weights(*inputs[:7])

    def code(self, site: Site) -> Code:
        layer = self.of.model_copy(update={"return_attention_scores": False})
        construct = layer.code(Site(site.inputs[:7], site.outputs)).construct
        assert construct is not None
        construct = replace(construct, target="StepAttention", general=None, usual={})
        parts = ["{query}", "{value}", "{places}", "{keys}", "{values}"]
        parts += ["key={key}"] if site.inputs[2] is not None else []
        constants: dict[str, Leaf] = {}
        if self.of.sliding_window is not None:
            parts, constants = [*parts, "window={window}"], {"window": self.of.sliding_window}
        texts = {
            4: "{value_mask}[:, None, None]",
            5: "{key_mask}[:, None, None]",
            6: "{attention_mask}[:, None]",
        }
        masks = [text for place, text in texts.items() if site.inputs[place] is not None]
        parts += [f"mask={' & '.join(masks)}"] if masks else []
        return Code(f"{{self}}({', '.join(parts)})", construct, constants)

    def flops(self, site: Site) -> Dim:
        steps, (heads, _), (size, width) = site.x.shape[1], self.of.heads, self.of.sizes
        before = (LONGEST - steps) * steps * heads * 2 * (size + width)  # scores and sums over earlier steps
        return self.of.flops(Site(site.inputs[:7], site.outputs)) + before

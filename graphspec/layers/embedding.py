"""Layers that map integers and positions to vectors, and vectors back to scores of integers."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from graphspec.contract.fields import Positive
from graphspec.contract.initializers import Initializer, need_fillable
from graphspec.contract.input_checks import known_channels, need_features, need_float
from graphspec.contract.layer import (
    Argument,
    Code,
    Derived,
    Example,
    Layer,
    LayerError,
    Leaf,
    ModuleCall,
    Ref,
    Site,
    Weight,
)
from graphspec.contract.masks import MaskNotEqual
from graphspec.contract.penalties import Constraint, Regularizer
from graphspec.contract.random_initializers import Uniform
from graphspec.contract.stepping import PLACES
from graphspec.contract.streaming import Streaming, apart_from, frame
from graphspec.contract.variance_scaling import GlorotUniform
from graphspec.tensor import Dim, Tensor, product
from graphspec.traced import float_of


class Embedding(Layer):
    """Maps integers below `input_dim` to vectors of `output_dim` floats.

    With `mask_zero` the integer 0 is padding, and layers that take masks skip it.
    """

    synonyms = {**Layer.synonyms, "dim": "output_dim"}

    input_dim: Positive
    """How many different integers there may be: 0 to `input_dim` - 1."""
    output_dim: Positive
    """Features of each output vector."""
    embeddings_initializer: Initializer = Uniform()
    embeddings_regularizer: Regularizer | None = None
    embeddings_constraint: Constraint | None = None
    mask_zero: bool = False
    """Whether 0 marks a masked step."""

    examples = (Example({"input_dim": 11, "output_dim": 4}, ((6,),), dtype="int64", high=11),)

    def infer(self, x: Tensor) -> Tensor:
        if not x.is_integer:
            raise LayerError(
                "wrong-dtype",
                f"{self.spec_name} takes integers and gets {x}",
                help="write `dtype: int64` on the input",
                inputs=(0,),
            )
        return Tensor((*x.shape, self.output_dim))

    def weights(self, x: Tensor) -> tuple[Weight, ...]:
        fill = self.embeddings_initializer.unturned(2)
        return (Weight("weight", (self.input_dim, self.output_dim), "embeddings", initializer=fill),)

    def mask(self, inputs: tuple[Any, ...], masks: tuple[Any, ...]) -> Any:
        return Derived(MaskNotEqual(), (inputs[0],)) if self.mask_zero else None

    def stream(self, site: Site, roles: tuple[Any, ...]) -> Streaming | None:
        return frame((*roles[0], None))

    def code(self, site: Site) -> Code:
        construct = ModuleCall(
            "nn.Embedding", {"num_embeddings": self.input_dim, "embedding_dim": self.output_dim}
        )
        small = site.x.dtype not in ("int64", "int32")  # PyTorch has no lookup by these types
        call = "{self}({x}.int())" if small else "{self}({x})"
        return Code(call, construct)

    def limit(self) -> int | None:
        return self.input_dim


_TABLE = {"input_dim": 11, "output_dim": 4}


class ReversibleEmbedding(Embedding):
    """An embedding that, called with `reverse: true`, maps vectors to scores of the integers.

    The reverse uses the same weight, or its own with `tie_weights: false`. Scores are computed in
    `reverse_dtype`, and limited to `logit_soft_cap` by a tanh.
    """

    call_arguments = ("reverse",)

    input_dim: Positive
    output_dim: Positive
    tie_weights: bool = True
    """Whether the reverse projection uses the same table."""
    embeddings_initializer: Initializer = Uniform()
    embeddings_regularizer: Regularizer | None = None
    embeddings_constraint: Constraint | None = None
    mask_zero: bool = False
    reverse_dtype: Literal["float16", "bfloat16", "float32", "float64"] | None = None
    """Data type of the reverse projection."""
    logit_soft_cap: Annotated[float, Field(gt=0)] | None = None
    """Bound that scores approach."""
    reverse: bool = False
    """Whether the direction is reversed."""

    def infer(self, x: Tensor) -> Tensor:
        if not self.reverse:
            return super().infer(x)
        need_float(x, layer=f"{self.spec_name} in reverse")
        if x.shape[-1] != self.output_dim or x.rank < 2:
            raise LayerError(
                "shapes-differ",
                f"{self.spec_name} in reverse takes vectors of its {self.output_dim} features, and gets {x}",
                help="a Dense layer before it changes the number of features",
                inputs=(0,),
            )
        return Tensor((*x.shape[:-1], self.input_dim), self.reverse_dtype or x.dtype)

    def weights(self, x: Tensor) -> tuple[Weight, ...]:
        if self.tie_weights:
            return super().weights(x)
        fill = self.embeddings_initializer.statement()
        shape = (self.input_dim, self.output_dim)
        return (
            *super().weights(x),
            Weight("reverse_weight", shape, "reverse_embeddings", (1, 0), initializer=fill),
        )

    def mask(self, inputs: tuple[Any, ...], masks: tuple[Any, ...]) -> Any:
        return None if self.reverse else super().mask(inputs, masks)

    def stream(self, site: Site, roles: tuple[Any, ...]) -> Streaming | None:
        return apart_from(roles[0], (-1,)) if self.reverse else super().stream(site, roles)

    def code(self, site: Site) -> Code:
        code = super().code(site)
        assert code.construct is not None
        construct = code.construct
        if not self.tie_weights:
            construct = ModuleCall("ReversibleEmbedding", construct.positional)
        constants: dict[str, Leaf] = {}
        call = self._call(constants) if self.reverse else code.call
        return Code(call, construct, constants)

    def _call(self, constants: dict[str, Leaf]) -> str:
        x, weight = "{x}", "{self}.weight" if self.tie_weights else "{self}.reverse_weight"
        if self.reverse_dtype is not None:
            constants["dtype"] = Ref(f"torch.{self.reverse_dtype}")
            x, weight = f"{x}.to({{dtype}})", f"{weight}.to({{dtype}})"
        text = f"F.linear({x}, {weight})"
        if self.logit_soft_cap is not None:
            constants["cap"] = float_of(self.logit_soft_cap)
            text = f"({text} / {{cap}}).tanh() * {{cap}}"
        return text

    def limit(self) -> int | None:
        return None if self.reverse else self.input_dim

    def flops(self, site: Site) -> Dim:
        if not self.reverse:
            return 0
        scores = product(site.outputs[0].shape[1:])
        return scores * (2 * self.output_dim + (3 if self.logit_soft_cap is not None else 0))


class PositionEmbedding(Layer):
    """A learned vector for each of `sequence_length` positions, in the shape of its input, to add to it.

    A shorter sequence uses the first positions. From KerasHub, not Keras.
    """

    supports_masking = True

    sequence_length: Positive
    """How many positions there are."""
    initializer: Initializer = GlorotUniform()
    """Initializer of the table of positions."""

    examples = (Example({"sequence_length": 6}, ((6, 4),)),)

    def infer(self, x: Tensor) -> Tensor:
        need_features(x, layer="PositionEmbedding")
        known_channels(x, layer="PositionEmbedding", what="features")
        need_fillable(self, initializer=2)
        length = x.shape[-2]
        if isinstance(length, int) and length > self.sequence_length:
            raise LayerError(
                "out-of-range",
                f"PositionEmbedding knows {self.sequence_length} positions, and {x} has {length}",
                help=f"write `sequence_length: {length}`",
                argument="sequence_length",
                inputs=(0,),
            )
        return x

    def longest(self, x: Tensor) -> tuple[tuple[Dim, int], ...]:
        return ((x.shape[-2], self.sequence_length),)

    def weights(self, x: Tensor) -> tuple[Weight, ...]:
        shape = (self.sequence_length, known_channels(x, layer="PositionEmbedding"))
        return (Weight("weight", shape, "embeddings", initializer=self.initializer.unturned(2)),)

    def stream(self, site: Site, roles: tuple[Any, ...]) -> Streaming | None:
        if roles[0] != (None, "new", None):
            return None
        return Streaming("place", (roles[0],), step=StepPositions(of=self))

    def code(self, site: Site) -> Code:
        features = known_channels(site.x, layer="PositionEmbedding")
        construct = ModuleCall(
            "PositionEmbedding", {"sequence_length": self.sequence_length, "features": features}
        )
        return Code("{self}({x})", construct)


class StepPositions(Layer, abstract=True, spec_name="PositionEmbedding"):
    """The vectors of the positions of new steps."""

    arguments = (Argument("x"), PLACES)

    of: PositionEmbedding

    def infer(self, x: Tensor, places: Tensor) -> Tensor:
        return x

    def weights(self, x: Tensor, places: Tensor) -> tuple[Weight, ...]:
        return self.of.weights(x)

    def code(self, site: Site) -> Code:
        construct = self.of.code(Site((site.x,), site.outputs)).construct
        return Code("F.embedding(places_of({places}, {x}.shape[1]), {self}.weight)", construct)

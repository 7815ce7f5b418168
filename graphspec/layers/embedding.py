"""Layers that turn integers into vectors, and vectors back into scores of integers."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from graphspec.contract.fields import Positive
from graphspec.contract.helpers import helper
from graphspec.contract.initializers import Initializer, RandomUniform
from graphspec.contract.input_checks import need_float
from graphspec.contract.layer import (
    Code,
    Construct,
    Derived,
    Example,
    Layer,
    LayerError,
    Leaf,
    Ref,
    Site,
    Weight,
)
from graphspec.contract.masks import MaskNotEqual
from graphspec.contract.penalties import Constraint, Regularizer
from graphspec.tensor import Dim, Tensor, product

helper(
    "ReversibleEmbedding",
    '''
class ReversibleEmbedding(nn.Module):
    """An embedding, and a weight of its own for the way back."""

    def __init__(self, num_embeddings: int, embedding_dim: int):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(num_embeddings, embedding_dim))
        self.reverse_weight = nn.Parameter(torch.empty(num_embeddings, embedding_dim))

    def forward(self, x: Tensor) -> Tensor:
        return F.embedding(x, self.weight)
''',
)


class Embedding(Layer):
    """Turns integers below `input_dim` into vectors of `output_dim` floats.

    With `mask_zero` the integer 0 is padding, which layers that read masks skip.
    """

    input_dim: Positive
    output_dim: Positive
    embeddings_initializer: Initializer = RandomUniform()
    embeddings_regularizer: Regularizer | None = None
    embeddings_constraint: Constraint | None = None
    mask_zero: bool = False

    examples: ClassVar[tuple[Example, ...]] = (
        Example({"input_dim": 11, "output_dim": 4}, ((6,),), dtype="int64", high=11),
        Example({"input_dim": 3, "output_dim": 5, "mask_zero": True}, ((6,),), dtype="int32", high=3),
        Example(
            {"input_dim": 30, "output_dim": 5, "embeddings_initializer": "glorot_uniform"},
            ((2, 3),),
            dtype="int64",
            high=30,
        ),
    )

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
        fill, _ = self.embeddings_initializer.unturned(2)
        return (Weight("weight", (self.input_dim, self.output_dim), "embeddings", initializer=fill),)

    def mask(self, inputs: tuple[Any, ...], masks: tuple[Any, ...]) -> Any:
        return Derived(MaskNotEqual(), (inputs[0],)) if self.mask_zero else None

    def code(self, site: Site) -> Code:
        construct = Construct(
            "nn.Embedding", {"num_embeddings": self.input_dim, "embedding_dim": self.output_dim}
        )
        return Code("{self}({x})", construct, helpers=self.embeddings_initializer.helpers())

    def limit(self) -> int | None:
        return self.input_dim


_TABLE = {"input_dim": 11, "output_dim": 4}
_BACK = {"reverse": True}


class ReversibleEmbedding(Embedding):
    """An embedding that, called with `reverse: true`, gives scores of the integers for vectors.

    The way back has the same weight, or with `tie_weights: false` one of its own. Scores are computed in
    `reverse_dtype`, and kept below `logit_soft_cap` in size by a tanh.
    """

    call_arguments = ("reverse",)

    input_dim: Positive
    output_dim: Positive
    tie_weights: bool = True
    embeddings_initializer: Initializer = RandomUniform()
    embeddings_regularizer: Regularizer | None = None
    embeddings_constraint: Constraint | None = None
    mask_zero: bool = False
    reverse_dtype: Literal["float16", "bfloat16", "float32", "float64"] | None = None
    logit_soft_cap: Annotated[float, Field(gt=0)] | None = None
    reverse: bool = False

    examples: ClassVar[tuple[Example, ...]] = (
        Example(_TABLE, ((6,),), dtype="int64", high=11),
        Example({**_TABLE, "tie_weights": False, "mask_zero": True}, ((6,),), dtype="int32", high=11),
        Example(_TABLE, ((6, 4),), call=_BACK),
        Example({**_TABLE, "logit_soft_cap": 0.5}, ((4,),), call=_BACK),
        Example({**_TABLE, "reverse_dtype": "float64"}, ((6, 4),), call=_BACK),
        Example(
            {**_TABLE, "tie_weights": False, "logit_soft_cap": 2, "embeddings_initializer": "he_normal"},
            ((3, 2, 4),),
            call=_BACK,
        ),
        Example(
            {**_TABLE, "tie_weights": False, "reverse_dtype": "float64", "logit_soft_cap": 2},
            ((6, 4),),
            call=_BACK,
        ),
    )

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

    def code(self, site: Site) -> Code:
        code = super().code(site)
        assert code.construct is not None
        construct, helpers = code.construct, code.helpers
        if not self.tie_weights:
            construct = Construct("ReversibleEmbedding", construct.positional)
            helpers = ("ReversibleEmbedding", *helpers)
        constants: dict[str, Leaf] = {}
        return Code(self._call(constants), construct, constants, helpers=helpers)

    def _call(self, constants: dict[str, Leaf]) -> str:
        if not self.reverse:
            return "{self}({x})"
        x, weight = "{x}", "{self}.weight" if self.tie_weights else "{self}.reverse_weight"
        if self.reverse_dtype is not None:
            constants["dtype"] = Ref(f"torch.{self.reverse_dtype}")
            x, weight = f"{x}.to({{dtype}})", f"{weight}.to({{dtype}})"
        text = f"F.linear({x}, {weight})"
        if self.logit_soft_cap is not None:
            constants["cap"] = float(self.logit_soft_cap)
            text = f"({text} / {{cap}}).tanh() * {{cap}}"
        return text

    def limit(self) -> int | None:
        return None if self.reverse else self.input_dim

    def flops(self, site: Site) -> Dim:
        if not self.reverse:
            return 0
        scores = product(site.outputs[0].shape[1:])
        return scores * (2 * self.output_dim + (3 if self.logit_soft_cap is not None else 0))

"""Integers as vectors of zeros, ones and counts."""

from __future__ import annotations

from typing import Literal

from graphspec.layers.base import Code, Example, Layer, LayerError, Site, helper
from graphspec.layers.core import Positive
from graphspec.tensor import Tensor

helper(
    "multi_hot",
    '''
def multi_hot(x: Tensor, num_classes: int) -> Tensor:
    """1 for each class that stands in a row, without a one_hot of each integer."""
    zeros = torch.zeros(x.shape[0], num_classes, device=x.device)
    return zeros.scatter(1, x, 1.0)
''',
)
helper(
    "count_classes",
    '''
def count_classes(x: Tensor, num_classes: int) -> Tensor:
    """How often each class stands in a row; torch.bincount takes a single row."""
    zeros = torch.zeros(x.shape[0], num_classes, device=x.device)
    return zeros.scatter_add(1, x, torch.ones_like(x, dtype=zeros.dtype))
''',
)


class CategoryEncoding(Layer):
    """Integers below `num_tokens` as vectors of `num_tokens` floats.

    `one_hot` makes a vector of each integer, `multi_hot` and `count` one of all integers of an example: 1 for
    those that are there, or their number. A last axis of size 1 is the vector's in `one_hot`.
    """

    num_tokens: Positive
    output_mode: Literal["multi_hot", "one_hot", "count"] = "multi_hot"

    examples = (
        Example({"num_tokens": 6}, ((4,),), dtype="int64", high=6),
        Example({"num_tokens": 3}, ((1,),), dtype="int32", high=3),
        Example({"num_tokens": 6, "output_mode": "count"}, ((9,),), dtype="int64", high=6),
        Example({"num_tokens": 6, "output_mode": "count"}, ((9,),), dtype="int32", high=6),
        Example({"num_tokens": 6, "output_mode": "one_hot"}, ((),), dtype="int64", high=6),
        Example({"num_tokens": 6, "output_mode": "one_hot"}, ((1,),), dtype="int64", high=6),
        Example({"num_tokens": 6, "output_mode": "one_hot"}, ((5,),), dtype="int32", high=6),
        Example({"num_tokens": 5, "output_mode": "one_hot"}, ((3, 1),), dtype="uint8", high=5),
        Example({"num_tokens": 5, "output_mode": "one_hot"}, ((2, 3),), dtype="int64", high=5),
    )

    def infer(self, x: Tensor) -> Tensor:
        if not x.is_integer:
            raise LayerError(
                "wrong-dtype",
                f"CategoryEncoding takes integers and gets {x}",
                help="write `dtype: int64` on the input",
                inputs=(0,),
            )
        if self.output_mode == "one_hot":
            kept = x.shape[:-1] if self._single(x) else x.shape
        elif x.rank == 2:
            kept = x.shape[:1]
        else:
            raise LayerError(
                "wrong-rank",
                f"CategoryEncoding with `{self.output_mode}` takes `[batch, length]`, and gets {x}",
                help="`output_mode: one_hot` makes a vector of each integer",
                inputs=(0,),
            )
        return Tensor((*kept, self.num_tokens))

    @staticmethod
    def _single(x: Tensor) -> bool:
        """Whether the last axis has one integer, in whose place its vector comes."""
        return x.rank > 1 and x.shape[-1] == 1

    def code(self, site: Site) -> Code:
        constants = {"num_tokens": self.num_tokens}
        wide = "" if site.x.dtype == "int64" else ".long()"
        if self.output_mode == "one_hot":
            single = ".squeeze(-1)" if self._single(site.x) else ""
            return Code(f"F.one_hot({{x}}{single}{wide}, {{num_tokens}}).float()", constants=constants)
        name = "multi_hot" if self.output_mode == "multi_hot" else "count_classes"
        return Code(f"{name}({{x}}{wide}, {{num_tokens}})", constants=constants, helpers=(name,))

    def limit(self) -> int | None:
        return self.num_tokens

"""Functions of keras.ops that turn integers into vectors."""

from __future__ import annotations

from graphspec.contract.fields import Positive
from graphspec.contract.layer import Example, LayerError
from graphspec.ops.operation import Operation
from graphspec.tensor import Tensor


class MultiHot(Operation, spec_name="multi_hot"):
    """One vector for the integers of each row, from 0 to `num_classes` - 1: 1 for each integer in it. Others
    count for nothing.
    """

    template = "one_hot({x}, {num_classes}).amax(1)"

    num_classes: Positive

    examples = (Example({"num_classes": 5}, ((3,),), dtype="int64", high=5),)

    def infer(self, x: Tensor) -> Tensor:
        if not x.is_integer:
            raise LayerError("wrong-dtype", f"`multi_hot` takes integers and gets {x}", inputs=(0,))
        if x.rank != 2:
            message = f"`multi_hot` takes `[batch, length]`, and gets {x}"
            raise LayerError("wrong-rank", message, inputs=(0,))
        return Tensor((x.shape[0], self.num_classes))

    def limit(self) -> int | None:
        return self.num_classes

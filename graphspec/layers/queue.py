"""What batches leave for those that follow."""

from __future__ import annotations

from graphspec.contract.fields import Positive
from graphspec.contract.initializers import Initializer, need_fillable
from graphspec.contract.input_checks import need_float
from graphspec.contract.layer import Code, Example, Layer, LayerError, ModuleCall, Site, Weight
from graphspec.contract.random_initializers import Normal
from graphspec.tensor import Tensor


class Queue(Layer):
    """The last `size` rows of its input over batches: it gives those of earlier ones, the newest first, with
    a batch axis of 1.

    In training it then takes in the rows of the batch, and the oldest fall out; no gradient passes through
    it. Keras has no such layer.
    """

    rerunnable = False  # a second run takes the rows in again

    size: Positive
    """Number of rows that it holds."""
    initializer: Initializer = Normal()
    """Initializer of the rows before the first batches."""

    examples = (Example({"size": 6}, ((3,),)),)

    def infer(self, x: Tensor) -> Tensor:
        need_float(x, layer="Queue")
        free = next((size for size in x.shape[1:] if not isinstance(size, int)), None)
        if free is not None:
            message = f"Queue holds rows of one size, and {x} has the free size `{free}`"
            help = "reduce that axis first: {layer: GlobalAveragePooling1D}"
            raise LayerError("unknown-size", message, help=help, inputs=(0,))
        need_fillable(self, initializer=x.rank)
        return Tensor((1, self.size, *x.shape[1:]), x.dtype)

    def weights(self, x: Tensor) -> tuple[Weight, ...]:
        shape = (self.size, *(size for size in x.shape[1:] if isinstance(size, int)))
        fill = self.initializer.unturned(len(shape))
        return (Weight("rows", shape, "rows", initializer=fill, trainable=False),)

    def code(self, site: Site) -> Code:
        shape = tuple(size for size in site.x.shape[1:] if isinstance(size, int))
        return Code("{self}({x})", ModuleCall("Queue", {"size": self.size, "shape": shape}))

"""How many weights a layer has by Keras' definition, and the shape that it gives; without graphspec.

Shapes are without the batch; a size that is not known is None.
"""

from __future__ import annotations

from math import prod
from typing import Any

Shape = tuple[int | None, ...]
Arguments = dict[str, Any]

KEEPING = {
    "Activation", "ReLU", "LeakyReLU", "Dropout", "UnitNormalization", "Rescaling", "Identity", "Softmax",
    "GaussianNoise", "SpatialDropout2D",
}  # fmt: skip
PER_CHANNEL = {
    "BatchNormalization": 4,
    "LayerNormalization": 2,
    "RMSNormalization": 1,
    "GroupNormalization": 2,
}
GATES = {"SimpleRNN": (1, 1), "GRU": (3, 2), "LSTM": (4, 1)}
"""Of a recurrent layer: gates, and biases of each; a GRU's recurrent kernel has a bias of its own."""


def layer(name: str, arguments: Arguments, x: Shape) -> tuple[int, Shape]:
    """The number of weights of a layer on an input, and what comes out."""
    width = x[-1]
    if name in KEEPING:
        return 0, x
    if name in PER_CHANNEL:
        return PER_CHANNEL[name] * sure(width), x
    if name == "Dense":
        units = arguments["units"]
        return sure(width) * units + bias(arguments, units), (*x[:-1], units)
    if name == "Embedding":
        return arguments["input_dim"] * arguments["output_dim"], (*x, arguments["output_dim"])
    if name in GATES:
        return recurrent(name, arguments, x)
    if name == "Bidirectional":
        inner = dict(arguments["wraps"])
        count, out = layer(inner.pop("layer"), inner, x)
        return 2 * count, (*out[:-1], 2 * sure(out[-1]))
    if name == "MultiHeadAttention":
        heads = arguments["num_heads"] * arguments["key_dim"]
        return 3 * (sure(width) * heads + heads) + heads * sure(width) + sure(width), x
    if "Conv" in name:
        return convolution(name, arguments, x)
    return 0, reshaped(name, arguments, x)


def recurrent(name: str, arguments: Arguments, x: Shape) -> tuple[int, Shape]:
    units, (gates, biases) = arguments["units"], GATES[name]
    out = (x[0], units) if arguments.get("return_sequences") else (units,)
    return gates * units * (sure(x[-1]) + units + biases), out


def convolution(name: str, arguments: Arguments, x: Shape) -> tuple[int, Shape]:
    space, width = x[:-1], sure(x[-1])
    window = arguments["kernel_size"] ** len(space)
    space = tuple(less(size, arguments.get("strides", 1)) for size in space)
    if name.startswith("Depthwise"):
        return window * width + bias(arguments, width), (*space, width)
    filters = arguments["filters"]
    kernel = window * width + width * filters if name.startswith("Separable") else window * width * filters
    return kernel + bias(arguments, filters), (*space, filters)


def reshaped(name: str, arguments: Arguments, x: Shape) -> Shape:
    """What a layer without weights gives."""
    if name.startswith("Global"):
        return (*(1 for _ in x[:-1]), x[-1]) if arguments.get("keepdims") else x[-1:]
    if "Pooling" in name:
        strides: Any = arguments.get("strides", arguments.get("pool_size", 2))
        return (*(less(size, strides) for size in x[:-1]), x[-1])
    if name.startswith("UpSampling"):
        return (*(None if size is None else 2 * size for size in x[:-1]), x[-1])
    if name == "Permute":
        return tuple(x[axis - 1] for axis in arguments["dims"])
    if name == "RepeatVector":
        return (arguments["n"], *x)
    if name == "Reshape":
        target = arguments["target_shape"]
        known = prod(size for size in target if size != -1)
        total = None if None in x else prod(sure(size) for size in x)
        return tuple(
            (total // known if total is not None else None) if size == -1 else size for size in target
        )
    raise NotImplementedError(name)


def op(name: str, arguments: Arguments, x: Shape) -> Shape:
    if name in ("mean", "take"):
        axis = arguments["axis"] - 1
        return x[:axis] + x[axis + 1 :]
    return x


def merged(name: str, shapes: list[Shape]) -> Shape:
    """Several tensors as one: of fewer axes, one gets axes of size 1 in front."""
    rank = max(map(len, shapes))
    full = [(1,) * (rank - len(shape)) + shape for shape in shapes]
    if name == "concatenate":
        return (*full[0][:-1], sum(sure(shape[-1]) for shape in full))
    return tuple(next((size for size in sizes if size != 1), 1) for sizes in zip(*full, strict=True))


def bias(arguments: Arguments, width: int) -> int:
    return width if arguments.get("use_bias", True) else 0


def less(size: int | None, strides: Any) -> int | None:
    return None if size is None else -(-size // strides)


def sure(size: int | None) -> int:
    assert size is not None
    return size

"""Keras, on its torch backend and in float64, as the oracle of the layer contract."""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import keras
import numpy
import torch
from keras.src.backend.common import dtypes
from keras.src.backend.common.masking import set_keras_mask
from torch import Tensor
from torch.nn import functional as F

from graphspec.contract.keras_names import PER_EXAMPLE
from graphspec.contract.layer import Example, Layer

MERGES = {
    "add": "Add",
    "subtract": "Subtract",
    "multiply": "Multiply",
    "average": "Average",
    "maximum": "Maximum",
    "minimum": "Minimum",
    "concatenate": "Concatenate",
    "dot": "Dot",
}
LISTED = ("Attention", "AdditiveAttention")
"""Layers that take a list of tensors, and a list of masks, where a spec has names."""


@contextmanager
def double_precision() -> Iterator[None]:
    """Floats of 64 bits throughout: on torch, many of Keras' functions else return 32."""
    before, rounding = keras.config.floatx(), dict(dtypes.BIT64_TO_BIT32_DTYPE)
    policy = keras.config.dtype_policy()  # which remembers the floatx of the first layer that was ever made
    keras.config.set_floatx("float64")
    keras.config.set_dtype_policy("float64")
    dtypes.BIT64_TO_BIT32_DTYPE["float64"] = "float64"
    try:
        yield
    finally:
        keras.config.set_floatx(before)
        keras.config.set_dtype_policy(policy)
        dtypes.BIT64_TO_BIT32_DTYPE.update(rounding)


_make = keras.Variable.__init__


def _remember(variable: Any, initializer: Any, *arguments: Any, **keywords: Any) -> None:
    _make(variable, initializer, *arguments, **keywords)
    variable.started_by = initializer


keras.Variable.__init__ = _remember


class Variable:
    """One of Keras' variables: its name, whether it trains, and the torch tensor that it is."""

    def __init__(self, variable: Any):
        self.name, self.trainable, self.variable = variable.name, variable.trainable, variable

    @property
    def value(self) -> Tensor:
        return self.variable.value

    def start(self, seed: int) -> Tensor:
        """What its initializer draws."""
        initializer = self.variable.started_by
        if hasattr(initializer, "seed"):
            initializer.seed = seed
        return initializer(self.variable.shape, dtype="float64")


class Twin:
    """What Keras has for one example: called on a list of tensors, in the order of the layer's arguments."""

    def __init__(self, call: Callable[..., Any], layer: Any = None):
        self.call, self.layer = call, layer

    def __call__(self, tensors: list[Tensor], *, training: bool) -> Any:
        return self.call(tensors, training)

    @property
    def variables(self) -> list[Variable]:
        return [Variable(variable) for variable in self.layer.weights] if self.layer is not None else []

    def randomize(self) -> None:
        """Other weights than the initial ones; variances stay positive."""
        generator = torch.Generator().manual_seed(2)
        for variable in self.variables:
            value = torch.randn(variable.value.shape, generator=generator, dtype=torch.float64)
            variable.variable.assign(value.abs() + 0.5 if "variance" in variable.name else value / 2)


def build(cls: type[Layer], example: Example, tensors: list[Tensor]) -> Twin:
    """Keras' counterpart, built for these tensors."""
    if cls.kind == "op":
        return _op(cls, example)
    if cls.kind == "merge" and cls.spec_name not in MERGES:
        return Twin(lambda xs, training: getattr(keras.ops, cls.spec_name)(xs, **example.arguments))
    layer = make(MERGES.get(cls.spec_name, cls.spec_name), dict(example.arguments))
    call = _caller(cls, example, layer)
    call(tensors, False)  # builds its weights
    if example.arguments.get("activation") == "sparsemax":
        return Twin(lambda xs, training: _sparsemax(xs[0]), layer)
    if cls.spec_name.startswith("AveragePooling") and example.arguments.get("padding") == "same":
        return Twin(lambda xs, training: _average_same(layer, xs[0]), layer)
    if cls.spec_name == "MelSpectrogram":
        return Twin(lambda xs, training: _mel(layer, xs[0]), layer)
    if cls.spec_name == "RandomCrop":
        return Twin(lambda xs, training: _random_crop(layer, xs[0], training), layer)
    return Twin(call, layer)


def named(cls: type[Layer], values: list[Any]) -> dict[str, Any]:
    """Values by the names of a layer's arguments; one that takes many gets the rest."""
    found, rest = {}, list(values)
    for argument in cls.arguments:
        if rest:
            found[argument.name], rest = (rest, []) if argument.many else (rest[0], rest[1:])
    return found


def _caller(cls: type[Layer], example: Example, layer: Any) -> Callable[..., Any]:
    # the mode is a keyword only of layers that behave differently in training
    takes_training = layer._call_has_training_arg

    def call(xs: list[Tensor], training: bool) -> Any:
        keywords = {**example.call, **({"training": training} if takes_training else {})}
        xs, masks = xs[: len(example.shapes)], xs[len(example.shapes) :]
        keywords.update(zip(example.masks, masks, strict=True))
        if cls.spec_name in LISTED:
            steps = [keywords.pop("query_mask", None), keywords.pop("value_mask", None)]
            return layer(xs, mask=steps, **keywords)
        if cls.variadic:
            return layer(xs, **keywords)
        if cls.spec_name == "SpectralNormalization":  # which gives what it takes: of integers, integers
            return layer(xs[0].double(), **keywords)
        if cls.spec_name == "MultiHeadAttention":  # which reads only the mask that the query carries
            set_keras_mask(xs[0], keywords.pop("query_mask", None))
        first, *others = named(cls, xs).items()
        return layer(first[1], **{key: nested(layer, key, x) for key, x in others}, **keywords)

    return call


def nested(layer: Any, argument: str, value: Any) -> Any:
    """The states of a stack of cells as Keras takes them: a list for each cell."""
    cells = getattr(getattr(layer, "cell", layer), "cells", None)
    if argument not in ("states", "initial_state") or cells is None:
        return value
    rest = iter(value)
    sizes = [cell.state_size if isinstance(cell.state_size, list) else [0] for cell in cells]
    return [[next(rest) for _ in size] for size in sizes]


def make(name: str, arguments: dict[str, Any]) -> Any:
    """A Keras layer from a spec's arguments."""
    if "wraps" in arguments:
        inner = dict(arguments.pop("wraps"))
        arguments["layer"] = make(inner.pop("layer"), inner)
    if "backward_layer" in arguments:
        inner = dict(arguments["backward_layer"])
        arguments["backward_layer"] = make(inner.pop("layer"), inner)
    if "cell" in arguments:
        cell = arguments["cell"]
        stacked = {"cells": cell} if isinstance(cell, list) else _without(cell, "layer")
        arguments["cell"] = make("StackedRNNCells" if isinstance(cell, list) else cell["layer"], stacked)
    if "cells" in arguments:
        arguments["cells"] = [make(cell["layer"], _without(cell, "layer")) for cell in arguments["cells"]]
    for key, value in arguments.items():
        if key.endswith("initializer") and isinstance(value, dict):
            options = {option: item for option, item in value.items() if option != "name"}
            arguments[key] = keras.initializers.get({"class_name": value["name"], "config": options})
        if key.endswith("activation") and isinstance(value, dict):
            function = getattr(keras.activations, value["name"])
            arguments[key] = partial(function, **_without(value, "name"))
    cls = HUB[name] if name in HUB else getattr(keras.layers, name)
    return cls(dtype="float64", **arguments)


def _without(mapping: dict[str, Any], key: str) -> dict[str, Any]:
    return {other: value for other, value in mapping.items() if other != key}


class PositionEmbedding(keras.layers.Layer):
    """As KerasHub has it: the first positions, stretched to the input's shape."""

    def __init__(self, sequence_length: int, initializer: Any = "glorot_uniform", **keywords: Any):
        super().__init__(**keywords)
        self.sequence_length, self.initializer = sequence_length, keras.initializers.get(initializer)
        self.supports_masking = True

    def build(self, shape: Any) -> None:
        shape = (self.sequence_length, shape[-1])
        self.embeddings = self.add_weight(shape=shape, initializer=self.initializer, name="embeddings")

    def call(self, x: Any) -> Any:
        return keras.ops.broadcast_to(self.embeddings[: x.shape[-2]], x.shape)


class SinePositionEncoding(keras.layers.Layer):
    """As KerasHub has it, run in numpy."""

    def __init__(self, max_wavelength: float = 10000, **keywords: Any):
        super().__init__(**keywords)
        self.max_wavelength, self.supports_masking = max_wavelength, True

    def call(self, x: Any) -> Any:
        length, features = x.shape[-2:]
        index = numpy.arange(features)
        timescales = (1 / self.max_wavelength) ** (2 * (index // 2) / features)
        angles = numpy.arange(length)[:, None] * timescales[None]
        encodings = numpy.sin(angles) * (1 - index % 2) + numpy.cos(angles) * (index % 2)
        return keras.ops.broadcast_to(keras.ops.cast(encodings, x.dtype), x.shape)


class RotaryEmbedding(keras.layers.Layer):
    """As KerasHub has it, its angles run in numpy."""

    def __init__(
        self,
        max_wavelength: float = 10000,
        scaling_factor: float = 1.0,
        sequence_axis: int = 1,
        feature_axis: int = -1,
        **keywords: Any,
    ):
        super().__init__(**keywords)
        self.wavelength, self.scale, self.axis = max_wavelength, scaling_factor, sequence_axis
        self.supports_masking = True

    def call(self, x: Any) -> Any:
        x = keras.ops.moveaxis(x, self.axis, 1)
        features = x.shape[-1]
        inverse = self.wavelength ** -(numpy.arange(0, features, 2) / features) / self.scale
        angles = numpy.einsum("i,j->ij", numpy.arange(x.shape[1]), inverse)
        angles = numpy.concatenate((angles, angles), -1)
        angles = angles.reshape(x.shape[1], *[1] * (len(x.shape) - 3), features)
        first, second = keras.ops.split(x, 2, axis=-1)
        turned = keras.ops.concatenate((-second, first), axis=-1)
        cos, sin = (keras.ops.cast(wave, x.dtype) for wave in (numpy.cos(angles), numpy.sin(angles)))
        return keras.ops.moveaxis(x * cos + turned * sin, 1, self.axis)


class InputGradient(keras.layers.Wrapper):
    """The gradient of a layer's sum by its input, by torch."""

    def __init__(self, layer: Any, by: Any = None, **keywords: Any):
        super().__init__(layer, **keywords)

    def call(self, x: Any) -> Any:
        with torch.enable_grad():
            watched = x.detach().requires_grad_() if not x.requires_grad else x
            return torch.autograd.grad(self.layer(watched).sum(), watched, create_graph=True)[0]

    def compute_output_shape(self, shape: Any) -> Any:
        return shape


class Scan(keras.layers.TimeDistributed):
    """A layer at each step."""

    def __init__(self, layer: Any, over: Any = None, **keywords: Any):
        super().__init__(layer, **keywords)


class GradientSteps(keras.layers.Wrapper):
    """How far gradient descent on the mean moves a Dense layer's weights: example by example, by autograd."""

    def __init__(
        self, layer: Any, of: Any = None, learning_rate: float = 0.01, steps: int = 1, **keywords: Any
    ):
        super().__init__(layer, **keywords)
        self.rate, self.count = learning_rate, steps

    def call(self, x: Any) -> Any:
        again = torch.is_grad_enabled()
        weights = [variable.value for variable in self.layer.trainable_variables]
        rows = []
        for row in x:
            moved = [weight.detach() if not weight.requires_grad else weight for weight in weights]
            with torch.enable_grad():
                for _ in range(self.count):
                    moved = [weight.requires_grad_() if weight.is_leaf else weight for weight in moved]
                    loss = self.layer.activation(row @ moved[0] + moved[1]).mean()
                    slopes = torch.autograd.grad(loss, moved, create_graph=True)
                    moved = [weight - self.rate * slope for weight, slope in zip(moved, slopes, strict=True)]
            kernel, bias = (after - before for after, before in zip(moved, weights, strict=True))
            rows.append(torch.cat([kernel.mT.flatten(), bias]))
        result = torch.stack(rows)
        return result if again else result.detach()

    def compute_output_shape(self, shape: Any) -> Any:
        return (shape[0], sum(math.prod(each.shape) for each in self.layer.trainable_variables))


class MovedWeights(keras.layers.Wrapper):
    """A Dense layer with a change of its weights for each example."""

    def call(self, x: Any, change: Any) -> Any:
        kernel, bias = (variable.value for variable in self.layer.trainable_variables)
        moved = kernel + change[:, : kernel.numel()].unflatten(1, kernel.mT.shape).mT
        return self.layer.activation((x.unsqueeze(1) @ moved).squeeze(1) + bias + change[:, kernel.numel() :])

    def build(self, x_shape: Any, change_shape: Any) -> None:
        self.layer.build(x_shape)
        self.built = True

    def compute_output_shape(self, x_shape: Any, change_shape: Any) -> Any:
        return self.layer.compute_output_shape(x_shape)


HUB: dict[str, Any] = {
    "PositionEmbedding": PositionEmbedding,
    "SinePositionEncoding": SinePositionEncoding,
    "RotaryEmbedding": RotaryEmbedding,
    "InputGradient": InputGradient,
    "Scan": Scan,
    "GradientSteps": GradientSteps,
    "MovedWeights": MovedWeights,
}
"""Layers that KerasHub has, and Keras has not; and the gradient of a layer, which Keras takes by a tape."""


FUNCTIONS: dict[str, Callable[..., Any]] = {
    # "name": lambda x, constant: ...
}
"""Twins of the ops that Keras lacks, called with the tensors and then the constants by name."""


def _op(cls: type[Layer], example: Example) -> Twin:
    """A function of keras.ops. Its tensors fill the arguments that constants leave."""
    name, constants = cls.spec_name, dict(example.arguments)
    if name in FUNCTIONS:
        return Twin(lambda xs, training: FUNCTIONS[name](*xs, **constants))
    if name == "sequence_mask":
        return Twin(lambda xs, training: _steps(xs, **constants))
    if name.startswith("random_"):
        draw = getattr(keras.random, name.removeprefix("random_"))
        shaped = cls.arguments[0].name == "like"
        return Twin(lambda xs, training: draw(tuple(xs[0].shape) if shaped else xs[0], **constants))
    if name in PER_EXAMPLE or (name == "take" and "indices" not in constants):
        return Twin(lambda xs, training: _each(cls, constants, xs))
    if name in ("conv", "depthwise_conv", "separable_conv", "conv_transpose"):
        convolve = getattr(keras.ops, name)
        return Twin(
            lambda xs, training: torch.cat(
                [convolve(x[None], *kernels, **constants) for x, *kernels in zip(*xs, strict=True)]
            )
        )
    if name == "binary_crossentropy" and not constants:  # on torch, of targets from 0 to 1 alone
        return Twin(lambda xs, training: _crossentropy(xs[0], xs[1].clamp(1e-7, 1 - 1e-7)))
    if name == "rearrange":
        lengths = constants.get("axes_lengths", {})
        return Twin(lambda xs, training: keras.ops.rearrange(xs[0], constants["pattern"], **dict(lengths)))
    if name == "batch_normalization":
        return Twin(lambda xs, training: _normalized(xs, **constants))
    if name == "eig":
        return Twin(lambda xs, training: torch.view_as_real(torch.linalg.eigvals(xs[0])).unbind(-1))
    if name == "slice":
        constants["shape"] = [-1 if size is None else size for size in constants["shape"]]
        return Twin(lambda xs, training: _slice(xs[0], **constants))
    function = getattr(keras.ops, name, None) or getattr(keras.ops.image, name.removeprefix("image_"))
    axis = constants.get("axis", -1)
    if name == "arange":
        return Twin(lambda xs, training: _arange(xs[0].shape[axis], **constants))
    if name == "pad" and constants.get("mode") == "edge":  # which Keras does not know on torch
        return Twin(lambda xs, training: _edged(xs[0], constants["pad_width"]))
    if name == "cast":
        return Twin(lambda xs, training: function(xs[0], constants.get("dtype") or xs[1].dtype))
    if name in ("broadcast_to", "image_resize", "reshape"):  # which Keras gives no tensor to be like
        return Twin(lambda xs, training: function(xs[0], **constants))
    if name == "sparsemax":
        return Twin(lambda xs, training: _sparsemax(xs[0].movedim(axis, -1)).movedim(-1, axis))
    if name in ("layer_normalization", "rms_normalization") and axis == -2:  # on torch, Keras takes the last
        options = {**constants, "axis": -1}
        return Twin(lambda xs, training: function(xs[0].mT, **options).mT)
    if name == "get_item":
        key = eval(f"numpy.s_[{constants['key']}]", {"numpy": numpy})
        return Twin(lambda xs, training: _sliced(xs[0], key))
    if name == "count_nonzero":  # on torch, Keras turns the order of the axes around
        return Twin(lambda xs, training: keras.ops.sum(xs[0] != 0, **constants))
    if name == "searchsorted":
        rising = torch.tensor(constants.pop("sorted_sequence"), dtype=torch.float64)
        return Twin(lambda xs, training: function(rising, xs[0], **constants))
    if [argument.name for argument in cls.arguments] == ["real", "imag"]:
        return Twin(lambda xs, training: function(tuple(xs), **constants))
    if name in ("concatenate", "stack"):
        return Twin(lambda xs, training: function(xs, axis=constants.get("axis", -1)))
    if name in ("hstack", "dstack"):
        return Twin(lambda xs, training: function(xs))
    if cls.variadic:
        return Twin(lambda xs, training: function(*constants.values(), *xs))
    if name == "image_affine_transform":  # on torch, Keras writes into the transform
        return Twin(lambda xs, training: function(xs[0], xs[1].clone(), **constants))
    if name == "image_scale_and_translate":
        sizes = constants.pop("output_shape")[1:]
        return Twin(lambda xs, training: function(xs[0], (len(xs[0]), *sizes), **constants))

    def call(xs: list[Tensor], training: bool) -> Any:
        # PyTorch cannot differentiate the function that Keras calls
        rest = iter([x.detach() for x in xs] if name in ("floor_divide", "heaviside") else xs)
        keywords = dict(constants)
        operands = {a.name: keywords.pop(a.name, None) for a in cls.arguments}
        for operand, value in operands.items():
            operands[operand] = next(rest, None) if value is None else value
        if name == "isclose":  # torch 2.10 does not broadcast a number where NaNs are equal
            operands = {key: torch.as_tensor(value).expand(xs[0].shape) for key, value in operands.items()}
        if name in ("average", "slice_update", "take"):  # which have a constant between
            return function(
                **{key: value for key, value in operands.items() if value is not None}, **keywords
            )
        return function(*operands.values(), **keywords)

    return Twin(call)


def _arange(count: int, axis: int, start: float = 0, step: float = 1, dtype: str = "int64") -> Tensor:
    """As many numbers as an axis has elements, with a batch axis of 1."""
    numbers: Tensor = keras.ops.arange(start, start + count * step, step, dtype=dtype)[None]
    return numbers.double() if dtype.startswith("float") else numbers


def _each(cls: type[Layer], constants: dict[str, Any], xs: list[Tensor]) -> Tensor:
    """What the function does to each example."""
    name, keywords = cls.spec_name, dict(constants)
    function = getattr(keras.ops, name, None) or getattr(keras.ops.image, name.removeprefix("image_"))
    axes = keywords.get("axes")
    if keywords.get("axis", -1) > 0:
        keywords["axis"] -= 1
    if isinstance(axes, list):  # of the examples: without the batch
        sides = [side if isinstance(side, list) else [side] for side in axes]
        keywords["axes"] = [[a - 1 if a > 0 else a for a in side] for side in sides]
    if cls.spec_name == "vdot":  # on torch, Keras has it for vectors alone
        xs = [x.flatten(1) for x in xs]
    return torch.stack([function(*(x[i] for x in xs), **keywords) for i in range(len(xs[0]))])


def _normalized(xs: list[Tensor], axis: int, epsilon: float) -> Tensor:
    """Each example by means and variances of its own, where Keras has the same for all."""
    names = ("mean", "variance", "offset", "scale")
    rows = []
    for i, x in enumerate(xs[0]):
        given = dict(zip(names, (each[i] for each in xs[1:]), strict=False))
        rows.append(keras.ops.batch_normalization(x[None], axis=axis, epsilon=epsilon, **given))
    return torch.cat(rows)


def _crossentropy(target: Tensor, output: Tensor) -> Tensor:
    return -(target * output.log() + (1 - target) * (1 - output).log())


def _slice(x: Tensor, start_indices: list[int], shape: list[int]) -> Tensor:
    pairs = zip(start_indices, shape, x.shape, strict=True)
    sizes = [whole - start if size == -1 else size for start, size, whole in pairs]
    return keras.ops.slice(x, start_indices, sizes)


def _sliced(x: Tensor, key: tuple[Any, ...]) -> Tensor:
    """As numpy slices; PyTorch has no negative steps, so that the elements are picked one by one."""
    places = numpy.arange(x.numel()).reshape(x.shape)[key]
    return x.reshape(-1)[torch.from_numpy(places.copy())]


def _edged(x: Tensor, pad_width: list[list[int]]) -> Tensor:
    """As numpy pads: the elements are picked one by one."""
    places = numpy.pad(numpy.arange(x.numel()).reshape(x.shape), pad_width, mode="edge")
    return x.reshape(-1)[torch.from_numpy(places)]


def _steps(xs: list[Tensor], maxlen: int = 0) -> Tensor:
    """Which steps lie within the lengths: Keras has no function for it."""
    steps = keras.ops.arange(maxlen or xs[1].shape[1])
    found: Tensor = keras.ops.less(steps, keras.ops.expand_dims(xs[0], -1))
    return found


def _sparsemax(x: Tensor) -> Tensor:
    """The point of the simplex next to `x`, by bisection of its threshold.

    Keras adds the cumulative sums of the support where it should take the last: its rows do not sum to 1.
    """
    low, high = x.detach().amax(-1, keepdim=True) - 1, x.detach().amax(-1, keepdim=True)
    for _ in range(60):
        middle = (low + high) / 2
        below = (x.detach() - middle).clamp(min=0).sum(-1, keepdim=True) > 1
        low, high = torch.where(below, middle, low), torch.where(below, high, middle)
    support = (x.detach() > high).to(x.dtype)
    threshold = ((x * support).sum(-1, keepdim=True) - 1) / support.sum(-1, keepdim=True)
    return (x - threshold).clamp(min=0)


def _mel(layer: Any, x: Tensor) -> Tensor:
    """Each signal by itself, of which Keras cuts by the loudest; bands without rounding of their edges."""
    bands = type(layer).linear_to_mel_weight_matrix

    def exact(**options: Any) -> Tensor:
        found: Tensor = bands(layer, **options, dtype="float64")
        return found.float().double()

    layer.linear_to_mel_weight_matrix = exact
    return torch.cat([layer(each[None]) for each in x])


def _random_crop(layer: Any, x: Tensor, training: bool) -> Tensor:
    """A random window where images are larger in training, else what Keras' documentation of the layer says:
    the largest window of this aspect in the middle, resized.

    In inference Keras hands on whole images; in training it cuts those that are not larger out of aspect.
    """
    height, width = x.shape[layer.height_axis], x.shape[layer.width_axis]
    if training and height > layer.height and width > layer.width:
        return layer(x, training=True)
    size = (layer.height, layer.width)
    return keras.preprocessing.image.smart_resize(x.double(), size, data_format=layer.data_format)


def _average_same(layer: Any, x: Tensor) -> Tensor:
    """Average pooling whose padding does not count, as Keras has it on JAX and TensorFlow.

    On torch Keras repeats the border where padding is uneven, and counts it.
    """
    first = layer.data_format == "channels_first"
    sizes = x.shape[2:] if first else x.shape[1:-1]
    pads: list[int] = []
    for size, width, stride in zip(sizes, layer.pool_size, layer.strides, strict=True):
        total = max((-(-size // stride) - 1) * stride + width - size, 0)
        pads = [total // 2, total - total // 2, *pads]
    pads = pads if first else [0, 0, *pads]
    valid = type(layer)(layer.pool_size, layer.strides, data_format=layer.data_format, dtype="float64")
    return valid(F.pad(x, pads)) / valid(F.pad(torch.ones_like(x), pads))

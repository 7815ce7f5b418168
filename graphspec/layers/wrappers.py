"""Layers that wrap other layers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any, ClassVar

from graphspec.contract.fields import Positive
from graphspec.contract.input_checks import need_float
from graphspec.contract.layer import Argument, Code, Example, Layer, LayerError, Memory, Site, Weight
from graphspec.contract.moving import Moving, Stepping
from graphspec.contract.penalties import Constraint, Regularizer
from graphspec.contract.scanning import Scanning
from graphspec.contract.streaming import Roles, Streaming, frame
from graphspec.contract.wrapper import Wrapper
from graphspec.diagnostics.foreign_terms import ARGUMENT_WORDS
from graphspec.tensor import Dim, Tensor


class TimeDistributed(Wrapper):
    """Applies a layer, block or model to each step of axis 1, with shared weights.

    In training a batch normalization inside it learns from each step by itself, one after another. A mask of
    the steps is passed on; the wrapped layer does not see it.
    """

    supports_masking = True

    often_wraps = ("Dense", "Conv2D", "BatchNormalization", "Softmax")
    examples = (Example({"wraps": {"layer": "Dense", "units": 4}}, ((3, 5),)),)

    def enter(self, x: Tensor) -> tuple[Tensor, ...]:
        if x.rank < 3:
            raise LayerError(
                "wrong-rank",
                f"TimeDistributed takes at least 3 axes, `[batch, steps, ...]`, and gets {x.rank}: {x}",
                inputs=(0,),
            )
        return (x.with_shape(x.shape[0] * x.shape[1], *x.shape[2:]),)

    def leave(self, output: Tensor, x: Tensor) -> Tensor:
        return output.with_shape(*x.shape[:2], *output.shape[1:])

    def enter_code(self) -> str:
        return "{x}.flatten(0, 1)"

    def leave_code(self) -> str:
        return "{y}.unflatten(0, {x}.shape[:2])"

    def times(self, x: Tensor) -> Dim:
        return x.shape[1]

    def wrapping(self, layers: Iterable[Layer]) -> Wrapper:
        return _StepByStep() if any(layer.learns_of_calls for layer in layers) else self

    def stream(self, site: Site, roles: tuple[Any, ...]) -> Streaming | None:
        if roles[0][1:] != ("new", *[None] * (len(roles[0]) - 2)):
            return None
        outputs: list[Roles] = [(None, "new", *[None] * (each.rank - 2)) for each in site.outputs]
        return frame(*outputs)


class _StepByStep(TimeDistributed, abstract=True):
    """Around what learns from the batch of each call, as a batch normalization does: Keras calls it once a
    step, so that each step has its own statistics in training. In inference steps are a batch.
    """

    @property
    def title(self) -> str:
        return TimeDistributed.spec_name

    def in_inference(self) -> Wrapper:
        return TimeDistributed()

    def enter_code(self) -> str:
        return "step"

    def leave_code(self) -> str:
        return "together([{y} for step in apart({x}, self.training)], {x}, self.training)"


class Scan(Scanning, also="scan rnn_cell custom_cell while_loop"):
    """Runs a block, model, layer or call as a cell over the steps of sequences `[batch, steps, ...]`.

    An input of the cell that is called as an output of it is a state: the first step gets what `from` gives,
    every other step what the step before gave. Other outputs are given for all steps, states after the last
    one. At a masked step the states stay, and the other outputs are those of the step before.
    """

    often_wraps = ("Dense", "LSTMCell", "GRUCell")
    examples = (Example({"wraps": {"layer": "Dense", "units": 4}, "over": ["x"]}, ((3, 5),)),)


class InputGradient(Wrapper, also="GradientPenalty gradient_penalty grad"):
    """The gradient of a layer, block or model by its input, in the shape of the input: that of the sum of all
    that it gives. It has gradients itself, as a penalty on it needs. Of several inputs it is by `by`.
    """

    synonyms: ClassVar[Mapping[str, str]] = {
        **ARGUMENT_WORDS,
        "wrt": "by",
        "inputs": "by",
    }

    passes_on = False
    exports = False
    several = True

    by: str | None = None
    """Input of the wrapped block that the gradient is by; by default its first."""

    examples = (
        Example({"wraps": {"layer": "Dense", "units": 4, "activation": "tanh"}, "by": "x"}, ((5,),)),
        Example(
            {"wraps": {"layer": "Conv2D", "filters": 2, "kernel_size": 3, "activation": "sigmoid"}},
            ((5, 5, 3),),
        ),
    )

    def enter(self, x: Tensor) -> tuple[Tensor, ...]:
        need_float(x, layer="InputGradient")
        return (x,)

    def place(self, names: list[str]) -> int:
        if self.by is None:
            return 0
        if self.by not in names:
            help = f"its inputs: {', '.join(names)}"
            message = f"`{self.by}` is not an input of what `InputGradient` wraps"
            raise LayerError("unknown-key", message, help=help, argument="by")
        return names.index(self.by)

    def leave(self, output: Tensor, x: Tensor) -> Tensor:
        need_float(output, layer="InputGradient")
        return x

    def enter_code(self) -> str:
        return "watched"

    def leave_code(self) -> str:
        return "input_gradient(lambda watched: {y}, {x})"

    def times(self, *inputs: Any) -> Dim:
        return 3


class GradientSteps(Stepping, also="MAML maml inner_loop adapt fast_weights"):
    """How far steps of gradient descent on a loss move weights, by each example alone: `[batch, weights]`.

    It wraps the loss: a block, model, layer or call, whose mean over an example counts. `MovedWeights` calls
    a network with the change. It has gradients, those of the gradient, unless `op: stop_gradient` follows.
    """

    often_wraps = ("Dense",)
    examples = (
        Example({"wraps": {"layer": "Dense", "units": 4}, "learning_rate": 0.2, "steps": 3}, ((5,),)),
        Example({"wraps": {"layer": "Dense", "units": 2, "activation": "tanh"}, "of": None}, ((3, 5),)),
    )


class MovedWeights(Moving, also="functional_call HyperNetwork hypernetwork"):
    """Calls what it wraps with weights of each example's own: those that it has plus a change,
    `[batch, weights]`, its last input.

    `GradientSteps` gives such a change; so may a `Dense` layer, for weights that depend on an input.
    """

    arguments = (Argument("x"), Argument("change"))

    often_wraps = ("Dense", "Conv2D")
    examples = (Example({"wraps": {"layer": "Dense", "units": 4, "activation": "tanh"}}, ((5,), (24,))),)


class SpectralNormalization(Wrapper):
    """Divides the kernel, or embedding table, of the wrapped layer by its largest singular value.

    It does so before each call in training, in place; `power_iterations` steps estimate the norm.
    """

    power_iterations: Positive = 1
    """Iterations for the estimate of the largest singular value."""

    often_wraps = ("Dense", "Conv1D", "Conv2D", "Conv2DTranspose", "EinsumDense", "Embedding")
    examples = (Example({"wraps": {"layer": "Dense", "units": 4}}, ((5,),)),)

    def around(self, layer: Layer | None, *inputs: Tensor) -> Layer:
        first = next(iter(layer.weights(*inputs)), None) if layer is not None else None
        if layer is None or first is None or (first.name, first.unmerged) != ("weight", None):
            what = "a block or model" if layer is None else f"`{layer.spec_name}`"
            raise LayerError(
                "not-supported",
                f"SpectralNormalization wraps a layer with one kernel or table of embeddings, and not {what}",
                help="wrap each `Dense`, convolution or `Embedding` by itself",
                argument="wraps",
            )
        return Normalized(layer=layer, power_iterations=self.power_iterations)


class Normalized(Layer, abstract=True):
    """A layer whose kernel `SpectralNormalization` divides by its norm; otherwise the layer itself."""

    layer: Layer
    power_iterations: int
    rerunnable = False  # it divides its kernel at each call

    def infer(self, *inputs: Any) -> Tensor | tuple[Tensor, ...]:
        return self.layer.infer(*inputs)

    def weights(self, *inputs: Any) -> tuple[Weight, ...]:
        kernel, *others = self.layer.weights(*inputs)
        dim = self.rows(kernel)
        return kernel, Weight("u", (kernel.shape[dim],), "vector_u", trainable=False), *others

    @staticmethod
    def rows(kernel: Weight) -> int:
        """The axis of the kernel that is the last in Keras."""
        last = len(kernel.shape) - 1
        return kernel.permute.index(last) if kernel.permute else last

    def mask(self, inputs: tuple[Any, ...], masks: tuple[Any, ...]) -> Any:
        return self.layer.mask(inputs, masks)

    def code(self, site: Site) -> Code:
        code = self.layer.code(site)
        assert code.construct is not None
        dim = self.rows(self.layer.weights(*site.inputs)[0])
        options = f", {self.power_iterations}" if self.power_iterations > 1 else ""
        around = f"spectral_norm({{module}}{options}" + (f", dim={dim})" if dim else ")")
        construct = replace(code.construct, around=around)
        return replace(code, construct=construct)

    def memory(self, *inputs: Any) -> Memory:
        return self.layer.memory(*inputs)

    def flops(self, site: Site) -> Dim:
        return self.layer.flops(site)

    def regularizer(self, weight: Weight) -> Regularizer | None:
        return self.layer.regularizer(weight)

    def constraint(self, weight: Weight) -> Constraint | None:
        return self.layer.constraint(weight)

    @property
    def activity_regularizer(self) -> Regularizer | None:
        """The regularizer of the layer."""
        return getattr(self.layer, "activity_regularizer", None)

    def longest(self, *inputs: Any) -> tuple[tuple[Dim, int], ...]:
        return self.layer.longest(*inputs)

    def shortest(self, *inputs: Any) -> tuple[tuple[Dim, int], ...]:
        return self.layer.shortest(*inputs)

    def limit(self) -> int | None:
        return self.layer.limit()

    def output_activation(self) -> str | None:
        return self.layer.output_activation()

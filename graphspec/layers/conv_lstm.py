"""ConvLSTM: an LSTM that uses convolutions in place of matrix products."""

from __future__ import annotations

from typing import Any, Literal

from graphspec.contract.activation_types import need_keeping
from graphspec.contract.activations import SIGMOID, TANH, ActivationFunction
from graphspec.contract.broadcasting import stretch
from graphspec.contract.fields import Positive
from graphspec.contract.initializers import Initializer, Zeros
from graphspec.contract.input_checks import need_mask
from graphspec.contract.layer import Code, Example, LayerError, ModuleCall, Ref, Site, Weight
from graphspec.contract.penalties import Constraint, Regularizer
from graphspec.contract.random_initializers import Orthogonal
from graphspec.contract.variance_scaling import GlorotUniform
from graphspec.contract.windows import (
    DataFormat,
    Window,
    margin_instead,
    need_spatial,
    slide,
)
from graphspec.layers.recurrent import OverSteps, Rate, more_arguments
from graphspec.tensor import Dim, Tensor, product


class _ConvLSTM(OverSteps, abstract=True):
    """The base of these layers: the hidden state and the cell state are images, [*sizes, filters]."""

    filters: Positive
    kernel_size: Window
    strides: Window = (1,)
    padding: Literal["valid", "same"] = "valid"
    data_format: DataFormat = "channels_last"
    dilation_rate: Window = (1,)
    activation: ActivationFunction = TANH
    recurrent_activation: ActivationFunction = SIGMOID
    use_bias: bool = True
    kernel_initializer: Initializer = GlorotUniform()
    recurrent_initializer: Initializer = Orthogonal()
    bias_initializer: Initializer = Zeros()
    unit_forget_bias: bool = True
    kernel_regularizer: Regularizer | None = None
    recurrent_regularizer: Regularizer | None = None
    bias_regularizer: Regularizer | None = None
    activity_regularizer: Regularizer | None = None
    kernel_constraint: Constraint | None = None
    recurrent_constraint: Constraint | None = None
    bias_constraint: Constraint | None = None
    dropout: Rate = 0.0
    recurrent_dropout: Rate = 0.0
    seed: None = None
    return_sequences: bool = False
    return_state: bool = False
    go_backwards: bool = False
    stateful: Literal[False] = False

    @classmethod
    def instead(cls, argument: str, value: object) -> str | None:
        return margin_instead(argument, value, f"ZeroPadding{cls.rank}D")

    @property
    def last(self) -> bool:
        """Whether channels come last."""
        return self.data_format == "channels_last"

    def step(self, sequences: Tensor) -> Tensor:
        """The type of one step of valid sequences."""
        if sequences.rank < 3:
            message = f"{self.spec_name} takes [batch, steps, *sizes, channels], and gets {sequences}"
            raise LayerError("wrong-rank", message, inputs=(0,))
        step = sequences.with_shape(sequences.shape[0], *sequences.shape[2:])
        need_spatial(step, self.rank, self.data_format, layer=f"{self.spec_name}, at each step,")
        if not isinstance(self.channels(step), int):
            message = f"{self.spec_name} needs to know the channels of {sequences}"
            raise LayerError("unknown-size", message, inputs=(0,))
        return step

    def channels(self, step: Tensor) -> Dim:
        """The size of the axis of channels."""
        return step.shape[-1 if self.last else 1]

    def infer(
        self, sequences: Tensor, initial_state: tuple[Tensor, ...] | None = None, mask: Tensor | None = None
    ) -> Tensor | tuple[Tensor, ...]:
        step = self.step(sequences)
        steps = sequences.with_shape(*sequences.shape[:2], 1)
        need_mask(mask, steps, layer=self.spec_name, position=1 + len(initial_state or ()))
        sizes = slide(
            step,
            step.shape[1:-1] if self.last else step.shape[2:],
            self.kernel_size,
            self.strides,
            self.padding,
            self.dilation_rate,
            layer=self.spec_name,
            argument="kernel_size",
        )
        image = (*sizes, self.filters) if self.last else (self.filters, *sizes)
        state = step.with_shape(step.shape[0], *image)
        for argument, function in self.functions().items():
            need_keeping(state, function, argument, layer=self.spec_name)
        self._check_states(state, initial_state)
        output = state
        if self.return_sequences:
            output = state.with_shape(state.shape[0], sequences.shape[1], *image)
        return (output, state, state) if self.return_state else output

    def _check_states(self, state: Tensor, states_given: tuple[Tensor, ...] | None) -> None:
        if states_given and len(states_given) != 2:
            message = f"`initial_state` of {self.spec_name} takes 2 tensors and gets {len(states_given)}"
            help = "`return_state: true` gives as many: `state_h` and `state_c`"
            raise LayerError("input-count", message, help=help, inputs=(1,))
        for position, each in enumerate(states_given or (), 1):
            fits = each.shape[1:] == state.shape[1:] and each.dtype == state.dtype
            if not fits or stretch(each.shape[0], state.shape[0]) != state.shape[0]:
                message = f"the state of {self.spec_name} is {state}, and {{input{position}}} is {each}"
                raise LayerError("shapes-differ", message, inputs=(position,))

    def functions(self) -> dict[str, ActivationFunction]:
        """The activations that the cell calls, by argument name."""
        return {"activation": self.activation, "recurrent_activation": self.recurrent_activation}

    def output_names(self) -> tuple[str, ...]:
        return ("state_h", "state_c") if self.return_state else ()

    def weights(self, sequences: Tensor, *others: Any) -> tuple[Weight, ...]:
        channels = self.channels(self.step(sequences))
        assert isinstance(channels, int)
        order = (self.rank + 1, self.rank, *range(self.rank))
        rows, window = 4 * self.filters, self.kernel_size
        kernel, recurrent = self.kernel_initializer, self.recurrent_initializer
        fill = "" if kernel == GlorotUniform() else kernel.statement()
        recurrent_fill = "" if recurrent == Orthogonal() else recurrent.statement()
        parameters = [
            Weight("weight_ih", (rows, channels, *window), "kernel", order, initializer=fill),
            Weight(
                "weight_hh",
                (rows, self.filters, *window),
                "recurrent_kernel",
                order,
                initializer=recurrent_fill,
            ),
        ]
        if self.use_bias:
            parameters.append(Weight("bias_ih", (rows,), "bias", initializer=self._bias()))
        return tuple(parameters)

    def _bias(self) -> str:
        """The statement that initializes the bias; "" if the module starts as in Keras."""
        fill = self.bias_initializer.vector_statement()
        if not self.unit_forget_bias:
            return fill
        is_zero = self.bias_initializer == Zeros()
        return "" if is_zero else f"forget_bias_({{w}}, lambda w: {fill.format(w='w')})"

    def code(self, site: Site) -> Code:
        step = self.step(site.x)
        place = Site((step,), (), channels_first=self.last).axis  # the module has channels at axis 1
        functions = {
            name: (Ref(function.with_axis(place).callable()), Ref(default))
            for (name, function), default in zip(
                self.functions().items(), ("torch.tanh", "torch.sigmoid"), strict=True
            )
        }
        ones = (1,) * self.rank
        construct = ModuleCall(
            "ConvLSTM",
            {
                "in_channels": self.channels(step),  # type: ignore[dict-item]
                "out_channels": self.filters,
                "kernel_size": self.kernel_size,
            },
            {
                "stride": (self.strides, ones),
                "padding": (self.padding, "valid"),
                "dilation": (self.dilation_rate, ones),
                "bias": (self.use_bias, True),
                "return_sequences": (self.return_sequences, False),
                "return_state": (self.return_state, False),
                **functions,
                "dropout": (self.dropout, 0.0),
                "recurrent_dropout": (self.recurrent_dropout, 0.0),
                "channels_first": (not self.last, False),
            },
        )
        flip = ".flip(1)" if self.go_backwards else ""
        call = f"{{self}}({{sequences}}{flip}{more_arguments(site, flip)})"
        return Code(call, construct)

    def flops(self, site: Site) -> Dim:
        step, filters = self.step(site.x), self.filters
        image = site.outputs[0].shape[2 if self.return_sequences else 1 :]
        place = product(self.kernel_size) * 2 * (self.channels(step) + filters) + 1 + self.use_bias
        return site.x.shape[1] * product(image) * (4 * place + 5)


class ConvLSTM1D(_ConvLSTM):
    """An LSTM with convolutions in place of matrix products, over sequences `[steps, length, channels]`."""

    examples = (Example({"filters": 3, "kernel_size": 2}, ((3, 5, 2),)),)


class ConvLSTM2D(_ConvLSTM):
    """An LSTM with convolutions in place of matrix products, over videos `[steps, height, width, channels]`.

    Source: Shi, 2015.
    """

    examples = (Example({"filters": 3, "kernel_size": 2}, ((3, 5, 4, 2),)),)


class ConvLSTM3D(_ConvLSTM):
    """An LSTM with convolutions in place of matrix products, over sequences of volumes."""

    examples = (Example({"filters": 3, "kernel_size": 2}, ((3, 4, 3, 3, 2),)),)

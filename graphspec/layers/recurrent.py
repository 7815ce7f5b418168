"""The base of the recurrent layers.

Where Keras and PyTorch define the same cell, a thin subclass of PyTorch's module runs its kernels. Other
activations, and dropout of the state, run step by step. Both have the same keys in the state dict, with masks
and without.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import Field

from graphspec.contract.activation_types import need_keeping
from graphspec.contract.activations import TANH, ActivationFunction
from graphspec.contract.broadcasting import stretch
from graphspec.contract.fields import Positive
from graphspec.contract.initializers import Initializer, Zeros, need_fillable
from graphspec.contract.input_checks import known_channels, need_float, need_mask, need_rank
from graphspec.contract.layer import Argument, Code, Layer, LayerError, Leaf, ModuleCall, Ref, Site, Weight
from graphspec.contract.penalties import Constraint, Regularizer
from graphspec.contract.random_initializers import Orthogonal
from graphspec.contract.stepping import PLACES, carrying, last_output
from graphspec.contract.streaming import Roles, StepState, Streaming, whole
from graphspec.contract.variance_scaling import GlorotUniform
from graphspec.diagnostics.foreign_terms import RECURRENT
from graphspec.tensor import Dim, Tensor

Rate = Annotated[float, Field(ge=0, lt=1)]


class OverSteps(Layer, abstract=True):
    """The base of layers that run over the steps of sequences, from a state to the next."""

    arguments = (
        Argument("sequences"),
        Argument("initial_state", required=False, many=True),
        Argument("mask", required=False),
    )
    recurrent = True

    if TYPE_CHECKING:  # fields of the subclasses, which list all of their fields in Keras' order
        return_sequences: bool
        return_state: bool
        go_backwards: bool

    def stream(self, site: Site, roles: tuple[Any, ...]) -> Streaming | None:
        steps: Roles = (None, "new", *[None] * (site.x.rank - 2))
        if roles[0] != steps or any(any(each) for each in roles[1] or ()):
            return None
        if not self.return_sequences:
            return whole("gives its last step alone", "write `return_sequences: true`")
        if self.go_backwards:
            return whole("reads the steps backwards", "leave out `go_backwards`")
        masked = takes_mask(site)
        if masked and roles[2] != (None, "new"):
            return None
        layer = self.model_copy(update={"return_state": True})
        made: Any = layer.infer(site.x)
        states = [
            StepState(name, state.shape[1:], state.dtype)
            for name, state in zip(layer.output_names(), made[1:], strict=True)
        ]
        repeats = masked and not getattr(self, "zero_output_for_mask", False)
        states += [last_output(made[0])] if repeats else []
        if any(not isinstance(size, int) for state in states for size in state.shape):
            return whole("keeps images whose size is not known", "give their sizes as numbers")
        outputs: tuple[Roles | None, ...] = (steps, *[None] * (len(site.outputs) - 1))
        step = StepMasked(of=self) if repeats else StepRecurrent(of=self)
        return Streaming("state", outputs, step=step, states=tuple(states))

    def option_for(self, output: str) -> str | None:
        return "return_state" if "state" in output.split("_") else None

    def output_activation(self) -> str | None:
        return None  # `activation` is applied inside the cell

    def mask(self, inputs: tuple[Any, ...], masks: tuple[Any, ...]) -> Any:
        return masks[0] if self.return_sequences else None


class Recurrent(OverSteps, abstract=True):
    """The base of recurrent layers: sequences [batch, length, features] become one step or all, and states.

    `module` is a class around PyTorch's kernel, and `Bidirectional<module>` runs it in both directions;
    `Scanned<module>` covers all other configurations. Their weights are
    `weight_ih_l0` [gates * units, features], `weight_hh_l0` [gates * units, units] and `bias_ih_l0`.
    """

    remedies = RECURRENT
    gates: ClassVar[int]
    order: ClassVar[tuple[int, ...] | None] = None  # of the gates, if PyTorch's is not Keras'
    pointwise: ClassVar[int] = 0  # operations per step and unit, without products and activations
    state_names: ClassVar[tuple[str, ...]]
    module: ClassVar[str]

    units: Positive
    activation: ActivationFunction = TANH
    use_bias: bool = True
    kernel_initializer: Initializer = GlorotUniform()
    recurrent_initializer: Initializer = Orthogonal()
    bias_initializer: Initializer = Zeros()
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
    unroll: bool = False  # how Keras runs the loop; it has no effect here
    zero_output_for_mask: bool = False

    def infer(
        self, sequences: Tensor, initial_state: tuple[Tensor, ...] | None = None, mask: Tensor | None = None
    ) -> Tensor | tuple[Tensor, ...]:
        batch = self.accept(sequences, initial_state, mask, len(self.state_names), self.spec_name)
        state = sequences.with_shape(batch, self.units)
        output = (
            sequences.with_shape(batch, sequences.shape[1], self.units) if self.return_sequences else state
        )
        return (output, *[state] * len(self.state_names)) if self.return_state else output

    def accept(
        self,
        sequences: Tensor,
        states: tuple[Tensor, ...] | None,
        mask: Tensor | None,
        count: int,
        layer: str,
    ) -> Dim:
        """Refuses inputs that do not fit `layer` with `count` initial states; returns the batch size."""
        need_rank(sequences, 3, layer=layer, shape="[length, features]")
        need_float(sequences, layer=layer)
        known_channels(sequences, layer=layer, what="features")
        for argument, function in self.functions().items():
            need_keeping(
                sequences.with_shape(sequences.shape[0], self.units), function, argument, layer=layer
            )
        need_fillable(self, kernel_initializer=2, recurrent_initializer=2, bias_initializer=1)
        need_mask(mask, sequences, layer=layer, position=1 + len(states or ()))
        if not states:
            return sequences.shape[0]
        if len(states) != count:
            raise LayerError(
                "input-count",
                f"`initial_state` of {layer} takes {count} tensors and gets {len(states)}",
                help=f"`return_state: true` gives as many: the state of `{self.spec_name}` is "
                + " and ".join(f"`{name}`" for name in self.state_names),
                inputs=(1,),
            )
        for position, state in enumerate(states, 1):
            fits = state.rank == 2 and state.shape[1] == self.units and state.dtype == sequences.dtype
            if not fits or stretch(state.shape[0], sequences.shape[0]) != sequences.shape[0]:
                wanted = sequences.with_shape(sequences.shape[0], self.units)
                raise LayerError(
                    "shapes-differ",
                    f"the state of {layer} is {wanted}, and {{input{position}}} is {state}",
                    help=f"the layer that gives the state needs `units: {self.units}`",
                    inputs=(position,),
                )
        return sequences.shape[0]

    def output_names(self) -> tuple[str, ...]:
        return self.state_names if self.return_state else ()

    @property
    def fast(self) -> bool:
        """Whether PyTorch's own kernel computes this cell."""
        return self.activation == TANH and not self.recurrent_dropout

    @property
    def input_dropout(self) -> float:
        """The rate of a dropout before the module. With dropout of the state, the scan applies both."""
        return 0.0 if self.recurrent_dropout else self.dropout

    def bias_statement(self) -> str:
        """The statement that initializes the bias; "" if the module starts as in Keras."""
        return "" if self.bias_initializer == Zeros() else self.bias_initializer.vector_statement()

    def bias_weight(self, name: str, row: int | None = None) -> Weight:
        """A bias, or one row of it."""
        shape = (self.gates * self.units,)
        return Weight(name, shape, "bias", gates=self.order, initializer=self.bias_statement(), row=row)

    def biases(self, prefix: str, suffix: str) -> tuple[Weight, ...]:
        """The bias as the module's parameters."""
        return (self.bias_weight(f"{prefix}bias_ih_l0{suffix}"),) if self.use_bias else ()

    def cell_weights(self, features: int, prefix: str = "", suffix: str = "") -> tuple[Weight, ...]:
        """The weights of one direction; `prefix` and `suffix` are added to the names in the state dict."""
        kernel, recurrent = self.kernel_initializer, self.recurrent_initializer
        rows = self.gates * self.units
        return (
            Weight(
                f"{prefix}weight_ih_l0{suffix}",
                (rows, features),
                "kernel",
                (1, 0),
                self.order,
                initializer="" if kernel == GlorotUniform() else kernel.statement(),
            ),
            Weight(
                f"{prefix}weight_hh_l0{suffix}",
                (rows, self.units),
                "recurrent_kernel",
                (1, 0),
                self.order,
                initializer="" if recurrent == Orthogonal() else recurrent.statement(),
            ),
            *self.biases(prefix, suffix),
        )

    def weights(self, sequences: Tensor, *others: Any) -> tuple[Weight, ...]:
        return self.cell_weights(known_channels(sequences, layer=self.spec_name))

    def options(self) -> dict[str, tuple[Leaf, Leaf]]:
        """The keywords of the scan. Where `module` is used, those that it lacks have their defaults."""
        return {
            "bias": (self.use_bias, True),
            "return_sequences": (self.return_sequences, False),
            "return_state": (self.return_state, False),
            "activation": (Ref(self.activation.callable()), Ref("torch.tanh")),
            "dropout": (self.dropout - self.input_dropout, 0.0),
            "recurrent_dropout": (self.recurrent_dropout, 0.0),
        }

    def cell_module(self, features: int, with_mask: bool) -> ModuleCall:
        """The module for sequences of `features`, with masks or without."""
        sizes: dict[str, Leaf] = {"input_size": features, "hidden_size": self.units}
        options = {**self.options(), "zero_output_for_mask": (with_mask and self.zero_output_for_mask, False)}
        scan = f"Scanned{self.module}"
        target = self.module if self.fast else scan
        return ModuleCall(target, sizes, options, general=scan)

    def functions(self) -> dict[str, ActivationFunction]:
        """The activations that the cell calls, by argument name."""
        return {"activation": self.activation}

    def code(self, site: Site) -> Code:
        sequences, constants = "{sequences}", {}
        if self.input_dropout:
            sequences = "dropout_steps({sequences}, {dropout}, {self}.training)"
            constants = {"dropout": self.input_dropout}
        flip = ".flip(1)" if self.go_backwards else ""
        construct = self.cell_module(known_channels(site.x, layer=self.spec_name), takes_mask(site))
        call = f"{{self}}({sequences}{flip}{more_arguments(site, flip)})"
        return Code(call, construct, constants)

    def flops(self, site: Site) -> Dim:
        features = known_channels(site.x, layer=self.spec_name)
        products = 2 * self.gates * self.units * (features + self.units)
        return site.x.shape[1] * (
            products + self.gates * self.units * (1 + self.use_bias) + self.pointwise * self.units
        )


def takes_mask(site: Site) -> bool:
    """Whether a recurrent layer is called with a mask."""
    return len(site.inputs) > 2 and site.inputs[2] is not None


def more_arguments(site: Site, flip: str = "") -> str:
    """The arguments of a recurrent module after the sequences; `flip` reverses the mask."""
    state = ", {initial_state}" if any(site.inputs[1:2]) else ""
    return f"{state}, mask={{mask}}{flip}" if takes_mask(site) else state


def spelled(construct: ModuleCall) -> str:
    """A module as Python, for use in another module's constructor."""
    texts = [_text(value) for value in construct.positional.values()]
    texts += [f"{k}={_text(value)}" for k, (value, default) in construct.keyword.items() if value != default]
    return f"{construct.target}({', '.join(texts)})"


def _text(value: Leaf) -> str:
    return value.text if isinstance(value, Ref) else repr(value)


class StepRecurrent(Layer, abstract=True, spec_name="recurrent"):
    """A recurrent layer that goes on from its state."""

    arguments: ClassVar[tuple[Argument, ...]] = (*OverSteps.arguments, PLACES, Argument("states", many=True))

    of: OverSteps

    def infer(self, sequences: Tensor, *others: Any) -> Tensor:
        output = self.of.model_copy(update={"return_state": False}).infer(sequences)
        assert isinstance(output, Tensor)
        return output

    def weights(self, *inputs: Any) -> tuple[Weight, ...]:
        return self.of.weights(*inputs[:1])

    def code(self, site: Site) -> Code:
        none = {"dropout": 0.0, "recurrent_dropout": 0.0}.items()
        update = {"return_state": True, **{key: rate for key, rate in none if hasattr(self.of, key)}}
        layer = self.of.model_copy(update=update)
        initial, states = site.inputs[1], site.inputs[4]
        code = layer.code(Site((site.x, states, site.inputs[2]), (*site.outputs, *states)))
        given = "begun({places}, {initial_state}, {states})" if initial else "{states}"
        call = code.call.replace("{initial_state}", given)
        return replace(code, call=carrying(call, len(site.inputs) > 5))

    def flops(self, site: Site) -> Dim:
        return self.of.flops(site)


class StepMasked(StepRecurrent, abstract=True, spec_name="recurrent"):
    """A recurrent layer that goes on from its state, and at masked steps repeats its output."""

    arguments = (*StepRecurrent.arguments, Argument("last"))

"""Cells of recurrent layers: one step, alone or stacked, and `RNN`, the layer that runs them.

A cell is the recurrent layer of the same name, applied to one step. Both share the same code.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, PlainValidator, SerializeAsAny, WithJsonSchema
from pydantic_core import PydanticCustomError

from graphspec.contract.activations import SIGMOID, TANH, ActivationFunction
from graphspec.contract.fields import Positive
from graphspec.contract.initializers import Initializer, Zeros
from graphspec.contract.input_checks import known_channels, need_rank
from graphspec.contract.layer import (
    Argument,
    Code,
    Example,
    Layer,
    LayerError,
    Leaf,
    ModuleCall,
    Ref,
    Site,
    Weight,
)
from graphspec.contract.penalties import Constraint, Regularizer
from graphspec.contract.random_initializers import Orthogonal
from graphspec.contract.registry import REGISTRY
from graphspec.contract.variance_scaling import GlorotUniform
from graphspec.layers.gru import GRU
from graphspec.layers.lstm import LSTM
from graphspec.layers.recurrent import OverSteps, Rate, Recurrent, more_arguments, spelled, takes_mask
from graphspec.layers.simple_rnn import SimpleRNN
from graphspec.settings import Setting
from graphspec.tensor import Dim, Tensor


class CellStack:
    """Recurrent layers one above another, the first at the bottom; runs one cell or several."""

    def __init__(self, layers: tuple[Recurrent, ...]):
        self.layers = layers

    def state_names(self) -> tuple[str, ...]:
        """The names of the layer's states, or of each layer's states with its number."""
        if len(self.layers) == 1:
            return self.layers[0].state_names
        return tuple(f"{name}_{i}" for i, layer in enumerate(self.layers) for name in layer.state_names)

    def states(self, like: Tensor) -> tuple[Tensor, ...]:
        """The types of the states, in order."""
        return tuple(
            like.with_shape(like.shape[0], layer.units) for layer in self.layers for _ in layer.state_names
        )

    def accept(
        self, sequences: Tensor, states: tuple[Tensor, ...] | None, mask: Tensor | None, layer: str
    ) -> Tensor:
        """Refuses inputs that do not fit; returns the top layer's outputs at all steps."""
        count = sum(len(each.state_names) for each in self.layers)
        if states and len(states) != count:
            raise LayerError(
                "input-count",
                f"`{layer}` takes {count} states and gets {len(states)}",
                help="as many as its cells have: two for an LSTMCell, one for the others",
                inputs=(1,),
            )
        rest = list(states or ())
        for each in self.layers:
            layer_states = tuple(rest[: len(each.state_names)])
            rest = rest[len(each.state_names) :]
            batch = each.accept(sequences, layer_states or None, mask, len(each.state_names), layer)
            sequences = sequences.with_shape(batch, sequences.shape[1], each.units)
        return sequences

    def features(self, features: int) -> tuple[int, ...]:
        """The width of each layer's input."""
        return (features, *(layer.units for layer in self.layers[:-1]))

    def weights(self, features: int) -> tuple[Weight, ...]:
        """The weights of all layers, numbered if there are several."""
        widths = zip(self.layers, self.features(features), strict=True)
        if len(self.layers) == 1:
            return self.layers[0].cell_weights(features)
        return tuple(w for i, (each, width) in enumerate(widths) for w in each.cell_weights(width, f"{i}."))

    def owner(self, weight: Weight) -> Recurrent:
        """The layer that a weight belongs to."""
        number = weight.name.partition(".")[0]
        return self.layers[int(number) if number.isdigit() else 0]

    def construct(self, features: int, with_mask: bool, with_states: bool) -> ModuleCall:
        """The module."""
        pairs = zip(self.layers, self.features(features), strict=True)
        modules = [each.cell_module(width, with_mask) for each, width in pairs]
        if len(modules) == 1:
            return modules[0]
        rates = tuple(each.input_dropout for each in self.layers)
        counts = tuple(len(each.state_names) for each in self.layers)
        keyword: dict[str, tuple[Leaf, Leaf]] = {
            "states": (counts if with_states else None, None),
            "return_state": (self.layers[0].return_state, False),
            "step_dropout": (rates if any(rates) else None, None),
        }
        layers = {f"layer{i}": Ref(spelled(inner)) for i, inner in enumerate(modules)}
        return ModuleCall("StackedRNN", layers, keyword)

    def flops(self, site: Site) -> Dim:
        """The FLOPs of all layers over the sequences of a site."""
        total: Dim = 0
        x = site.x
        for each in self.layers:
            total = total + each.flops(Site((x,), site.outputs))
            x = x.with_shape(*x.shape[:-1], each.units)
        return total


class Cell(Layer, abstract=True):
    """One step of a recurrent layer: `from: {inputs: x, states: [...]}` gives its output and its states."""

    arguments = (Argument("inputs"), Argument("states", many=True))

    def layers(self, **options: Any) -> tuple[Recurrent, ...]:
        """The recurrent layers that run it, with these options."""
        raise TypeError(f"{type(self).__name__} says no layers")

    def stack(self) -> CellStack:
        """Runs one step of it."""
        *below, _ = self.layers(return_state=True, return_sequences=True)
        return CellStack((*below, self.layers(return_state=True)[-1]))

    def infer(self, inputs: Tensor, states: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        need_rank(inputs, 2, layer=self.spec_name, shape="[features]")
        stack = self.stack()
        output = stack.accept(one_step(inputs), states, None, self.spec_name)
        return output.with_shape(output.shape[0], output.shape[2]), *stack.states(output)

    def output_names(self) -> tuple[str, ...]:
        return self.stack().state_names()

    def output_activation(self) -> str | None:
        return None  # `activation` is applied inside the cell

    def weights(self, inputs: Tensor, *others: Any) -> tuple[Weight, ...]:
        return self.stack().weights(known_channels(inputs, layer=self.spec_name))

    def owner(self, weight: Weight) -> Recurrent:
        return self.stack().owner(weight)

    def code(self, site: Site) -> Code:
        stack = self.stack()
        construct = stack.construct(known_channels(site.x, layer=self.spec_name), False, True)
        inputs, constants = "{inputs}", {}
        if len(stack.layers) == 1 and stack.layers[0].input_dropout:
            inputs = "F.dropout({inputs}, {rate}, {self}.training)"
            constants = {"rate": stack.layers[0].input_dropout}
        return Code(f"{{self}}({inputs}.unsqueeze(1), {{states}})", construct, constants)

    def flops(self, site: Site) -> Dim:
        return self.stack().flops(Site((one_step(site.x),), site.outputs))


def one_step(x: Tensor) -> Tensor:
    """A sequence of one step."""
    return x.with_shape(x.shape[0], 1, *x.shape[1:])


class _OneCell(Cell, abstract=True):
    """A cell that is not a stack of others."""

    layer: ClassVar[type[Recurrent]]

    units: Positive
    activation: ActivationFunction = TANH
    use_bias: bool = True
    kernel_initializer: Initializer = GlorotUniform()
    recurrent_initializer: Initializer = Orthogonal()
    bias_initializer: Initializer = Zeros()
    kernel_regularizer: Regularizer | None = None
    recurrent_regularizer: Regularizer | None = None
    bias_regularizer: Regularizer | None = None
    kernel_constraint: Constraint | None = None
    recurrent_constraint: Constraint | None = None
    bias_constraint: Constraint | None = None
    dropout: Rate = 0.0
    recurrent_dropout: Rate = 0.0
    seed: None = None

    def layers(self, **options: Any) -> tuple[Recurrent, ...]:
        settings = {name: getattr(self, name) for name in type(self).model_fields}
        return (self.layer.model_validate({**settings, **options}),)


class SimpleRNNCell(_OneCell):
    """One step of `SimpleRNN`. Its output is its state. `RNN` runs it over a sequence."""

    layer = SimpleRNN
    examples = (Example({"units": 4}, ((3,), (4,))),)


class GRUCell(_OneCell):
    """One step of `GRU`. Its output is its state. `RNN` runs it over a sequence."""

    layer = GRU
    recurrent_activation: ActivationFunction = SIGMOID
    reset_after: bool = True
    examples = (Example({"units": 4}, ((3,), (4,))),)


class LSTMCell(_OneCell):
    """One step of `LSTM`. Its output is `state_h`. `RNN` runs it over a sequence."""

    layer = LSTM
    recurrent_activation: ActivationFunction = SIGMOID
    unit_forget_bias: bool = True
    examples = (Example({"units": 4}, ((3,), (4,), (4,))),)


def _cell(value: Any) -> Cell:
    """The cell that a mapping describes, or a stack for a list of them."""
    if isinstance(value, Cell):
        return value
    if isinstance(value, list | tuple):
        return StackedRNNCells.model_validate({"cells": list(value)})
    own = [key for key in ("block", "model", "call") if isinstance(value, dict) and key in value]
    if own:
        message = (
            f"`Scan` runs a cell of one's own: write {{layer: Scan, wraps: {{{own[0]}: {value[own[0]]}}}}}"
        )
        raise PydanticCustomError("wraps_type", message)
    if not isinstance(value, dict) or not isinstance(value.get("layer"), str):
        message = "a cell must be a mapping with `layer`, such as {layer: LSTMCell, units: 32}, or a list"
        raise PydanticCustomError("wraps_type", message)
    word, layers = value["layer"], REGISTRY["layer"]
    known = {name: name for name in ("GRUCell", "LSTMCell", "SimpleRNNCell", "StackedRNNCells")}
    if word not in known or word not in layers:
        context = {"word": word, "legal": sorted(known), "what": "cell"}
        raise PydanticCustomError("unknown_name", "unknown cell", context)
    cell = layers[word].model_validate({key: item for key, item in value.items() if key != "layer"})
    assert isinstance(cell, Cell)
    return cell


SomeCell = Annotated[
    SerializeAsAny[Cell],
    PlainValidator(_cell),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "object", "properties": {"layer": {"type": "string"}}, "required": ["layer"]},
                {"type": "array", "items": {"type": "object"}, "minItems": 1},
            ]
        }
    ),
]


class StackedRNNCells(Cell):
    """Stacked cells: each takes the output of the one before. `RNN` runs them.

    Its states are those of all cells: `state_h_0`, `state_c_0`, `state_h_1` and so on.
    """

    cells: Annotated[tuple[SomeCell, ...], Field(strict=False, min_length=1)]
    """Cells, one on top of the other."""

    examples = (
        Example(
            {"cells": [{"layer": "LSTMCell", "units": 4}, {"layer": "GRUCell", "units": 3}]},
            ((5,), (4,), (4,), (3,)),
        ),
    )

    def layers(self, **options: Any) -> tuple[Recurrent, ...]:
        return tuple(layer for cell in self.cells for layer in cell.layers(**options))


class RNN(OverSteps):
    """Runs a `cell`, {layer: LSTMCell, units: 32}, or a list of stacked cells, over a sequence.

    The states of several cells are `state_h_0`, `state_c_0`, `state_h_1` and so on.
    """

    phrases = {"cell": "cell: {layer: LSTMCell, units: 32}"}
    synonyms = {**OverSteps.synonyms, "wraps": "cell", "cells": "cell"}

    @classmethod
    def inside(cls, key: str | int, value: object) -> type[Setting] | None:
        word = value.get("layer") if key == "cell" and isinstance(value, dict) else None
        return REGISTRY["layer"].get(word) if isinstance(word, str) else None

    cell: SomeCell
    """Cell that the layer runs along the sequence."""
    return_sequences: bool = False
    return_state: bool = False
    go_backwards: bool = False
    stateful: Literal[False] = False
    unroll: bool = False  # how Keras runs the loop; it has no effect here
    zero_output_for_mask: bool = False

    examples = (Example({"cell": {"layer": "LSTMCell", "units": 4}}, ((5, 3),)),)

    def stack(self) -> CellStack:
        """The layers that run it; all layers below the top pass on all steps."""
        common = {"go_backwards": False, "return_state": self.return_state}
        *below, _ = self.cell.layers(**common, return_sequences=True)
        last = {"return_sequences": self.return_sequences, "zero_output_for_mask": self.zero_output_for_mask}
        return CellStack((*below, self.cell.layers(**common, **last)[-1]))

    def infer(
        self, sequences: Tensor, initial_state: tuple[Tensor, ...] | None = None, mask: Tensor | None = None
    ) -> Tensor | tuple[Tensor, ...]:
        stack = self.stack()
        output = stack.accept(sequences, initial_state, mask, self.spec_name)
        if not self.return_sequences:
            output = output.with_shape(output.shape[0], output.shape[2])
        return (output, *stack.states(output)) if self.return_state else output

    def output_names(self) -> tuple[str, ...]:
        return self.stack().state_names() if self.return_state else ()

    def weights(self, sequences: Tensor, *others: Any) -> tuple[Weight, ...]:
        return self.stack().weights(known_channels(sequences, layer=self.spec_name))

    def owner(self, weight: Weight) -> Recurrent:
        return self.stack().owner(weight)

    def code(self, site: Site) -> Code:
        stack = self.stack()
        features = known_channels(site.x, layer=self.spec_name)
        construct = stack.construct(features, takes_mask(site), any(site.inputs[1:2]))
        sequences, constants = "{sequences}", {}
        if len(stack.layers) == 1 and stack.layers[0].input_dropout:
            sequences = "dropout_steps({sequences}, {dropout}, {self}.training)"
            constants = {"dropout": stack.layers[0].input_dropout}
        flip = ".flip(1)" if self.go_backwards else ""
        call = f"{{self}}({sequences}{flip}{more_arguments(site, flip)})"
        return Code(call, construct, constants)

    def flops(self, site: Site) -> Dim:
        return self.stack().flops(site)

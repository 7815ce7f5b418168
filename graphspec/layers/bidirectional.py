"""Bidirectional: a recurrent layer over the sequence, and one over its reverse."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Any, Literal

from pydantic import PlainValidator, SerializeAsAny, ValidationError, WithJsonSchema
from pydantic_core import PydanticCustomError

from graphspec.contract.input_checks import known_channels
from graphspec.contract.layer import (
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
from graphspec.contract.registry import REGISTRY
from graphspec.contract.streaming import Streaming, whole
from graphspec.layers.recurrent import Recurrent, more_arguments, spelled, takes_mask
from graphspec.settings import Setting
from graphspec.tensor import Dim, Tensor


def _recurrent(value: Any) -> Any:
    """The layer that a mapping under `wraps` describes. Pydantic's errors are placed inside the mapping."""
    if isinstance(value, Recurrent):
        return value
    if not isinstance(value, dict) or not isinstance(value.get("layer"), str):
        raise PydanticCustomError(
            "wraps_type", "`wraps` must be a mapping with `layer`, such as {layer: LSTM, units: 32}"
        )
    word, layers = value["layer"], REGISTRY["layer"]
    if word not in layers:
        context = {"word": word, "legal": sorted(layers), "what": "layer"}
        raise _at_layer(PydanticCustomError("unknown_name", "unknown layer", context), word)
    layer = layers[word]
    if word == "RNN":
        return _of_cell(layer.model_validate({key: item for key, item in value.items() if key != "layer"}))
    if not issubclass(layer, Recurrent):
        message = "Bidirectional wraps a recurrent layer, such as LSTM, and {word} is not one"
        raise _at_layer(PydanticCustomError("not_recurrent", message, {"word": word}), word)
    return layer.model_validate({key: item for key, item in value.items() if key != "layer"})


def _of_cell(rnn: Any) -> Recurrent:
    """The recurrent layer that is equivalent to an `RNN` of one cell."""
    if len(rnn.stack().layers) > 1:
        message = "Bidirectional wraps an RNN of one cell: wrap each cell in a separate Bidirectional"
        raise PydanticCustomError("wraps_type", message)
    layer = rnn.stack().layers[0]
    settings = {name: getattr(layer, name) for name in type(layer).model_fields}
    recurrent = type(layer).model_validate({**settings, "go_backwards": rnn.go_backwards})
    assert isinstance(recurrent, Recurrent)
    return recurrent


def _at_layer(error: PydanticCustomError, word: str) -> ValidationError:
    """The error, placed at the key `layer`."""
    return ValidationError.from_exception_data("wraps", [{"type": error, "loc": ("layer",), "input": word}])


WrappedRecurrent = Annotated[
    SerializeAsAny[Recurrent],
    PlainValidator(_recurrent),
    WithJsonSchema({"type": "object", "properties": {"layer": {"type": "string"}}, "required": ["layer"]}),
]


class Bidirectional(Layer):
    """A recurrent layer over the sequence and a second one over its reverse; the outputs are merged.

    `backward_layer` sets another layer for the reverse, with as many states. `merge_mode: null` gives both
    outputs: the bare name, and `backward`. Initial states are those of the forward layer, then those of the
    backward layer.
    """

    phrases = {"wraps": "wraps: {layer: LSTM, units: 32}"}
    arguments = Recurrent.arguments
    recurrent = True

    @classmethod
    def inside(cls, key: str | int, value: object) -> type[Setting] | None:
        word = value.get("layer") if key in ("wraps", "backward_layer") and isinstance(value, dict) else None
        return REGISTRY["layer"].get(word) if isinstance(word, str) else None

    wraps: WrappedRecurrent
    """Layer that the wrapper applies."""
    merge_mode: Literal["concat", "sum", "mul", "ave"] | None = "concat"
    """How the two directions are merged: concat, sum, mul, ave, or null for two outputs."""
    backward_layer: WrappedRecurrent | None = None
    """Layer for the reverse direction; by default a copy of the other."""

    often_wraps = ("LSTM", "GRU", "SimpleRNN")
    examples = (
        Example(
            {
                "wraps": {"layer": "LSTM", "units": 4, "return_state": True},
                "backward_layer": {"layer": "LSTM", "go_backwards": True, "return_state": True, "units": 3},
                "merge_mode": "concat",
            },
            ((5, 3),),
        ),
    )

    def option_for(self, output: str) -> str | None:
        return self.wraps.option_for(output)

    def infer(
        self, sequences: Tensor, initial_state: tuple[Tensor, ...] | None = None, mask: Tensor | None = None
    ) -> Tensor | tuple[Tensor, ...]:
        cell = self.wraps
        if cell.activity_regularizer is not None or self.back.activity_regularizer is not None:
            message = "`activity_regularizer` of a layer that Bidirectional wraps"
            raise LayerError("not-supported", message, argument="wraps")
        if cell.go_backwards:
            raise LayerError(
                "out-of-range",
                "Bidirectional runs both ways: `go_backwards` of the layer that it wraps must be false",
                argument="wraps",
            )
        back = self.agreeing(cell)
        title = f"Bidirectional {cell.spec_name}"
        batch = self._batch(sequences, initial_state, mask, title)
        steps = (sequences.shape[1],) if cell.return_sequences else ()
        width = cell.units + (back.units if self.merge_mode == "concat" else 0)
        outputs = [sequences.with_shape(batch, *steps, width)]
        if self.merge_mode is None:
            outputs.append(sequences.with_shape(batch, *steps, back.units))
        if cell.return_state:
            for each in (cell, back):
                outputs += [sequences.with_shape(batch, each.units)] * len(each.state_names)
        return tuple(outputs) if len(outputs) > 1 else outputs[0]

    def _batch(
        self, sequences: Tensor, states: tuple[Tensor, ...] | None, mask: Tensor | None, title: str
    ) -> Dim:
        """Refuses inputs that do not fit; returns the batch size."""
        cell, back = self.wraps, self.back
        count = len(cell.state_names)
        if not states or len(states) != 2 * count or cell.units == back.units:
            return cell.accept(sequences, states, mask, 2 * count, title)
        batch = cell.accept(sequences, states[:count], mask, count, title)
        back.accept(sequences.with_shape(batch, *sequences.shape[1:]), states[count:], mask, count, title)
        return batch

    @property
    def back(self) -> Recurrent:
        """The layer that runs over the reverse."""
        return self.wraps if self.backward_layer is None else self.backward_layer

    def agreeing(self, cell: Recurrent) -> Recurrent:
        """The layer that runs over the reverse. Raises an error if it does not go with the forward layer."""
        back = self.back
        if back is cell:
            return back
        for name in ("return_sequences", "return_state"):
            if getattr(back, name) != getattr(cell, name):
                message = f"both layers of Bidirectional have the same `{name}`"
                raise LayerError("out-of-range", message, argument="backward_layer")
        if len(back.state_names) != len(cell.state_names):
            message = f"{back.spec_name} has another number of states than {cell.spec_name}"
            raise LayerError("out-of-range", message, argument="backward_layer")
        if self.merge_mode not in ("concat", None) and back.units != cell.units:
            message = f"`merge_mode: {self.merge_mode}` takes layers with the same `units`"
            raise LayerError("shapes-differ", message, argument="backward_layer")
        return back

    def output_names(self) -> tuple[str, ...]:
        names = ("backward",) if self.merge_mode is None else ()
        if not self.wraps.return_state:
            return names
        return (
            *names,
            *(f"{way}_{name}" for way in ("forward", "backward") for name in self.wraps.state_names),
        )

    @property
    def fused(self) -> bool:
        """Whether one bidirectional PyTorch kernel can run it; each direction has its own dropout."""
        return self.backward_layer is None and self.wraps.fast and not self.wraps.input_dropout

    def mask(self, inputs: tuple[Any, ...], masks: tuple[Any, ...]) -> Any:
        return self.wraps.mask(inputs, masks)

    def owner(self, weight: Weight) -> Recurrent:
        return self.back if weight.name.startswith("backward_layer.") else self.wraps

    def weights(self, sequences: Tensor, *others: Any) -> tuple[Weight, ...]:
        cell, features = self.wraps, known_channels(sequences, layer="Bidirectional")
        if self.fused:
            return (*cell.cell_weights(features), *cell.cell_weights(features, suffix="_reverse"))
        return (
            *cell.cell_weights(features, "forward_layer."),
            *self.back.cell_weights(features, "backward_layer."),
        )

    def stream(self, site: Site, roles: tuple[Any, ...]) -> Streaming | None:
        return whole("reads the steps backwards, too", "wrap nothing: a layer that reads forwards alone")

    def code(self, site: Site) -> Code:
        cell, with_mask = self.wraps, takes_mask(site)
        inner = cell.cell_module(known_channels(site.x, layer="Bidirectional"), with_mask)
        keyword: dict[str, tuple[Leaf, Leaf]] = {**inner.keyword, "merge_mode": (self.merge_mode, "concat")}
        if self.fused:
            del keyword["zero_output_for_mask"]  # `merge_masked` treats it as Keras' Bidirectional does
            construct = ModuleCall(f"Bidirectional{cell.module}", inner.positional, keyword)
        else:
            keyword["zero_output_for_mask"] = (with_mask and cell.return_sequences, False)
            keyword["step_dropout"] = (cell.input_dropout, 0.0)
            keyword["back_dropout"] = (self.back.input_dropout, 0.0)
            if self.backward_layer is not None:
                keyword["backward"] = (Ref(spelled(self._backward(site, with_mask))), None)
            construct = ModuleCall("Bidirectional", {"layer": Ref(inner.target), **inner.positional}, keyword)
        call = f"{{self}}({{sequences}}{more_arguments(site)})"
        return Code(call, construct)

    def _backward(self, site: Site, with_mask: bool) -> ModuleCall:
        """The module of `backward_layer`."""
        module = self.back.cell_module(known_channels(site.x, layer="Bidirectional"), with_mask)
        zeros = (with_mask and self.back.return_sequences, False)
        return replace(module, keyword={**module.keyword, "zero_output_for_mask": zeros})

    def flops(self, site: Site) -> Dim:
        merged = (
            0
            if self.merge_mode in ("concat", None)
            else self.wraps.units * (2 if self.merge_mode == "ave" else 1)
        )
        steps = site.x.shape[1] if self.wraps.return_sequences else 1
        return self.wraps.flops(site) + self.back.flops(site) + steps * merged

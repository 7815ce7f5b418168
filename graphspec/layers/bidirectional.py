"""Bidirectional: a recurrent layer over the sequence, and one over its reverse."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import PlainValidator, SerializeAsAny, ValidationError, WithJsonSchema
from pydantic_core import PydanticCustomError

from graphspec.contract.input_checks import known_channels
from graphspec.contract.layer import (
    REGISTRY,
    Code,
    Construct,
    Example,
    Layer,
    LayerError,
    Leaf,
    Ref,
    Site,
    Weight,
)
from graphspec.contract.penalties import Constraint, Regularizer
from graphspec.layers.recurrent import Recurrent, masked, more_arguments, takes_mask
from graphspec.objectives.settings import Setting
from graphspec.tensor import Dim, Tensor


def _recurrent(value: Any) -> Any:
    """The layer that a mapping under `wraps` describes. Errors are pydantic's, placed inside it."""
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
    if not issubclass(layer, Recurrent):
        message = "Bidirectional wraps a recurrent layer, such as LSTM, and {word} is none"
        raise _at_layer(PydanticCustomError("not_recurrent", message, {"word": word}), word)
    return layer.model_validate({key: item for key, item in value.items() if key != "layer"})


def _at_layer(error: PydanticCustomError, word: str) -> ValidationError:
    """The error, placed at the key `layer`."""
    return ValidationError.from_exception_data("wraps", [{"type": error, "loc": ("layer",), "input": word}])


WrappedRecurrent = Annotated[
    SerializeAsAny[Recurrent],
    PlainValidator(_recurrent),
    WithJsonSchema({"type": "object", "properties": {"layer": {"type": "string"}}, "required": ["layer"]}),
]


class Bidirectional(Layer):
    """A recurrent layer over the sequence and another like it over the reverse, whose outputs are merged.

    `merge_mode: null` gives both outputs: the bare name, and `backward`. Initial states are those of the
    forward layer, then those of the backward one.
    """

    arguments = Recurrent.arguments

    @classmethod
    def inside(cls, key: str | int, value: object) -> type[Setting] | None:
        word = value.get("layer") if key == "wraps" and isinstance(value, dict) else None
        return REGISTRY["layer"].get(word) if isinstance(word, str) else None

    wraps: WrappedRecurrent
    merge_mode: Literal["concat", "sum", "mul", "ave"] | None = "concat"

    examples = (
        Example({"wraps": {"layer": "LSTM", "units": 4}}, ((6, 3),)),
        Example({"wraps": {"layer": "LSTM", "units": 4, "return_sequences": True}}, ((6, 3),)),
        Example(
            {"wraps": {"layer": "LSTM", "units": 3, "return_sequences": True}, "merge_mode": "sum"}, ((5, 3),)
        ),
        Example({"wraps": {"layer": "LSTM", "units": 3}, "merge_mode": "mul"}, ((5, 3),)),
        Example(
            {"wraps": {"layer": "LSTM", "units": 3, "return_state": True}, "merge_mode": "ave"}, ((5, 3),)
        ),
        Example(
            {"wraps": {"layer": "LSTM", "units": 3, "return_sequences": True}, "merge_mode": None}, ((5, 3),)
        ),
        Example(
            {"wraps": {"layer": "LSTM", "units": 3, "return_state": True}, "merge_mode": None}, ((5, 3),)
        ),
        Example({"wraps": {"layer": "LSTM", "units": 3, "use_bias": False, "activation": "relu"}}, ((5, 3),)),
        Example(
            {
                "wraps": {
                    "layer": "LSTM",
                    "units": 3,
                    "recurrent_activation": "hard_sigmoid",
                    "return_sequences": True,
                    "return_state": True,
                }
            },
            ((5, 3),),
        ),
        Example({"wraps": {"layer": "LSTM", "units": 3, "bias_initializer": "ones"}}, ((5, 3),)),
        *(
            Example(
                {"wraps": {"layer": layer, "units": 3, "return_state": True, **options}, "merge_mode": mode},
                ((6, 3), *[(3,)] * (4 if layer == "LSTM" else 2) * ("use_bias" in options)),
                masks={"mask": (6,)} if with_mask else {},
            )
            for layer, with_mask, mode, options in (
                ("GRU", False, "concat", {"use_bias": False}),
                ("GRU", False, "sum", {"return_sequences": True, "bias_initializer": "ones"}),
                ("GRU", False, "mul", {"return_sequences": True, "reset_after": False}),
                ("SimpleRNN", False, "concat", {"use_bias": True, "activation": "relu"}),
                ("SimpleRNN", False, "ave", {"return_sequences": True, "activation": "softsign"}),
                ("LSTM", True, "concat", {}),
                ("LSTM", True, "concat", {"return_sequences": True, "zero_output_for_mask": False}),
                ("LSTM", True, None, {"return_sequences": True, "activation": "softsign"}),
                ("GRU", True, "mul", {}),
                ("GRU", True, "sum", {"return_sequences": True}),
                ("SimpleRNN", True, "ave", {"zero_output_for_mask": True}),
                ("SimpleRNN", True, None, {"return_sequences": True, "activation": "relu"}),
            )
        ),
    )

    def infer(
        self, sequences: Tensor, initial_state: tuple[Tensor, ...] | None = None, mask: Tensor | None = None
    ) -> Tensor | tuple[Tensor, ...]:
        cell = self.wraps
        if cell.activity_regularizer is not None:
            message = "`activity_regularizer` of a layer that Bidirectional wraps"
            raise LayerError("not-supported", message, argument="wraps")
        if cell.go_backwards:
            raise LayerError(
                "out-of-range",
                "Bidirectional runs both ways: `go_backwards` of the layer that it wraps must be false",
                argument="wraps",
            )
        batch = cell.accept(
            sequences, initial_state, mask, 2 * len(cell.state_names), f"Bidirectional {cell.spec_name}"
        )
        width = cell.units * (2 if self.merge_mode == "concat" else 1)
        steps = (sequences.shape[1],) if cell.return_sequences else ()
        output = sequences.with_shape(batch, *steps, width)
        state = sequences.with_shape(batch, cell.units)
        outputs = (output, *([output] if self.merge_mode is None else []))
        if cell.return_state:
            outputs = (*outputs, *[state] * (2 * len(cell.state_names)))
        return outputs if len(outputs) > 1 else output

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
        """Whether one bidirectional kernel of PyTorch does it; each direction has its own dropout."""
        return self.wraps.fast and not self.wraps.input_dropout

    def mask(self, inputs: tuple[Any, ...], masks: tuple[Any, ...]) -> Any:
        return self.wraps.mask(inputs, masks)

    def regularizer(self, weight: Weight) -> Regularizer | None:
        return self.wraps.regularizer(weight)

    def constraint(self, weight: Weight) -> Constraint | None:
        return self.wraps.constraint(weight)

    def weights(self, sequences: Tensor, *others: Any) -> tuple[Weight, ...]:
        cell, features = self.wraps, known_channels(sequences, layer="Bidirectional")
        if self.fused:
            return (*cell.cell_weights(features), *cell.cell_weights(features, suffix="_reverse"))
        return (
            *cell.cell_weights(features, "forward_layer."),
            *cell.cell_weights(features, "backward_layer."),
        )

    def code(self, site: Site) -> Code:
        cell, with_mask = self.wraps, takes_mask(site)
        inner = cell.cell_module(known_channels(site.x, layer="Bidirectional"), with_mask)
        keyword: dict[str, tuple[Leaf, Leaf]] = {**inner.keyword, "merge_mode": (self.merge_mode, "concat")}
        names: tuple[str, ...]
        if self.fused:
            del keyword["zero_output_for_mask"]  # `MaskedBothWays` does as Keras' Bidirectional
            target = f"Bidirectional{cell.module}"
            target = masked(target) if with_mask else target
            construct, names = Construct(target, inner.positional, keyword), (target,)
        else:
            keyword["zero_output_for_mask"] = (with_mask and cell.return_sequences, False)
            keyword["step_dropout"] = (cell.input_dropout, 0.0)
            construct = Construct("Bidirectional", {"layer": Ref(inner.target), **inner.positional}, keyword)
            names = ("Bidirectional", inner.target)
        call = f"{{self}}({{sequences}}{more_arguments(site)})"
        return Code(call, construct, helpers=(*names, *cell.cell_helpers()))

    def flops(self, site: Site) -> Dim:
        merged = (
            0
            if self.merge_mode in ("concat", None)
            else self.wraps.units * (2 if self.merge_mode == "ave" else 1)
        )
        steps = site.x.shape[1] if self.wraps.return_sequences else 1
        return self.wraps.flops(site) * 2 + steps * merged

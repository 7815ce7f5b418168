"""Layers around layers: Bidirectional."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import PlainValidator, ValidationError, WithJsonSchema
from pydantic_core import PydanticCustomError

from graphspec.layers.base import (
    REGISTRY,
    Argument,
    Code,
    Construct,
    Example,
    Layer,
    LayerError,
    Leaf,
    Ref,
    Site,
    Weight,
    Wrapper,
    helper,
    known_channels,
)
from graphspec.layers.recurrent import Recurrent
from graphspec.tensor import Dim, Tensor

helper(
    "merge_directions",
    '''
def merge_directions(forward: Tensor, backward: Tensor, mode: str | None):
    """Keras' merge modes of the outputs of both directions; None keeps both."""
    if mode == "concat":
        return torch.cat((forward, backward), -1)
    if mode == "mul":
        return forward * backward
    if mode is None:
        return forward, backward
    total = forward + backward
    return total / 2 if mode == "ave" else total
''',
)
helper(
    "BidirectionalLSTM",
    '''
class BidirectionalLSTM(nn.LSTM):
    """nn.LSTM in both directions with Keras' one bias, initializers and outputs."""

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        return_sequences: bool = False,
        return_state: bool = False,
        merge_mode: str | None = "concat",
    ):
        super().__init__(
            input_size, hidden_size, bias=bias, batch_first=True, bidirectional=True
        )
        self.return_sequences, self.return_state = return_sequences, return_state
        self.merge_mode = merge_mode
        keep_one_bias(self)

    def reset_parameters(self) -> None:
        reset_lstm(self)

    def forward(self, x: Tensor, initial_state: list[Tensor] | None = None):
        state = None
        if initial_state is not None:
            h, c, back_h, back_c = (s.expand(len(x), -1) for s in initial_state)
            state = torch.stack((h, back_h)), torch.stack((c, back_c))
        y, (h, c) = super().forward(x, state)
        if not self.return_sequences:
            y = merge_directions(*h, self.merge_mode)
        elif self.merge_mode != "concat":
            y = merge_directions(*y.chunk(2, -1), self.merge_mode)
        if not self.return_state:
            return y
        first = y if self.merge_mode is None else (y,)
        return (*first, h[0], c[0], h[1], c[1])
''',
    "keep_one_bias",
    "reset_lstm",
    "merge_directions",
)
helper(
    "Bidirectional",
    '''
class Bidirectional(nn.Module):
    """A recurrent layer over the sequence, another over its reverse, merged."""

    def __init__(
        self,
        layer: type[nn.Module],
        *sizes: int,
        merge_mode: str | None = "concat",
        step_dropout: float = 0.0,
        **options,
    ):
        super().__init__()
        self.forward_layer = layer(*sizes, **options)
        self.backward_layer = layer(*sizes, **options)
        self.merge_mode, self.step_dropout = merge_mode, step_dropout

    def forward(self, x: Tensor, initial_state: list[Tensor] | None = None):
        ahead = back = None
        if initial_state is not None:
            half = len(initial_state) // 2
            ahead, back = initial_state[:half], initial_state[half:]
        rate, training = self.step_dropout, self.training and self.step_dropout > 0
        forward = self.forward_layer(dropout_steps(x, rate, training), ahead)
        backward = self.backward_layer(dropout_steps(x, rate, training).flip(1), back)
        states = ()
        if self.forward_layer.return_state:
            (forward, *ahead), (backward, *back) = forward, backward
            states = (*ahead, *back)
        if self.forward_layer.return_sequences:
            backward = backward.flip(1)
        y = merge_directions(forward, backward, self.merge_mode)
        if not states:
            return y
        return (*(y if self.merge_mode is None else (y,)), *states)
''',
    "dropout_steps",
    "merge_directions",
)


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
    Recurrent,
    PlainValidator(_recurrent),
    WithJsonSchema({"type": "object", "properties": {"layer": {"type": "string"}}, "required": ["layer"]}),
]


class Bidirectional(Layer):
    """A recurrent layer over the sequence and another like it over the reverse, whose outputs are merged.

    `merge_mode: null` gives both outputs: the bare name, and `backward`. Initial states are those of the
    forward layer, then those of the backward one.
    """

    arguments = (Argument("sequences"), Argument("initial_state", required=False, many=True))

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
    )

    def infer(
        self, sequences: Tensor, initial_state: tuple[Tensor, ...] | None = None
    ) -> Tensor | tuple[Tensor, ...]:
        cell = self.wraps
        if cell.go_backwards:
            raise LayerError(
                "out-of-range",
                "Bidirectional runs both ways: `go_backwards` of the layer that it wraps must be false",
                argument="wraps",
            )
        batch = cell.accept(
            sequences, initial_state, 2 * len(cell.state_names), f"Bidirectional {cell.spec_name}"
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

    def weights(
        self, sequences: Tensor, initial_state: tuple[Tensor, ...] | None = None
    ) -> tuple[Weight, ...]:
        cell, features = self.wraps, known_channels(sequences, layer="Bidirectional")
        if self.fused:
            return (*cell.cell_weights(features), *cell.cell_weights(features, suffix="_reverse"))
        return (
            *cell.cell_weights(features, "forward_layer."),
            *cell.cell_weights(features, "backward_layer."),
        )

    def code(self, site: Site) -> Code:
        cell = self.wraps
        inner = cell.cell_module(known_channels(site.x, layer="Bidirectional"))
        keyword: dict[str, tuple[Leaf, Leaf]] = {**inner.keyword, "merge_mode": (self.merge_mode, "concat")}
        if self.fused:
            construct, names = Construct(cell.both_ways, inner.positional, keyword), (cell.both_ways,)
        else:
            keyword["step_dropout"] = (cell.input_dropout, 0.0)
            construct = Construct("Bidirectional", {"layer": Ref(inner.target), **inner.positional}, keyword)
            names = ("Bidirectional",)
        state = ", {initial_state}" if any(site.inputs[1:]) else ""
        helpers = (*names, *(name for name in cell.cell_helpers() if not self.fused or name != cell.module))
        return Code(f"{{self}}({{sequences}}{state})", construct, helpers=helpers)

    def flops(self, site: Site) -> Dim:
        merged = (
            0
            if self.merge_mode in ("concat", None)
            else self.wraps.units * (2 if self.merge_mode == "ave" else 1)
        )
        steps = site.x.shape[1] if self.wraps.return_sequences else 1
        return self.wraps.flops(site) * 2 + steps * merged


class TimeDistributed(Wrapper):
    """Applies a layer, block or model to each step of axis 1, with one set of weights."""

    examples = (
        Example({"wraps": {"layer": "Dense", "units": 4}}, ((3, 5),)),
        Example({"wraps": {"layer": "Conv2D", "filters": 2, "kernel_size": 3}}, ((2, 5, 5, 3),)),
    )

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

"""Recurrent layers and cells of PyTorch as layers of a spec."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch

from graphspec.convert.arguments import shortest
from graphspec.convert.nodes import ConvertedValue
from graphspec.convert.pytorch.computed import is_zero
from graphspec.convert.pytorch.functions import handles
from graphspec.convert.pytorch.layout import Laid
from graphspec.convert.pytorch.shaping import select
from graphspec.convert.pytorch.writer import Known, NodeWriter
from graphspec.convert.refusals import Unsupported


class StackedStates(tuple[Laid, ...]):
    """Tensors stacked along a first axis, of which usually one is picked."""


@handles("lstm", "gru", "rnn_tanh", "rnn_relu")
def _recurrent(
    w: NodeWriter,
    *,
    function: str,
    input: Any,
    hx: Any,
    params: Any = None,
    has_biases: bool = True,
    num_layers: int = 1,
    dropout: float = 0,
    bidirectional: bool = False,
    batch_first: bool = False,
) -> Any:
    if not isinstance(input, Laid) or params is None:
        raise Unsupported("it packs sequences, which a spec does not", "pass padded sequences, and mask them")
    x = w.solid(input)
    time, batch = (1, 0) if batch_first else (0, 1)
    if x.axes[batch] != (0,):
        raise Unsupported("its batch is another axis than batch_first says", "batch_first=True")
    x = w.lay(x, [x.axes[time], x.axes[2]])
    ways, states = 1 + bidirectional, _states(function)
    gates = {"lstm": 4, "gru": 3}.get(function, 1)
    units = params[1].tensor.shape[1]
    each = ways * (2 + 2 * has_biases)  # weights of one layer
    if params[1].tensor.shape[0] != gates * units or len(params) != num_layers * each:
        raise Unsupported("an LSTM with projections has no counterpart", "proj_size=0")
    words: dict[str, Any] = {"units": units, "return_sequences": True}
    words |= {"use_bias": has_biases} | _activation(function)
    cls, outputs = _class(function), states
    if bidirectional:
        outputs = tuple(f"{way}_{state}" for way in ("forward", "backward") for state in states)
    states_before = list(hx) if isinstance(hx, (list, tuple)) and not isinstance(hx, StackedStates) else [hx]
    finals: list[list[Laid]] = [[] for _ in states]
    shape = (x.sizes[0], units)
    value = x.value
    for layer in range(num_layers):
        if layer and dropout:
            rate = {"rate": shortest(dropout)}
            value = ConvertedValue(w.node("layer", "Dropout", rate, [("x", value)], main=False))
        held = _weights_of(w, params[layer * each :][:each], ways, function == "gru")
        reads: list[tuple[str, Any]] = [("sequences", value)]
        if starts := _starts(w, states_before, layer * ways, ways):
            reads.append(("initial_state", _one_or_all(starts)))
        if bidirectional:  # a mapping of its own for each node, which passes complete
            wraps = {"wraps": {"layer": cls, **words}}
            node = w.node("layer", "Bidirectional", wraps, reads, held, outputs=outputs)
        else:
            node = w.node("layer", cls, words, reads, held, outputs=outputs)
        for i in range(len(outputs)):
            final = Laid(ConvertedValue(node, 1 + i), shape, ((0,), (1,)), shape)
            finals[i % len(states)].append(final)
        value = ConvertedValue(node)
    sizes = (x.sizes[0], x.sizes[1], units * ways)
    axes: Any = ((0,), (1,), (2,)) if batch_first else ((1,), (0,), (2,))
    y = Laid(value, sizes, axes, tuple(sizes[axis] for (axis,) in axes))
    return (y, *map(StackedStates, finals))


def _class(function: str) -> str:
    return {"lstm": "LSTM", "gru": "GRU"}.get(function, "SimpleRNN")


def _states(function: str) -> tuple[str, ...]:
    return ("state_h", "state_c") if function == "lstm" else ("state",)


def _activation(function: str) -> dict[str, str]:
    """The argument of a layer whose activation is not that of its class."""
    return {"activation": "relu"} if function == "rnn_relu" else {}


def _one_or_all(states: list[Laid]) -> Any:
    """Initial states as a layer takes them: a single one without a list."""
    values = tuple(state.value for state in states)
    return values if len(values) > 1 else values[0]


def _weights_of(w: NodeWriter, params: Any, ways: int, both_biases: bool) -> dict[str, Known | None]:
    """The weights of one layer by their names in a module; biases are summed, unless `both_biases`."""
    if len(set(map(w.learns, params))) > 1:
        raise Unsupported("some of its weights train, and others do not", "train all of a layer, or none")
    each = len(params) // ways
    held: dict[str, Known | None] = {}
    for way in range(ways):
        of_direction = params[way * each :][:each]
        suffix = "_l0" + ("_reverse" if way else "")
        held[f"weight_ih{suffix}"], held[f"weight_hh{suffix}"] = of_direction[0], of_direction[1]
        if each > 2 and both_biases:
            held[f"bias_ih{suffix}"], held[f"bias_hh{suffix}"] = of_direction[2], of_direction[3]
        elif each > 2:
            held[f"bias_ih{suffix}"] = _sum(of_direction[2], of_direction[3])
    return held


def _sum(a: Known, b: Known) -> Known:
    """The two biases of PyTorch as the one of Keras."""
    first, second = a.source, b.source
    if first is None or second is None:
        return Known(a.tensor + b.tensor, a.names | b.names)
    return Known(
        a.tensor + b.tensor, a.names | b.names, lambda get: first(get) + second(get), (first, second)
    )


def _starts(w: NodeWriter, states_before: list[Any], first: int, count: int) -> list[Laid]:
    """The initial states of one layer; none where they are zeros."""
    if all(map(is_zero, states_before)):
        return []
    states = []
    for way in range(count):
        for h in states_before:
            if isinstance(h, StackedStates):
                states.append(h[first + way])
                continue
            if isinstance(h, Known):
                states.append(_same_for_all(w, h.map(partial(torch.select, dim=0, index=first + way))))
                continue
            state = select(w, h, 0, first + way) if h.shape[0] != 1 else h.without([0])
            states.append(w.natural(state))
    return states


def _same_for_all(w: NodeWriter, state: Known) -> Laid:
    """A state that is known, [batch, units], or [1, units], as one for the examples of each batch."""
    if not torch.equal(state.tensor, state.tensor[:1].expand_as(state.tensor)):
        raise Unsupported("its initial states differ by example", "pass them as an input")
    return w.natural(w.batched(w.data(state.map(lambda t: t[:1]))))


@handles("lstm_cell", "gru_cell", "rnn_tanh_cell", "rnn_relu_cell")
def _cell(
    w: NodeWriter,
    *,
    function: str,
    input: Laid,
    hx: Any,
    w_ih: Known,
    w_hh: Known,
    b_ih: Any = None,
    b_hh: Any = None,
) -> Any:
    """A cell outside of a loop is its layer over one step."""
    function = function.removesuffix("_cell")
    x = w.last(input)
    units, states = w_hh.tensor.shape[1], _states(function)
    step = ConvertedValue(w.node("op", "expand_dims", {"axis": 1}, [("x", x.value)], main=False))
    words = {"units": units, "use_bias": b_ih is not None} | _activation(function)
    words |= {"return_state": True} if len(states) == 2 else {}
    params = [w_ih, w_hh] if b_ih is None else [w_ih, w_hh, b_ih, b_hh]
    reads: list[tuple[str, Any]] = [("sequences", step)]
    starts = hx if isinstance(hx, (list, tuple)) else [hx]
    if not all(map(is_zero, starts)):
        laid = [w.last(h) if isinstance(h, Laid) else _same_for_all(w, h) for h in starts]
        reads.append(("initial_state", _one_or_all(laid)))
    held = _weights_of(w, params, 1, function == "gru")
    node = w.node("layer", _class(function), words, reads, held, outputs=states)
    shape = (x.sizes[0], units)
    finals = tuple(Laid(ConvertedValue(node, 2 * s), shape, ((0,), (1,)), shape) for s in range(len(states)))
    return finals if len(finals) == 2 else finals[0]

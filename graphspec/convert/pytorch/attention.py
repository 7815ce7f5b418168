"""Attention and recurrent layers, which PyTorch keeps whole."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import torch

from graphspec.convert.arguments import shortest
from graphspec.convert.nodes import ConvertedValue
from graphspec.convert.pytorch.functions import HANDLERS, handles
from graphspec.convert.pytorch.layers import unlike
from graphspec.convert.pytorch.layout import Laid
from graphspec.convert.pytorch.pointwise import arranged, pair, scalar
from graphspec.convert.pytorch.writer import UNSEEN, AttentionDropout, Known, NodeWriter
from graphspec.convert.refusals import Unsupported


@handles("scaled_dot_product_attention")
def _attention(
    w: NodeWriter,
    query: Laid,
    key: Laid,
    value: Laid,
    out: Any,
    attn_mask: Any = None,
    dropout_p: float = 0,
    is_causal: bool = False,
    scale: Any = None,
    enable_gqa: bool = False,
    **_: Any,
) -> Laid:
    if len(query.shape) == 3:
        query, key, value = (x.inserted(1) for x in (query, key, value))
        wide = SimpleNamespace(shape=(out.shape[0], 1, *out.shape[1:]))
        mask = attn_mask
        if isinstance(mask, Laid) and len(mask.shape) == 3:
            mask = mask.inserted(1)
        elif isinstance(mask, Known) and mask.tensor.dim() == 3:
            mask = mask.map(lambda t: t.unsqueeze(1))
        arguments = {"attn_mask": mask, "dropout_p": dropout_p, "is_causal": is_causal, "scale": scale}
        return _attention(w, query, key, value, wide, **arguments).without([1])
    if len(query.shape) != 4 or any(_is_merged(w, x) for x in (query, key, value)):
        return _by_products(w, query, key, value, out, attn_mask, is_causal, scale, dropout_p)
    if enable_gqa and query.shape[1] != key.shape[1]:
        times = query.shape[1] // key.shape[1]
        key, value = (_repeated(w, x, times) for x in (key, value))
    turned = [_heads(w, x) for x in (query, key, value)]
    words: dict[str, Any] = {}
    size = query.shape[-1]
    if scale is not None and abs(scale - size**-0.5) > 1e-7:
        words["scale"] = shortest(scale)
    reads = [(name, x.value) for name, x in zip(("query", "key", "value"), turned, strict=True)]
    fixed = isinstance(attn_mask, Known) and not any(w.trains.get(name) for name in attn_mask.names)
    if fixed and causal(attn_mask.tensor):
        is_causal, attn_mask = True, None
    if is_causal and query.shape[2] != key.shape[2]:
        raise Unsupported("causal attention of different lengths is not understood", "use a mask")
    if is_causal:
        words["is_causal"] = True
    if attn_mask is not None and not (fixed and _all_seen(attn_mask.tensor)):
        shape = (query.shape[0], query.shape[1], query.shape[2], key.shape[2])
        natural = Laid(turned[0].value, shape, ((0,), (1,), (2,), (3,)), shape)
        word = "mask" if _boolean(attn_mask) else "bias"
        if isinstance(attn_mask, Known):
            read = w.held(
                arranged(attn_mask, natural).map(lambda t: t.reshape(*[1] * (3 - t.dim()), *t.shape))
            )
        else:
            mask = attn_mask
            while len(mask.shape) < 4:
                mask = mask.inserted(0)
            kept = [mask.axes[i] if mask.length(mask.axes[i]) != 1 else () for i in (1, 2, 3)]
            if 0 not in mask.axes[0] and not mask.is_free:
                raise Unsupported("it mixes the examples of a batch", "give the mask the batch first")
            read = w.lay(
                replace(mask, shape=tuple(mask.length(a) for a in mask.axes)), kept, stretch=True
            ).value
        reads.append((word, read))
    node = w.node("op", "dot_product_attention", words, reads)
    if dropout_p:
        w.rates[node] = AttentionDropout(dropout_p, size, (query.shape[2], key.shape[2]))
    sizes = (*turned[0].sizes[:-1], value.shape[-1])
    return Laid(ConvertedValue(node), sizes, ((0,), (2,), (1,), (3,)), tuple(out.shape))


def _is_merged(w: NodeWriter, x: Laid) -> bool:
    return w.batched(x).axes[0] != (0,)


def _by_products(
    w: NodeWriter,
    query: Laid,
    key: Laid,
    value: Laid,
    out: Any,
    mask: Any,
    is_causal: bool,
    scale: Any,
    rate: float,
) -> Laid:
    """Attention along axes that no layer knows, of windows that are merged with the batch, say."""
    call = HANDLERS
    shape = (*query.shape[:-1], key.shape[-2])
    scores_out = SimpleNamespace(shape=shape, dtype=torch.float32)
    size = query.shape[-1]
    query = scalar(w, "multiply", query, scale if scale is not None else size**-0.5)
    turned = key.permuted((*range(len(key.shape) - 2), len(key.shape) - 1, len(key.shape) - 2))
    scores = call["matmul"](w, function="matmul", self=query, other=turned, out=scores_out)
    if is_causal:
        mask = Known(torch.ones(shape[-2:], dtype=torch.bool).tril())
    where = {"function": "where", "condition": mask, "out": scores_out}
    chosen = mask is not None and _boolean(mask)
    if chosen:
        scores = call["where"](w, self=scores, other=UNSEEN, **where)
    elif mask is not None:
        scores = pair(w, "add", scores, mask, shape)
    weights = call["softmax"](w, self=scores, dim=-1, function="softmax")
    if chosen and isinstance(mask, Laid):  # of a query that sees no key
        weights = call["where"](w, self=weights, other=0.0, **where)
    if rate:
        weights = w.make("layer", "Dropout", {"rate": shortest(rate)}, [("x", weights.value)], weights)
    context: Laid = call["matmul"](w, function="matmul", self=weights, other=value, out=out)
    return context


def _heads(w: NodeWriter, x: Laid) -> Laid:
    """[batch, length, heads, size], as Keras has them."""
    x = w.solid(w.batched(x))
    if x.axes[0] != (0,):
        raise Unsupported(
            "attention along an axis that is merged with the batch is not understood", "keep the batch apart"
        )
    if x.axes == ((0,), (2,), (1,), (3,)) and len(x.sizes) == 4:
        return x
    heads = w.lay(x, [x.axes[2], x.axes[1], x.axes[3]])
    return replace(heads, axes=((0,), (2,), (1,), (3,)))


def _repeated(w: NodeWriter, x: Laid, times: int) -> Laid:
    x = _heads(w, x)
    node = w.node("op", "repeat", {"repeats": times, "axis": 2}, [("x", x.value)], main=False)
    shape = (x.shape[0], x.shape[1] * times, *x.shape[2:])
    return replace(
        x, value=ConvertedValue(node), sizes=(*x.sizes[:2], x.sizes[2] * times, x.sizes[3]), shape=shape
    )


def _boolean(mask: Any) -> bool:
    return mask.tensor.dtype == torch.bool if isinstance(mask, Known) else mask.dtype == "bool"


def _all_seen(mask: torch.Tensor) -> bool:
    return bool(mask.all() if mask.dtype == torch.bool else (mask == 0).all())


def causal(mask: torch.Tensor) -> bool:
    """Whether a mask is that of causal attention."""
    if mask.dim() < 2 or mask.shape[-1] != mask.shape[-2] or mask.shape[-1] < 2:
        return False
    seen = mask if mask.dtype == torch.bool else mask == 0
    if mask.dtype != torch.bool and not ((mask == 0) | (mask <= -1e4)).all():
        return False
    return bool((seen == torch.ones_like(seen).tril()).all())


# --- recurrent layers


class Pile(tuple[Laid, ...]):
    """Tensors stacked along a first axis, of which usually one is picked."""


@handles("lstm", "gru", "rnn_tanh", "rnn_relu")
def _recurrent(
    w: NodeWriter,
    *,
    function: str,
    out: Any,
    input: Any,
    hx: Any,
    params: Any = None,
    has_biases: bool = True,
    num_layers: int = 1,
    dropout: float = 0,
    bidirectional: bool = False,
    batch_first: bool = False,
    **other: Any,
) -> Any:
    if not isinstance(input, Laid) or params is None:
        raise Unsupported("it packs sequences, which a spec does not", "pass padded sequences, and mask them")
    x = w.solid(input)
    time, batch = (1, 0) if batch_first else (0, 1)
    if x.axes[batch] != (0,):
        raise Unsupported("its batch is another axis than batch_first says", "batch_first=True")
    x = w.lay(x, [x.axes[time], x.axes[2]])
    ways, gates = 1 + bidirectional, 4 if function == "lstm" else 3 if function == "gru" else 1
    states = 2 if function == "lstm" else 1
    units = params[1].tensor.shape[1]
    if params[1].tensor.shape[0] != gates * units or len(params) != num_layers * ways * (2 + 2 * has_biases):
        raise Unsupported("an LSTM with projections has no counterpart", "proj_size=0")
    each = 2 + 2 * has_biases
    states_before = list(hx) if isinstance(hx, (list, tuple)) and not isinstance(hx, Pile) else [hx]
    finals: list[list[Laid]] = [[] for _ in range(states)]
    value = x.value
    cls = {"lstm": "LSTM", "gru": "GRU"}.get(function, "SimpleRNN")
    width = x.sizes[-1]
    for layer in range(num_layers):
        if layer and dropout:
            value = ConvertedValue(
                w.node("layer", "Dropout", {"rate": shortest(dropout)}, [("x", value)], main=False)
            )
        words: dict[str, Any] = {"units": units, "return_sequences": True}
        words |= {} if has_biases else {"use_bias": False}
        words |= {"activation": "relu"} if function == "rnn_relu" else {}
        held = _weights_of(params[layer * ways * each :][: ways * each], ways, function == "gru")
        starts = _starts(w, states_before, layer * ways, ways, x)
        reads: list[tuple[str, Any]] = [("sequences", value)]
        if starts:
            reads.append(
                ("initial_state", tuple(s.value for s in starts) if len(starts) > 1 else starts[0].value)
            )
        if bidirectional:
            names = tuple(f"{way}_{s}" for way in ("forward", "backward") for s in _states(states))
            node = w.node(
                "layer", "Bidirectional", {"wraps": {"layer": cls, **words}}, reads, held, outputs=names
            )
        else:
            node = w.node("layer", cls, words, reads, held, outputs=_states(states))
        for way in range(ways):
            for s in range(states):
                final = ConvertedValue(node, 1 + way * states + s)
                finals[s].append(Laid(final, (x.sizes[0], units), ((0,), (1,)), (x.sizes[0], units)))
        value, width = ConvertedValue(node), units * ways
    axes: Any = ((0,), (1,), (2,)) if batch_first else ((1,), (0,), (2,))
    shape = (x.sizes[0], x.sizes[1], width) if batch_first else (x.sizes[1], x.sizes[0], width)
    y = Laid(value, (x.sizes[0], x.sizes[1], width), axes, shape)
    return (y, *(Pile(found) for found in finals))


def _weights_of(params: Any, ways: int, both_biases: bool) -> dict[str, Known | None]:
    """The weights of one layer by their names in a module; biases are summed, unless `both_biases`."""
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


def _states(count: int) -> tuple[str, ...]:
    return ("state_h", "state_c") if count == 2 else ("state",)


def _sum(a: Known, b: Known) -> Known:
    """The two biases of PyTorch as the one of Keras."""
    first, second = a.source, b.source
    source = None if first is None or second is None else lambda get: first(get) + second(get)
    return Known(a.tensor + b.tensor, a.names | b.names, source, first)


def _starts(w: NodeWriter, states_before: list[Any], first: int, count: int, x: Laid) -> list[Laid]:
    """The initial states of one layer; none where they are zeros."""
    if all(isinstance(h, Known) and not h.names and not h.tensor.any() for h in states_before):
        return []
    states = []
    for way in range(count):
        for h in states_before:
            if isinstance(h, Pile):
                states.append(h[first + way])
            elif isinstance(h, Laid):
                from graphspec.convert.pytorch.shaping import select

                states.append(
                    w.natural(select(w, h, 0, first + way, None))
                    if h.shape[0] != 1
                    else w.natural(h.without([0]))
                )
            else:
                raise Unsupported(
                    "its initial state is a constant", "start at zeros, or pass the state as an input"
                )
    return states


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
    out: Any = None,
    **_: Any,
) -> Any:
    """A cell outside of a loop is its layer over one step."""
    x = w.last(input)
    units = w_hh.tensor.shape[1]
    step = ConvertedValue(w.node("op", "expand_dims", {"axis": 1}, [("x", x.value)], main=False))
    cls = {"lstm_cell": "LSTM", "gru_cell": "GRU"}.get(function, "SimpleRNN")
    words = unlike({"units": units, "use_bias": b_ih is not None}, use_bias=True)
    words |= {"activation": "relu"} if function == "rnn_relu_cell" else {}
    held: dict[str, Known | None] = {"weight_ih_l0": w_ih, "weight_hh_l0": w_hh}
    if b_ih is not None and function == "gru_cell":
        held |= {"bias_ih_l0": b_ih, "bias_hh_l0": b_hh}
    elif b_ih is not None:
        held["bias_ih_l0"] = _sum(b_ih, b_hh)
    starts = hx if isinstance(hx, (list, tuple)) else [hx]
    reads: list[tuple[str, Any]] = [("sequences", step)]
    if not all(isinstance(h, Known) and not h.names and not h.tensor.any() for h in starts):
        if not all(isinstance(h, Laid) for h in starts):
            raise Unsupported(
                "its initial state is a constant", "start at zeros, or pass the state as an input"
            )
        values = tuple(w.last(h).value for h in starts)
        reads.append(("initial_state", values if len(values) > 1 else values[0]))
    count = 2 if function == "lstm_cell" else 1
    words |= {"return_state": True} if count == 2 else {}
    node = w.node("layer", cls, words, reads, held, outputs=_states(count))
    shape = (x.sizes[0], units)
    states = [Laid(ConvertedValue(node, 2 * s), shape, ((0,), (1,)), shape) for s in range(count)]
    return tuple(states) if count == 2 else states[0]

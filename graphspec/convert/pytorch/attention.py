"""Attention, which PyTorch keeps whole."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch

from graphspec.convert.arguments import shortest
from graphspec.convert.nodes import ConvertedValue
from graphspec.convert.pytorch.aligning import arranged
from graphspec.convert.pytorch.functions import Out, handles, write
from graphspec.convert.pytorch.layout import Laid
from graphspec.convert.pytorch.pointwise import pair, scalar
from graphspec.convert.pytorch.sizes import Size
from graphspec.convert.pytorch.writer import HIDING, UNSEEN, AttentionDropout, Known, NodeWriter
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
) -> Laid:
    if any(0 in x.axes[-2] for x in (query, key)):
        raise Unsupported(
            "it attends to the examples of a batch", "give it the batch first: batch_first=True"
        )
    if len(query.shape) == 3:
        query, key, value = (x.inserted(1) for x in (query, key, value))
        with_heads = Out((out.shape[0], 1, *out.shape[1:]))
        options = {"dropout_p": dropout_p, "is_causal": is_causal, "scale": scale}
        return _attention(w, query, key, value, with_heads, _with_heads(attn_mask), **options).without([1])
    if len(query.shape) != 4 or any(_is_merged(w, x) for x in (query, key, value)):
        return _by_products(w, query, key, value, out, attn_mask, is_causal, scale, dropout_p)
    if any(query.shape[1] != x.shape[1] for x in (key, value)):  # grouped, or one for all
        key, value = (_repeated(w, x, query.shape[1] // x.shape[1]) for x in (key, value))
    turned = [_heads(w, x) for x in (query, key, value)]
    reads = [(name, x.value) for name, x in zip(("query", "key", "value"), turned, strict=True)]
    words: dict[str, Any] = {}
    size = query.shape[-1]
    if scale is not None and abs(scale - size**-0.5) > 1e-7:
        words["scale"] = shortest(scale)
    fixed = isinstance(attn_mask, Known) and not any(w.trains.get(name) for name in attn_mask.names)
    if fixed and causal(attn_mask.tensor):
        is_causal, attn_mask = True, None
    if is_causal and query.shape[2] != key.shape[2]:
        raise Unsupported("causal attention of different lengths is not understood", "use a mask")
    if is_causal:
        words["is_causal"] = True
    if attn_mask is not None and not (fixed and _all_seen(attn_mask.tensor)):
        scores = (query.shape[0], query.shape[1], query.shape[2], key.shape[2])
        reads.append(("mask" if is_boolean(attn_mask) else "bias", _mask(w, attn_mask, turned[0], scores)))
    node = w.node("op", "dot_product_attention", words, reads)
    if dropout_p:
        w.rates[node] = AttentionDropout(dropout_p, size, (query.shape[2], key.shape[2]))
    sizes = (*turned[0].sizes[:-1], value.shape[-1])
    return Laid(ConvertedValue(node), sizes, ((0,), (2,), (1,), (3,)), tuple(out.shape))


def _with_heads(mask: Any) -> Any:
    """A mask of attention without heads, with an axis of one head."""
    if isinstance(mask, Laid) and len(mask.shape) == 3:
        return mask.inserted(1)
    if isinstance(mask, Known) and mask.tensor.dim() == 3:
        return mask.map(lambda t: t.unsqueeze(1))
    return mask


def _mask(w: NodeWriter, mask: Any, query: Laid, scores: tuple[Size, ...]) -> Any:
    """The mask or bias that a node reads; `scores` is the shape to which it is added."""
    if isinstance(mask, Known):
        natural = Laid(query.value, scores, ((0,), (1,), (2,), (3,)), scores)
        return w.held(arranged(mask, natural).map(lambda t: t.reshape(*[1] * (3 - t.dim()), *t.shape)))
    while len(mask.shape) < 4:
        mask = mask.inserted(0)
    kept = [mask.axes[i] if mask.length(mask.axes[i]) != 1 else () for i in (1, 2, 3)]
    if 0 not in mask.axes[0] and not mask.is_free:
        raise Unsupported("it mixes the examples of a batch", "give the mask the batch first")
    return w.lay(replace(mask, shape=tuple(mask.length(a) for a in mask.axes)), kept, stretch=True).value


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
    shape = (*query.shape[:-1], key.shape[-2])
    size = query.shape[-1]
    query = scalar(w, "multiply", query, scale if scale is not None else size**-0.5)
    turned = key.permuted((*range(len(key.shape) - 2), len(key.shape) - 1, len(key.shape) - 2))
    scores = write(w, "matmul", self=query, other=turned, out=Out(shape))
    if is_causal:
        mask = Known(torch.ones(shape[-2:], dtype=torch.bool).tril())
    chosen = mask is not None and is_boolean(mask)
    if chosen:
        scores = write(w, "where", condition=mask, self=scores, other=UNSEEN, out=Out(shape))
    elif mask is not None:
        scores = pair(w, "add", scores, mask, shape)
    weights = write(w, "softmax", self=scores, dim=-1)
    if chosen and isinstance(mask, Laid):  # of a query that sees no key
        weights = write(w, "where", condition=mask, self=weights, other=0.0, out=Out(shape))
    if rate:
        weights = w.of(weights, "Dropout", rate=shortest(rate))
    return write(w, "matmul", self=weights, other=value, out=out)


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
    if times == 1:
        return x
    value = w.after(x.value, "repeat", repeats=times, axis=2)
    shape = (x.shape[0], x.shape[1] * times, *x.shape[2:])
    return replace(x, value=value, sizes=(*x.sizes[:2], x.sizes[2] * times, x.sizes[3]), shape=shape)


def is_boolean(mask: Any) -> bool:
    """Whether a tensor, known or not, is one of booleans."""
    return mask.tensor.dtype == torch.bool if isinstance(mask, Known) else mask.dtype == "bool"


def _all_seen(mask: torch.Tensor) -> bool:
    return bool(mask.all() if mask.dtype == torch.bool else (mask == 0).all())


def causal(mask: torch.Tensor) -> bool:
    """Whether a mask is that of causal attention."""
    if mask.dim() < 2 or mask.shape[-1] != mask.shape[-2] or mask.shape[-1] < 2:
        return False
    seen = mask if mask.dtype == torch.bool else mask == 0
    if mask.dtype != torch.bool and not ((mask == 0) | (mask <= HIDING)).all():
        return False
    return bool((seen == torch.ones_like(seen).tril()).all())

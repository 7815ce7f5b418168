"""Modules that are traced as another one that computes the same in functions which specs have words for."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules import transformer

from graphspec.convert.pytorch.recurrent_ops import forward_of
from graphspec.convert.tracing.live import replaced


@contextmanager
def recognized(module: nn.Module) -> Iterator[None]:
    """Replaces the forward methods of such modules meanwhile. What is recognised by its name alone is run on
    random numbers first, and stays as it is where these differ.
    """
    with ExitStack() as changes:
        # which runs on the values of a mask; what the graph has of it is looked at instead
        changes.enter_context(replaced(transformer, "_detect_is_causal_mask", _is_causal))
        for each in module.modules():
            forward = _forward(each)
            if forward is not None and "forward" not in each.__dict__:
                changes.enter_context(replaced(each, "forward", forward))
        yield


def _is_causal(mask: Any, is_causal: Any = None, size: Any = None) -> bool:
    return bool(is_causal)


def _forward(module: nn.Module) -> Callable[..., Any] | None:
    if type(module) is nn.MultiheadAttention:
        supported = module.bias_k is None and not module.add_zero_attn
        return (lambda *args, **given: _attend(module, *args, **given)) if supported else None
    if isinstance(module, nn.RNNBase) and type(module) in (nn.LSTM, nn.GRU, nn.RNN):
        return forward_of(module)
    name = type(module).__name__
    if "RMSNorm" in name and not isinstance(module, nn.RMSNorm):
        return _rms_norm(module)
    if name == "NewGELUActivation":
        return lambda x: F.gelu(x, approximate="tanh")
    return None


def _rms_norm(module: Any) -> Callable[..., Any] | None:
    weight = getattr(module, "weight", None)
    candidates = [getattr(module, word, None) for word in ("variance_epsilon", "eps", "epsilon")]
    epsilon = next((value for value in candidates if isinstance(value, float)), None)
    if (
        not isinstance(weight, Tensor)
        or weight.dim() != 1
        or epsilon is None
        or len(list(module.parameters())) != 1
    ):
        return None
    x = torch.randn(2, 3, weight.shape[0], generator=torch.Generator().manual_seed(0)).to(weight)

    def norm(x: Tensor) -> Tensor:  # it asks the module: another tensor may stand for the weight in a trace
        return F.rms_norm(x, module.weight.shape, module.weight, epsilon)

    with torch.no_grad():
        kept = weight.clone()
        try:
            weight.copy_(torch.rand(weight.shape, generator=torch.Generator().manual_seed(1)))
            same = torch.allclose(module(x), norm(x), rtol=1e-5, atol=1e-6)
        except (RuntimeError, TypeError, ValueError):
            return None
        finally:
            weight.copy_(kept)
    return norm if same else None


def _attend(
    module: nn.MultiheadAttention,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    key_padding_mask: Tensor | None = None,
    need_weights: bool = True,
    attn_mask: Tensor | None = None,
    average_attn_weights: bool = True,
    is_causal: bool = False,
) -> tuple[Tensor, Tensor | None]:
    """nn.MultiheadAttention in single projections."""
    if query.dim() == 2:
        return type(module).forward(
            module,
            query,
            key,
            value,
            key_padding_mask,
            need_weights,
            attn_mask,
            average_attn_weights,
            is_causal,
        )
    if not module.batch_first:
        query, key, value = (x.transpose(0, 1) for x in (query, key, value))
    if module._qkv_same_embed_dim:
        kernels = module.in_proj_weight.chunk(3)
    else:
        kernels = (module.q_proj_weight, module.k_proj_weight, module.v_proj_weight)
    biases = (None,) * 3 if module.in_proj_bias is None else module.in_proj_bias.chunk(3)
    parts = []
    for x, kernel, bias in zip((query, key, value), kernels, biases, strict=True):
        parts.append(F.linear(x, kernel, bias).unflatten(-1, (module.num_heads, -1)).transpose(1, 2))
    mask = _mask(module, attn_mask, key_padding_mask)
    rate = module.dropout if module.training else 0.0
    y = F.scaled_dot_product_attention(parts[0], parts[1], parts[2], mask, rate)
    y = F.linear(y.transpose(1, 2).flatten(2), module.out_proj.weight, module.out_proj.bias)
    if not module.batch_first:
        y = y.transpose(0, 1)
    if not need_weights:
        return y, None
    scores = parts[0] @ parts[1].transpose(-2, -1) * (parts[0].shape[-1] ** -0.5)
    if mask is not None:
        scores = scores.masked_fill(~mask, float("-inf")) if mask.dtype == torch.bool else scores + mask
    weights = scores.softmax(-1)
    return y, weights.mean(1) if average_attn_weights else weights


def _mask(module: nn.MultiheadAttention, attn_mask: Tensor | None, padding: Tensor | None) -> Tensor | None:
    """Both masks as one, true where a key counts; or what is added to the scores."""
    if attn_mask is not None and attn_mask.dim() == 3:
        attn_mask = attn_mask.unflatten(0, (-1, module.num_heads))
    if attn_mask is not None and attn_mask.dtype == torch.bool:
        attn_mask = ~attn_mask
    if padding is None:
        return attn_mask
    padding = padding[:, None, None, :]
    padding = ~padding if padding.dtype == torch.bool else padding
    if attn_mask is None:
        return padding
    if attn_mask.dtype != padding.dtype:
        attn_mask, padding = (
            torch.zeros(m.shape).masked_fill(~m, float("-inf")) if m.dtype == torch.bool else m
            for m in (attn_mask, padding)
        )
        return attn_mask + padding
    return attn_mask & padding if padding.dtype == torch.bool else attn_mask + padding

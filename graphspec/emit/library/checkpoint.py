"""Activation checkpointing."""

from typing import Any

from torch import nn
from torch.func import functional_call
from torch.utils.checkpoint import checkpoint


def recomputed(module: nn.Module, *inputs: Any, **options: Any) -> Any:
    """Calls a module with activation checkpointing.

    In training, the backward pass runs the module again, on the same random numbers.
    """
    if not module.training:
        return module(*inputs, **options)
    return checkpoint(module, *inputs, use_reentrant=False, **options)


def recomputed_with_buffers(module: nn.Module, *inputs: Any, **options: Any) -> Any:
    """Calls a module with activation checkpointing, and updates its buffers once.

    In training, the backward pass runs the module again, on the same random numbers and
    on copies of the buffers as they were.
    """
    if not module.training:
        return module(*inputs, **options)
    before = {name: buffer.clone() for name, buffer in module.named_buffers()}
    first = True

    def run(*inputs: Any, **options: Any) -> Any:
        nonlocal first
        if first:
            first = False
            return module(*inputs, **options)
        copies = {name: buffer.clone() for name, buffer in before.items()}
        return functional_call(module, copies, inputs, options)

    return checkpoint(run, *inputs, use_reentrant=False, **options)

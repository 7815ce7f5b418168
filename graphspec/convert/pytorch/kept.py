"""The user's module is as before, whatever was run of it."""

from __future__ import annotations

import random
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import nn


@contextmanager
def modes_kept(module: nn.Module) -> Iterator[None]:
    """Afterwards each part of the module trains, or does not, as before."""
    before = [(each, each.training) for each in module.modules()]
    try:
        yield
    finally:
        for each, training in before:
            each.training = training


@contextmanager
def uncompiled(module: nn.Module) -> Iterator[nn.Module]:
    """The module inside `torch.compile`; meanwhile nothing in it is compiled."""
    with torch.compiler.set_stance("force_eager"):
        yield getattr(module, "_orig_mod", module)


@contextmanager
def module_kept(module: nn.Module) -> Iterator[None]:
    """Afterwards the module is as before: its tensors, also where it writes into them, their type and their
    gradients, its attributes, and the random numbers that come next. It runs on copies of its tensors.
    """
    tensors = [(t, t.data) for t in (*module.parameters(), *module.buffers())]
    gradients = [(t, t.grad) for t in module.parameters()]
    attributes = [
        (each, dict(each.__dict__), [(value, value.copy()) for value in _containers(each)])
        for each in module.modules()
        if not isinstance(each, torch.jit.ScriptModule)
    ]
    with random_kept(module):
        try:
            for tensor, data in tensors:
                tensor.data = data.clone()
            for parameter, _ in gradients:
                parameter.grad = None
            yield
        finally:
            for each, before_all, containers in attributes:
                each.__dict__.clear()
                each.__dict__.update(before_all)
                for value, before in containers:
                    value.clear()
                    value.extend(before) if isinstance(value, list) else value.update(before)
            for parameter, _ in gradients:
                parameter.grad = None
            for tensor, data in tensors:
                tensor.data = data
            for parameter, gradient in gradients:
                parameter.grad = gradient


def _containers(module: nn.Module) -> list[Any]:
    kinds = (dict, OrderedDict, list, set)
    return [value for value in module.__dict__.values() if type(value) in kinds]


@contextmanager
def random_kept(module: nn.Module) -> Iterator[None]:
    """Afterwards the random numbers of PyTorch, Python and NumPy come as before; those of generators that the
    module holds, too.
    """
    back = [_back(random), _back(np.random)]
    held = [value for each in module.modules() for value in each.__dict__.values()]
    back += [_back(value) for value in held if isinstance(value, _GENERATORS)]
    devices = list(range(torch.cuda.device_count())) if torch.cuda.is_initialized() else []
    with torch.random.fork_rng(devices=devices):
        try:
            yield
        finally:
            for restore in back:
                restore()


_GENERATORS = (torch.Generator, random.Random, np.random.Generator, np.random.RandomState)


def _back(source: Any) -> Callable[[], None]:
    """Restores a source of random numbers to its present state."""
    if isinstance(source, np.random.Generator):
        state = source.bit_generator.state
        return lambda: setattr(source.bit_generator, "state", state)
    python = hasattr(source, "getstate")
    state = source.getstate() if python else source.get_state()
    return lambda: source.setstate(state) if python else source.set_state(state)

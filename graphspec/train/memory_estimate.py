"""How much memory a training step takes at its peak: the step itself, run on tensors without memory.

The module, its losses, the backward pass and the optimizer run on torch's meta device, where a tensor has a
shape and nothing else, and what they make is counted until Python and autograd let go of it.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterable, Iterator, Mapping
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from graphspec import custom
from graphspec.data.batches import Batch
from graphspec.data.fields import fields
from graphspec.elaborated import BaseProgram
from graphspec.tensor import BATCH, names_of, value_of
from graphspec.train.adapters import attach
from graphspec.train.compiled import CompileChoice, Compiled
from graphspec.train.custom import bound
from graphspec.train.freezing import Freezing
from graphspec.train.objective import Objective
from graphspec.train.penalties import Penalties
from graphspec.train.phases import Phase, Phases
from graphspec.train.workspaces import Kernels, laid_out, passing

META = torch.device("meta")


class Tracker(TorchDispatchMode):
    """Counts the bytes of the storages that operations make inside, until they die; with `kernels` also what
    those of CPUs take while they run.
    """

    def __init__(self, kernels: bool = False) -> None:
        super().__init__()
        self.kernels = kernels
        self.live = self.peak = 0
        self._known: dict[int, weakref.ref[Any]] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if self.kernels:
            result = laid_out(func, args, result)
        before = {tensor.untyped_storage()._cdata for tensor in _tensors((args, kwargs))}
        for tensor in _tensors(result):
            if tensor.untyped_storage()._cdata not in before:
                self._count(tensor.untyped_storage())
        if self.kernels:
            self.peak = max(self.peak, self.live + passing(func, args))
        return result

    def _count(self, storage: torch.UntypedStorage) -> None:
        key, nbytes = storage._cdata, storage.nbytes()
        if key in self._known:
            return
        self.live += nbytes
        self.peak = max(self.peak, self.live)

        def died(_: object) -> None:
            del self._known[key]
            self.live -= nbytes

        self._known[key] = weakref.ref(storage, died)


def step_bytes(program: BaseProgram, batch_size: int, sizes: Mapping[str, int] | None = None) -> int | None:
    """The bytes at the peak of a training step on `batch_size` examples: inputs, targets, weights, what the
    optimizer remembers, gradients, what is kept for the backward pass, and what comes and goes.

    Where there is no GPU, what kernels take beside their results is in it, too. `sizes` are those of the
    named sizes of the inputs. None where shapes alone do not tell: a size is not given, what a layer does
    depends on values, or code is one's own.
    """
    known = {**(sizes or {}), BATCH: batch_size}
    wanted = fields(program)
    open_sizes = {name for field in wanted for size in field.tensor.shape for name in names_of(size)}
    if open_sizes - known.keys() or custom.nodes(program) or custom.objectives(program):
        return None
    arrays = {
        field.name: torch.empty(
            [value_of(size, known) for size in field.tensor.shape],
            dtype=getattr(torch, field.tensor.dtype),
            device=META,
        )
        for field in wanted
    }
    try:
        return _peak(program, Batch(arrays))
    except (NotImplementedError, RuntimeError):  # an operation that reads values, or has no shapes of its own
        return None


def _peak(program: BaseProgram, batch: Batch) -> int:
    """The peak of the second step: the optimizer remembers what it has from the first."""
    with META:
        module = program.module(device="meta").train()
    penalties = Penalties(program.graph, module)
    objective = Objective(
        program.inputs, bound(program, META), META, penalties, precision=program.training.precision
    )
    freezing = Freezing(program.graph, module)
    attach(program, module)
    compiled = Compiled(module, CompileChoice("off"), lambda line: None)
    phases = Phases(program, module, objective, penalties, freezing, compiled, 1, 1)
    return max(_peak_of(phases.begin(number), module, batch) for number in range(len(program.training.parts)))


def _peak_of(phase: Phase, module: nn.Module, batch: Batch) -> int:
    """That of a phase."""
    parts = 1 if phase.config.optimizers[0].gradient_accumulation_steps is None else 2

    def step() -> None:
        for update in phase.updates:
            with update.alone():
                for _ in range(parts):
                    loss, *_ = update.objective.loss_terms(module, batch)
                    loss.backward()
                update.optimizer.step()

    step()
    remembered = [value for update in phase.updates for value in update.optimizer.state_dict()[0].values()]
    held = [*module.parameters(), *module.buffers(), *remembered, *batch.arrays.values()]
    on_cpu = torch.backends.mkldnn.is_available() and not torch.cuda.is_available()
    with Tracker(on_cpu) as tracker, Kernels() if on_cpu else nullcontext():
        step()
    return _bytes(held) + int(tracker.peak)


def _bytes(tensors: Iterable[Tensor]) -> int:
    storages = {tensor.untyped_storage()._cdata: tensor.untyped_storage().nbytes() for tensor in tensors}
    return sum(storages.values())


def _tensors(value: Any) -> Iterator[Tensor]:
    return (leaf for leaf in tree_leaves(value) if isinstance(leaf, Tensor))

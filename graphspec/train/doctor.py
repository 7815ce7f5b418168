"""Inspects one batch before the first step: the inputs of the model, and what in it cannot learn.

It runs the model forward once. Random states and buffers are put back, so that the training is the same with
it and without.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from graphspec.data.batches import Batch
from graphspec.diagnostics import Diagnostic, Span
from graphspec.execution import file_name
from graphspec.tensor import factors, names_of, value_of
from graphspec.train.judge import Judge

EXAMPLES = 32
"""How many examples are looked at, at most."""
WORK = 2e9
"""FLOPs of a forward pass that are worth a look: fewer examples of a large model."""
DEAD = 0.5
"""The share of units that must be 0 for all examples before it is a warning. Of fresh weights some are."""
RELUS: frozenset[Any] = frozenset(
    {F.relu, F.relu6, F.relu_, torch.relu, torch.relu_, Tensor.relu, Tensor.relu_}
)


@dataclass(frozen=True, slots=True)
class SeenTensor:
    """A tensor of the batch as the model is given it, or gives it back. `role` is input, target or output."""

    role: str
    name: str
    dtype: str
    shape: tuple[int, ...]
    low: float
    high: float
    mean: float

    def to_json(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.__slots__} | {"shape": list(self.shape)}


@dataclass(frozen=True, slots=True)
class Examination:
    """The look of a batch, and the warnings about it. `unreached` are the weights that no loss
    reaches.
    """

    seen: tuple[SeenTensor, ...] = ()
    warnings: tuple[Diagnostic, ...] = ()
    unreached: tuple[Tensor, ...] = ()


def examples(program: Any, batch_size: int) -> int:
    """The number of examples of a batch that are inspected."""
    flops = program.summary().step(1).forward_flops
    factor = factors(program.inputs.values())
    sizes = {
        name: max(program.minimum_sizes.get(name, 1), 128 // factor.get(name, 1)) for name in names_of(flops)
    }
    return max(2, min(batch_size, EXAMPLES, int(WORK // max(1, value_of(flops, sizes)))))


def examine(program: Any, module: nn.Module, judge: Judge, batch: Batch) -> Examination:
    """Inspects a batch, and the model's outputs for it in training."""
    dead = DeadUnits(file_name(program.source, program.name), program.emitted.places, len(batch))
    with untouched(module), dead:
        module.train()
        judgement = judge(module, batch)
    given = {name: batch.arrays[name] for name in judge.inputs if name in batch.arrays}
    seen = [_seen("input", name, value) for name, value in given.items()]
    seen += [_seen("target", name, value) for name, value in judgement.targets.items()]
    seen += [_seen("output", name, value.detach()) for name, value in judgement.outputs.items()]
    names = {weight: name for name, weight in module.named_parameters() if weight.requires_grad}
    reached = {name: reachable(judgement.outputs[name]) & names.keys() for name in judge.judged}
    every = reachable(judgement.loss)
    unreached = {weight: name for weight, name in names.items() if weight not in every}
    warnings = (*_unreached(program, reached, unreached.values()), *dead.warnings())
    return Examination(tuple(seen), warnings, tuple(unreached))


def _seen(role: str, name: str, value: Tensor) -> SeenTensor:
    numbers = value.double()
    low, high, mean = (numbers.min(), numbers.max(), numbers.mean()) if value.numel() else [numbers.sum()] * 3
    dtype = str(value.dtype).removeprefix("torch.")
    return SeenTensor(role, name, dtype, tuple(value.shape), float(low), float(high), float(mean))


@contextmanager
def untouched(module: nn.Module) -> Iterator[None]:
    """Restores buffers and random states afterwards."""
    buffers = [(buffer, buffer.clone()) for buffer in module.buffers()]
    devices = {tensor.device for tensor in module.parameters() if tensor.is_cuda}
    with torch.random.fork_rng(devices=list(devices)):
        yield
    with torch.no_grad():
        for buffer, before in buffers:
            buffer.copy_(before)


# --- gradients


def _unreached(
    program: Any, reached: Mapping[str, Collection[Tensor]], names: Iterable[str]
) -> Iterator[Diagnostic]:
    """Losses whose gradient reaches no weight, and weights that no loss reaches."""
    for output, weights in reached.items():
        if not weights:
            span = program.span(("outputs", output), True)
            message = f"the loss of output `{output}` reaches no weight that trains"
            yield Diagnostic(
                "no-gradient", message, span, severity="warning", help="it is measured, but not learned"
            )
    if idle := sorted(names):
        shown = ", ".join(f"`{name}`" for name in idle[:4]) + (", ..." if len(idle) > 4 else "")
        count = f"{len(idle)} weight{' is' if len(idle) == 1 else 's are'}"
        message = f"{count} reached by no loss, so they will not train: {shown}"
        help = "give the output that they lead to a `loss`, or freeze them: `trainable: false`"
        yield Diagnostic("no-gradient", message, None, severity="warning", help=help)


def reachable(value: Tensor) -> set[Tensor]:
    """The leaves that the gradient of a tensor flows into."""
    found: set[Tensor] = set()
    todo, known = [value.grad_fn], set[Any]()
    if value.is_leaf and value.requires_grad:
        found.add(value)
    while todo:
        node = todo.pop()
        if node is None or node in known:
            continue
        known.add(node)
        if hasattr(node, "variable"):
            found.add(node.variable)
        todo += [following for following, _ in node.next_functions]
    return found


# --- dead units


class DeadUnits(TorchFunctionMode):
    """Watches the ReLUs of an emitted module, and counts units that are 0 for all examples."""

    def __init__(self, file: str, places: Mapping[int, Span], examples: int):
        super().__init__()
        self._file, self._places, self._examples = file, places, examples
        self._worst: dict[Span | None, tuple[float, int, int]] = {}

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Sequence[Any] = (), kwargs: Any = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        if func in RELUS and isinstance(result, Tensor) and result.dim() > 1 and result.numel():
            self._look(result.detach())
        return result

    def warnings(self) -> Iterator[Diagnostic]:
        for span, (share, dead, units) in self._worst.items():
            if share >= DEAD:
                message = f"{dead} of {units} units are 0 for all {self._examples} examples of a batch"
                help = "no gradient passes a unit that is 0: scale the inputs, or use another initializer"
                yield Diagnostic("dead-units", message, span, severity="warning", help=help)

    def _look(self, value: Tensor) -> None:
        """Units lie on axis 1, as those of a convolution, or on the last; where more are dead is theirs."""
        span = self._place()
        for axis in (1, value.dim() - 1):
            others = [index for index in range(value.dim()) if index != axis]
            dead = int((value.amax(others) <= 0).sum())
            units = value.shape[axis]
            if dead / units > self._worst.get(span, (0.0,))[0]:
                self._worst[span] = dead / units, dead, units

    def _place(self) -> Span | None:
        frame = sys._getframe(2)
        found = None
        while frame is not None:
            if frame.f_code.co_filename == self._file:
                found = self._places.get(frame.f_lineno)
                if found is not None:
                    break
            frame = frame.f_back  # type: ignore[assignment]
        return found

"""Inspects one batch before the first step: the inputs of the model, and what in it cannot learn.

It runs the model forward once. Random states and buffers are put back, so that the training is the same with
it and without.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import FrameType
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from graphspec.data.batches import Batch
from graphspec.data.features import Feature
from graphspec.diagnostics import Diagnostic, Diagnostics, Span
from graphspec.diagnostics.foreign_terms import NORMALIZE, SCALE_PIXELS
from graphspec.elaborated import BaseProgram
from graphspec.emit.proof import untouched
from graphspec.graph import Graph, Op
from graphspec.objectives.losses import Regression
from graphspec.passes.logits import ending
from graphspec.passes.scales import keeps_scale, multiplied
from graphspec.tensor import factors, names_of, value_of
from graphspec.train.objective import Objective
from graphspec.weights import key_prefix

EXAMPLES = 32
"""How many examples are looked at, at most."""
WORK = 2e9
"""FLOPs of a forward pass that are worth a look: fewer examples of a large model."""
DEAD = 0.5
"""The share of units that must be 0 for all examples before it is a warning. Of fresh weights some are."""
SPREAD = 100.0
"""From the least to the most of a number: above this it is not scaled."""
APART = 1e4
"""How many times as large as another a loss must be before it is a warning."""
PIXELS = 255
REACH = {"sigmoid": (0.0, 1.0), "hard_sigmoid": (0.0, 1.0), "softmax": (0.0, 1.0), "tanh": (-1.0, 1.0)}
REACH |= dict.fromkeys(("relu", "softplus", "exponential"), (0.0, math.inf))
"""The range of activations, from the least to the most."""
MULTIPLYING: frozenset[Any] = frozenset({F.linear, F.conv1d, F.conv2d, F.conv3d})
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


def examples(program: BaseProgram, batch_size: int) -> int:
    """The number of examples of a batch that are inspected."""
    flops = program.summary().step(1).forward_flops
    factor = factors(program.inputs.values())
    sizes = {
        name: max(program.minimum_sizes.get(name, 1), 128 // factor.get(name, 1)) for name in names_of(flops)
    }
    return max(2, min(batch_size, EXAMPLES, int(WORK // max(1, value_of(flops, sizes)))))


def examine(
    program: BaseProgram,
    module: nn.Module,
    objective: Objective,
    batch: Batch,
    steps: int | None = None,
    diagnostics: Iterable[Diagnostic] = (),
    real: bool = True,
) -> Examination:
    """Inspects a batch, and the model's outputs for it in training. `steps` are those of the whole training,
    and `diagnostics` are warnings about the data. The scale of data that are not `real` says nothing. What a
    comment of the spec silences is left out.
    """
    dead = DeadUnits(program, module, len(batch))
    scales = Scales()
    with untouched(module), dead, scales:
        module.train()
        result = objective(module, batch)
    inputs = {name: batch.arrays[name] for name in objective.inputs if name in batch.arrays}
    seen = [_seen("input", name, value) for name, value in inputs.items()]
    seen += [_seen("target", name, value) for name, value in result.targets.items()]
    seen += [_seen("output", name, value.detach()) for name, value in result.outputs.items()]
    names = {weight: name for name, weight in module.named_parameters() if weight.requires_grad}
    reached = {name: reachable(result.outputs[name]) & names.keys() for name in objective.with_loss}
    every = reachable(result.loss)
    unreached = {weight: name for weight, name in names.items() if weight not in every}
    warnings = Diagnostics()
    for warning in (
        *diagnostics,
        *_unreached(program, reached, unreached.values()),
        *dead.warnings(),
        *(_unscaled(program, module, inputs, scales) if real else ()),
        *(_beyond(program, result.targets) if real else ()),
        *(_apart(program, result.parts) if real else ()),
        *_long_warmup(program, steps),
    ):
        warnings.add(warning)
    warnings.silence(program.sources)
    return Examination(tuple(seen), tuple(warnings), tuple(unreached))


def _seen(role: str, name: str, value: Tensor) -> SeenTensor:
    numbers = value.double()
    low, high, mean = (numbers.min(), numbers.max(), numbers.mean()) if value.numel() else [numbers.sum()] * 3
    dtype = str(value.dtype).removeprefix("torch.")
    return SeenTensor(role, name, dtype, tuple(value.shape), float(low), float(high), float(mean))


# --- gradients


def _unreached(
    program: BaseProgram, reached: Mapping[str, Collection[Tensor]], names: Iterable[str]
) -> Iterator[Diagnostic]:
    """Losses whose gradient reaches no weight, and weights that no loss reaches."""
    for output, weights in reached.items():
        if not weights:
            span = program.span(("outputs", output), key=True)
            message = f"the loss of output `{output}` depends on no trainable weight"
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
    leaves: set[Tensor] = set()
    todo, known = [value.grad_fn], set[Any]()
    if value.is_leaf and value.requires_grad:
        leaves.add(value)
    while todo:
        node = todo.pop()
        if node is None or node in known:
            continue
        known.add(node)
        if hasattr(node, "variable"):
            leaves.add(node.variable)
        todo += [following for following, _ in node.next_functions]
    return leaves


# --- scales


def _warning(code: str, message: str, span: Span | None, help: str) -> Diagnostic:
    return Diagnostic(code, message, span, severity="warning", help=help)


def _unscaled(
    program: BaseProgram, module: nn.Module, arrays: Mapping[str, Tensor], scales: Scales
) -> Iterator[Diagnostic]:
    """Inputs of a wide spread that a layer multiplies by weights as they are."""
    kernels = dict(_kernels(program.graph, dict(module.named_parameters())))
    for name, value in arrays.items():
        source = program.graph.inputs.get(name)
        if source is None or not value.numel() or value.dtype == torch.bool:
            continue
        numbers = value.double()
        over = 0 if numbers.dim() == 2 else tuple(range(numbers.dim()))  # of numbers each is a column
        spreads = (numbers.amax(over) - numbers.amin(over)).reshape(-1)
        worst = int(spreads.argmax())
        low, high = float(numbers.min()), float(numbers.max())
        if spreads[worst] <= SPREAD:
            continue
        feature = program.data.features.get(name) if program.data is not None else None
        pixels = numbers.dim() == 4 and low >= 0 and high <= PIXELS
        told = pixels and feature is not None and feature.encode == "image"
        known = set(multiplied(source, program.graph, keeps_scale)) if told else set()  # `check` tells these
        readers = (op for op in multiplied(source, program.graph, lambda op: True) if op not in known)
        reader = next((op for op in readers if scales.of(kernels.get(op)) > SPREAD), None)
        if reader is None:
            continue
        if pixels:
            message = f"`{reader.name}` reads the pixels of `{name}` unscaled, from {low:g} to {high:g}"
            help = SCALE_PIXELS
            yield _warning("raw-pixels", message, program.span(("inputs", name), key=True), help)
            continue
        what, span = _number(program, feature, name, worst, len(spreads))
        message = f"{what} spreads over {float(spreads[worst]):,.4g}, but `{reader.name}` reads it unscaled"
        help = NORMALIZE
        if feature is not None and hasattr(feature, "scale"):
            help = "write `scale: standard` at the feature"
        yield _warning("unscaled", message, span, help)


def _number(
    program: BaseProgram, feature: Feature | None, name: str, index: int, count: int
) -> tuple[str, Span]:
    """A number of an input in words, and the place of the spec that names it."""
    columns = feature.read(name) if feature is not None else ()
    if len(columns) == count > 1:
        span = program.span(("data", "features", name, "columns", index))
        return f"column `{columns[index]}` of `{name}`", span
    if feature is not None:
        return f"`{name}`", program.span(("data", "features", name), key=True)
    what = f"number {index} of `{name}`, counted from 0," if count > 1 else f"`{name}`"
    return what, program.span(("inputs", name), key=True)


def _beyond(program: BaseProgram, targets: Mapping[str, Tensor]) -> Iterator[Diagnostic]:
    """Targets of a regression that the activation of their output does not give."""
    for name, target in targets.items():
        output, value = program.outputs[name], program.graph.outputs.get(name)
        if not isinstance(output.loss, Regression) or value is None or not target.numel():
            continue
        word = ending(value)
        least, most = REACH.get(word, (-math.inf, math.inf))
        low, high = float(target.double().min()), float(target.double().max())
        if low < least or high > most:
            gives = f"{least:g} to {most:g}" if math.isfinite(most) else f"{least:g} and above"
            message = f"targets of `{name}` go from {low:.4g} to {high:.4g}, but its {word} gives {gives}"
            help = "leave the activation of the last layer out"
            if (least, most) == (0.0, 1.0):
                help += ", or scale the target: `scale: min_max` at its feature"
            yield _warning("target-beyond", message, program.span(("outputs", name), key=True), help)


def _apart(program: BaseProgram, parts: Mapping[str, float]) -> Iterator[Diagnostic]:
    """A regression whose loss is so large that the other losses do not count."""
    losses = {}
    for name, part in parts.items():
        loss, weight = program.outputs[name].loss, program.outputs[name].last_weight
        if loss is not None and loss.takes_target and weight != "learned" and part * weight > 0:
            losses[name] = part * weight
    regressions = [name for name in losses if isinstance(program.outputs[name].loss, Regression)]
    largest = max(regressions, key=losses.__getitem__, default=None)
    smallest = min(losses, key=losses.__getitem__, default=None)
    if largest is None or smallest is None or losses[largest] < APART * losses[smallest]:
        return
    times = losses[largest] / losses[smallest]
    message = f"the loss of `{largest}` is {times:,.0f} times that of `{smallest}`, which hardly trains"
    help = "scale the target: `scale: standard` at its feature, or give a `loss_weight`"
    yield _warning("losses-apart", message, program.span(("outputs", largest), key=True), help)


def _long_warmup(program: BaseProgram, steps: int | None) -> Iterator[Diagnostic]:
    """A warm-up that the training, or its phase, does not outlast."""
    training = program.training
    for path, part in training.sections() if steps is not None else ():
        assert steps is not None
        phase = training.phases[int(path[1])] if path[:1] == ("phases",) else None
        part_steps = steps if phase is None else steps * phase.epochs // training.epochs
        part_steps *= getattr(part, "repeat", 1)
        warmup = getattr(part.schedule, "warmup_steps", 0)
        if warmup >= max(part_steps, 1):
            what = "update" if hasattr(part, "repeat") else "training" if phase is None else "phase"
            message = f"the warm-up takes {warmup:,} steps, and the {what} has {part_steps:,}"
            span = program.span(("train", *path, "schedule", "warmup_steps"))
            yield _warning(
                "never-acts", message, span, "warm up for a twentieth of the steps, or train longer"
            )


class Scales(TorchFunctionMode):
    """How far the numbers spread that layers multiply by weights."""

    def __init__(self) -> None:
        super().__init__()
        self._widest: dict[Tensor, float] = {}

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Sequence[Any] = (), kwargs: Any = None
    ) -> Any:
        if func in MULTIPLYING and len(args) > 1 and args[0].numel() and not _is_of_one_example(args[0]):
            value, weight = args[0].detach(), args[1]
            self._widest[weight] = max(self.of(weight), float(value.amax() - value.amin()))
        return func(*args, **(kwargs or {}))

    def of(self, weight: Tensor | None) -> float:
        """The spread of the numbers that a weight multiplies; 0 if they were not seen."""
        return self._widest.get(weight, 0.0) if weight is not None else 0.0


def _is_of_one_example(value: Tensor) -> bool:
    """Whether a tensor has no numbers yet, as it is in a function that vmap calls."""
    return bool(torch._C._functorch.is_functorch_wrapped_tensor(value))


def _kernels(graph: Graph, weights: Mapping[str, Tensor], prefix: str = "") -> Iterator[tuple[Op, Tensor]]:
    """The weight that each layer of a graph multiplies its input by."""
    for unit in graph.units:
        here = key_prefix(prefix, unit)
        for op in unit.calls:
            linear = op.layer.linear() if op.layer is not None else None
            if op.graph is not None:
                yield from _kernels(op.graph, weights, here)
            elif linear is not None and f"{here}{linear.kernel}" in weights:
                yield op, weights[f"{here}{linear.kernel}"]


# --- dead units


class DeadUnits(TorchFunctionMode):
    """Watches the ReLUs of an emitted module, and counts units that are 0 for all examples."""

    def __init__(self, program: BaseProgram, module: nn.Module, examples: int):
        super().__init__()
        self._program, self._examples = program, examples
        kernels = _kernels(program.graph, dict(module.named_parameters()))
        self._layers = {weight: op.span for op, weight in kernels}
        self._product: tuple[Tensor, Tensor] | None = None  # the last one, and its weight
        self._worst: dict[Span | None, tuple[float, int, int]] = {}

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Sequence[Any] = (), kwargs: Any = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        looked_at = func in RELUS and isinstance(result, Tensor) and result.dim() > 1 and result.numel()
        if looked_at and not _is_of_one_example(result):
            self._look(result.detach(), self._layer(args[0]) or self._line())
        if func in MULTIPLYING and len(args) > 1:
            self._product = result, args[1]
        return result

    def warnings(self) -> Iterator[Diagnostic]:
        for span, (share, dead, units) in self._worst.items():
            if share >= DEAD:
                message = f"{dead} of {units} units are 0 for all {self._examples} examples of a batch"
                help = "no gradient passes a unit that is 0: scale the inputs, or use another initializer"
                yield Diagnostic("dead-units", message, span, severity="warning", help=help)

    def _look(self, value: Tensor, span: Span | None) -> None:
        """Units lie on axis 1, as those of a convolution, or on the last; where more are dead is theirs."""
        for axis in (1, value.dim() - 1):
            others = [index for index in range(value.dim()) if index != axis]
            dead = int((value.amax(others) <= 0).sum())
            units = value.shape[axis]
            if dead / units > self._worst.get(span, (0.0,))[0]:
                self._worst[span] = dead / units, dead, units

    def _layer(self, value: Tensor) -> Span | None:
        """The place of the layer that has just computed a value. A line may hold several layers."""
        if self._product is None or self._product[0] is not value:
            return None
        return self._layers.get(self._product[1])

    def _line(self) -> Span | None:
        """The place of the line of the emitted module that runs."""
        frame: FrameType | None = sys._getframe(2)
        place = None
        while frame is not None and place is None:
            place = self._program.place_of_line(frame.f_code.co_filename, frame.f_lineno)
            frame = frame.f_back
        return place

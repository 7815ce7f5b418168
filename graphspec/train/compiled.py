"""Compiling training steps with torch.compile: whether, which parts, and at what cost.

Of a model that is not large, forward pass, loss, backward pass, clipping and optimizer are one graph; what
autograd and Python cost between kernels is gone. Of optimizers that a graph has no updates of, the graph ends
with the gradients. Of a large model the blocks that are repeated are compiled by themselves: instances of one
class share what was compiled for the first.
Batches of another size than the spec's, and validation, run eagerly, so that nothing is compiled twice.
"""

from __future__ import annotations

import itertools
import shutil
import time
from collections import Counter
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from graphspec.data.batches import Batch
from graphspec.diagnostics import fail
from graphspec.diagnostics.text import first_line
from graphspec.elaborated import BaseProgram
from graphspec.graph import Definition, Graph
from graphspec.tensor import names_of, value_of
from graphspec.train.batch_result import BatchResult, Reading, Term
from graphspec.train.objective import Objective, StepTotals
from graphspec.train.optimizers import Optimizer
from graphspec.train.parallel.spread import is_sharded
from graphspec.train.parallel.world import World
from graphspec.train.step_row import StepRow
from graphspec.weights import key_prefix

Way = Literal["auto", "on", "off"]
WAYS = ("auto", "on", "off")

BACKEND = "inductor"
START, PER_OP = 3.0, 0.6
"""Seconds that compiling takes: once, and for each op; those of CPUs, fitted to the specs of the gallery."""
OVERHEAD, SAVED_OVERHEAD = 60e-6, 0.5
"""Seconds of an eager step for each op, beside what it computes, and what share of them compiling saves."""
SPEED, SAVED = {"cpu": 3e10, "cuda": 3e13}, {"cpu": -0.1, "cuda": 0.05}
"""FLOPs a second of a step, and the share of that time that compiling saves. A CPU's kernels are no faster
for it: steps of the gallery's GPT took 1.03 of the eager time, those of its convolutions over posts 1.34.
"""
WHOLE_STEPS = "2.11"
"""The first torch whose graphs can hold `torch.autograd.grad`, and with it a whole step."""
LARGE = 60
"""Ops from which on repeated blocks are compiled by themselves. To enter one costs as much as a few ops."""


@dataclass(frozen=True, slots=True)
class CompileChoice:
    """The parts to compile, and why: whole steps, or submodules by their paths; empty where nothing is."""

    why: str
    step: bool = False
    paths: tuple[str, ...] = ()

    def __str__(self) -> str:
        if not self.step and not self.paths:
            return f"not compiled: {self.why}"
        what = "whole steps" if self.step else f"{len(self.paths)} repeated blocks"
        return f"compiling {what}: {self.why}"


def choose(
    program: BaseProgram,
    way: Way,
    steps: int,
    device: str,
    world: World,
    sizes: Mapping[str, int] | None = None,
) -> CompileChoice:
    """Chooses the parts that a training of so many steps compiles.

    `sizes` are the values that named sizes have in every batch, None if they differ. The choice depends on
    the spec, the data and the steps of the whole run alone, so that a resumed run goes on in the same way.
    """
    if way == "off":
        return CompileChoice("off")
    ops = [op for op in program.graph.walk() if op.graph is None and op.layer is not None]
    if any(op.layer is not None and op.layer.recurrent for op in ops):
        return CompileChoice("recurrent layers would be unrolled step by step, which is slower")
    if sizes is None and any(names_of(size) for x in program.inputs.values() for size in x.shape[1:]):
        return CompileChoice("lengths differ from batch to batch")
    if device == "cpu" and not any(map(shutil.which, ("c++", "g++", "clang++"))):
        return CompileChoice("there is no C++ compiler")
    paths, compiled = _regions(program)
    waiting = [o.name for o in program.outputs.values() if o.loss is not None and o.loss.waits]
    if waiting and not paths:
        return CompileChoice(f"the loss of `{waiting[0]}` pairs its targets on the CPU")
    alone = world.alone and program.training.optimizers[0].gradient_accumulation_steps is None
    if not paths and not alone:
        return CompileChoice(
            "steps of several batches or processes are compiled by repeated blocks, and there are none"
        )
    if not paths and _checkpointed(program):
        return CompileChoice("what is checkpointed is compiled by repeated blocks, and there are none")
    if not paths and torch.__version__ < WHOLE_STEPS:  # versions, not texts
        return CompileChoice(f"whole steps need torch {WHOLE_STEPS}, and this is {torch.__version__}")
    if paths and is_sharded(program, world):
        return CompileChoice("sharded weights are gathered between blocks")
    if program.training.unfreeze_at is not None:
        return CompileChoice("a step is another one when weights unfreeze")
    if way == "on":
        return CompileChoice("asked for", not paths, paths)
    graphs = sum(len(part.updates) for part in program.training.parts)
    cost = START + PER_OP * compiled * graphs
    saved = steps * _saved(program, len(ops), device, sizes or {})
    estimate = f"{steps:,} steps would save about {saved:.0f} s, and compiling takes about {cost:.0f} s"
    return CompileChoice(estimate, not paths, paths) if saved > 2 * cost else CompileChoice(estimate)


class Compiled:
    """The compiled parts of a training, and the time of compilation."""

    def __init__(
        self,
        module: nn.Module,
        choice: CompileChoice,
        tell: Callable[[str], None],
        custom: bool = False,
    ):
        """`custom` code may count steps in Python, or assign its buffers: torch.compile does that at each
        step, so that none follow in a row.
        """
        self.module, self.choice, self.custom = module, choice, custom
        self.tell = tell
        self.active = choice.step or bool(choice.paths)
        self.count, self.seconds, self._began = 0, 0.0, 0.0
        if choice.paths:
            import torch._dynamo

            # blocks of all kinds count as one function, of which torch compiles but eight forms by itself
            torch._dynamo.config.recompile_limit = torch._dynamo.config.accumulated_recompile_limit
        for path in choice.paths:
            module.get_submodule(path).compile(backend=BACKEND, dynamic=False)

    def step_of(self, optimizer: Optimizer, batch_size: int) -> CompiledStep:
        """The steps of an optimizer, of which full batches have so many examples in each process."""
        return CompiledStep(self, optimizer, batch_size)

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Inside, compilations are counted and timed; they are reported at the end."""
        if not self.active:
            yield
            return
        from torch._dynamo.callback import callback_handler as handler

        handler.register_start_callback(self._start)
        handler.register_end_callback(self._end)
        try:
            yield
        finally:
            handler.remove_start_callback(self._start)
            handler.remove_end_callback(self._end)
        if self.count:
            times = "once" if self.count == 1 else f"{self.count} times"
            self.tell(f"compiled {times}, in {self.seconds:.1f} s")

    @contextmanager
    def evaluating(self) -> Iterator[None]:
        """Inside, nothing is compiled, and nothing that was is used."""
        with self.eagerly():
            yield

    def eagerly(self) -> AbstractContextManager[Any]:
        if not self.choice.paths:
            return nullcontext()  # the module itself is not compiled
        from torch.compiler import set_stance

        stance: AbstractContextManager[Any] = set_stance("force_eager")
        return stance

    def _start(self, _: Any) -> None:
        self._began = time.perf_counter()

    def _end(self, about: Any) -> None:
        self.count += about.callback_trigger.name == "DYNAMO"  # and not the backward pass of that
        self.seconds += time.perf_counter() - self._began


class CompiledStep:
    """The forward and backward passes of an optimizer's steps, compiled or not."""

    def __init__(self, shared: Compiled, optimizer: Optimizer, batch_size: int):
        self.shared, self.optimizer, self.batch_size = shared, optimizer, batch_size
        self.updated = False
        """Whether the last step moved the weights, too, unless its loss was not finite."""
        self._step: Any = None
        self._weights: list[Tensor] = []
        self._row = StepRow(_compiler)
        if shared.choice.step:
            self._step = _compiled_step(shared.module, optimizer, self._row.backend)

    def __call__(
        self, objective: Objective, called: nn.Module, batch: Batch, totals: StepTotals | None
    ) -> BatchResult:
        """A forward and a backward pass: weights have their gradients afterwards, or are `updated`."""
        self.updated, full = False, len(batch) == self.batch_size
        self._row.end()
        if full and self._step is not None:
            batch_result = self._compiled(objective, batch)
            if batch_result is not None:
                return batch_result
        with nullcontext() if full else self.shared.eagerly():
            result = objective(called, batch, totals)
            if not result.loss.requires_grad:
                name = min(self.optimizer.weights)
                message = f"the losses depend on none of the weights that they update, such as `{name}`"
                help = "let `update` match weights that the losses depend on; `stop_gradient` cuts them off"
                raise fail("nothing-to-train", message, help)
            result.loss.backward()
        return result

    def _compiled(self, objective: Objective, batch: Batch) -> BatchResult | None:
        """The same by the compiled graph; None in the first step, which shows what the loss reaches, and
        where torch cannot compile it, which is reported once.
        """
        if not self._weights:
            self._weights = self.optimizer.moved
            if not self._weights:
                return None
        groups = dict(batch.arrays), dict(batch.weights), dict(batch.masks)
        (rates,) = self._rates(1)
        try:
            found = self._step(objective, self._weights, *groups, rates)
        except Exception as error:
            if not type(error).__module__.startswith(("torch._dynamo", "torch._inductor")):
                raise
            self.shared.tell(f"not compiled, as torch cannot: {first_line(error)}")
            self._step, self.shared.count = None, 0
            return None
        self.updated = self.optimizer.traceable
        if self.updated and not self.shared.custom:
            self._row.begin(batch, rates, found)
        for weight, gradient in zip(self._weights, found[-1], strict=False):
            if gradient.stride() != weight.stride():
                gradient = torch.empty_like(weight).copy_(gradient)  # as autograd lays it out
            weight.grad = gradient
        return _batch_result(found, Reading(found[0]))

    def further(
        self, batches: Iterable[Batch], count: int, goes_on: Callable[[], bool]
    ) -> Iterable[tuple[Batch, BatchResult]]:
        """At most `count` more steps after one that was a call of a graph: to the bit what calls of this
        object would make. After each `goes_on` calls `Update.move`, and says whether another follows; a step
        whose loss is not finite is the last, and it is not called.
        """
        made = self._row.further(batches, self._rates, count, goes_on)
        return ((batch, _batch_result(found, Reading(loss))) for batch, found, loss in made)

    def _rates(self, count: int) -> Sequence[Tensor]:
        """The learning rates of each of the next steps; numbers would be constants of the graph."""
        begun = self.optimizer.iterations
        rows = [self.optimizer.rates(step) for step in range(begun, begun + count)]
        return torch.tensor(rows, dtype=torch.float64, device=self._weights[0].device).unbind()


def _batch_result(found: Any, reading: Reading) -> BatchResult:
    """The result of what a compiled step returns."""
    loss, terms, outputs, targets, masks, _ = found
    return BatchResult(
        loss, {name: Term(*term) for name, term in terms.items()}, outputs, targets, masks, reading
    )


_NUMBERS = itertools.count()


def _compiler(graph: Any, examples: Any) -> Any:
    """The backend of torch.compile that compiles a step."""
    from torch._dynamo.backends.registry import lookup_backend

    # torch's own CUDA graphs write each result over the last one, and some are held
    patches = {"config_patches": {"triton.cudagraphs": False}} if BACKEND == "inductor" else {}
    return lookup_backend(BACKEND)(graph, examples, **patches)


def _compiled_step(module: nn.Module, optimizer: Optimizer, backend: Callable[..., Any]) -> Any:
    """A function of an objective, weights and a batch to the parts of the result, and to the gradients of the
    weights: none where it has updated them.
    """
    import torch._dynamo

    def step(
        objective: Objective, weights: list[Tensor], arrays: Any, counts: Any, masks: Any, rates: Tensor
    ) -> Any:
        loss, terms, *rest = objective.loss_terms(module, Batch(arrays, counts, masks))
        gradients = torch.autograd.grad(loss, weights)
        if optimizer.traceable:
            finite, touched = loss.detach().isfinite(), optimizer.touched
            with torch.no_grad():
                before = [tensor.clone() for tensor in touched]
                optimizer.trace(list(gradients), rates.unbind())
                for tensor, kept in zip(touched, before, strict=True):  # momentum moves without gradients
                    tensor.copy_(torch.where(finite, tensor, kept))
            gradients = ()
        outputs = {name: value.detach() for name, value in rest[0].items()}
        parts = {name: (term.value, term.divisor, term.count) for name, term in terms.items()}
        return loss.detach(), parts, outputs, rest[1], rest[2], gradients

    # torch finds what it compiled by the code object, and sizes that were others, which it would leave free,
    # by the name of the function: another training in this process has its own
    step.__code__ = step.__code__.replace(co_name=f"step_{next(_NUMBERS)}")
    # contexts around each step would cost as much as a step, and `dynamic=False` is one
    torch._dynamo.config.trace_autograd_ops = True
    torch._dynamo.config.record_runtime_overhead = False
    return torch.compile(step, fullgraph=True, backend=backend)


@dataclass(frozen=True, slots=True)
class RepeatedBlock:
    """An instance of a block: its path, how many ops it has, and its `kind`: its definition with all shapes
    and arguments. Instances of one kind share what torch compiles for the first.
    """

    path: str
    ops: int
    definition: Definition
    kind: str


def _regions(program: BaseProgram) -> tuple[tuple[str, ...], int]:
    """The blocks that are repeated, where they are most of a large model, else none; and how many ops there
    are to compile.
    """
    repeated = _repeated(program.graph)
    count = sum(1 for op in program.graph.walk() if op.graph is None)
    inside = sum(block.ops for block in repeated)
    if not _checkpointed(program) and (count < LARGE or 2 * inside < count):
        return (), count
    kinds = {block.kind: block.ops for block in repeated}
    return tuple(block.path for block in repeated), sum(kinds.values())


def _checkpointed(program: BaseProgram) -> bool:
    """Whether the backward pass runs a block again: torch.compile takes that within no whole step."""
    return any(op.checkpoint for op in program.graph.walk())


def _repeated(graph: Graph) -> list[RepeatedBlock]:
    """The outermost blocks of which some instances are of one kind: stages of a network whose widths differ
    are none, and the blocks within them are.
    """
    kinds = Counter((inner.definition, _kind(inner)) for inner in graph.graphs())
    definitions = {definition for (definition, _), count in kinds.items() if count > 1}
    found = list(_instances(graph, definitions))
    again = Counter(block.kind for block in found)
    definitions = {block.definition for block in found if again[block.kind] > 1}
    return [block for block in found if block.definition in definitions]


def _instances(graph: Graph, definitions: Container[Definition], prefix: str = "") -> Iterator[RepeatedBlock]:
    """The outermost instances of some definitions."""
    for unit in graph.units:
        inner, here = unit.first_call.graph, key_prefix(prefix, unit)
        if inner is None:
            continue
        if inner.definition in definitions:
            ops = sum(1 for op in inner.walk() if op.graph is None)
            yield RepeatedBlock(here.removesuffix("."), ops, inner.definition, _kind(inner))
        else:
            yield from _instances(inner, definitions, here)


def _kind(graph: Graph) -> str:
    """The key of an instance of a block: torch compiles once for each."""
    ops = [(op.name, op.layer, op.present, op.site()) for op in graph.walk()]
    return repr((graph.definition, [value and value.tensor for value in graph.inputs.values()], ops))


def _saved(program: BaseProgram, ops: int, device: str, sizes: Mapping[str, int]) -> float:
    """About how many seconds of a step compiling saves."""
    flops = program.summary().step(program.training.batch_size).flops
    place = device if device in SPEED else "cpu"
    computing = value_of(flops, sizes) / SPEED[place]
    return max(0.0, ops * OVERHEAD * SAVED_OVERHEAD + computing * SAVED[place])

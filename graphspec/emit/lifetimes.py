"""How long a `forward` keeps its tensors, and where a `del` would lower the memory that a program needs.

A variable keeps a tensor until it is assigned anew, which may be long after the last statement that reads it.
Sizes are those of one example, with `NOMINAL` in place of every size that is not known.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from graphspec.costs import nbytes
from graphspec.graph import Graph, Op, Value
from graphspec.tensor import names_of, value_of

NOMINAL = 256
WORTH = 0.08
"""The share of the memory that a `del` must save, of its class and of the program, to be written."""
LATER = 3
"""The statements through which a tensor must lie about before one is."""


def size(value: Value) -> int:
    """About how many bytes a value takes."""
    total = nbytes(value.tensor)
    return max(value_of(total, {name: NOMINAL for name in names_of(total)}), 0)


def storage(value: Value) -> Value:
    """The value whose memory a value shares: what is rearranged, or handed on, is a view."""
    while (op := value.op) is not None and op.graph is None and op.wrapper is None and op.inputs:
        if op.present and not (op.layer is not None and op.layer.rearranges):
            break
        value = op.inputs[0]
    return value


class Peaks:
    """The memory that graphs need at the least: each tensor is freed once it has been read for the last time.

    A graph's inputs do not count: whoever calls it holds them.
    """

    def __init__(self) -> None:
        self._of: dict[Graph, int] = {}

    def of(self, graph: Graph) -> int:
        if graph not in self._of:
            self._of[graph] = self._simulated(graph)
        return self._of[graph]

    def during(self, op: Op) -> int:
        """What one op adds while it runs, its outputs among it."""
        if not op.present or op.parameter is not None:
            return 0
        outputs = sum(size(value) for value in {storage(v) for v in op.outputs.values()} if value.op is op)
        if op.graph is not None:
            return max(outputs, self.of(op.graph))
        return outputs * (1 if getattr(op.layer, "activation", "linear") in ("linear", "relu") else 2)

    def _simulated(self, graph: Graph) -> int:
        last: dict[Value, int] = {}
        for step, op in enumerate(graph.ops):
            last.update({storage(value): step for value in op.inputs})
        last.update({storage(value): len(graph.ops) for value in graph.outputs.values()})
        ends: dict[int, list[Value]] = defaultdict(list)
        held = peak = 0
        for step, op in enumerate(graph.ops):
            peak = max(peak, held + self.during(op))
            for value in {storage(v) for v in op.outputs.values()}:
                if value.op is op and last.get(value, step) > step:
                    held += size(value)
                    ends[last[value]].append(value)
            held -= sum(size(value) for value in ends[step])
        return peak


@dataclass(eq=False, slots=True)
class Binding:
    """A variable from one assignment to the next, or to its `del`: the values that it holds, and those
    that are read through it.
    """

    variable: str
    step: int
    holds: list[Value]
    read_as: list[Value]
    end: int | None = None  # the step after which it holds something else

    def last(self, reads: Mapping[Value, list[int]]) -> int:
        """The last step that reads it; the one that made it where none does."""
        return max((step for value in self.read_as for step in reads.get(value, ())), default=self.step)


@dataclass(eq=False, slots=True)
class Lifetimes:
    """The bindings of one `forward`, in order. `during` is what each step adds while it runs."""

    bindings: list[Binding]
    reads: Mapping[Value, list[int]]
    during: Mapping[int, int]
    inputs: frozenset[Value]
    steps: int

    def dels(self, program: int) -> dict[int, list[str]]:
        """The variables to delete after each step. `program` is what the whole program needs."""
        deleted: dict[Binding, int] = {}
        while True:
            step, peak = self._peak()
            dead = self._dead(step)
            saved = sum(size(value) for value in self._storages(dead) - self._storages(self._live(step)))
            if not dead or saved < WORTH * max(peak, program):
                break
            after = max(binding.last(self.reads) for binding in dead)
            for binding in dead:
                binding.end = deleted[binding] = after
        found: dict[int, list[str]] = defaultdict(list)
        for binding in self.bindings:
            if binding in deleted:
                found[deleted[binding]].append(binding.variable)
        return found

    def _held(self, step: int) -> list[Binding]:
        """The bindings that hold something while a step runs."""
        ends = ((b, self.steps if b.end is None else b.end) for b in self.bindings)
        return [binding for binding, end in ends if binding.step < step <= end]

    def _dead(self, step: int) -> list[Binding]:
        """The bindings of which a step sees nothing but the memory, which they hold for long."""
        dead = []
        for binding in self._held(step):
            last = binding.last(self.reads)
            end = self.steps if binding.end is None else binding.end
            if last < step and last + LATER <= end and self._storages([binding]):
                dead.append(binding)
        return dead

    def _live(self, step: int) -> list[Binding]:
        return [binding for binding in self._held(step) if binding.last(self.reads) >= step]

    def _storages(self, bindings: Iterable[Binding]) -> set[Value]:
        """The memory that bindings hold; what came in is held elsewhere."""
        return {storage(value) for binding in bindings for value in binding.holds} - self.inputs

    def _peak(self) -> tuple[int, int]:
        """The first step that needs most, and how much that is."""
        changes: dict[int, list[tuple[Value, int]]] = defaultdict(list)
        for binding in self.bindings:
            end = self.steps if binding.end is None else binding.end
            for value in self._storages([binding]) if end > binding.step else ():
                changes[binding.step + 1].append((value, 1))
                changes[end + 1].append((value, -1))
        holders: Counter[Value] = Counter()
        held, best = 0, (0, -1)
        for step in range(self.steps + 1):
            for value, change in changes[step]:
                before = holders[value]
                holders[value] += change
                held += (bool(holders[value]) - bool(before)) * size(value)
            need = held + self.during.get(step, 0)
            best = (step, need) if need > best[1] else best
        return best


@dataclass(eq=False, slots=True)
class Bindings:
    """Notes which variable holds what, as `forward` is written."""

    all: list[Binding] = field(default_factory=list)
    _now: dict[str, Binding] = field(default_factory=dict)

    def assign(self, variable: str, value: Value, step: int) -> None:
        """A variable holds a value and nothing else."""
        if variable in self._now:
            self._now[variable].end = step
        self._now[variable] = Binding(variable, step, [value], [value])
        self.all.append(self._now[variable])

    def add(self, variable: str, value: Value, step: int, held: bool) -> None:
        """A variable is what reads another value, too; it holds that one besides, if it is a list."""
        if variable not in self._now:
            self.assign(variable, value, step)
            return
        self._now[variable].read_as.append(value)
        if held:
            self._now[variable].holds.append(value)

    def move(self, source: str, variable: str, step: int) -> None:
        """A variable took all items out of a list, one by one, and holds the first of them."""
        emptied = self._now.pop(source)
        emptied.end = step
        self.assign(variable, emptied.holds[0], step)

    def held(self, variable: str) -> int:
        """The bytes that a variable holds."""
        binding = self._now.get(variable)
        return sum(map(size, {storage(value) for value in binding.holds})) if binding is not None else 0

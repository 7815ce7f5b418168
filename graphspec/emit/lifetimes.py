"""How long a `forward` keeps its tensors, and where a `del` would lower the memory that a program needs.

A variable keeps a tensor until it is assigned anew, which may be long after the last statement that reads it.
Sizes are those of one example, with `NOMINAL` in place of every size that is not known.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from itertools import accumulate

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


class Lifetimes:
    """The bindings of one `forward`, in order. `during` is what each step adds while it runs.

    What came in is held elsewhere: its memory does not count.
    """

    def __init__(
        self,
        bindings: list[Binding],
        reads: Mapping[Value, list[int]],
        during: Mapping[int, int],
        inputs: frozenset[Value],
        steps: int,
    ):
        self.bindings = bindings
        self._ends = {each: steps if each.end is None else each.end for each in bindings}
        self._lasts = {each: each.last(reads) for each in bindings}
        self._storages = {each: {storage(value) for value in each.holds} - inputs for each in bindings}
        self._sizes = {value: size(value) for held in self._storages.values() for value in held}
        self._holders: dict[Value, list[Binding]] = defaultdict(list)
        for each in bindings:
            for value in self._storages[each]:
                self._holders[value].append(each)
        idle = [each for each in bindings if self._storages[each] and self._lies_about(each)]
        self._sharing = [each for each in idle if self._shared(each)]
        self._batches = self._batched([each for each in idle if not self._shared(each)])
        self._needs = Needs(self._at_first(during, steps))

    def _lies_about(self, binding: Binding) -> bool:
        return self._lasts[binding] + LATER <= self._ends[binding]

    def _shared(self, binding: Binding) -> list[Value]:
        """The memory of a binding that others hold, too."""
        return [value for value in self._storages[binding] if len(self._holders[value]) > 1]

    def _batched(self, bindings: list[Binding]) -> list[Batch]:
        """What ends together in batches, in the order of the first of their last reads."""
        batches: dict[int, Batch] = {}
        for binding in sorted(bindings, key=lambda each: self._lasts[each]):
            end = self._ends[binding]
            batch = batches.setdefault(end, Batch([], [], [0], 0, 0, end))
            batch.add(binding, self._lasts[binding], sum(self._sizes[v] for v in self._storages[binding]))
        return list(batches.values())

    def _at_first(self, during: Mapping[int, int], steps: int) -> list[int]:
        """The bytes that each step needs before anything is deleted."""
        changes = [0] * (steps + 2)
        for value, holders in self._holders.items():
            covered = 0
            for binding in sorted(holders, key=lambda each: each.step):
                start, end = max(covered, binding.step), self._ends[binding]
                if start < end:
                    changes[start + 1] += self._sizes[value]
                    changes[end + 1] -= self._sizes[value]
                    covered = end
        return [held + during.get(step, 0) for step, held in enumerate(accumulate(changes[:-1]))]

    def dels(self, program: int) -> dict[int, list[str]]:
        """The variables to delete after each step. `program` is what the whole program needs."""
        deleted: dict[Binding, int] = {}
        while True:
            step, peak = self._needs.peak()
            before = self._batches[: bisect_left(self._batches, step, key=Batch.first)]
            held = [batch for batch in before if batch.end >= step]
            cuts = [(batch, cut) for batch in held if (cut := batch.dead(step)) > batch.start]
            sharing = [each for each in self._sharing if self._is_dead(each, step)]
            saved = sum(batch.bytes(cut) for batch, cut in cuts) + self._saved(sharing, step)
            if not (cuts or sharing) or saved < WORTH * max(peak, program):
                break
            after = max([batch.lasts[cut - 1] for batch, cut in cuts] + [self._lasts[e] for e in sharing])
            freed = self._freed(sharing, after)
            for batch, cut in cuts:
                freed[batch.end] += batch.bytes(cut)
                self._cut(batch, cut)
                batch.end, batch.deleted = after, True
            self._needs.lower(after, freed)
            deleted.update(dict.fromkeys(sharing, after))
        for batch in (batch for batch in self._batches if batch.deleted):
            deleted.update(dict.fromkeys(batch.members[batch.start : batch.stop], batch.end))
        found: dict[int, list[str]] = defaultdict(list)
        for binding in self.bindings:
            if binding in deleted:
                found[deleted[binding]].append(binding.variable)
        return found

    def _cut(self, batch: Batch, cut: int) -> None:
        """Leaves a batch its first members; the others are one of their own."""
        if cut < batch.stop:
            insort(self._batches, replace(batch, start=cut), key=Batch.first)
            batch.stop = cut

    def _is_dead(self, binding: Binding, step: int) -> bool:
        """Whether a step sees nothing of a binding but the memory, which it holds for long."""
        return self._lasts[binding] < step <= self._ends[binding] and self._lies_about(binding)

    def _saved(self, dead: list[Binding], step: int) -> int:
        """The bytes that a step would not find if these were gone."""
        values = {value for binding in dead for value in self._storages[binding]}
        return sum(self._sizes[value] for value in values if not self._is_live(value, step))

    def _is_live(self, value: Value, step: int) -> bool:
        return any(
            each.step < step <= self._ends[each] and self._lasts[each] >= step
            for each in self._holders[value]
        )

    def _freed(self, dead: list[Binding], after: int) -> dict[int, int]:
        """Lets bindings that share memory end after a step; says how many bytes fewer are needed from there
        to which step.
        """
        values = {value for binding in dead for value in self._storages[binding]}
        before = {value: self._covered(value, after) for value in values}
        self._ends.update(dict.fromkeys(dead, after))
        freed: dict[int, int] = defaultdict(int)
        for value in values:
            for step in before[value] - self._covered(value, after):
                freed[step] += self._sizes[value]
                freed[step - 1] -= self._sizes[value]
        return freed

    def _covered(self, value: Value, after: int) -> set[int]:
        """The steps behind one at which a value is held."""
        spans = ((max(each.step, after) + 1, self._ends[each] + 1) for each in self._holders[value])
        return {step for start, end in spans for step in range(start, end)}


@dataclass(eq=False, slots=True)
class Batch:
    """Bindings that lie about until one step: a part of a list of them, in the order of their last reads,
    whose memory nothing else holds. `sums` are the bytes of all before each.
    """

    members: list[Binding]
    lasts: list[int]
    sums: list[int]
    start: int
    stop: int
    end: int
    deleted: bool = False

    def add(self, binding: Binding, last: int, held: int) -> None:
        self.members.append(binding)
        self.lasts.append(last)
        self.sums.append(self.sums[-1] + held)
        self.stop += 1

    def first(self) -> int:
        """The first of the last reads."""
        return self.lasts[self.start]

    def dead(self, step: int) -> int:
        """Where those end of which a step, at which all are held, sees nothing but the memory, which they
        hold for long.
        """
        return bisect_left(self.lasts, min(step, self.end - LATER + 1), self.start, self.stop)

    def bytes(self, cut: int) -> int:
        """What those up to a place hold."""
        return self.sums[cut] - self.sums[self.start]


class Needs:
    """The bytes that each step needs, and the first step that needs most, kept by stretches of steps."""

    STRETCH = 128

    def __init__(self, needs: list[int]):
        self._needs = needs
        self._most = [
            max(needs[start : start + self.STRETCH]) for start in range(0, len(needs), self.STRETCH)
        ]

    def peak(self) -> tuple[int, int]:
        """The first step that needs most, and how much that is."""
        most = max(self._most)
        return self._needs.index(most, self._most.index(most) * self.STRETCH), most

    def lower(self, after: int, freed: Mapping[int, int]) -> None:
        """Takes bytes off the steps from `after` on, that one excluded, up to the last step of each."""
        if not freed:
            return
        end, less = max(freed), 0
        for step in range(end, after, -1):
            less += freed.get(step, 0)
            self._needs[step] -= less
        for stretch in range((after + 1) // self.STRETCH, end // self.STRETCH + 1):
            start = stretch * self.STRETCH
            self._most[stretch] = max(self._needs[start : start + self.STRETCH])


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

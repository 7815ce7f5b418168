"""Whether two specs mean the same, whatever their nodes are called and however they are put into blocks; and
where they do not, the first place that differs, in words that do not give the other one away: for exercises.

    Program -> steps: layers in data order, blocks unfolded -> numbers, equal for equal values -> hints
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from graphspec.compare.outline import arguments_of, outline
from graphspec.contract.activations import ACTIVATIONS
from graphspec.graph import Graph, Op, Value

if TYPE_CHECKING:
    from graphspec.program import Program

ANY_ORDER = ("add", "multiply", "average", "maximum", "minimum")
"""Types whose operands may change places."""
INSIDE = re.compile(r"\.\d+(?:\.|$)")
"""Where the path of a setting goes into a list, which is told as a whole."""


@dataclass(frozen=True, slots=True)
class ReadValue:
    """A value: which output of the step that makes it; an input by its name, or its place in a block."""

    step: int | str
    output: int = 0


@dataclass(frozen=True, slots=True)
class UnfoldedStep:
    """A layer at work. `arguments` is all that it takes, `reads` groups references as the layer takes them;
    what has its weights is `unit`.
    """

    path: str
    type: str
    arguments: Mapping[str, Any]
    reads: Any
    shapes: tuple[str, ...]
    unit: tuple[str, ...]

    def title(self) -> str:
        return f"`{self.path}` ({self.type})"


def hints(answer: Program, solution: Program) -> list[str]:
    """Hints where an answer differs from the solution; empty where both mean the same."""
    renamed = _inputs_of_solution(answer, solution)
    if isinstance(renamed, str):
        return [renamed]
    ours, theirs = _Steps(answer.graph, renamed), _Steps(solution.graph, {})
    if len(ours.outputs) != len(theirs.outputs):
        return [f"the solution has {_count(len(theirs.outputs), 'output')}, yours {len(ours.outputs)}"]
    names = _pairs(ours.outputs, theirs.outputs)
    found = [
        f"the output `{name}` should have shape {theirs.shapes[other]}, yours has {ours.shapes[name]}"
        for name, other in names.items()
        if ours.shapes[name] != theirs.shapes[other]
    ]
    known: dict[Any, int] = {}
    mine, wanted = ours.numbers(known), theirs.numbers(known)
    place = _first(ours, theirs, mine, wanted) or _apart(ours, theirs, mine, wanted, names)
    if place is None:
        return [*found, *_settings(answer, solution, names)]
    totals = [program.summary().total_params for program in (solution, answer)]
    if totals[0] != totals[1]:
        place += f"; the solution has {totals[0]:,} parameters, yours {totals[1]:,}"
    return [*found, place]


def _inputs_of_solution(answer: Program, solution: Program) -> dict[str, str] | str:
    """For each input of an answer that of the solution; a hint where they differ."""
    ours, theirs = answer.inputs, solution.inputs
    if len(ours) != len(theirs):
        return f"the solution has {_count(len(theirs), 'input')}, yours {len(ours)}"
    pairs = _pairs(ours, theirs)
    for name, other in pairs.items():
        if str(ours[name]) != str(theirs[other]):
            return f"the input `{name}` should be {theirs[other]}, yours is {ours[name]}"
    return pairs


def _pairs(ours: Collection[str], theirs: Collection[str]) -> dict[str, str]:
    """Names of an answer with those of the solution: equal ones, and the others in their order."""
    rest = iter([name for name in theirs if name not in ours])
    return {name: name if name in theirs else next(rest) for name in ours}


def _first(ours: _Steps, theirs: _Steps, mine: list[int], wanted: list[int]) -> str | None:
    """The first step of an answer that the solution lacks, or that it lacks, in data order."""
    left = Counter(wanted[at] for at in theirs.needed)
    mates, lacking = list[int](), list[int]()
    for at in ours.needed:
        if left[mine[at]]:
            left[mine[at]] -= 1
            mates.append(at)
        else:
            lacking.append(at)
    open_ones: list[int] = []
    for at in reversed(theirs.needed):  # of equal ones the first are those that the answer has
        if left[wanted[at]]:
            left[wanted[at]] -= 1
            open_ones.insert(0, at)
    if not lacking:
        return _after(ours, theirs, open_ones[0], mine, wanted) if open_ones else None
    there = {mine[at] for at in mates}
    ready = [at for at in open_ones if there.issuperset(theirs.read_numbers(at, wanted))]
    return _beside(ours, theirs, lacking[0], ready, mine, wanted)


def _apart(
    ours: _Steps, theirs: _Steps, mine: list[int], wanted: list[int], names: Mapping[str, str]
) -> str | None:
    """Finds a difference although each layer of one is in the other."""
    if ours.units(mine) != theirs.units(wanted):
        return "each layer is as in the solution, but other layers share their weights"
    for name, other in names.items():
        if ours.result(name, mine) != theirs.result(other, wanted):
            return f"the output `{name}` should be another value"
    return None


def _beside(
    ours: _Steps, theirs: _Steps, at: int, ready: Sequence[int], mine: list[int], wanted: list[int]
) -> str:
    """How a step of an answer differs from what the solution has at its place."""
    step, read = ours.steps[at], ours.read_numbers(at, mine)
    alike = [theirs.steps[each] for each in ready if theirs.read_numbers(each, wanted) == read]
    same = next((other for other in alike if other.type == step.type), None)
    if same is not None:
        names = [key for key, value in same.arguments.items() if step.arguments.get(key) != value]
        names += [key for key in step.arguments if key not in same.arguments]
        hint = (
            f"look at {' and '.join(f'`{name}`' for name in names[:2]) or 'what is read'} of {step.title()}"
        )
        if step.type == "activation":
            hint = f"look at the activation of `{step.path}`"
        if same.shapes != step.shapes:
            hint += f": it should give {', '.join(same.shapes)}, yours gives {', '.join(step.shapes)}"
        return hint
    if any(theirs.steps[each].type == step.type for each in ready):
        return f"{step.title()} should read something else"
    if any(other.type == step.type for other in theirs.after(ready)):
        return f"something is missing before {step.title()}"
    following = {other.type for other in ours.after([at])}
    if alike and following.intersection(other.type for other in alike):
        return f"the solution does without {step.title()}"
    if alike:
        shapes = ", ".join(alike[0].shapes)
        return f"the solution has another layer in place of {step.title()}: it gives {shapes}"
    return f"the solution has no {step.type} where you have {step.title()}"


def _after(ours: _Steps, theirs: _Steps, at: int, mine: list[int], wanted: list[int]) -> str:
    """After which of the answer's steps one of the solution comes."""
    read = theirs.read_numbers(at, wanted)
    paths = [ours.steps[own].path for own in ours.needed if mine[own] in read]
    return f"the solution goes on after `{paths[-1]}`" if paths else "the solution does more with its inputs"


def _settings(answer: Program, solution: Program, names: Mapping[str, str]) -> Iterator[str]:
    """The hints about losses, metrics, and what else the solution says of data and training."""
    old, new = outline(solution), outline(answer)
    own = {other: name for name, other in names.items()}
    wanted = {_called(path, own): value for path, value in old.settings.items()}
    told = dict[str, None]()
    for path in dict.fromkeys((*wanted, *new.settings)):
        section = path.partition(".")[0]
        if section in ("params", "tune") or section not in old.written:
            continue
        if section not in new.written:
            told[section] = None
        elif path not in wanted or path not in new.settings or wanted[path] != new.settings[path]:
            told[INSIDE.split(path)[0].removesuffix(".name")] = None
    for path in told:
        if not any(path.startswith(f"{other}.") for other in told):
            yield (
                f"look at `{path}`"
                if path in new.written or "." in path
                else f"the solution has `{path}`, too"
            )


def _called(path: str, names: Mapping[str, str]) -> str:
    """A path with the answer's name of an output."""
    section, _, rest = path.partition(".")
    name, dot, more = rest.partition(".")
    return f"{section}.{names.get(name, name)}{dot}{more}" if section == "outputs" else path


def _shape(value: Value) -> str:
    """The shape of a value as specs have it, without the batch."""
    return f"[{', '.join(map(str, value.tensor.shape[1:]))}]"


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'s' * (number != 1)}"


class _Steps:
    """The steps of a graph, and which of them its outputs need; inputs are called as `inputs` says."""

    def __init__(self, graph: Graph, inputs: Mapping[str, str]):
        self.steps: list[UnfoldedStep] = []
        known = {
            id(value): ReadValue(inputs.get(name, name))
            for name, value in graph.inputs.items()
            if value is not None
        }
        self._unfold(graph, "", (), known)
        self.outputs = {name: known[id(value)] for name, value in graph.outputs.items()}
        self.shapes = {name: _shape(value) for name, value in graph.outputs.items()}
        needed, waiting = set[int](), [each.step for each in self.outputs.values()]
        while waiting:
            step = waiting.pop()
            if isinstance(step, int) and step not in needed:
                needed.add(step)
                waiting += [each.step for each in _references(self.steps[step].reads)]
        self.needed = sorted(needed)

    def numbers(self, known: dict[Any, int]) -> list[int]:
        """A number for each step: the same for what is made in the same way of the same values."""
        numbers: list[int] = []
        for step in self.steps:
            reads = _as_numbers(step.reads, numbers)
            if step.type in ANY_ORDER:
                reads = sorted(reads, key=repr)
            key = repr((step.type, sorted(step.arguments.items(), key=repr), reads))
            numbers.append(known.setdefault(key, len(known)))
        return numbers

    def result(self, name: str, numbers: list[int]) -> Any:
        """The value of an output, as numbers."""
        return _as_numbers(self.outputs[name], numbers)

    def read_numbers(self, at: int, numbers: list[int]) -> list[int]:
        """The numbers of the steps that one reads."""
        return sorted(
            numbers[each.step] for each in _references(self.steps[at].reads) if isinstance(each.step, int)
        )

    def units(self, numbers: list[int]) -> list[list[int]]:
        """The steps of each set of weights, as numbers: what shares weights, and what does not."""
        units: dict[tuple[str, ...], list[int]] = {}
        for at in self.needed:
            units.setdefault(self.steps[at].unit, []).append(numbers[at])
        return sorted(map(sorted, units.values()))

    def after(self, steps: Sequence[int]) -> list[UnfoldedStep]:
        """The steps that read one of some."""
        return [step for step in self.steps if any(each.step in steps for each in _references(step.reads))]

    def _unfold(self, graph: Graph, prefix: str, unit: tuple[str, ...], known: dict[int, ReadValue]) -> None:
        for op in graph.ops:
            own = (*unit, op.unit.path if op.unit is not None else op.name)
            if not op.present:
                if op.inputs:
                    known.update(dict.fromkeys(map(id, op.outputs.values()), known[id(op.inputs[0])]))
            elif op.graph is not None and op.wrapper is None:
                inner = {
                    id(value): known[id(given)]
                    for value, given in op.passed()
                    if value is not None and isinstance(given, Value)
                }
                self._unfold(op.graph, f"{prefix}{op.name}.", own, inner)
                known.update({id(v): inner[id(op.results[name])] for name, v in op.outputs.items()})
            else:
                self._add(op, prefix + op.name, own, known)

    def _add(self, op: Op, path: str, unit: tuple[str, ...], known: dict[int, ReadValue]) -> None:
        kind = op.layer.spec_name if op.layer is not None else op.kind
        arguments = {name: value for name, value in arguments_of(op).items() if value is not None}
        if op.wrapper is not None:
            kind = f"{op.wrapper.spec_name} of {kind}"
        if op.graph is not None:  # which a wrapper runs
            inner = _Steps(op.graph, {name: f"#{place}" for place, name in enumerate(op.graph.inputs)})
            made: dict[Any, int] = {}
            arguments["runs"] = inner.numbers(made), list(made)
        reads = _grouped(op.arguments, known)
        shapes = tuple(_shape(value) for value in op.outputs.values())
        ending = op.layer.output_activation() if op.layer is not None and op.wrapper is None else None
        if op.kind == "op" and kind in ACTIVATIONS and not arguments:
            ending = kind
        if ending is not None and ("activation" not in arguments or kind == "Activation"):
            kind, arguments = "activation", {"activation": ending}  # a layer or an op that is only that
        elif ending is not None and ending != "linear":
            plain = {name: value for name, value in arguments.items() if name != "activation"}
            self.steps.append(UnfoldedStep(path, kind, plain, reads, shapes, unit))
            kind, arguments = "activation", {"activation": ending}
            reads, unit = (ReadValue(len(self.steps) - 1),), (*unit, "activation")
        elif arguments.get("activation") == "linear":
            del arguments["activation"]
        self.steps.append(UnfoldedStep(path, kind, arguments, reads, shapes, unit))
        for place, value in enumerate(op.outputs.values()):
            known[id(value)] = ReadValue(len(self.steps) - 1, place)


def _grouped(arguments: Any, known: Mapping[int, ReadValue]) -> Any:
    """Values as references, in their groups."""
    if isinstance(arguments, Value):
        return known[id(arguments)]
    return tuple([_grouped(each, known) for each in arguments]) if isinstance(arguments, tuple) else arguments


def _as_numbers(reads: Any, numbers: Sequence[int]) -> Any:
    """References as what they are: the number of a step or the name of an input, and which output of it."""
    if isinstance(reads, ReadValue):
        return (numbers[reads.step] if isinstance(reads.step, int) else reads.step, reads.output)
    return [_as_numbers(each, numbers) for each in reads] if isinstance(reads, tuple) else reads


def _references(reads: Any) -> Iterator[ReadValue]:
    if isinstance(reads, ReadValue):
        yield reads
    elif isinstance(reads, tuple):
        for each in reads:
            yield from _references(each)

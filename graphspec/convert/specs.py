"""Bodies to specs that compile: sizes get names, repetition is folded, and what was folded is proved."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from graphspec.compiler import check
from graphspec.contract.proposals import multiples
from graphspec.convert.folding import folded, input_sizes, unfolded
from graphspec.convert.nodes import ConvertedBody, ConvertedValue, StoredPlace
from graphspec.convert.writing import text
from graphspec.diagnostics import Diagnostic, Diagnostics, Span, fail
from graphspec.graph import Graph, Op, Value
from graphspec.program import Program
from graphspec.weights import key_prefix
from graphspec.weights.names import attribute

ROUNDS = 8
"""How often sizes become multiples: each time of what they were."""


@dataclass(frozen=True, slots=True)
class ConvertedSpec:
    """A spec, and where the variables of each path in its module are stored."""

    text: str
    program: Program
    places: Mapping[str, StoredPlace]


def compiled(body: ConvertedBody, settings: Mapping[str, Any], flat: bool, notes: list[str]) -> ConvertedSpec:
    """The spec of a model, folded unless `flat`. Raises `SpecError` where it does not compile."""
    common, flat_spec = _flat(body, settings, notes)
    if flat:
        return flat_spec
    channels, meaning = _channels(body, flat_spec.program.graph), _meaning(flat_spec)
    candidate, diagnostics = folded(body, settings, common, channels), Diagnostics()
    written = text(candidate.document)
    program = check(written, diagnostics, {})
    if program is not None and not diagnostics.errors:
        spec = ConvertedSpec(written, program, candidate.places)
        if _meaning(spec) == meaning:
            return spec
    notes.append("it is written without blocks: the folded spec would not be equal")
    return flat_spec


def _flat(body: ConvertedBody, settings: Mapping[str, Any], notes: list[str]) -> tuple[bool, ConvertedSpec]:
    """The flat spec, and whether inputs have common sizes. Sizes that are not known get names of their own,
    or, where inputs meet in a merge, common ones; where only multiples fit the graph, they are such.
    """
    first: tuple[str, Diagnostic] | None = None
    shapes = [item.shape for item in body.inputs]
    for common in (False, True):
        factors: dict[str, int] = {}
        for _ in range(ROUNDS):
            candidate = unfolded(body, settings, common)
            written = text(candidate.document)
            diagnostics = Diagnostics()
            program = check(written, diagnostics, {})
            if program is not None and not diagnostics.errors:
                notes += [
                    f"`{word}` is a multiple of {factor}: others do not fit"
                    for word, factor in factors.items()
                ]
                return common, ConvertedSpec(written, program, candidate.places)
            diagnostic = diagnostics.sorted()[0]
            first = first or (written, diagnostic)
            wanted = multiples(diagnostic.help)
            if not wanted:
                break
            factors |= {word: factor * factors.get(word, 1) for word, factor in wanted.items()}
            sizes = input_sizes(body.inputs, common)
            for item in body.inputs:
                item.shape = tuple(_multiple(size, factors) for size in sizes[item.name]["shape"])
        for item, shape in zip(body.inputs, shapes, strict=True):
            item.shape = shape
    assert first is not None
    written, diagnostic = first
    message = f"the spec that it becomes does not compile: {diagnostic.message}"
    raise fail("import-unsupported", message + line_at(written, diagnostic.span), diagnostic.help)


def line_at(text: str, span: Span | None) -> str:
    """The line of a spec at a place, as the end of a sentence."""
    return "" if span is None else f" (in `{text.splitlines()[span.line - 1].strip()[:100]}`)"


def _multiple(size: int | str, factors: Mapping[str, int]) -> int | str:
    """A size of an input, which may be a multiple already, as a multiple of the factor for its name."""
    name = str(size).rpartition(" ")[2]
    return f"{factors[name]} * {name}" if name in factors else size


def _channels(body: ConvertedBody, graph: Graph) -> Callable[[ConvertedValue], int | None]:
    """The size of the last axis of each value of a flat model, None where it is not known."""
    known: dict[ConvertedValue, int | None] = {}

    def size(flow: Value | None) -> int | None:
        last = flow.tensor.shape[-1] if flow is not None and flow.tensor.shape else None
        return last if isinstance(last, int) else None

    def walk(body: ConvertedBody, graph: Graph) -> None:
        for item in body.inputs:
            known[ConvertedValue(item)] = size(graph.inputs.get(item.name))
        ops = {op.node: op for op in graph.ops}
        for node in body.nodes:
            if (op := ops.get(node.name)) is None:
                continue
            for number, flow in enumerate(op.outputs.values()):
                known[ConvertedValue(node, number)] = size(flow)
            if node.form == "block" and node.entry is None and node.body is not None and op.graph is not None:
                walk(node.body, op.graph)

    walk(body, graph)
    return known.get


def _meaning(spec: ConvertedSpec) -> dict[str, int]:
    """A number for each output that tells what it is computed of: layers, their weights, in which order.

    Two specs with equal numbers compute the same.
    """
    graph = spec.program.graph
    known = {id(flow): hash(("input", name)) for name, flow in graph.inputs.items() if flow is not None}
    _number(graph, "", spec.places, known, dict(_unit_paths(graph, "")))
    return {name: known[id(flow)] for name, flow in graph.outputs.items()}


def _unit_paths(graph: Graph, prefix: str) -> Iterator[tuple[int, str]]:
    """The path of each unit where it is declared: those of the file are called inside of blocks, too."""
    for unit in graph.units:
        path = key_prefix(prefix, unit)
        yield id(unit), path.rstrip(".")
        if unit.first_call.graph is not None:
            yield from _unit_paths(unit.first_call.graph, path)


def _number(
    graph: Graph,
    prefix: str,
    where: Mapping[str, StoredPlace],
    known: dict[int, int],
    units: Mapping[int, str],
) -> None:
    for op in graph.ops:
        path = f"{prefix}{attribute(op.name)}" if op.unit is None else units.get(id(op.unit), "")
        if op.graph is not None and op.wrapper is None:
            inner = dict(known)
            for flow, argument in op.passed():
                if flow is not None and isinstance(argument, Value):
                    inner[id(flow)] = known[id(argument)]
            _number(op.graph, f"{path}.", where, inner, units)
            for name, flow in op.outputs.items():
                known[id(flow)] = inner[id(op.results[name])]
            continue
        place = where.get(path)
        read = tuple(_numbers(op.arguments, known))
        signature = (_what(op), place.stored.path if place is not None and op.weights() else None, read)
        for number, flow in enumerate(op.outputs.values()):
            known[id(flow)] = hash((signature, number))


def _what(op: Op) -> str:
    inner = "" if op.graph is None else repr([_what(each) for each in op.graph.walk()])
    return f"{op.title} {op.layer!r} {type(op.wrapper).__name__} {inner}"


def _numbers(arguments: Any, known: dict[int, int]) -> Iterator[Any]:
    for argument in arguments:
        if isinstance(argument, Value):
            yield known[id(argument)]
        elif argument is None:
            yield None
        else:
            yield tuple(_numbers(argument, known))

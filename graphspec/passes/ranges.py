"""The values that a program accepts: of integer inputs, and of its symbolic sizes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from graphspec.contract.layer import Layer, Moved
from graphspec.graph import Graph, Op, Value
from graphspec.tensor import BATCH, Dim, Limit, largest, names_of, smallest, symbol

MOST_COLUMNS = 4096
"""Of an input with a longer last axis all elements have one range."""

Columns = tuple[frozenset[tuple[Value, int]], ...]
"""The columns of inputs, an input and a position of its last axis, whose elements a value holds: for each
position of its own last axis, or for all positions at once.
"""


@dataclass(frozen=True, slots=True)
class CountedIntegers:
    """Integers that an op makes, all below `count`, and the smallest bound of what reads them, an op."""

    source: Op
    count: Dim
    limit: int
    reader: Op


def counted_integers(graph: Graph) -> list[CountedIntegers]:
    """Integers made in a graph, such as positions, that are read by what takes them up to some bound only."""
    bounds: dict[tuple[Value, int], int] = {}
    readers: dict[tuple[Value, int], Op] = {}
    columns: dict[Value, Columns] = {}
    counts: dict[Value, Dim] = {}
    for op in _telling(graph, "numbers_below"):
        count = op.layer.numbers_below(*op.site().inputs) if op.layer is not None else None
        if count is not None:
            counts[op.output] = count
            columns[op.output] = (frozenset([(op.output, 0)]),)
    if counts:
        _follow(graph, columns, bounds, readers)
    return [
        CountedIntegers(value.op, count, bounds[value, 0], readers[value, 0])
        for value, count in counts.items()
        if value.op is not None and (value, 0) in bounds
    ]


def ranges(graph: Graph) -> dict[str, Limit]:
    """For inputs that are read as integers, the exclusive upper bound of what the layers that read them
    accept: one for all elements, or one for each position of the last axis.
    """
    bounds: dict[tuple[Value, int], int] = {}
    columns: dict[Value, Columns] = {}
    casts = any(op.layer is not None and op.layer.spec_name == "cast" for op in graph.walk())
    for value in graph.inputs.values():
        if value is not None and (value.tensor.is_integer or (casts and value.tensor.is_float)):
            columns[value] = tuple(frozenset([(value, place)]) for place in range(_count(value)))
    if columns:
        _follow(graph, columns, bounds, {})
    by_input = dict[str, Limit]()
    for name, value in graph.inputs.items():
        if value in columns and value is not None:
            limits = tuple(bounds.get((value, place)) for place in range(_count(value)))
            if any(limit is not None for limit in limits):
                by_input[name] = limits if limits[0] is None or len(set(limits)) > 1 else limits[0]
    return by_input


def _count(value: Value) -> int:
    """How many columns of an input are told apart."""
    size = value.tensor.shape[-1]
    apart = value.tensor.rank > 1 and isinstance(size, int) and size <= MOST_COLUMNS
    return size if apart and isinstance(size, int) else 1


def _follow(
    graph: Graph,
    columns: dict[Value, Columns],
    bounds: dict[tuple[Value, int], int],
    readers: dict[tuple[Value, int], Op],
) -> None:
    """Follows values through a graph, and records the smallest bound of their readers."""
    for op in graph.ops:
        read = [columns[value] for value in op.inputs if value in columns]
        if not read:
            continue
        if not op.present:
            columns[op.output] = read[0]
        elif op.graph is not None:
            for inner, outer in op.passed():
                if inner is not None and outer in columns:
                    columns[inner] = columns[outer] if op.wrapper is None else _all([columns[outer]])
            _follow(op.graph, columns, bounds, readers)
            if op.wrapper is None:
                results = {value: op.results[key] for key, value in op.outputs.items()}
                columns.update({v: columns[inner] for v, inner in results.items() if inner in columns})
        elif op.layer is not None:
            limit = op.layer.limit_for(*op.site().inputs)
            if limit is not None:
                for column in _all(read)[0]:
                    if limit <= bounds.get(column, limit):
                        bounds[column], readers[column] = limit, op
            if op.wrapper is None:
                _move(op, read, columns)


def _move(op: Op, read: list[Columns], columns: dict[Value, Columns]) -> None:
    """Gives the outputs of an op the columns that they hold."""
    assert op.layer is not None
    for value, moved in zip(op.outputs.values(), op.layer.moves(*op.site().inputs), strict=False):
        held = _all(read) if moved == "all" else read[0] if moved == "same" else _picked(read[0], moved)
        if held:
            columns[value] = held


def _all(read: Iterable[Columns]) -> Columns:
    return (frozenset(column for each in read for group in each for column in group),)


def _picked(columns: Columns, places: Moved) -> Columns:
    """The columns at these positions; empty if the positions are unknown."""
    if len(columns) == 1:
        return columns if len(columns[0]) == 1 else ()
    return tuple(columns[int(place)] for place in places)


def minimum_sizes(graph: Graph) -> dict[str, int]:
    """The smallest legal value of each named size: every tensor of the graph must have at least one element
    on each axis, and more where a layer says so.
    """
    names = _sizes(graph)
    if not names:
        return {}
    sizes = {size for op in graph.walk() for value in op.outputs.values() for size in value.tensor.shape}
    for op in _telling(graph, "shortest"):
        if op.layer is not None:
            sizes |= {size - (least - 1) for size, least in op.layer.shortest(*op.site().inputs)}
    return {name: smallest(sizes, name) for name in names}


def maximum_sizes(graph: Graph, integers: Iterable[CountedIntegers] = ()) -> dict[str, int]:
    """The largest value of each named size that has one, as the layers of the graph say, and `integers` that
    are counted along it.
    """
    ops = list(_telling(graph, "longest"))
    bounds = {bound for op in ops if op.layer is not None for bound in op.layer.longest(*op.site().inputs)}
    bounds |= {(each.count, each.limit) for each in integers}
    sizes = {name: largest(bounds, name) for name in _sizes(graph)} if bounds else {}
    own = [op for op in graph.ops if op in ops and op.layer is not None]
    named = [bound for op in own if op.layer is not None for bound in op.layer.longest(*op.site().inputs)]
    formulas = {(size, most): most for size, most in named}  # of the names of this graph
    return {
        name: formulas.get((symbol(name), most), most) for name, most in sizes.items() if most is not None
    }


def _telling(graph: Graph, method: str) -> Iterator[Op]:
    """The ops whose layers have more to tell by a method than what every layer tells: nothing."""
    nothing = getattr(Layer, method)
    return (
        op for op in graph.walk() if op.present and getattr(type(op.layer), method, nothing) is not nothing
    )


def _sizes(graph: Graph) -> list[str]:
    """The names of the sizes of a program's inputs, but for the batch."""
    inputs = [value for value in graph.inputs.values() if value is not None]
    return sorted({n for value in inputs for size in value.tensor.shape for n in names_of(size)} - {BATCH})

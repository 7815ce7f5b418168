"""The params of a file as arguments of the model's class.

A number keeps the formula that it came from, and the class is written with it. That is verified on the same
file with other values of its params: what one text does not suit, such as another kind of block, stays as it
is, and the head of the file names it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import replace
from itertools import chain, zip_longest
from typing import Any

from graphspec.elaborated import Elaborated
from graphspec.emit import emit
from graphspec.emit.emitted import EmitOptions, Emitted
from graphspec.emit.empty_loops import Loop, emptied
from graphspec.emit.module_class import FixedParams
from graphspec.emit.openness import open_names
from graphspec.emit.uses import Use, Uses, further_uses
from graphspec.expressions import Expression
from graphspec.graph import Graph
from graphspec.traced import Symbolic, formula, formulas_in

Again = Callable[[Mapping[str, Any], frozenset[str]], Elaborated | None]
"""The file with these values of params, and these params as names in formulas; None where it is wrong."""
Params = Mapping[str, Any]
Probes = Mapping[tuple[str, ...], Elaborated]
"""The file with other values of these params."""

TRIES = 16
"""So many other values are tried to turn conditions."""

MOST = 20_000
"""So many nodes may all programs have that verify an emission; for larger ones params stay numbers."""


def emit_with_params(
    again: Again, params: Params, presets: Mapping[str, Params], options: EmitOptions, use: Use
) -> Emitted:
    """The source of a file, whose params are arguments of the model's class where they can be."""
    uses: Uses | None = None

    def emitted(program: Elaborated, probes: Probes) -> Emitted:
        nonlocal uses
        uses = further_uses(program, use, _others) if uses is None else uses
        source, uses = _verified(program, options, probes, presets, uses)
        names = frozenset(word for words in probes for word in words)
        return _for_empty_loops(
            source,
            emptied(program.graph, params),
            probes,
            lambda values: again(values, names) if names.issuperset(values) else None,
            lambda more, filled: emit(program, replace(options, filled=filled), more, presets, uses),
        )

    names = frozenset(word for word, value in params.items() if _others(value))
    program = _elaborated(again, names)
    size = sum(1 for _ in program.graph.walk())
    named, names = names, names & (_reached(program) if 3 * size <= MOST else set())
    together = _together(again, params, names)
    if together:
        own = program if names == named else _elaborated(again, names)
        probes = {**together, **_odd(again, params, names, sorted(names))}
        try:
            return emitted(own, {**probes, **_turned(again, params, names, own, probes)})
        except FixedParams:
            pass  # one param after the other tells which it is
    chosen = {
        word: found for word in sorted(names) if (found := _legal(again, word, params[word])) is not None
    }
    while True:
        names = frozenset(chosen)
        own = _elaborated(again, names)
        probes = {
            (word,): probe for word, values in chosen.items() if (probe := again(values, names)) is not None
        }
        for word in sorted(names):
            probes |= _odd(again, params, names, [word])
        try:
            return emitted(own, {**probes, **_turned(again, params, names, own, probes)})
        except FixedParams as fixed:
            kept = {word: values for word, values in chosen.items() if word not in fixed.params}
            chosen = kept if len(kept) < len(chosen) else {}


def _verified(
    program: Elaborated, options: EmitOptions, probes: Probes, presets: Mapping[str, Params], uses: Uses
) -> tuple[Emitted, Uses]:
    """The source, also of further uses of its blocks; and those of them that one text suits."""
    while True:
        try:
            return emit(program, options, probes, presets, uses), uses
        except FixedParams as fixed:
            fit = {words: use for words, use in uses.items() if not fixed.params.issuperset(words)}
            if len(fit) == len(uses):
                raise
            uses = fit


def _for_empty_loops(
    source: Emitted,
    loops: Iterator[tuple[Loop, Params]],
    probes: Probes,
    elaborated: Callable[[Params], Elaborated | None],
    emitted: Callable[[Probes, frozenset[Loop]], Emitted],
) -> Emitted:
    """The source that is right, too, where loops have no instance, or asserts that they have one. Each of
    `loops` comes with values at which it has none.
    """
    filled: frozenset[Loop] = frozenset()
    tried: list[Params] = []
    for loop, values in loops:
        if loop in filled or values in tried:
            continue
        tried.append(values)
        if (probe := elaborated(values)) is not None:
            more = {**probes, _another(tuple(values), probes): probe}
            try:
                source, probes = emitted(more, filled), more
            except FixedParams:
                filled |= {loop}
    return emitted(probes, filled) if filled else source


def _another(words: tuple[str, ...], known: Collection[tuple[str, ...]]) -> tuple[str, ...]:
    """A key for other values of params than those that are known."""
    key = words
    while key in known:
        key += words
    return key


def _together(again: Again, params: Params, names: frozenset[str]) -> Probes:
    """The file with other values of all params, and of some: of two that are equal, one changes alone. Empty
    if all together are illegal.
    """
    several = {word: _others(params[word])[-1] for word in sorted(names, key=lambda w: (repr(params[w]), w))}
    equal = Counter(repr(params[word]) for word in several)
    bits = max(1, (max(equal.values(), default=1) - 1).bit_length())
    sets = [[w for place, w in enumerate(several) if not place >> bit & 1] for bit in range(bits)]
    probes: dict[tuple[str, ...], Elaborated] = {}
    while sets:
        words = sets.pop(0)
        probe = again({word: several[word] for word in words}, names)
        if probe is not None:
            probes[tuple(words)] = probe
        elif len(words) > 1:
            sets += [[word] for word in words if equal[repr(params[word])] > 1 and [word] not in sets]
    together = again(several, names) if several else None
    return {} if together is None else {tuple(several): together, **probes}


def _odd(
    again: Again, params: Params, names: frozenset[str], words: list[str]
) -> dict[tuple[str, ...], Elaborated]:
    """The file with odd values for these params where they are even: a text may suit all even sizes alone. Of
    params that are illegal together, each half by itself.
    """
    odd = {word: value for word in words if (value := _next_odd(params[word])) != params[word]}
    sets = [list(odd)] if odd else []
    probes: dict[tuple[str, ...], Elaborated] = {}
    while sets:
        words = sets.pop(0)
        probe = again({word: odd[word] for word in words}, names)
        if probe is not None:
            probes[*words, words[0]] = probe
        elif (half := len(words) // 2) > 0:
            sets += [words[:half], words[half:]]
    return probes


def _next_odd(value: Any) -> Any:
    if isinstance(value, list):
        return [_next_odd(item) for item in value]
    return value + 1 if type(value) is int and value % 2 == 0 else value


def _turned(
    again: Again, params: Params, names: frozenset[str], program: Elaborated, probes: Probes
) -> Probes:
    """The file with values that leave out a node that is always there, or bring one that never is."""
    seen = {node for each in (program, *probes.values()) for node in _conditions(each)}
    more: dict[tuple[str, ...], Elaborated] = {}
    columns = zip_longest(*([(w, other) for other in _others(params[w])] for w in sorted(names)))
    for word, other in list(filter(None, chain.from_iterable(columns)))[:TRIES]:
        if all((path, node, not there) in seen for path, node, there in seen):
            break
        probe = again({word: other}, names)
        met = _conditions(probe) if probe is not None else set()
        if probe is not None and not met <= seen:
            seen |= met
            more[_another((word,), {**probes, **more})] = probe
    return more


Condition = tuple[tuple[str, ...], str, bool]
"""The nodes around a node under a condition, its name, and whether it is there."""


def _conditions(program: Elaborated) -> set[Condition]:
    """The conditions that depend on params of the file."""
    found: set[Condition] = set()
    depend = open_names(program.graph)

    def visit(graph: Graph, path: tuple[str, ...]) -> None:
        for op in graph.ops:
            if op.when is not None and depend[graph].intersection(_read(op.when)):
                found.add((path, op.node, op.present))
            if op.graph is not None:
                visit(op.graph, (*path, op.node))

    visit(program.graph, ())
    return found


def _read(when: Expression) -> Iterator[Symbolic]:
    """The names that a condition may have in formulas."""
    for word in when.names:
        yield from (formula("param", word), formula("file", word))
    yield from (formula("size", word, -1) for word in when.channels)


def _elaborated(again: Again, names: frozenset[str]) -> Elaborated:
    program = again({}, names)
    assert program is not None, "a file that was elaborated means the same with names in its formulas"
    return program


def _legal(again: Again, word: str, value: Any) -> Params | None:
    """Another legal value of a param; None where none of some is."""
    return next(
        (each for other in _others(value) if again(each := {word: other}, frozenset()) is not None), None
    )


def _others(value: Any) -> list[Any]:
    """Other values that a param may have, likely ones first, and last one that keeps what divides what. None
    for texts and null, which are kinds.
    """
    match value:
        case bool():
            return [not value]
        case int() if abs(value) <= 12:
            return [value + 1, value - 1, 2 * value] if value else [1, 2]
        case int():
            return [2 * value, value + 1, value - 1, 4 * value]
        case float():
            return [value / 2, 2 * value] if value else [0.5, 1.0]
        case list() if value and all(type(item) in (int, float) for item in value):
            columns = [_others(item) for item in value]
            some = min(map(len, columns))
            return [[column[place] for column in columns] for place in [*range(some - 1), -1]]
    return []


def _reached(program: Elaborated) -> set[str]:
    """The params that nodes depend on; not those that only shapes and data name."""
    ops = list(program.graph.walk())
    numbers: list[Any] = [(op.options, [weight.shape for weight in op.weights()]) for op in ops]
    numbers += [dict(op.wrapper) for op in ops if op.wrapper is not None]
    leaves = {leaf for tree in formulas_in(numbers) for leaf in tree.leaves()}
    expressions = [each.expression for op in ops for each in op.expressions]
    expressions += [op.when for op in ops if op.when is not None]
    names = {word for each in expressions for word in each.names}
    names |= {leaf.parts[0] for leaf in leaves if leaf.kind in ("param", "file")}
    declared = [value for graph in program.graph.graphs() for value in graph.declared.values()]
    texts = [value for value in declared if isinstance(value, str) and "$" in value]
    params = program.graph.declared
    return {
        word
        for word in params
        if _others(params[word]) and (word in names or any(word in text for text in texts))
    }

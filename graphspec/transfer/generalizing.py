"""Summarizes matches: those that differ only in numbers become one rule, or one row of a table."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from graphspec.compare.numbers import NUMBER, ranged, without_numbers
from graphspec.source.writing import write
from graphspec.transfer.matching import Match, Plan
from graphspec.transfer.patterns import fill, pattern
from graphspec.transfer.rules import Rules

LETTERS = "ijklmnopqrstuvxyz"
Line = tuple[str, tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class RuleRow:
    """Matches that differ only in their numbers: `layers.0-11.norm.weight` and what they come from."""

    key: str
    sources: tuple[str, ...]
    shape: tuple[int, ...]
    how: str
    changes: tuple[str, ...]
    count: int


def rows(plan: Plan) -> list[RuleRow]:
    """The matches of a plan for people, in the spec's order."""
    groups: dict[Any, list[Match]] = {}
    for match in plan.matches.values():
        shape = plan.targets[match.key].shape
        changes = tuple(match.move.words(len(shape)))
        names = (without_numbers(match.key), tuple(map(without_numbers, match.sources)))
        groups.setdefault((names, shape, match.how, changes), []).append(match)
    rule_rows = [
        RuleRow(
            ranged([match.key for match in group]),
            tuple(ranged(names) for names in zip(*(match.sources for match in group), strict=True)),
            shape,
            how,
            changes,
            len(group),
        )
        for (_, shape, how, changes), group in groups.items()
    ]
    return list(_by_layer(rule_rows))


def _by_layer(rows: Iterable[RuleRow]) -> Iterator[RuleRow]:
    """Rows of one layer's weights of one shape, which come from weights of the same names, as one."""
    groups: dict[Any, list[RuleRow]] = {}
    for row in rows:
        head, _, leaf = row.key.rpartition(".")
        others = [source.rpartition(".") for source in row.sources]
        alike = head and all(each[2] == leaf for each in others)
        names = (head, *(each[0] for each in others)) if alike else (row.key, *row.sources)
        groups.setdefault((names, row.shape, row.how, row.changes, bool(alike)), []).append(row)
    for (names, *_), group in groups.items():
        if len(group) == 1:
            yield group[0]
        else:
            key, *sources = (f"{name}.*" for name in names)
            yield replace(group[0], key=key, sources=tuple(sources), count=sum(row.count for row in group))


def rules_text(plan: Plan, rules: Rules, title: str) -> str:
    """A file of rules that makes the same matches again: the rules that were used, and those that order and
    shapes gave.
    """
    used = [match.rule for match in plan.matches.values() if match.rule is not None]
    weights: dict[str, Any] = {}
    matches = [match for match in plan.matches.values() if match.how in ("order", "shape")]
    bare = {match.key: match.sources[0].removeprefix(plan.prefix) for match in matches}
    for layout in ("", "keras"):
        group = {
            match.key: bare[match.key]
            for match in matches
            if layout
            == (
                "keras"
                if match.move.keras is not None and plan.stored[match.sources[0]].number is None
                else ""
            )
        }
        for to, source in generalized(group, list(plan.targets)).items():
            weights[to] = {"from": source, "layout": layout} if layout else source
    for rule in rules.rules:
        if rule in used:
            to, value = rule.to.text, _written(rule.origin)
            if to in weights:  # the first that is there
                before = weights[to]
                weights[to] = [*(before if isinstance(before, list) else [before]), value]
            else:
                weights[to] = value
    document: dict[str, Any] = {"prefix": plan.prefix} if plan.prefix else {}
    document |= {"weights": weights} if weights else {}
    for key in ("drop", "fresh"):
        if getattr(rules, key):
            document[key] = list(getattr(rules, key))
    if rules.flatten:
        document["flatten"] = rules.flatten
    return f"# {title}\n" + (write(document) if document else "weights: {}\n")


def _written(origin: Any) -> Any:
    """A rule's origin as text; just a name if that is enough."""
    value = origin.model_dump(mode="json", by_alias=True, exclude_defaults=True)
    value = {key: _single(item) if key == "from" else item for key, item in value.items()}
    return value["from"] if set(value) == {"from"} and isinstance(value["from"], str) else value


def _single(names: Any) -> Any:
    return names[0] if len(names) == 1 else list(names)


def generalized(pairs: dict[str, str], keys: Sequence[str]) -> dict[str, str]:
    """Rules, targets to sources, that give these pairs and say nothing of other `keys`: with placeholders
    where that is right for all, else word for word.
    """
    groups: dict[Any, list[tuple[str, str]]] = {}
    for key, source in pairs.items():
        head, leaf = _leaf(key, source)
        groups.setdefault((without_numbers(head[0]), without_numbers(head[1]), leaf is None), []).append(
            (key, source)
        )
    rules: dict[str, str] = {}
    for group in groups.values():
        rule = _rule(group) if len(group) > 1 else None
        if rule is not None and _right(rule, pairs, keys):
            rules[rule[0]] = rule[1]
        else:
            rules |= dict(group)
    return rules


def _leaf(key: str, source: str) -> tuple[tuple[str, str], str | None]:
    """Both names with `{w}` for a last piece that they have in common."""
    head, _, leaf = key.rpartition(".")
    other, _, theirs = source.rpartition(".")
    if head and other and leaf == theirs:
        return (f"{head}.{{w}}", f"{other}.{{w}}"), leaf
    return (key, source), None


def _rule(group: Sequence[tuple[str, str]]) -> tuple[str, str] | None:
    """One rule for pairs that differ in their numbers and last pieces alone."""
    pairs = [_leaf(*pair)[0] for pair in group]
    if len({_leaf(*pair)[1] for pair in group}) == 1:
        pairs = list(group)
    to = [list(map(int, NUMBER.findall(key))) for key, _ in pairs]
    source = [list(map(int, NUMBER.findall(name))) for _, name in pairs]
    varying = [place for place, values in enumerate(zip(*to, strict=True)) if len(set(values)) > 1]
    if len(varying) > len(LETTERS):
        return None
    letters = {place: LETTERS[number] for number, place in enumerate(varying)}
    written: list[str] = []
    for values in zip(*source, strict=True):
        text = _as_offset(values, to, letters)
        if text is None:
            return None
        written.append(text)
    left = [f"{{{letters[place]}}}" if place in letters else str(to[0][place]) for place in range(len(to[0]))]
    return _filled(pairs[0][0], left), _filled(pairs[0][1], written)


def _as_offset(values: Sequence[int], to: Sequence[Sequence[int]], letters: dict[int, str]) -> str | None:
    """A number of the sources as a number of the targets, plus a constant."""
    if len(set(values)) == 1:
        return str(values[0])
    for place, letter in letters.items():
        offsets = {value - numbers[place] for value, numbers in zip(values, to, strict=True)}
        if len(offsets) == 1:
            (offset,) = offsets
            return (
                f"{{{letter}}}" if not offset else f"{{{letter} {'+' if offset > 0 else '-'} {abs(offset)}}}"
            )
    return None


def _filled(name: str, numbers: Sequence[str]) -> str:
    rest = iter(numbers)
    return NUMBER.sub(lambda _: next(rest), name)


def _right(rule: tuple[str, str], pairs: dict[str, str], keys: Sequence[str]) -> bool:
    """Whether a rule gives nothing but what the pairs say."""
    to = pattern(rule[0])
    for key in keys:
        captured = to.match(key)
        if captured is not None and pairs.get(key) != fill(rule[1], captured):
            return False
    return True

"""The differences of two outlines, as data: for a review, and for `--json`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from graphspec.compare.matching import called_before, pairs
from graphspec.compare.numbers import ranged, without_numbers
from graphspec.compare.outline import Outline, OutlineNode, flat
from graphspec.tensor import Dim, Size

What = Literal["added", "removed", "renamed", "changed"]


@dataclass(frozen=True, slots=True)
class Detail:
    """One thing that differs in a node: an argument, `output`, `reads` or `type`."""

    name: str
    before: Any
    after: Any


@dataclass(frozen=True, slots=True)
class NodeChange:
    """The change of a node. `before` is its path in the old spec where that is another; parameters and FLOPs
    of one example are those of the old and the new node, None where there is none. `count` nodes that differ
    in their numbers alone have one change.
    """

    what: What
    path: str
    type: str
    before: str | None = None
    details: tuple[Detail, ...] = ()
    params: tuple[int | None, int | None] = (None, None)
    flops: tuple[Dim | None, Dim | None] = (None, None)
    count: int = 1

    def to_json(self) -> dict[str, Any]:
        return {
            "change": self.what,
            "node": self.path,
            "before": self.before,
            "type": self.type,
            "details": [{"name": d.name, "before": d.before, "after": d.after} for d in self.details],
            "params": list(self.params),
            "flops": [None if isinstance(cost, Size) else cost for cost in self.flops],
        }


@dataclass(frozen=True, slots=True)
class SettingChange:
    """A setting by its dotted path, `train.epochs`; `absent` sides have no such setting."""

    what: What
    path: str
    before: Any = None
    after: Any = None

    def to_json(self) -> dict[str, Any]:
        return {"change": self.what, "setting": self.path, "before": self.before, "after": self.after}


@dataclass(frozen=True, slots=True)
class SpecComparison:
    """All differences of two specs. `alike` nodes are the same in both."""

    names: tuple[str, str]
    inputs: tuple[SettingChange, ...]
    nodes: tuple[NodeChange, ...]
    settings: tuple[SettingChange, ...]
    params: tuple[int, int]
    flops: tuple[Dim, Dim]
    alike: int

    @property
    def same(self) -> bool:
        return not (self.inputs or self.nodes or self.settings)

    def to_json(self) -> dict[str, Any]:
        return {
            "same": self.same,
            "inputs": [change.to_json() for change in self.inputs],
            "nodes": [change.to_json() for change in self.nodes],
            "settings": [change.to_json() for change in self.settings],
            "params": list(self.params),
            "flops": [None if isinstance(cost, Size) else cost for cost in self.flops],
            "alike": self.alike,
        }


def compare_outlines(old: Outline, new: Outline) -> SpecComparison:
    """The differences of two outlines."""
    known = pairs(old, new)
    nodes = list(_nodes(old, new, known))
    changed = {change.path for change in nodes if change.what in ("changed", "renamed")}
    return SpecComparison(
        (old.name, new.name),
        tuple(_values(old.inputs, new.inputs)),
        tuple(nodes),
        tuple(_settings(old, new)),
        (old.params, new.params),
        (old.flops, new.flops),
        sum(path not in changed for path in known),
    )


def _nodes(old: Outline, new: Outline, known: dict[str, str]) -> Iterator[NodeChange]:
    """The changes of nodes in the order of the new spec, then what was removed. Of a block that was added or
    removed the nodes inside it are not told.
    """
    for node in new.nodes.values():
        before = old.nodes.get(known.get(node.path, ""))
        if before is not None:
            change = _change(before, node, known)
            if change is not None:
                yield change
        elif node.parent in known or not node.parent:
            yield NodeChange("added", node.path, node.type, None, (), (None, node.params), (None, node.flops))
    kept = set(known.values())
    for node in old.nodes.values():
        if node.path not in kept and (node.parent in kept or not node.parent):
            yield NodeChange(
                "removed", node.path, node.type, None, (), (node.params, None), (node.flops, None)
            )


def _change(old: OutlineNode, new: OutlineNode, known: dict[str, str]) -> NodeChange | None:
    """The change of a node; None where it has none."""
    moved = old.name != new.name or known.get(new.parent, new.parent) != old.parent
    details = [Detail("type", old.type, new.type)] if old.type != new.type else []
    details += [
        Detail(change.path, change.before, change.after)
        for change in _values(dict(old.arguments), dict(new.arguments))
    ]
    read = [called_before(label, known) for label in new.inputs]
    if read != list(old.inputs):
        details.append(Detail("reads", list(old.inputs), list(new.inputs)))
    if old.shapes != new.shapes:
        details.append(Detail("output", ", ".join(old.shapes), ", ".join(new.shapes)))
    if not details and not moved and (old.params == new.params or new.kind in ("block", "model")):
        return None
    return NodeChange(
        "renamed" if moved else "changed",
        new.path,
        new.type,
        old.path if old.path != new.path else None,
        tuple(details),
        (old.params, new.params),
        (old.flops, new.flops),
    )


_ABSENT = object()


def _values(old: dict[str, Any], new: dict[str, Any]) -> Iterator[SettingChange]:
    for path in dict.fromkeys((*old, *new)):
        before, after = old.get(path, _ABSENT), new.get(path, _ABSENT)
        if before is _ABSENT:
            yield SettingChange("added", path, None, after)
        elif after is _ABSENT:
            yield SettingChange("removed", path, before)
        elif before != after or type(before) is not type(after):
            yield SettingChange("changed", path, before, after)


def _settings(old: Outline, new: Outline) -> Iterator[SettingChange]:
    """The settings that differ. One that is another thing by name, an optimizer or a loss, is one change: the
    defaults of both say nothing.
    """
    told: list[str] = []
    for change in _values(old.settings, new.settings):
        if any(change.path.startswith(f"{path}.") for path in told):
            continue
        path = _renamed_above(change.path, old.settings, new.settings)
        if path is not None:
            told.append(path)
            yield SettingChange("changed", path, _at(old.written, path), _at(new.written, path))
        elif change.what == "changed" or _is_written(change, old, new):
            yield change


def _is_written(change: SettingChange, old: Outline, new: Outline) -> bool:
    """Whether a setting that one spec has alone is written there, and no default."""
    written = dict(flat(new.written if change.what == "added" else old.written))
    return change.path in written or any(path.startswith(f"{change.path}.") for path in written)


def _renamed_above(path: str, old: dict[str, Any], new: dict[str, Any]) -> str | None:
    """The path of the mapping around a setting whose `name` differs."""
    above = path
    while "." in above:
        above = above.rpartition(".")[0]
        names = [settings.get(f"{above}.name", settings.get(above)) for settings in (old, new)]
        if names[0] != names[1] and None not in names and "train.callbacks" not in above:
            return above
    return None


def _at(value: Any, path: str) -> Any:
    for step in path.split("."):
        value = value[int(step)] if isinstance(value, list) else (value or {}).get(step)
    return value


def fold(changes: tuple[NodeChange, ...]) -> list[NodeChange]:
    """Changes of nodes that differ in their numbers alone as one, with the sums of their costs."""
    groups: dict[Any, list[NodeChange]] = {}
    for change in changes:
        before = without_numbers(change.before) if change.before else None
        key = (
            change.what,
            without_numbers(change.path),
            before,
            change.type,
            repr(_without_repetition(change)),
        )
        groups.setdefault(key, []).append(change)
    return [
        replace(
            group[0],
            path=ranged([change.path for change in group]),
            before=ranged([change.before or "" for change in group]) if group[0].before else None,
            details=_without_repetition(group[0]),
            params=_sums([change.params for change in group]),
            flops=_sums([change.flops for change in group]),
            count=len(group),
        )
        for group in groups.values()
    ]


def _sums(sides: Sequence[tuple[Any, Any]]) -> tuple[Any, Any]:
    """The sums of both sides; None where one has no value."""
    sums = [None if None in side else sum(side[1:], side[0]) for side in zip(*sides, strict=True)]
    return sums[0], sums[1]


def _without_repetition(change: NodeChange) -> tuple[Detail, ...]:
    """The details without the number of the repetition in what is read."""
    return tuple(
        replace(detail, before=_without_numbers(detail.before), after=_without_numbers(detail.after))
        if detail.name == "reads" and change.path != without_numbers(change.path)
        else detail
        for detail in change.details
    )


def _without_numbers(names: list[str]) -> list[str]:
    return [without_numbers(name) for name in names]

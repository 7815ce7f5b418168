"""Matches the remaining tensors layer by layer, where shapes or the order of layers allow only one match."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from graphspec.language.naming import snake_case
from graphspec.transfer.checkpoints import StoredCheckpoint
from graphspec.transfer.targets import Target

Pair = tuple[Target, StoredCheckpoint, Literal["order", "shape"]]
STORED_AS = {"GroupQueryAttention": "GroupedQueryAttention"}
"""Classes that Keras stores under another name."""


@dataclass(frozen=True, slots=True)
class Ambiguous:
    """Layers of the spec and layers of the file of the same shapes, which could go to one another in several
    ways.
    """

    targets: tuple[str, ...]
    sources: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Wanted:
    """The open weights of one layer of the spec."""

    path: str
    layer: str
    targets: tuple[Target, ...]


@dataclass(frozen=True, slots=True)
class Left:
    """The unused tensors of one layer of the file."""

    path: str
    layer: str
    tensors: tuple[StoredCheckpoint, ...]


def by_order(
    targets: Sequence[Target], stored: Iterable[StoredCheckpoint], ordered: bool, apart: bool = False
) -> tuple[list[Pair], list[Ambiguous]]:
    """Pairs of weights and tensors, and what could be paired in several ways. `ordered` tells that the file
    has its layers in their order; `apart` lets the layers within a layer be matched one by one.
    """
    wanted, left = list(_wanted(targets)), list(_left(stored))
    inner = list(_wanted(targets, apart))
    pairs: list[Pair] = []
    for way in (_named, _kerasnamed, _variables):
        done = {target.key for target, _, _ in pairs}
        used = {tensor.key for _, tensor, _ in pairs}
        units = inner if way is _named else wanted
        here = [(way(unit), unit) for unit in units if not done & {t.key for t in unit.targets}]
        there = [(way(unit), unit) for unit in left if not used & {t.key for t in unit.tensors}]
        if apart:  # what cannot be paired says nothing of the order of the others
            counts = [Counter(key for key, _ in side) for side in (here, there)]
            here = [(key, unit) for key, unit in here if counts[0][key] == counts[1][key]]
        pairs += _paired(
            [(key, unit) for key, unit in here if key], [(key, unit) for key, unit in there if key], ordered
        )
    done = {target.key for target, _, _ in pairs}
    used = {tensor.key for _, tensor, _ in pairs}
    return pairs, list(_open(wanted, left, done, used))


def _wanted(targets: Iterable[Target], apart: bool = False) -> Iterator[Wanted]:
    groups: dict[str, list[Target]] = {}
    for target in targets:
        groups.setdefault(target.key.rpartition(".")[0] if apart else target.path, []).append(target)
    for path, group in groups.items():
        name = group[0].layer
        yield Wanted(path, snake_case(STORED_AS.get(name, name)), tuple(group))


def _left(stored: Iterable[StoredCheckpoint]) -> Iterator[Left]:
    groups: dict[str, list[StoredCheckpoint]] = {}
    for tensor in stored:
        groups.setdefault(tensor.unit, []).append(tensor)
    for path, group in groups.items():
        yield Left(path, group[0].layer, tuple(group))


def _named(unit: Wanted | Left) -> Any:
    """A layer by the names and shapes of its weights, as PyTorch has them."""
    if isinstance(unit, Wanted):
        inner = [target.key.removeprefix(f"{unit.path}.") for target in unit.targets]
        if any("." in name for name in inner):
            return None
        return frozenset(zip(inner, (target.shape for target in unit.targets), strict=True))
    if any(tensor.number is not None for tensor in unit.tensors):
        return None
    return frozenset((tensor.leaf, tensor.shape) for tensor in unit.tensors)


def _kerasnamed(unit: Wanted | Left) -> Any:
    """A layer by the names and shapes of its weights, as Keras has them."""
    if isinstance(unit, Wanted):
        if any(target.weight.row is not None or not target.layer for target in unit.targets):
            return None
        return frozenset((target.weight.keras, target.keras_shape) for target in unit.targets)
    return _named(unit)


def _variables(unit: Wanted | Left) -> Any:
    """A layer by its class and the shapes of its variables, in Keras' order."""
    if isinstance(unit, Wanted):
        return (unit.layer, tuple(map(shape_of, variables(unit.targets))))
    if any(tensor.number is None for tensor in unit.tensors):
        return None
    return (unit.layer, tuple(tensor.shape for tensor in unit.tensors))


def variables(targets: Iterable[Target]) -> list[list[Target]]:
    """The weights of each Keras variable: one, or the rows of it."""
    groups: list[list[Target]] = []
    for target in targets:
        if target.weight.row:
            groups[-1].append(target)
        else:
            groups.append([target])
    return groups


def shape_of(variable: Sequence[Target]) -> tuple[int, ...]:
    """The shape of a Keras variable."""
    shape = variable[0].keras_shape
    return shape if variable[0].weight.row is None else (len(variable), *shape)


def _paired(
    wanted: Sequence[tuple[Any, Wanted]], left: Sequence[tuple[Any, Left]], ordered: bool
) -> Iterator[Pair]:
    """The layers that can go to one another in one way only."""
    common = {key for key, _ in wanted} & {key for key, _ in left}
    mine = [(key, unit) for key, unit in wanted if key in common]
    theirs = [(key, unit) for key, unit in left if key in common]
    for key in dict.fromkeys(key for key, _ in mine):
        stream = _stream(key)
        aligned = ordered and [each for each, _ in mine if _stream(each) == stream] == [
            each for each, _ in theirs if _stream(each) == stream
        ]
        here = [unit for each, unit in mine if each == key]
        there = [unit for each, unit in theirs if each == key]
        if len(here) != len(there):
            continue
        if len(here) > 1 and not aligned:
            if not _numbered([unit.path for unit in here]) or not _numbered([unit.path for unit in there]):
                continue
            there.sort(key=lambda unit: _numbers(unit.path))
        for a, b in zip(here, there, strict=True):
            yield from _members(a, b, "shape" if len(here) == 1 else "order")


def _stream(key: Any) -> str:
    """Keras numbers the layers of each class by themselves; elsewhere all have one order."""
    return key[0] if isinstance(key, tuple) else ""


def _members(wanted: Wanted, left: Left, how: Literal["order", "shape"]) -> Iterator[Pair]:
    if left.tensors[0].number is not None:
        for variable, tensor in zip(variables(wanted.targets), left.tensors, strict=True):
            yield from ((target, tensor, how) for target in variable)
        return
    named = {tensor.leaf: tensor for tensor in left.tensors}
    for target in wanted.targets:
        name = target.key.removeprefix(f"{wanted.path}.")
        yield target, named[name] if name in named else named[target.weight.keras], how


def _numbered(paths: Sequence[str]) -> bool:
    """Whether names differ only in their numbers."""
    return len({re.sub(r"\d+", "#", path) for path in paths}) == 1


def _numbers(path: str) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", path)]


def _open(
    wanted: Sequence[Wanted], left: Sequence[Left], done: set[str], used: set[str]
) -> Iterator[Ambiguous]:
    """Layers that could be matched in several ways."""
    for way in (_named, _kerasnamed, _variables):
        groups: dict[Any, tuple[list[str], list[str]]] = {}
        for unit in wanted:
            if (key := way(unit)) and not done & {target.key for target in unit.targets}:
                groups.setdefault(key, ([], []))[0].append(unit.path)
        for other in left:
            if (key := way(other)) and not used & {tensor.key for tensor in other.tensors}:
                groups.setdefault(key, ([], []))[1].append(other.path)
        yield from (Ambiguous(tuple(a), tuple(b)) for a, b in groups.values() if a and b)

"""What differs between the places of a part, as its params: the fewest that tell all of them apart.

filters   64, 64, 128     a param, `$filters`
kernel    3, 3, 3         a constant
units     256, 256, 512   a multiple of a param: `$(4 * filters)`
groups    64, 64, 128     what the input has: `$(channels(x))`
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from graphspec.contract.registry import REGISTRY
from graphspec.convert.folding.parts import Instance, Item, Part
from graphspec.convert.nodes import Node, Value

SIZES = frozenset(
    [
        *("filters", "units", "groups", "key_dim", "head_dim", "target_shape", "parameter", "output_dim"),
        *("num_heads", "num_query_heads", "num_key_value_heads", "value_dim", "newshape"),
    ]
)
"""Arguments that count channels, so that one may be a multiple of another."""
NODE_KEYS = frozenset(
    ["repeat", "parallel", "from", "when", "else", "weights", "preset", "index", "logits", "batch"]
)
MISSING = object()


@dataclass(slots=True)
class Param:
    """A param of a part: what it is at each instance. `key` is the argument that it was first found for."""

    name: str
    key: str
    values: list[Any]
    default: Any = MISSING


@dataclass(slots=True)
class Written:
    """One item of a part as it is written: its arguments, with params in them. `repeat` is None where it
    stands alone, a number or a param, or the arguments that differ in its repetitions.
    """

    arguments: dict[str, Any] = field(default_factory=dict)
    repeat: Any = None


@dataclass(slots=True)
class Solved:
    """A part with its params."""

    part: Part
    params: list[Param] = field(default_factory=list)
    items: list[Written] = field(default_factory=list)


class Solver:
    """Finds the params of one part. Those of the parts inside it are found before it."""

    def __init__(
        self,
        part: Part,
        names: list[str],
        inner: dict[int, Solved],
        channels: Callable[[Value], int | None],
    ):
        self.part, self.names, self.inner = part, names, inner
        self.item = ""  # the name of the item at hand
        self.solved = Solved(part)
        self.outermost = len(part.instances) == 1
        self.channels = [
            channels(instance.sources[0]) if instance.sources else None for instance in part.instances
        ]
        self.channel_read = False

    def solve(self) -> Solved:
        for position in range(len(self.part.keys)):
            items = [instance.items[position] for instance in self.part.instances]
            self.item = self.names[position]
            self.solved.items.append(self._item(items))
        for param in self.solved.params:
            sized = counts_channels(param.key) or param.key == "depth"
            param.default = MISSING if sized else usual(param.values)
        self.solved.params.sort(key=lambda param: param.default is not MISSING)
        for number, instance in enumerate(self.part.instances):
            instance.values = {param.name: param.values[number] for param in self.solved.params}
        return self.solved

    def _item(self, items: list[Item]) -> Written:
        """One item, given what it is at each instance."""
        found = Written()
        counts = [len(item.units) for item in items]
        columns = self._columns(items)
        lists: dict[str, list[list[Any]]] = {}
        for key, column in columns.items():
            if all(all(same(value, values[0]) for value in values) for values in column):
                value = self._template(key, [values[0] for values in column])
                if not self._is_default(items[0], key, value):
                    found.arguments[key] = value
            else:
                lists[key] = column
        if max(counts) > 1 or lists:
            repeat = self._template("depth", counts) if not lists else None
            found.repeat = (
                repeat
                if repeat is not None
                else {key: self._template(key, column) for key, column in lists.items()}
            )
        return found

    def _columns(self, items: list[Item]) -> dict[str, list[list[Any]]]:
        """For each argument, in order, its values: of each unit of each instance."""
        keys: dict[str, None] = {}
        for item in items:
            for unit in item.units:
                keys |= dict.fromkeys(given(unit))
        first = items[0].units[0]
        if (
            isinstance(first, Node)
            and first.form != "parameter"
            and any(len(given(i.units[0])) < len(keys) for i in items)
        ):
            fields = list(REGISTRY[first.form][first.what].model_fields)  # type: ignore[index]
            keys = dict.fromkeys(sorted(keys, key=fields.index))
        return {key: [[self._value(unit, key) for unit in item.units] for item in items] for key in keys}

    def _value(self, unit: Node | Instance, key: str) -> Any:
        """What an argument is, written or not."""
        if isinstance(unit, Instance) or key in given(unit):
            return given(unit)[key]
        if unit.form == "parameter":
            return "glorot_uniform"
        field = REGISTRY[unit.form][unit.what].model_fields[key]  # type: ignore[index]
        return plain_default(field.get_default(call_default_factory=True))

    def _is_default(self, item: Item, key: str, value: Any) -> bool:
        """Whether an argument need not be written, for the part inside has it as its default."""
        unit = item.units[0]
        if not isinstance(unit, Instance):
            return False
        param = next(p for p in self.inner[id(unit.part)].params if p.name == key)
        return param.default is not MISSING and same(param.default, value)

    def _template(self, key: str, column: Sequence[Any]) -> Any:
        """A value, or an expression of params, that is the column's at each instance."""
        first = column[0]
        if all(same(value, first) for value in column):
            return first
        if all(isinstance(value, list) and len(value) == len(first) for value in column) and counts_channels(
            key
        ):
            return [self._template(key, [value[i] for value in column]) for i in range(len(first))]
        found = self._known(key, column)
        if found is not None:
            return found
        name = self._name(key)
        self.solved.params.append(Param(name, key, list(column)))
        return f"${name}"

    def _known(self, key: str, column: Sequence[Any]) -> str | None:
        """The column as an expression of what is there already."""
        params = self.solved.params
        for param in params:
            alike = key == param.key or (counts_channels(key) and counts_channels(param.key))
            if alike and all(map(same, param.values, column)):
                return f"${param.name}"
        if not counts_channels(key) or not all(
            isinstance(v, int) and not isinstance(v, bool) for v in column
        ):
            return None
        known = [(param.name, param.values) for param in params if counts_channels(param.key)]
        if self.part.inputs and all(isinstance(c, int) for c in self.channels):
            known.insert(0, (f"channels({self.part.inputs[0]})", self.channels))
        for name, values in known:
            if not all(isinstance(v, int) and v > 0 for v in values):
                continue
            if all(map(same, values, column)):
                return f"$({name})"
        for name, values in known:
            if not all(isinstance(v, int) and v > 0 for v in values):
                continue
            times, rest = divmod(column[0], values[0])
            if times > 1 and not rest and all(v * times == c for v, c in zip(values, column, strict=True)):
                return f"$({times} * {name})"
            parts, rest = divmod(values[0], column[0]) if column[0] else (0, 1)
            if parts > 1 and not rest and all(c * parts == v for v, c in zip(values, column, strict=True)):
                return f"$({name} // {parts})"
        return None

    def _name(self, key: str) -> str:
        """A name for a param: the argument's, behind a word of the node's where that is taken."""
        taken = {param.name for param in self.solved.params}
        word = "size" if key == "parameter" else f"{key}_" if key in NODE_KEYS else key
        if word not in taken:
            return word
        base = word.rpartition("_")[2] if word.rpartition("_")[2] in SIZES else word
        start = re.sub(r"\d+", "", self.item).rstrip("_").rpartition("_")[2]
        word = f"{start}_{base}" if start else base
        name, number = word, 1
        while name in taken:
            number += 1
            name = f"{word}{number}"
        return name


def counts_channels(key: str) -> bool:
    """Whether an argument or param counts channels: `filters`, `project_filters`, `filters2`."""
    key = key.rstrip("0123456789")
    return key in SIZES or any(key.endswith(f"_{size}") for size in SIZES)


def given(unit: Node | Instance) -> dict[str, Any]:
    """The arguments of a unit; the shape of a parameter is one of them."""
    if isinstance(unit, Instance):
        return unit.values
    if unit.form == "parameter":
        return {"parameter": unit.what, **unit.arguments}
    return unit.arguments


def plain_default(value: Any) -> Any:
    """A default of a layer's class as a spec would write it."""
    if isinstance(value, tuple):
        items = [plain_default(item) for item in value]
        return items[0] if items and all(same(item, items[0]) for item in items) else items
    if hasattr(value, "word"):
        return value.word
    return value


def same(a: Any, b: Any) -> bool:
    """Equal, and of one type: 1 is not true."""
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(map(same, a, b))
    return type(a) is type(b) and bool(a == b)


def usual(values: list[Any]) -> Any:
    """The value that most places have, or MISSING."""
    best, most = MISSING, len(values) / 2
    for value in values:
        count = sum(same(value, other) for other in values)
        if count > most:
            best, most = value, count
    return best

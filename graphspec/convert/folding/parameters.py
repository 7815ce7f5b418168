"""What differs between the places of a part, as its params: the fewest that tell all of them apart.

filters   64, 64, 128     a param, `$filters`
kernel    3, 3, 3         a constant
units     256, 256, 512   a multiple of a param: `$(4 * filters)`
groups    64, 64, 128     what the input has: `$(channels(x))`
scale     .125, .125, .088  its power: `$(channels(x) ** -0.5)`
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from graphspec.contract.fields import same
from graphspec.contract.registry import REGISTRY
from graphspec.convert.folding.parts import Instance, Item, RepeatedPart
from graphspec.convert.nodes import ConvertedNode, ConvertedValue
from graphspec.language.schema import MISSING
from graphspec.tensor import is_size

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
    is alone, a number or a param, or the arguments that differ in its repetitions.
    """

    arguments: dict[str, Any] = field(default_factory=dict)
    repeat: Any = None


@dataclass(slots=True)
class Solved:
    """A part with its params."""

    part: RepeatedPart
    params: list[Param] = field(default_factory=list)
    items: list[Written] = field(default_factory=list)


class Solver:
    """Finds the params of one part, after those of the parts inside it."""

    def __init__(
        self,
        part: RepeatedPart,
        names: list[str],
        inner: dict[int, Solved],
        channels: Callable[[ConvertedValue], int | None],
    ):
        self.part, self.names, self.inner = part, names, inner
        self.item = ""  # the name of the item at hand
        self.solved = Solved(part)
        self.channels = [
            channels(instance.sources[0]) if instance.sources else None for instance in part.instances
        ]

    def solve(self) -> Solved:
        for position, name in enumerate(self.names):
            self.item = name
            items = [instance.items[position] for instance in self.part.instances]
            self.solved.items.append(self._item(items))
        for param in self.solved.params:
            self._settle(param)
        self.solved.params.sort(key=lambda param: param.default is not MISSING)
        for number, instance in enumerate(self.part.instances):
            instance.values = {param.name: param.values[number] for param in self.solved.params}
        return self.solved

    def _settle(self, param: Param) -> None:
        """Gives a param its default."""
        sized = counts_channels(param.key) or param.key == "depth"
        param.default = MISSING if sized else usual(param.values)

    def _item(self, items: list[Item]) -> Written:
        """One item, given what it is at each instance."""
        written = Written()
        lists: dict[str, list[Any]] = {}
        for key, column in self._columns(items).items():
            if all(all(same(value, values[0]) for value in values) for values in column):
                value = self._template(key, [values[0] for values in column])
                if not self._is_default(items[0], key, value):
                    written.arguments[key] = value
            else:
                lists[key] = column
        if lists:
            written.repeat = {key: self._template(key, column) for key, column in lists.items()}
        elif max(len(item.units) for item in items) > 1:
            written.repeat = self._template("depth", [len(item.units) for item in items])
        return written

    def _columns(self, items: list[Item]) -> dict[str, list[list[Any]]]:
        """For each argument, in order, its values: of each unit of each instance."""
        keys: dict[str, None] = {}
        for item in items:
            for unit in item.units:
                keys |= dict.fromkeys(arguments_of(unit))
        first = self.part.unit(self.names.index(self.item))
        some = any(len(arguments_of(item.units[0])) < len(keys) for item in items)
        if some and isinstance(first, ConvertedNode) and first.form != "parameter":
            fields = list(REGISTRY[first.form][first.what].model_fields)  # type: ignore[index]
            keys = dict.fromkeys(sorted(keys, key=fields.index))
        return {key: [[self._value(unit, key) for unit in item.units] for item in items] for key in keys}

    def _value(self, unit: ConvertedNode | Instance, key: str) -> Any:
        """The value of an argument, written or default."""
        if isinstance(unit, Instance) or key in arguments_of(unit):
            return arguments_of(unit)[key]
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
        lists = all(isinstance(value, list) and len(value) == len(first) for value in column)
        if lists and counts_channels(key):
            before = list(self.solved.params)
            parts = [self._template(key, [value[i] for value in column]) for i in range(len(first))]
            if len(self.solved.params) <= len(before) + 1:
                return parts
            self.solved.params = before  # a list of which several numbers differ is one param
        expression = self._known(key, column)
        if expression is not None:
            return expression
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
        if key == "padding" and (expression := self._by_strides(column)) is not None:
            return expression
        sized = counts_channels(key) and all(map(is_size, column))
        scales = all(isinstance(value, float) and value > 0 for value in column)
        if not sized and not scales:
            return None
        known = [(param.name, param.values) for param in params if counts_channels(param.key)]
        if self.part.inputs and all(isinstance(c, int) for c in self.channels):
            known.insert(0, (f"channels({self.part.inputs[0]})", self.channels))
        for relation in (equal, multiple, power) if sized else (power,):
            for name, values in known:
                pairs = list(zip(values, column, strict=True))
                if all(is_size(v) for v, _ in pairs) and (expression := relation(name, pairs)) is not None:
                    return expression
        return None

    def _by_strides(self, column: Sequence[Any]) -> str | None:
        """A padding that follows from whether there are strides, as where zeros are added by hand."""
        strides = next((p.values for p in self.solved.params if p.key == "strides"), None)
        if strides is None or not all(map(is_size, strides)) or not all(isinstance(c, str) for c in column):
            return None
        pairs = list(zip(strides, column, strict=True))
        words = [{word for value, word in pairs if (value > 1) is above} for above in (True, False)]
        if all(len(found) == 1 for found in words):
            return f"$('{words[0].pop()}' if strides > 1 else '{words[1].pop()}')"
        return None

    def _name(self, key: str) -> str:
        """A name for a param: the argument's, after a word of the node's where that is taken."""
        taken = {param.name for param in self.solved.params}
        word = "size" if key == "parameter" else f"{key}_" if key in NODE_KEYS else key
        base = word.rpartition("_")[2] if word.rpartition("_")[2] in SIZES else word
        for each in (base, word):
            if each not in taken:
                return each
        start = re.sub(r"\d+", "", self.item).rstrip("_").rpartition("_")[2]
        word = f"{start}_{base}" if start else base
        name, number = word, 1
        while name in taken:
            number += 1
            name = f"{word}{number}"
        return name


def equal(name: str, pairs: list[tuple[int, Any]]) -> str | None:
    """The name of what is the first of each pair, if the second is the same."""
    return f"$({name})" if all(v == c for v, c in pairs) else None


def power(name: str, pairs: list[tuple[int, Any]]) -> str | None:
    """How the second of each pair follows from the first, as its square or as what attention divides by."""
    for exponent in (2, -0.5):
        if all(v > 1 and v**exponent == c for v, c in pairs):
            return f"$({name} ** {exponent})"
    return None


def multiple(name: str, pairs: list[tuple[int, Any]]) -> str | None:
    """How the second of each pair follows from the first, which has a name, by one factor."""
    value, wanted = pairs[0]
    times, rest = divmod(wanted, value)
    if times > 1 and not rest and all(v * times == c for v, c in pairs):
        return f"$({times} * {name})"
    parts, rest = divmod(value, wanted)
    if parts > 1 and not rest and all(c * parts == v for v, c in pairs):
        return f"$({name} // {parts})"
    return None


def counts_channels(key: str) -> bool:
    """Whether an argument or param counts channels: `filters`, `project_filters`, `filters2`."""
    key = key.rstrip("0123456789")
    return key in SIZES or any(key.endswith(f"_{size}") for size in SIZES)


def arguments_of(unit: ConvertedNode | Instance) -> dict[str, Any]:
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


def usual(values: list[Any]) -> Any:
    """The value that most places have, or MISSING."""
    best, most = MISSING, len(values) / 2
    for value in values:
        count = sum(same(value, other) for other in values)
        if count > most:
            best, most = value, count
    return best

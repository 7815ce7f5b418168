"""Keras' initializers: `init_weights`, by module type, and by owner where instances of a type differ."""

from __future__ import annotations

import ast
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from graphspec.contract.layer import Weight
from graphspec.emit.classes import Classes
from graphspec.emit.code import attribute_path, fill, template, walk
from graphspec.emit.library_source import library_code
from graphspec.emit.module_class import ModuleClass
from graphspec.emit.printer import flat, lines
from graphspec.emit.rewriting import assigned, is_none
from graphspec.emit.slots import Slot
from graphspec.graph import Op, Unit
from graphspec.weights import names, unit_keys


@dataclass(frozen=True, slots=True)
class PlacedLayer:
    """A layer with its place: its name in the class, and whether some bodies of the class lack it."""

    group: ModuleClass
    slot: Slot
    op: Op
    target: str
    optional: bool

    def is_alike(self, weight: Weight) -> bool:
        """Whether a weight has the same initializer in all instances that share its statement."""
        if self.slot not in self.group.template.slots:  # what is lent is the same in all
            return True
        rows = [slots[self.slot.position].ops for slots in self.group.slots]
        numbers = {row.index(self.op) for row in rows if self.op in row}
        ops = [op for row in rows for n, op in enumerate(row) if self.slot.loop or n in numbers]
        texts = {each.initializer for op in ops for each in op.weights() if each.name == weight.name}
        return texts == {weight.initializer}


@dataclass(eq=False, slots=True)
class Kind:
    """The modules of one class of PyTorch or the library.

    It counts them, and how often each statement initializes a weight of theirs. None counts the weights whose
    statement is specific to them.
    """

    count: int = 0
    fills: dict[str, Counter[str | None]] = field(default_factory=lambda: defaultdict(Counter))


class Initialization:
    """The content of `init_weights`. A weight without a statement is initialized by its module."""

    def __init__(self, classes: Classes[Any]):
        self.classes = classes
        self.by_type: dict[str, dict[str, str]] = defaultdict(dict)
        self.by_owner: dict[str, list[str]] = defaultdict(list)
        self.optional: set[tuple[str, str]] = set()
        self._placed = list(self._find())
        self._plain = {each.target for each in self._placed if each.target.startswith("nn.")}
        kinds: dict[str, Kind] = defaultdict(Kind)
        for each in self._placed:
            modules = {self._place(each, weight)[0::2] for weight in each.op.weights()} or {(each.target, "")}
            for kind, _ in modules:
                kinds[kind].count += 1
            for weight in each.op.weights():
                kind, name, _ = self._place(each, weight)
                kinds[kind].fills[name][None if weight.particular else weight.initializer] += 1
        for word, tally in kinds.items():
            self._settle(word, tally)
        keys = {unit: key for unit, key in unit_keys(classes.root.bodies[0])}
        self._single: dict[str, tuple[str, bool]] = {}
        """By the path of a weight in the program what fills it alone, and whether its type may be None."""
        for each in self._placed:
            self._differing(each, keys)
        self._parameters(keys)
        if self._single:
            self.by_owner[classes.root.name] += [
                line
                for path, (text, lacks) in self._single.items()
                for line in _filled(f"module{attribute_path(path)}", text, lacks)
            ]
        for group in classes.groups:
            if averages := list(_averages(group)):
                self.by_owner[group.name] += averages

    def _find(self) -> Iterator[PlacedLayer]:
        for group in self.classes.groups:
            if group.over is not None:
                continue
            for slot in group.template.slots:
                rows = [of_body[slot.position] for of_body in group.slots]
                optional = not slot.repeated and any(row.absent for row in rows)
                for row, body in list(zip(rows, group.bodies, strict=True))[: group.real]:
                    for op in row.ops:
                        target = self._target(op)
                        if target and (op.unit is None or op.unit in body.units):
                            yield PlacedLayer(group, slot, op, target, optional)
            for unit in (unit for body in group.bodies for unit in self.classes.units.lent(body)):
                if target := self._target(unit.first_call):
                    yield PlacedLayer(
                        group, Slot(unit.name, [unit.first_call], 0), unit.first_call, target, False
                    )

    def _target(self, op: Op) -> str:
        """The class of the module of a layer, or ""."""
        code = self.classes.code(op) if op.present and op.layer is not None else None
        return code.construct.target if code is not None and code.construct is not None else ""

    def _place(self, placed: PlacedLayer, weight: Weight) -> tuple[str, str, str]:
        """A weight's module: its class, its name for the weight, and its path in the layer's module."""
        part, _, name = weight.name.rpartition(".")
        inner = parts_of(placed.target).get(part)
        if inner is not None:
            return inner, name, part
        base = base_of(placed.target)
        return (base if base in self._plain else placed.target), weight.name, ""

    def _settle(self, kind: str, settled: Kind) -> None:
        """The statements that initialize most modules of a type."""
        for name, counts in settled.fills.items():
            general = {text: count for text, count in counts.items() if text is not None}
            lacking = counts.total() < settled.count
            if not general or "" in general or (lacking and not kind.startswith("nn.")):
                continue
            self.by_type[kind][name] = max(general, key=general.__getitem__)
            if lacking or may_be_none(kind, name):
                self.optional.add((kind, name))

    def _differing(self, placed: PlacedLayer, keys: Mapping[Unit, str]) -> None:
        """Statements for what the type of a layer does not determine: one for all instances of its class, or
        in the program's own branch for a single one.
        """
        unit_keys: list[tuple[str, str, bool]] = []
        unit = placed.op.unit
        if unit is None:  # it has no weights
            return
        for weight in placed.op.weights():
            kind, name, part = self._place(placed, weight)
            if (text := placed.group.fills.get((names.attribute(unit.name), weight.name))) is not None:
                unit_keys.append((weight.name, text, may_be_none(kind, name)))
                continue
            if not weight.initializer or self.by_type.get(kind, {}).get(name) == weight.initializer:
                continue
            if part and self._is_common(placed.target, weight):
                self.by_type[placed.target][weight.name] = weight.initializer
                if may_be_none(kind, name):
                    self.optional.add((placed.target, weight.name))
            elif placed.is_alike(weight):
                unit_keys.append((weight.name, weight.initializer, may_be_none(kind, name)))
            else:
                self._single[keys[unit] + weight.name] = weight.initializer, may_be_none(kind, name)
        if unit_keys:
            self._of_owner(placed, unit_keys)

    def _parameters(self, keys: Mapping[Unit, str]) -> None:
        """Statements for parameters that the instances of a class fill in different ways."""
        for group in self.classes.groups:
            for op in (slots[place].op for slots in group.slots for place in sorted(group.unfilled)):
                if op.present and op.parameter is not None and op.unit is not None:
                    self._single[keys[op.unit].removesuffix(".")] = op.parameter.initializer, False

    def _is_common(self, target: str, weight: Weight) -> bool:
        """Whether weights of this name have the same initializer in all layers of a class."""
        initializers = {
            (other.initializer, other.particular)
            for each in self._placed
            if each.target == target
            for other in each.op.weights()
            if other.name == weight.name
        }
        return initializers == {(weight.initializer, False)}

    def _of_owner(self, placed: PlacedLayer, fills: list[tuple[str, str, bool]]) -> None:
        op, unit = placed.op, placed.op.unit
        shared = unit is not None and unit.shared
        attribute = f"module.{names.attribute(unit.name if unit is not None and shared else op.node)}"
        heads: list[str] = []
        if placed.slot.loop and not shared:
            module = "layer"
            heads = [f"for layer in {attribute}:", f"    if isinstance(layer, {placed.target}):"]
        else:
            module = attribute if op.index is None or shared else f"{attribute}[{op.index}]"
            flag = placed.group.flags.get(placed.slot.position)
            if placed.optional:
                heads = [f"if {f'module.{flag}' if flag is not None else f'{module} is not None'}:"]
        body, indent = self.by_owner[placed.group.name], "    " * len(heads)
        block = heads + [
            indent + line
            for name, text, lacks in fills
            for line in _filled(f"{module}{attribute_path(name)}", text, lacks)
        ]
        if not any(body[start : start + len(block)] == block for start in range(len(body) + 1)):
            body += block

    @property
    def needed(self) -> bool:
        return bool(self.by_type or self.by_owner)

    def lines(self) -> Iterator[str]:
        """The source of `init_weights`."""
        yield "def init_weights(module: nn.Module) -> None:"
        yield '    """Fills a module\'s own weights by Keras\' initializers."""'
        word = "if"
        for targets, body in self._branches():
            types = targets[0] if len(targets) == 1 else f"({', '.join(sorted(targets))})"
            yield f"    {word} isinstance(module, {types}):"
            yield from body
            word = "elif"
        for owner, statements in self.by_owner.items():
            yield f"    {word} isinstance(module, {owner}):"
            yield from _written(statements)
            word = "elif"
        if self.classes.imported:
            yield from self._sparing(sorted(self.classes.imported.values()))

    def _sparing(self, kinds: list[str]) -> Iterator[str]:
        """The source of `initialize`, for a file with modules that initialize their own weights."""
        kind = kinds[0] if len(kinds) == 1 else f"({', '.join(kinds)})"
        yield from ("", "", "def initialize(module: nn.Module) -> None:")
        yield '    """Fills the weights of a module and of all inside it, but for what is imported."""'
        yield "    for child in module.children():"
        yield from lines("if not ", template(f"isinstance(child, {kind})"), 8, ":")
        yield "            initialize(child)"
        yield "    init_weights(module)"

    def _branches(self) -> Iterator[tuple[list[str], list[str]]]:
        """The types with the same statements. A type without a bias can share those of a type with one."""
        groups: list[tuple[list[str], dict[str, str], set[str]]] = []
        for kind, fills in self.by_type.items():
            optional = {name for name in fills if (kind, name) in self.optional}
            for targets, others, asked in groups:
                without_bias = {name: text for name, text in fills.items() if name != "bias"}
                same = without_bias == {name: text for name, text in others.items() if name != "bias"}
                biases = {each["bias"] for each in (fills, others) if "bias" in each}
                may_lack = _may_lack_bias(kind) and _may_lack_bias(targets[0])
                if fills == others or (same and len(biases) <= 1 and may_lack):
                    targets.append(kind)
                    asked |= optional | ({"bias"} if ("bias" in fills) != ("bias" in others) else set())
                    others |= fills
                    break
            else:
                groups.append(([kind], dict(fills), optional))
        for targets, fills, optional in groups:
            body: list[str] = []
            for name, text in fills.items():
                statement = fill(text, {"w": template(f"module{attribute_path(name)}")})
                if name in optional:
                    body.append(f"        if module{attribute_path(name)} is not None:")
                body += lines("", statement, 12 if name in optional else 8)
            yield targets, body


def _averages(group: ModuleClass) -> Iterator[str]:
    """Statements by which averages of weights begin as what they average."""
    units = {unit.name: unit for unit in group.template.graph.units if unit.shared}
    for unit in units.values():
        if group.over is None and unit.average is not None and unit.average.of in units:
            mine, theirs = names.attribute(unit.name), names.attribute(unit.average.of)
            yield f"module.{mine}.load_state_dict(module.{theirs}.state_dict())"


def _may_lack_bias(kind: str) -> bool:
    return kind.startswith(("nn.Conv", "nn.Linear"))


@cache
def parts_of(target: str) -> dict[str, str]:
    """The PyTorch modules that a library class creates, by attribute."""
    node = library_code().nodes.get(target)
    parts: dict[str, str] = {}
    for each in walk(node) if node is not None else ():
        if isinstance(each, ast.Assign) and isinstance(each.targets[0], ast.Attribute):
            for call in walk(each.value):
                if isinstance(call, ast.Call) and flat(call.func).startswith("nn."):
                    parts[each.targets[0].attr] = flat(call.func)
    if isinstance(node, ast.ClassDef):
        for base in map(flat, node.bases):
            parts = parts_of(base) | parts
    return {attribute: kind for attribute, kind in parts.items() if kind != "nn.Parameter"}


def _filled(weight: str, text: str, lacks: bool) -> list[str]:
    """The lines that fill a weight, which by its type may be None."""
    statement = text.replace("{w}", weight)
    return [f"if {weight} is not None:", f"    {statement}"] if lacks else [statement]


@cache
def may_be_none(target: str, attribute: str) -> bool:
    """Whether a module's attribute may be None by its type: biases of convolutions, and what a library class,
    or one of its bases, sets to None.
    """
    if attribute == "bias" and (base_of(target) or target).startswith("nn.Conv"):
        return True
    node = library_code().nodes.get(target)
    if not isinstance(node, ast.ClassDef):
        return False
    values = [value for name, value in assigned(node, of_self=True) if name == attribute]
    if any(isinstance(value, ast.IfExp) and is_none(value.orelse) for value in values):
        return True
    return any(may_be_none(flat(base), attribute) for base in node.bases)


def base_of(target: str) -> str:
    """The PyTorch class that a library class derives from, or ""."""
    node = library_code().nodes.get(target)
    bases = node.bases if isinstance(node, ast.ClassDef) else []
    return next((text for text in map(flat, bases) if text.startswith("nn.")), "")


def _written(texts: Iterable[str]) -> Iterator[str]:
    """Statements of a branch, wrapped."""
    for text in texts:
        statement = text.lstrip()
        indent = 8 + len(text) - len(statement)
        if statement.endswith(":"):
            yield " " * indent + statement
        else:
            yield from lines("", template(statement), indent)

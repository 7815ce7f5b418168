"""Keras' initializers: `init_weights`, by the type of a module, and by its owner where instances of a type
differ.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from graphspec import names
from graphspec.contract import HELPERS
from graphspec.emit.classes import Classes
from graphspec.emit.code import template
from graphspec.emit.group import ModuleClass
from graphspec.emit.printer import lines as wrapped
from graphspec.emit.slots import Slot
from graphspec.graph import Op


@dataclass(frozen=True, slots=True)
class Placed:
    """A layer with its place: what the class calls it, and how many bodies of the class have it."""

    group: ModuleClass
    slot: Slot
    op: Op
    optional: bool


class Initialization:
    """What `init_weights` does. A weight without a statement is filled by its module itself."""

    def __init__(self, classes: Classes):
        self.classes = classes
        self.by_type: dict[str, dict[str, str]] = {}
        self.by_owner: dict[str, list[str]] = defaultdict(list)
        placed = list(self._placed())
        targets = {
            code.construct.target for each in placed if (code := classes.code(each.op)).construct is not None
        }
        self._plain = {target for target in targets if target.startswith("nn.")}
        found: dict[str, dict[str, Counter[str | None]]] = defaultdict(lambda: defaultdict(Counter))
        sizes: Counter[str] = Counter()
        for each in placed:
            kind = self._type(each.op)
            sizes[kind] += 1
            for weight in each.op.weights():
                found[kind][weight.name][None if weight.particular else weight.initializer] += 1
        self._optional: set[tuple[str, str]] = set()
        parts = {part for each in placed for part in self._parts(each.op)}
        for kind, weights in found.items():
            for name, counts in weights.items():
                lacking = counts.total() < sizes[kind] or any(
                    f"= {kind}(" in source and name not in held for source, held in parts
                )
                # None: said by its owner
                general = {text: count for text, count in counts.items() if text is not None}
                if not general or "" in general or (lacking and kind not in self._plain):
                    continue
                self.by_type.setdefault(kind, {})[name] = max(general, key=general.__getitem__)
                if lacking:
                    self._optional.add((kind, name))
        for each in placed:
            self._differing(each)

    def _placed(self) -> Iterator[Placed]:
        for group in self.classes.groups:
            for position in range(len(group.slots[0])):
                slots = [of_body[position] for of_body in group.slots]
                optional = any(not slot.op.present for slot in slots)
                for slot, body in zip(slots, group.bodies, strict=True):
                    borrowed = self.classes.borrowed(body)
                    for op in slot.ops:
                        if self._is_made(op) and op.unit not in borrowed:
                            yield Placed(group, slot, op, optional)
            for unit in (unit for body in group.bodies for unit in self.classes.lent(body)):
                if self._is_made(unit.first):
                    yield Placed(group, Slot(unit.name, [unit.first], 0), unit.first, False)

    def _is_made(self, op: Op) -> bool:
        """Whether a module is made for a layer."""
        return op.present and op.layer is not None and self.classes.code(op).construct is not None

    def _parts(self, op: Op) -> Iterator[tuple[str, frozenset[str]]]:
        """The modules that a layer's module makes inside: the source that makes them, the weights of each."""
        construct = self.classes.code(op).construct
        assert construct is not None
        held: dict[str, set[str]] = defaultdict(set)
        for weight in op.weights():
            part, _, name = weight.name.rpartition(".")
            held[part].add(name)
        for part, of_part in held.items():
            if part and construct.target in HELPERS:
                yield HELPERS[construct.target].source, frozenset(of_part)

    def _type(self, op: Op) -> str:
        """The class of a layer's module, or the one of PyTorch's that it derives from and that others are."""
        construct = self.classes.code(op).construct
        assert construct is not None
        helper = HELPERS.get(construct.target)
        base = re.match(r"class \w+\((nn\.\w+)\)", helper.source) if helper is not None else None
        return base[1] if base is not None and base[1] in self._plain else construct.target

    def _differing(self, placed: Placed) -> None:
        """Statements for what a layer's type does not say."""
        op, unit = placed.op, placed.op.unit
        shared = unit is not None and unit.shared
        attribute = f"module.{names.attribute(unit.name if unit is not None and shared else op.node)}"
        known = self.by_type.get(self._type(op), {})
        texts = [
            (w.name, w.initializer)
            for w in op.weights()
            if w.initializer and known.get(w.name) != w.initializer
        ]
        if placed.slot.loop and not shared:
            lines = [f"    {text.replace('{w}', f'layer.{name}')}" for name, text in texts]
            head = f"for layer in {attribute}:"
        else:
            module = attribute if op.index is None or shared else f"{attribute}[{op.index}]"
            pad = "    " if placed.optional else ""
            lines = [f"{pad}{text.replace('{w}', f'{module}.{name}')}" for name, text in texts]
            head = f"if {module} is not None:" if placed.optional else ""
        body = self.by_owner[placed.group.name] if lines else []
        if lines and not _contains(body, block := [*([head] if head else []), *lines]):
            body += block

    @property
    def needed(self) -> bool:
        return bool(self.by_type or self.by_owner)

    def lines(self) -> Iterator[str]:
        """The source of `init_weights`."""
        yield "def init_weights(module: nn.Module) -> None:"
        yield '    """Fills a module\'s own weights by Keras\' initializers."""'
        kinds: dict[tuple[str, ...], list[str]] = defaultdict(list)
        for kind, fills in self.by_type.items():
            body: list[str] = []
            for name, text in fills.items():
                statement = text.replace("{w}", f"module.{name}")
                optional = (kind, name) in self._optional
                body += [f"if module.{name} is not None:", f"    {statement}"] if optional else [statement]
            kinds[tuple(body)].append(kind)
        word = "if"
        for texts, targets in kinds.items():
            types = targets[0] if len(targets) == 1 else f"({', '.join(sorted(targets))})"
            yield f"    {word} isinstance(module, {types}):"
            yield from _body(texts)
            word = "elif"
        for owner, statements in self.by_owner.items():
            yield f"    {word} isinstance(module, {owner}):"
            yield from _body(statements)
            word = "elif"


def _body(texts: Iterable[str]) -> Iterator[str]:
    """Statements of a branch, wrapped."""
    for text in texts:
        statement = text.lstrip()
        indent = 8 + len(text) - len(statement)
        if statement.endswith(":"):
            yield " " * indent + statement
        else:
            yield from wrapped("", template(statement), indent)


def _contains(lines: list[str], block: list[str]) -> bool:
    return any(lines[start : start + len(block)] == block for start in range(len(lines) - len(block) + 1))

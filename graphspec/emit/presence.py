"""Optional nodes: the conditions under which they are there, and how `forward` tests them."""

from __future__ import annotations

import ast
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

from graphspec.contract.layer import Leaf
from graphspec.emit.code import choice, equal, fill, name, self_attribute
from graphspec.emit.init_statement import InitStatement
from graphspec.emit.module_class import Cell, ModuleClass
from graphspec.emit.slots import Slot
from graphspec.emit.values import ValueWriter, Wish
from graphspec.graph import Op
from graphspec.weights import names


@dataclass(frozen=True, slots=True)
class Presence:
    """The test in `forward` whether a node is present: a submodule or an input is not None, or a flag."""

    attribute: ast.expr
    is_none: bool

    @property
    def test(self) -> ast.expr:
        """The condition that is true where the node is present."""
        return fill("{module} is not None", {"module": self.attribute}) if self.is_none else self.attribute

    def choose(self, there: ast.expr, passed: ast.expr) -> ast.expr:
        """The output of a node if it is present, otherwise the value that it passes on."""
        if self.is_none:
            return choice(fill("{module} is None", {"module": self.attribute}), passed, there)
        return choice(self.attribute, there, passed)

    def tests(self, module: ast.expr) -> bool:
        """Whether a node is present if this module is not None."""
        return self.is_none and equal(self.attribute, module)


@dataclass(eq=False, slots=True)
class Presences:
    """The optional nodes of a class. `modules` are the callees by slot, `steps` the statements of `__init__`;
    `keep` makes an attribute of a value.
    """

    group: ModuleClass
    values: ValueWriter
    steps: list[InitStatement]
    modules: dict[int, ast.expr]
    keep: Callable[[str, ast.expr, Slot], ast.expr]

    def condition(self, slot: Slot, cells: dict[Cell, Op]) -> ast.expr:
        """The code that is true if the node is present: its own `when`, or that of a node that is
        left out with it, such as its only reader.
        """
        present: dict[Cell, Leaf] = {(b, 0): (b, 0) in cells for b in range(len(self.group.bodies))}
        nodes = [next(iter(cells.values())), *(each.there for each in self.group.template.slots)]
        for when in (op.when for op in nodes):
            if when is None or "index" in when.names:
                continue
            truth = self.group.evaluate(when)
            if all(truth[body] is value for (body, _), value in present.items()):
                code = self.group.expression(when)
                if code is not None:
                    return code
        ops = {(b, 0): slots[slot.position].op for b, slots in enumerate(self.group.slots)}
        word = f"has_{slot.node}"
        expression = self.values.write(present, ops, Wish(word, word, strict=True))
        assert expression is not None, "a node is there, or is not, in each body"
        return expression

    def tests(self, optional: Mapping[int, dict[Cell, Op]]) -> dict[int, Presence]:
        """How `forward` tests the presence of each optional node: nodes under one condition share one test,
        that of their only submodule, or a flag.
        """
        presences: dict[int, Presence] = {}
        flags: list[tuple[ast.expr, list[int]]] = []
        implied: list[int] = []  # nodes that are left out because others are
        beside: dict[int, str] = {}  # nodes that are there if an input is given
        for position, cells in optional.items():
            slot = self.group.template.slots[position]
            if (word := self._input_beside(cells)) is not None and not self._holds_module(slot):
                beside[position] = word
            elif slot.there.when is None:
                implied.append(position)
            else:
                _add_flag(flags, self.condition(slot, cells), position)
        for position in implied:
            there = optional[position].keys()
            alike = [positions for _, positions in flags if optional[positions[0]].keys() == there]
            cause = self._cause(position, optional)
            positions = next((each for each in alike if cause in each), next(iter(alike), None))
            if positions is not None:
                positions.append(position)
            else:
                slot = self.group.template.slots[position]
                _add_flag(flags, self.condition(slot, optional[position]), position)
        for position, word in beside.items():
            cause = self._cause(position, optional)
            same = (each for _, each in flags if cause in each and self._hold_several(each))
            if (positions := next(same, None)) is not None:
                positions.append(position)
            else:
                presences[position] = Presence(name(self.group.input(word)), is_none=True)
        under: set[str] = set()  # the submodules that are made under an `if`
        for code, positions in flags:
            slots = [self.group.template.slots[position] for position in positions]
            held = {slot.position: names.attribute(slot.node) for slot in slots if self._holds_module(slot)}
            if len(held) == 1:
                test = Presence(self_attribute(*held.values()), is_none=True)
            else:
                test = Presence(self._flag(code, slots[0], held), is_none=False)
                under.update(held.values())
            presences |= dict.fromkeys(positions, test)
        self._settle(under)
        return presences

    def _cause(self, position: int, optional: Mapping[int, dict[Cell, Op]]) -> int | None:
        """The optional node that is the last operand of a merge, or what replaces it where it is left out."""
        places = {self.group.template.slots[place].node: place for place in optional}
        cause, op = None, self.group.template.slots[position].there
        operand = op.inputs[-1] if op.kind == "merge" and op.inputs else None
        while operand is not None and operand.op is not None and operand.op.node in places:
            place = places[operand.op.node]
            if optional[place].keys() != optional[position].keys():
                break
            cause, operand = place, next(iter(operand.op.inputs), None)
        return cause

    def _settle(self, under: Collection[str]) -> None:
        """Leaves the conditions of these submodules; others are None where they are not there."""
        for step in self.steps:
            if step.condition is not None and step.attribute and step.attribute not in under:
                step.value, step.condition = choice(step.condition, step.value, ast.Constant(None)), None
            elif step.unless_none in under:
                step.unless_none = ""
            elif step.unless_none:
                step.condition = None

    def _flag(self, code: ast.expr, slot: Slot, held: Mapping[int, str]) -> ast.expr:
        """The attribute that keeps a condition; before the submodules that are made under it."""
        word = code.id if isinstance(code, ast.Name) else f"has_{slot.node}"
        flag = self.keep(names.attribute(word), code, slot)
        if held:
            assert isinstance(flag, ast.Attribute)
            modules = set(held.values())
            first = next(number for number, step in enumerate(self.steps) if step.attribute in modules)
            (kept,) = (step for step in self.steps if step.attribute == flag.attr)
            if self.steps.index(kept) > first:
                self.steps.remove(kept)
                self.steps.insert(first, kept)
            for step in self.steps:
                if step.condition is not None and (step.attribute in modules or step.unless_none in modules):
                    step.condition = code if isinstance(code, ast.Name) else flag
            self.group.flags |= dict.fromkeys(held, flag.attr)
        return flag

    def _hold_several(self, positions: list[int]) -> bool:
        """Whether these nodes hold more than one module, so that a flag tells whether they are there."""
        return sum(self._holds_module(self.group.template.slots[position]) for position in positions) > 1

    def _holds_module(self, slot: Slot) -> bool:
        module, unit = self.modules.get(slot.position), slot.there.unit
        return isinstance(module, ast.Attribute) and not (unit is not None and unit.shared)

    def _input_beside(self, cells: dict[Cell, Op]) -> str | None:
        """An input that is given just where a node is there."""
        there = {body for body, _ in cells}
        for word in self.group.inputs:
            with_value = [
                number for number, body in enumerate(self.group.bodies) if body.inputs[word] is not None
            ]
            if there == set(with_value):
                return word
        return None


def _add_flag(flags: list[tuple[ast.expr, list[int]]], code: ast.expr, position: int) -> None:
    """Adds a node to those under the same condition."""
    same = next((positions for each, positions in flags if equal(each, code)), None)
    if same is None:
        flags.append((code, [position]))
    else:
        same.append(position)

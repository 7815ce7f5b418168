"""A class's constructor: its arguments, and the statements that create its submodules."""

from __future__ import annotations

import ast
from dataclasses import dataclass, field
from typing import Any

from graphspec.contract.layer import Leaf
from graphspec.emit.classes import Classes
from graphspec.emit.code import (
    Variable,
    attribute_path,
    call,
    choice,
    equal,
    fill,
    name,
    self_attribute,
    template,
    walk,
)
from graphspec.emit.code import names as names_of
from graphspec.emit.init_statement import InitStatement
from graphspec.emit.module_class import (
    Cell,
    ModuleClass,
    Varies,
)
from graphspec.emit.module_lists import ModuleLists
from graphspec.emit.presence import Presence, Presences
from graphspec.emit.printer import flat
from graphspec.emit.slots import Slot
from graphspec.emit.submodules import Submodule, SubmoduleWriter
from graphspec.emit.values import ValueWriter, Wish
from graphspec.graph import Graph, Op, Unit
from graphspec.traced import TracedText, formula_of, traced
from graphspec.weights import names


@dataclass(eq=False, slots=True)
class InitWriter:
    """The statements of `__init__`, and the way `forward` refers to what they create."""

    classes: Classes[Any]
    group: ModuleClass
    steps: list[InitStatement] = field(default_factory=list)
    modules: dict[int, ast.expr] = field(default_factory=dict)  # slot -> the callee
    presence: dict[int, Presence] = field(default_factory=dict)  # slot -> the test for its presence
    kept: dict[str, ast.expr] = field(default_factory=dict)  # attribute -> its value
    optional: dict[int, dict[Cell, Op]] = field(default_factory=dict)  # slot -> the ops that are there
    submodules: SubmoduleWriter = field(init=False)
    lists: ModuleLists = field(init=False)
    values: ValueWriter = field(init=False)
    presences: Presences = field(init=False)

    def __post_init__(self) -> None:
        group, classes = self.group, self.classes
        self.submodules = SubmoduleWriter(classes, group)
        self.lists = ModuleLists(self.submodules, self.count)
        self.values = self.submodules.values
        self.presences = Presences(group, self.values, self.steps, self.modules, self.keep)

    def write(self) -> None:
        """Writes all statements, one submodule after another, shared ones first. Raises `Varies`."""
        self._borrow()
        calls: dict[Unit, list[Slot]] = {}
        for slot in self.group.template.slots:
            unit = slot.there.unit
            if unit is not None and unit.shared and unit in self.group.graph.units:
                calls.setdefault(unit, []).append(slot)
        for unit, slots in calls.items():
            self._shared(unit, slots)
        for unit in self.classes.units.lent(self.group.graph):
            self._lend(unit)
        for slot in self.group.template.slots:
            self._slot(slot)
        self.presence = self.presences.tests(self.optional)

    def _borrow(self) -> None:
        """Names the modules of other classes that are passed to `forward`."""
        taken = {self.group.input(word) for word in self.group.graph.inputs}
        for unit in self.classes.units.borrowed(self.group.graph):
            word = self.group.local(unit.name)
            while word in taken:
                word += "_"
            taken.add(word)
            self.group.borrowed[unit.name] = Variable(word, [], word, is_argument=True)
            self.group.types[word] = self.classes.units.type_of(unit)

    def _shared(self, unit: Unit, slots: list[Slot]) -> None:
        """Creates the module of a shared unit, in the form that suits all of its calls."""
        cells: dict[Cell, Op] = {}
        best = max(slots, key=lambda slot: (_takes_mask(slot.there), len(slot.there.outputs)))
        for slot in [best, *slots]:
            for (body, _), op in self.group.cells(slot.position).items():
                cells.setdefault((body, 0), self._maker(op))
        if self._function(cells) is None:
            self._make(unit.name, best, cells)

    def _maker(self, op: Op) -> Op:
        """The call of a shared module whose class makes it: the first one, where others run on that class."""
        further = op.graph is not None and self.classes.of[op.graph].over is not None
        return op.unit.first_call if further and op.unit is not None else op

    def _lend(self, unit: Unit) -> None:
        """Creates a submodule that only inner classes call."""
        cells = {
            (body, 0): mine.first_call
            for body, graph in enumerate(self.group.bodies)
            for mine in graph.units
            if mine.name == unit.name and mine.shared
        }
        if len(cells) < len(self.group.bodies):
            raise Varies(unit.name)
        self._make(unit.name, None, cells)

    def lending(self, graph: Graph) -> list[ast.keyword]:
        """The modules that a call of an inner graph's `forward` passes to it."""
        keywords = []
        for unit in self.classes.units.borrowed(graph):
            owned = self.classes.units.owns(self.group.graph, unit)
            module = (
                self_attribute(names.attribute(unit.name)) if owned else self.group.borrowed[unit.name].read()
            )
            keywords.append(ast.keyword(self.classes.of[graph].borrowed[unit.name].name, module))
        return keywords

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to construct, so that a function is enough."""
        return not self.steps and not self.group.args

    def attribute(self, slot: Slot) -> str:
        unit = slot.there.unit
        return names.attribute(unit.name if unit is not None and unit.shared else slot.node)

    def _slot(self, slot: Slot) -> None:
        cells = self.group.cells(slot.position)
        if not cells:
            return
        function = self._function(cells)
        unit = slot.there.unit
        if function is not None:
            self.modules[slot.position] = function
        elif unit is not None and unit.shared:
            owned = unit in self.group.graph.units
            borrowed = None if owned else self.group.borrowed.get(unit.name)
            self.modules[slot.position] = (
                borrowed.read() if borrowed else self_attribute(self.attribute(slot))
            )
        elif slot.repeated:
            self._repeated(slot, cells)
        else:
            expression = self._make(slot.node, slot, cells)
            if expression is not None:
                self.modules[slot.position] = self_attribute(names.attribute(slot.node))
        if not slot.repeated and self._lacking(cells):
            self.optional[slot.position] = cells

    def _lacking(self, cells: dict[Cell, Op]) -> bool:
        return len({body for body, _ in cells}) < len(self.group.bodies)

    def _function(self, cells: dict[Cell, Op]) -> ast.expr | None:
        """The function of a block without weights, if all of these have the same."""
        groups = [self.classes.of[op.graph] for op in cells.values() if op.graph is not None]
        if len(groups) < len(cells) or len(set(groups)) != 1 or not groups[0].is_function:
            return None
        return name(groups[0].name)

    def _make(self, node: str, slot: Slot | None, cells: dict[Cell, Op]) -> ast.expr | None:
        """The statement that creates a submodule, which is None in instances that lack it."""
        attribute, op = names.attribute(node), next(iter(cells.values()))
        expression = self.submodules.write(Submodule(cells, node, slot))
        if expression is None:
            return None
        condition = None
        if lacking := self._lacking(cells):
            assert slot is not None, "what is lent is never optional"
            condition = self.presences.condition(slot, cells)
        self.steps.append(InitStatement(expression, attribute, op.span, lacking, condition=condition))
        self._after(attribute, op)
        if slot is not None:
            self._fill(attribute, cells, slot)
        return expression

    def _fill(self, attribute: str, cells: dict[Cell, Op], slot: Slot) -> None:
        """The statement that fills a parameter; those of layers whose initializers differ in numbers, which
        the module keeps for `init_weights`.
        """
        op = next(iter(cells.values()))
        if op.parameter is not None and op.parameter.initializer:
            before = self.steps[-1]
            text, numbers = self._common_fill(attribute, op.parameter.name, cells, slot)
            if not text:
                self.group.unfilled.add(slot.position)
            else:
                filled = fill(text, {"w": self_attribute(attribute), **numbers})
                optional = attribute if before.optional else ""
                self.steps.append(InitStatement(filled, "", op.span, False, optional, before.condition))
        elif op.layer is not None and self.classes.options.initialize:
            for weight in op.weights():
                text, numbers = self._common_fill(attribute, weight.name, cells, slot)
                if not numbers:
                    continue
                kept = {
                    word: self.keep(
                        code.id if isinstance(code, ast.Name) else f"{attribute}_initial", code, slot
                    )
                    for word, code in numbers.items()
                }
                for word, each in kept.items():
                    text = text.replace(f"{{{word}}}", flat(each).replace("self.", "module.", 1))
                self.group.fills[attribute, weight.name] = text

    def _common_fill(
        self, attribute: str, word: str, cells: dict[Cell, Op], slot: Slot
    ) -> tuple[str, dict[str, ast.expr]]:
        """The statement that fills a weight in all instances, and the code of the numbers in which they
        differ; "" if there is none.
        """
        texts = [each.initializer for op in cells.values() for each in op.weights() if each.name == word]
        rows = [text.parts if isinstance(text, TracedText) else (text,) for text in texts]
        if len(rows) < len(cells) or len({len(row) for row in rows}) > 1:
            return "", {}
        text, codes = "", dict[str, ast.expr]()
        for parts in zip(*rows, strict=True):
            if isinstance(parts[0], str):
                if any(part != parts[0] for part in parts):
                    return "", {}
                text += parts[0]
                continue
            wish = Wish("initial", f"{attribute}_initial")
            code = self.values.write(dict(zip(cells, parts, strict=True)), cells, wish)
            if code is None:
                return "", {}
            if next(names_of(code), None) is None:
                text += flat(code)
            else:
                number = f"number{len(codes)}"
                codes[number] = code
                text += f"{{{number}}}"
        return text, codes

    def _after(self, attribute: str, op: Op) -> None:
        if op.unit is not None and not op.unit.trainable and op.parameter is None:
            before = self.steps[-1]
            optional = attribute if before.optional else ""
            frozen = "freeze({module})" if _keeps_statistics(op) else "{module}.requires_grad_(False)"
            freezing = fill(frozen, {"module": self_attribute(attribute)})
            step = InitStatement(freezing, span=op.span, unless_none=optional, condition=before.condition)
            self.steps.append(step)

    def _repeated(self, slot: Slot, cells: dict[Cell, Op]) -> None:
        """The statement that creates the modules of a repeated node."""
        modules = self.lists.write(slot, cells)
        if modules is None:
            return
        attribute = names.attribute(slot.node)
        self.modules[slot.position] = self_attribute(attribute)
        if (self.group.definition, slot.node) in self.classes.options.filled:
            self.steps.append(_at_least_one(self.count(slot), slot.op))
        if len(lists := _read_by_index(modules)) > 1:
            self.steps.append(_equally_long(lists, slot.op))
        self.steps.append(InitStatement(modules, attribute, slot.op.span))
        self._after(attribute, next(iter(cells.values())))

    def count(self, slot: Slot) -> ast.expr:
        """The code for the number of instances."""
        of_bodies = [slots[slot.position] for slots in self.group.slots]
        counts: dict[Cell, Leaf] = {
            (body, 0): traced(each.count, formula_of(each.op.count)) for body, each in enumerate(of_bodies)
        }
        ops = {(body, 0): each.op for body, each in enumerate(of_bodies)}
        names_by_param = {arg.param: arg.name for arg in self.group.args.values()}
        said = all(formula_of(count) is not None for count in counts.values())
        for word, lists in self.group.lists() if not said else ():
            if word in names_by_param and [len(items) for items in lists] == [*counts.values()]:
                return call("len", name(names_by_param[word]))
        code = self.values.write(counts, ops, Wish("repeat", f"{slot.node}_count"))
        assert code is not None, "each body has one number of instances"
        if any(each.absent and each.count for each in of_bodies):
            cells = {cell: op for cell, op in ops.items() if op.present}
            code = choice(self.presences.condition(slot, cells), code, ast.Constant(0))
        return code

    def keep(self, word: str, code: ast.expr, slot: Slot) -> ast.expr:
        """An attribute that keeps a constructor's value for `forward`."""
        for known, value in self.kept.items():
            if equal(value, code):
                return self_attribute(known)
        slots = [each for each in self.group.template.slots if self._may_hold(each)]
        taken = {self.attribute(other) for other in slots} | {names.attribute(other.node) for other in slots}
        attribute, number = word, 1
        while attribute in taken or attribute in self.kept:
            number += 1
            attribute = f"{word}_{number}"
        self.kept[attribute] = code
        self.steps.append(InitStatement(code, attribute, slot.op.span))
        return self_attribute(attribute)

    def _may_hold(self, slot: Slot) -> bool:
        """Whether a node may have a submodule."""
        ops = self.group.cells(slot.position).values()
        return not ops or any(op.layer is None or self.classes.code(op).construct is not None for op in ops)

    def float_type(self) -> ast.expr:
        """The dtype of the module's weights, read from one of them; the default dtype if there are none."""
        for slot in self.group.template.slots:
            module, op = self.modules.get(slot.position), slot.op
            if not isinstance(module, ast.Attribute) or op.layer is None or slot.position in self.presence:
                continue
            trainable = [weight.name for weight in self.classes.weights(op) if weight.trainable]
            if trainable and not slot.repeated:  # the type of a list's item is not known
                return fill(f"{{module}}{attribute_path(trainable[0])}.dtype", {"module": module})
        weights = [weight for body in self.group.bodies for op in body.walk() for weight in op.weights()]
        if any(weight.trainable for weight in weights):
            return template("next(self.parameters()).dtype")
        if weights:
            return template("next(self.buffers()).dtype")
        return template("torch.get_default_dtype()")


def _at_least_one(count: ast.expr, op: Op) -> InitStatement:
    """The statement that asserts that a loop has an instance."""
    least: ast.expr = ast.Constant(0)
    if isinstance(count, ast.BinOp) and isinstance(count.op, ast.Sub):
        least, count = count.right, count.left
    must = f"{flat(count)} must be more than {flat(least)}"
    test = fill("{count} > {least}", {"count": count, "least": least})
    return InitStatement(test, span=op.span, must=must)


def _read_by_index(modules: ast.expr) -> list[str]:
    """The arguments whose items a comprehension reads at its index, which has the length of one of them."""
    counted = [each.iter for each in walk(modules) if isinstance(each, ast.comprehension)]
    if not any("len" in names_of(count) for count in counted):
        return []
    items = (each for each in walk(modules) if isinstance(each, ast.Subscript))
    at_index = (each.value for each in items if isinstance(each.slice, ast.Name) and each.slice.id == "index")
    return [*dict.fromkeys(each.id for each in at_index if isinstance(each, ast.Name))]


def _equally_long(lists: list[str], op: Op) -> InitStatement:
    """The statement that asserts that lists have one length."""
    test = template(" == ".join(f"len({word})" for word in lists))
    must = f"{', '.join(lists[:-1])} and {lists[-1]} must be equally long"
    return InitStatement(test, span=op.span, must=must)


def _keeps_statistics(op: Op) -> bool:
    """Whether a layer, or one inside a block or model, updates weights outside of the optimizer."""
    inner = op.graph.walk() if op.graph is not None else [op]
    return any(not weight.trainable for each in inner for weight in each.weights() if each.parameter is None)


def _takes_mask(op: Op) -> bool:
    """Whether a layer is called with a mask. A module that takes a mask also runs without one."""
    if op.layer is None or op.layer.variadic:
        return False
    pairs = zip(op.layer.arguments, op.arguments, strict=False)
    return any(argument.name == "mask" and value is not None for argument, value in pairs)

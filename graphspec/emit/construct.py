"""A class's constructor: its arguments, and the statements that create its submodules."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from graphspec.contract.fields import same
from graphspec.contract.layer import Leaf, Weight
from graphspec.emit.chains import is_chain
from graphspec.emit.classes import Classes
from graphspec.emit.code import (
    Variable,
    attribute_path,
    call,
    choice,
    equal,
    fill,
    item,
    listed,
    literal,
    name,
    self_attribute,
    template,
    walk,
)
from graphspec.emit.code import names as names_of
from graphspec.emit.fills import common_fill
from graphspec.emit.init_statement import InitStatement
from graphspec.emit.module_class import (
    MISSING,
    Arg,
    Cell,
    ClassName,
    ModuleClass,
    NeedsModule,
    Varies,
)
from graphspec.emit.presence import Presence, Presences
from graphspec.emit.printer import flat, lines
from graphspec.emit.series import Series, over, series_of
from graphspec.emit.slots import Slot, kind_of
from graphspec.emit.values import ValueWriter, Wish
from graphspec.graph import Graph, Op, Unit, Value
from graphspec.weights import names

FEW = 4
"""So many instances that differ by their index are listed; more are a comprehension over it."""


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
    values: ValueWriter = field(init=False)
    presences: Presences = field(init=False)

    def __post_init__(self) -> None:
        group, classes = self.group, self.classes
        self.values = ValueWriter(group, classes.writer_of, self.passed_to, self.condition_at)
        self.presences = Presences(group, self.values, self.steps, self.modules, classes.passes_on, self.keep)

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
        for unit in self.classes.lent(self.group.graph):
            self._lend(unit)
        for slot in self.group.template.slots:
            self._slot(slot)
        self.presence = self.presences.tests(self.optional)

    def _borrow(self) -> None:
        """Names the modules of other classes that are passed to `forward`."""
        taken = {self.group.input(word) for word in self.group.graph.inputs}
        for unit in self.classes.borrowed(self.group.graph):
            word = self.group.local(unit.name)
            while word in taken:
                word += "_"
            taken.add(word)
            self.group.borrowed[unit.name] = Variable(word, [], word, is_argument=True)
            self.group.types[word] = self.classes.type_of(unit)

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
        for unit in self.classes.borrowed(graph):
            owned = self.classes.owns(self.group.graph, unit)
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
        expression = self.expression(cells, node, slot)
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
        elif op.layer is not None and self.classes.initialize:
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
        common = common_fill(texts) if len(texts) == len(cells) else None
        if common is None:
            return "", {}
        codes: dict[str, ast.expr] = {}
        for number, values in common.numbers.items():
            wish = Wish("initial", f"{attribute}_initial", before=slot.position)
            code = self.values.write(dict(zip(cells, values, strict=True)), cells, wish)
            if code is None:
                return "", {}
            codes[number] = code
        return common.text, codes

    def _after(self, attribute: str, op: Op) -> None:
        if op.unit is not None and not op.unit.trainable and op.parameter is None:
            before = self.steps[-1]
            optional = attribute if before.optional else ""
            frozen = "freeze({module})" if _keeps_statistics(op) else "{module}.requires_grad_(False)"
            freezing = fill(frozen, {"module": self_attribute(attribute)})
            step = InitStatement(freezing, span=op.span, unless_none=optional, condition=before.condition)
            self.steps.append(step)

    def _repeated(self, slot: Slot, cells: dict[Cell, Op]) -> None:
        """A list of modules: a comprehension if one expression covers all instances, otherwise one by one."""
        attribute = names.attribute(slot.node)
        kind = "nn.Sequential" if is_chain(self.classes, self.group, slot) else "nn.ModuleList"
        before = dict(self.group.args)
        expression: ast.expr | None
        try:
            expression = self.expression(cells, slot.node, slot, looped=slot.loop)
        except Varies:
            self.group.args = before
            expression = self._listed(slot, kind)
        else:
            if expression is None:
                return
            by_index = "index" in names_of(expression)
            lists = (part.value for part in walk(expression) if isinstance(part, ast.Subscript))
            by_list = any(isinstance(each, ast.Name) for each in lists)
            few = self._most(slot) == 1 or (by_index and not by_list and len(slot.ops) <= FEW)
            if not slot.loop or (few and self._counts_agree(slot)):
                self.group.args = before
                expression = self._listed(slot, kind)
            else:
                expression = self._comprehension(expression, slot, kind, "index" if by_index else "_")
        self.modules[slot.position] = self_attribute(attribute)
        self.steps.append(InitStatement(expression, attribute, slot.op.span))
        self._after(attribute, next(iter(cells.values())))

    def _comprehension(self, element: ast.expr, slot: Slot, kind: str, index: str) -> ast.expr:
        source = call("range", self.count(slot))
        return _of_all(kind, over(element, index, source))

    def _most(self, slot: Slot) -> int:
        return max(len(slots[slot.position].ops) for slots in self.group.slots)

    def _counts_agree(self, slot: Slot) -> bool:
        counts = {
            0 if slots[slot.position].absent else slots[slot.position].count for slots in self.group.slots
        }
        return len(counts) == 1

    def _listed(self, slot: Slot, kind: str) -> ast.expr:
        if not self._counts_agree(slot):
            raise Varies(slot.node)
        items: list[ast.expr] = []
        for number, op in enumerate(slot.ops):
            cells = {
                (body, 0): slots[slot.position].ops[number]
                for body, slots in enumerate(self.group.slots)
                if slots[slot.position].ops[number].present
            }
            submodule = self.expression(cells, f"{slot.node}_{number}", slot, number) if cells else None
            if submodule is None and cells and op.graph is not None:
                raise NeedsModule(op.graph.definition)
            items.append(submodule or call("nn.Identity"))
        every = call(kind, *items) if kind == "nn.Sequential" else call(kind, listed(items))
        if all(equal(each, items[0]) for each in items):
            again = over(items[0], "_", call("range", ast.Constant(len(items))))
            return min(every, _of_all(kind, again), key=lambda way: len(flat(way)))
        ways = [every, *(_of_all(kind, each) for each in self._over_one(items))]
        return min(ways, key=lambda way: len(lines(f"self.{names.attribute(slot.node)} = ", way, 8)))

    def _over_one(self, items: list[ast.expr]) -> Iterator[ast.GeneratorExp]:
        """Comprehensions over the only argument in which the modules of a list differ, if there is one."""
        series = series_of(items)
        if series is None:
            return
        types = {self._type(value) for value in series.values}
        if len(types) > 1 or "" in types:
            return
        taken = {*self.group.args, *(word for each in items for word in names_of(each))}
        words = [self._parameter_name(series), *(["n"] if types == {"int"} else [])]
        yield from (series.over(word) for word in words if word and word not in taken)

    def _parameter_name(self, series: Series) -> str:
        """The name of the argument that differs; "" for a positional argument of a PyTorch module."""
        if isinstance(series.key, str):
            return series.key
        function = series.call.func
        for child in self.classes.groups:
            if isinstance(function, ast.Name) and child.name == function.id:
                return ordered(child.args.values())[series.key].name
        return ""

    def _type(self, value: ast.expr) -> str:
        """The type of a value of `__init__`, if it is plain."""
        match value:
            case ast.Constant():
                return type(value.value).__name__
            case ast.Name(id=word) if word in self.group.args:
                return self.group.args[word].annotation
            case ast.BinOp(left=left, op=ast.Add() | ast.Sub() | ast.Mult() | ast.FloorDiv(), right=right):
                types = {self._type(left), self._type(right)}
                return types.pop() if len(types) == 1 else ""
        return ""

    def count(self, slot: Slot) -> ast.expr:
        """The code for the number of instances."""
        of_bodies = [slots[slot.position] for slots in self.group.slots]
        counts: dict[Cell, Leaf] = {(body, 0): each.count for body, each in enumerate(of_bodies)}
        ops = {(body, 0): each.op for body, each in enumerate(of_bodies)}
        names_by_param = {arg.param: arg.name for arg in self.group.args.values()}
        for word, lists in self.values.lists():
            if word in names_by_param and [len(items) for items in lists] == [*counts.values()]:
                return call("len", name(names_by_param[word]))
        code = self.values.write(counts, ops, Wish("repeat", f"{slot.node}_count", before=slot.position))
        assert code is not None, "each body has one number of instances"
        if any(each.absent and each.count for each in of_bodies):
            cells = {cell: op for cell, op in ops.items() if op.present}
            code = choice(self.presences.condition(slot, cells), code, ast.Constant(0))
        return code

    def condition_at(self, op: Op) -> ast.expr:
        """The code that says whether an op of the template is there."""
        slot = self.group.template.slot_of(op)
        return self.presences.condition(slot, self.group.cells(slot.position))

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
            if trainable:
                held = item(module, 0) if slot.repeated else module
                return fill(f"{{module}}{attribute_path(trainable[0])}.dtype", {"module": held})
        weights = [weight for body in self.group.bodies for op in body.walk() for weight in op.weights()]
        if any(weight.trainable for weight in weights):
            return template("next(self.parameters()).dtype")
        if weights:
            return template("next(self.buffers()).dtype")
        return template("torch.get_default_dtype()")

    # --- expressions

    def expression(
        self,
        cells: dict[Cell, Op],
        hint: str,
        slot: Slot | None,
        number: int = 0,
        looped: bool = False,
    ) -> ast.expr | None:
        """The code that creates the submodule of these ops of a slot, of all its instances in a loop, else of
        one; None if they need none. Raises `Varies`.
        """
        op = next(iter(cells.values()))
        if op.graph is not None:
            return self._instance(cells, hint, slot, number, looped)
        if op.parameter is not None:
            return self._parameter(cells, op.parameter, hint, slot)
        codes = {cell: self.classes.code(op) for cell, op in cells.items()}
        constructs = {cell: code.construct for cell, code in codes.items() if code.construct is not None}
        if not constructs:
            return None
        if len(constructs) < len(codes):
            raise Varies(hint)
        targets = {construct.target for construct in constructs.values()}
        first = next(iter(constructs.values()))
        target = first.target if len(targets) == 1 else first.general or first.target
        if len(targets) > 1 and any((each.general or target) != target for each in constructs.values()):
            raise Varies(hint)
        expr = call(target)
        sources = self._sources(slot, number)
        for word in first.positional:
            values = {cell: construct.positional[word] for cell, construct in constructs.items()}
            expr.args.append(self._leaf(values, cells, self._wish(hint, word, sources, slot, looped)))
        by_place = min(construct.by_place for construct in constructs.values())
        for place, (word, (_, default)) in enumerate(first.keyword.items()):
            values = {cell: construct.keyword[word][0] for cell, construct in constructs.items()}
            shared = self.classes.options.get(target, {}).get(word, default)
            if all(same(value, shared) for value in values.values()):
                continue
            code = self._leaf(values, cells, self._wish(hint, word, sources, slot, looped))
            if (
                place < by_place
                and next(names_of(code), None) is not None
                and len(expr.args) == len(first.positional) + place
            ):
                expr.args.append(code)  # the names in it explain it
            else:
                expr.keywords.append(ast.keyword(word, code))
        if any(construct.around != first.around for construct in constructs.values()):
            raise Varies(hint)
        return fill(first.around, {"module": expr})

    def _sources(self, slot: Slot | None, number: int) -> tuple[Value, ...]:
        """What an instance of a slot reads, as values of the template."""
        return slot.ops[number].inputs if slot is not None else ()

    def _wish(
        self, hint: str, word: str, sources: tuple[Value, ...], slot: Slot | None, looped: bool
    ) -> Wish:
        inner = word in ("in_channels", "in_features") and word not in self.group.args
        chained = slot.op.output if looped and slot is not None and 0 in slot.carried else None
        before = slot.position if slot is not None else 0
        hint = word if inner else f"{hint}_{word}"
        return Wish(word, hint, sources, before, looped=looped, chained=chained)

    def _leaf(self, values: dict[Cell, Leaf], ops: dict[Cell, Op], wish: Wish) -> ast.expr:
        """The code of an argument of a submodule."""
        code = self.values.write(values, ops, wish)
        if code is None:
            raise Varies(wish.hint)
        return code

    def passed_to(self, op: Op, word: str) -> ast.expr | None:
        """The code of an argument of the class of an op of the template; None if it differs in a loop."""
        slot = self.group.template.slot_of(op)
        number = slot.ops.index(op)
        cells = {
            (body, 0): slots[slot.position].ops[number]
            for body, slots in enumerate(self.group.slots)
            if len(slots[slot.position].ops) > number and slots[slot.position].ops[number].present
        }
        before = dict(self.group.args)
        try:
            return self._inner_argument(cells, word, slot.node, slot, number, False)
        except Varies:
            self.group.args = before
            return None

    def _inner_argument(
        self, cells: dict[Cell, Op], word: str, hint: str, slot: Slot | None, number: int, looped: bool
    ) -> ast.expr:
        """The code of an argument of an inner class, in these instances of a slot."""
        graphs = {cell: op.graph for cell, op in cells.items() if op.graph is not None}
        child = self.classes.of[next(iter(graphs.values()))]
        before = slot.position if slot is not None else 0
        arg = child.args[word]
        values = self._argument_values(graphs, word)
        if arg.channels is not None and slot is not None:
            op = slot.ops[number]
            place = list(child.graph.inputs).index(arg.channels)
            argument = op.arguments[place] if place < len(op.arguments) else None
            sources = (argument,) if isinstance(argument, Value) and op.wrapper is None else ()
            chained = slot.op.outputs.get(slot.carried.get(place, "?")) if looped else None
            hint = word if word not in self.group.args else f"{hint}_{word}"
            wish = Wish(word, hint, sources, before, strict=True, looped=looped, chained=chained)
        else:
            free = arg.param is None and word not in self.group.args
            hint = word if free else f"{hint}_{word}"
            wish = Wish(arg.param or word, hint, (), before, strict=True, looped=looped)
        return self._leaf(values, cells, wish)

    def _instance(
        self, cells: dict[Cell, Op], hint: str, slot: Slot | None, number: int, looped: bool
    ) -> ast.expr | None:
        graphs = {cell: op.graph for cell, op in cells.items() if op.graph is not None}
        child = self.classes.of[next(iter(graphs.values()))]
        if any(self.classes.of[graph] is not child for graph in graphs.values()):
            expr = call(self._kind(cells, graphs, hint))
        elif child.is_function:
            return None
        else:
            expr = call(name(child.name))
        required = [arg for arg in child.args.values() if arg.default is MISSING]
        for place, arg in enumerate(ordered(child.args.values())):
            values = self._argument_values(graphs, arg.name)
            if arg.default is not MISSING and all(same(value, arg.default) for value in values.values()):
                continue
            code = self._inner_argument(cells, arg.name, hint, slot, number, looped)
            placed = arg.default is MISSING and (len(required) <= 2 or arg.is_channels)
            placed = placed and arg.annotation != "bool" and not expr.keywords  # `Block(False)` says nothing
            third = place == 2 == len(expr.args) and arg.name == "kernel_size"  # as people write nn.Conv2d
            if placed or third:
                expr.args.append(code)
            else:
                expr.keywords.append(ast.keyword(arg.name, code))
        return expr

    def _argument_values(self, graphs: dict[Cell, Graph], word: str) -> dict[Cell, Leaf]:
        """The values of an argument of inner classes, in these instances."""
        values: dict[Cell, Leaf] = {}
        for cell, graph in graphs.items():
            group = self.classes.of[graph]
            values[cell] = group.args[word].values[group.numbers[graph]]
        return values

    def _kind(self, cells: dict[Cell, Op], graphs: dict[Cell, Graph], hint: str) -> ast.expr:
        """The argument that is the class of an inner instance. Raises `Varies`, `NeedsModule`."""
        word = kind_of(next(iter(cells.values())))
        groups: dict[int, ModuleClass] = {}
        for (body, _), graph in graphs.items():
            group = groups.setdefault(body, self.classes.of[graph])
            if word is None or group is not self.classes.of[graph]:
                raise Varies(hint)
            if group.is_function:
                raise NeedsModule(group.definition)
        first = next(iter(groups.values()))
        kinds: list[Leaf] = [
            ClassName(groups.get(body, first).name) for body in range(len(self.group.bodies))
        ]
        assert word is not None, "there is an instance"
        return name(self.group.argument(word, kinds).name)

    def _parameter(self, cells: dict[Cell, Op], weight: Weight, hint: str, slot: Slot | None) -> ast.expr:
        shapes = {cell: op.parameter.shape for cell, op in cells.items() if op.parameter is not None}
        wish = Wish("parameter", f"{hint}_size", before=slot.position if slot is not None else 0)
        sizes = [
            self._leaf({cell: shape[axis] for cell, shape in shapes.items()}, cells, wish)
            for axis in range(len(weight.shape))
        ]
        parameter = call("nn.Parameter", call("torch.empty", *sizes))
        if not weight.trainable:
            parameter.keywords.append(ast.keyword("requires_grad", ast.Constant(False)))
        return parameter


def _of_all(kind: str, every: ast.GeneratorExp) -> ast.Call:
    """A list or sequence of the modules that a comprehension creates."""
    return call(kind, ast.Starred(every) if kind == "nn.Sequential" else every)


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


def ordered(args: Iterable[Arg]) -> list[Arg]:
    """Arguments in the order of a signature: channels first, then those without a default."""

    def rank(arg: Arg) -> tuple[bool, bool]:
        return arg.default is not MISSING, not arg.is_channels

    return sorted(args, key=rank)


def parameters(group: ModuleClass) -> list[str]:
    """The parameters of `__init__`, after `self`."""
    texts = ["self"]
    for arg in ordered(group.args.values()):
        default = "" if arg.default is MISSING else f" = {flat(literal(arg.default))}"
        texts.append(f"{arg.name}: {arg.annotation}{default}")
    return texts

"""A class's constructor: its arguments, and the statements that create its submodules."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from graphspec import names
from graphspec.contract.layer import Leaf, Weight
from graphspec.diagnostics import Span
from graphspec.emit.chains import is_chain
from graphspec.emit.classes import Classes
from graphspec.emit.code import Variable, call, choice, fill, item, listed, literal, name, own, template
from graphspec.emit.code import names as names_of
from graphspec.emit.group import MISSING, Arg, Cell, ModuleClass, same
from graphspec.emit.printer import flat, lines
from graphspec.emit.series import Series, over, series_of
from graphspec.emit.slots import Slot
from graphspec.graph import Graph, Op

FEW = 4
"""So many instances that differ by their index are listed; more are a comprehension over it."""


class Varies(Exception):
    """A value differs between instances in a way that one expression cannot express."""


@dataclass(eq=False, slots=True)
class Construction:
    """One statement of `__init__`: `self.attribute = value`, or a call if there is no attribute.

    `optional` says that the value may be None. Without the attribute `unless_none`, the statement is left
    out.
    """

    value: ast.expr
    attribute: str = ""
    span: Span | None = None
    optional: bool = False
    unless_none: str = ""


@dataclass(frozen=True, slots=True)
class Presence:
    """The test in `forward` whether a node is present: a submodule or an input is not None, or a flag."""

    attribute: ast.expr
    is_none: bool

    def choose(self, there: ast.expr, passed: ast.expr) -> ast.expr:
        """The output of a node if it is present, otherwise the value that it passes on."""
        if self.is_none:
            return choice(fill("{module} is None", {"module": self.attribute}), passed, there)
        return choice(self.attribute, there, passed)


@dataclass(eq=False, slots=True)
class Constructor:
    """The statements of `__init__`, and the way `forward` refers to what they create."""

    classes: Classes
    group: ModuleClass
    steps: list[Construction] = field(default_factory=list)
    modules: dict[int, ast.expr] = field(default_factory=dict)  # slot -> the callee
    presence: dict[int, Presence] = field(default_factory=dict)  # slot -> the test for its presence
    kept: dict[str, ast.expr] = field(default_factory=dict)  # attribute -> its value

    def write(self) -> None:
        """Writes all statements, one submodule after another, shared ones first."""
        self._borrow()
        calls: dict[str, list[Slot]] = {}
        for slot in self.group.slots[0]:
            unit = slot.op.unit
            if unit is not None and unit.shared and unit in self.group.graph.units:
                calls.setdefault(unit.name, []).append(slot)
        for word, slots in calls.items():
            slot = max(slots, key=lambda slot: (_takes_mask(slot.op), len(slot.op.outputs)))
            self._submodule(word, slot, {(b, 0): s[slot.position].op for b, s in enumerate(self.group.slots)})
        for units in zip(*map(self.classes.lent, self.group.bodies), strict=True):
            self._lend({(body, 0): unit.first for body, unit in enumerate(units)}, units[0].name)
        for slot in self.group.slots[0]:
            self._slot(slot)

    def _borrow(self) -> None:
        """Names the modules of other classes that are passed to `forward`."""
        taken = {self.group.local(word) for word in self.group.graph.inputs}
        for unit in self.classes.borrowed(self.group.graph):
            word = self.group.local(unit.name)
            while word in taken:
                word += "_"
            taken.add(word)
            self.group.borrowed[unit.name] = Variable(word, [], word, given=True)

    def _lend(self, cells: dict[Cell, Op], word: str) -> None:
        """Creates a submodule that only inner classes call."""
        op, expression = next(iter(cells.values())), self.expression(cells, word)
        assert expression is not None, "what is lent has a module"
        self.steps.append(Construction(expression, names.attribute(word), op.span))
        self._after(names.attribute(word), op)

    def lending(self, graph: Graph) -> list[ast.keyword]:
        """The modules that a call of an inner graph's `forward` passes to it."""
        found = []
        for unit in self.classes.borrowed(graph):
            own_unit = any(unit in body.units for body in self.group.bodies)
            module = own(names.attribute(unit.name)) if own_unit else self.group.borrowed[unit.name].read()
            found.append(ast.keyword(self.classes.of[graph].borrowed[unit.name].name, module))
        return found

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to construct, so that a function is enough."""
        return not self.steps and not self.group.args

    def attribute(self, slot: Slot) -> str:
        unit = slot.op.unit
        return names.attribute(unit.name if unit is not None and unit.shared else slot.node)

    def _slot(self, slot: Slot) -> None:
        cells = self.group.cells(slot.position)
        if not cells:
            return
        function = self._function(cells)
        if function is not None:
            self.modules[slot.position] = function
        elif slot.op.unit is not None and slot.op.unit.shared:
            own_unit = slot.op.unit in self.group.graph.units
            borrowed = None if own_unit else self.group.borrowed.get(slot.op.unit.name)
            self.modules[slot.position] = borrowed.read() if borrowed else own(self.attribute(slot))
        elif slot.repeated:
            self._repeated(slot, cells)
        else:
            self._submodule(slot.node, slot, cells)
        if not slot.repeated and len(cells) < len(self.group.bodies):
            self._presence(slot, cells)

    def _function(self, cells: dict[Cell, Op]) -> ast.expr | None:
        """The function of a block without weights, if all of these have the same."""
        graphs = [op.graph for op in cells.values()]
        found = {self.classes.of[graph] for graph in graphs if graph is not None}
        if None in graphs or len(found) != 1 or not (group := found.pop()).is_function:
            return None
        return name(group.name)

    def _submodule(self, node: str, slot: Slot, cells: dict[Cell, Op]) -> None:
        attribute = names.attribute(node)
        op = next(iter(cells.values()))
        try:
            expression = None if self._function(cells) is not None else self.expression(cells, node)
        except Varies:
            raise AssertionError(f"{node} differs within one instance") from None
        if expression is None:
            return
        self.modules[slot.position] = own(attribute)
        optional = not slot.repeated and len(cells) < len(self.group.bodies)
        if optional:
            expression = choice(self._condition(slot, cells), expression, ast.Constant(None))
        self.steps.append(Construction(expression, attribute, op.span, optional))
        self._after(attribute, op)

    def _after(self, attribute: str, op: Op) -> None:
        if op.parameter is not None and op.parameter.initializer:
            filled = fill(op.parameter.initializer, {"w": own(attribute)})
            self.steps.append(Construction(filled, span=op.span))
        if op.unit is not None and not op.unit.trainable and op.parameter is None:
            optional = attribute if self.steps[-1].optional else ""
            frozen = "freeze({module})" if _keeps_statistics(op) else "{module}.requires_grad_(False)"
            made = fill(frozen, {"module": own(attribute)})
            self.steps.append(Construction(made, span=op.span, unless_none=optional))

    def _repeated(self, slot: Slot, cells: dict[Cell, Op]) -> None:
        """A list of modules: a comprehension if one expression covers all instances, otherwise one by one."""
        attribute = names.attribute(slot.node)
        kind = "nn.Sequential" if is_chain(self.classes, self.group, slot) else "nn.ModuleList"
        before = dict(self.group.args)
        try:
            expression = self.expression(cells, slot.node, slot.loop)
        except Varies:
            self.group.args = before
            expression = self._listed(slot, kind)
        else:
            if expression is None:
                return
            by_index = "index" in names_of(expression)
            few = len(slot.ops) == 1 or (by_index and len(slot.ops) <= FEW)
            if not slot.loop or (few and self._counts_agree(slot)):
                self.group.args = before
                expression = self._listed(slot, kind)
            else:
                expression = self._comprehension(expression, slot, kind, "index" if by_index else "_")
        self.modules[slot.position] = own(attribute)
        self.steps.append(Construction(expression, attribute, slot.op.span))
        self._after(attribute, next(iter(cells.values())))

    def _comprehension(self, element: ast.expr, slot: Slot, kind: str, index: str) -> ast.expr:
        source = call("range", self.count(slot))
        return _of_all(kind, over(element, index, source))

    def _counts_agree(self, slot: Slot) -> bool:
        return len({len(slots[slot.position].ops) for slots in self.group.slots}) == 1

    def _listed(self, slot: Slot, kind: str) -> ast.expr:
        items: list[ast.expr] = []
        for number in range(len(slot.ops)):
            cells = {
                (body, 0): slots[slot.position].ops[number]
                for body, slots in enumerate(self.group.slots)
                if slots[slot.position].ops[number].present
            }
            made = self.expression(cells, f"{slot.node}_{number}") if cells else None
            items.append(made or call("nn.Identity"))
        every = call(kind, *items) if kind == "nn.Sequential" else call(kind, listed(items))
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
        for child in self.classes.groups if isinstance(function, ast.Name) else ():
            if child.name == function.id:  # type: ignore[attr-defined]
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
        counts: dict[Cell, Leaf] = {
            (b, 0): len(slots[slot.position].ops) for b, slots in enumerate(self.group.slots)
        }
        ops = {(b, 0): slots[slot.position].op for b, slots in enumerate(self.group.slots)}
        found = self.group.write(counts, ops, f"{slot.node}_count")
        assert found is not None, "each body has one number of instances"
        return found

    def _condition(self, slot: Slot, cells: dict[Cell, Op]) -> ast.expr:
        """The code that is true if the node is present."""
        op = slot.op
        if op.when is not None and (code := self.group.expression(op.when)) is not None:
            return code
        present: dict[Cell, Leaf] = {(body, 0): (body, 0) in cells for body in range(len(self.group.bodies))}
        ops = {(b, 0): slots[slot.position].op for b, slots in enumerate(self.group.slots)}
        found = self.group.write(present, ops, f"has_{slot.node}")
        assert found is not None, "a node is there, or is not, in each body"
        return found

    def _presence(self, slot: Slot, cells: dict[Cell, Op]) -> None:
        module = self.modules.get(slot.position)
        if isinstance(module, ast.Attribute) and not (slot.op.unit is not None and slot.op.unit.shared):
            self.presence[slot.position] = Presence(module, is_none=True)
            return
        if all(op.layer is not None and self.classes.hands_on(op) for op in cells.values()):
            return  # present or not, it has no effect
        given = {body for body, _ in cells}
        for word in self.group.graph.inputs:
            if given == {
                number for number, body in enumerate(self.group.bodies) if body.inputs[word] is not None
            }:
                self.presence[slot.position] = Presence(name(self.group.local(word)), is_none=True)
                return
        code = self._condition(slot, cells)
        word = names.attribute(code.id if isinstance(code, ast.Name) else f"has_{slot.node}")
        self.presence[slot.position] = Presence(self.keep(word, code, slot), is_none=False)

    def keep(self, word: str, code: ast.expr, slot: Slot) -> ast.expr:
        """An attribute that keeps a constructor's value for `forward`."""
        slots = self.group.slots[0]
        taken = {self.attribute(other) for other in slots} | {names.attribute(other.node) for other in slots}
        attribute, number = word, 1
        while attribute in taken or flat(self.kept.get(attribute, code)) != flat(code):
            number += 1
            attribute = f"{word}_{number}"
        if attribute not in self.kept:
            self.kept[attribute] = code
            self.steps.append(Construction(code, attribute, slot.op.span))
        return own(attribute)

    def float_type(self) -> ast.expr:
        """The dtype of the module's weights, read from one of them; the default dtype if there are none."""
        for slot in self.group.slots[0]:
            module, op = self.modules.get(slot.position), slot.op
            if not isinstance(module, ast.Attribute) or op.layer is None or slot.position in self.presence:
                continue
            found = [weight.name for weight in op.weights() if weight.trainable]
            if found:
                held = item(module, 0) if slot.repeated else module
                path = re.sub(r"\.(\d+)(?=\.)", r"[\1]", f".{found[0]}")  # of a list of modules
                return fill(f"{{module}}{path}.dtype", {"module": held})
        weights = [weight for op in self.group.graph.walk() for weight in op.weights()]
        if any(weight.trainable for weight in weights):
            return template("next(self.parameters()).dtype")
        if weights:
            return template("next(self.buffers()).dtype")
        return template("torch.get_default_dtype()")

    def keep_argument(self, argument: ast.Name, slot: Slot) -> ast.expr:
        """An attribute that keeps an argument for `forward`."""
        return self.keep(names.attribute(argument.id), argument, slot)

    # --- expressions

    def expression(self, cells: dict[Cell, Op], hint: str, looped: bool = False) -> ast.expr | None:
        """The code that creates the submodule of these ops; None if they need none. Raises `Varies`."""
        op = next(iter(cells.values()))
        if op.graph is not None:
            return self._instance(cells, hint, looped)
        if op.parameter is not None:
            return self._parameter(cells, op.parameter, hint)
        codes = {cell: self.classes.code(op) for cell, op in cells.items()}
        constructs = {cell: code.construct for cell, code in codes.items() if code.construct is not None}
        if not constructs:
            return None
        targets = {construct.target for construct in constructs.values()}
        first = next(iter(constructs.values()))
        target = first.target if len(targets) == 1 else first.general or first.target
        made = call(target)
        for word in first.positional:
            values = {cell: construct.positional[word] for cell, construct in constructs.items()}
            made.args.append(self._leaf(values, cells, hint, word, looped))
        by_place = min(construct.by_place for construct in constructs.values())
        for place, (word, (_, default)) in enumerate(first.keyword.items()):
            values = {cell: construct.keyword[word][0] for cell, construct in constructs.items()}
            if all(same(value, default) for value in values.values()):
                continue
            code = self._leaf(values, cells, hint, word, looped)
            if (
                place < by_place
                and next(names_of(code), None) is not None
                and len(made.args) == len(first.positional) + place
            ):
                made.args.append(code)  # the names in it explain it
            else:
                made.keywords.append(ast.keyword(word, code))
        if any(construct.around != first.around for construct in constructs.values()):
            raise Varies
        return fill(first.around, {"module": made})

    def _leaf(
        self, values: dict[Cell, Leaf], ops: dict[Cell, Op], hint: str, word: str, looped: bool
    ) -> ast.expr:
        """The code of an argument of a submodule."""
        inner = word in ("in_channels", "in_features") and word not in self.group.args
        code = self.group.write(values, ops, word if inner else f"{hint}_{word}", looped)
        if code is None:
            raise Varies(hint)
        return code

    def _instance(self, cells: dict[Cell, Op], hint: str, looped: bool) -> ast.expr | None:
        graphs = {cell: op.graph for cell, op in cells.items() if op.graph is not None}
        child = self.classes.of[next(iter(graphs.values()))]
        if any(self.classes.of[graph] is not child for graph in graphs.values()):
            raise Varies(hint)
        if child.is_function:
            return None
        made = call(name(child.name))
        required = [arg for arg in child.args.values() if arg.default is MISSING]
        for place, arg in enumerate(ordered(child.args.values())):
            values = {cell: arg.values[child.numbers[graph]] for cell, graph in graphs.items()}
            if arg.default is not MISSING and all(same(value, arg.default) for value in values.values()):
                continue
            code = self._leaf(values, cells, hint, arg.name, looped)
            plain = arg.default is MISSING and (len(required) <= 2 or arg.is_channels)
            third = place == 2 == len(made.args) and arg.name == "kernel_size"  # as people write nn.Conv2d
            if plain or third:
                made.args.append(code)
            else:
                made.keywords.append(ast.keyword(arg.name, code))
        return made

    def _parameter(self, cells: dict[Cell, Op], weight: Weight, hint: str) -> ast.expr:
        shapes = {cell: op.parameter.shape for cell, op in cells.items() if op.parameter is not None}
        sizes = [
            self._leaf({cell: shape[axis] for cell, shape in shapes.items()}, cells, hint, "size", False)
            for axis in range(len(weight.shape))
        ]
        made = call("nn.Parameter", call("torch.empty", *sizes))
        if not weight.trainable:
            made.keywords.append(ast.keyword("requires_grad", ast.Constant(False)))
        return made


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
    return any(argument.name == "mask" and given is not None for argument, given in pairs)


def ordered(args: Iterable[Arg]) -> list[Arg]:
    """Arguments in the order of a signature: channels first, then those without a default."""

    def rank(arg: Arg) -> tuple[bool, bool]:
        return arg.default is not MISSING, not arg.is_channels

    return sorted(args, key=rank)


def parameters(group: ModuleClass) -> list[str]:
    """The parameters of `__init__`, after `self`."""
    found = ["self"]
    for arg in ordered(group.args.values()):
        default = "" if arg.default is MISSING else f" = {flat(literal(arg.default))}"
        found.append(f"{arg.name}: {arg.annotation}{default}")
    return found

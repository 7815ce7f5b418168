"""A class's constructor: its arguments, and the statement that makes each submodule."""

from __future__ import annotations

from dataclasses import dataclass, field

from graphspec import names
from graphspec.contract.layer import Leaf, Weight
from graphspec.diagnostics import Span
from graphspec.emit.classes import Classes
from graphspec.emit.format import literal
from graphspec.emit.group import MISSING, Arg, Cell, ModuleClass, same
from graphspec.emit.slots import Slot
from graphspec.graph import Op


class Varies(Exception):
    """A value differs between instances in a way that one expression cannot say."""


@dataclass(eq=False, slots=True)
class Line:
    """One statement to come: what stands left of the expression, the expression, a comment, and the spec's
    place.
    """

    prefix: str
    expression: str
    span: Span | None = None
    comment: str = ""
    indent: int = 8
    suffix: str = ""


@dataclass(eq=False, slots=True)
class Constructor:
    """The statements of `__init__`, and the names under which `forward` finds what they made."""

    classes: Classes
    group: ModuleClass
    lines: list[Line] = field(default_factory=list)
    modules: dict[int, str] = field(default_factory=dict)  # slot -> attribute
    flags: dict[int, str] = field(default_factory=dict)  # slot -> what says in `forward` that it is present
    kept: dict[str, str] = field(default_factory=dict)  # attribute -> the code of what it holds

    def write(self) -> None:
        """Fills everything, one submodule after another: shared ones first."""
        calls: dict[str, list[Slot]] = {}
        for slot in self.group.slots[0]:
            unit = slot.op.unit
            if unit is not None and unit.shared:
                calls.setdefault(unit.name, []).append(slot)
        for name, slots in calls.items():
            slot = max(slots, key=lambda slot: (_takes_mask(slot.op), len(slot.op.outputs)))
            self._submodule(name, slot, {(b, 0): s[slot.position].op for b, s in enumerate(self.group.slots)})
        for slot in self.group.slots[0]:
            self._slot(slot)

    def attribute(self, slot: Slot) -> str:
        unit = slot.op.unit
        return names.attribute(unit.name if unit is not None and unit.shared else slot.node)

    def _slot(self, slot: Slot) -> None:
        cells = self.group.cells(slot.position)
        if not cells:
            return
        if slot.op.unit is not None and slot.op.unit.shared:
            self.modules[slot.position] = f"self.{self.attribute(slot)}"
        elif slot.repeated:
            self._repeated(slot, cells)
        else:
            self._submodule(slot.node, slot, cells)
        if not slot.repeated and len(cells) < len(self.group.bodies):
            self._presence(slot, cells)

    def _submodule(self, node: str, slot: Slot, cells: dict[Cell, Op]) -> None:
        attribute = f"self.{names.attribute(node)}"
        op = next(iter(cells.values()))
        try:
            expression = self.expression(cells, node)
        except Varies:
            raise AssertionError(f"{node} differs within one instance") from None
        if expression is None:
            return
        self.modules[slot.position] = attribute
        if not slot.repeated and len(cells) < len(self.group.bodies):
            expression = f"{expression} if {self._condition(slot, cells)} else None"
        self.lines.append(Line(f"{attribute} = ", expression, op.span))
        self._after(attribute, op)

    def _after(self, attribute: str, op: Op) -> None:
        if op.parameter is not None and op.parameter.initializer:
            self.lines.append(Line("", op.parameter.initializer.replace("{w}", attribute), op.span))
        if op.unit is not None and not op.unit.trainable and op.parameter is None:
            self.guarded(attribute, f"freeze({attribute})", op.span)

    def guarded(self, attribute: str, statement: str, span: Span | None) -> None:
        """A statement about a submodule that may be None."""
        if self.lines[-1].expression.endswith(" else None"):
            self.lines += [Line("", f"if {attribute} is not None:", span), Line("", statement, span, "", 12)]
        else:
            self.lines.append(Line("", statement, span))

    def _repeated(self, slot: Slot, cells: dict[Cell, Op]) -> None:
        """An `nn.ModuleList`: a comprehension where one expression says all instances, else a list."""
        attribute = f"self.{names.attribute(slot.node)}"
        try:
            expression = self.expression(cells, slot.node, slot.loop)
        except Varies:
            expression = self._listed(slot)
        else:
            if expression is None:
                return
            if slot.loop:
                index = "index" if "index" in expression.replace("_index", "") else "_"
                expression = f"nn.ModuleList({expression} for {index} in range({self.count(slot)}))"
            else:
                expression = self._listed(slot)
        self.modules[slot.position] = attribute
        self.lines.append(Line(f"{attribute} = ", expression, slot.op.span))
        self._after(attribute, next(iter(cells.values())))

    def _listed(self, slot: Slot) -> str:
        items = []
        for number in range(len(slot.ops)):
            cells = {
                (body, 0): slots[slot.position].ops[number]
                for body, slots in enumerate(self.group.slots)
                if slots[slot.position].ops[number].present
            }
            items.append(
                (self.expression(cells, f"{slot.node}_{number}") if cells else None) or "nn.Identity()"
            )
        return f"nn.ModuleList([{', '.join(items)}])"

    def count(self, slot: Slot) -> str:
        """The code for the number of instances."""
        counts: dict[Cell, Leaf] = {
            (b, 0): len(slots[slot.position].ops) for b, slots in enumerate(self.group.slots)
        }
        ops = {(b, 0): slots[slot.position].op for b, slots in enumerate(self.group.slots)}
        return self.group.write(counts, ops, f"{slot.node}_count") or "0"

    def _condition(self, slot: Slot, cells: dict[Cell, Op]) -> str:
        """The code that is true where the node is present."""
        op = slot.op
        if op.when is not None and (code := self.group.expression(op.when)) is not None:
            return code
        present: dict[Cell, Leaf] = {(body, 0): (body, 0) in cells for body in range(len(self.group.bodies))}
        ops = {(b, 0): slots[slot.position].op for b, slots in enumerate(self.group.slots)}
        return self.group.write(present, ops, f"has_{slot.node}") or "True"

    def _presence(self, slot: Slot, cells: dict[Cell, Op]) -> None:
        if slot.position in self.modules and not (slot.op.unit is not None and slot.op.unit.shared):
            self.flags[slot.position] = f"{self.modules[slot.position]} is not None"
            return
        if all(op.layer is not None and self.classes.hands_on(op) for op in cells.values()):
            return  # present or not, it does nothing
        code = self._condition(slot, cells)
        name = names.attribute(code if code.isidentifier() else f"has_{slot.node}")
        self.flags[slot.position] = self.keep(name, code, slot)

    def keep(self, name: str, code: str, slot: Slot) -> str:
        """An attribute that holds a constructor's value for `forward`."""
        slots = self.group.slots[0]
        taken = {self.attribute(other) for other in slots} | {names.attribute(other.node) for other in slots}
        word, number = name, 1
        while word in taken or self.kept.get(word, code) != code:
            number += 1
            word = f"{name}_{number}"
        if word not in self.kept:
            self.kept[word] = code
            self.lines.append(Line(f"self.{word} = ", code, slot.op.span))
        return f"self.{word}"

    # --- expressions

    def expression(self, cells: dict[Cell, Op], hint: str, looped: bool = False) -> str | None:
        """The code that makes the submodule of these ops; None where they need none. Raises `Varies`."""
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
        parts = [
            self._leaf(
                {c: k.positional[name] for c, k in constructs.items()}, cells, f"{hint}_{name}", looped
            )
            for name in first.positional
        ]
        for name, (_, default) in first.keyword.items():
            values = {cell: construct.keyword[name][0] for cell, construct in constructs.items()}
            if not all(same(value, default) for value in values.values()):
                parts.append(f"{name}={self._leaf(values, cells, f'{hint}_{name}', looped)}")
        return f"{target}({', '.join(parts)})"

    def _leaf(self, values: dict[Cell, Leaf], ops: dict[Cell, Op], hint: str, looped: bool = False) -> str:
        code = self.group.write(values, ops, hint, looped)
        if code is None:
            raise Varies(hint)
        return code

    def _instance(self, cells: dict[Cell, Op], hint: str, looped: bool) -> str:
        graphs = {cell: op.graph for cell, op in cells.items() if op.graph is not None}
        child = self.classes.of[next(iter(graphs.values()))]
        if any(self.classes.of[graph] is not child for graph in graphs.values()):
            raise Varies(hint)
        parts = []
        for arg in ordered(child.args.values()):
            values = {cell: arg.values[child.numbers[graph]] for cell, graph in graphs.items()}
            if arg.default is not MISSING and all(same(value, arg.default) for value in values.values()):
                continue
            code = self._leaf(values, cells, f"{hint}_{arg.name}", looped)
            parts.append(code if arg.default is MISSING else f"{arg.name}={code}")
        return f"{child.name}({', '.join(parts)})"

    def _parameter(self, cells: dict[Cell, Op], weight: Weight, hint: str) -> str:
        shapes = {cell: op.parameter.shape for cell, op in cells.items() if op.parameter is not None}
        sizes = [
            self._leaf({cell: shape[axis] for cell, shape in shapes.items()}, cells, f"{hint}_size")
            for axis in range(len(weight.shape))
        ]
        flag = "" if weight.trainable else ", requires_grad=False"
        return f"nn.Parameter(torch.empty({', '.join(sizes)}){flag})"


def _takes_mask(op: Op) -> bool:
    """Whether a layer is called with a mask: a module that takes one runs without it, too."""
    if op.layer is None or op.layer.variadic:
        return False
    pairs = zip(op.layer.arguments, op.arguments, strict=False)
    return any(argument.name == "mask" and given is not None for argument, given in pairs)


def ordered(args: object) -> list[Arg]:
    """Arguments as a signature has them: channels first, then those without a default."""
    items: list[Arg] = list(args)  # type: ignore[call-overload]

    def rank(arg: Arg) -> tuple[bool, bool]:
        channels = arg.name.endswith(("in_channels", "in_features", "_channels", "_features"))
        return arg.default is not MISSING, not channels

    return sorted(items, key=rank)


def signature(group: ModuleClass) -> str:
    """The parameters of `__init__`, after `self`."""
    parts = []
    for arg in ordered(group.args.values()):
        default = "" if arg.default is MISSING else f" = {literal(arg.default)}"
        parts.append(f"{arg.name}: {arg.annotation}{default}")
    return ", ".join(["self", *parts])

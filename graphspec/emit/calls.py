"""The expression that an op is in `forward`: its call, and the activation after it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from graphspec import names
from graphspec.contract.activations import ACTIVATIONS
from graphspec.contract.layer import Code
from graphspec.emit.construct import Constructor
from graphspec.emit.format import fill, literal
from graphspec.emit.group import Cell, ModuleClass, overwriting, same
from graphspec.emit.scope import Scope, turned
from graphspec.emit.slots import Slot
from graphspec.graph import Op
from graphspec.passes.layout import Layout, convert


@dataclass(frozen=True, slots=True)
class Calls:
    """Expressions of ops in one class, on the values of its scope."""

    constructor: Constructor
    scope: Scope
    lists: dict[tuple[int, str], str]
    inside: Mapping[int, tuple[str, bool]] = field(
        default_factory=dict
    )  # in a loop: argument -> its variable and order

    @property
    def group(self) -> ModuleClass:
        return self.constructor.group

    @property
    def layout(self) -> Layout:
        return self.constructor.classes.layout

    def parts(self, slot: Slot, op: Op, module: str, number: int, logits: str = "") -> tuple[str, str]:
        """The expression of an op without its activation, and the activation as a template of `{x}` (""
        for none).
        """
        if op.parameter is not None:
            return module, ""
        texts = self.arguments(op)
        if op.wrapper is not None:
            return self._wrapped(slot, op, module, texts, number, logits)
        if op.graph is not None:
            return self._instance(module, texts, logits), ""
        code = self.constructor.classes.code(op)
        return self._layer(slot, op, code, module, texts, number), self._activation(slot, code, number)

    def arguments(self, op: Op) -> list[Any]:
        """How an op's arguments are read: a text, a list of texts, or None."""
        found: list[Any] = []
        for place, argument in enumerate(op.arguments):
            first = self.wish(op, place)
            if place in self.inside:
                value = argument[0] if isinstance(argument, tuple) else argument
                name, order = self.inside[place]
                text = turned(name, value.tensor.rank, order, first)
                found.append([text] if isinstance(argument, tuple) else text)
            elif isinstance(argument, tuple):
                found.append([self.scope.read(value, first) for value in argument])
            else:
                found.append(self.scope.read(argument, first) if argument is not None else None)
        return found

    def wish(self, op: Op, place: int) -> bool:
        """Whether an op takes an argument with channels at axis 1."""
        wish = self.layout.wish(op, place)
        return self.layout.op_first(op) if wish == "any" and op.layer is not None else wish == "first"

    def _instance(self, module: str, texts: list[Any], logits: str) -> str:
        parts = ["None" if text is None else text for text in texts]
        while parts and parts[-1] == "None":
            parts.pop()
        return f"{module}({', '.join([*parts, *([f'logits={logits}'] if logits else [])])})"

    def _wrapped(
        self, slot: Slot, op: Op, module: str, texts: list[Any], number: int, logits: str
    ) -> tuple[str, str]:
        inside = fill(op.wrapper.enter_code(), lambda _: texts[0])
        after = ""
        rank, out = op.inner[0].rank, op.inner_outputs[0].rank
        if op.graph is not None:
            inside = turned(
                inside, rank, False, self.layout.wants_first(op.graph, next(iter(op.graph.inputs)))
            )
            result = self._instance(module, [inside], logits)
            first = next(iter(op.results.values())) in self.layout.first
        else:
            assert op.layer is not None
            code = self.constructor.classes.code(op)
            first = op.layer.memory(*op.inner) == "first"
            inside = turned(inside, rank, False, first)
            absent = [None] * (len(op.layer.arguments) - 1)  # a wrapped layer gets no mask or state
            result = self._layer(slot, op, code, module, [inside, *absent], number)
            after = self._activation(slot, code, number)
        if first and out > 2:
            result, after = convert(fill(after, lambda _: result) if after else result, out, False), ""
        leave = fill(op.wrapper.leave_code(), lambda hole: result if hole == "y" else texts[0])
        return leave, after

    def _layer(self, slot: Slot, op: Op, code: Code, module: str, texts: list[Any], number: int) -> str:
        assert op.layer is not None
        holes: dict[str, str] = {"self": module, **self._constants(slot, code, number)}
        if op.layer.variadic:
            holes.update({str(i): text for i, text in enumerate(texts)})
            whole = self._list(op, texts)
            holes["list"] = whole
            holes["*"] = whole[1:-1] if whole.startswith("[") else f"*{whole}"
        else:
            for argument, text in zip(op.layer.arguments, texts, strict=True):
                holes[argument.name] = f"[{', '.join(text)}]" if isinstance(text, list) else str(text)
        return fill(code.call, lambda hole: holes[hole])

    def _list(self, op: Op, texts: list[str]) -> str:
        """All of a merge's inputs as a list, or the list that a loop collected."""
        parts, position = [], 0
        first = self.wish(op, 0)
        for ref in self.group.wiring.group(op.inputs):
            count = len(self.group.slots[0][ref[1]].ops) if ref[0] == "all" else 1
            values = op.inputs[position : position + count]
            collected = self.lists.get((ref[1], ref[2])) if ref[0] == "all" else None
            if collected is not None and all(
                self.scope.first[v] == first or v.tensor.rank < 3 for v in values
            ):
                parts.append(f"*{collected}")
            else:
                parts += texts[position : position + count]
            position += count
        return parts[0][1:] if len(parts) == 1 and parts[0].startswith("*") else f"[{', '.join(parts)}]"

    def _peers(self, slot: Slot, number: int) -> dict[Cell, Op]:
        """The ops that one statement stands for: of all bodies, and of all instances of a loop."""
        if not slot.repeated or slot.loop:
            return self.group.cells(slot.position)
        ops = {(body, 0): slots[slot.position].ops[number] for body, slots in enumerate(self.group.slots)}
        return {cell: op for cell, op in ops.items() if op.present}

    def _constants(self, slot: Slot, code: Code, number: int) -> dict[str, str]:
        """The constants of a call: literals, or attributes where the class's bodies differ."""
        found = {}
        for name, value in code.constants.items():
            peers = self._peers(slot, number)
            values = {
                cell: self.constructor.classes.code(other).constants[name] for cell, other in peers.items()
            }
            if all(same(other, value) for other in values.values()):
                found[name] = literal(value)
                continue
            written = self.group.write(
                {(b, 0): v for (b, _), v in values.items()},
                {(b, 0): o for (b, _), o in peers.items()},
                f"{slot.node}_{name}",
            )
            assert written is not None, "signatures keep apart what one statement cannot say"
            word = written if written.isidentifier() else f"{slot.node}_{name}"
            found[name] = self.constructor.keep(names.attribute(word), written, slot)
        return found

    def _activation(self, slot: Slot, code: Code, number: int) -> str:
        peers = self._peers(slot, number)
        codes = {(body, 0): self.constructor.classes.code(other) for (body, _), other in peers.items()}
        over = overwriting(codes.values())
        if len({code.activation for code in codes.values()}) > 1:
            argument = self.group.activation(codes, f"{slot.node}_activation")
            attribute = self.constructor.keep(names.attribute(argument), argument, slot)
            return f"{attribute}({{x}})"
        if code.activation == "linear":
            return ""
        return ACTIVATIONS[code.activation].written(over).inline.replace("{axis}", str(code.activation_axis))

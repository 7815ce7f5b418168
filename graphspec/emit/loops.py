"""A repeated node as one loop: `for block in self.blocks: x = block(x)`."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from graphspec import names
from graphspec.emit.construct import Line
from graphspec.emit.format import fill
from graphspec.emit.group import activated
from graphspec.emit.scope import TEMPORARIES, turned
from graphspec.emit.slots import Slot
from graphspec.graph import Value

if TYPE_CHECKING:
    from graphspec.emit.forward import Forward


def write_loop(forward: Forward, slot: Slot) -> None:
    """Writes all instances of a slot as a loop, and says how what comes out is read."""
    Loop(forward, slot).write()


@dataclass(eq=False, slots=True)
class Loop:
    """One loop to be. `targets` are the variables that a pass assigns, by output; `collected` the lists
    that it fills.
    """

    forward: Forward
    slot: Slot
    header: list[tuple[str, str]] = field(default_factory=list)
    targets: dict[str, str] = field(default_factory=dict)
    collected: dict[str, str] = field(default_factory=dict)
    firsts: dict[str, bool] = field(default_factory=dict)
    inside: dict[int, tuple[str, bool]] = field(
        default_factory=dict
    )  # argument -> what a pass reads, and its order
    popped: list[tuple[str, str]] = field(
        default_factory=list
    )  # variable -> the list whose last item it takes

    def write(self) -> None:
        forward, slot = self.forward, self.slot
        op, scope = slot.op, forward.scope
        module = self._module()
        self._walk()
        self._enter()
        self._name_outputs()
        graph = op.graph is not None
        last = next(iter(slot.ops[-1].outputs.values()))
        logits = last in forward.constructor.classes.logits
        calls = replace(forward.calls, inside=self.inside)
        call, after = calls.parts(slot, op, module, 0, logits="True" if logits and graph else "")
        lines: list[tuple[str, str]] = []
        if logits:
            name = scope.claim(f"{slot.node}_logits")
            lines.append((f"{name} = ", call))
            call = name
            forward.logits[last] = name
            if graph:
                ending = forward.constructor.classes.ending[last]
                call, after = activated(ending, name, last, last in forward.layout.first), ""
        expression = fill(after, lambda _: call) if after else call
        self._statements(lines, expression)
        self._read_outputs()
        if logits:  # the logits come in the order of the layer, the value in that of the loop
            (key,) = op.outputs
            rank, now = last.tensor.rank, last in forward.layout.first
            forward.logits[last] = turned(forward.logits[last], rank, now, self.firsts[key])

    def _module(self) -> str:
        """What a pass calls; the loop runs over the instances unless all are one shared module."""
        slot, op = self.slot, self.slot.op
        attribute = self.forward.constructor.modules.get(slot.position, "")
        if not attribute or (op.unit is not None and op.unit.shared):
            return attribute
        item = self.forward.scope.item(singular(slot.node, "layer" if op.graph is None else "block"))
        self.header.append((item, attribute))
        return item

    def _walk(self) -> None:
        """The arguments that walk along another node's instances."""
        forward, slot = self.forward, self.slot
        for place, argument in enumerate(slot.op.arguments):
            walk = forward.group.wiring.items(slot, place) if place not in slot.carried else None
            if walk is None:
                continue
            position, key, step = walk
            source = forward.lists[position, key]
            if step == -1 and self._consumes(source):
                name = self._item_of(position, key, source)
                self.popped.append((name, source))
                forward.scope.bindings.move(source, name, forward.step)
                self.inside[place] = (name, forward.scope.first[argument])
                continue
            name = forward.scope.item(singular(source, "item"))
            if name in dict(self.header):
                name = forward.scope.claim(name)
            self.header.append((name, source if step == 1 else f"reversed({source})"))
            self.inside[place] = (name, forward.scope.first[argument])

    def _consumes(self, source: str) -> bool:
        """Whether the loop may take the items from a list: it runs over its own modules, item by item, and
        nothing reads the list later.
        """
        comprehension = self.slot.op.repeated == "parallel" and len(self.slot.op.outputs) == 1
        emptied = {name for _, name in self.popped}
        alone = bool(self.header) and not comprehension and source not in emptied
        return alone and self.forward.scope.free(source)

    def _item_of(self, position: int, key: str, source: str) -> str:
        """The variable for an item: the one that the items were collected from, where it is free."""
        scope = self.forward.scope
        last = self.forward.group.slots[0][position].ops[-1].outputs[key]
        variable = scope.variable(last)
        if variable not in (source, *TEMPORARIES) and scope.free(variable):
            return variable
        return scope.item(singular(source, "item"))

    def _enter(self) -> None:
        """Names the carried values and gives them what goes into the first instance."""
        forward, slot, scope = self.forward, self.slot, self.forward.scope
        op, last = slot.op, slot.ops[-1]
        starts = {place: _single(op.arguments[place]) for place in slot.carried}
        fixed = {
            scope.variable(value)
            for place, argument in enumerate(op.arguments)
            if place not in starts
            for value in _values(argument)
        }
        for place, key in slot.carried.items():
            value, wish = starts[place], forward.calls.wish(op, place)
            others = {scope.variable(other) for p, other in starts.items() if p != place}
            taken = fixed | others | set(self.targets.values())
            here, variable = scope.read(value, wish), scope.variable(value)
            if variable in TEMPORARIES and variable not in taken and scope.free(variable):
                name = variable
            else:
                word = slot.node if key == next(iter(last.outputs)) else f"{slot.node}_{key}"
                word = f"last_{word}" if self._listed(key) else word
                name = (
                    scope.name(last.outputs[key], word, taken) if key in last.outputs else scope.claim(word)
                )
            if name != here:
                forward.line(f"{name} = ", here, op.span)
            self.targets[key], self.firsts[key] = name, wish
            self.inside[place] = (name, wish)

    def _name_outputs(self) -> None:
        """The variables of what is not carried, and the lists of what is read of single instances."""
        forward, slot, scope = self.forward, self.slot, self.forward.scope
        parallel = slot.op.repeated == "parallel"
        for key in slot.op.outputs:
            values = [op.outputs[key] for op in slot.ops]
            listed = self._listed(key)
            if key not in self.targets:
                self.firsts[key] = slot.op.outputs[key] in forward.layout.first
                read = listed or self._read_later(values[-1])
                alone = parallel and len(slot.op.outputs) == 1  # a comprehension
                self.targets[key] = (
                    scope.claim(key or singular(slot.node, "item")) if read and not alone else "_"
                )
            if listed:
                word = f"{slot.node}_{key}" if key and len(slot.op.outputs) > 1 else slot.node
                self.collected[key] = scope.claim(word)

    def _listed(self, key: str) -> bool:
        """Whether an output of single instances is read."""
        ops = self.slot.ops if self.slot.op.repeated == "parallel" else self.slot.ops[:-1]
        return any(key in op.outputs and self._read_later(op.outputs[key]) for op in ops)

    def _statements(self, lines: list[tuple[str, str]], expression: str) -> None:
        forward, slot, op = self.forward, self.slot, self.slot.op
        rank = {key: value.tensor.rank for key, value in op.outputs.items()}
        out = {key: value in forward.layout.first for key, value in op.outputs.items()}
        if len(op.outputs) == 1:
            (key,) = op.outputs
            expression = turned(expression, rank[key], out[key], self.firsts[key])
            if op.repeated == "parallel":
                forward.line(f"{self.collected[key]} = ", f"[{expression} for {self._header()}]", op.span)
                return
        for name in self.collected.values():
            forward.line(f"{name} = ", "[]", op.span)
        items, _, source = self._header().partition(" in ")
        forward.lines.append(Line(f"for {items} in ", source, op.span, suffix=":"))
        for name, source in self.popped:
            forward.line(f"{name} = ", f"{source}.pop()", op.span, None, 12)
        for prefix, text in lines:
            forward.line(prefix, text, op.span, None, 12)
        tensors = {value.tensor for each in slot.ops for value in each.outputs.values()}
        targets = [self.targets[key] for key in op.outputs]
        last = slot.ops[-1].output
        forward.scope.first[last] = self.firsts[next(iter(op.outputs))]
        shown = last if len(tensors) == 1 and len(targets) == 1 else None
        forward.line(f"{', '.join(targets)} = ", expression, op.span, shown, 12)
        if len(op.outputs) > 1:
            for key, name in self.targets.items():
                again = turned(name, rank[key], out[key], self.firsts[key])
                if again != name and name != "_":
                    forward.line(f"{name} = ", again, op.span, None, 12)
        for key, name in self.collected.items():
            forward.line("", f"{name}.append({self.targets[key]})", op.span, None, 12)

    def _read_outputs(self) -> None:
        """How the instances' outputs are read after the loop."""
        scope, slot = self.forward.scope, self.slot
        for key, name in self.targets.items():
            for number, op in enumerate(slot.ops):
                value, first = op.outputs[key], self.firsts[key]
                if number == len(slot.ops) - 1 and op.repeated != "parallel":
                    if name != "_":
                        scope.bind(value, name, first)
                elif key in self.collected:
                    scope.also(value, self.collected[key], first, f"{self.collected[key]}[{number}]")
            if key in self.collected:
                self.forward.lists[slot.position, key] = self.collected[key]

    def _header(self) -> str:
        slot, constructor = self.slot, self.forward.constructor
        if not self.header:
            count = constructor.count(slot)
            if count.isdigit():
                return f"_ in range({count})"
            return f"_ in range({constructor.keep(names.attribute(f'{slot.node}_count'), count, slot)})"
        if len(self.header) == 1:
            return f"{self.header[0][0]} in {self.header[0][1]}"
        items, sources = (", ".join(pair[side] for pair in self.header) for side in (0, 1))
        return f"{items} in zip({sources}, strict=True)"

    def _read_later(self, value: Value) -> bool:
        return any(read > self.forward.step for read in self.forward.scope.reads.get(value, ()))


def _values(argument: object) -> list[Value]:
    if isinstance(argument, Value):
        return [argument]
    return [value for item in argument for value in _values(item)] if isinstance(argument, tuple) else []


def _single(argument: object) -> Value:
    return _values(argument)[0]


def singular(word: str, what: str) -> str:
    """What one of several is called: `stage` of `stages`, `class` of `classes`; else `block`, `layer` or
    `item`.
    """
    if len(word) > 20:
        return what
    if word.endswith("ies") and len(word) > 4:
        return f"{word[:-3]}y"
    if re.search(r"(ss|x|ch|sh)es$", word):
        return word[:-2]
    if word.endswith("s") and not word.endswith(("ss", "us", "is")) and len(word) > 3:
        return word[:-1]
    return what

"""A repeated node as one loop: `for block in self.blocks: x = block(x)`."""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass, field, replace

from graphspec.emit.activations import activated
from graphspec.emit.body import Assign, Effect, For
from graphspec.emit.calls import Calls, turned
from graphspec.emit.code import Variable, call, item, listed, name
from graphspec.emit.scope import ForwardScope
from graphspec.emit.slots import Gather, Slot, SlotOutput, Walk, output_key
from graphspec.graph import Value
from graphspec.weights import names


def write_loop(scope: ForwardScope, slot: Slot) -> None:
    """Writes all instances of a slot as a loop, and sets how their outputs are read."""
    Loop(scope, slot).write()


@dataclass(eq=False, slots=True)
class Loop:
    """A loop to write.

    `targets` are the variables that an iteration assigns, by output; `collected` are the lists that it fills;
    `inside` is what an iteration reads for an argument, and in which memory order; `permuted` are the values
    that have been permuted before the loop.
    """

    scope: ForwardScope
    slot: Slot
    header: list[tuple[Variable, ast.expr]] = field(default_factory=list)
    targets: dict[str, Variable | None] = field(default_factory=dict)
    collected: dict[str, Variable] = field(default_factory=dict)
    firsts: dict[str, bool] = field(default_factory=dict)
    inside: dict[int, tuple[ast.expr, bool]] = field(default_factory=dict)
    permuted: dict[Value, tuple[Variable, bool]] = field(default_factory=dict)
    body: list[Assign | Effect] = field(default_factory=list)

    def write(self) -> None:
        module = self._module()
        for place in range(len(self.slot.op.arguments)):
            if place not in self.slot.carried:
                walk = self.scope.group.wiring.walk(self.slot, place)
                if isinstance(walk, Gather):
                    self._gather(place)
                elif walk is not None:
                    self._walk(place, walk)
                else:
                    self._permute_once(place)
        self._enter()
        self._name_outputs()
        calls = replace(self.scope.calls, inside=self.inside)
        if self.slot.op.repeated == "parallel" and len(self.slot.op.outputs) == 1:
            self._comprehension(calls, module)
        else:
            self._statements(calls, module)
        self._read_outputs()

    def _module(self) -> ast.expr | None:
        """The callee of an iteration: the loop variable, or the one module or function of all instances."""
        slot, op = self.slot, self.slot.op
        module = self.scope.constructor.modules.get(slot.position)
        if not isinstance(module, ast.Attribute) or (op.unit is not None and op.unit.shared):
            return module
        word = singular(slot.node, "layer" if op.graph is None else "block")
        variable = Variable(word, item=True)
        self.header.append((variable, module))
        return variable.read()

    def _walk(self, place: int, walk: Walk) -> None:
        """Iterates over another node's instances."""
        source = SlotOutput(walk.key, walk.slot, all=True)
        collected, value = self.scope.lists[source], self.slot.op.arguments[place]
        order = self.scope.values.channels_first[value]
        variable = Variable(singular(collected.word, "item"), item=True)
        every = call("reversed", collected.read()) if walk.backwards else collected.read()
        self.header.append((variable, every))
        self.inside[place] = variable.read(), order

    def _gather(self, place: int) -> None:
        """Iterates over several values."""
        wish, variable = self.scope.calls.wish(self.slot.op, place), Variable("item", item=True)
        values = [self.scope.values.read(op.arguments[place], wish) for op in self.slot.ops]
        self.header.append((variable, ast.Tuple(values, ast.Load())))
        self.inside[place] = variable.read(), wish

    def _permute_once(self, place: int) -> None:
        """Permutes an argument before the loop, if all iterations read it in another memory order."""
        value, wish = self.slot.op.arguments[place], self.scope.calls.wish(self.slot.op, place)
        if not isinstance(value, Value):
            return
        read = self.scope.values.read(value, wish)
        if read is not self.scope.values.code[value]:
            variable = Variable(value.name, [value])
            self.scope.body.append(Assign([variable], read, self.slot.op.span))
            self.inside[place], self.permuted[value] = (variable.read(), wish), (variable, wish)

    def _enter(self) -> None:
        """Assigns the inputs of the first instance to the carried variables."""
        scope, slot = self.scope, self.slot
        op, last = slot.op, slot.ops[-1]
        for place, key in slot.carried.items():
            argument = op.arguments[place]
            value = argument[0] if isinstance(argument, tuple) else argument
            wish = scope.calls.wish(op, place)
            word = slot.node if key == next(iter(last.outputs)) else f"{slot.node}_{key}"
            word = f"last_{word}" if self._listed(key) else word
            held = [value, *([last.outputs[key]] if key in last.outputs else [])]
            variable = Variable(word, [each for each in held[-1:] if each is not None], several=True)
            same, order = self.permuted.get(value, (None, wish))
            if value is None:  # an optional input that only later instances have
                read: ast.expr = ast.Constant(None)
            else:
                read = same.read() if same is not None and order == wish else scope.values.read(value, wish)
            scope.body.append(Assign([variable], read, op.span))
            self.targets[key], self.firsts[key] = variable, wish
            self.inside[place] = variable.read(), wish

    def _name_outputs(self) -> None:
        """The variables of outputs that are not carried, and lists for those of single instances."""
        scope, slot = self.scope, self.slot
        for key, value in slot.op.outputs.items():
            values = [op.outputs[key] for op in slot.ops]
            several = self._listed(key)
            if key not in self.targets:
                self.firsts[key] = value in scope.layout.channels_first
                read = several or scope.last_read(values[-1]) > slot.position
                word = key or singular(slot.node, "item")
                self.targets[key] = Variable(word, values[-1:], several=True) if read else None
            if several:
                word = plural(key) if key and len(slot.op.outputs) > 1 else slot.node
                self.collected[key] = Variable(word, values, listed=True)

    def _listed(self, key: str) -> bool:
        """Whether an output of single instances is read."""
        ops = self.slot.ops if self.slot.op.repeated == "parallel" else self.slot.ops[:-1]
        outputs = [op.outputs[key] for op in ops if key in op.outputs]
        return any(self.scope.last_read(value) > self.slot.position for value in outputs)

    def _comprehension(self, calls: Calls, module: ast.expr | None) -> None:
        """`[branch(x) for branch in self.branches]`."""
        op = self.slot.op
        (key,) = op.outputs
        code, ending = calls.parts(self.slot, op, module, 0)
        if ending is not None and ending.twice:
            self._statements(calls, module)
            return
        elt = ending.apply(code) if ending is not None else code
        value = op.output
        elt = turned(elt, value.tensor.rank, value in self.scope.layout.channels_first, self.firsts[key])
        targets, source = self._header()
        loop = ast.comprehension(_target(targets), source, [], 0)
        comprehension = ast.ListComp(elt, [loop])
        self.scope.body.append(Assign([self.collected[key]], comprehension, op.span, ops=self.slot.ops))

    def _statements(self, calls: Calls, module: ast.expr | None) -> None:
        scope, slot, op = self.scope, self.slot, self.slot.op
        last = slot.ops[-1].output
        logits = last in scope.constructor.classes.ending
        asked = ast.Constant(True) if logits and op.graph is not None else None
        code, ending = calls.parts(slot, op, module, 0, logits=asked)
        rank = last.tensor.rank
        if logits:
            variable = Variable(f"{slot.node}_logits", [last], several=True)
            self.body.append(Assign([variable], code, op.span))
            now = last in scope.layout.channels_first
            (key,) = op.outputs
            scope.logits[last] = turned(variable.read(), rank, now, self.firsts[key])
            code = variable.read()
            if asked is not None:
                code = activated(scope.constructor.classes.ending[last], code, last, now)
        if ending is not None and ending.twice and not logits:
            step = Variable(f"{slot.node}_linear", [last], several=True)
            self.body.append(Assign([step], code, op.span))
            code = step.read()
        code = ending.apply(code) if ending is not None else code
        self._assign(code)
        for each in self.collected.values():
            scope.body.append(Assign([each], listed([]), op.span))
        targets, source = self._header()
        scope.body.append(For(list(targets), source, self.body, op.span, slot.ops))

    def _assign(self, code: ast.expr) -> None:
        """The assignments and lists of an iteration."""
        scope, slot, op = self.scope, self.slot, self.slot.op
        out = {key: value in scope.layout.channels_first for key, value in op.outputs.items()}
        targets = [self.targets[key] for key in op.outputs]
        last = slot.ops[-1].output
        if len(op.outputs) == 1:
            (key,) = op.outputs
            code = turned(code, op.output.tensor.rank, out[key], self.firsts[key])
            alike = len({each.output.tensor for each in slot.ops}) == 1
            result = last if alike else None
            self.body.append(Assign(targets, code, op.span, result, self.firsts[key]))
        else:
            self.body.append(Assign(targets, code, op.span))
            for key, variable in self.targets.items():
                if variable is None:
                    continue
                read = variable.read()
                again = turned(read, op.outputs[key].tensor.rank, out[key], self.firsts[key])
                if again is not read:
                    self.body.append(Assign([variable], again, op.span))
        for key, collected in self.collected.items():
            target = self.targets[key]
            assert target is not None, "what is collected has a variable"
            append = ast.Attribute(collected.read(), "append", ast.Load())
            self.body.append(Effect(call(append, target.read()), op.span))

    def _read_outputs(self) -> None:
        """Sets how the instances' outputs are read after the loop."""
        scope, slot = self.scope, self.slot
        for key, variable in self.targets.items():
            for number, op in enumerate(slot.ops):
                if key not in op.outputs:
                    continue
                value, first = op.outputs[key], self.firsts[key]
                if number == len(slot.ops) - 1 and op.repeated != "parallel":
                    if variable is not None:
                        scope.values.bind(value, variable.read(), first)
                elif key in self.collected:
                    scope.values.bind(value, item(self.collected[key].read(), number), first)
            if key in self.collected:
                source = SlotOutput(output_key(slot.op, key), slot.position, all=True)
                scope.lists[source] = self.collected[key]

    def _header(self) -> tuple[list[Variable | None], ast.expr]:
        """The loop variables, and what they iterate over."""
        slot, constructor = self.slot, self.scope.constructor
        if not self.header:
            count = constructor.count(slot)
            if not isinstance(count, ast.Constant):
                count = constructor.keep(names.attribute(f"{slot.node}_count"), count, slot)
            return [None], call("range", count)
        if len(self.header) == 1:
            return [self.header[0][0]], self.header[0][1]
        every = call("zip", *(source for _, source in self.header), strict=ast.Constant(True))
        return [variable for variable, _ in self.header], every


def _target(targets: list[Variable | None]) -> ast.expr:
    """The targets of a comprehension."""
    elements: list[ast.expr] = [target.read() if target is not None else name("_") for target in targets]
    return elements[0] if len(elements) == 1 else ast.Tuple(elements, ast.Store())


def singular(word: str, what: str) -> str:
    """The singular of a name (`stage` of `stages`), or else `block`, `layer` or `item`."""
    if len(word) > 20:
        return what
    if word.endswith("ies") and len(word) > 4:
        return f"{word[:-3]}y"
    if re.search(r"(ss|x|ch|sh)es$", word):
        return word[:-2]
    if word.endswith("s") and not word.endswith(("ss", "us", "is")) and len(word) > 2:
        return word[:-1]
    return what


def plural(word: str) -> str:
    """The plural of a name: `skips` of `skip`."""
    if word.endswith("y") and word[-2:-1] not in ("", *"aeiou"):
        return f"{word[:-1]}ies"
    return f"{word}es" if word.endswith(("s", "x", "ch", "sh")) else f"{word}s"

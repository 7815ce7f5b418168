"""A class's `forward`: one statement for each node, in data order."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

from graphspec import names
from graphspec.emit.classes import Group, same
from graphspec.emit.construct import Constructor, Line
from graphspec.emit.format import atomic, fill, literal
from graphspec.emit.slots import Slot
from graphspec.graph import Op, Value
from graphspec.layers.activations import ACTIVATIONS
from graphspec.layers.base import Code
from graphspec.layout import Layout, convert
from graphspec.tensor import BATCH, show_size, symbol

TEMPORARIES = ("x", "y")


@dataclass(eq=False, slots=True)
class Forward:
    """Writes the statements of one class. `text` holds how each value is read, `first` its memory order."""

    constructor: Constructor
    root: bool
    lines: list[Line] = field(default_factory=list)
    text: dict[Value, str] = field(default_factory=dict)
    first: dict[Value, bool] = field(default_factory=dict)
    before: dict[Value, tuple[str, str]] = field(default_factory=dict)  # value -> its logits, and how it reads from them
    lists: dict[tuple[int, str], str] = field(default_factory=dict)  # collected outputs of a loop
    readers: dict[Value, list[int]] = field(default_factory=dict)
    holds: dict[str, Value] = field(default_factory=dict)
    space: names.Namespace = field(default_factory=names.Namespace)

    @property
    def group(self) -> Group:
        return self.constructor.group

    @property
    def layout(self) -> Layout:
        return self.constructor.classes.layout

    def write(self) -> None:
        """Fills `lines`."""
        graph = self.group.graph
        slots = self.group.slots[0]
        self.space = names.Namespace({*TEMPORARIES, *(names.local(name) for name in graph.inputs)})
        for slot in slots:
            for op in slot.ops:
                for value in op.inputs:
                    self.readers.setdefault(value, []).append(slot.position)
        for value in graph.outputs.values():
            self.readers.setdefault(value, []).append(len(slots))
        for name, value in graph.inputs.items():
            if value is not None:
                self.text[value] = names.local(name)
                self.first[value] = value in self.layout.first
                self.holds[names.local(name)] = value
        for slot in slots:
            if slot.loop:
                self._loop(slot)
            else:
                for number, op in enumerate(slot.ops):
                    self._op(slot, op, number)
        self._return()

    # --- reading values

    def read(self, value: Value, first: bool | None = None) -> str:
        """The expression that reads a value, in the memory order asked for."""
        text = self.text[value]
        if first is None or first == self.first[value] or value.tensor.rank not in (3, 4, 5):
            return text
        return convert(text if atomic(text) else f"({text})", value.tensor.rank, first)

    def arguments(self, op: Op) -> list[Any]:
        """How an op's arguments are read: a text, a list of texts, or None."""
        found: list[Any] = []
        for place, argument in enumerate(op.arguments):
            first = self._wish(op, place)
            if isinstance(argument, tuple):
                found.append([self.read(value, first) for value in argument])
            else:
                found.append(self.read(argument, first) if argument is not None else None)
        return found

    def _wish(self, op: Op, place: int) -> bool:
        wish = self.layout.wish(op, place)
        return self.layout.op_first(op) if wish == "any" and op.layer is not None else wish == "first"

    def _list(self, op: Op, texts: list[str]) -> str:
        """All of a merge's inputs as a list, or the list that a loop collected."""
        parts, position = [], 0
        first = self._wish(op, 0)
        for ref in self.group.wiring.group(op.inputs):
            if ref[0] == "all" and (ref[1], ref[2]) in self.lists:
                count = len(self.group.slots[0][ref[1]].ops)
                if all(self.first[v] == first for v in op.inputs[position : position + count]):
                    parts.append(f"*{self.lists[ref[1], ref[2]]}")
                    position += count
                    continue
            parts.append(texts[position])
            position += 1
        return parts[0][1:] if len(parts) == 1 and parts[0].startswith("*") else f"[{', '.join(parts)}]"

    # --- writing values

    def name(self, value: Value, slot: Slot, word: str) -> str:
        """The variable for a value: a temporary where the next node alone reads it, else the node's name."""
        readers = self.readers.get(value, [])
        if len(readers) == 1 and readers[0] == slot.position + 1:
            for temporary in TEMPORARIES:
                holder = self.holds.get(temporary)
                if holder is None or all(r <= slot.position for r in self.readers.get(holder, [])):
                    self.holds[temporary] = value
                    return temporary
        name = self.space.claim(names.local(word))
        self.holds[name] = value
        return name

    def assign(self, value: Value, slot: Slot, expression: str, word: str, span: Any) -> None:
        """Writes `name = expression` and remembers the name."""
        name = self.name(value, slot, word)
        self.lines.append(Line(f"{name} = ", expression, span, self.shape(value)))
        self.text[value] = name

    def shape(self, value: Value) -> str:
        """The comment that tells a value's shape, in memory; none in a class used for several shapes."""
        if len(self.group.bodies) > 1:
            return ""
        sizes = list(value.tensor.shape)
        if self.first.get(value) and len(sizes) > 2:
            sizes = [sizes[0], sizes[-1], *sizes[1:-1]]
        return f"[{', '.join('N' if size == symbol(BATCH) else show_size(size) for size in sizes)}]"

    # --- ops

    def _op(self, slot: Slot, op: Op, number: int) -> None:
        if not op.present and not (slot.position in self.constructor.flags):
            source, value = op.inputs[0], op.output
            self.text[value], self.first[value] = self.text[source], self.first[source]
            self.readers.setdefault(source, []).extend(self.readers.get(value, []))
            for name, holder in list(self.holds.items()):
                if holder is value or self.text[value] == name:
                    self.holds[name] = source
            return
        body = self._present(slot) if not op.present else op
        module = self.constructor.modules.get(slot.position, "")
        if slot.repeated and not (body.unit is not None and body.unit.shared):
            module = f"{module}[{number}]"
        word = op.node if op.index is None else f"{op.node}_{op.index}"
        outputs = list(op.outputs.items())
        if len(outputs) > 1:
            self._several(slot, op, module, word)
            return
        value = outputs[0][1]
        call, after = self._call(slot, body, module, op)
        self._memory(op, body)
        if value in self.constructor.classes.logits and body.graph is None:
            self._logits(slot, op, value, call, after, word)
            return
        expression = fill(after, lambda _: call) if after else call
        if slot.position in self.constructor.flags:
            passed = self.read(op.inputs[0] if not op.present else op.inputs[0], self.first[value])
            flag = self.constructor.flags[slot.position]
            skipped = flag.replace(" is not None", " is None")
            expression = f"{passed} if {skipped} else {expression}" if skipped != flag else f"{expression} if {flag} else {passed}"
        if expression == self.text.get(op.inputs[0] if op.inputs else value) and len(op.inputs) == 1:
            self._alias(op.inputs[0], value)
            return
        self.assign(value, slot, expression, word, op.span)

    def _alias(self, source: Value, value: Value) -> None:
        self.text[value] = self.text[source]
        self.readers.setdefault(source, []).extend(self.readers.get(value, []))

    def _present(self, slot: Slot) -> Op:
        """The op of another body of the class, for a node that the first body leaves out, read on the first body's values."""
        other = next(slots[slot.position].op for slots in self.group.slots if slots[slot.position].op.present)
        mine = slot.op
        wires = next(s for s in self.group.slots if s[slot.position].op is other)
        mapping = {v: m for a, b in zip(wires[: slot.position], self.group.slots[0], strict=False) for v, m in _pairs(a, b)}
        body = next(g for g in self.group.bodies if other in g.ops)
        mapping.update({v: m for v, m in zip(body.inputs.values(), self.group.graph.inputs.values(), strict=True) if v and m})

        def translate(argument: Any) -> Any:
            if isinstance(argument, tuple):
                return tuple(translate(item) for item in argument)
            return mapping[argument] if argument is not None else None

        arguments = tuple(translate(argument) for argument in other.arguments)
        copy = Op(mine.node, mine.index, other.span, other.kind, arguments, dict(mine.outputs), dict(other.results), other.unit)
        copy.layer, copy.graph, copy.wrapper, copy.inner, copy.inner_outputs = other.layer, other.graph, other.wrapper, other.inner, other.inner_outputs
        copy.inner = copy.inner or other.site().inputs
        return copy

    def _memory(self, op: Op, body: Op) -> None:
        """Remembers the memory order of an op's outputs."""
        for key, value in op.outputs.items():
            if body is op:
                self.first[value] = value in self.layout.first
            elif body.graph is not None:
                self.first[value] = next(iter(body.graph.outputs.values())) in self.layout.first
            else:
                self.first[value] = self.layout.op_first(body)
            _ = key

    def _several(self, slot: Slot, op: Op, module: str, word: str) -> None:
        """A call that returns a tuple."""
        call, _ = self._call(slot, op, module, op)
        targets = []
        self._memory(op, op)
        for key, value in op.outputs.items():
            if value not in self.readers:
                targets.append("_")
                continue
            name = self.space.claim(names.local(f"{word}_{key}" if key and value is not op.output else word))
            self.text[value] = name
            targets.append(name)
        self.lines.append(Line(f"{', '.join(targets)} = ", call, op.span))

    def _call(self, slot: Slot, op: Op, module: str, at: Op) -> tuple[str, str]:
        """The expression of an op without its activation, and the activation as a template of `{x}` ("" for none)."""
        if op.parameter is not None:
            return module, ""
        texts = self.arguments(op)
        if op.wrapper is not None:
            return self._wrapped(slot, op, module, texts)
        if op.graph is not None:
            return self._instance(op, module, texts), ""
        code = self.constructor.classes.code(op)
        return self._layer(slot, op, code, module, texts), self._activation(slot, op, code)

    def _instance(self, op: Op, module: str, texts: list[Any]) -> str:
        child = self.constructor.classes.of[op.graph] if op.graph is not None else self.group
        parts = ["None" if text is None else text for text in texts]
        while parts and parts[-1] == "None":
            parts.pop()
        if child.logits and any(value in self.constructor.classes.logits for value in op.outputs.values()):
            parts.append("logits=logits")
        return f"{module}({', '.join(parts)})"

    def _wrapped(self, slot: Slot, op: Op, module: str, texts: list[Any]) -> tuple[str, str]:
        inside = fill(op.wrapper.enter_code(), lambda _: texts[0])
        after = ""
        rank = op.inner[0].rank
        if op.graph is not None:
            name = next(iter(op.graph.inputs))
            inside = convert(inside, rank, True) if self.layout.wants_first(op.graph, name) else inside
            result = self._instance(op, module, [inside])
            turned = next(iter(op.results.values())) in self.layout.first
        else:
            assert op.layer is not None
            code = self.constructor.classes.code(op)
            turned = op.layer.memory(*op.inner) == "first"
            inside = convert(inside, rank, True) if turned else inside
            result = self._layer(slot, op, code, module, [inside])
            after = self._activation(slot, op, code)
        out = op.inner_outputs[0].rank
        if turned and out in (3, 4, 5):
            result = convert(fill(after, lambda _: result) if after else result, out, False)
            after = ""
        leave = fill(op.wrapper.leave_code(), lambda hole: result if hole == "y" else texts[0])
        return leave, after

    def _layer(self, slot: Slot, op: Op, code: Code, module: str, texts: list[Any]) -> str:
        assert op.layer is not None
        constants = self._constants(slot, op, code)
        holes: dict[str, str] = {"self": module, **constants}
        if op.layer.variadic:
            holes.update({str(i): text for i, text in enumerate(texts)})
            holes["list"] = self._list(op, texts)
            whole = holes["list"]
            holes["*"] = whole[1:-1] if whole.startswith("[") else f"*{whole}"
        else:
            for argument, text in zip(op.layer.arguments, texts, strict=True):
                holes[argument.name] = f"[{', '.join(text)}]" if isinstance(text, list) else str(text)
        return fill(code.call, lambda hole: holes[hole])

    def _constants(self, slot: Slot, op: Op, code: Code) -> dict[str, str]:
        """The constants of a call: literals, or attributes where the class's bodies differ."""
        found = {}
        for name, value in code.constants.items():
            cells = self.group.cells(slot.position) if not slot.repeated or slot.loop else {}
            values = {cell: self.constructor.classes.code(other).constants[name] for cell, other in cells.items()}
            if all(same(other, value) for other in values.values()):
                found[name] = literal(value)
                continue
            written = self.group.write(values, cells, f"{slot.node}_{name}") or literal(value)
            word = written if written.isidentifier() else f"{slot.node}_{name}"
            found[name] = self.constructor.keep(names.attribute(word), written, slot)
        return found

    def _activation(self, slot: Slot, op: Op, code: Code) -> str:
        cells = self.group.cells(slot.position) if not slot.repeated or slot.loop else {}
        keras = {cell: self.constructor.classes.code(other).activation for cell, other in cells.items()}
        if len(set(keras.values())) > 1:
            argument = self.group.activation(keras, f"{slot.node}_activation")
            assert argument is not None
            for name in keras.values():
                self.constructor.helpers.update(ACTIVATIONS[name].helpers)
            attribute = self.constructor.keep(names.attribute(argument), argument, slot)
            return f"{attribute}({{x}})"
        known = ACTIVATIONS[code.activation]
        if code.activation == "linear":
            return ""
        self.constructor.helpers.update(known.helpers)
        return known.inline.replace("{axis}", str(code.activation_axis))

    def _logits(self, slot: Slot, op: Op, value: Value, call: str, after: str, word: str) -> None:
        """An output whose last step is left off for logits; where the graph reads it too, both are computed."""
        others = [r for r in self.readers.get(value, []) if r < len(self.group.slots[0])]
        if not others:
            self.assign(value, slot, call, word, op.span)
            self.before[value] = (self.text[value], fill(after, lambda _: self.text[value]))
            return
        name = self.space.claim(names.local(f"{word}_logits"))
        self.lines.append(Line(f"{name} = ", call, op.span, self.shape(value)))
        self.assign(value, slot, fill(after, lambda _: name), word, op.span)
        self.before[value] = (name, self.text[value])

    # --- loops

    def _loop(self, slot: Slot) -> None:
        op = slot.op
        shared = op.unit is not None and op.unit.shared
        attribute = self.constructor.modules.get(slot.position, "")
        header, inner = [], []
        if attribute and not shared:
            item = self._item_name(slot)
            header.append((item, attribute))
            module = item
        else:
            module = attribute
        walks = {p: w for p in range(len(op.arguments)) if p not in slot.carried and (w := self.group.wiring.items(slot, p))}
        for place, (other, key, step) in walks.items():
            source = self.lists[other, key]
            name = self.space.claim(_singular(source))
            header.append((name, source if step == 1 else f"reversed({source})"))
            inner.append((op.arguments[place], name))
        carried = self._enter(slot)
        saved = {value: self.text[value] for value, _ in inner if value in self.text}
        for value, name in inner:
            self.text[value] = name
        targets, appends = self._targets(slot, carried)
        call, after = self._call(slot, op, module, op)
        expression = fill(after, lambda _: call) if after else call
        self._memory(op, op)
        if len(targets) == 1 and carried and len(op.outputs) == 1:
            place = next(iter(slot.carried))
            wish, out = self._wish(op, place), self.first[op.output]
            if wish != out and op.output.tensor.rank in (3, 4, 5):
                expression = convert(expression if atomic(expression) else f"({expression})", op.output.tensor.rank, wish)
                for each in slot.ops:
                    self.first[each.output] = wish
        self.text.update(saved)
        self._write_loop(slot, header, targets, expression, appends)

    def _write_loop(self, slot: Slot, header: list[tuple[str, str]], targets: list[str], expression: str, appends: list[tuple[str, str]]) -> None:
        span = slot.op.span
        if slot.op.repeated == "parallel" and len(appends) == 1 and len(targets) == 1:
            loop = self._header(slot, header)
            self.lines.append(Line(f"{appends[0][0]} = ", f"[{expression} for {loop}]", span))
        else:
            for name, _ in appends:
                self.lines.append(Line(f"{name} = ", "[]", span))
            self.lines.append(Line("", f"for {self._header(slot, header)}:", span))
            shape = self.shape(slot.ops[-1].output) if not appends and len({v.tensor for o in slot.ops for v in o.outputs.values()}) == 1 else ""
            self.lines.append(Line(f"{', '.join(targets)} = ", expression, span, shape, 12))
            self.lines += [Line("", f"{name}.append({item})", span, "", 12) for name, item in appends]
        for op in slot.ops[1:]:
            for key, value in op.outputs.items():
                self.first.setdefault(value, self.first[slot.op.outputs[key]])

    def _header(self, slot: Slot, header: list[tuple[str, str]]) -> str:
        if not header:
            count = self.constructor.count(slot)
            if count.isdigit():
                return f"_ in range({count})"
            attribute = self.constructor.keep(names.attribute(f"{slot.node}_count"), count, slot)
            return f"_ in range({attribute})"
        if len(header) == 1:
            return f"{header[0][0]} in {header[0][1]}"
        items, sources = ", ".join(h[0] for h in header), ", ".join(h[1] for h in header)
        return f"{items} in zip({sources}, strict=True)"

    def _item_name(self, slot: Slot) -> str:
        word = _singular(names.local(slot.node))
        return self.space.claim(word)

    def _enter(self, slot: Slot) -> dict[str, str]:
        """Names the carried values, and gives them what goes into the first instance. Output key -> variable."""
        carried = {}
        last = slot.ops[-1]
        for place, key in slot.carried.items():
            argument = slot.op.arguments[place]
            value = argument[0] if isinstance(argument, tuple) else argument
            start = self.read(value, self._wish(slot.op, place))
            done = all(reader <= slot.position for reader in self.readers.get(value, []))
            if start == self.text[value] and done and start in TEMPORARIES:
                name = start
            else:
                name = self.name(last.outputs[key], slot, slot.node if key in ("", next(iter(last.outputs))) else f"{slot.node}_{key}")
                if name != start:
                    self.lines.append(Line(f"{name} = ", start, slot.op.span))
            self.holds[name] = last.outputs[key]
            self.text[value] = name
            self.first[value] = self._wish(slot.op, place)
            carried[key] = name
        return carried

    def _targets(self, slot: Slot, carried: dict[str, str]) -> tuple[list[str], list[tuple[str, str]]]:
        """The variables that one pass assigns, and the lists it appends to; where the instances' values are read from."""
        targets, appends = [], []
        for key in slot.op.outputs:
            values = [op.outputs[key] for op in slot.ops if key in op.outputs]
            inside = slot.op.repeated == "parallel" or any(self._read_later(value, slot) for value in values[:-1])
            name = carried.get(key)
            if name is None:
                read = inside or self._read_later(values[-1], slot)
                name = self.space.claim(names.local(key) if key else _singular(slot.node)) if read else "_"
            targets.append(name)
            if inside:
                collected = self.space.claim(names.local(f"{slot.node}_{key}" if key and len(slot.op.outputs) > 1 else slot.node))
                appends.append((collected, name))
                self.lists[slot.position, key] = collected
            for number, value in enumerate(values):
                last = number == len(values) - 1 and slot.op.repeated != "parallel"
                self.text[value] = name if last else f"{self.lists.get((slot.position, key), '_')}[{number}]"
        return targets, appends

    def _read_later(self, value: Value, slot: Slot) -> bool:
        return any(reader > slot.position for reader in self.readers.get(value, []))

    # --- the end

    def _return(self) -> None:
        outputs = self.group.graph.outputs
        texts = {}
        for name, value in outputs.items():
            first = False if self.root else None
            if value in self.before:
                plain, full = self.before[value]
                if self.root and self.first[value] and value.tensor.rank in (3, 4, 5):
                    turn = (value.tensor.rank, False)
                    plain, full = convert(plain, *turn), convert(full, *turn)
                texts[name] = f"{plain} if logits else {full}"
            else:
                texts[name] = self.read(value, first)
        if len(texts) == 1:
            self._return_one(next(iter(texts.values())))
        elif self.root:
            items = ", ".join(f'"{name}": {text}' for name, text in texts.items())
            self.lines.append(Line("return ", f"{{{items}}}"))
        else:
            self.lines.append(Line("return ", ", ".join(t if " if " not in t else f"({t})" for t in texts.values())))

    def _return_one(self, text: str) -> None:
        """Returns what the last statement computed without a name of its own."""
        last = self.lines[-1] if self.lines else None
        if last is not None and last.prefix == f"{text} = " and last.indent == 8:
            self.lines[-1] = Line("return ", last.expression, last.span, last.comment)
        else:
            self.lines.append(Line("return ", text))


def _pairs(a: Slot, b: Slot) -> list[tuple[Value, Value]]:
    return [(v, m) for x, y in zip(a.ops, b.ops, strict=False) for v, m in zip(x.outputs.values(), y.outputs.values(), strict=False)]


def _singular(word: str) -> str:
    word = re.sub(r"ies$", "y", word) if word.endswith("ies") else word
    if word.endswith("s") and not word.endswith("ss") and len(word) > 3:
        return names.local(word[:-1])
    return names.local(f"{word}_layer") if not word.endswith("y") else word

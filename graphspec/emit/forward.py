"""A class's `forward`: one statement for each node, in data order."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from graphspec import names
from graphspec.contract.activations import ACTIVATIONS
from graphspec.diagnostics import Span
from graphspec.emit.calls import Calls
from graphspec.emit.construct import Constructor, Line
from graphspec.emit.format import fill
from graphspec.emit.group import ModuleClass, activated
from graphspec.emit.lifetimes import WORTH, Lifetimes, size, storage
from graphspec.emit.loops import write_loop
from graphspec.emit.representative import representative
from graphspec.emit.scope import TEMPORARIES, Scope, read_steps, turned
from graphspec.emit.slots import Slot
from graphspec.graph import Op, Value
from graphspec.passes.layout import Layout
from graphspec.tensor import BATCH, show_size, symbol


@dataclass(eq=False, slots=True)
class Forward:
    """Writes the statements of one class."""

    constructor: Constructor
    root: bool
    masks: dict[str, Value]  # what the program returns beside its outputs where it is asked for logits
    scope: Scope = field(default_factory=lambda: Scope(names.Namespace()))
    lines: list[Line] = field(default_factory=list)
    lists: dict[tuple[int, str], str] = field(
        default_factory=dict
    )  # (slot, output) -> the list that a loop collects
    logits: dict[Value, str] = field(default_factory=dict)  # value -> how its logits are read
    late: dict[Value, str] = field(
        default_factory=dict
    )  # value -> its activation, which stands in the return
    ends: list[int] = field(default_factory=list)  # step -> how many lines there are after it
    during: dict[int, int] = field(default_factory=dict)  # step -> the bytes that it needs while it runs

    @property
    def step(self) -> int:
        return self.scope.step

    @property
    def group(self) -> ModuleClass:
        return self.constructor.group

    @property
    def layout(self) -> Layout:
        return self.constructor.classes.layout

    @property
    def calls(self) -> Calls:
        return Calls(self.constructor, self.scope, self.lists)

    @property
    def end(self) -> int:
        """The step of the return."""
        return sum(self._steps(slot) for slot in self.group.slots[0])

    def _steps(self, slot: Slot) -> int:
        return 1 if slot.loop else sum(not self._passed(slot, op) for op in slot.ops)

    def _passed(self, slot: Slot, op: Op) -> bool:
        """Whether an op takes no statement: it is left out of all bodies, or is a parameter, which is read
        where it is needed.
        """
        return slot.position not in self.constructor.flags and (not op.present or op.parameter is not None)

    def write(self) -> None:
        """Fills `lines`."""
        graph, slots = self.group.graph, self.group.slots[0]
        inputs = {name: self.group.local(name) for name in graph.inputs}
        self.scope.space = names.Namespace({*TEMPORARIES, *inputs.values(), *self.group.helpers})
        steps, passed = [], set()
        step = 0
        for slot in slots:
            for op in slot.ops:
                steps.append((step, op))
                if self._passed(slot, op):
                    passed |= {op} if not op.present else set()
                elif not slot.loop:
                    step += 1
            step += slot.loop
        returned = [*graph.outputs.values(), *self.masks.values()]
        self.scope.reads = read_steps(steps, returned, passed, step)
        for name, value in graph.inputs.items():
            if value is not None:
                self.scope.inputs.add(value)
                self.scope.bind(value, inputs[name], value in self.layout.first)
        for slot in slots:
            if slot.loop:
                write_loop(self, slot)
                self._stepped(slot.ops)
                continue
            for number, op in enumerate(slot.ops):
                if not self._passed(slot, op):
                    self._op(slot, op, number)
                    self._stepped([op])
                elif op.present:
                    self.scope.attribute(op.output, self.constructor.modules[slot.position])
                else:
                    self.scope.alias(op.inputs[0], op.output)
                    self._pass_logits(op.inputs[0], op.output)
        self._return()

    def _stepped(self, ops: list[Op]) -> None:
        """Ends a step."""
        self.ends.append(len(self.lines))
        self.during[self.step] = max(map(self.constructor.classes.peaks.during, ops))
        self.scope.step += 1

    def release(self, program: int) -> None:
        """Adds a `del` where it lowers what a program needs, which is so much."""
        inputs = frozenset(map(storage, self.scope.inputs))
        lifetimes = Lifetimes(self.scope.bindings.all, self.scope.reads, self.during, inputs, self.end)
        for step, variables in sorted(lifetimes.dels(program).items(), reverse=True):
            self.lines.insert(self.ends[step], Line("del ", ", ".join(variables)))

    def _pass_logits(self, source: Value, value: Value) -> None:
        for table in (self.logits, self.late):
            if source in table:
                table[value] = table[source]

    # --- statements

    def line(
        self, prefix: str, expression: str, span: Span | None, value: Value | None = None, indent: int = 8
    ) -> None:
        """Adds a statement, with its value's shape as a comment."""
        self.lines.append(
            Line(prefix, expression, span, self.shape(value) if value is not None else "", indent)
        )

    def assign(self, value: Value, expression: str, word: str, span: Span | None, first: bool) -> str:
        """Writes `name = expression` and remembers the name."""
        name = self.scope.name(value, word)
        self.scope.bind(value, name, first)
        self.line(f"{name} = ", expression, span, value)
        return name

    def shape(self, value: Value) -> str:
        """The comment that tells a value's shape, in memory; none in a class used for several shapes."""
        if len(self.group.bodies) > 1:
            return ""
        sizes = list(value.tensor.shape)
        if self.scope.first.get(value) and len(sizes) > 2:
            sizes = [sizes[0], sizes[-1], *sizes[1:-1]]
        return f"[{', '.join('N' if size == symbol(BATCH) else show_size(size) for size in sizes)}]"

    def _op(self, slot: Slot, op: Op, number: int) -> None:
        flag = self.constructor.flags.get(slot.position)
        body = op if op.present else representative(self.group, slot)
        module = self.constructor.modules.get(slot.position, "")
        if slot.repeated and not (body.unit is not None and body.unit.shared):
            module = f"{module}[{number}]"
        word = op.node if op.index is None else f"{op.node}_{op.index}"
        if body.graph is not None and self._wants_logits(op):
            self._graph_with_logits(slot, op, module, word, number)
            return
        call, after = self.calls.parts(slot, body, module, number)
        if len(op.outputs) > 1:
            self._several(op, call, word)
            return
        value, first = op.output, self.comes_out_first(op, body)
        if value in self.constructor.classes.logits and after:
            self._layer_with_logits(op, call, after, word, first)
            return
        expression = fill(after, lambda _: call) if after else call
        if flag is not None:
            expression = self._chosen(flag, expression, self.scope.read(op.inputs[0], first))
        elif len(op.inputs) == 1 and expression == self.scope.text[op.inputs[0]]:
            self.scope.alias(op.inputs[0], value)
            self.scope.first[value] = first
            return
        elif after and body.wrapper is None and self._frees(op, body):
            self._in_two(value, call, after, word, op.span, first)
            return
        self.assign(value, expression, word, op.span, first)

    def _frees(self, op: Op, body: Op) -> bool:
        """Whether it pays to let go of what a layer has read before its activation makes a new tensor."""
        classes = self.constructor.classes
        code = classes.code(body)
        if len(op.inputs) != 1 or (code.inplace and ACTIVATIONS[code.activation].inplace is not None):
            return False
        if code.construct is None or op.output in self.group.graph.outputs.values():
            return False
        return size(op.inputs[0]) >= WORTH * classes.peaks.of(classes.groups[-1].graph)

    def _in_two(self, value: Value, call: str, after: str, word: str, span: Span | None, first: bool) -> None:
        """A layer and its activation; two statements where the first overwrites what it reads."""
        assert value.op is not None
        read = self.scope.variable(value.op.inputs[0])
        name = self.scope.name(value, word)
        self.scope.bind(value, name, first)
        if name == read:
            self.line(f"{name} = ", call, span)
            call = name
        self.line(f"{name} = ", fill(after, lambda _: call), span, value)

    def _chosen(self, flag: str, expression: str, passed: str) -> str:
        """What a node gives that may be left out."""
        if flag.endswith(" is not None"):
            return f"{passed} if {flag.removesuffix('not None')}None else {expression}"
        return f"{expression} if {flag} else {passed}"

    def comes_out_first(self, op: Op, body: Op, value: Value | None = None) -> bool:
        """The memory order of an op's output, written for the op of another body where this one leaves it
        out.
        """
        value = op.output if value is None else value
        if body is op:
            return value in self.layout.first
        if body.graph is not None and body.wrapper is None:
            return next(iter(body.results.values())) in self.layout.first
        return self.layout.op_first(body) and value.tensor.rank > 2

    def _several(self, op: Op, call: str, word: str) -> None:
        """A call that returns a tuple."""
        targets = []
        for key, value in op.outputs.items():
            if value not in self.scope.reads:
                targets.append("_")
                continue
            own = f"{word}_{key}" if key and len(op.outputs) > 1 else word
            own = value.name if op.layer is not None and op.index is None else own
            name = self.scope.claim(own)
            self.scope.bind(value, name, value in self.layout.first)
            targets.append(name)
        if len(targets) > 2 and targets[-2:] == ["_", "_"]:
            targets[-2:] = ["*_"]
        self.line(f"{', '.join(targets)} = ", call, op.span)

    # --- logits

    def _wants_logits(self, op: Op) -> bool:
        return any(value in self.constructor.classes.logits for value in op.outputs.values())

    def read_inside(self, value: Value) -> bool:
        """Whether anything but the return reads a value."""
        return any(step < self.end for step in self.scope.reads.get(value, ()))

    def _layer_with_logits(self, op: Op, call: str, after: str, word: str, first: bool) -> None:
        """An output whose last step is left off for logits; where the graph reads it too, both are
        computed.
        """
        value = op.output
        if not self.read_inside(value) and call == self.scope.text.get(op.inputs[0]):
            self.scope.alias(op.inputs[0], value)
            self.scope.first[value] = first
            self.logits[value], self.late[value] = call, after
            return
        if not self.read_inside(value):
            name = self.assign(value, call, word, op.span, first)
            self.logits[value], self.late[value] = name, after
            return
        name = self.scope.claim(f"{word}_logits")
        self.scope.first[value] = first
        self.line(f"{name} = ", call, op.span, value)
        self.assign(value, fill(after, lambda _: name), word, op.span, first)
        self.logits[value] = name

    def _graph_with_logits(self, slot: Slot, op: Op, module: str, word: str, number: int) -> None:
        """An instance whose outputs end in an activation: it is asked for what this class is asked for, or,
        where its
        probabilities are read here too, for logits."""
        assert op.graph is not None
        classes = self.constructor.classes
        ending = {
            key: classes.ending[op.results[key]] for key in op.outputs if op.results[key] in classes.logits
        }
        both = any(
            value not in classes.logits or self.read_inside(value)
            for value in map(op.outputs.get, ending)
            if value
        )
        call, _ = self.calls.parts(slot, op, module, number, logits="True" if both else "logits")
        if not both:
            if len(op.outputs) > 1:
                self._several(op, call, word)
            else:
                self.assign(op.output, call, word, op.span, self.comes_out_first(op, op))
            self.logits.update({op.outputs[key]: self.scope.text[op.outputs[key]] for key in ending})
            return
        targets = []
        for key, value in op.outputs.items():
            self.scope.first[value] = self.comes_out_first(op, op, value)
            own = f"{word}_{key}" if key and len(op.outputs) > 1 else word
            name = self.scope.claim(f"{own}_logits" if key in ending else own)
            targets.append(name)
            if key not in ending:
                self.scope.bind(value, name, self.scope.first[value])
        self.line(f"{', '.join(targets)} = ", call, op.span)
        for name, (key, value) in zip(targets, op.outputs.items(), strict=True):
            if key in ending:
                own = f"{word}_{key}" if key and len(op.outputs) > 1 else word
                first = self.scope.first[value]
                self.assign(value, activated(ending[key], name, value, first), own, op.span, first)
                self.logits[value] = name

    # --- the end

    def _return(self) -> None:
        if self.masks:
            self._return_masks()
            return
        texts = {}
        for name, value in self.group.graph.outputs.items():
            first = False if self.root else value in self.layout.first
            texts[name] = self._returned(value, first)
        if len(texts) == 1:
            self._return_one(next(iter(texts.values())))
        elif self.root:
            self.lines.append(Line("return ", _dictionary(texts)))
        else:
            self.lines.append(
                Line("return ", ", ".join(t if " if " not in t else f"({t})" for t in texts.values()))
            )

    def _return_masks(self) -> None:
        """Returns everything where logits are asked for, else what the model gives."""
        outputs = self.group.graph.outputs
        asked = {name: self._logits(value) for name, value in outputs.items()}
        asked |= {name: self.scope.read(value, False) for name, value in self.masks.items()}
        plain = {name: self._plain(value, False) for name, value in outputs.items()}
        self.lines.append(Line("", "if logits:"))
        self.lines.append(Line("return ", _dictionary(asked), indent=12))
        text = next(iter(plain.values())) if len(plain) == 1 else _dictionary(plain)
        self.lines.append(Line("return ", text))

    def _logits(self, value: Value) -> str:
        text = self.logits.get(value)
        if text is None or value not in self.constructor.classes.logits:
            return self._plain(value, False)
        return turned(text, value.tensor.rank, self.scope.first[value], False)

    def _returned(self, value: Value, first: bool) -> str:
        """How an output is returned, and its logits where they are asked for."""
        text, logits = self._plain(value, first), self.logits.get(value)
        rank, now = value.tensor.rank, self.scope.first[value]
        if logits is None or value not in self.constructor.classes.logits:
            return text
        logits = turned(logits, rank, now, first)
        return text if logits == text else f"{logits} if logits else {text}"

    def _plain(self, value: Value, first: bool) -> str:
        """How an output is read, its activation included."""
        text = self.scope.text[value]
        if value in self.late:
            text = fill(self.late[value], lambda _: self.scope.text[value])
        return turned(text, value.tensor.rank, self.scope.first[value], first)

    def _return_one(self, text: str) -> None:
        """Returns what the last statement computed without a name of its own."""
        last = self.lines[-1] if self.lines else None
        if last is not None and last.prefix == f"{text} = " and last.indent == 8:
            self.lines[-1] = Line("return ", last.expression, last.span, last.comment)
        else:
            self.lines.append(Line("return ", text))


def _dictionary(texts: Mapping[str, str]) -> str:
    items = ", ".join(f'"{name}": {text}' for name, text in texts.items())
    return f"{{{items}}}"

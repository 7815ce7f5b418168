"""A class's `forward`: one statement per node in data order, then nested, named, and cleared of dead code."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from dataclasses import dataclass

from graphspec.diagnostics import Span
from graphspec.emit.activations import activated
from graphspec.emit.body import Assign, Effect, If, Return
from graphspec.emit.calls import Ending, turned
from graphspec.emit.chains import is_chain
from graphspec.emit.code import Read, Variable, call, choice, item, name, reads
from graphspec.emit.loops import singular, write_loop
from graphspec.emit.nest import Nesting
from graphspec.emit.optional import joined
from graphspec.emit.printer import WIDTH, bare, flat
from graphspec.emit.scope import ForwardScope
from graphspec.emit.slots import Slot
from graphspec.emit.variables import Namer, merge_copies
from graphspec.graph import Op, Value
from graphspec.tensor import BATCH, Dim, show_size, symbol
from graphspec.traced import Symbolic, as_code, formula_of

SHORT = 3
"""So many names and operations has a size in a comment; else it is a number."""


@dataclass(eq=False, slots=True)
class Forward(ForwardScope):
    """Writes the statements of one class."""

    def write(self) -> None:
        """Fills `body`, with a statement for each step."""
        slots = {op: slot for slot in self.group.template.slots for op in slot.ops}
        self._find_ends(slots)
        for word in self.group.inputs:
            local, value = self.group.input(word), self.group.graph.inputs[word]
            assert value is not None
            variable = Variable(local, [value], local, is_argument=True)
            self.parameters.append(variable)
            self.values.bind(value, variable.read(), value in self.layout.channels_first)
        self.parameters += self.group.borrowed.values()
        for op in self.group.graph.ops:
            slot = slots.get(op)
            if slot is None:
                self._pass(op)
            elif op is slot.op:
                self._slot(slot)
        self._return()

    def finish(self) -> None:
        """Nests the statements, and names the variables."""
        results = [each for each in self.body if isinstance(each, Assign | Return)]
        shown = {each: text for each in results if (text := self.shape(each))}
        self.body = Nesting(joined(self.body), shown).nested()
        functions = {group.name for group in self.constructor.classes.groups if group.is_function}
        taken = {*self.group.helpers, *functions}
        self.body = merge_copies(self.body)
        Namer(self.body, self.parameters, taken).run()

    def _find_ends(self, slots: Mapping[Op, Slot]) -> None:
        """Fills `ends` and `inside`. A read of a left-out node's output is a read of the value passed on."""
        end = len(self.group.template.slots)
        self.ends = dict.fromkeys([*self.group.graph.outputs.values(), *self.masks.values()], end)
        for op in reversed(self.group.graph.ops):
            slot = slots.get(op)
            passed = slot is None or not (op.present or slot.position in self.constructor.presence)
            end = self.last_read(op.output) if slot is None or passed else slot.position
            read = op.inputs[:1] if passed else op.inputs
            if slot is not None and slot.position in self.constructor.presence:
                passed_on = self._passed(slot, op)
                read = (*read, passed_on) if passed_on is not None else read
            for value in read:
                self.ends[value] = max(self.last_read(value), end)
                if not passed or op.output in self.inside:
                    self.inside.add(value)

    # --- statements

    def assign(
        self, value: Value, code: ast.expr, word: str, span: Span | None, channels_first: bool, ops: list[Op]
    ) -> Variable:
        """Assigns a value to a new variable; nesting later removes needless ones."""
        variable = Variable(word, [value])
        self.body.append(Assign([variable], code, span, value, channels_first, ops))
        self.values.bind(value, variable.read(), channels_first)
        return variable

    def shape(self, statement: Assign | Return) -> str:
        """The comment with a result's shape in memory, in the class of the program: a block has many."""
        value = statement.result
        if value is None or self.optional or not self.group.is_main:
            return ""
        sizes = list(value.tensor.shape)
        if statement.channels_first and len(sizes) > 2:
            sizes = [sizes[0], sizes[-1], *sizes[1:-1]]
        return f"[{', '.join(map(self._size, sizes))}]"

    def _size(self, size: Dim) -> str:
        """A size in a comment: over the arguments of the class where it follows from them."""
        if size == symbol(BATCH):
            return "N"
        tree = formula_of(size)
        said = tree is not None and tree.length <= SHORT and any(tree.leaves())
        code = as_code(tree, self._argument) if said and tree is not None else None
        return flat(code) if code is not None else show_size(size)

    def _argument(self, leaf: Symbolic) -> ast.expr | None:
        named = {arg.param: arg.name for arg in self.group.args.values()}
        word = named.get(leaf.parts[0]) if leaf.kind == "param" else None
        return name(word) if word is not None else None

    @property
    def optional(self) -> bool:
        """Whether instances lack nodes, so that a value may be another one."""
        return bool(self.constructor.presence)

    def _slot(self, slot: Slot) -> None:
        if slot.loop and is_chain(self.constructor.classes, self.group, slot):
            self._chain(slot)
        elif slot.loop:
            write_loop(self, slot)
        else:
            for number, op in enumerate(slot.ops):
                self._op(slot, op, number)

    def _op(self, slot: Slot, op: Op, number: int) -> None:
        presence = self.constructor.presence.get(slot.position)
        if not op.present and presence is None:
            self._pass(op)
            return
        module = self.constructor.modules.get(slot.position)
        if op.parameter is not None or self.constructor.classes.is_held(op):
            assert module is not None
            if presence is None or (presence.tests(module) and self._passed(slot, op) is None):
                self.values.bind(op.output, module, False)
                return
        if slot.repeated and isinstance(module, ast.Attribute) and not _is_shared(op):
            module = item(module, number)
        word = op.node if op.index is None else f"{op.node}_{op.index}"
        if op.graph is not None and self._wants_logits(op):
            self._graph_with_logits(slot, op, module, word, number)
            return
        self._turn_lists(op)
        code, ending = self.calls.parts(slot, op, module, number)
        if op.updates:
            effect = Effect(code, op.span)
            self.body.append(effect if presence is None else If(presence.test, [effect]))
            return
        if len(op.outputs) > 1:
            self._several(op, code, word)
            return
        value, channels_first = op.output, op.output in self.layout.channels_first
        if ending is not None and value in self.constructor.classes.ending:
            self._layer_with_logits(op, code, ending, word, channels_first)
        elif presence is not None:
            computed = ending.apply(code) if ending is not None else code
            instead = self._passed(slot, op)
            passed: ast.expr = ast.Constant(None)
            if instead is not None:  # it stays in its memory order, and what is there joins it
                computed = turned(
                    computed, value.tensor.rank, channels_first, self.values.channels_first[instead]
                )
                passed, channels_first = self.values.code[instead], self.values.channels_first[instead]
            self.assign(value, presence.choose(computed, passed), word, op.span, channels_first, [op])
        elif ending is not None:
            apart = not isinstance(code, Read) and ending.twice
            operand = self._step(value, code, word, op, channels_first) if apart else code
            self.assign(value, ending.apply(operand), word, op.span, channels_first, [] if apart else [op])
        elif isinstance(code, Read):
            self.values.bind(value, code, channels_first)
        else:
            self.assign(value, code, word, op.span, channels_first, [op])

    def _turn_lists(self, op: Op) -> None:
        """Permutes the items of each list that an op merges in another memory order."""
        if op.layer is None or not op.layer.variadic or op.wrapper is not None:
            return
        code, wish = self.constructor.classes.code(op), self.calls.wish(op, 0)
        listed = [each for each in self.group.wiring.group(op.inputs) if each.all and each in self.lists]
        for source in listed if code.whole or "{list}" in code.call else ():
            collected = self.lists[source]
            rank, first = collected.holds[0].tensor.rank, self.values.channels_first[collected.holds[0]]
            each = Variable(singular(collected.word, "item"), item=True)
            permuted = turned(each.read(), rank, first, wish)
            if isinstance(permuted, Read):
                continue
            loop = ast.comprehension(each.read(), collected.read(), [], 0)
            variable = Variable(collected.word, collected.holds, listed=True)
            self.body.append(Assign([variable], ast.ListComp(permuted, [loop]), op.span))
            self.lists[source] = variable
            for number, value in enumerate(collected.holds):
                self.values.bind(value, item(variable.read(), number), wish)

    def _step(self, value: Value, code: ast.expr, word: str, op: Op, channels_first: bool) -> Read:
        """A layer's call, before its activation."""
        variable = Variable(word, [value])
        self.body.append(Assign([variable], code, op.span, None, channels_first, [op]))
        return variable.read()

    def _pass(self, op: Op) -> None:
        """A node that is left out passes its input on, or nothing."""
        value = op.output
        if not op.inputs:
            self.values.bind(value, ast.Constant(None), value in self.layout.channels_first)
            return
        source = op.inputs[0]
        self.values.bind(value, self.values.code[source], self.values.channels_first[source])
        if source in self.logits:
            self.logits[value] = self.logits[source]
        if source in self.late:
            self.late[value] = self.late[source]

    def _chain(self, slot: Slot) -> None:
        """A repeated node that is one `nn.Sequential`."""
        first, last = slot.ops[0], slot.ops[-1]
        module = self.constructor.modules[slot.position]
        code = call(module, self.values.read(first.arguments[0], self.calls.wish(first, 0)))
        self.assign(
            last.output, code, slot.node, first.span, last.output in self.layout.channels_first, slot.ops
        )

    def _passed(self, slot: Slot, op: Op) -> Value | None:
        """The value read in place of an absent node."""
        instead = self.group.template.passed.get(slot.position, op.inputs[0] if op.inputs else None)
        if instead is None and op.when is not None and op.passes:  # its input is nothing there, too
            return op.inputs[0]
        return instead

    def _several(self, op: Op, code: ast.expr, word: str) -> None:
        """A call that returns a tuple."""
        targets: list[Variable | None] = []
        several = sum(self.last_read(value) >= 0 for value in op.outputs.values()) > 1
        first_part = op.layer.first_part if op.layer is not None and several else ""
        for key, value in op.outputs.items():
            if self.last_read(value) < 0:
                targets.append(None)
                continue
            part_name = f"{word}_{key}" if key and len(op.outputs) > 1 else word
            part_name = value.name if op.layer is not None and op.index is None else part_name
            part_name = f"{part_name}_{first_part}" if first_part and not key else part_name
            variable = Variable(part_name, [value])
            self.values.bind(value, variable.read(), value in self.layout.channels_first)
            targets.append(variable)
        self.body.append(Assign(targets, code, op.span, ops=[op]))

    # --- logits

    def _wants_logits(self, op: Op) -> bool:
        return any(value in self.constructor.classes.ending for value in op.outputs.values())

    def _layer_with_logits(
        self, op: Op, code: ast.expr, ending: Ending, word: str, channels_first: bool
    ) -> None:
        """An output whose last step is left off for logits.

        If the graph reads the output, too, both are computed.
        """
        value = op.output
        if isinstance(code, Read):
            logits = code
        else:
            variable_name = f"{word}_logits" if value in self.inside else word
            variable = Variable(variable_name, [value])
            self.body.append(Assign([variable], code, op.span, value, channels_first, [op]))
            logits = variable.read()
        self.logits[value] = logits
        if value in self.inside:
            self.assign(value, ending.apply(logits), word, op.span, channels_first, [])
        else:
            self.values.bind(value, logits, channels_first)
            self.late[value] = ending

    def _graph_with_logits(self, slot: Slot, op: Op, module: ast.expr | None, word: str, number: int) -> None:
        """An instance whose outputs end in an activation.

        The `logits` argument of this class is passed on to it. If its probabilities are read here, too, it
        returns logits.
        """
        assert op.graph is not None
        classes = self.constructor.classes
        endings = {key: classes.ending_of(op, key) for key in op.outputs if op.results[key] in classes.ending}
        ended = [value for key, value in op.outputs.items() if key in endings]
        both = any(value not in classes.ending or value in self.inside for value in ended)
        asked = ast.Constant(True) if both else name("logits")
        code, _ = self.calls.parts(slot, op, module, number, logits=asked)
        if not both:
            if len(op.outputs) > 1:
                self._several(op, code, word)
            else:
                self.assign(op.output, code, word, op.span, op.output in self.layout.channels_first, [op])
            self.logits |= {value: self.values.code[value] for value in ended}
            return
        targets: list[Variable | None] = []
        for key, value in op.outputs.items():
            channels_first = value in self.layout.channels_first
            part_name = f"{word}_{key}" if key and len(op.outputs) > 1 else word
            variable = Variable(f"{part_name}_logits" if key in endings else part_name, [value])
            targets.append(variable)
            self.values.bind(value, variable.read(), channels_first)
        self.body.append(Assign(targets, code, op.span, ops=[op]))
        for key, value in op.outputs.items():
            if key in endings:
                part_name = f"{word}_{key}" if key and len(op.outputs) > 1 else word
                self.logits[value], channels_first = (
                    self.values.code[value],
                    self.values.channels_first[value],
                )
                code = activated(endings[key], self.logits[value], value, channels_first)
                self.assign(value, code, part_name, op.span, channels_first, [])

    # --- the end

    def _return(self) -> None:
        outputs = self.group.graph.outputs
        if self.masks:
            self._return_masks(outputs)
            return
        returned = {key: self._returned(value) for key, value in outputs.items()}
        if len(returned) == 1:
            self.body.append(Return(next(iter(returned.values()))))
        elif self.root:
            self.body.append(Return(_dictionary(self._activate_together(returned))))
        else:
            self.body.append(Return(ast.Tuple(list(returned.values()), ast.Load())))

    def _activate_together(self, outputs: dict[str, ast.expr]) -> dict[str, ast.expr]:
        """Outputs that are activated unless logits are requested; two or more share one condition."""
        late = {key: parts for key, code in outputs.items() if (parts := _late(code)) is not None}
        changed = [read.variable for read, _ in late.values()]
        others = {read.variable for key in outputs.keys() - late.keys() for read in reads(outputs[key])}
        if len(late) < 2 or len(set(changed)) < len(changed) or others.intersection(changed):
            return outputs
        steps: list[Assign | Effect | Return] = [
            Assign([read.variable], code) for read, code in late.values()
        ]
        targets = ", ".join(variable.word for variable in changed)
        values = ast.Tuple([step.value for step in steps], ast.Load())
        if 12 + len(targets) + 3 + len(bare(values)) <= WIDTH:
            steps = [Assign(list(changed), values)]
        self.body.append(If(ast.UnaryOp(ast.Not(), name("logits")), steps))
        return outputs | {key: read for key, (read, _) in late.items()}

    def _return_masks(self, outputs: Mapping[str, Value]) -> None:
        """Returns everything if logits are requested, otherwise the outputs of the model."""
        asked, results = {}, {}
        for key, value in outputs.items():
            logits, ending = self._logits_of(value)
            asked[key] = logits
            results[key] = ending.apply(logits) if ending is not None else self.values.read(value, False)
        asked |= {key: self.values.read(value, False) for key, value in self.masks.items()}
        self.body.append(If(name("logits"), [Return(_dictionary(asked))]))
        alone = next(iter(results.values())) if len(results) == 1 else None
        self.body.append(Return(alone if alone is not None else _dictionary(results)))

    def _logits_of(self, value: Value) -> tuple[ast.expr, Ending | None]:
        """The logits of an output in the memory order of the return, and the activation that they lack.

        For an output without an activation, these are the output itself and None.
        """
        wish = self._returned_first(value)
        if self._renames(value):
            now = self.values.channels_first[value]
            return turned(self.late[value].apply(self.values.code[value]), value.tensor.rank, now, wish), None
        logits = self.logits.get(value)
        if logits is None or value not in self.constructor.classes.ending:
            return self.values.read(value, wish), None
        now, ending = self.values.channels_first[value], self.late.get(value)
        rank = value.tensor.rank
        moved = turned(logits, rank, now, wish)
        if moved is logits or ending is None:
            return moved, ending
        variable = Variable(value.name, [value])
        self.body.append(Assign([variable], moved, None, value, wish))
        if not ending.name:
            return variable.read(), ending
        kind = ending.name
        return variable.read(), Ending(lambda x: activated(kind, x, value, wish), kind)

    def _returned_first(self, value: Value) -> bool:
        """Whether an output is returned with channels first."""
        return not self.root and self.layout.gives(self.group.graph, value)

    def _renames(self, value: Value) -> bool:
        """Whether an output is one that ends in an activation, under another name that has no logits."""
        return value in self.late and value not in self.constructor.classes.ending

    def _returned(self, value: Value) -> ast.expr:
        """The returned expression of an output, with its logits if they are requested."""
        logits, ending = self._logits_of(value)
        if ending is not None:
            return choice(name("logits"), logits, ending.apply(logits))
        if self._renames(value):
            return logits
        wish, known = self._returned_first(value), self.logits.get(value)
        if known is None or value not in self.constructor.classes.ending or known is self.values.code[value]:
            return self.values.read(value, wish)
        chosen = choice(name("logits"), known, self.values.code[value])
        return turned(chosen, value.tensor.rank, self.values.channels_first[value], wish)


def _late(code: ast.expr) -> tuple[Read, ast.expr] | None:
    """The variable of an output that is returned as logits, and its activation otherwise."""
    if not isinstance(code, ast.IfExp) or not isinstance(code.body, Read) or code.body.variable.is_argument:
        return None
    alone = {read.variable for read in reads(code.orelse)} == {code.body.variable}
    return (code.body, code.orelse) if alone else None


def _is_shared(op: Op) -> bool:
    return op.unit is not None and op.unit.shared


def _dictionary(values: Mapping[str, ast.expr]) -> ast.Dict:
    return ast.Dict([ast.Constant(key) for key in values], list(values.values()))

"""The expression of an op in `forward`: its call, and the activation after it."""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from graphspec.contract.activations import LINEAR
from graphspec.contract.fields import same
from graphspec.contract.layer import Code, Leaf, Ref
from graphspec.contract.moving import Moving, Stepped, Stepping
from graphspec.contract.scanning import Scanned
from graphspec.contract.state import Updating
from graphspec.emit.activations import applied, flag_argument, function_argument, overwriting
from graphspec.emit.code import (
    Variable,
    call,
    choice,
    equal,
    fill,
    item,
    listed,
    literal,
    name,
    replace,
    walk,
)
from graphspec.emit.code import names as names_of
from graphspec.emit.construct import InitWriter
from graphspec.emit.module_class import Cell, ModuleClass, Varies
from graphspec.emit.slots import Slot, SlotOutput
from graphspec.emit.values import Wish
from graphspec.graph import Graph, Op, Value
from graphspec.passes.layout import TO_FIRST, TO_SPEC, Layout
from graphspec.traced import plain as untraced
from graphspec.weights import names

Argument = ast.expr | list[ast.expr] | None
"""How an argument of an op is read: a tensor, a list of tensors, or not at all."""


def turned(x: ast.expr, rank: int, channels_first: bool, wish: bool | None) -> ast.expr:
    """An expression in the requested memory order."""
    if wish is None or wish == channels_first or rank not in TO_FIRST:
        return x
    return fill("{x}" + (TO_FIRST if wish else TO_SPEC)[rank], {"x": x})


@dataclass(eq=False, slots=True)
class Values:
    """The expressions that read the values of one `forward`, and which of them have channels at axis 1."""

    code: dict[Value, ast.expr] = field(default_factory=dict)
    channels_first: dict[Value, bool] = field(default_factory=dict)

    def bind(self, value: Value, code: ast.expr, channels_first: bool) -> None:
        self.code[value], self.channels_first[value] = code, channels_first

    def read(self, value: Value, channels_first: bool | None = None) -> ast.expr:
        """The expression that reads a value, in the requested memory order; one element has no order."""
        if value.tensor.is_single:
            return self.code[value]
        return turned(self.code[value], value.tensor.rank, self.channels_first[value], channels_first)


@dataclass(frozen=True, slots=True)
class Ending:
    """An activation after a call. `twice` says that it reads its input more than once."""

    apply: Callable[[ast.expr], ast.expr]
    name: str = ""  # "" if it is an attribute of the module
    twice: bool = False


@dataclass(frozen=True, slots=True)
class Calls:
    """Expressions of ops in one class.

    `inside` has the arguments that are variables of a loop, with the memory order of each.
    """

    constructor: InitWriter
    values: Values
    lists: Mapping[SlotOutput, Variable]
    inside: Mapping[int, tuple[ast.expr, bool]] = field(default_factory=dict)

    @property
    def group(self) -> ModuleClass:
        return self.constructor.group

    @property
    def layout(self) -> Layout:
        return self.constructor.classes.layout

    def parts(
        self, slot: Slot, op: Op, module: ast.expr | None, number: int, logits: ast.expr | None = None
    ) -> tuple[ast.expr, Ending | None]:
        """The expression of an op without its activation, and the activation, if there is one."""
        if op.parameter is not None:
            assert module is not None
            return module, None
        arguments = self.arguments(op)
        if op.wrapper is not None:
            return self._wrapped(slot, op, module, arguments, number, logits)
        if op.graph is not None:
            return self._instance(op, op.graph, module, arguments, logits), None
        code = self.constructor.classes.code(op)
        return self._layer(slot, op, code, module, arguments, number), self._ending(slot, op, code, number)

    def arguments(self, op: Op) -> list[Argument]:
        expressions: list[Argument] = []
        for place, argument in enumerate(op.arguments):
            channels_first = self.wish(op, place)
            if place in self.inside:
                value = argument[0] if isinstance(argument, tuple) else argument
                code, order = self.inside[place]
                read = turned(code, value.tensor.rank, order, channels_first) if value is not None else code
                expressions.append([read] if isinstance(argument, tuple) else read)
            elif isinstance(argument, tuple):
                expressions.append([self.values.read(value, channels_first) for value in argument])
            else:
                expressions.append(
                    self.values.read(argument, channels_first) if argument is not None else None
                )
        return expressions

    def wish(self, op: Op, place: int) -> bool:
        """Whether an op reads an argument with channels at axis 1."""
        wish = self.layout.wish(op, place)
        return self.layout.op_first(op) if wish == "any" and op.layer is not None else wish == "first"

    def _instance(
        self,
        op: Op,
        graph: Graph,
        module: ast.expr | None,
        arguments: Sequence[Argument],
        logits: ast.expr | None,
    ) -> ast.expr:
        assert module is not None
        callee = self.constructor.classes.of[graph]
        taken = set(callee.inputs)
        parts = [part for word, part in zip(graph.inputs, arguments, strict=True) if word in taken]
        while parts and parts[-1] is None:
            parts.pop()
        recomputing = self.constructor.classes.recomputing(op) if callee.over is None else None
        called = [module] if recomputing is None else [name(recomputing), module]
        if callee.over is not None:
            called.insert(len(called) - 1, name(callee.name))
        invocation = call(*called, *(_one(part) for part in parts))
        invocation.keywords += self.constructor.lending(graph)
        if logits is not None:
            invocation.keywords.append(ast.keyword("logits", logits))
        return invocation

    def _wrapped(
        self,
        slot: Slot,
        op: Op,
        module: ast.expr | None,
        arguments_read: list[Argument],
        number: int,
        logits: ast.expr | None,
    ) -> tuple[ast.expr, Ending | None]:
        if isinstance(op.wrapper, Scanned):
            return self._scanned(slot, op, op.wrapper, module, arguments_read, number), None
        if isinstance(op.wrapper, Updating):
            return self._updating(op, op.wrapper, module, arguments_read), None
        if isinstance(op.wrapper, Moving):
            return self._moving(slot, op, op.wrapper, module, arguments_read, number, logits), None
        words = list(op.graph.inputs) if op.graph is not None else ["x"]
        place = op.wrapper.place(words)
        outside = _one(arguments_read[place])
        inside = fill(op.wrapper.enter_code(), {"x": outside})
        given = [inside if each == place else part for each, part in enumerate(arguments_read[: len(words)])]
        result, ending, first = self._unwrapped(slot, op, module, given, number, logits)
        if first or not op.wrapper.passes_on:
            result, ending = self._ended(op, result, ending, first), None
        return _direct(fill(op.wrapper.leave_code(), {"y": result, "x": outside})), ending

    def _scanned(
        self,
        slot: Slot,
        op: Op,
        wrapper: Scanned,
        module: ast.expr | None,
        arguments: Sequence[Argument],
        number: int,
    ) -> ast.expr:
        """A cell over the steps of sequences: a function of one step and the states, and what it runs on."""
        words = list(op.graph.inputs) if op.graph is not None else ["step"]
        places = (*wrapper.over, *wrapper.states)
        taken = {*self.group.helpers, "self"}
        called = {place: names.Namespace(taken).claim(names.local(words[place])) for place in places}
        inside = [name(called[p]) if p in called else part for p, part in enumerate(arguments[: len(words)])]
        cell = self._ended(op, *self._unwrapped(slot, op, module, inside, number, None))
        parameters = ast.arguments([], [ast.arg(called[p]) for p in places], None, [], [], None, [])
        every = [
            ast.Tuple([_one(arguments[p]) for p in which], ast.Load())
            for which in (wrapper.over, wrapper.states)
        ]
        masks = [_one(part) for part in arguments[len(words) :]]
        code_of = call("scan", _direct(ast.Lambda(parameters, cell)), *every, *masks)
        return code_of if len(op.outputs) > 1 else item(code_of, 0)

    def _updating(
        self, op: Op, wrapper: Updating, module: ast.expr | None, arguments: Sequence[Argument]
    ) -> ast.expr:
        """The update of a state: a function of it, of values of the batch, and of fixed ones."""
        assert op.graph is not None and op.arguments[0].op is not None
        space = names.Namespace({*self.group.helpers, "self"})
        called = [space.claim(names.local(word)) for word in op.graph.inputs]
        change = self._instance(op, op.graph, module, [name(word) for word in called], None)
        function = ast.Lambda(
            ast.arguments([], [ast.arg(each) for each in called], None, [], [], None, []), change
        )
        own = next(s for s in self.group.template.slots if op.arguments[0].op in s.ops)
        update = ast.Attribute(self.constructor.modules[own.position], "update", ast.Load())
        batch = [_one(part) for part in arguments[1 : 1 + wrapper.batch]]
        return call(update, _direct(function), listed(batch), *map(_one, arguments[1 + wrapper.batch :]))

    def _moving(
        self,
        slot: Slot,
        op: Op,
        wrapper: Moving,
        module: ast.expr | None,
        arguments: list[Argument],
        number: int,
        logits: ast.expr | None,
    ) -> ast.expr:
        """A function of a module and the inputs of an example, with what weights it runs on."""
        words = list(op.graph.inputs) if op.graph is not None else ["x"]
        given = [(word, _one(part)) for word, part in zip(words, arguments, strict=False) if part is not None]
        space = names.Namespace({*self.group.helpers, "self"})
        moved = _moved_module(op, wrapper, module, self.constructor)
        shared = op.unit.name if op.unit is not None and op.unit.shared else op.node
        lent = isinstance(wrapper, Stepped) and wrapper.lent and wrapper.of
        network = space.claim(names.local(lent or shared))
        called = {word: space.claim(names.local(word)) for word, _ in given}
        inside: list[Argument] = [name(called[word]) if word in called else None for word in words]
        body = self._ended(op, *self._unwrapped(slot, op, module, inside, number, logits))
        body = _with_module(body, moved, name(network))
        parameters = [ast.arg(network), *(ast.arg(called[word]) for word, _ in given)]
        function = ast.Lambda(ast.arguments([], parameters, None, [], [], None, []), body)
        if isinstance(wrapper, Stepping):
            first = [self._of_wrapper(slot, number, word) for word in ("learning_rate", "steps")]
            return call("gradient_steps", moved, function, *first, *(part for _, part in given))
        return call("with_weights_moved", moved, function, _one(arguments[-1]), *(part for _, part in given))

    def _unwrapped(
        self,
        slot: Slot,
        op: Op,
        module: ast.expr | None,
        given: Sequence[Argument],
        number: int,
        logits: ast.expr | None,
    ) -> tuple[ast.expr, Ending | None, bool]:
        """The call of what a wrapper wraps, on values in the order of the spec; the activation after it, and
        whether the result has its channels at axis 1.
        """
        out = op.inner_outputs[0].rank
        if op.graph is not None:
            passed: list[Argument] = [
                turned(_one(part), each.rank, False, self.layout.wants_first(op.graph, word))
                if part is not None and each is not None
                else None
                for word, part, each in zip(op.graph.inputs, given, op.inner, strict=True)
            ]
            result = self._instance(op, op.graph, module, passed, logits)
            return result, None, out > 2 and self.layout.gives(op.graph, next(iter(op.results.values())))
        assert op.layer is not None
        code = self.constructor.classes.code(op)
        first = op.layer.memory(*op.inner) == "first"
        absent: list[Argument] = [None] * (len(op.layer.arguments) - 1)  # no mask and no state
        x = turned(_one(given[0]), op.inner[0].rank, False, first)
        result = self._layer(slot, op, code, module, [x, *absent], number)
        return result, self._ending(slot, op, code, number), first and out > 2

    def _ended(self, op: Op, result: ast.expr, ending: Ending | None, first: bool) -> ast.expr:
        """The result with its activation around it, in the order of the spec."""
        return turned(ending.apply(result) if ending else result, op.inner_outputs[0].rank, first, False)

    def _of_wrapper(self, slot: Slot, number: int, word: str) -> ast.expr:
        """A setting of a wrapper: a literal, or an attribute where it is a param."""
        peers = {(body, 0): op for (body, _), op in self._peers(slot, number).items()}
        values = {cell: getattr(op.wrapper, word) for cell, op in peers.items()}
        hint = f"{slot.node}_{word}"
        written = self.constructor.values.write(values, peers, Wish(word, hint))
        if written is None or (slot.loop and _vary(values)):
            raise Varies(slot.node)
        return self._kept_value(written, hint, slot)

    def _layer(
        self,
        slot: Slot,
        op: Op,
        code: Code,
        module: ast.expr | None,
        arguments: Sequence[Argument],
        number: int,
    ) -> ast.expr:
        assert op.layer is not None
        if op.layer.variadic and (collected := self._collected(op, code)) is not None:
            return fill(code.whole, {"list": collected})
        holes: dict[str, ast.expr | Sequence[ast.expr]] = dict(self._constants(slot, op, code, number))
        if "{float}" in code.call:
            holes["float"] = self.constructor.float_type()
        if module is not None:
            holes["self"] = module
        if op.layer.variadic:
            holes |= {str(place): _one(part) for place, part in enumerate(arguments)}
            items = self._list(op, [_one(part) for part in arguments])
            holes["list"] = items
            holes["*"] = items.elts if isinstance(items, ast.List) else [ast.Starred(items, ast.Load())]
        else:
            for argument, part in zip(op.layer.arguments, arguments, strict=True):
                holes[argument.name] = _one(part)
        usual = {
            word
            for word, default in code.defaults.items()
            if isinstance(hole := holes.get(word), ast.expr) and equal(hole, literal(default))
        }
        return fill(code.call, holes, usual)

    def _collected(self, op: Op, code: Code) -> ast.expr | None:
        """The list of all instances of one node, if an op reads just these, and is written over it."""
        sources = list(self.group.wiring.group(op.inputs))
        if len(sources) != 1 or not sources[0].all or sources[0].slot is None:
            return None
        counts = {slots[sources[0].slot].count for slots in self.group.slots}
        several = len(counts) > 1
        if several and not code.whole and "{list}" not in code.call and "{*}" not in code.call:
            raise Varies(op.node)
        collected = self.lists.get(sources[0])
        if collected is None or not code.whole or (len(op.inputs) < 3 and not several):
            return None
        channels_first = self.wish(op, 0)
        if any(self.values.channels_first[v] != channels_first and v.tensor.rank > 2 for v in op.inputs):
            return None
        return collected.read()

    def _list(self, op: Op, operands: list[ast.expr]) -> ast.expr:
        """All inputs of a merge as a list, or the list that a loop collected."""
        parts: list[ast.expr] = []
        position, channels_first = 0, self.wish(op, 0)
        for source in self.group.wiring.group(op.inputs):
            count = (
                len(self.group.template.slots[source.slot].ops)
                if source.all and source.slot is not None
                else 1
            )
            values = op.inputs[position : position + count]
            collected = self.lists.get(source) if source.all else None
            if collected is not None and all(
                self.values.channels_first[v] == channels_first or v.tensor.rank < 3 for v in values
            ):
                parts.append(ast.Starred(collected.read(), ast.Load()))
            else:
                parts += operands[position : position + count]
            position += count
        alone = parts[0].value if len(parts) == 1 and isinstance(parts[0], ast.Starred) else None
        return alone if alone is not None else listed(parts)

    def _peers(self, slot: Slot, number: int) -> dict[Cell, Op]:
        """The ops that share one statement: over all bodies, and all instances of a loop."""
        if not slot.repeated or slot.loop:
            return self.group.cells(slot.position)
        rows = enumerate(slots[slot.position].ops for slots in self.group.slots)
        ops = {(body, 0): row[number] for body, row in rows if number < len(row)}
        return {cell: op for cell, op in ops.items() if op.present}

    def _kept_value(self, written: ast.expr, word: str, slot: Slot) -> ast.expr:
        """A value of the constructor in `forward`: tuples and simple sums of arguments are written there."""
        match written:
            case ast.Constant():
                return written
            case ast.Name():
                return self._kept(written, slot)
            case ast.UnaryOp():
                return ast.UnaryOp(written.op, self._kept_value(written.operand, word, slot))
            case ast.Tuple() if all(map(_is_plain, written.elts)):
                return ast.Tuple([self._kept_value(each, word, slot) for each in written.elts], ast.Load())
            case ast.BinOp() if _is_plain(written):
                left, right = (self._kept_value(each, word, slot) for each in (written.left, written.right))
                return ast.BinOp(left, written.op, right)
        return self.constructor.keep(names.attribute(word), written, slot)

    def _kept(self, argument: ast.Name, slot: Slot) -> ast.expr:
        """An attribute that keeps an argument for `forward`."""
        return self.constructor.keep(names.attribute(argument.id), argument, slot)

    def _constants(self, slot: Slot, op: Op, code: Code, number: int) -> dict[str, ast.expr]:
        """The constants of a call: literals, or attributes where they differ between the class's bodies."""
        constants = {}
        for word, value in code.constants.items():
            peers = self._peers(slot, number)
            values = {
                cell: self.constructor.classes.code(other).constants[word] for cell, other in peers.items()
            }
            alike = all(same(other, value) for other in values.values())
            everywhere = len({body for body, _ in values}) == len(self.group.bodies)
            settled = everywhere and not self.group.is_open(values)
            if alike and (settled or isinstance(value, Ref)):  # a type or a function follows from no param
                constants[word] = literal(untraced(value))
                continue
            if slot.loop and _vary(values):
                raise Varies(slot.node)
            written = self.constructor.values.write(
                {(b, 0): v for (b, _), v in values.items()},
                {(b, 0): o for (b, _), o in peers.items()},
                Wish(word, f"{slot.node}_{word}"),
            )
            if written is None:
                raise Varies(slot.node)
            constants[word] = self._kept_value(written, f"{slot.node}_{word}", slot)
        return constants

    def _ending(self, slot: Slot, op: Op, code: Code, number: int) -> Ending | None:
        """The activation of a layer; a flag or a function of the module where bodies differ."""
        peers = self._peers(slot, number)
        codes = {(body, 0): self.constructor.classes.code(other) for (body, _), other in peers.items()}
        inplace = overwriting(codes.values())
        kinds = {code.activation for code in codes.values()}
        if kinds == {LINEAR}:
            return None
        if len(kinds) == 1:
            return Ending(lambda x: applied(code.activation, x, inplace), code.activation.word)
        if len(kinds) == 2 and LINEAR in kinds and op.wrapper is None:
            (kind,) = kinds - {LINEAR}
            flag = self._kept(flag_argument(self.group, codes, kind), slot)
            return Ending(lambda x: choice(flag, applied(kind, x, inplace), x), twice=True)
        function = self._kept(function_argument(self.group, codes, f"{slot.node}_activation"), slot)
        return Ending(lambda x: call(function, x))


def _is_plain(node: ast.expr) -> bool:
    """Whether a value is a constant, an argument, its negative, or one operation on it and a constant."""
    match node:
        case ast.UnaryOp():
            return _is_plain(node.operand)
        case ast.BinOp():
            return {type(node.left), type(node.right)} == {ast.Name, ast.Constant}
    return isinstance(node, ast.Constant | ast.Name)


def _direct(made: ast.expr) -> ast.expr:
    """An expression with functions themselves where it has functions that only call them."""
    for part in walk(made):
        match part:
            case ast.Lambda(
                args=ast.arguments(args=words), body=ast.Call(func=function, args=given, keywords=[])
            ) if [each.arg for each in words] == [getattr(each, "id", None) for each in given] and not {
                each.arg for each in words
            }.intersection(names_of(function)):
                made = replace(made, part, function)
    return made


def _vary(values: Mapping[Cell, Leaf]) -> bool:
    """Whether a value differs between the instances of one body."""
    of_bodies: dict[int, Leaf] = {}
    return any(not same(of_bodies.setdefault(body, value), value) for (body, _), value in values.items())


def _moved_module(op: Op, wrapper: Moving, module: ast.expr | None, constructor: InitWriter) -> ast.expr:
    """The module whose weights move: that of what is wrapped, or one that is lent to it."""
    if isinstance(wrapper, Stepped) and wrapper.lent and op.graph is not None:
        units = constructor.classes.units.borrowed(op.graph)
        at = next(place for place, unit in enumerate(units) if unit.name == wrapper.of)
        return constructor.lending(op.graph)[at].value
    assert module is not None
    return module


def _with_module(body: ast.expr, module: ast.expr, other: ast.expr) -> ast.expr:
    """An expression with another one in the place of a module."""
    for part in [part for part in walk(body) if isinstance(part, ast.expr) and equal(part, module)]:
        body = replace(body, part, other)
    return body


def _one(part: Argument) -> ast.expr:
    if isinstance(part, list):
        return listed(part)
    return ast.Constant(None) if part is None else part

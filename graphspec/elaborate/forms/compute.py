"""A formula over nodes: its operations become the ops that they would be as nodes, each typed."""

from __future__ import annotations

import math
import operator
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NoReturn

from graphspec.contract import REGISTRY
from graphspec.contract.arrays import as_array, natural_dtype
from graphspec.contract.buffers import ConstantTensor, met
from graphspec.contract.layer import Layer, LayerError
from graphspec.diagnostics import Change, Label, Remedy, Span, did_you_mean, write
from graphspec.diagnostics.foreign_terms import NO_FUNCTIONS
from graphspec.elaborate.body import NodeResult, failed
from graphspec.elaborate.forms.binding import named
from graphspec.elaborate.instance import NodeInstance, near_help
from graphspec.elaborate.lookup import resolve
from graphspec.elaborate.sizes import declared_size
from graphspec.elaborate.values import FAILED, NOTHING, Bound
from graphspec.expressions import Expression, ExpressionError
from graphspec.expressions.formula import (
    Applied,
    FormulaTree,
    ListedParts,
    Part,
    Plain,
    Reference,
    parse_formula,
)
from graphspec.expressions.grammar import CONSTANTS, FUNCTIONS, NUMERIC, WORDS
from graphspec.graph import ArgumentExpression, Formula, Graph, Op, Value, types
from graphspec.settings import SettingError, show, validate
from graphspec.tensor import Tensor

FOLDED: dict[str, Callable[..., Any]] = {
    "add": operator.add,
    "subtract": operator.sub,
    "multiply": operator.mul,
    "divide": operator.truediv,
    "floor_divide": operator.floordiv,
    "mod": operator.mod,
    "power": operator.pow,
    "negative": operator.neg,
    "square": lambda value: value * value,
    "maximum": lambda one, other: max(one, other),
    "minimum": lambda one, other: min(one, other),
    "max": lambda *values: max(values),
    "min": lambda *values: min(values),
    "round": round,
    "floor": math.floor,
    "ceil": math.ceil,
    "abs": abs,
    **NUMERIC,
}
"""Functions of plain numbers, before there is a tensor."""
VALUES = {**WORDS, **CONSTANTS}
"""Names of values, where no node and no input is called so."""


_ARGUMENT = re.compile(r"`(\w+): ([^`]+)`")
"""An argument in a help, `axis: 1`, as it is written beside `op`; a call writes `axis=1`."""


_OP = re.compile(r"\{op: (?P<op>\w+)(?:, from: (?P<read>\{\w+\}|\[[^\]]*\]))?(?P<rest>[^{}]*)\}")
"""An op in a help, `{op: expand_dims, from: {input0}, axis: 1}`, which a formula calls."""


def in_call(help: str, inputs: Sequence[str] = ()) -> str:
    """A remedy as a formula writes it: ops as calls, arguments with `=`; with the texts of the inputs."""

    def call(match: re.Match[str]) -> str:
        read = (match["read"] or "...").removeprefix("[").removesuffix("]")
        tensors = re.sub(r"\{input(\d+)\}", lambda each: inputs[int(each[1])], read)
        rest = re.sub(r"(, [a-z_]\w*): ", r"\1=", match["rest"])
        return f"`{match['op']}({tensors}{rest})`"

    return named(_ARGUMENT.sub(r"`\1=\2`", _OP.sub(call, help)), inputs)


LARGER = {"max": "maximum", "min": "minimum"}
"""Reductions that others also call on two tensors."""


def _named(cls: type[Layer], fields: list[str], values: list[Any], texts: list[str]) -> str | None:
    """How values without names are written by name: by the only field that takes them, one value or all as a
    list. An axis from the front may be that of another order of axes, and two axes may be meant to swap.
    """
    one = values[0] if len(values) == 1 else values
    text = texts[0] if len(values) == 1 else f"[{', '.join(texts)}]"
    fitting = [word for word in fields if _fits(cls, word, one)]
    if len(fitting) == 1:
        safe = len(values) > 2 if len(values) > 1 else fitting[0] != "axis" or one == -1
        return write(f"{fitting[0]}={text}", safe=safe)
    if fitting:
        return f"write {' or '.join(f'`{word}={text}`' for word in fitting)}"
    needed = [word for word in fields if cls.model_fields[word].is_required()]
    if len(needed) != len(values):
        return None
    return write(", ".join(f"{word}={each}" for word, each in zip(needed, texts, strict=True)), safe=False)


def _fits(cls: type[Layer], word: str, value: Any) -> bool:
    """Whether a field takes a value."""
    try:
        validate(cls, {word: value}, "")
    except SettingError as error:
        return all(problem.path[:1] != (word,) for problem in error.problems)
    return True


@dataclass(frozen=True, slots=True)
class PlainOperand:
    """A plain value, and its expression of params if it is one."""

    value: Any
    expression: Expression | None = None


Operand = Value | PlainOperand | list[Any]
"""A part of a formula: a tensor, a plain value, or a list with a tensor in it."""


@dataclass(slots=True)
class GivenOperands:
    """The operands of an op in a formula: tensors and plain values by argument name, and their places. All
    tensors of an op that takes one list are under "".
    """

    tensors: dict[str, Any] = field(default_factory=dict)
    plain: dict[str, PlainOperand] = field(default_factory=dict)
    places: dict[str, Part] = field(default_factory=dict)


class Broken(Exception):
    """Raised when a part has failed, after the error is reported."""


def build(node: NodeInstance) -> NodeResult:
    """The result of a node that is a formula; all its ops but the last are added to the graph here."""
    unknown = [key for key in node.declared.extra]
    for key in unknown:
        help = "it belongs to a function of the formula: sum(x, axis=-1)"
        node.error("unknown-key", node.key(key), f"a formula takes no `{key}`", help)
    try:
        result = FormulaBuilder(node, Formula(str(node.declared.compute))).build()
    except Broken:
        return failed()
    return failed() if unknown or node.inputs.broken else result


def first_reference(node: NodeInstance) -> Bound | None:
    """The value that replaces a left-out formula: its first input."""
    builder = FormulaBuilder(node, Formula(str(node.declared.compute)))
    try:
        parts = builder.parsed().references()
        part = next((each for each in parts if each.text not in VALUES or builder.declares(each)), None)
        if part is None:
            message = f"`{node.name}` is left out and has no first input to replace it"
            node.error("no-input", node.span, message, "use `else` to name a replacement")
            return None
        return builder.bounds(part)[0]
    except Broken:
        return Bound(FAILED, "", None)


@dataclass
class FormulaBuilder:
    """Builds the ops of the formula of one instance, which it has under `key`."""

    node: NodeInstance
    formula: Formula
    key: str = "compute"
    made: Counter[str] = field(default_factory=Counter)
    steps: set[str] = field(default_factory=set)
    constants: dict[str, Value] = field(default_factory=dict)  # by their text, such as `arange(16)`

    @property
    def graph(self) -> Graph:
        """The graph that gets the ops."""
        return self.node.body.graph

    def build(self) -> NodeResult:
        root = self.parsed().root
        result = self.value(root)
        if isinstance(result, Value) and isinstance(root, Applied):
            op = self.graph.ops.pop()  # the node's own is added by who asked for it
            assert op is result.op
            op.node = result.name = self.node.name
            op.options = {"formula": self.formula.text}
            return NodeResult(dict(op.outputs), op)
        if isinstance(result, Value):
            message = f"`{self.node.name}` computes nothing: it is `{self.formula.text.strip()}`"
            self.fail("expression-form", root, message, "read that node directly")
        message = f"the formula of `{self.node.name}` reads no node"
        self.fail("expression-form", root, message, "write a fixed tensor as {constant: [0.2, 0.7]}")

    def parsed(self) -> FormulaTree:
        """The tree of the formula."""
        declared = self.node.declared
        text = declared.compute if self.key == "compute" else declared.extra[self.key]
        if not isinstance(text, str):
            message = f"a formula is a string such as `a + 2 * b`, not {show(text)}"
            self.node.error("wrong-type", self.node.span_of(self.key), message)
            raise Broken
        try:
            return parse_formula(text)
        except ExpressionError as error:
            self.refuse(error)

    def _no_dollar(self, part: Plain) -> None:
        """Refuses a node that is written as a param."""
        name = self.source(part)[1:]
        reference = Reference(part.start, part.end, name)
        if name not in self.node.body.scope.params and self.declares(reference):
            help = write(name, ": a formula names nodes without `$`")
            self.fail("unknown-name", part, f"`{name}` is a node, and no param", help)

    def declares(self, part: Reference) -> bool:
        """Whether a name is that of a node or an input here."""
        body = self.node.body
        return (
            part.text in body.inputs or part.text in body.declared.nodes or part.text in body.declared.inputs
        )

    # --- places and mistakes

    def span(self, part: Part) -> Span:
        path = (*self.node.path, self.key)
        return self.node.body.declared.document.within(path, part.start, part.end)

    def source(self, part: Part) -> str:
        return self.formula.text[part.start : part.end]

    def fail(self, code: str, part: Part, message: str, help: str | None = None, **more: Any) -> NoReturn:
        self.node.error(code, self.span(part), message, help, **more)
        raise Broken

    def refuse(self, error: ExpressionError) -> NoReturn:
        part, help = Part(error.start, error.end), error.help
        if error.code == "unknown-function" and help is not None:  # of another library, by its name there
            called = str(self.node.declared.compute)[error.start : error.end].partition("(")[0]
            word = called.rpartition(".")[2]
            ours = REGISTRY["op"].synonyms.get(word, word)
            words = help.replace(f"`{word}(", f"`{ours}(")
            if isinstance(help, Remedy) and ours in REGISTRY["op"]:
                new = re.sub(rf"^{word}\b", ours, help.change.new or "")
                words = Remedy(words, Change(new))
            help = NO_FUNCTIONS.get(word) or str(words) if ours not in REGISTRY["op"] else words
        self.fail(error.code, part, error.message, help)

    # --- parts

    def value(self, part: Part) -> Operand:
        """The value of a part."""
        match part:
            case Reference(text=text) if text in VALUES and not self.declares(part):
                return PlainOperand(VALUES[text])
            case Reference():
                bounds = self.bounds(part)
                if len(bounds) == 1 and not part.text.endswith("*"):
                    return self.value_of(bounds[0])
                return [self.value_of(bound) for bound in bounds]
            case Plain():
                return self.plain(part)
            case ListedParts():
                items = self.values(part.items)
                if all(isinstance(item, PlainOperand) for item in items):
                    return PlainOperand([item.value for item in items if isinstance(item, PlainOperand)])
                return [each for item in items for each in (item if isinstance(item, list) else [item])]
            case Applied():
                return self.applied(part)
        raise TypeError(f"no value of {type(part).__name__}")

    def values(self, parts: Iterable[Part]) -> list[Operand]:
        """The values of all parts; a mistake in one hides none in another."""
        operands: list[Operand] = []
        broken = False
        for part in parts:
            try:
                operands.append(self.value(part))
            except Broken:
                broken = True
        if broken:
            raise Broken
        return operands

    def bounds(self, part: Reference) -> list[Bound]:
        """The bound values of a reference; its expressions are evaluated first."""
        text, span = self.evaluated(part.text, part), self.span(part)
        values = resolve(self.node.body, text, span, self.node.name, in_formula=True)
        bound_values = [Bound(value, part.text, span) for value in values]
        if any(bound.value is FAILED for bound in bound_values):
            raise Broken
        return bound_values

    def value_of(self, bound: Bound) -> Value:
        if bound.value is NOTHING:
            self.node.refuses_nothing([bound])
        if not isinstance(bound.value, Value):
            raise Broken
        return bound.value

    def evaluated(self, text: str, part: Part) -> Any:
        """A text with its insertions evaluated; errors are reported at their place in the formula."""
        if "$" not in text:
            return text
        node, path = self.node, (*self.node.path, self.key)
        value = node.body.scope.evaluate(text, path, node.index, self.formula.text.index(text, part.start))
        if value is FAILED:
            raise Broken
        return value

    def plain(self, part: Plain) -> PlainOperand:
        if part.inserted is None:
            return PlainOperand(
                self.evaluated(part.value, part) if isinstance(part.value, str) else part.value
            )
        self._no_dollar(part)
        return PlainOperand(self.evaluated(self.source(part), part), part.inserted)

    # --- operations

    def applied(self, part: Applied) -> Operand:
        function = part.function
        cls = REGISTRY["op"].get(function)
        if cls is None:
            self._unknown(part)
        values = self.values([*part.arguments, *(item for _, item in part.keywords)])
        if cls is None:
            raise Broken
        operands = values[: len(part.arguments)]
        keywords = dict(zip((word for word, _ in part.keywords), values[len(operands) :], strict=True))
        plain_values = [operand.value for operand in operands if isinstance(operand, PlainOperand)]
        if function in FOLDED and operands and not keywords and len(plain_values) == len(operands):
            return self._folded(part, plain_values, FUNCTIONS.get(function, len(cls.arguments)))
        return self._op(part, cls, self._read(part, cls, operands, keywords))

    def _unknown(self, part: Applied) -> None:
        word, known = part.function, REGISTRY["op"]
        other = next((kind for kind in REGISTRY if word in REGISTRY[kind]), None)
        help = did_you_mean(word, known, "functions are those of `op`: `graphspec layers`", known.synonyms)
        help = NO_FUNCTIONS.get(word, help)
        if other is not None:
            help = f"`{word}` is a {other}: make it a node, and read that here"
        span = self.span(part.name or part)
        self.node.error("unknown-function", span, f"`{word}` is not an op", help)

    def _folded(self, part: Applied, values: list[Any], most: int | None) -> PlainOperand:
        """An operation on plain numbers, which takes so many at the `most`."""
        for value, argument in zip(values, part.arguments, strict=True):
            if isinstance(value, bool) or not isinstance(value, int | float):
                help = (
                    "a list needs a tensor as the other operand: `[1, 2, 3] * x`"
                    if isinstance(value, list)
                    else None
                )
                self.fail("operand-type", argument, f"`{self.source(argument)}` is not a number", help)
        try:
            if part.function == "power" and all(isinstance(v, int) for v in values) and abs(values[1]) > 64:
                raise OverflowError
            result = FOLDED[part.function](*values)
            fine = not isinstance(result, complex) and math.isfinite(result) and abs(result) < 1e300
        except ZeroDivisionError:
            self.fail("division-by-zero", part, f"`{self.source(part)}` divides by zero")
        except TypeError:
            if len(values) == most and part.function in FUNCTIONS:
                message = f"`{self.source(part.arguments[-1])}` is not a whole number"
                self.fail("operand-type", part.arguments[-1], message)
            takes = "one number" if most == 1 else f"{most} numbers"
            self.fail("call-arguments", part, f"`{part.function}` takes {takes}, and has {len(values)}")
        except (OverflowError, ValueError):
            fine = False
        if not fine:
            self.fail("number-too-large", part, f"`{self.source(part)}` is not a number, or is too large")
        return PlainOperand(result)

    def _read(
        self, part: Applied, cls: type[Layer], operands: list[Operand], keywords: dict[str, Operand]
    ) -> GivenOperands:
        """The operands of an op: tensors, or constants that replace them, in order; all other arguments by
        name.
        """
        bound = GivenOperands()
        values = [operand for operand in (*operands, *keywords.values()) if isinstance(operand, Value)]
        beside = values[0].tensor if values else None
        if cls.variadic:
            bound.tensors[""] = tuple(self._items(part, cls, operands))
            operands = []
        names = [argument.name for argument in cls.arguments]
        if operands and isinstance(operands[0], PlainOperand):
            names = [*cls.positional(len(operands))] or names
        optional = {a.name for a in cls.arguments if not a.required} - {*cls.model_fields}
        for position, operand in enumerate(operands):
            word = names[position] if position < len(names) else None
            if isinstance(operand, PlainOperand) and word in optional:
                # a number is not a tensor, and a list is none to be like
                word = word if isinstance(operand.value, list) and word != "like" else None
            if word is None:
                self._too_many(part, cls, names[:position], operands[position:])
            self._bind(cls, word, operand, part.arguments[position], bound, beside)
        for (word, item), operand in zip(part.keywords, keywords.values(), strict=True):
            if word in bound.places:
                self.fail("call-arguments", item, f"`{word}` of `{cls.spec_name}` is given twice")
            self._bind(cls, word, operand, item, bound, beside)
        missing = [a.name for a in cls.arguments if a.required and a.name not in bound.tensors]
        if missing and not cls.variadic:
            self.fail("call-arguments", part, f"`{cls.spec_name}` needs a tensor `{missing[0]}`")
        return bound

    def _items(self, part: Applied, cls: type[Layer], operands: list[Operand]) -> Iterator[Value]:
        """The tensors of an op that takes a list of them."""
        for operand, place in zip(operands, part.arguments, strict=True):
            items = operand if isinstance(operand, list) else [operand]
            inside = place.items if isinstance(place, ListedParts) else ()
            for number, item in enumerate(items):
                where = inside[number] if len(inside) == len(items) else place
                if not isinstance(item, Value):
                    self._not_in_list(part, cls, operands, where)
                yield item

    def _not_in_list(self, part: Applied, cls: type[Layer], operands: list[Operand], where: Part) -> NoReturn:
        """Reports a value among the tensors of a call that takes a list of them: it has a name."""
        message, field = f"`{cls.spec_name}` takes a list of tensors", next(iter(cls.model_fields), None)
        if field is None:
            self.fail("call-arguments", where, message)
        named = f"{field}={self.source(where)}"
        if where not in part.arguments:
            self.fail("call-arguments", where, message, f"an argument follows the list: `[...], {named}`")
        tensors: list[str] = []
        for operand, place in zip(operands, part.arguments, strict=True):
            if place is not where and isinstance(operand, PlainOperand):
                self.fail("call-arguments", where, message, write(named))
            if place is not where:
                tensors.append(self.source(place).strip("[]"))
        help = write(f"{cls.spec_name}([{', '.join(tensors)}], {named})") if tensors else None
        self.fail("call-arguments", part, message, help)

    def _too_many(self, part: Applied, cls: type[Layer], names: list[str], beyond: list[Operand]) -> NoReturn:
        """Reports values without names beyond the arguments that may have none: how they are written."""
        count, name = len(names), cls.spec_name
        fields = [word for word in cls.model_fields if word not in names]
        rest = part.arguments[count:]
        takes = {0: "nothing", 1: "one argument"}.get(count, f"{count} arguments")
        more = f"; its other arguments have names: {', '.join(fields)}" if fields else ""
        help = None
        if name in LARGER and len(part.arguments) == 2:
            help = f"write `{LARGER[name]}({', '.join(map(self.source, part.arguments))})`"
            if isinstance(beyond[0], PlainOperand):
                help += f", or `axis={self.source(rest[0])}` for the {name} along an axis"
        elif all(isinstance(operand, PlainOperand) for operand in beyond):
            keywords = {word for word, _ in part.keywords}
            values = [operand.value for operand in beyond if isinstance(operand, PlainOperand)]
            free = [word for word in fields if word not in keywords]
            help = _named(cls, free, values, [*map(self.source, rest)])
        place = Part(rest[0].start, rest[-1].end)
        self.fail("call-arguments", place, f"`{name}` takes {takes} without a name{more}", help)

    def _bind(
        self,
        cls: type[Layer],
        word: str,
        operand: Operand,
        part: Part,
        operands: GivenOperands,
        beside: Tensor | None,
    ) -> None:
        """Binds one argument of an op: a tensor, or a plain value. `beside` is a tensor among its
        operands.
        """
        argument = next((a for a in cls.arguments if a.name == word), None)
        operands.places[word] = part
        if isinstance(operand, PlainOperand) and (argument is None or word in cls.model_fields):
            operands.plain[word] = operand
            return
        if isinstance(operand, PlainOperand):
            operand = self._constant(operand, part, cls, word, beside)
        if argument is None:
            known = word in cls.model_fields
            what = "is a plain value, not a tensor" if known else "is not an argument"
            help = None if known else near_help(word, [*cls.model_fields, *(a.name for a in cls.arguments)])
            self.fail("call-arguments", part, f"`{word}` of `{cls.spec_name}` {what}", help)
        if isinstance(operand, list) and not argument.many:
            self.fail(
                "call-arguments", part, f"`{word}` of `{cls.spec_name}` is one tensor, not a list of them"
            )
        if argument.many:
            operands.tensors[word] = tuple(operand) if isinstance(operand, list) else (operand,)
        else:
            operands.tensors[word] = operand

    def _constant(
        self, constant: PlainOperand, part: Part, cls: type[Layer], word: str, beside: Tensor | None
    ) -> Value:
        """A list in the place of a tensor, as a constant."""
        if not isinstance(constant.value, list):
            message = f"`{word}` of `{cls.spec_name}` must be a tensor, and `{self.source(part)}` is not one"
            help = _named(cls, [*cls.model_fields], [constant.value], [self.source(part)])
            self.fail("call-arguments", part, message, help)
        try:
            values = as_array(constant.value)
            dtype = natural_dtype(values)
            if beside is not None and dtype != "bool":
                dtype = met(values, beside).dtype
            layer = ConstantTensor(values=values, dtype=dtype)
            tensor = layer.infer()
        except (ValueError, LayerError) as error:
            self.fail("wrong-type", part, str(error))
        op = Op(self._fresh(), None, self.node.span, "constant", layer=layer, title="Constant")
        op.outputs = {"": Value(tensor, op.node, op)}
        return self._add(op, {"value": constant.value})

    def _op(self, part: Applied, cls: type[Layer], operands: GivenOperands) -> Value:
        """Adds the op with its operands to the graph; returns its first output."""
        self._read_sizes(cls, operands)
        layer = self._layer(part, cls, operands)
        bound: tuple[Any, ...] = tuple(operands.tensors.get(argument.name) for argument in cls.arguments)
        if cls.variadic:
            bound = operands.tensors[""]
            if len(bound) < cls.least_inputs:
                self.fail(
                    "call-arguments", part, f"`{cls.spec_name}` takes at least {cls.least_inputs} tensors"
                )
        try:
            outputs = layer.infer(*(types(each) for each in bound))
        except LayerError as error:
            self._report(part, cls, error, operands)
        constant, text = all(each is None for each in bound), self.source(part)
        if constant and text in self.constants:
            return self.constants[text]
        word = cls.spec_name if constant else ""
        op = Op(self._fresh(word), None, self.node.span, "op", bound, layer=layer, title=cls.spec_name)
        tensors = outputs if isinstance(outputs, tuple) else (outputs,)
        for name, tensor in zip(("", *layer.output_names()), tensors, strict=True):
            op.outputs[name] = Value(tensor, f"{op.node}_{name}" if name else op.node, op)
        op.expressions = tuple(
            ArgumentExpression(each.expression, each.value, (name,))
            for name, each in operands.plain.items()
            if each.expression is not None
        )
        if constant:
            self.constants[text] = op.output
        return self._add(op, {word: given.value for word, given in operands.plain.items()})

    def _read_sizes(self, cls: type[Layer], operands: GivenOperands) -> None:
        """Replaces names of sizes in the arguments of an op by the sizes."""
        for word in cls.named_sizes:
            place = operands.places.get(word)
            if not isinstance(place, ListedParts) or word not in operands.plain:
                continue
            sizes = [
                declared_size(self.node, item, self.span(part)) if isinstance(item, str) else item
                for item, part in zip(operands.plain[word].value, place.items, strict=True)
            ]
            if None in sizes:
                raise Broken
            operands.plain[word] = PlainOperand(sizes)

    def _layer(self, part: Applied, cls: type[Layer], operands: GivenOperands) -> Layer:
        try:
            arguments = {word: constant.value for word, constant in operands.plain.items()}
            return validate(cls, arguments, f"`{cls.spec_name}`")
        except SettingError as error:
            problem = error.problems[0]
            where = operands.places.get(str(problem.path[0])) if problem.path else None
            self.fail(
                problem.code,
                where or part.name or part,
                problem.message,
                problem.help and in_call(problem.help),
            )

    def _report(
        self, part: Applied, cls: type[Layer], error: LayerError, operands: GivenOperands
    ) -> NoReturn:
        """Reports a `LayerError` at the part of the formula that it concerns."""
        if cls.variadic:
            items = [p for a in part.arguments for p in (a.items if isinstance(a, ListedParts) else (a,))]
            feeds = [(value, items[min(i, len(items) - 1)]) for i, value in enumerate(operands.tensors[""])]
        else:
            order = [argument.name for argument in cls.arguments if argument.name in operands.tensors]
            feeds = [(operands.tensors[word], operands.places[word]) for word in order]
        words = [self.source(place) for _, place in feeds]
        message = named(error.message, words)
        help = in_call(error.help, words) if error.help else None
        at = [feeds[i] for i in error.inputs if i < len(feeds) and isinstance(feeds[i][0], Value)]
        if error.argument in operands.places:
            self.fail(error.code, operands.places[error.argument], message, help)
        if not at:
            self.fail(error.code, part, message, help)
        labels = [Label(self.span(place), str(value.tensor)) for value, place in at[:-1]]
        value, place = at[-1]
        self.fail(error.code, place, message, help, label=str(value.tensor), labels=labels)

    def _add(self, op: Op, plain: dict[str, Any]) -> Value:
        """Adds a step to the graph."""
        op.formula, op.options = self.formula, plain
        self.graph.ops.append(op)
        self.node.body.context.count(self.node.span)
        return op.output

    def _fresh(self, word: str = "") -> str:
        """A name for a step, which no node has; a constant has the word of what makes it."""
        declared = self.node.body.declared
        taken = declared.nodes, declared.inputs, declared.shared, self.steps
        stem = name = f"{self.node.name}_{word}" if word else self.node.name
        while name == self.node.name or any(name in names for names in taken):
            self.made[stem] += 1
            name = f"{stem}_{self.made[stem] + bool(word)}"
        self.steps.add(name)
        return name

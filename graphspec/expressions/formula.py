"""Formulas over nodes, the language of `compute`: `mean + exp(0.5 * log_var) * noise`.

    parse_formula("sum(square(x), axis=-1)")  ->  Formula, a tree of calls of ops, references and plain values

Names are references, functions those of `op`, operators functions that Python writes as signs. `$name` and
`$(...)` stand for plain values. Python's own parser reads the text, in which references and insertions are
masked by words; a closed list of node types decides what is allowed. Nothing is evaluated here.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from types import UnionType
from typing import Any

from graphspec.diagnostics import Change, Remedy, shortened
from graphspec.diagnostics.foreign_terms import SHAPED
from graphspec.expressions import UNCLOSED_HELP, Expression, closing, parse_value
from graphspec.expressions.grammar import (
    IDENTIFIER,
    NO_NAME,
    PRODUCT,
    TOO_LARGE,
    WORDS,
    ExpressionError,
    NearMisses,
    Signs,
    error_at,
    is_sound,
    read_tree,
)

MAX_OPERATIONS = 100
"""Operations of one formula: longer ones are told in parts."""
MAX_FORMULA_DEPTH = 40
"""Levels of nesting, the operands of a sum or product on one level."""


@dataclass(frozen=True, slots=True)
class Part:
    """A part of a formula, from `start` to before `end` in its text."""

    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Reference(Part):
    """An input, a node, or an output of a node; it may hold expressions, and `*` at its end. Where none is
    called so, `true`, `null` and `pi` are values.
    """

    text: str


@dataclass(frozen=True, slots=True)
class Plain(Part):
    """A number, a boolean, null or a text; or an insertion, whose value is the params'."""

    value: Any = None
    inserted: Expression | None = None


@dataclass(frozen=True, slots=True)
class ListedParts(Part):
    """Several parts in brackets."""

    items: tuple[Part, ...]


@dataclass(frozen=True, slots=True)
class Applied(Part):
    """A function of `op` on parts; `sign` where it is an operator. `name` is the place of its name."""

    function: str
    arguments: tuple[Part, ...]
    keywords: tuple[tuple[str, Part], ...] = ()
    sign: str = ""
    name: Part | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class FormulaTree:
    """A formula: its text, and what it is."""

    text: str
    root: Part

    def references(self) -> Iterator[Reference]:
        """The references of a formula, in the order of its text."""
        yield from sorted(
            (part for part in parts(self.root) if isinstance(part, Reference)), key=lambda p: p.start
        )


def parts(root: Part) -> Iterator[Part]:
    """A part and all parts inside it."""
    yield root
    if isinstance(root, ListedParts):
        for item in root.items:
            yield from parts(item)
    elif isinstance(root, Applied):
        for item in (*root.arguments, *(value for _, value in root.keywords)):
            yield from parts(item)


BINARY: dict[type, tuple[str, str]] = {
    ast.Add: ("+", "add"),
    ast.Sub: ("-", "subtract"),
    ast.Mult: ("*", "multiply"),
    ast.Div: ("/", "divide"),
    ast.FloorDiv: ("//", "floor_divide"),
    ast.Mod: ("%", "mod"),
    ast.Pow: ("**", "power"),
    ast.MatMult: ("@", "matmul"),
    ast.BitAnd: ("&", "bitwise_and"),
    ast.BitOr: ("|", "bitwise_or"),
}
COMPARE: dict[type, tuple[str, str]] = {
    ast.Eq: ("==", "equal"),
    ast.NotEq: ("!=", "not_equal"),
    ast.Lt: ("<", "less"),
    ast.LtE: ("<=", "less_equal"),
    ast.Gt: (">", "greater"),
    ast.GtE: (">=", "greater_equal"),
}
UNARY: dict[type, tuple[str, str]] = {ast.USub: ("-", "negative"), ast.Invert: ("~", "bitwise_not")}

_FORMS = (
    "a formula has references, numbers, $params, the functions of `op`, + - * / // % ** @, comparisons, "
    "& | ~ and slices"
)
_FOREIGN: Signs = (
    (r"&&", "write `logical_and(a, b)`"),
    (r"\|\|", "write `logical_or(a, b)`"),
    (r"!(?!=)", "write `logical_not(a)`"),
    (r"\?", "write `where(condition, a, b)`"),
)
_REFUSED: tuple[tuple[type | UnionType, str, str], ...] = (
    (ast.BoolOp, "`and` or `or`", "write `logical_and(a, b)` or `logical_or(a, b)`"),
    (ast.IfExp, "`if`", "write `where(condition, a, b)`; a number may be `$(a if condition else b)`"),
    (ast.Lambda, "a lambda", _FORMS),
    (ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp, "a comprehension", _FORMS),
    (ast.JoinedStr, "an f-string", _FORMS),
    (ast.Dict, "a mapping", _FORMS),
    (ast.NamedExpr, "an assignment", "name a part by making it a node"),
    (ast.Starred, "a starred value", "all instances of a node are `node.*`"),
)

_ALMOST: NearMisses = (
    (
        re.compile(r"^\s*if\s+(.+?)\s*(?:then|:)\s*(.+?)\s+else:?\s+(.+)$"),
        "`if` is not part of a formula",
        r"write `where(\1, \2, \3)`",
    ),
    (re.compile(r"(?<![\w.])(\d+\.\d*|\.\d+)[fFdDlL]\b"), "a number ends in no letter", r"write `\1`"),
    PRODUCT,
    (
        re.compile(r"^\s*([A-Za-z_]\w*)\s*=(?!=)\s*((?:(?!\bR_).)*\S)\s*$"),
        "a formula gives no name: that is the key of its node",
        r"write `\2`",
    ),
    (
        re.compile(rf"\b(?!{NO_NAME})([A-Za-z_]\w*)\s+(?!{NO_NAME})([A-Za-z_]\w*)"),
        "there is no operator between two names",
        r"write a call, `\1(\2)`, or an operation, `\1 * \2`",
    ),
)
"""Common mistakes of formulas: a pattern, the mistake, and its remedy."""

_OF_TORCH = {"dim": "axis", "keepdim": "keepdims"}
"""Arguments of PyTorch's functions, by their names here."""
_LIBRARIES = ("np", "numpy", "torch", "tf", "keras", "ops", "K", "F", "jnp", "math")
_DTYPE = re.compile(r"(?:\w+\.)?(b?float\d+|u?int\d+|bool)")
_STEP = rf"\.(?:{IDENTIFIER.pattern}|-?\d+|\$(?:{IDENTIFIER.pattern})|\$\(|\*(?=\s*(?:[,)\]]|$)))"
_TOKEN = re.compile(
    r"(?P<text>'(?:\\.|[^'\\])*'|\"(?:\\.|[^\"\\])*\")"
    r"|(?P<number>(?:\d[\d_]*\.?[\d_]*|\.\d[\d_]*)(?:[eE][+-]?\d+)?)"
    rf"|(?P<name>{IDENTIFIER.pattern})"
    r"|(?P<insertion>\$)"
)
_NEXT = re.compile(_STEP)


@lru_cache(maxsize=4096)
def parse_formula(text: str) -> FormulaTree:
    """Parses a formula. Raises ExpressionError, with offsets in the text."""
    masked, parts_by_offset = _masked(text)
    tree = read_tree(masked, _FORMS, _FOREIGN, _ALMOST)
    _check_size(tree, text)
    return FormulaTree(text, _Reader(text, parts_by_offset).part(tree))


def _masked(text: str) -> tuple[str, dict[int, Part]]:
    """The text with a word as long for each dotted reference and insertion, and what these are by offset."""
    out: list[str] = []
    parts_by_offset: dict[int, Part] = {}
    position = 0
    while match := _TOKEN.search(text, position):
        out.append(text[position : match.start()])
        start, end = match.span()
        if match["insertion"]:
            end = _insertion_end(text, start)
            parts_by_offset[start] = _inserted(text, start, end)
        elif match["name"]:
            end = _reference_end(text, end)
            if end > match.end():
                parts_by_offset[start] = Reference(start, end, text[start:end])
        out.append("R" + "_" * (end - start - 1) if start in parts_by_offset else text[start:end])
        position = end
    return "".join([*out, text[position:]]), parts_by_offset


def _reference_end(text: str, position: int) -> int:
    while step := _NEXT.match(text, position):
        position = _insertion_end(text, step.end() - 2) if step[0].endswith("$(") else step.end()
    return position


def _insertion_end(text: str, start: int) -> int:
    """The end of the `$name` or `$(...)` at `start`."""
    name = IDENTIFIER.match(text, start + 1)
    if name is not None:
        return name.end()
    if text[start + 1 : start + 2] == "(":
        end = closing(text, start + 1)
        if end is None:
            message = f"`{shortened(text[start:])}` is never closed"
            raise ExpressionError("unclosed-expression", message, start, len(text), UNCLOSED_HELP)
        return end + 1
    return start + 1


def _inserted(text: str, start: int, end: int) -> Plain:
    """The `$name` or `$(...)` that is there."""
    try:
        expression = parse_value(text[start:end])
    except ExpressionError as error:
        raise error.shifted(start) from None
    assert isinstance(expression, Expression)
    return Plain(start, end, inserted=expression)


def _check_size(tree: ast.expr, text: str) -> None:
    """Raises for a formula that is too long or nested too deeply, here and when emitted."""
    todo: list[tuple[ast.AST, int]] = [(tree, 1)]
    operations = 0
    while todo:
        node, depth = todo.pop()
        if depth > MAX_FORMULA_DEPTH:
            message = f"the formula is nested more than {MAX_FORMULA_DEPTH} deep"
            raise ExpressionError("expression-too-long", message, 0, len(text), _IN_PARTS)
        operations += isinstance(node, ast.BinOp | ast.UnaryOp | ast.Compare | ast.Call | ast.Subscript)
        if operations > MAX_OPERATIONS:
            message = f"the formula has more than {MAX_OPERATIONS} operations"
            raise ExpressionError("expression-too-long", message, 0, len(text), _IN_PARTS)
        left = node.left if isinstance(node, ast.BinOp) else None
        todo += [(child, depth + (child is not left)) for child in ast.iter_child_nodes(node)]


_IN_PARTS = "make parts of it nodes of their own"
_SHAPES = ("newshape", "shape")
"""The arguments of ops that are shapes."""


class _Reader:
    """Turns Python's tree into parts."""

    def __init__(self, text: str, parts: dict[int, Part]) -> None:
        self.text, self.parts = text, parts

    def part(self, node: ast.expr) -> Part:
        start, end = node.col_offset, node.end_col_offset or node.col_offset
        match node:
            case ast.Name():
                return self._name(node, start, end)
            case ast.Constant():
                return self._constant(node, start, end)
            case ast.BinOp() if type(node.op) in BINARY:
                sign, function = BINARY[type(node.op)]
                return Applied(start, end, function, (self.part(node.left), self.part(node.right)), sign=sign)
            case ast.UnaryOp() if type(node.op) in UNARY:
                sign, function = UNARY[type(node.op)]
                return Applied(start, end, function, (self.part(node.operand),), sign=sign)
            case ast.UnaryOp(op=ast.UAdd()):
                return self.part(node.operand)
            case ast.Compare(ops=[op]) if type(op) in COMPARE:
                sign, function = COMPARE[type(op)]
                both = (self.part(node.left), self.part(node.comparators[0]))
                return Applied(start, end, function, both, sign=sign)
            case ast.Call():
                return self._call(node, start, end)
            case ast.Subscript():
                return self._slice(node, start, end)
            case ast.List() | ast.Tuple():
                return ListedParts(start, end, tuple(self.part(item) for item in node.elts))
        raise self._refused(node)

    def _name(self, node: ast.Name, start: int, end: int) -> Part:
        if start in self.parts:
            return self.parts[start]
        return Reference(start, end, node.id)

    def _constant(self, node: ast.Constant, start: int, end: int) -> Plain:
        value = node.value
        if not isinstance(value, int | float | str):
            raise self._refused(node)
        if isinstance(value, int | float) and not is_sound(value):
            raise error_at(node, "number-too-large", TOO_LARGE)
        return Plain(start, end, value)

    def _call(self, node: ast.Call, start: int, end: int) -> Applied:
        function = node.func
        dotted = self.parts.get(function.col_offset)
        if not isinstance(function, ast.Name) or isinstance(dotted, Reference):
            if isinstance(function, ast.Attribute):
                raise self._refused(function)
            what = self._source(function)
            word = what.rpartition(".")[2]
            help, argument_text, place = _FORMS, self._arguments(node), function
            if "." in what:
                tensor = what.rpartition(".")[0]
                if word in SHAPED and not node.keywords:
                    word, key = SHAPED[word]
                    argument_text = f"{key}=[{argument_text.strip('[]()')}]"
                of = ", ".join(filter(None, (tensor, argument_text)))
                words = f"a function takes its tensor in parentheses: `{word}({of})`"
                help, place = Remedy(words, Change(f"{word}({of})")), node
            if what.partition(".")[0] in _LIBRARIES:
                words = f"functions have no prefix: write `{word}({argument_text})`"
                help, place = Remedy(words, Change(word)), function
            if isinstance(function, ast.Call) and what[:1].isupper():
                layer = what.partition("(")[0]
                help = (
                    f"a layer is a node of its own: {{layer: {layer}, from: {argument_text or '...'}, ...}}"
                )
            raise error_at(place, "unknown-function", f"`{shortened(what)}` cannot be called here", help)
        if isinstance(dotted, Plain):
            message = f"`{self._source(function)}` is a value, not a function"
            raise error_at(function, "unknown-function", message)
        arguments = []
        for argument in node.args:
            if isinstance(argument, ast.Starred):
                raise self._refused(argument)
            arguments.append(self.part(argument))
        keywords = []
        for keyword in node.keywords:
            if keyword.arg is None:
                message = f"`{function.id}` takes no `**`"
                raise error_at(node, "call-arguments", message)
            keywords.append((keyword.arg, self._keyword(keyword)))
        name = Part(function.col_offset, function.end_col_offset or function.col_offset)
        return Applied(start, end, function.id, tuple(arguments), tuple(keywords), name=name)

    def _keyword(self, keyword: ast.keyword) -> Part:
        """The value of an argument; a dtype needs no quotes, and its library is not needed. The names in a
        shape are those of sizes.
        """
        written = self._source(keyword.value)
        if keyword.arg == "dtype" and (dtype := _DTYPE.fullmatch(written)):
            return Plain(keyword.value.col_offset, keyword.value.end_col_offset or 0, dtype[1])
        if keyword.arg in _SHAPES and isinstance(keyword.value, ast.List | ast.Tuple):
            items = tuple(self._size(item) for item in keyword.value.elts)
            return ListedParts(keyword.value.col_offset, keyword.value.end_col_offset or 0, items)
        return self.part(keyword.value)

    def _size(self, node: ast.expr) -> Part:
        """A size of a shape: a text where it has the name of one."""
        for each in ast.walk(node):
            if isinstance(each, ast.Name) and each.col_offset not in self.parts and each.id not in WORDS:
                return Plain(node.col_offset, node.end_col_offset or 0, self._source(node))
        return self.part(node)

    def _arguments(self, node: ast.Call) -> str:
        """The text in the parentheses of a call."""
        inside = self.text[node.func.end_col_offset : node.end_col_offset]
        return re.sub(r"\b(dim|keepdim)(?= *=(?!=))", lambda word: _OF_TORCH[word[1]], inside.strip()[1:-1])

    def _slice(self, node: ast.Subscript, start: int, end: int) -> Applied:
        """A slice: what is in the brackets is the `key` of `get_item`."""
        inside = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
        for each in inside:
            if not self._is_index(each):
                message = "a slice has whole numbers, `$params`, colons, `None` and `...`"
                axis = self._source(each).rpartition(".")[2] == "newaxis"
                data = "for indices that depend on data, use `take` or `take_along_axis`"
                raise error_at(each, "expression-form", message, "write `None`" if axis else data)
        key = self.text[self.text.index("[", node.value.end_col_offset or 0) + 1 : end - 1]
        return Applied(
            start, end, "get_item", (self.part(node.value),), (("key", Plain(start, end, key)),), sign="[]"
        )

    def _source(self, node: ast.expr) -> str:
        return self.text[node.col_offset : node.end_col_offset]

    def _refused(self, node: ast.expr) -> ExpressionError:
        if isinstance(node, ast.Attribute):
            message = f"`.{node.attr}` reads an attribute; in a formula nothing has one"
            return error_at(node, "expression-attribute", message, _FORMS)
        if isinstance(node, ast.Compare):
            help = "combine two: `(a < b) & (b < c)`" if len(node.ops) > 1 else "compare with `==`"
            return error_at(
                node,
                "expression-form",
                "a comparison in a formula has two sides, and is not `in` or `is`",
                help,
            )
        if isinstance(node, ast.UnaryOp):
            return error_at(
                node, "expression-form", "`not` is not part of a formula", "write `logical_not(x)`"
            )
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitXor):
            help = "write a power as `**`; for booleans write `logical_xor(a, b)`"
            if isinstance(node.right, ast.Constant):
                help = Remedy(help, Change("**", "^"))
            return error_at(node, "expression-form", "`^` is not part of a formula", help)
        for kind, what, help in _REFUSED:
            if isinstance(node, kind):
                return error_at(node, "expression-form", f"{what} is not part of a formula", help)
        what = shortened(self._source(node))
        return error_at(node, "expression-form", f"`{what}` is not part of a formula", _FORMS)

    def _is_index(self, node: ast.expr) -> bool:
        """Whether a tree is a slice of whole numbers, one of these, a new axis, or `...`."""
        if isinstance(node, ast.Slice):
            return all(end is None or self._is_whole(end) for end in (node.lower, node.upper, node.step))
        if isinstance(node, ast.Name) and node.id == "None":
            return True
        if isinstance(node, ast.Constant) and node.value is ...:
            return True
        return self._is_whole(node)

    def _is_whole(self, node: ast.expr) -> bool:
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
            node = node.operand
        if isinstance(node, ast.Name):
            return isinstance(self.parts.get(node.col_offset), Plain)
        return isinstance(node, ast.Constant) and type(node.value) is int

"""Numbers that keep the formula they came from, over the names of one body: its params, its file's, the sizes
of its inputs, and the `index` of a repeated node.

Layers compute with them as with any number, and sums, products and quotients keep their formulas. What loses
its formula is a plain number. Formulas are made once each, so that equal ones are one object.
"""

from __future__ import annotations

import ast
import math
import operator
import re
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from typing import Any

from graphspec.tensor import Dim, Floor, Size, Tensor, symbol

LONGEST = 60
"""So many nodes has the longest formula that is kept."""
KEPT = 1 << 16


class Symbolic:
    """A node of a formula: `kind` is an operator, "call", "if", "item", "list", "not", "constant", or a leaf:

    "param" of the body itself, "file" a param of its file, "size" of an input along an axis, "given" for
    whether an input is given, or "index". Made by `formula` alone, and compared by identity.
    """

    __slots__ = ("kind", "length", "parts")

    def __init__(self, kind: str, parts: tuple[Any, ...]):
        self.kind, self.parts = kind, parts
        self.length: int = 1 + sum(part.length for part in parts if isinstance(part, Symbolic))

    def leaves(self) -> Iterator[Symbolic]:
        """Its params, sizes and `index`, each as often as it stands there."""
        if self.kind in LEAVES:
            yield self
        for part in self.parts:
            if isinstance(part, Symbolic):
                yield from part.leaves()


LEAVES = frozenset({"param", "file", "size", "given", "index"})


@lru_cache(KEPT, typed=True)
def _single(kind: str, *parts: Any) -> Symbolic:
    """The one object of a formula as it stands."""
    return Symbolic(kind, parts)


@lru_cache(KEPT, typed=True)
def formula(kind: str, *parts: Any) -> Symbolic:
    """The formula of this kind over these parts; in simplest terms where it is a sum or a product."""
    match kind, parts:
        case "item", (Symbolic(kind="list", parts=items), Symbolic(kind="constant", parts=(int(place),))):
            item: Symbolic = items[place]
            return item
        case "if", (Symbolic(kind="constant", parts=(test,)), chosen, other):
            known: Symbolic = chosen if test else other
            return known
        case "+", (first, second) if first is second and first.kind != "constant":
            return formula("*", _single("constant", 2), first)
        case "compare" | "not" | "%", _ if all(part.kind == "constant" for part in parts):
            return _single("constant", evaluated(_single(kind, *parts), no_value))
    made = _single(kind, *parts)
    if kind not in ("+", "-", "*", "//") or made.length > LONGEST:
        return made
    atoms: dict[str, Symbolic] = {}
    shorter = _of_size(_as_size(made, atoms), atoms)
    return shorter if shorter.length < made.length else made


@lru_cache(KEPT)
def simplest(tree: Symbolic) -> Symbolic:
    """The canonical form of sums and products: one for all that are equal whatever their names stand for."""
    atoms: dict[str, Symbolic] = {}
    return _of_size(_as_size(tree, atoms), atoms)


INDEX = formula("index")


def times(factor: Symbolic, step: Symbolic) -> Symbolic:
    """A product as people write it: a number comes first."""
    return formula("*", *((step, factor) if step.kind == "constant" else (factor, step)))


def _as_size(tree: Symbolic, atoms: dict[str, Symbolic]) -> Dim:
    """A formula as a polynomial; what is none is a symbol, and stands in `atoms`."""
    kind, parts = tree.kind, tree.parts
    if kind == "constant" and type(parts[0]) is int:
        return parts[0]
    if kind in ("+", "-", "*"):
        left, right = _as_size(parts[0], atoms), _as_size(parts[1], atoms)
        return left + right if kind == "+" else left - right if kind == "-" else left * right
    if (
        kind == "//"
        and parts[1].kind == "constant"
        and type(parts[1].parts[0]) is int
        and parts[1].parts[0] > 0
    ):
        return _as_size(parts[0], atoms) // parts[1].parts[0]
    word = next((word for word, atom in atoms.items() if atom is tree), f"{len(atoms):04}")
    atoms[word] = tree
    return symbol(word)


def _of_size(size: Dim, atoms: Mapping[str, Symbolic]) -> Symbolic:
    """A polynomial as a formula, terms in the order of their names, numbers last."""
    if isinstance(size, int):
        return _single("constant", size)
    total: Symbolic | None = None
    for monomial, factor in sorted(size.terms, key=lambda term: (term[0] == (), term[1] < 0, str(term[0]))):
        each: Symbolic | None = None
        for atom in monomial:
            part = _of_floor(atom, atoms) if isinstance(atom, Floor) else atoms[atom]
            each = part if each is None else Symbolic("*", (each, part))
        scale = abs(factor) if total is not None else factor
        if each is None:
            each = _single("constant", scale)
        elif scale != 1:
            each = Symbolic("*", (_single("constant", scale), each))
        total = each if total is None else Symbolic("+" if factor > 0 else "-", (total, each))
    assert total is not None
    return _interned(total)


def _of_floor(floor: Floor, atoms: Mapping[str, Symbolic]) -> Symbolic:
    return Symbolic("//", (_of_size(floor.numerator, atoms), _single("constant", floor.divisor)))


def _interned(tree: Symbolic) -> Symbolic:
    """The one object of a formula that is in simplest terms already."""
    if tree.kind in LEAVES or tree.kind == "constant":
        return tree
    return _single(tree.kind, *(_interned(p) if isinstance(p, Symbolic) else p for p in tree.parts))


# --- numbers with formulas


class TracedInt(int):
    """An integer with its formula."""

    formula: Symbolic

    def __add__(self, other: Any) -> Any:
        return _computed("+", self, other)

    def __radd__(self, other: Any) -> Any:
        return _computed("+", other, self)

    def __sub__(self, other: Any) -> Any:
        return _computed("-", self, other)

    def __rsub__(self, other: Any) -> Any:
        return _computed("-", other, self)

    def __mul__(self, other: Any) -> Any:
        return _computed("*", self, other)

    def __rmul__(self, other: Any) -> Any:
        return _computed("*", other, self)

    def __floordiv__(self, other: Any) -> Any:
        return _computed("//", self, other)

    def __rfloordiv__(self, other: Any) -> Any:
        return _computed("//", other, self)

    def __truediv__(self, other: Any) -> Any:
        return _computed("/", self, other)

    def __rtruediv__(self, other: Any) -> Any:
        return _computed("/", other, self)

    def __mod__(self, other: Any) -> Any:
        return _computed("%", self, other)

    def __rmod__(self, other: Any) -> Any:
        return _computed("%", other, self)

    def __pow__(self, other: Any, modulus: Any = None) -> Any:
        return _computed("**", self, other)

    def __rpow__(self, other: Any, modulus: Any = None) -> Any:
        return _computed("**", other, self)

    def __neg__(self) -> Any:
        return _computed("*", -1, self)

    def __reduce__(self) -> Any:
        return int, (int(self),)


class TracedFloat(float):
    """A float with its formula."""

    formula: Symbolic
    __add__, __radd__ = TracedInt.__add__, TracedInt.__radd__
    __sub__, __rsub__ = TracedInt.__sub__, TracedInt.__rsub__
    __mul__, __rmul__ = TracedInt.__mul__, TracedInt.__rmul__
    __truediv__, __rtruediv__ = TracedInt.__truediv__, TracedInt.__rtruediv__
    __pow__, __rpow__ = TracedInt.__pow__, TracedInt.__rpow__

    def __neg__(self) -> Any:
        return _computed("*", -1, self)

    def __reduce__(self) -> Any:
        return float, (float(self),)


class TracedText(str):
    """A text into which numbers with formulas were written: its `parts` are texts and numbers."""

    parts: tuple[Any, ...]

    def replace(self, old: Any, new: Any, count: Any = -1, /) -> str:
        """The text with others for parts of it that hold no number."""
        return text_of(*(part.replace(old, new) if isinstance(part, str) else part for part in self.parts))

    def __reduce__(self) -> Any:
        return str, (str(self),)


def text_of(*parts: Any) -> str:
    """A text of these parts, numbers as Python writes them; they keep their formulas."""
    joined = "".join(part if isinstance(part, str) else repr(plain(part)) for part in parts)
    if not formulas_in(parts):
        return joined
    text = TracedText(joined)
    text.parts = parts
    return text


_NUMERAL = re.compile(r"-?\d+")


def numerals(text: str) -> Iterator[int]:
    """The integers in a text, in order, with the formulas that they keep."""
    numbers, place = dict[int, Any](), 0
    for part in text.parts if isinstance(text, TracedText) else (text,):
        if not isinstance(part, str):
            numbers[place] = part
        place += len(part if isinstance(part, str) else repr(plain(part)))
    for match in _NUMERAL.finditer(text):
        number, start = int(match[0]), match.start()
        if start in numbers and numbers[start] == number:
            yield numbers[start]
        elif start + 1 in numbers and numbers[start + 1] == -number:
            yield -numbers[start + 1]
        else:
            yield number


OPERATIONS: dict[str, Callable[[Any, Any], Any]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": operator.truediv,
    "//": operator.floordiv,
    "%": operator.mod,
    "**": operator.pow,
}
NODES: dict[str, type[ast.operator]] = {
    "+": ast.Add,
    "-": ast.Sub,
    "*": ast.Mult,
    "/": ast.Div,
    "//": ast.FloorDiv,
    "%": ast.Mod,
    "**": ast.Pow,
}
COMPARISONS: dict[str, Callable[[Any, Any], bool]] = {
    "Eq": operator.eq,
    "NotEq": operator.ne,
    "Lt": operator.lt,
    "LtE": operator.le,
    "Gt": operator.gt,
    "GtE": operator.ge,
    "In": lambda a, b: a in b,
    "NotIn": lambda a, b: a not in b,
}


def plain(value: Any) -> Any:
    """A number without its formula; in tuples and lists, too."""
    if isinstance(value, TracedInt):
        return int(value)
    if isinstance(value, TracedFloat):
        return float(value)
    if isinstance(value, TracedText):
        return str(value)
    if type(value) in (tuple, list):
        return type(value)(map(plain, value))
    if type(value) is dict:
        return {key: plain(item) for key, item in value.items()}
    return value


def formula_of(value: Any) -> Symbolic | None:
    """The formula of a number; of a plain one the number itself, of anything else None."""
    if isinstance(value, TracedInt | TracedFloat):
        return value.formula
    return formula("constant", value) if type(value) in (int, float) else None


def traced(value: Any, tree: Symbolic | None) -> Any:
    """A number with this formula; plain where that is a constant, or too long."""
    value = plain(value)
    if tree is None or tree.kind == "constant" or tree.length > LONGEST:
        return value
    if type(value) is int:
        number: Any = TracedInt(value)
    elif type(value) is float:
        number = TracedFloat(value)
    else:
        return value
    number.formula = tree
    return number


def _computed(kind: str, a: Any, b: Any) -> Any:
    if (
        isinstance(a, bool)
        or isinstance(b, bool)
        or not (isinstance(a, int | float) and isinstance(b, int | float))
    ):
        left, right = plain(a), plain(b)
        return OPERATIONS[kind](left, right)
    result = OPERATIONS[kind](plain(a), plain(b))
    left_tree, right_tree = formula_of(a), formula_of(b)
    if left_tree is None or right_tree is None or left_tree.length + right_tree.length > LONGEST:
        return result
    return traced(result, formula(kind, left_tree, right_tree))


def float_of(value: float) -> float:
    """A number as a float, with its formula."""
    tree = value.formula if isinstance(value, TracedInt | TracedFloat) else None
    number: float = traced(float(value), tree)
    return number


def leafed(value: Any, leaf: Symbolic) -> Any:
    """A value under a name: a number, or the numbers in nested lists as their items."""
    if isinstance(value, list | tuple):
        items = [leafed(item, formula("item", leaf, formula("constant", i))) for i, item in enumerate(value)]
        return items if isinstance(value, list) else tuple(items)
    return traced(value, leaf)


def attached(given: Any, got: Any) -> Any:
    """The result of a library for a value, with the formulas of the numbers that it kept."""
    if isinstance(given, TracedInt | TracedFloat):
        if isinstance(got, int | float) and not isinstance(got, bool) and got == given:
            return traced(got, given.formula)
        if isinstance(got, int | float) and not isinstance(got, bool) and got == -given:
            return traced(got, formula("*", formula("constant", -1), given.formula))
        return tuple(attached(given, each) for each in got) if type(got) is tuple else got
    if isinstance(given, list | tuple) and type(got) in (list, tuple) and len(given) == len(got):
        return type(got)(attached(a, b) for a, b in zip(given, got, strict=True))
    if isinstance(given, list | tuple) and type(got) is tuple and len(got) == 1:
        return (attached(given, got[0]),)
    if isinstance(given, TracedText):
        return given if got == given else got
    if isinstance(given, dict) and formulas_in(given) and hasattr(got, "__dict__"):
        got.__dict__.update(
            {key: attached(given[key], item) for key, item in vars(got).items() if key in given}
        )
    return got


def formulas_in(value: Any) -> tuple[Symbolic, ...]:
    """The formulas of the numbers in nested values, in order: what a value that is kept depends on."""
    if isinstance(value, TracedInt | TracedFloat):
        return (value.formula,)
    if isinstance(value, dict):
        value = value.values()
    elif isinstance(value, TracedText):
        value = value.parts
    elif not isinstance(value, list | tuple):
        return ()
    return tuple(tree for item in value for tree in formulas_in(item))


# --- to other names, to values and to code


def outward(value: Any, bindings: Mapping[Symbolic, Any]) -> Any:
    """A value of an inner body over the names around it; `bindings` has what each inner name is there. The
    dimensions of a tensor, and items of lists, too.
    """
    if isinstance(value, TracedInt | TracedFloat):
        return traced(value, substituted(value.formula, lambda leaf: _bound(leaf, bindings)))
    if isinstance(value, Size):
        return Size(tuple((monomial, plain(factor)) for monomial, factor in value.terms))
    if isinstance(value, Tensor):
        return value.with_shape(*(outward(size, bindings) for size in value.shape))
    if type(value) in (tuple, list):
        return type(value)(outward(item, bindings) for item in value)
    if isinstance(value, TracedText):
        return text_of(*(outward(part, bindings) for part in value.parts))
    return value


def _bound(leaf: Symbolic, bindings: Mapping[Symbolic, Any]) -> Symbolic | None:
    if leaf.kind != "item":
        return _as_formula(bindings.get(leaf))
    items, place = bindings.get(leaf.parts[0]), leaf.parts[1]
    number = place.parts[0] if place.kind == "constant" else None
    if not isinstance(items, list) or not isinstance(number, int) or number >= len(items):
        return None
    return _as_formula(items[number])


def _as_formula(value: Any) -> Symbolic | None:
    """A bound value as a formula: a text or a flag is what it is here."""
    if isinstance(value, bool | str):
        return formula("constant", value)
    return formula_of(value)


def substituted(tree: Symbolic, change: Callable[[Symbolic], Symbolic | None]) -> Symbolic | None:
    """A formula with other formulas for its leaves, and for items of them; None where one has none."""
    if tree.kind == "constant":
        return tree
    if tree.kind in LEAVES or (tree.kind == "item" and tree.parts[0].kind in LEAVES):
        found = change(tree)
        if found is not None or tree.kind in LEAVES:
            return found
    parts = [substituted(part, change) if isinstance(part, Symbolic) else part for part in tree.parts]
    if any(part is None for part in parts):
        return None
    made = formula(tree.kind, *parts)
    return made if made.length <= LONGEST else None


def at_index(tree: Symbolic, number: Symbolic) -> Symbolic | None:
    """A formula with a number in place of `index`."""

    def change(leaf: Symbolic) -> Symbolic | None:
        if leaf.kind == "item":
            return None
        return number if leaf is INDEX else leaf

    return substituted(tree, change)


FUNCTIONS: dict[str, Callable[..., Any]] = {
    "min": min,
    "max": max,
    "round": round,
    "int": int,
    "abs": abs,
    "len": len,
    "sum": sum,
}
"""Functions of Python; all others are of `math`."""


def no_value(leaf: Symbolic) -> Any:
    """The value of a name where there is none. Raises `LookupError`."""
    raise LookupError(leaf.kind)


def evaluated(tree: Symbolic, value_of: Callable[[Symbolic], Any]) -> Any:
    """The value, where `value_of` gives those of the leaves. Raises `LookupError` for what has none, and what
    arithmetic raises.
    """
    kind, parts = tree.kind, tree.parts
    if kind == "constant":
        return parts[0]
    if kind in LEAVES:
        return value_of(tree)
    if kind == "if":
        return evaluated(parts[1 if evaluated(parts[0], value_of) else 2], value_of)
    if kind in ("and", "or"):
        result: Any = None
        for part in parts:
            result = evaluated(part, value_of)
            if bool(result) is (kind == "or"):
                break
        return result
    values = [evaluated(part, value_of) for part in parts]
    if kind == "call":
        return (FUNCTIONS.get(values[0]) or getattr(math, values[0]))(*values[1:])
    if kind == "not":
        return not values[0]
    if kind == "item":
        return values[0][values[1]]
    if kind == "list":
        return values
    if kind == "compare":
        return COMPARISONS[values[0]](values[1], values[2])
    return OPERATIONS[kind](*values)


def as_code(tree: Symbolic, code_of: Callable[[Symbolic], ast.expr | None]) -> ast.expr | None:
    """The formula as Python, where `code_of` gives the code of the leaves; None where one has none."""
    kind, parts = tree.kind, tree.parts
    if kind == "constant":
        value = parts[0]
        if isinstance(value, int | float) and not isinstance(value, bool) and value < 0:
            return ast.UnaryOp(ast.USub(), ast.Constant(-value))
        return ast.Constant(value)
    if kind in LEAVES:
        return code_of(tree)
    if kind == "call":
        parts = parts[1:]
    if kind == "compare":
        parts = parts[1:]
    codes = [as_code(part, code_of) for part in parts]
    written = [code for code in codes if code is not None]
    if len(written) < len(codes):
        return None
    match kind:
        case "call":
            word = tree.parts[0].parts[0]
            own = ast.Name(word, ast.Load())
            function = (
                own if word in FUNCTIONS else ast.Attribute(ast.Name("math", ast.Load()), word, ast.Load())
            )
            return ast.Call(function, written, [])
        case "not":
            return ast.UnaryOp(ast.Not(), written[0])
        case "if":
            return ast.IfExp(*written)
        case "and" | "or":
            return ast.BoolOp(ast.And() if kind == "and" else ast.Or(), written)
        case "item":
            return ast.Subscript(written[0], written[1], ast.Load())
        case "list":
            return ast.List(written, ast.Load())
        case "compare":
            return ast.Compare(written[0], [getattr(ast, tree.parts[0].parts[0])()], written[1:])
    return ast.BinOp(written[0], NODES[kind](), written[1])

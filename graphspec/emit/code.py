"""Python expressions as trees: templates that are parsed once and filled with trees, and literals."""

from __future__ import annotations

import ast
import math
import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, TypeVar

from graphspec.contract.arrays import Nested, Pairs
from graphspec.contract.layer import Leaf, Ref
from graphspec.graph import Value

HOLE = "HOLE_"
"""How the name of a hole begins while its template is a tree."""
ALL = "all"
"""The name of the hole `{*}`: all inputs of a merge, as arguments."""

Filling = Mapping[str, "ast.expr | Sequence[ast.expr]"]
"""The expressions for a template's holes: one each; under `*`, several."""


@dataclass(eq=False, slots=True)
class Variable:
    """A variable that a statement of `forward` assigns. `word` is its name if a specific one is required."""

    word: str
    holds: list[Value] = field(default_factory=list)
    name: str = ""
    is_argument: bool = False  # of the function: the caller keeps it in memory
    several: bool = False  # assigned more than once, for example in a loop
    item: bool = False  # a loop variable: other loops may reuse its name
    listed: bool = False  # a list: no tensor takes its name afterwards

    def read(self) -> Read:
        return Read(self)


class Read(ast.expr):
    """Reads a variable, whose name is chosen once its `forward` is complete."""

    _fields = ()

    def __init__(self, variable: Variable) -> None:
        super().__init__()
        self.variable = variable


@lru_cache(maxsize=4096)
def template(text: str) -> ast.expr:
    """The tree of a template, with placeholders such as `{x}`. It is shared and must not be changed."""
    text = text.replace("{*}", f"*{HOLE}{ALL}")
    return ast.parse(re.sub(r"\{(\w+)\}", rf"{HOLE}\1", text), mode="eval").body


def fill(text: str, holes: Filling, usual: Collection[str] = ()) -> ast.expr:
    """A template with its placeholders filled. Placeholders of the same name share a tree.

    Keyword arguments whose placeholders are in `usual` are left out.
    """
    return _filled(without(text, usual), {f"{HOLE}{name}": value for name, value in holes.items()})


def without(text: str, usual: Collection[str]) -> ast.expr:
    """The tree of a template without the keyword arguments whose placeholders are in `usual`."""
    gone = {f"{HOLE}{name}" for name in usual}

    def change(part: ast.expr) -> ast.expr:
        if not isinstance(part, ast.Call):
            return part
        kept = [k for k in part.keywords if not (isinstance(k.value, ast.Name) and k.value.id in gone)]
        return part if len(kept) == len(part.keywords) else with_fields(part, keywords=kept)

    return rewritten(template(text), change) if gone else template(text)


def _filled(node: ast.expr, holes: Filling) -> ast.expr:
    def change(part: ast.expr) -> ast.expr:
        match part:
            case ast.Name(id=word) if word.startswith(HOLE) and word != HOLE + ALL:
                expression = holes[word]
                assert isinstance(expression, ast.expr)
                return expression
            case ast.Call(args=[*items]) if any(isinstance(each, ast.Starred) for each in items):
                return with_fields(part, args=[each for item in items for each in _spliced(item, holes)])
            case ast.Tuple(elts=[*items]) | ast.List(elts=[*items]):
                parts = [each for item in items for each in _spliced(item, holes)]
                return part if same_items(parts, items) else with_fields(part, elts=parts)
        return _of_turned(part)

    return rewritten(node, change)


def _of_turned(node: ast.expr) -> ast.expr:
    """A property of a tensor whose axes are permuted, read off the tensor itself."""
    match node:
        case ast.Attribute(value=ast.Call(func=ast.Attribute(value=x, attr="permute" | "transpose"))):
            return ast.Attribute(x, node.attr, node.ctx) if node.attr in ("device", "dtype") else node
        case ast.Subscript(
            value=ast.Attribute(
                value=ast.Call(func=ast.Attribute(value=x, attr="permute" | "transpose" as how), args=args),
                attr="shape",
            ),
            slice=index,
        ):
            axis, axes = _integer(index), [each for each in map(_integer, args) if each is not None]
            if axis is None or not axes or len(axes) < len(args):
                return node
            if how == "permute":
                axis_before = axes[axis] % len(axes)
            elif len({each < 0 for each in (axis, *axes)}) == 2:
                return node  # which of them are the same axis depends on the rank
            else:
                axis_before = {axes[0]: axes[1], axes[1]: axes[0]}.get(axis, axis)
            return ast.Subscript(ast.Attribute(x, "shape", node.ctx), literal(axis_before), node.ctx)
    return node


def _integer(node: object) -> int | None:
    """The integer that a tree spells, as `literal` does."""
    match node:
        case ast.Constant(value=int() as number):
            return number
        case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int() as number)):
            return -number
    return None


def _spliced(item: ast.expr, holes: Filling) -> Sequence[ast.expr]:
    """An item of a list of a tree: all arguments for `*HOLE_all`, the items of a tuple for `*HOLE_axes`."""
    match item:
        case ast.Starred(value=ast.Name(id=word)) if word == HOLE + ALL:
            arguments = holes[HOLE + "*"]
            return [arguments] if isinstance(arguments, ast.expr) else arguments
        case ast.Starred(value=ast.Tuple(elts=items)):
            return items
    return [item]


def replace(node: ast.expr, old: ast.expr, new: ast.expr) -> ast.expr:
    """A tree with one of its parts (found by identity) replaced."""
    return rewritten(node, lambda part: new if part is old else part)


def rewritten(node: ast.expr, change: Callable[[ast.expr], ast.expr]) -> ast.expr:
    """An expression changed from its leaves up; the same object if nothing changes."""
    if isinstance(node, ast.Name | ast.Constant):
        return change(node)
    return change(rewritten_fields(node, lambda part: rewritten(part, change)))


def rewritten_fields(node: Any, change: Callable[[ast.expr], ast.expr], skip: Collection[str] = ()) -> Any:
    """A node whose expressions are changed, including those in keywords and comprehensions."""
    fields: dict[str, Any] = {}
    for name, value in ast.iter_fields(node):
        if name in skip:
            continue
        if isinstance(value, list):
            items = [_part(item, change) for item in value]
            if not same_items(items, value):
                fields[name] = items
        elif isinstance(value, ast.AST) and (part := _part(value, change)) is not value:
            fields[name] = part
    return with_fields(node, **fields) if fields else node


def _part(node: Any, change: Callable[[ast.expr], ast.expr]) -> Any:
    if isinstance(node, ast.expr):
        return change(node)
    if isinstance(node, ast.keyword | ast.comprehension | ast.withitem):
        return rewritten_fields(node, change)
    return node


def same_items(a: Sequence[object], b: Sequence[object]) -> bool:
    """Whether two lists hold the same objects."""
    return len(a) == len(b) and all(x is y for x, y in zip(a, b, strict=True))


def literal(value: Leaf) -> ast.expr:
    """A value as source, the only way in: trusted code, or a plain value."""
    if isinstance(value, Ref):
        return template(value.text)
    if isinstance(value, float) and not math.isfinite(value):
        return call("float", ast.Constant(str(value)))
    if isinstance(value, int | float) and not isinstance(value, bool) and (value < 0 or str(value)[0] == "-"):
        return ast.UnaryOp(ast.USub(), ast.Constant(-value))
    if value is None or isinstance(value, bool | int | float | str):
        return ast.Constant(value)
    if isinstance(value, Nested):
        return listed([literal(item) for item in value])
    if isinstance(value, Pairs):
        return ast.Dict([literal(key) for key, _ in value], [literal(item) for _, item in value])
    if isinstance(value, tuple | list):
        return ast.Tuple([literal(item) for item in value], ast.Load())
    raise TypeError(f"no literal for {type(value).__name__}")


def attribute_path(key: str) -> str:
    """The attribute of a module at a key of its state dict: `.cells[0].kernel` for `cells.0.kernel`."""
    return re.sub(r"\.(\d+)(?=\.|$)", r"[\1]", f".{key}")


def name(word: str) -> ast.Name:
    return ast.Name(word, ast.Load())


def self_attribute(word: str) -> ast.Attribute:
    """An attribute of the module: `self.conv`."""
    return ast.Attribute(name("self"), word, ast.Load())


def call(function: str | ast.expr, *arguments: ast.expr, **keywords: ast.expr) -> ast.Call:
    """A call of a function, by its dotted name or as a tree."""
    function = template(function) if isinstance(function, str) else function
    return ast.Call(function, list(arguments), [ast.keyword(word, value) for word, value in keywords.items()])


def item(sequence: ast.expr, number: int) -> ast.Subscript:
    return ast.Subscript(sequence, ast.Constant(number), ast.Load())


def listed(items: Sequence[ast.expr]) -> ast.List:
    return ast.List(list(items), ast.Load())


def choice(test: ast.expr, chosen: ast.expr, other: ast.expr) -> ast.IfExp:
    """`chosen if test else other`; where `other` may be `chosen`, too, one test for both."""
    match test, other:
        case ast.Name(), ast.IfExp(test=also, body=changed, orelse=same) if equal(same, chosen):
            return ast.IfExp(ast.BoolOp(ast.And(), [also, ast.UnaryOp(ast.Not(), test)]), changed, chosen)
    return ast.IfExp(test, chosen, other)


NodeT = TypeVar("NodeT", bound=ast.AST)


def with_fields(node: NodeT, **fields: object) -> NodeT:
    """A node with some of its fields replaced, at the same position."""
    return ast.copy_location(type(node)(**{**dict(ast.iter_fields(node)), **fields}), node)


def walk(node: ast.AST) -> Iterator[ast.AST]:
    """A tree and all its parts, in evaluation order; contexts such as `ast.Load` are left out."""
    stack = [node]
    while stack:
        part = stack.pop()
        yield part
        for word in INNER[type(part)]:
            value = getattr(part, word, None)
            if type(value) is list:
                stack += [each for each in reversed(value) if isinstance(each, ast.AST)]
            elif isinstance(value, ast.AST):
                stack.append(value)


NO_NODES = ("ctx", "id", "attr", "arg", "kind", "name", "type_comment")
"""Fields of nodes that hold words; so do those of constants, whatever they are."""


class _Inner(dict[type[ast.AST], tuple[str, ...]]):
    """Which fields of a kind of node hold nodes, or lists of them; the last first."""

    def __missing__(self, kind: type[ast.AST]) -> tuple[str, ...]:
        words = () if issubclass(kind, ast.Constant) else reversed(kind._fields)
        self[kind] = fields = tuple(word for word in words if word not in NO_NODES)
        return fields


INNER = _Inner()


def reads(node: ast.AST) -> Iterator[Read]:
    """Each read of a variable in an expression, in evaluation order."""
    return (part for part in walk(node) if isinstance(part, Read))


def names(node: ast.AST) -> Iterator[str]:
    """The names that an expression reads, without variables and placeholders."""
    return (part.id for part in walk(node) if isinstance(part, ast.Name) and not part.id.startswith(HOLE))


def equal(a: ast.AST, b: ast.AST) -> bool:
    """Whether two trees are the same code."""
    if isinstance(a, Read) or isinstance(b, Read):
        return isinstance(a, Read) and isinstance(b, Read) and a.variable is b.variable
    if type(a) is not type(b):
        return False
    for (_, x), (_, y) in zip(ast.iter_fields(a), ast.iter_fields(b), strict=False):
        if isinstance(x, list) and isinstance(y, list):
            if len(x) != len(y) or not all(_same(i, j) for i, j in zip(x, y, strict=True)):
                return False
        elif not _same(x, y):
            return False
    return True


def _same(x: object, y: object) -> bool:
    if isinstance(x, ast.AST) and isinstance(y, ast.AST):
        return equal(x, y)
    return type(x) is type(y) and x == y

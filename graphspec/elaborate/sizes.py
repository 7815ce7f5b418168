"""Sizes with names where a node declares a shape: `length`, `length // 2`, `16 * height`."""

from __future__ import annotations

import ast
from typing import Any

from graphspec.diagnostics import Span, did_you_mean, write, write_value
from graphspec.elaborate.body import BodyElaborator
from graphspec.elaborate.instance import NodeInstance
from graphspec.expressions import ExpressionError
from graphspec.expressions.grammar import read_tree
from graphspec.graph import Value
from graphspec.language.schema import NAMED_SIZE, Input
from graphspec.settings import show
from graphspec.tensor import BATCH, Dim, names_of, symbol

LONGEST = 200
"""Characters of an expression of sizes."""


class SizeError(Exception):
    """An invalid expression of sizes; `name` is the unknown name, if there is one."""

    def __init__(self, message: str, name: str = ""):
        super().__init__(message)
        self.name = name


def named_sizes(body: BodyElaborator) -> dict[str, Dim]:
    """The values of named sizes in a body: those of its file's inputs, as they are bound there."""
    of_file = body.of_file or body
    sizes: dict[str, Dim] = {}
    for name, declared in of_file.declared.inputs.items():
        value = of_file.inputs.get(name)
        if not isinstance(value, Value) or not isinstance(declared, Input):
            continue
        for size in value.tensor.shape[1:]:
            sizes |= {word: symbol(word) for word in names_of(size) if not word.startswith("?")}
        shape = declared.shape if isinstance(declared.shape, list) else []
        axes = [*shape[1:], *shape[:1]] if declared.data_format == "channels_first" else shape
        for word, size in zip(axes, value.tensor.shape[1:], strict=False):
            written = NAMED_SIZE.fullmatch(word) if isinstance(word, str) else None
            if written is not None:
                sizes[written["name"]] = size // int(written["before"] or written["behind"] or 1)
    sizes.pop(BATCH, None)
    return sizes


def declared_size(node: NodeInstance, size: Any, span: Span | None) -> Dim | None:
    """A size that a node declares at a place: an integer, an expression of named sizes, or null for one that
    nothing is known of. None after an error.
    """
    if size is None:
        return symbol(node.body.context.fresh_size())
    if isinstance(size, int) and not isinstance(size, bool):
        if size > 0:
            return size
        node.error("out-of-range", span, f"a size is a positive integer, not {size}")
        return None
    help = write_value(str(int(size))) if isinstance(size, float) and size.is_integer() else None
    if not isinstance(size, str):
        message = f"a size is an integer, a name such as `length`, or null, not {show(size)}"
        node.error("wrong-type", span, message, help)
        return None
    names = named_sizes(node.body)
    try:
        return parse_size(size, names)
    except SizeError as error:
        known = f"sizes here: {', '.join(names)}" if names else "no input has a size with a name"
        help = did_you_mean(error.name, names, f"{known}; null is any size")
        if error.name in node.body.scope.params:
            help = write(f"${error.name}", ": it is a param", old=error.name)
        code = "unknown-reference" if error.name else "wrong-type"
        node.error(code, span, str(error), help if error.name else None)
        return None


def parse_size(text: str, names: dict[str, Dim]) -> Dim:
    """The value of an expression of sizes: `+ - * //`, integers and names. Raises `SizeError`."""
    if len(text) > LONGEST:
        raise SizeError(f"an expression of sizes has at most {LONGEST} characters")
    try:
        return _size(read_tree(text), names)
    except ExpressionError:
        raise SizeError(f"{show(text)} is not a size: write, for example, `length`, `length // 2`") from None


def _size(node: ast.expr, names: dict[str, Dim]) -> Dim:
    match node:
        case ast.Constant(value=int(value)) if not isinstance(value, bool) and abs(value) < 2**53:
            return value
        case ast.Name(id=word):
            if word in names:
                return names[word]
            raise SizeError(f"`{word}` is not a size of an input", word)
        case ast.BinOp(left=left, op=ast.Add(), right=right):
            return _size(left, names) + _size(right, names)
        case ast.BinOp(left=left, op=ast.Sub(), right=right):
            return _size(left, names) - _size(right, names)
        case ast.BinOp(left=left, op=ast.Mult(), right=right):
            return _size(left, names) * _size(right, names)
        case ast.BinOp(left=left, op=ast.FloorDiv(), right=right):
            divisor = _size(right, names)
            if not isinstance(divisor, int) or divisor < 1:
                raise SizeError(f"a size is divided by a positive integer, not by `{divisor}`")
            return _size(left, names) // divisor
    raise SizeError("sizes are computed only with `+ - * //`")

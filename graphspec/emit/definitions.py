"""Definitions as the lines of a file. Statements that did not change keep their text."""

from __future__ import annotations

import ast
from collections.abc import Sequence

from graphspec.emit.library_source import Library, Node
from graphspec.emit.printer import OPERATORS, WIDTH, bare, flat, lines


class DefinitionWriter:
    """Writes reduced library definitions."""

    def __init__(self, library: Library):
        self.text, self.originals = library.lines, library.parts

    def write(self, node: Node, indent: int = 0) -> list[str]:
        """A function or class."""
        if id(node) in self.originals:
            return self._kept(node, indent)
        if isinstance(node, ast.FunctionDef):
            return self._function(node, indent)
        bases = ", ".join(map(flat, node.bases))
        head = f"class {node.name}({bases}):" if bases else f"class {node.name}:"
        alike = self.text[node.lineno - 1].startswith(head)  # with the same bases
        written = [f"{' ' * indent}{head}{self._pragma(node) if alike or len(node.bases) > 1 else ''}"]
        for place, statement in enumerate(node.body):
            apart = isinstance(statement, ast.FunctionDef) or is_text(node.body[place - 1])
            written += [""] if place and apart else []
            written += self._statement(statement, indent + 4)
        # only a method that may override nothing needs `unused-ignore`
        certain = not alike and bases != "nn.Module"
        told = "[override]" if certain else "[override, unused-ignore]"
        return [line.replace("[override, unused-ignore]", told) for line in written]

    def _function(self, node: ast.FunctionDef, indent: int) -> list[str]:
        result = f" -> {flat(node.returns)}" if node.returns is not None else ""
        head = signature(f"def {node.name}(", parameters(node.args), f"){result}:", indent)
        head[0] += self._pragma(node)
        marks = [f"{' ' * indent}@{flat(each)}" for each in node.decorator_list]
        return [*marks, *head, *self._block(node.body, indent + 4)]

    def _pragma(self, node: ast.stmt) -> str:
        """The comment for mypy on the first line of a statement."""
        _, mark, text = self.text[node.lineno - 1].partition("  # type: ")
        return mark + text

    def _block(self, body: Sequence[ast.stmt], indent: int) -> list[str]:
        return [line for statement in body for line in self._statement(statement, indent)]

    def _kept(self, node: ast.stmt, indent: int) -> list[str]:
        """The lines of a statement, with the comments above it."""
        start, end = self._first(node), node.end_lineno
        shift = indent - node.col_offset
        kept = [_moved(line, shift) for line in self.text[start - 1 : end]]
        if isinstance(node, ast.If):  # it may have been an `elif`
            kept[node.lineno - start] = kept[node.lineno - start].replace("elif ", "if ", 1)
        return kept

    def _first(self, node: ast.stmt) -> int:
        """The first line of a statement, or of the comments above it."""
        decorators = node.decorator_list if isinstance(node, ast.FunctionDef | ast.ClassDef) else []
        start = min([node.lineno, *(each.lineno for each in decorators)])
        while self.text[start - 2].strip().startswith("#"):
            start -= 1
        return start

    def _comments(self, node: ast.stmt, indent: int) -> list[str]:
        above = self.text[self._first(node) - 1 : node.lineno - 1]
        return [f"{' ' * indent}{line.strip()}" for line in above if line.strip().startswith("#")]

    def _reflows(self, node: ast.stmt, indent: int) -> bool:
        """Whether a statement of several lines may need fewer lines at its new indentation."""
        if indent >= node.col_offset or not isinstance(
            node, ast.Assign | ast.AugAssign | ast.Expr | ast.Return
        ):
            return False
        text = self.text[node.lineno - 1 : node.end_lineno]
        return len(text) > 1 and not any("#" in line for line in text)

    def _statement(self, node: ast.stmt, indent: int) -> list[str]:
        if id(node) in self.originals and not self._reflows(node, indent):
            return self._kept(node, indent)
        pad, comments = " " * indent, self._comments(node, indent)
        match node:
            case ast.FunctionDef():
                return [*comments, *self._function(node, indent)]
            case ast.If():
                written = lines("if ", node.test, indent, ":") + self._block(node.body, indent + 4)
                if len(node.orelse) == 1 and isinstance(node.orelse[0], ast.If):
                    inner = self._statement(node.orelse[0], indent)
                    written += [f"{pad}el{inner[0].strip()}", *inner[1:]]
                elif node.orelse:
                    written += [f"{pad}else:", *self._block(node.orelse, indent + 4)]
                return [*comments, *written]
            case ast.For():
                head = lines(f"for {bare(node.target)} in ", node.iter, indent, ":")
                return [*comments, *head, *self._block(node.body, indent + 4)]
            case ast.With():
                inside = ", ".join(flat(each.context_expr) for each in node.items)
                return [*comments, f"{pad}with {inside}:", *self._block(node.body, indent + 4)]
            case ast.Assign():
                targets = "".join(f"{bare(target)} = " for target in node.targets)
                return [*comments, *lines(targets, node.value, indent)]
            case ast.AnnAssign():
                prefix = f"{flat(node.target)}: {flat(node.annotation)}"
                if node.value is None:
                    return [*comments, pad + prefix]
                return [*comments, *lines(f"{prefix} = ", node.value, indent)]
            case ast.AugAssign():
                sign = OPERATORS[type(node.op)][0]
                return [*comments, *lines(f"{flat(node.target)} {sign}= ", node.value, indent)]
            case ast.Return() if node.value is None:
                return [*comments, f"{pad}return"]
            case ast.Return():
                assert node.value is not None
                return [*comments, *lines("return ", node.value, indent)]
            case ast.Expr():
                return [*comments, *lines("", node.value, indent)]
        raise TypeError(f"no text for {type(node).__name__}")


def parameters(arguments: ast.arguments) -> list[str]:
    """The parameters of a function, with their types and defaults."""
    positional = [*arguments.posonlyargs, *arguments.args]
    missing = len(positional) - len(arguments.defaults)
    texts = [
        _parameter(each, arguments.defaults[place - missing] if place >= missing else None)
        for place, each in enumerate(positional)
    ]
    if arguments.vararg is not None:
        texts.append(f"*{_parameter(arguments.vararg, None)}")
    elif arguments.kwonlyargs:
        texts.append("*")
    texts += [
        _parameter(each, default)
        for each, default in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)
    ]
    return [*texts, *([f"**{_parameter(arguments.kwarg, None)}"] if arguments.kwarg is not None else [])]


def _parameter(argument: ast.arg, default: ast.expr | None) -> str:
    if argument.annotation is None:
        return argument.arg if default is None else f"{argument.arg}={flat(default)}"
    text = f"{argument.arg}: {flat(argument.annotation)}"
    return text if default is None else f"{text} = {flat(default)}"


def signature(head: str, parameters: Sequence[str], tail: str, indent: int) -> list[str]:
    """The line of a `def`, wrapped as ruff wraps it."""
    pad, joined = " " * indent, ", ".join(parameters)
    if len(pad + head + joined + tail) <= WIDTH:
        return [f"{pad}{head}{joined}{tail}"]
    if len(pad + joined) + 4 <= WIDTH:
        return [f"{pad}{head}", f"{pad}    {joined}", f"{pad}{tail}"]
    return [f"{pad}{head}", *(f"{pad}    {each}," for each in parameters), f"{pad}{tail}"]


def is_text(statement: ast.stmt) -> bool:
    """Whether a statement is a constant alone: a docstring."""
    return isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)


def _moved(line: str, by: int) -> str:
    """A line at another indentation."""
    if not line.strip():
        return ""
    return " " * by + line if by >= 0 else line[-by:]

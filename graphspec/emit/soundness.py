"""Checks every emitted file: each class and function is used, and each argument decides something."""

from __future__ import annotations

import ast
from collections.abc import Collection

from graphspec.diagnostics import SpecError, fail
from graphspec.emit.code import walk

REPORT = "this is a fault of graphspec, not of the spec: please report it with the spec"


def unsound(message: str) -> SpecError:
    """The error for source that would not be the model of the spec."""
    return fail("emission-failed", message, REPORT)


def check_source(bodies: ast.Module, used: Collection[str], root: str) -> None:
    """Raises `SpecError` (emission-failed) if a class or function of the file is not among the names that it
    reads, `used`, or an argument is never read.
    """
    for node in bodies.body:
        if not isinstance(node, ast.ClassDef | ast.FunctionDef):
            continue
        if node.name not in used and node.name != root:
            raise unsound(f"`{node.name}` is emitted, and nothing uses it")
        for function in node.body if isinstance(node, ast.ClassDef) else [node]:
            if isinstance(function, ast.FunctionDef) and (unread := _unread(function)):
                raise unsound(f"`{node.name}` takes `{unread}`, and does not read it")


def _unread(function: ast.FunctionDef) -> str | None:
    """The first argument that a function neither reads nor deletes."""
    read = {each.id for each in walk(function) if isinstance(each, ast.Name)}
    parameters = [each.arg for each in (*function.args.args, *function.args.kwonlyargs)]
    return next((word for word in parameters if word not in read and word != "self"), None)

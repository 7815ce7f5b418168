"""Reads the docstrings under the fields of classes.

Python drops these texts, so that no class is made slower for them; they are read from the source when someone
asks. A field that a class inherits, or gives only another type or default, is explained by its base.
"""

from __future__ import annotations

import ast
import inspect
import re
import sys
from collections.abc import Iterator, Mapping
from functools import cache
from itertools import pairwise
from typing import NamedTuple

from pydantic import BaseModel

EXAMPLE = "Example: "
"""How the last line of a field's docstring begins that shows it in a spec."""
_END = re.compile(r"(?<=[a-z`\d)])[.] (?=[A-Z`])")


class FieldDoc(NamedTuple):
    """The first sentence on a field, without its full stop, and an example."""

    sentence: str
    example: str


@cache
def field_doc(cls: type[BaseModel], key: str) -> FieldDoc | None:
    """The docstring of a key in a class, or in the nearest of its bases; None where there is none."""
    name = next((name for name, field in cls.model_fields.items() if field.alias == key), key)
    for base in cls.__mro__:
        text = _docstrings(base.__module__).get((base.__qualname__, name)) if base is not BaseModel else None
        if text is not None:
            _, found, example = text.rpartition(EXAMPLE)
            return FieldDoc(first_sentence(text), " ".join(example.split()) if found else "")
        if base is BaseModel:
            break
    origin = getattr(cls, "fields_of", None)
    return field_doc(origin, key) if origin is not None else None


def first_sentence(text: str | None) -> str:
    """The first sentence of a docstring, without its full stop."""
    paragraph = " ".join(inspect.cleandoc(text or "").split("\n\n")[0].split())
    return _END.split(paragraph)[0].rstrip(".")


@cache
def _docstrings(module: str) -> Mapping[tuple[str, str], str]:
    """The docstrings in a module, by the qualified name of a class and the name of its field."""
    loaded = sys.modules.get(module)
    try:
        source = inspect.getsource(loaded) if loaded is not None else ""
    except (OSError, TypeError):  # typed into an interpreter, or built in
        source = ""
    return dict(_below(ast.parse(source), ""))


def _below(node: ast.AST, path: str) -> Iterator[tuple[tuple[str, str], str]]:
    for part in ast.iter_child_nodes(node):
        if isinstance(part, ast.FunctionDef):
            yield from _below(part, f"{path}{part.name}.<locals>.")
        elif isinstance(part, ast.ClassDef):
            yield from _below(part, f"{path}{part.name}.")
            for field, after in pairwise(part.body):
                match field, after:
                    case ast.AnnAssign(target=ast.Name(name)), ast.Expr(ast.Constant(str(text))):
                        yield (f"{path}{part.name}", name), text

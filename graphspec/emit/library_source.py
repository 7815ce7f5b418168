"""The library code of emitted files: classes and functions of `graphspec/emit/library/`, read as text.

Those files are typed and linted as all others. They import torch, so they are parsed here, not imported.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from graphspec.emit.code import walk

FOLDER = Path(__file__).parent / "library"

Node = ast.ClassDef | ast.FunctionDef

KEPT = 4096
"""The size of caches over trees of the library and trees made from them: most files carry the same ones.

The keys are safe: no code changes such a tree in place, and a changed tree is another object.
"""


@dataclass(frozen=True, slots=True)
class Library:
    """All definitions by name, in the order of their names, which imports do not change.

    `lines` are the lines of all files as one text, which the line numbers of the trees refer to; `parts` are
    the ids of all nodes in the trees.
    """

    nodes: Mapping[str, Node]
    lines: Sequence[str]
    parts: frozenset[int]


@lru_cache(maxsize=1)
def library_code() -> Library:
    """The library, read once."""
    nodes: dict[str, Node] = {}
    lines: list[str] = []
    for path in sorted(FOLDER.glob("*.py")):
        text = path.read_text(encoding="utf-8")
        for node in ast.parse(text).body:
            if isinstance(node, Node):
                assert node.name not in nodes, f"{node.name} is defined twice"
                nodes[node.name] = ast.increment_lineno(node, len(lines))
        lines += text.splitlines()
    parts = frozenset(id(each) for node in nodes.values() for each in walk(node))
    return Library(dict(sorted(nodes.items())), tuple(lines), parts)


def read_names(node: ast.AST) -> frozenset[str]:
    """The names that a tree reads, including those in annotations and default arguments."""
    return frozenset(
        each.id for each in walk(node) if isinstance(each, ast.Name) and isinstance(each.ctx, ast.Load)
    )


known_names = lru_cache(KEPT)(read_names)
"""`read_names` of a definition of the library, whole or cut down."""


def needed(wanted: Iterable[str]) -> list[str]:
    """These definitions and all that they need, dependencies first."""
    order: dict[str, None] = {}
    defined = library_code().nodes

    def visit(name: str) -> None:
        if name not in order:
            for other in sorted(known_names(defined[name]) & defined.keys() - {name}):
                visit(other)
            order[name] = None

    for name in sorted(set(wanted)):
        if name in defined:
            visit(name)
    return list(order)

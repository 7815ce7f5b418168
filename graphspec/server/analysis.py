"""The meaning of a spec's text, as far as it can be read: its mistakes, names, types and costs."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from graphspec.diagnostics import Diagnostic, Diagnostics
from graphspec.fixing.checking import NodesOfFile, check_spec_text
from graphspec.fixing.edits import Fix, fix_of
from graphspec.fixing.node import EditedNode, check_node, edited_node
from graphspec.graph import Graph, Op
from graphspec.program import Program
from graphspec.server.positions import Positions
from graphspec.server.scopes import Body, Models, mapping
from graphspec.server.symbols import Occurrence, Symbols
from graphspec.source import Document, read
from graphspec.tensor import Tensor

Node = tuple[Body, str]
"""A node: the block that declares it, or None for the file, and its name."""

LONG = 1_000
"""Lines of a text in which an edited node is looked at before the rest is."""
_MARK = "\N{ZERO WIDTH NO-BREAK SPACE}"
_SECTION = re.compile(r"^(inputs|nodes|outputs|blocks)[ \t]*:", re.MULTILINE)


def is_spec(text: str) -> bool:
    """Whether a YAML text looks like a spec, or is still empty."""
    return not text.strip() or len(set(_SECTION.findall(text))) >= 2 or text.lstrip().startswith("inputs:")


@dataclass(frozen=True)
class Analysis:
    """A text, and what is known of it. `program` and `nodes`, the ops of each node, are those of the last
    text without errors: what an editor shows while a line is half typed.
    """

    text: str
    shown: str
    diagnostics: tuple[Diagnostic, ...]
    sources: dict[str, str]
    program: Program | None
    nodes: dict[Node, list[Op]]
    read: Document | None
    """This text, where it is YAML."""
    before: Document | None
    """The last text that was YAML, before this one."""
    models: Models | None = None
    """The names that other files declare."""
    marked: bool = False
    """Whether the editor has a byte order mark before this text."""
    body: NodesOfFile | None = None
    """What the nodes of this text have become."""
    earlier: Analysis | None = None
    """Of a text that is not read yet: the last one that was."""

    @property
    def source(self) -> str:
        """The text as the editor has it."""
        return _MARK + self.text if self.marked else self.text

    @cached_property
    def positions(self) -> Positions:
        """The places of offsets in the editor."""
        return Positions(self.text, len(_MARK) if self.marked else 0)

    @cached_property
    def shared(self) -> dict[Node, list[Op]]:
        """The ops that call each entry of `shared`."""
        callers: dict[Node, list[Op]] = {}
        names = self.names
        if names is None:
            return callers
        for (body, name), ops in self.nodes.items():
            node = mapping(mapping(names.value(body).get("nodes")).get(name))
            if isinstance(called := node.get("call"), str):
                callers.setdefault((names.owner(body, called), called), []).extend(ops)
        return callers

    def fixes(self) -> list[tuple[Diagnostic, Fix]]:
        """The fixes of this text, each with its diagnostic."""
        pairs = [(diagnostic, fix_of(diagnostic, self.sources)) for diagnostic in self.diagnostics]
        return [(diagnostic, fix) for diagnostic, fix in pairs if fix is not None]

    @property
    def current(self) -> bool:
        """Whether `document` is this text's."""
        return self.read is not None

    @property
    def document(self) -> Document | None:
        """This text, or the last one that was YAML."""
        return self.read if self.read is not None else self.before

    @property
    def graph(self) -> Graph | None:
        """The graph of this text; None where it has mistakes."""
        wrong = any(each.severity == "error" for each in self.diagnostics)
        return None if wrong or self.program is None else self.program.graph

    @cached_property
    def names(self) -> Symbols | None:
        """The names of the document."""
        if self.earlier is not None:
            return self.earlier.names
        return Symbols(self.document, self.models) if self.document is not None else None

    def at(self, offset: int) -> Occurrence | None:
        """The name at an offset; where only an earlier text is read, of a place that is in both."""
        if self.names is None:
            return None
        there = offset if self.current else _before(self.names.document.text, self.text, offset)
        return self.names.at(there) if there is not None else None


def analysed(
    text: str,
    path: Path | None,
    before: Analysis | None = None,
    models: Models | None = None,
    wanted: Callable[[], bool] | None = None,
) -> Analysis:
    """The analysis of a text; what it does not tell is taken from the one `before`. Raises `Superseded` when
    it is not `wanted` any more.
    """
    shown = str(path) if path is not None else "<spec>"
    marked, text = text.startswith(_MARK), text.removeprefix(_MARK)
    diagnostics, sources = Diagnostics(wanted), dict[str, str]()
    document, program, body = check_spec_text(text, shown, path, diagnostics, sources)
    nodes = _nodes(program) if program is not None else before.nodes if before is not None else {}
    return Analysis(
        text,
        shown,
        tuple(diagnostics.sorted()),
        sources,
        program if program is not None or before is None else before.program,
        nodes,
        document,
        before.document if before is not None else None,
        models,
        marked,
        body=body,
    )


def glanced(text: str, before: Analysis) -> Analysis | None:
    """A text in which one node has changed, with the mistakes of that node, and those that the text `before`
    has elsewhere. None where the whole text has to be checked to tell.
    """
    marked, text = text.startswith(_MARK), text.removeprefix(_MARK)
    if before.body is None or before.read is None or len(before.read.lines) < LONG:
        return None
    edited = edited_node(before.read, text)
    errors = None if edited is None else check_node(edited, before.read, before.body)
    if edited is None or errors is None:
        return None
    same = edited.before == edited.after
    kept = [
        _moved(each, edited)
        for each in before.diagnostics
        if not edited.holds(each, before.shown, edited.before) or (same and each.severity == "warning")
    ]
    found = Diagnostics()
    for each in (*kept, *errors):
        found.add(each)
    return replace(unchecked(text, before), diagnostics=tuple(found.sorted()), marked=marked)


def _moved(diagnostic: Diagnostic, edited: EditedNode) -> Diagnostic:
    span = diagnostic.span
    if span is None or not span.line:
        return diagnostic
    moved = replace(span, line=edited.moved(span.line), end_line=edited.moved(span.end_line))
    return replace(diagnostic, span=moved)


def unchecked(text: str, before: Analysis) -> Analysis:
    """A text that is not read yet: all that is known is what the one `before` says."""
    marked, text = text.startswith(_MARK), text.removeprefix(_MARK)
    return replace(before, text=text, read=None, before=before.document, marked=marked, earlier=before)


def unread(text: str, path: Path | None, models: Models | None) -> Analysis:
    """The first text of a file, whose names are known and nothing else."""
    marked, text = text.startswith(_MARK), text.removeprefix(_MARK)
    shown = str(path) if path is not None else "<spec>"
    document = read(text, shown, Diagnostics())
    return Analysis(text, shown, (), {}, None, {}, document, None, models, marked)


def _before(earlier: str, text: str, offset: int) -> int | None:
    """Where an offset of a text was in an earlier one; None of a word that has changed, or is near to one."""
    start, end = offset, offset
    while start > 0 and (text[start - 1].isalnum() or text[start - 1] == "_"):
        start -= 1
    while end < len(text) and (text[end].isalnum() or text[end] == "_"):
        end += 1
    if earlier.startswith(text[: end + 1]):
        return offset
    if earlier.endswith(text[max(start - 1, 0) :]):
        return offset + len(earlier) - len(text)
    return None


def _nodes(program: Program) -> dict[Node, list[Op]]:
    """The ops of each node that the file declares: several, where its block is used several times."""
    ops_by_node: dict[Node, list[Op]] = {}
    file = program.graph.definition.file
    for graph in program.graph.graphs():
        if graph.definition.file == file:
            for op in graph.ops:
                ops_by_node.setdefault((graph.definition.block, op.node), []).append(op)
    return ops_by_node


def shape(tensor: Tensor) -> str:
    """A type as a hint shows it: `[batch, 28, 28, 1]`, with a dtype that is not float32 before it."""
    text = str(tensor)
    return text.removeprefix("float32")


def node_path(path: tuple[str | int, ...]) -> Node | None:
    """The node that a path leads to, or leads into."""
    body: Body = None
    if len(path) >= 2 and path[0] == "blocks":
        body, path = str(path[1]), path[2:]
    if len(path) >= 2 and path[0] in ("nodes", "shared"):
        return body, str(path[1])
    return None

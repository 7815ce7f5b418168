"""Elaborates one body: the nodes of a file or block become the ops of one graph, in data order."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from graphspec.declarations import Body, File
from graphspec.diagnostics import Span
from graphspec.elaborate.context import MAX_DEPTH, Context, OutOfBudget, Reads
from graphspec.elaborate.references import order
from graphspec.elaborate.scope import Scope
from graphspec.elaborate.values import FAILED, Resolved
from graphspec.graph import Graph, Op, Unit
from graphspec.source import Path


@dataclass(eq=False, slots=True)
class InnerPaths:
    """Inner values read by their path, `vision.block5_pool`, of ops that share one class: what one gives
    out all do.
    """

    paths: list[tuple[str, ...]] = field(default_factory=list)
    bodies: list[tuple[Op, BodyElaborator]] = field(default_factory=list)


@dataclass(eq=False, slots=True)
class NodeResult:
    """The result of one instance of a node: its outputs by name, in order, and its op if it has one; for a
    block or model, its body and what is read inside it.
    """

    outputs: dict[str, Resolved]
    op: Op | None = None
    body: BodyElaborator | None = None
    inner_paths: InnerPaths | None = None

    @property
    def first_output(self) -> Resolved:
        return next(iter(self.outputs.values()), FAILED)


@dataclass(eq=False, slots=True)
class Repeated:
    """The instances of a repeated node; `passed` replaces a chain of 0 instances."""

    results: list[NodeResult]
    parallel: bool
    passed: Resolved = FAILED
    broken: bool = False  # the last instance failed, and those after it were not tried


@dataclass(frozen=True, slots=True)
class SharedEntry:
    """An entry of `shared`, its arguments evaluated once: `unit` has its weights; None after an error."""

    unit: Unit | None
    arguments: dict[str, Any]
    inner_paths: InnerPaths


def failed() -> NodeResult:
    """The result of an instance whose error has been reported."""
    return NodeResult({"": FAILED})


@dataclass(eq=False, slots=True)
class BodyElaborator:
    """The elaboration of one body for given params and inputs.

    `elaborate_node` makes all instances of a node. It is given, because the recursion is real: a node may be
    a block, whose body is elaborated node by node.
    """

    scope: Scope
    file: File
    declared: Body
    graph: Graph
    inputs: dict[str, Resolved]
    elaborate_node: Callable[[BodyElaborator, str], NodeResult | Repeated]
    open_files: tuple[str, ...] = ()
    open_blocks: tuple[str, ...] = ()
    of_file: BodyElaborator | None = None  # for a block, the body of its file: whose shared entries it sees
    results: dict[str, NodeResult | Repeated] = field(default_factory=dict)
    active: list[str] = field(default_factory=list)
    shared: dict[str, SharedEntry] = field(default_factory=dict)
    later: list[Callable[[], None]] = field(default_factory=list)  # what reads nodes that may follow from it
    context: Context = field(init=False)
    reads: Reads = field(init=False)  # who reads what, over all instances of this body's text

    def __post_init__(self) -> None:
        self.context = self.scope.context
        self.reads = self.context.reads_of(self.graph.definition, self.declared)

    def path(self, *keys: str | int) -> Path:
        return (*self.declared.path, *keys)

    def error(self, code: str, span: Span | None, message: str, help: str | None = None, **more: Any) -> None:
        self.scope.error(code, span, message, help, **more)

    def has(self, name: str) -> bool:
        """Whether a name is known here, including names whose error is reported."""
        body = self.declared
        return name in body.nodes or name in body.inputs or name in body.failed or body.incomplete

    def block(self, name: Any) -> tuple[File, Body] | None:
        """The file and body of the block of this name: one of this file, or one of the library."""
        if not isinstance(name, str):
            return None
        if name in self.file.blocks:
            return self.file, self.file.blocks[name]
        library = self.context.library(name)
        return None if library is None else (library, next(iter(library.blocks.values())))

    def elaborate(self) -> None:
        """Elaborates every node, in file order as far as the dependencies allow."""
        for name in order(self.reads.sources, self._report_cycle):
            self.node(name)
        for finish in self.later:
            finish()

    def node(self, name: str) -> NodeResult | Repeated:
        """The result of a node, which is elaborated now if it was not before."""
        if name in self.results:
            return self.results[name]
        if name in self.active:  # by references that are computed: `order` sees the others
            self._report_cycle([*self.active[self.active.index(name) :], name])
            return failed()
        if self.context.depth >= MAX_DEPTH:
            span = self.declared.document.key(self.path("nodes", name))
            message = f"nodes read computed names of one another more than {MAX_DEPTH} deep"
            self.error(
                "too-deep",
                span,
                message,
                "write the names out, or put each node after the nodes that it reads",
            )
            raise OutOfBudget
        self.context.diagnostics.go_on()
        self.active.append(name)
        self.context.depth += 1
        result = self.elaborate_node(self, name)
        self.context.depth -= 1
        self.active.pop()
        self.results.setdefault(name, result)
        return self.results[name]

    def _report_cycle(self, names: list[str]) -> None:
        chain = " -> ".join(reversed(names))
        span = self.declared.document.key(self.path("nodes", names[0]))
        message = f"nodes depend on one another in a cycle: {chain}"
        help = "break the cycle: a graph must not contain one"
        if len(set(names)) == 1:
            help = "a node reads others: leave `from` out for the one above it, or name another"
        self.error("cycle", span, message, help)
        for name in names:
            self.results[name] = failed()

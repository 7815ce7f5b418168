"""The declarations of a file, or of a block in one."""

from __future__ import annotations

from functools import cached_property
from typing import Any

from graphspec.declarations.sources import reads_nothing
from graphspec.language.schema import Input, Node
from graphspec.source import Document, Path


class Body:
    """The declarations of one file or one block: params, inputs, shared layers, nodes, edges and outputs,
    each with its path.
    """

    def __init__(self, document: Document, path: Path, block: str | None, title: str):
        self.document, self.path, self.block, self.title = document, path, block, title
        self.params: dict[str, Any] = {}
        self.inputs: dict[str, Input | None] = {}  # None for a block's input, whose type is the caller's
        self.optional: set[str] = set()  # a block's inputs that are nothing where a use does not give them
        self.shared: dict[str, Node] = {}
        self.nodes: dict[str, Node] = {}
        self.edges: dict[str, list[tuple[str, Path]]] | None = None  # target -> its sources, in order
        self.outputs: dict[str, Any] = {}  # name -> keys of `Output`, or in a block a reference
        self.written: list[str] = []  # the names under `nodes`, those that failed among them
        self.failed: set[str] = set()  # names whose own mistake is reported: reading them is none
        self.failed_params: set[str] = set()
        self.lost_params = False  # `params` could not be read: any name may be in it
        self.torn = False  # an edge could not be read: a node without one may have it
        self.incomplete = False  # a section could not be read: a name that is missing may be in it

    @property
    def file(self) -> str:
        return self.document.file

    @cached_property
    def above(self) -> dict[str, str | None]:
        """For each node the one above it, skipping nodes without inputs; None if there is none."""
        above: dict[str, str | None] = {}
        previous: str | None = None
        for name in self.written:
            above[name] = previous
            if name not in self.nodes or not reads_nothing(self.nodes[name]):
                previous = name
        return above

    def output_path(self, name: str) -> Path:
        """The place of the output of this name."""
        outputs = self._section("outputs")
        if isinstance(outputs, list):
            return (
                (*self.path, "outputs", outputs.index(name)) if name in outputs else (*self.path, "outputs")
            )
        return (*self.path, "outputs", name) if isinstance(outputs, dict) else (*self.path, "nodes")

    def param_path(self, name: str) -> Path:
        """The place of the param of this name."""
        return (*self.path, "params", name)

    def input_path(self, name: str) -> Path:
        """The place of the input of this name."""
        inputs = self._section("inputs")
        key = inputs.index(name) if isinstance(inputs, list) else name
        return (*self.path, "inputs", key)

    def _section(self, name: str) -> Any:
        value = self.document.value
        for key in self.path:
            value = value[key]
        return value.get(name)


class File:
    """A spec file: its own body, its blocks, its presets, and the plain sections that later stages read."""

    def __init__(
        self,
        document: Document,
        body: Body,
        blocks: dict[str, Body],
        failed_blocks: frozenset[str],
        sections: dict[str, Any],
    ):
        self.document, self.body, self.blocks, self.sections = document, body, blocks, sections
        self.failed_blocks = failed_blocks  # blocks whose own mistake is reported
        self.presets: dict[str, dict[str, Any]] = sections.get("presets") or {}

    @property
    def name(self) -> str:
        return self.body.title

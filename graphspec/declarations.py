"""A document read into declarations: what its body and its blocks declare, each thing with its path.

Values may still be `$name` or `$(...)`, so what an argument means is checked when its instance is
elaborated. Here a mapping that should be one is one, a misspelt key is found, every node is exactly one
thing, and names are names.
"""

from __future__ import annotations

import re
import unicodedata
from functools import cached_property
from typing import Any

from graphspec import declared_nodes
from graphspec.declared_nodes import read_edges, read_nodes
from graphspec.diagnostics import Diagnostic, Diagnostics, Label, nearest
from graphspec.objectives.settings import Problem, SettingError, show, validate
from graphspec.schema import (
    FORMS,
    IDENTIFIER,
    NODE_KEYS,
    PLAIN,
    RESERVED,
    Block,
    Input,
    Node,
    Output,
    Spec,
    is_plain,
)
from graphspec.source import Document, Path

LOSSY = frozenset(["yaml-tag", "merge-key", "null-key", "complex-key", "unknown-anchor", "recursive-anchor"])
"""Mistakes of the YAML after which part of a value is missing."""


class Body:
    """What one file or one block declares: params, inputs, shared layers, nodes, edges and outputs, each
    with its path.
    """

    def __init__(self, document: Document, path: Path, block: str | None, title: str):
        self.document, self.path, self.block, self.title = document, path, block, title
        self.params: dict[str, Any] = {}
        self.inputs: dict[str, Input | None] = {}  # None for a block's input, whose type is the caller's
        self.shared: dict[str, Node] = {}
        self.nodes: dict[str, Node] = {}
        self.edges: dict[str, list[tuple[str, Path]]] | None = None  # target -> its sources, in order
        self.outputs: dict[str, Any] = {}  # name -> Output, or in a block a reference
        self.written: list[str] = []  # the names under `nodes`, those that failed among them
        self.failed: set[str] = set()  # names whose own mistake is reported: reading them is none
        self.failed_params: set[str] = set()
        self.incomplete = False  # a section could not be read: a name that is missing may stand in it

    @property
    def file(self) -> str:
        return self.document.file

    @cached_property
    def above(self) -> dict[str, str | None]:
        """For each node the one above it, parameters passed over; None where there is none."""
        above: dict[str, str | None] = {}
        previous: str | None = None
        for name in self.written:
            above[name] = previous
            if name not in self.nodes or self.nodes[name].form != "parameter":
                previous = name
        return above

    def output_path(self, name: str) -> Path:
        """Where the output of this name is written."""
        outputs = self._raw_outputs()
        if isinstance(outputs, list):
            return (
                (*self.path, "outputs", outputs.index(name)) if name in outputs else (*self.path, "outputs")
            )
        return (*self.path, "outputs", name) if isinstance(outputs, dict) else (*self.path, "nodes")

    def _raw_outputs(self) -> Any:
        value = self.document.value
        for key in self.path:
            value = value[key]
        return value.get("outputs")


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


def read_node(document: Document, name: str, value: Any, path: Path, diagnostics: Diagnostics) -> Node | None:
    """The node under a `wraps`; None, with what is wrong reported, where it cannot be used."""
    return declared_nodes.read_node(Reader(document, diagnostics), name, value, path)


def read_file(document: Document, stem: str, diagnostics: Diagnostics) -> File | None:
    """The declarations of a document. None where too little is legible to go on; what is wrong is in
    `diagnostics`.
    """
    return Reader(document, diagnostics).file(stem)


class Reader:
    """Walks a document once, reporting each structural mistake at its place."""

    def __init__(self, document: Document, diagnostics: Diagnostics):
        self.document, self.diagnostics = document, diagnostics
        self.damage = [
            d.span for d in diagnostics if d.code in LOSSY and d.span and d.span.file == document.file
        ]

    def error(
        self,
        code: str,
        path: Path,
        message: str,
        help: str | None = None,
        *,
        key: bool = False,
        labels: tuple[Label, ...] = (),
    ) -> None:
        span = self.document.key(path) if key else self.document.span(path)
        self.diagnostics.add(Diagnostic(code, message, span, help=help, labels=labels))

    def damaged(self, path: Path) -> bool:
        """Whether YAML could not be read inside the entry at `path`: what is missing there is no mistake."""
        if not self.damage:
            return False
        key, value = self.document.key(path), self.document.span(path)
        start, end = (key.line, key.column), (value.end_line, value.end_column)
        return any(start <= (span.line, span.column) < end for span in self.damage)

    def setting(self, cls: type[Any], value: Any, what: str, path: Path) -> Any:
        """`cls` read from `value`, or None with its problems reported."""
        if path and self.damaged(path):
            return None
        try:
            return validate(cls, value, what)
        except SettingError as error:
            for problem in error.problems:
                self.problem(problem, path)
            return None

    def problem(self, problem: Problem, path: Path) -> None:
        missing = problem.code == "missing-key"
        if missing and not path:
            if not self.damage:
                first = next(iter(self.document.value), "")
                self.error(problem.code, (first,), problem.message, problem.help, key=True)
            return
        where = path if missing else (*path, *problem.path)
        self.error(
            problem.code,
            where,
            problem.message,
            problem.help,
            key=missing or problem.code == "unknown-key",
        )

    def mapping(self, value: Any, path: Path, what: str, body: Body | None = None) -> dict[str, Any]:
        """`value` if it is a mapping, or null for an absent one; anything else is reported."""
        if value is None:
            return {}
        if isinstance(value, dict):
            return value
        if body is not None:
            body.incomplete = True
        if not self.damaged(path):
            self.error("wrong-type", path, f"{what} is a mapping from names, not {show(value)}")
        return {}

    def file(self, stem: str) -> File | None:
        spec = self.setting(Spec, self.document.value, "a spec", ())
        if spec is None:  # unknown or missing keys: go on with what is there
            known = {key: value for key, value in self.document.value.items() if key in Spec.model_fields}
            spec = Spec.model_construct(**{"inputs": None, "nodes": None, "outputs": None, **known})
        name = spec.name
        if name is not None and not (isinstance(name, str) and name):
            self.error("wrong-type", ("name",), f"`name` is a text, not {show(name)}")
            name = None
        body = Body(self.document, (), None, name or stem)
        body.incomplete = bool(self.damage) or not {"inputs", "nodes"} <= self.document.value.keys()
        self.params(spec.params, body)
        self.inputs(spec.inputs, body)
        blocks = {
            block: self.block(block, value) if self.name(block, ("blocks", block), "a block") else None
            for block, value in self.mapping(spec.blocks, ("blocks",), "`blocks`", body).items()
        }
        body.shared = read_nodes(self, spec.shared, ("shared",), body, shared=True)
        body.nodes = read_nodes(self, spec.nodes, ("nodes",), body)
        body.edges = read_edges(self, spec.edges, ("edges",), body)
        body.outputs = self.outputs(spec.outputs)
        self.namespace(body)
        sections = {
            "presets": self.presets(spec.presets, body),
            **{
                key: value
                for key in ("data", "train", "tune")
                if (value := getattr(spec, key)) is not None and not self.damaged((key,))
            },
        }
        if not body.written and not body.incomplete:
            self.error("missing-key", ("nodes",), "a spec has at least one node")
        failed = frozenset(block for block, read in blocks.items() if read is None)
        legible = {block: read for block, read in blocks.items() if read is not None}
        return File(self.document, body, legible, failed, sections)

    def name(self, word: str, path: Path, what: str, *, reserved: bool = False) -> bool:
        """Whether a name is an identifier, and not one that the language keeps for itself."""
        if not IDENTIFIER.match(word):
            plain = unicodedata.normalize("NFKD", word.replace("ß", "ss"))
            plain = "".join(c for c in plain if not unicodedata.combining(c))
            fixed = re.sub(r"\W+", "_", plain, flags=re.ASCII).strip("_")
            help = (
                f"write `{fixed}`"
                if IDENTIFIER.match(fixed)
                else "letters, digits and underscores, no digit first"
            )
            self.error(
                "bad-name", path, f"the name of {what} is an ASCII identifier, not `{word}`", help, key=True
            )
            return False
        if reserved and word in RESERVED:
            self.error(
                "reserved-name", path, f"`{word}` has a meaning of its own and cannot name {what}", key=True
            )
            return False
        return True

    def params(self, value: Any, body: Body) -> None:
        params = self.mapping(value, (*body.path, "params"), "`params`", body)
        for name, item in params.items():
            here = (*body.path, "params", name)
            body.failed_params.add(name)
            if not self.name(name, here, "a param", reserved=True):
                continue
            if name in FORMS or name in NODE_KEYS:
                self.error(
                    "reserved-name",
                    here,
                    f"`{name}` is a key of every node and cannot name a param",
                    key=True,
                )
            elif not is_plain(item):
                self.error("wrong-type", here, f"the param `{name}` is {PLAIN}, not {show(item)}")
            elif not self.damaged(here):
                body.params[name] = item
                body.failed_params.discard(name)

    def presets(self, value: Any, body: Body) -> dict[str, dict[str, Any]]:
        params = body.params
        presets = self.mapping(value, ("presets",), "`presets`")
        for preset, settings in presets.items():
            path = ("presets", preset)
            for name, item in self.mapping(settings, path, f"the preset `{preset}`").items():
                if not is_plain(item):
                    message = f"the param `{name}` is {PLAIN}, not {show(item)}"
                    self.error("wrong-type", (*path, name), message)
                elif name not in params and name not in body.failed_params:
                    word = nearest(name, params)
                    self.error(
                        "unknown-param",
                        ("presets", preset, name),
                        f"the preset `{preset}` sets `{name}`, which is no param of this file",
                        f"did you mean `{word}`?" if word else None,
                        key=True,
                    )
        return {name: settings for name, settings in presets.items() if isinstance(settings, dict)}

    def inputs(self, value: Any, body: Body) -> None:
        found = body.inputs
        for name, item in self.mapping(value, ("inputs",), "`inputs`", body).items():
            path = ("inputs", name)
            found[name] = None
            if not self.name(name, path, "an input", reserved=True):
                continue
            if isinstance(item, list):
                self.error(
                    "wrong-type", path, f"the input `{name}` is a list", f"write {{shape: {show(item)}}}"
                )
                continue
            found[name] = self.setting(Input, item, f"the input `{name}`", path)

    def block(self, name: str, value: Any) -> Body | None:
        path: Path = ("blocks", name)
        block = self.setting(Block, value, f"the block `{name}`", path)
        if block is None:
            return None
        body = Body(self.document, path, name, name)
        body.incomplete = bool(self.damage)
        self.params(block.params, body)
        inputs = block.inputs
        if isinstance(inputs, dict):
            inputs = list(inputs)
        if not isinstance(inputs, list) or not inputs or not all(isinstance(i, str) for i in inputs):
            self.error(
                "wrong-type",
                (*path, "inputs"),
                f"`inputs` of the block `{name}` is a list of names",
                "write inputs: [x]",
            )
            return None
        for position, word in enumerate(inputs):
            if self.name(word, (*path, "inputs", position), "an input", reserved=True):
                if word in body.inputs:
                    self.error(
                        "duplicate-name",
                        (*path, "inputs", position),
                        f"the block `{name}` has two inputs `{word}`",
                    )
                body.inputs[word] = None
        body.shared = read_nodes(self, block.shared, (*path, "shared"), body, shared=True)
        body.nodes = read_nodes(self, block.nodes, (*path, "nodes"), body)
        body.edges = read_edges(self, block.edges, (*path, "edges"), body)
        body.outputs = self.block_outputs(block.outputs, path, body)
        self.namespace(body)
        return body

    def block_outputs(self, value: Any, path: Path, body: Body) -> dict[str, Any]:
        if value is None:
            last = body.written[-1:]
            return {name: name for name in last}
        if isinstance(value, str):
            value = [value]
        if isinstance(value, list) and value and all(isinstance(item, str) for item in value):
            return {item: item for item in value}
        if isinstance(value, dict) and value and all(isinstance(item, str) for item in value.values()):
            return dict(value)
        self.error(
            "wrong-type",
            (*path, "outputs"),
            "the outputs of a block are a list of node names, or a mapping from names to nodes",
            "write outputs: [out], or outputs: {x: out, skip: conv}",
        )
        return {}

    def outputs(self, value: Any) -> dict[str, Any]:
        found: dict[str, Any] = {}
        if isinstance(value, list):
            for position, name in enumerate(value):
                if not isinstance(name, str):
                    self.error("wrong-type", ("outputs", position), f"an output is a name, not {show(name)}")
                elif name in found:
                    self.error("duplicate-name", ("outputs", position), f"the output `{name}` stands twice")
                elif self.name(name, ("outputs", position), "an output"):
                    found[name] = Output()
            return found
        if isinstance(value, str):
            return {value: Output()}
        for name, item in self.mapping(value, ("outputs",), "`outputs`").items():
            if isinstance(item, str):
                message = f"the output `{name}` is a mapping, not {show(item)}"
                self.error("wrong-type", ("outputs", name), message, f"write {{loss: {item}}}")
            elif self.name(name, ("outputs", name), "an output"):
                output = self.setting(
                    Output, {} if item is None else item, f"the output `{name}`", ("outputs", name)
                )
                if output is not None:
                    found[name] = output
        return found

    def namespace(self, body: Body) -> None:
        """Inputs, shared layers and nodes are one namespace."""
        seen: dict[str, tuple[str, Path]] = {
            name: ("an input", (*body.path, "inputs", position if body.block else name))
            for position, name in enumerate(body.inputs)
        }
        for section, what in (("shared", "a shared layer"), ("nodes", "a node")):
            for name in getattr(body, section):
                path = (*body.path, section, name)
                if name in seen:
                    other, place = seen[name]
                    self.error(
                        "duplicate-name",
                        path,
                        f"`{name}` is {what} here and {other} above",
                        "rename one: inputs, shared layers and nodes share one set of names",
                        key=True,
                        labels=(Label(self.document.key(place), other),),
                    )
                seen[name] = (what, path)

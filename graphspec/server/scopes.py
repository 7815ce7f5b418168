"""The names that the bodies of a spec declare: nodes, params, blocks, sizes and outputs."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path as FilePath
from typing import Any

from graphspec import std
from graphspec.contract import REGISTRY
from graphspec.language.schema import NAMED_SIZE
from graphspec.source import Document

Body = str | None
"""A block's name, or None for the file itself."""


@dataclass(frozen=True, slots=True)
class Symbol:
    """A name: `kind` is node (inputs and shared layers, too), param, block, size or output; or file, of one
    that a model names. `file` is where it is declared, None in the document itself.
    """

    kind: str
    name: str
    body: Body = None
    file: FilePath | None = None


Models = Callable[[str], "Scopes | None"]
"""The scopes of the file that a path leads to; None where it is none."""
Inside = tuple["Scopes", Body]
"""A body of a document."""


class Scopes:
    """The names that the bodies of a document declare. `file` is the document's, where another one reads it;
    `models` gives the scopes of a file by the path that is written.
    """

    def __init__(self, document: Document, models: Models | None = None, file: FilePath | None = None):
        self.document, self.models, self.file = document, models, file
        value = document.value
        self.sizes = frozenset(_sizes(value.get("inputs")))
        self.blocks: Mapping[str, Any] = mapping(mapping(value).get("blocks"))
        self._known: dict[Body, dict[str, None]] = {}

    def value(self, body: Body) -> Mapping[str, Any]:
        """The keys of a body, as written."""
        return mapping(self.document.value if body is None else self.blocks.get(body))

    def names(self, body: Body) -> Collection[str]:
        """The names that a reference in a body can have, in the order of the text."""
        if body not in self._known:
            self._known[body] = dict.fromkeys(_names(self.value(body)))
        return self._known[body].keys()

    def part(self, body: Body, name: str) -> Symbol | None:
        """The symbol of a name in a path into a body, of an output or of a node."""
        symbol = self.output(body, name)
        return symbol if symbol.kind == "output" or name in self.names(body) else None

    def params(self, body: Body) -> list[str]:
        """The params that an expression in a body can read: its own first."""
        params = self.value(body).get("params") if body is not None else None
        return list({**mapping(params), **mapping(self.value(None).get("params"))})

    def target(self, body: Body, node: Mapping[str, Any]) -> Inside | None:
        """The body that a node makes an instance of: that of a block, of a model's file, of what it calls."""
        called = node.get("call")
        if isinstance(called, str):
            owner = self.owner(body, called)
            shared = mapping(self.value(owner).get("shared"))
            node = mapping(shared.get(called))
            if isinstance(averaged := node.get("average_of"), str):
                node = mapping(shared.get(averaged))
        block, model = node.get("block"), node.get("model")
        if isinstance(block, str) and block in self.blocks:
            return self, block
        if block in std.names():
            library = std.document(str(block))
            return Scopes(library, file=FilePath(library.file)), next(iter(library.value["blocks"]))
        other = self.models(model) if isinstance(model, str) and self.models is not None else None
        return (other, None) if other is not None else None

    def inside(self, body: Body, name: str) -> Inside | None:
        """The body whose nodes a path after this name leads to."""
        return self.target(body, mapping(mapping(self.value(body).get("nodes")).get(name)))

    def owner(self, body: Body, name: str) -> Body:
        """The body whose `shared` has an entry: a block sees the file's."""
        return body if body is not None and name in mapping(self.value(body).get("shared")) else None

    def inputs(self, body: Body = None) -> list[str]:
        """The inputs of a body."""
        return _inputs(self.value(body))

    def field(self, name: str) -> Symbol | None:
        """The symbol of a name of `data.features`, or of a `target`: an input, or the output with this
        feature. None for a column.
        """
        value = self.value(None)
        if name in self.inputs():
            return Symbol("node", name, None, self.file)
        if name in mapping(value.get("outputs")) and name in mapping(
            mapping(value.get("data")).get("features")
        ):
            return self.output(None, name)
        return None

    def output(self, body: Body, name: str) -> Symbol:
        """The symbol of an output's name: one of a block that is named as an input is chained to it, and one
        of a file that reads nothing is a node's.
        """
        written = mapping(self.value(body).get("outputs"))
        if body is None:
            named = "from" in mapping(written.get(name))
        else:
            inputs = self.value(body).get("inputs")
            named = name in written and not (isinstance(inputs, list | dict) and name in inputs)
        return Symbol("output" if named else "node", name, body, self.file)


def mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _inputs(value: Mapping[str, Any]) -> list[str]:
    """The inputs of a body, which may be a list."""
    inputs = value.get("inputs")
    return [name for name in inputs if isinstance(name, str)] if isinstance(inputs, list | dict) else []


def _names(value: Mapping[str, Any]) -> Iterator[str]:
    """The inputs, shared entries and nodes of a body."""
    yield from _inputs(value)
    for section in ("shared", "nodes"):
        yield from mapping(value.get(section))


def sized(node: Mapping[str, Any]) -> tuple[str, ...]:
    """The keys of a node under which texts are sizes of the inputs."""
    for form, classes in REGISTRY.items():
        name = node.get(form)
        if isinstance(name, str) and name in classes:
            return classes[name].named_sizes
    return ("shape", "outputs") if "module" in node else ()


def _sizes(inputs: Any) -> Iterator[str]:
    """The sizes with a name that inputs have."""
    for item in mapping(inputs).values():
        shape = mapping(item).get("shape")
        for size in shape if isinstance(shape, list) else ():
            if isinstance(size, str) and (match := NAMED_SIZE.fullmatch(size)):
                yield match["name"]

"""Bodies as a spec's document: plain data, in the order in which it is written."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from graphspec.convert.nodes import (
    SOURCES,
    CalledEntry,
    ConvertedBody,
    ConvertedInput,
    ConvertedNode,
    ConvertedValue,
)
from graphspec.language.naming import identifier
from graphspec.weights.names import Namespace

SIZES = {1: ("length",), 2: ("length",), 3: ("height", "width"), 4: ("depth", "height", "width")}
"""What sizes that are not known are called, by the number of axes but the batch."""


def document(body: ConvertedBody, settings: Mapping[str, Any], common_sizes: bool) -> dict[str, Any]:
    """The unfolded document of a model: each model inside it is a block.

    `settings` are those of its outputs and its training; `common_sizes` gives unknown sizes of all inputs the
    same names.
    """
    blocks: dict[str, Any] = {}
    names = Namespace()
    inner = _graph(body, blocks, names, {})
    file: dict[str, Any] = {"inputs": input_sizes(body.inputs, common_sizes)}
    if blocks:
        file["blocks"] = blocks
    file |= inner
    file["outputs"] = outputs(body, settings.get("outputs", {}))
    if settings.get("data"):
        file["data"] = settings["data"]
    if settings.get("train"):
        file["train"] = settings["train"]
    return file


def nodes_of(document: Mapping[str, Any]) -> int:
    """The number of nodes of a document, including its blocks."""
    return sum(len(part["nodes"]) for part in (document, *document.get("blocks", {}).values()))


def input_sizes(inputs: list[ConvertedInput], common: bool) -> dict[str, Any]:
    """The section `inputs`."""
    section: dict[str, Any] = {}
    for item in inputs:
        sizes: list[Any] = list(item.shape or ())
        unknown = [axis for axis, size in enumerate(sizes) if size is None]
        words = SIZES.get(len(sizes), ())
        for axis in unknown:
            word = words[axis] if axis < len(words) else f"size_{axis}"
            if len(sizes) == 2 and axis == 1:
                word = "features"
            several = len(inputs) > 1 and not common
            sizes[axis] = f"{item.name}_{word}" if several else word
        section[item.name] = {"shape": sizes}
        if item.dtype != "float32":
            section[item.name]["dtype"] = item.dtype
        if item.channels_first:
            section[item.name]["data_format"] = "channels_first"
    return section


def outputs(body: ConvertedBody, settings: Mapping[str, Mapping[str, Any]]) -> Any:
    """The section `outputs`: a list where there is nothing to say but names."""
    section: dict[str, dict[str, Any]] = {}
    names = Namespace()
    for key, value in body.outputs.items():
        name = names.claim(identifier(key, "output"))
        section[name] = {} if value.reference() == name else {"from": value.reference()}
        section[name] |= settings.get(key, {})
    return list(section) if not any(section.values()) else section


def _graph(
    body: ConvertedBody, blocks: dict[str, Any], names: Namespace, known: dict[int, str]
) -> dict[str, Any]:
    """The sections `shared` and `nodes` of a body; the blocks that they use are added first."""
    sections: dict[str, Any] = {}
    shared = {entry.name: _entry(entry, blocks, names, known) for entry in body.shared}
    if shared:
        sections["shared"] = shared
    nodes: dict[str, Any] = {}
    above: ConvertedNode | ConvertedInput | None = body.inputs[0] if len(body.inputs) == 1 else None
    for node in body.nodes:
        block = (
            _block(node.body, blocks, names, known) if node.body is not None and node.entry is None else None
        )
        nodes[node.name] = written(node, above, block)
        if node.form not in SOURCES:
            above = node
    sections["nodes"] = nodes
    return sections


def _entry(
    entry: CalledEntry, blocks: dict[str, Any], names: Namespace, known: dict[int, str]
) -> dict[str, Any]:
    block = _block(entry.body, blocks, names, known) if entry.body is not None else None
    item: dict[str, Any] = {"block": block} if entry.form == "block" else {entry.form: entry.what}
    if entry.form == "layer" and block is not None:
        item["wraps"] = {"block": block}
    item |= entry.arguments
    if not entry.trainable:
        item["trainable"] = False
    return item


def _block(body: ConvertedBody, blocks: dict[str, Any], names: Namespace, known: dict[int, str]) -> str:
    """The name of the block that a body is; it is written when it is first asked for."""
    if id(body) not in known:
        inner = _graph(body, blocks, names, known)
        name = names.claim(identifier(body.name, "block"))
        block: dict[str, Any] = {"inputs": [item.name for item in body.inputs], **inner}
        last = body.nodes[-1] if body.nodes else None
        if len(body.outputs) > 1 or next(iter(body.outputs.values())) != (
            ConvertedValue(last) if last else None
        ):
            block["outputs"] = {
                identifier(key, "y"): value.reference() for key, value in body.outputs.items()
            }
        blocks[name] = block
        known[id(body)] = name
    return known[id(body)]


def written(
    node: ConvertedNode, above: ConvertedNode | ConvertedInput | None, block: str | None
) -> dict[str, Any]:
    """One node. `from` is left out where it is the node above; `block` is the block it uses or wraps."""
    item: dict[str, Any] = {node.form: node.what}
    if node.form == "block":
        item["block"] = block or node.what
    elif node.form == "call":
        assert node.entry is not None
        item["call"] = node.entry.name
    elif block is not None:
        item["wraps"] = {"block": block}
    source = reading(node)
    if source is not None and not (
        node.style == "one" and next(node.sources()) == ConvertedValue(above) if above else False
    ):
        item["from"] = source
    item |= node.arguments
    if not node.trainable:
        item["trainable"] = False
    return item


def reading(node: ConvertedNode) -> Any:
    """The value of `from`."""
    if not node.reads:
        return None

    def text(read: Any) -> Any:
        return read.reference() if isinstance(read, ConvertedValue) else [value.reference() for value in read]

    if node.style == "one":
        return text(node.reads[0][1])
    if node.style == "list":
        return [text(read) for _, read in node.reads]
    return {name: text(read) for name, read in node.reads}

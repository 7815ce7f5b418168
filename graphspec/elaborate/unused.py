"""Finds unused names: nodes that reach no output, inputs, blocks, params and shared layers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from graphspec.declarations import Body, File
from graphspec.diagnostics import delete
from graphspec.elaborate.context import Context, Reads
from graphspec.expressions import ExpressionError, names_in
from graphspec.graph import Definition
from graphspec.language.schema import Node
from graphspec.source import Path


def report_unused(context: Context, root: File) -> None:
    """Reports everything unused in every file that was read. Called only without other errors, since a failed
    node reads nothing.
    """
    if context.diagnostics.errors:
        return
    for definition, reads in context.reads.items():
        _unreached(context, definition, reads)
    for file in [root, *(file for file in context.files.values() if file is not None)]:
        _unused_shared(context, file)
        _unused_blocks(context, file)
        _unused_params(context, file)


def _unreached(context: Context, definition: Definition, reads: Reads) -> None:
    body = reads.body
    reached: set[str] = set()
    work = [""]
    while work:
        reader = work.pop()
        read = {*reads.edges.get(reader, ()), *reads.sources.get(reader, ())}
        work += read - reached
        reached |= read
    where = f" of `{definition.title}`" if body.block else ""
    for name in body.nodes:
        if name not in reached:
            message = f"`{name}` reaches no output{where}"
            help = "read it somewhere, add it to `outputs`, or remove it"
            context.error("unreachable-node", body.document.key((*body.path, "nodes", name)), message, help)
    for name in body.inputs:
        if name not in reached:
            path = body.input_path(name)
            span = body.document.key(path) if path[-1] == name else body.document.span(path)
            message = f"nothing{where} reads the input `{name}`"
            context.error("unused-input", span, message, "read it in a `from`, or remove it")


def _unused_shared(context: Context, file: File) -> None:
    """Shared entries that no node calls: of a file, none of its blocks either."""
    called = {id(reads.body): reads.called for reads in context.reads.values()}
    for body in (file.body, *file.blocks.values()):
        if not body.shared or (body is not file.body and id(body) not in called):
            continue  # or no use of the block was elaborated
        readers = [body] if body.block is not None else [body, *file.blocks.values()]
        written = {
            name
            for reader in readers
            for name in _calls(reader)
            if reader is body or name not in reader.shared
        }
        for name in body.shared:
            if name not in written | called.get(id(body), set()):
                span = body.document.key((*body.path, "shared", name))
                message = f"nothing calls the shared `{name}`"
                context.error(
                    "unused-shared", span, message, f"write {{call: {name}, from: ...}}, or remove it"
                )


def _calls(body: Body) -> Iterator[str]:
    """The shared entries that the nodes of a body call, or wrap."""
    for node in body.nodes.values():
        for called in (node.call, *(wraps.get("call") for wraps in _wrapped(node))):
            if isinstance(called, str):
                yield called


def _wrapped(node: Node) -> Iterator[dict[str, Any]]:
    """The layer that a node wraps, and the one inside of that, and so on."""
    wraps: Any = node.wraps
    while isinstance(wraps, dict):
        yield wraps
        wraps = wraps.get("wraps")


def _unused_blocks(context: Context, file: File) -> None:
    if not file.blocks:
        return
    named: set[str] = set()
    for body in (file.body, *file.blocks.values()):
        for node in (*body.nodes.values(), *body.shared.values()):
            blocks = (node.block, *(wraps.get("block") for wraps in _wrapped(node)))
            named |= {name for name in blocks if isinstance(name, str)}
    losses = [output.get("loss") for output in file.body.outputs.values() if isinstance(output, dict)]
    named |= {str(loss["block"]) for loss in losses if isinstance(loss, dict) and "block" in loss}
    if any("$" in name for name in named):
        return  # params choose among them
    for name in file.blocks:
        if name not in named:
            span, message = file.document.key(("blocks", name)), f"nothing uses the block `{name}`"
            context.error("unused-block", span, message, f"write {{block: {name}}}, or remove it")


def _unused_params(context: Context, file: File) -> None:
    def unused(param: str, path: Path, where: str = "") -> None:
        message = f"nothing uses the param `{param}`{where}"
        help = delete(words=f"write ${param} where it belongs, or remove it", safe=False)
        context.error("unused-param", file.document.key(path), message, help)

    if not any(body.params for body in (file.body, *file.blocks.values())):
        return
    value = file.document.value
    blocks = value.get("blocks") or {}
    outside = {key: item for key, item in value.items() if key != "blocks"}
    used = _names(outside)
    for name, body in file.blocks.items():
        text = blocks[name]
        inside = _names(text)
        used |= inside - set(body.params)
        for param in body.params:
            if param not in inside:
                unused(param, ("blocks", name, "params", param), f" of `{name}`")
    for param in file.body.params:
        if param not in used:
            unused(param, ("params", param))


def _names(value: Any) -> set[str]:
    try:
        return set(names_in(value))
    except ExpressionError:
        return set()

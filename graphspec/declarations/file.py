"""A document read into declarations: params, inputs, blocks, nodes, edges and outputs."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

from graphspec.declarations.body import Body, File
from graphspec.declarations.indentation import indented
from graphspec.declarations.nodes import read_edges, read_nodes
from graphspec.declarations.reader import DeclarationReader, named_items
from graphspec.diagnostics import Diagnostics, Label, become, certain, did_you_mean, nearest, write_value
from graphspec.diagnostics.foreign_terms import FORMATS
from graphspec.expressions.grammar import EXPRESSION_WORDS
from graphspec.language.schema import FORMS, NODE_KEYS, PLAIN, Block, Input, Output, Spec, is_plain
from graphspec.language.versions import misfit
from graphspec.settings import show, unquoted
from graphspec.source import Document, Path


def read_file(document: Document, stem: str, diagnostics: Diagnostics) -> File | None:
    """The declarations of a document; None if too little can be read. Errors are added to `diagnostics`."""
    document, torn = indented(document, diagnostics)
    reader = DeclarationReader(document, diagnostics)
    foreign = next((each for each in FORMATS if each[0] <= document.value.keys()), None)
    if foreign is not None and not document.value.keys() & {"nodes", "inputs", "blocks"}:
        first = next(key for key in document.value if key in foreign[0])
        reader.error("not-a-mapping", (first,), f"this is {foreign[1]}, and no spec", foreign[2], key=True)
        return None
    spec = reader.setting(Spec, document.value, "a spec", ())
    if spec is None:  # unknown or missing keys: go on with what is there
        document = _respelled(document)
        reader = DeclarationReader(document, diagnostics)
        known = {key: value for key, value in document.value.items() if key in Spec.model_fields}
        spec = Spec.model_construct(**{"inputs": None, "nodes": None, "outputs": None, **known})
    name = spec.name
    if name is not None and not (isinstance(name, str) and name):
        reader.error("wrong-type", ("name",), f"`name` is a string, not {show(name)}")
        name = None
    if (wrong := misfit(document)) is not None:
        diagnostics.add(wrong)
    body = Body(document, (), None, name or stem)
    body.incomplete = torn or bool(reader.damage) or not {"inputs", "nodes"} <= document.value.keys()
    _params(reader, spec.params, body)
    misspelt = _misspelt(document.value)
    body.lost_params |= "params" in misspelt
    _inputs(reader, spec.inputs, body)
    blocks = {
        block: _block(reader, block, value) if reader.name(block, ("blocks", block), "a block") else None
        for block, value in reader.mapping(spec.blocks, ("blocks",), "`blocks`", body).items()
    }
    body.shared = read_nodes(reader, spec.shared, ("shared",), body, shared=True)
    body.nodes = read_nodes(reader, spec.nodes, ("nodes",), body)
    body.edges = read_edges(reader, spec.edges, ("edges",), body)
    body.outputs = _outputs(reader, spec.outputs)
    _namespace(reader, body)
    sections = {
        "presets": _presets(reader, spec.presets, body),
        **{
            key: value
            for key in ("data", "train", "tune", "generate")
            if (value := getattr(spec, key)) is not None and not reader.damaged((key,))
        },
    }
    if not body.written and not body.incomplete:
        reader.error("missing-key", ("nodes",), "a spec has at least one node")
    failed = frozenset(block for block, read in blocks.items() if read is None)
    failed |= frozenset(misspelt.get("blocks") or ())
    legible = {block: read for block, read in blocks.items() if read is not None}
    return File(document, body, legible, failed, sections)


def read_blocks(document: Document, diagnostics: Diagnostics) -> File:
    """The declarations of a document that has blocks alone: one of the library, whose first is the one that
    specs name by the document's name.
    """
    reader, blocks = DeclarationReader(document, diagnostics), dict[str, Body]()
    for name, value in document.value["blocks"].items():
        block = _block(reader, name, value)
        assert block is not None, f"the block `{name}` of `{document.file}` is wrong"
        block.block = document.file if not blocks else f"{document.file}.{name}"
        blocks[name] = block
    return File(document, Body(document, (), None, document.file), blocks, frozenset(), {})


def _respelled(document: Document) -> Document:
    """A document with the names of sections in place of keys that can have meant nothing else."""
    known = Spec.model_fields
    names: dict[str, str] = {}
    for key in document.value:
        near = nearest(key, known, Spec.synonyms) if key not in known else None
        taken = near in document.value or near in names.values()
        if near is not None and not taken and certain(key, near, known, Spec.synonyms):
            names[key] = near
    start, end, children = document.root
    assert isinstance(children, dict)
    return replace(
        document,
        value={names.get(key, key): item for key, item in document.value.items()},
        root=(start, end, {names.get(key, key): item for key, item in children.items()}),
    )


def _misspelt(value: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The mappings under keys that are nearly those of a section, by its name."""
    known = Spec.model_fields
    sections = {nearest(key, known, Spec.synonyms): item for key, item in value.items() if key not in known}
    return {name: item for name, item in sections.items() if name is not None and isinstance(item, dict)}


def _params(reader: DeclarationReader, value: Any, body: Body) -> None:
    path = (*body.path, "params")
    params = reader.mapping(value, path, "`params`", body)
    body.lost_params = (value is not None and not isinstance(value, dict)) or reader.damaged(path)
    for name, item in params.items():
        here = (*body.path, "params", name)
        body.failed_params.add(name)
        if not reader.name(name, here, "a param", reserved=True):
            continue
        if name in FORMS or name in NODE_KEYS or name in EXPRESSION_WORDS:
            what = "a word of expressions" if name in EXPRESSION_WORDS else "a key of every node"
            help = f"give it another name, such as `{name}_`"
            reader.error("reserved-name", here, f"`{name}` is {what} and cannot name a param", help, key=True)
        elif not is_plain(item):
            message = f"the param `{name}` is {PLAIN}, not {show(item)}"
            reader.error("wrong-type", here, message, _default(name, item))
        elif not reader.damaged(here):
            body.params[name] = item
            body.failed_params.discard(name)


def _default(name: str, item: object) -> str | None:
    """The remedy for a param that is described, where its default alone is written."""
    words = (word for word in ("default", "value") if isinstance(item, dict) and is_plain(item.get(word)))
    value = next((item[word] for word in words if isinstance(item, dict) and word in item), None)
    return None if value is None else become(value, f"a param is its default: write `{name}: {show(value)}`")


def _presets(reader: DeclarationReader, value: Any, body: Body) -> dict[str, dict[str, Any]]:
    params = body.params
    presets = reader.mapping(value, ("presets",), "`presets`")
    for preset, settings in presets.items():
        path = ("presets", preset)
        for name, item in reader.mapping(settings, path, f"the preset `{preset}`").items():
            if not is_plain(item):
                message = f"the param `{name}` is {PLAIN}, not {show(item)}"
                reader.error("wrong-type", (*path, name), message)
            elif name not in params and name not in body.failed_params:
                reader.error(
                    "unknown-param",
                    ("presets", preset, name),
                    f"the preset `{preset}` sets `{name}`, which is not a param of this file",
                    did_you_mean(name, params, f"declare it: params: {{{name}: {show(item)}}}"),
                    key=True,
                )
    return {name: settings for name, settings in presets.items() if isinstance(settings, dict)}


def _inputs(reader: DeclarationReader, value: Any, body: Body) -> None:
    inputs = body.inputs
    if isinstance(value, dict) and isinstance(value.get("shape"), list):
        inner = ", ".join(f"{key}: {unquoted(item)}" for key, item in value.items())
        message, help = "`inputs` has an input without a name", f"write {{x: {{{inner}}}}}"
        reader.error("wrong-type", ("inputs",), message, help, key=True)
        body.incomplete = True
        return
    for name, item in reader.mapping(value, ("inputs",), "`inputs`", body).items():
        path = ("inputs", name)
        inputs[name] = None
        if not reader.name(name, path, "an input", reserved=True):
            continue
        if isinstance(item, list):
            help = write_value(f"{{shape: {show(item)}}}")
            reader.error("wrong-type", path, f"the input `{name}` is a list", help)
            continue
        if isinstance(item, int | str) and not isinstance(item, bool):
            help = write_value(f"{{shape: [{item}]}}")
            reader.error("wrong-type", path, f"the input `{name}` is a mapping, not {show(item)}", help)
            continue
        if item is None and not body.incomplete:
            message = f"the input `{name}` has no shape"
            reader.error("wrong-type", path, message, f"write `{name}: {{shape: [64]}}`", key=True)
            continue
        inputs[name] = reader.setting(Input, item, f"the input `{name}`", path)


def _block(reader: DeclarationReader, name: str, value: Any) -> Body | None:
    path: Path = ("blocks", name)
    if isinstance(value, dict) and any(form in value for form in FORMS):
        message = f"the block `{name}` is written as a node"
        inner = ", ".join(f"{key}: {unquoted(item)}" for key, item in value.items())
        help = f"write {{inputs: [x], nodes: {{hidden: {{{inner}}}}}}}"
        reader.error("wrong-type", path, message, help, key=True)
        return None
    if isinstance(value, list) and not reader.damaged(path):
        named = _named_nodes(value)
        message = f"the block `{name}` is a mapping, not a list"
        reader.error("wrong-type", path, message, f"write {{inputs: [x], nodes: {named}}}")
        return None
    block = reader.setting(Block, value, f"the block `{name}`", path)
    if block is None:
        return None
    body = Body(reader.document, path, name, name)
    body.incomplete = bool(reader.damage)
    _params(reader, block.params, body)
    if not _block_inputs(reader, block.inputs, path, body):
        return None
    body.shared = read_nodes(reader, block.shared, (*path, "shared"), body, shared=True)
    body.nodes = read_nodes(reader, block.nodes, (*path, "nodes"), body)
    body.edges = read_edges(reader, block.edges, (*path, "edges"), body)
    body.outputs = _block_outputs(reader, block.outputs, path, body)
    _namespace(reader, body)
    return body


def _named_nodes(value: list[Any]) -> str:
    """The nodes of a list under names of their own, as they are written."""
    nodes = [item for item in value if isinstance(item, dict) and len(str(item)) < 200][:3]
    shown = [f"{chr(ord('a') + number)}: {unquoted(item)}" for number, item in enumerate(nodes)]
    return f"{{{', '.join(shown)}{', ...' if len(nodes) < len(value) else ''}}}"


def _block_inputs(reader: DeclarationReader, value: Any, path: Path, body: Body) -> bool:
    """Reads a block's inputs: a list of names, or a mapping that has null for those that may be nothing."""
    message = f"`inputs` of the block `{body.title}` is a list of names"
    if isinstance(value, str) and re.fullmatch(r"\w+(,\s*\w+)*", value):
        reader.error("wrong-type", (*path, "inputs"), message, write_value(f"[{value}]"))
        value = value.replace(" ", "").split(",")
    named = isinstance(value, dict)
    if not isinstance(value, list | dict) or not value or not all(isinstance(word, str) for word in value):
        reader.error("wrong-type", (*path, "inputs"), message, "write inputs: [x]")
        return False
    described = [word for word in value if named and value[word] not in (None, "required")]
    if described:
        message = "an input of a block has no settings: each use of the block gives it a shape and a type"
        help = f"write inputs: [{', '.join(value)}]"
        if isinstance(value, dict) and None in value.values():
            names = ", ".join(
                f"{word}: {'null' if item is None else 'required'}" for word, item in value.items()
            )
            help = f"write inputs: {{{names}}}"
        reader.error("wrong-type", (*path, "inputs", described[0]), message, help)
    for position, word in enumerate(value):
        here = (*path, "inputs", word if named else position)
        if reader.name(word, here, "an input", reserved=True):
            if word in body.inputs:
                message = f"the block `{body.title}` has two inputs `{word}`"
                reader.error("duplicate-name", here, message)
            body.inputs[word] = None
            if named and value[word] != "required":
                body.optional.add(word)
    return True


def _block_outputs(reader: DeclarationReader, value: Any, path: Path, body: Body) -> dict[str, Any]:
    if value is None:
        last = body.written[-1:]
        return {name: name for name in last}
    if isinstance(value, str):
        value = [value]
    if isinstance(value, list) and value and all(isinstance(item, str) for item in value):
        return {item: item for item in value}
    if isinstance(value, dict) and value and all(isinstance(item, str) for item in value.values()):
        return dict(value)
    reader.error(
        "wrong-type",
        (*path, "outputs"),
        "the outputs of a block are a list of node names, or a mapping from names to nodes",
        "write outputs: [out], or outputs: {x: out, skip: conv}",
    )
    return {}


def _outputs(reader: DeclarationReader, value: Any) -> dict[str, Any]:
    outputs: dict[str, Any] = {}
    if isinstance(value, list):
        for position, name in enumerate(value):
            if not isinstance(name, str):
                message = f"an output is a name, not {show(name)}"
                reader.error("wrong-type", ("outputs", position), message, _named_output(name, value))
            elif name in outputs:
                reader.error("duplicate-name", ("outputs", position), f"the output `{name}` is listed twice")
            elif reader.name(name, ("outputs", position), "an output"):
                outputs[name] = {}
        return outputs
    if isinstance(value, str):
        if "," in value:
            help = f"write outputs: [{', '.join(part.strip() for part in value.split(','))}]"
            reader.error("wrong-type", ("outputs",), f"an output is one name, not {show(value)}", help)
            return {}
        return {value: {}}
    for name, item in reader.mapping(value, ("outputs",), "`outputs`").items():
        if isinstance(item, str):
            message, help = (
                f"the output `{name}` is a mapping, not {show(item)}",
                write_value(f"{{loss: {item}}}"),
            )
            if name == "loss":
                help = f"a loss belongs to an output: outputs: {{name: {{loss: {item}}}}}"
            reader.error("wrong-type", ("outputs", name), message, help)
        elif isinstance(item, list) and len(item) == 1 and isinstance(item[0], str):
            message = f"the output `{name}` is a mapping, not {show(item)}"
            reader.error("wrong-type", ("outputs", name), message, write_value(f"{{loss: {item[0]}}}"))
        elif reader.name(name, ("outputs", name), "an output"):
            output = reader.keys(
                Output, {} if item is None else item, f"the output `{name}`", ("outputs", name)
            )
            if output is not None:
                outputs[name] = output
    return outputs


def _named_output(item: Any, outputs: list[Any]) -> str | None:
    """The remedy for an item in a list of `outputs` that is more than a name."""
    if not isinstance(item, dict):
        return None
    name, rest = item.get("name"), {key: value for key, value in item.items() if key != "name"}
    if len(item) == 1:
        (name,), rest = item, next(iter(item.values()))
    if not isinstance(name, str) or not isinstance(rest, dict):
        return "write outputs: {name: {loss: ...}}"
    inner = ", ".join(
        f"{key}: {value if isinstance(value, str) else show(value)}" for key, value in rest.items()
    )
    words = f"names without dashes: write outputs: {{{name}: {{{inner}}}}}"
    named = named_items([{each: {}} if isinstance(each, str) else each for each in outputs])
    return words if named is None else become(named, words, around=True)


def _namespace(reader: DeclarationReader, body: Body) -> None:
    """Inputs, shared layers and nodes are one namespace: the name of an input means that."""
    seen: dict[str, tuple[str, Path]] = {name: ("an input", body.input_path(name)) for name in body.inputs}
    for section, what in (("shared", "a shared layer"), ("nodes", "a node")):
        for name in list(getattr(body, section)):
            path = (*body.path, section, name)
            if name in seen:
                other, place = seen[name]
                reader.error(
                    "duplicate-name",
                    path,
                    f"`{name}` is {what} here and {other} above",
                    "rename one: inputs, shared layers and nodes share one namespace",
                    key=True,
                    labels=(Label(reader.document.key(place), other),),
                )
                if name in body.inputs:
                    del getattr(body, section)[name]
            seen[name] = (what, path)

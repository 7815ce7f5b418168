"""The nodes and edges of a body: each node read as exactly one thing, each edge as two names."""

from __future__ import annotations

import re
from collections.abc import Iterable
from itertools import pairwise
from typing import Any

from graphspec.contract import REGISTRY
from graphspec.declarations.body import Body
from graphspec.declarations.reader import DeclarationReader
from graphspec.declarations.sources import SOURCES
from graphspec.diagnostics import (
    Diagnostics,
    become,
    certain,
    delete,
    did_you_mean,
    meant,
    nearest,
    write,
    write_value,
)
from graphspec.diagnostics.foreign_terms import (
    ARGUMENT_WORDS,
    ARGUMENTS,
    POSITIONS,
    SIZE,
    as_in_keras,
    call_of,
)
from graphspec.expressions import ExpressionError
from graphspec.expressions.formula import Applied, parse_formula
from graphspec.language.schema import FORMS, MISSING, REPEATABLE, Node
from graphspec.settings import a, show, unquoted
from graphspec.source import Document, Path
from graphspec.source.scalars import resolve
from graphspec.source.writing import write_flow


def read_nodes(
    reader: DeclarationReader, value: Any, path: Path, body: Body, shared: bool = False
) -> dict[str, Node]:
    nodes = {}
    if isinstance(value, dict) and any(isinstance(value.get(form), str) for form in FORMS):
        inner = ", ".join(f"{key}: {unquoted(item)}" for key, item in value.items())
        message = f"`{path[-1]}` has a node without a name"
        reader.error("wrong-type", path, message, f"write {{name: {{{inner}}}}}", key=True)
        body.incomplete = True
        return {}
    for name, item in reader.mapping(value, path, f"`{path[-1]}`", body).items():
        here = (*path, name)
        if not shared:
            body.written.append(name)
        legal = reader.name(name, here, "a node") and not (item is None and body.incomplete)
        node = _node(reader, name, item, here, shared) if legal else None
        if node is not None:
            nodes[name] = node
        else:
            body.failed.add(name)
    return nodes


def read_named(document: Document, title: str, diagnostics: Diagnostics) -> Body:
    """The nodes of a document that has nodes alone."""
    body = Body(document, (), None, title)
    body.nodes = read_nodes(
        DeclarationReader(document, diagnostics), document.value["nodes"], ("nodes",), body
    )
    return body


OF_SHARED = ("layer", "block", "model", "module", "average_of")
"""The forms of a shared entry."""
WRAPPED = {"block": "blocks", "call": "shared"}
"""The forms in which a wrapper names what the file declares, and the section of each."""


def read_wrapped(
    document: Document, name: str, value: Any, path: Path, diagnostics: Diagnostics
) -> Node | None:
    """The node under the `wraps` of a node; None, with what is wrong reported, where it cannot be used."""
    reader = DeclarationReader(document, diagnostics)
    if isinstance(value, str) and not reader.damaged(path):
        forms = [form for form, section in WRAPPED.items() if value in (document.value.get(section) or ())]
        message = f"`wraps` is a mapping such as {{layer: LSTM, units: 32}}, not {show(value)}"
        help = f"write {{{forms[0]}: {value}}}" if forms else _as_node(value)
        if len(forms) > 1:
            help = f"write {{call: {value}}} for the shared weights, {{block: {value}}} for its own"
        reader.error("wrong-type", path, message, help)
        return None
    return _node(reader, name, value, path)


def _node(reader: DeclarationReader, name: str, value: Any, path: Path, shared: bool = False) -> Node | None:
    if reader.damaged(path):
        return None
    if not isinstance(value, dict):
        message = f"the node `{name}` is a mapping such as {{layer: Dense, units: 8}}, not {show(value)}"
        empty = "say what it is, or delete it; `when: false` leaves a node out" if value is None else None
        reader.error("wrong-type", path, message, _as_node(value) or empty)
        return None
    if "op" in value and "like" in value:
        value = _with_like(value)
    node = reader.setting(Node, value, f"the node `{name}`", path)
    if node is None:
        return None
    forms = node.forms
    if len(forms) > 1:
        both = " and ".join(f"`{form}`" for form in forms)
        reader.error(
            "two-forms",
            (*path, forms[1]),
            f"the node `{name}` has {both}, and can be only one of them",
            "delete one, or write a node for each",
            key=True,
        )
        return None
    if not forms:
        _no_form(reader, name, node, path)
        return None
    if node.form not in (OF_SHARED if shared else FORMS):
        message = "a shared entry is a `layer`, a `block`, a `model`, a `module` or `average_of` another"
        help = "make it a node, which others read by its name" if node.form in SOURCES else None
        reader.error("wrong-type", (*path, node.form), message, help, key=True)
        return None
    if node.form == "average_of" and not shared:
        message, help = "an average of weights is an entry of `shared`", "write it there, and call it here"
        reader.error("wrong-type", (*path, "average_of"), message, help, key=True)
        return None
    if (inner := _node_in_place_of_a_name(node.source)) is not None:
        at, written = inner
        help = f"give it a name, as in `before_{name}: {write_flow(written)}`, and write that name here"
        reader.error(
            "wrong-type", (*path, "from", *at), "`from` has names of nodes, and this is a node", help
        )
        return None
    return node if _legal_keys(reader, name, node, path, shared) else None


def _node_in_place_of_a_name(source: Any) -> tuple[Path, dict[str, Any]] | None:
    """The first node that is written inside `from`, and its place there."""
    if isinstance(source, dict):
        named = {form for form in FORMS if isinstance(source.get(form), str)}
        if named - {"state"}:  # an input of some cells
            return (), source
        parts: Iterable[tuple[Any, Any]] = source.items()
    else:
        parts = enumerate(source) if isinstance(source, list) else ()
    for key, part in parts:
        if (inner := _node_in_place_of_a_name(part)) is not None:
            return (key, *inner[0]), inner[1]
    return None


def layer_of_call(text: str) -> dict[str, Any] | None:
    """The keys of a node for a layer that is written as a call, as `Dense(32)` or `nn.Linear(4, 8)`; None for
    other texts.
    """
    called = call_of(text)
    if called is None:
        return None
    name, listed, named = called
    layers = REGISTRY["layer"]
    if name not in layers or text.strip().startswith(("nn.", "torch.")):
        names = list(POSITIONS.get(name, ()))
        near = nearest(name, layers, layers.synonyms)
        names = names or (list(layers[near].model_fields) if near is not None else [])
    else:
        names = list(layers[name].model_fields)
    if len(listed) > len(names) or {*names[: len(listed)]} & named.keys():
        return None
    return {"layer": name, **as_in_keras(name, {**dict(zip(names, listed, strict=False)), **named})}


def _in_our_words(node: dict[str, Any]) -> dict[str, Any]:
    """A layer of PyTorch as it is written here, where each of its arguments has a word or follows from the
    input; else as it is.
    """
    layers = REGISTRY["layer"]
    name = node["layer"]
    near = name if name in layers else nearest(name, layers, layers.synonyms)
    if near is None:
        return node
    legal = layers[near].model_fields
    ours = {"layer": near}
    for key, value in node.items():
        word = key if key in legal else ARGUMENT_WORDS.get(key)
        if word in legal:
            ours[word] = value
        elif key != "layer" and ARGUMENTS.get(key) != SIZE:
            return node
    return ours


def _as_node(value: Any) -> str | None:
    """How a node that is a text or a list is written as a mapping."""
    if isinstance(value, list) and value and all(isinstance(item, dict) for item in value):
        together = {key: item for part in value for key, item in part.items()}
        inner = ", ".join(f"{key}: {unquoted(item)}" for key, item in together.items())
        apart = len(together) == sum(map(len, value)) and any(form in together for form in FORMS)
        return become(together, f"braces, not brackets: {{{inner}}}", safe=apart)
    if isinstance(value, str) and (node := layer_of_call(value)) is not None:
        ours = _in_our_words(node)
        return become(ours, f"write {_flow(ours)}", drops=True)  # PyTorch counts some otherwise
    text = value[0] if isinstance(value, list) and value else value
    if not isinstance(text, str):
        return None
    inserted = re.fullmatch(r"\$\((.+)\)", text, re.DOTALL)
    if text is value and (formula := _formula(inserted[1] if inserted else text)):
        return become({"compute": formula}, f'a formula over nodes: write {{compute: "{formula}"}}')
    if text is value and re.fullmatch(r"(?:\w+ *= *[^\s=]+\s*)+", text):
        pairs = {key: resolve(item) for key, item in re.findall(r"(\w+) *= *(\S+)", text)}
        return become(pairs, f"a key has a colon: write {_flow(pairs)}", safe="layer" in pairs)
    if re.match(r"\w+ *= ", text):
        return "a key has a colon: `layer: Dense`"
    word = re.match(r"(?:[A-Za-z_]\w*\.)*([A-Za-z_]\w*)", text)
    if word is None:
        return None
    return (
        write_value(f"{{layer: {word[1]}}}")
        if text == value == word[0]
        else f"write {{layer: {word[1]}, ...}}"
    )


def _formula(text: str) -> str | None:
    """A text that computes something of nodes."""
    if not re.search(r"[-+*/@(]", text):
        return None
    try:
        tree = parse_formula(text)
    except ExpressionError:
        return None
    return text if isinstance(tree.root, Applied) and any(tree.references()) else None


def _flow(node: dict[str, Any]) -> str:
    """A node on one line."""
    return f"{{{', '.join(f'{key}: {unquoted(item)}' for key, item in node.items())}}}"


def _with_like(value: dict[str, Any]) -> dict[str, Any]:
    """An op's `like`, a tensor that determines the shape or dtype, as one of its inputs: the last, or all."""
    source, like = value.get("from"), value["like"]
    if source is None:
        return {"from" if key == "like" else key: item for key, item in value.items()}
    named = isinstance(source, dict)
    both = {**source, "like": like} if named else [*(source if isinstance(source, list) else [source]), like]
    return {key: both if key == "from" else item for key, item in value.items() if key != "like"}


_WORDS_OF_FORMS = {
    **dict.fromkeys(("type", "kind", "class", "class_name", "_target_", "cls", "layer_type"), "layer"),
    **dict.fromkeys(("buffer", "register_buffer", "queue"), "state"),
    **dict.fromkeys(("expr", "expression", "formula", "lambda"), "compute"),
    "function": "op",
    "use": "block",
}


def _no_form(reader: DeclarationReader, name: str, node: Node, path: Path) -> None:
    first = next(iter(node.extra), "")
    if name in REGISTRY["layer"]:
        arguments = "".join(f", {key}: {unquoted(item)}" for key, item in node.extra.items())
        help = f"a node has a name of its own: `{name.lower()}: {{layer: {name}{arguments}}}`"
        reader.error("no-form", path, f"the node `{name}` has no form", help, key=True)
        return
    if len(node.extra) == 1 and first[:1].isupper():
        inner = node.extra[first]
        message, help = f"the node `{name}` has no `{first}`", f"write {{layer: {first}, ...}}"
        listed = ", ".join(map(repr, inner if isinstance(inner, list) else [inner]))
        meant_by = inner or {} if isinstance(inner, dict | None) else layer_of_call(f"{first}({listed})")
        if meant_by is not None:
            rest = {key: item for key, item in reader.at(path).items() if key != first}
            whole = {"layer": first, **meant_by}
            safe = rest.keys().isdisjoint(whole)
            help = become({**whole, **rest}, f"write {_flow(whole)}", around=True, safe=safe)
        reader.error("unknown-key", (*path, first), message, help, key=True)
        return
    if (meant_by := _by_its_name(reader, first, node.extra.get(first))) is not None:
        rest = {key: item for key, item in reader.at(path).items() if key != first}
        safe = rest.keys().isdisjoint(meant_by)
        help = become({**meant_by, **rest}, f"write {_flow(meant_by)}", around=True, safe=safe)
        reader.error("unknown-key", (*path, first), f"the node `{name}` has no `{first}`", help, key=True)
        return
    for key in node.extra:
        if key in ("layers", "nodes") and isinstance(node.extra[key], list | dict):
            help = "each layer is a node, with a name of its own"
            reader.error("unknown-key", (*path, key), f"the node `{name}` has no `{key}`", help, key=True)
            return
        if (word := nearest(key, FORMS, _WORDS_OF_FORMS)) is not None:
            reader.error(
                "unknown-key",
                (*path, key),
                f"the node `{name}` has no `{key}`",
                meant(word, key, certain(key, word, FORMS, _WORDS_OF_FORMS)),
                key=True,
            )
            return
    reader.error(
        "no-form",
        path,
        f"the node `{name}` has no form",
        f"one of: {', '.join(FORMS)}",
        key=True,
    )


def _by_its_name(reader: DeclarationReader, word: str, inner: Any) -> dict[str, Any] | None:
    """The keys of a node that has the name of a block, a merge or an op as its key: `{residual: {units: 8}}`,
    `{add: [a, b]}`.
    """
    if word in (reader.document.value.get("blocks") or ()) and isinstance(inner, dict | None):
        return {"block": word, **(inner or {})}
    form = next((form for form in ("merge", "op") if word in REGISTRY[form]), None)
    if form is None or word in _WORDS_OF_FORMS or not isinstance(inner, str | list):
        return None
    return {form: word, "from": inner}


def _legal_keys(reader: DeclarationReader, name: str, node: Node, path: Path, shared: bool) -> bool:
    """Checks which of the keys of every node may be on a node of its form."""
    if not shared and node.model_fields_set <= {node.form, "source"}:
        return True
    before = len(reader.diagnostics)
    repeated = [key for key in ("repeat", "parallel") if getattr(node, key) is not MISSING]
    if len(repeated) == 2:
        reader.error(
            "two-forms",
            (*path, "parallel"),
            f"the node `{name}` has both `repeat` and `parallel`",
            key=True,
        )
    for key in repeated:
        if shared or node.form not in REPEATABLE:
            where = "a shared entry" if shared else f"{a(f'`{node.form}`')} node"
            help = None if shared else f"put it into a block, and write `{key}` on that"
            reader.error("unknown-key", (*path, key), f"{where} takes no `{key}`", help, key=True)
    if node.form in ("average_of", "state") and "trainable" in node.model_fields_set:
        message, help = "an average of weights takes no `trainable`", delete("only the average moves it")
        if node.form == "state":
            message, help = "a state takes no `trainable`", delete("only its `update` changes it")
        reader.error("unknown-key", (*path, "trainable"), message, help, key=True)
    if shared:
        for key, field in (("from", "source"), ("when", "when"), ("else", "otherwise")):
            if field in node.model_fields_set:
                reader.error(
                    "unknown-key",
                    (*path, key),
                    f"a shared entry takes no `{key}`: it belongs on its calls",
                    key=True,
                )
    if node.form == "call":
        for key in ("trainable", "weights"):
            if key in node.model_fields_set:
                help = f"write it on `{node.call}` in `shared`"
                help += "; a layer there goes into a block, which takes it" if key == "weights" else ""
                reader.error("unknown-key", (*path, key), f"a call takes no `{key}`", help, key=True)
    if "checkpoint" in node.model_fields_set and (shared or node.form not in ("block", "model", "call")):
        where = "a shared entry" if shared else f"{a(f'`{node.form}`')} node"
        help = "write it on its calls" if shared else "write it on the `block` around the node"
        reader.error("unknown-key", (*path, "checkpoint"), f"{where} takes no `checkpoint`", help, key=True)
    for key in ("weights", "preset"):
        if (
            node.form not in ("model", *(("block", "module", "call") if key == "weights" else ()))
            and key in node.model_fields_set
        ):
            message = f"{a(f'`{node.form}`')} node takes no `{key}`"
            holds = {"layer": "put the layer into a block, and write it on the `block`"}
            remedy = holds.get(node.form or "") if key == "weights" else None
            if node.weights in ("imagenet", "pretrained", True):
                remedy = "`graphspec import` takes published networks over, with their weights"
            reader.error("unknown-key", (*path, key), message, remedy, key=True)
    return len(reader.diagnostics) == before


def read_edges(
    reader: DeclarationReader, value: Any, path: Path, body: Body
) -> dict[str, list[tuple[str, Path]]] | None:
    if value is None:
        return None
    edges: dict[str, list[tuple[str, Path]]] = {}
    if not isinstance(value, list):
        written = value if isinstance(value, str) else _arrow(value) or _arrows(value) or "a -> b"
        reader.error("wrong-type", path, "`edges` is a list", f"write edges: [{written}]")
        body.torn = True
        return edges
    for position, text in enumerate(value):
        here = (*path, position)
        if not isinstance(text, str) or "->" not in text or "-->" in text:
            arrow = _arrow(text)
            together = position == 0 and all(isinstance(item, str) and item.isidentifier() for item in value)
            if together and len(value) > 1:
                arrow = " -> ".join(value)
            help = write(arrow) if arrow is not None else None
            reader.error("wrong-type", here, f"an edge is written `a -> b`, not {show(text)}", help)
            body.torn = True
            if together:
                break
            continue
        groups = [[word.strip() for word in group.split(",")] for group in text.split("->")]
        if not all(word for group in groups for word in group):
            reader.error(
                "wrong-type",
                here,
                f"an arrow or a comma of {show(text)} connects nothing",
                "write `a -> b` or `a, b -> c`",
            )
            continue
        for sources, targets in pairwise(groups):
            for target in targets:
                _edge(reader, sources, target, here, edges, body)
    return edges


def _arrows(value: Any) -> str | None:
    """The edges of a mapping from names to the names that they point at."""
    if not isinstance(value, dict) or not all(isinstance(end, str) for pair in value.items() for end in pair):
        return None
    return ", ".join(f"{source} -> {target}" for source, target in value.items())


def _arrow(value: Any) -> str | None:
    """An edge in another notation as `a -> b`: `a => b`, [a, b], {a: b}, {from: a, to: b}."""
    if isinstance(value, str):
        value = re.split(r"\s*(?:[-=]*>|\u2192)\s*", value)
    elif isinstance(value, dict):
        ends = [value.get("from", value.get("source")), value.get("to", value.get("target"))]
        value = ends if all(ends) else next(iter(value.items())) if len(value) == 1 else ()
    if isinstance(value, list) and len(value) == 1 and isinstance(value[0], str) and "->" in value[0]:
        return value[0]
    is_chain = isinstance(value, list | tuple) and all(isinstance(end, str) and end for end in value)
    return " -> ".join(value) if is_chain and len(value) > 1 else None


def _edge(
    reader: DeclarationReader,
    sources: list[str],
    target: str,
    path: Path,
    edges: dict[str, list[tuple[str, Path]]],
    body: Body,
) -> None:
    if target in body.failed:
        return
    if target not in body.nodes:
        what = "no node"
        help = did_you_mean(target, body.nodes, f"nodes here: {', '.join(list(body.nodes)[:12])}")
        if target in body.inputs:
            what, help = "an input, which takes no edges", "an edge points at the node that reads"
            if len(sources) == 1 and sources[0] in body.nodes:
                help = f"turn it around: `{target} -> {sources[0]}`"
                body.torn = True
        reader.error("unknown-reference", path, f"an edge leads to `{target}`, which is {what}", help)
        return
    for source in sources:
        if any(source == known for known, _ in edges.get(target, [])):
            reader.error("duplicate-name", path, f"the edge from `{source}` to `{target}` is written twice")
            continue
        edges.setdefault(target, []).append((source, path))

"""What a reference stands for: an input, a node's output, one or all instances of a repeated node, or a
value inside a block or model.
"""

from __future__ import annotations

import math
import re
from typing import Any

from graphspec.contract.broadcasting import ACROSS_EXAMPLES
from graphspec.diagnostics import Change, Remedy, Span, did_you_mean, nearest, write
from graphspec.diagnostics.foreign_terms import ATTRIBUTES, TRANSPOSED
from graphspec.elaborate.body import BodyElaborator, NodeResult, Repeated
from graphspec.elaborate.values import FAILED, NOTHING, Bound, Resolved
from graphspec.graph import Op, Value
from graphspec.settings import show
from graphspec.source import Path


def reference(
    body: BodyElaborator, text: Any, path: Path, reader: str, index: int | None = None, constant: str = ""
) -> list[Bound]:
    """The values of a written reference: one value, or for `*` those of all instances.

    `constant` is the help for a number.
    """
    span = body.declared.document.span(path)
    name = text[1:] if isinstance(text, str) and text[:1] == "$" else ""
    if name not in body.scope.params and (name in body.declared.nodes or name in body.inputs):
        body.error("unknown-name", span, f"`{name}` is a node or an input, not a param", write(name))
        return [Bound(FAILED, name, span)]
    text = body.scope.evaluate(text, path, index)
    if text is FAILED:
        return [Bound(FAILED, "", span)]
    if not isinstance(text, str):
        listed = isinstance(text, list)
        help = (
            "give one input several nodes by its name: from: {name: [a, b]}" if listed else constant or None
        )
        message = f"a reference is the name of a node or input, not {show(text)}"
        body.error("wrong-type", span, message, help)
        return [Bound(FAILED, str(text), span)]
    return [Bound(value, text, span) for value in resolve(body, text, span, reader)]


SECTIONS = ("inputs", "layers", "nodes", "outputs", "self")
"""What some write before a name."""
NUMBERS = {"pi": str(math.pi), "e": str(math.e), "inf": "1e30"}
"""Numbers that have names elsewhere. Infinity has no other: 1e30 is as good in most formulas, not in all."""
INDEXED = re.compile(r"(\w+)\[(\d+)\]")


def resolve(
    body: BodyElaborator, text: str, span: Span | None, reader: str, in_formula: bool = False
) -> list[Resolved]:
    """The values of an evaluated reference; `reader` is the node that reads it, "" for an output. In a
    formula a param or a number may be meant.
    """
    head, *rest = text.split(".")
    if "," in text:
        help = f"write a list: [{', '.join(part.strip() for part in text.split(','))}]"
        body.error("unknown-reference", span, f"a reference is one name, not `{text}`", help)
        return [FAILED]
    body.reads.edges.setdefault(reader, set()).add(head)
    declared = body.declared
    if declared.failed and any("." in name and f"{text}.".startswith(f"{name}.") for name in declared.failed):
        return [FAILED]  # a name with a dot, which is reported where it is written
    if head in body.inputs:
        if rest:
            message = f"`{head}` is an input and has no `{rest[0]}`"
            body.error("unknown-reference", span, message, _attribute(rest[0], head, body.inputs[head]))
            return [FAILED]
        return [body.inputs[head]]
    if head in declared.nodes:
        result = body.node(head)
        if isinstance(result, Repeated):
            return _in_repeated(body, result, head, rest, span)
        if rest == ["*"] and _first_part(result):
            return list(result.outputs.values())
        return [_in_result(body, result, head, rest, span)]
    if head in declared.inputs or head in declared.failed:
        return [FAILED]
    if head in declared.shared or (body.of_file is not None and head in body.of_file.declared.shared):
        body.error(
            "unknown-reference",
            span,
            f"`{head}` is a shared layer; read a node that calls it",
            f"write {{call: {head}, from: ...}}",
        )
    elif not declared.incomplete:
        names = [*body.inputs, *declared.nodes]
        known = [*declared.nodes, *body.inputs]
        listed = f"names here: {', '.join(names[:12])}{', ...' if len(names) > 12 else ''}"
        help = did_you_mean(head, known, listed)
        outside = body.of_file
        if outside is not None and (head in outside.declared.nodes or head in outside.inputs):
            help = "a block sees nothing outside: give it an input for this"
        elif in_formula and head in body.scope.params and not rest:
            help = write(f"${head}", ": it is a param")
        elif in_formula and head in NUMBERS:
            help = write(NUMBERS[head], safe=head == "pi")
        if (indexed := INDEXED.fullmatch(head)) and indexed[1] in names:
            dotted = f"{indexed[1]}.{indexed[2]}"
            help = Remedy(f"an instance is written with a dot: `{dotted}`", Change(dotted, head))
        if head in SECTIONS and rest and rest[0] in names:
            path = ".".join(rest)
            help = write(path, old=f"{head}.{path}")
        if len(words := head.split()) > 1 and all(word in names for word in words):
            help = write(f"[{', '.join(words)}]")
        body.error("unknown-reference", span, f"`{head}` is not a node or an input here", help)
    return [FAILED]


def _in_repeated(
    body: BodyElaborator, repeated: Repeated, head: str, rest: list[str], span: Span | None
) -> list[Resolved]:
    count = len(repeated.results)
    if rest and rest[0] == "*":
        results = enumerate(repeated.results)
        return [_in_result(body, result, f"{head}.{n}", rest[1:], span) for n, result in results]
    if rest and rest[0].lstrip("-").isdigit():
        number = int(rest[0]) if len(rest[0]) < 10 else count
        if number >= count and repeated.broken:
            return [FAILED]
        if not 0 <= number < count:
            numbers = f"0 to {count - 1}" if count else "none: it is repeated 0 times"
            message = f"`{head}` has no instance {rest[0]}; its instances are {numbers}"
            body.error("unknown-reference", span, message)
            return [FAILED]
        return [_in_result(body, repeated.results[number], f"{head}.{number}", rest[1:], span)]
    if rest and rest[-1] == "*":
        right = ".".join([head, "*", *rest[:-1]])
        message = f"the `*` for all instances follows the name of the repeated node, `{head}`"
        body.error("unknown-reference", span, message, write(right))
        return [FAILED]
    if repeated.parallel:
        help = f"write `{head}.*` for all of them, or `{head}.0` for one"
        message = f"`{head}` is a parallel node, so its bare name does not name one instance"
        body.error("unknown-reference", span, message, help)
        return [FAILED]
    if not repeated.results:
        if rest:
            message = f"`{head}` is repeated 0 times, so it has no `{rest[0]}`"
            body.error("left-out", span, message)
            return [FAILED]
        return [repeated.passed]
    return [_in_result(body, repeated.results[-1], f"{head}.{count - 1}", rest, span)]


def _attribute(word: str, name: str, value: Resolved) -> str | None:
    """The remedy for an attribute that tensors have in other libraries."""
    if word in TRANSPOSED and isinstance(value, Value) and value.tensor.rank < 3:
        return ACROSS_EXAMPLES
    return ATTRIBUTES[word].format(name) if word in ATTRIBUTES else None


def _first_part(result: NodeResult) -> str:
    """The other name of the first output, if a node's outputs are numbered."""
    layer = result.op.layer if result.op is not None and result.op.present else None
    return layer.first_part if layer is not None else ""


def _in_result(
    body: BodyElaborator, result: NodeResult, name: str, rest: list[str], span: Span | None
) -> Resolved:
    if not rest:
        return result.first_output
    if result.first_output is FAILED and result.op is None:
        return FAILED
    word = ".".join(rest)
    if word in result.outputs:
        return result.outputs[word]
    if word == _first_part(result) != "":
        return result.first_output
    if result.first_output is NOTHING or (result.op is not None and not result.op.present):
        message = f"`{name}` is left out here, so it has no output `{word}`"
        body.error("left-out", span, message)
        return FAILED
    if result.body is not None:
        return _inside(body, result, tuple(rest), span)
    names = [key for key in result.outputs if key]
    layer = result.op.layer if result.op is not None else None
    near, option = nearest(word, names), layer.option_for(word) if layer is not None else None
    part = _first_part(result)
    others = ", ".join(f"`{name}.{each}`" for each in names)
    help: str | None = (
        f"its first output is `{name}`, the others {others}"
        if names
        else f"write `{name}`: it has one output"
    )
    if part and word.rstrip("0123456789") == part.removesuffix("0"):
        help = f"its parts are `{name}.{part}` to `{name}.{names[-1]}`"
    elif near or (option and not names):
        whose = "in the layer that it wraps" if getattr(layer, "wraps", None) else "on it"
        help = did_you_mean(word, names, f"write `{option}: true` {whose}")
    elif word in ATTRIBUTES:
        help = _attribute(word, name, result.first_output)
    elif word.isdecimal() and len(word) < 3 and int(word) < len(result.outputs):  # as in a Python list
        key = [*result.outputs][int(word)] or _first_part(result)
        help = write(f"{name}.{key}" if key else name)
    body.error("unknown-reference", span, f"`{name}` has no output `{word}`", help)
    return FAILED


def _inside(body: BodyElaborator, result: NodeResult, path: tuple[str, ...], span: Span | None) -> Resolved:
    """Makes an inner value of an instance an output of it, and of all instances that share its class."""
    assert result.inner_paths is not None and result.op is not None and result.body is not None
    op, inner = result.op, result.body
    if op.wrapper is not None:
        message = f"nodes inside of `{op.name}` run once per step and cannot be read"
        body.error("unknown-reference", span, message)
        return FAILED
    if path[-1] == "*" and op.name != op.node:
        help = write(".".join((op.node, "*", *path[:-1])))
        body.error("unknown-reference", span, "`*` follows the node whose instances are meant", help)
        return FAILED
    if not inner.has(path[0]):
        names = list(dict.fromkeys([*filter(None, result.outputs), *inner.declared.nodes]))
        help = did_you_mean(path[0], names, f"its outputs and nodes: {', '.join(names[:12])}")
        body.error("unknown-reference", span, f"`{op.name}` has no output and no node `{path[0]}`", help)
        return FAILED
    if path not in result.inner_paths.paths:
        result.inner_paths.paths.append(path)
        for mate, its_body in result.inner_paths.bodies:
            give_out(mate, its_body, path, span if mate is op else None)
    value = op.outputs.get(".".join(path))
    return value if value is not None else FAILED


def give_out(op: Op, inner: BodyElaborator, path: tuple[str, ...], span: Span | None) -> None:
    """Gives `op` an output for the value at `path` inside it; an error is reported at `span`."""
    resolved = resolve(inner, ".".join(path), span, "")
    if len(resolved) != 1:
        inner.error(
            "unknown-reference",
            span,
            f"`{'.'.join(path)}` names {len(resolved)} values inside `{op.name}`, not one",
        )
        return
    if isinstance(resolved[0], Value):
        key = ".".join(path)
        op.outputs[key] = Value(resolved[0].tensor, f"{op.node}_{'_'.join(path)}", op)
        op.results[key] = resolved[0]

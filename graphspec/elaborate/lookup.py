"""Resolves references: an input, a node's output, one or all instances of a repeated node, or a value inside
a block or model.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Any

from graphspec.contract.broadcasting import ACROSS_EXAMPLES
from graphspec.diagnostics import Change, Remedy, Span, become, did_you_mean, nearest, write
from graphspec.diagnostics.foreign_terms import ATTRIBUTES, TRANSPOSED
from graphspec.elaborate.body import BodyElaborator, NodeResult, Repeated
from graphspec.elaborate.sizes import named_sizes
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
"""Prefixes that other formats put before a name."""
NUMBERS = {"e": str(math.e), "inf": "1e30"}
"""Numbers that have names elsewhere. Infinity has no other: 1e30 is as good in most formulas, not in all."""
INDEXED = re.compile(r"(\w+)\[(\d+)\]")


def resolve(
    body: BodyElaborator, text: str, span: Span | None, reader: str, in_formula: bool = False
) -> list[Resolved]:
    """The values of an evaluated reference; `reader` is the node that reads it, "" for an output. In a
    formula a param or a number may be meant.
    """
    head, *rest = text.split(".")
    lookup, declared = _Lookup(body, span), body.declared
    if "," in text:
        names = ", ".join(part.strip() for part in text.split(","))
        return [lookup.refuse(f"a reference is one name, not `{text}`", f"write a list: [{names}]")]
    body.reads.edges.setdefault(reader, set()).add(head)
    if declared.failed and any("." in name and f"{text}.".startswith(f"{name}.") for name in declared.failed):
        return [FAILED]  # a name with a dot, which is reported where it is written
    if head in body.inputs:
        return [lookup.input(head, rest)]
    if head in declared.nodes:
        return lookup.node(head, rest)
    if head in declared.inputs or head in declared.failed:
        return [FAILED]
    if head in declared.shared or (body.of_file is not None and head in body.of_file.declared.shared):
        message = f"`{head}` is a shared layer; read a node that calls it"
        return [lookup.refuse(message, f"write {{call: {head}, from: ...}}")]
    if declared.incomplete:
        return [FAILED]
    remedy = _name_remedy(body, head, rest, in_formula)
    return [lookup.refuse(f"`{head}` is not a node or an input here", remedy)]


def _name_remedy(body: BodyElaborator, head: str, rest: list[str], in_formula: bool) -> str:
    """Remedy for a name that is not known here; `rest` is the path after it."""
    names, outside = [*body.inputs, *body.declared.nodes], body.of_file
    if len(words := head.split()) > 1 and all(word in names for word in words):
        return write(f"[{', '.join(words)}]")
    if head in SECTIONS and rest and rest[0] in names:
        path = ".".join(rest)
        named = write(path, old=f"{head}.{path}")
        return named if in_formula else become(path, f"write `{path}`")
    if (indexed := INDEXED.fullmatch(head)) and indexed[1] in names:
        dotted = f"{indexed[1]}.{indexed[2]}"
        return Remedy(f"an instance is written with a dot: `{dotted}`", Change(dotted, head))
    if outside is not None and (head in outside.declared.nodes or head in outside.inputs):
        return "a block sees nothing outside: give it an input for this"
    if in_formula and head in body.scope.params and not rest:
        return write(f"${head}", ": it is a param")
    if in_formula and head in NUMBERS:
        return write(NUMBERS[head], safe=False)
    if head in named_sizes(body) and not rest:
        return f"`{head}` is a size, and no tensor: `sum(ones_like(x), axis=1)` counts along an axis of one"
    listed = f"names here: {', '.join(names[:12])}{', ...' if len(names) > 12 else ''}"
    return did_you_mean(head, [*body.declared.nodes, *body.inputs], listed)


@dataclass(frozen=True, slots=True)
class _Lookup:
    """Resolves a path that begins with a known name of a body; mistakes are reported at `span`."""

    body: BodyElaborator
    span: Span | None

    def refuse(self, message: str, help: str | None = None, code: str = "unknown-reference") -> Resolved:
        """The value of a path that names nothing, which is reported."""
        self.body.error(code, self.span, message, help)
        return FAILED

    def input(self, name: str, rest: list[str]) -> Resolved:
        value = self.body.inputs[name]
        if not rest:
            return value
        return self.refuse(f"`{name}` is an input and has no `{rest[0]}`", _attribute(rest[0], name, value))

    def node(self, name: str, rest: list[str]) -> list[Resolved]:
        """The values of a path that begins with a node: several for `*`."""
        result = self.body.node(name)
        if not isinstance(result, Repeated):
            if rest == ["*"] and _first_part(result):
                return list(result.outputs.values())
            return [self._output(result, name, rest)]
        if rest[:1] == ["*"]:
            each = enumerate(result.results)
            return [self._output(instance, f"{name}.{number}", rest[1:]) for number, instance in each]
        return [self._instance(result, name, rest)]

    def _instance(self, repeated: Repeated, name: str, rest: list[str]) -> Resolved:
        """The value of one instance of a repeated node: of that with a number, else of the last."""
        count = len(repeated.results)
        if rest and rest[0].lstrip("-").isdigit():
            number = int(rest[0]) if len(rest[0]) < 10 else count
            if number >= count and repeated.broken:
                return FAILED
            if not 0 <= number < count:
                numbers = f"0 to {count - 1}" if count else "none: it is repeated 0 times"
                return self.refuse(f"`{name}` has no instance {rest[0]}; its instances are {numbers}")
            return self._output(repeated.results[number], f"{name}.{number}", rest[1:])
        if rest and rest[-1] == "*":
            message = f"the `*` for all instances follows the name of the repeated node, `{name}`"
            return self.refuse(message, write(".".join([name, "*", *rest[:-1]])))
        if repeated.parallel:
            message = f"`{name}` is a parallel node, so its bare name does not name one instance"
            return self.refuse(message, f"write `{name}.*` for all of them, or `{name}.0` for one")
        if count:
            return self._output(repeated.results[-1], f"{name}.{count - 1}", rest)
        if rest:
            message = f"`{name}` is repeated 0 times, so it has no `{rest[0]}`"
            return self.refuse(message, code="left-out")
        return repeated.passed

    def _output(self, result: NodeResult, name: str, rest: list[str]) -> Resolved:
        """An output of an instance, or a value inside it."""
        if not rest or (result.first_output is FAILED and result.op is None):
            return result.first_output
        word = ".".join(rest)
        if word in result.outputs:
            return result.outputs[word]
        if word == _first_part(result) != "":
            return result.first_output
        if result.first_output is NOTHING or (result.op is not None and not result.op.present):
            return self.refuse(f"`{name}` is left out here, so it has no output `{word}`", code="left-out")
        if result.body is not None:
            return self._inside(result, tuple(rest))
        return self.refuse(f"`{name}` has no output `{word}`", _output_remedy(result, name, word))

    def _inside(self, result: NodeResult, path: tuple[str, ...]) -> Resolved:
        """Makes an inner value of an instance an output of it, and of all instances that share its class."""
        assert result.inner_paths is not None and result.op is not None and result.body is not None
        op, inner = result.op, result.body
        if op.wrapper is not None:
            return self.refuse(f"nodes inside of `{op.name}` run once per step and cannot be read")
        if path[-1] == "*" and op.name != op.node:
            remedy = write(".".join((op.node, "*", *path[:-1])))
            return self.refuse("`*` follows the node whose instances are meant", remedy)
        if path[0] in inner.inputs:
            message = f"`{path[0]}` is an input of `{op.name}`, and no output"
            return self.refuse(message, f"read what `{op.name}` is given, or name an output `{path[0]}`")
        if not inner.has(path[0]):
            names = list(dict.fromkeys([*filter(None, result.outputs), *inner.declared.nodes]))
            remedy = did_you_mean(path[0], names, f"its outputs and nodes: {', '.join(names[:12])}")
            return self.refuse(f"`{op.name}` has no output and no node `{path[0]}`", remedy)
        if path not in result.inner_paths.paths:
            result.inner_paths.paths.append(path)
            for mate, its_body in result.inner_paths.bodies:
                give_out(mate, its_body, path, self.span if mate is op else None)
        return op.outputs.get(".".join(path), FAILED)


def _output_remedy(result: NodeResult, name: str, word: str) -> str | None:
    """Remedy for an output that an instance does not have."""
    names = [key for key in result.outputs if key]
    layer = result.op.layer if result.op is not None else None
    part = _first_part(result)
    if part and word.rstrip("0123456789") == part.removesuffix("0"):
        return f"its parts are `{name}.{part}` to `{name}.{names[-1]}`"
    option = layer.option_for(word) if layer is not None else None
    if nearest(word, names) or (option and not names):
        whose = "in the layer that it wraps" if getattr(layer, "wraps", None) else "on it"
        return did_you_mean(word, names, f"write `{option}: true` {whose}")
    if word in ATTRIBUTES:
        return _attribute(word, name, result.first_output)
    if word.isdecimal() and len(word) < 3 and int(word) < len(result.outputs):  # as in a Python list
        key = [*result.outputs][int(word)] or part
        return write(f"{name}.{key}" if key else name)
    if not names:
        return f"write `{name}`: it has one output"
    others = ", ".join(f"`{name}.{each}`" for each in names)
    return f"its first output is `{name}`, the others {others}"


def _attribute(word: str, name: str, value: Resolved) -> str | None:
    """The remedy for an attribute that tensors have in other libraries."""
    if word in TRANSPOSED and isinstance(value, Value) and value.tensor.rank < 3:
        return ACROSS_EXAMPLES
    return ATTRIBUTES[word].format(name) if word in ATTRIBUTES else None


def _first_part(result: NodeResult) -> str:
    """The other name of the first output, if a node's outputs are numbered."""
    layer = result.op.layer if result.op is not None and result.op.present else None
    return layer.first_part if layer is not None else ""


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

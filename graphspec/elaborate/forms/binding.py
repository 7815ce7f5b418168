"""Binds the inputs of an instance to the arguments of a layer's call, and reports the layer's errors."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from graphspec.contract import REGISTRY
from graphspec.contract.layer import Layer, LayerError
from graphspec.contract.proposals import OF_AXES, of_ids
from graphspec.contract.wrapper import NestedWrapper, Wrapper
from graphspec.diagnostics import Label, Span, become, write
from graphspec.diagnostics.spelling import meant
from graphspec.elaborate.instance import NodeInstance, fewer_help, near_help
from graphspec.elaborate.values import NOTHING, Bound
from graphspec.graph import Op, Value
from graphspec.language.schema import MISSING
from graphspec.tensor import Tensor, show_size

PLAIN_NAMES = ("x", "input", "inputs")
"""Usual names for the first input of a layer that has another name for it."""


def bind(node: NodeInstance, title: str, cls: type[Layer]) -> tuple[Any, ...] | None:
    """The values grouped as the arguments of a layer's call, or None after an error."""
    if cls.variadic:
        return _bind_list(node, title, cls)
    if node.refuses_nothing(node.inputs.all()):
        return None
    groups = _bind_positional(node, title, cls)
    if groups is None or not _bind_named(node, title, cls, groups):
        return None
    names = [argument.name for argument in cls.arguments]
    if any(argument.required and argument.name not in groups for argument in cls.arguments):
        message = f"`{title}` takes {_count(cls)}, and `{node.name}` gives it {len(groups)}"
        required = [argument.name for argument in cls.arguments if argument.required]
        help = f"write from: {{{', '.join(f'{name}: ...' for name in required)}}}"
        given = node.written.get("from")
        if required == ["query", "value"] and isinstance(given, str):  # as of attention to itself
            words = f"write from: {{query: {given}, value: {given}}}"
            help = become(
                {**node.written, "from": {"query": given, "value": given}}, words, at=node.span, safe=False
            )
        node.error("input-count", node.span, message, help)
        return None
    # `LayerError.inputs` counts in the order of the arguments, whatever order the spec wrote them in.
    if node.inputs.named:
        node.inputs.named = {name: node.inputs.named[name] for name in names if name in node.inputs.named}
    return tuple([groups.get(name) for name in names])


def _bind_list(node: NodeInstance, title: str, cls: type[Layer]) -> tuple[Any, ...] | None:
    """All values, for a layer that takes one list, without those that were left out."""
    inputs = node.inputs
    if inputs.named:
        node.error("input-count", node.span_of("from"), f"`{title}` takes one list of inputs, without names")
        return None
    values = [bound for bound in inputs.positional if bound.value is not NOTHING]
    if len(values) < cls.least_inputs:
        help = "list them: from: [a, b]" if not inputs.listed else None
        count = f"at least {cls.least_inputs} inputs, and `{node.name}` gives it {len(values)}"
        node.error("input-count", node.span_of("from"), f"`{title}` takes {count}", help)
        return None
    if cls.kind == "merge" and len(values) == 1 and node.declared.source is MISSING and not inputs.listed:
        message = f"`{node.name}` merges `{values[0].text}` with nothing: without `from` it reads one node"
        node.error("input-count", node.span, message, "list what it merges: from: [a, b]")
        return None
    inputs.positional = values
    return tuple([bound.value for bound in values])


def _bind_positional(node: NodeInstance, title: str, cls: type[Layer]) -> dict[str, Any] | None:
    """The values fed by position, by argument name."""
    positional, arguments = node.inputs.positional, cls.arguments
    if len(arguments) == 1 and arguments[0].many:
        return {arguments[0].name: tuple(bound.value for bound in positional)}
    if len(positional) > len(arguments):
        node.error(
            "input-count",
            node.span_of("from"),
            f"`{title}` takes {_count(cls)}, and `{node.name}` gives it {len(positional)}",
            fewer_help(node) if len(arguments) == 1 else None,
        )
        return None
    return {
        argument.name: (bound.value,) if argument.many else bound.value
        for argument, bound in zip(arguments, positional, strict=False)
    }


def _bind_named(node: NodeInstance, title: str, cls: type[Layer], groups: dict[str, Any]) -> bool:
    """Adds the values fed by name; whether all of them fit."""
    if not node.inputs.named:
        return True
    arguments = {argument.name: argument for argument in cls.arguments}
    for name, bounds in node.inputs.named.items():
        known = arguments.get(name)
        if known is None or name in groups:
            what = "is given twice" if known else f"is not an input of `{title}`"
            code = "input-count" if known else "unknown-key"
            span, first = node.key("from", name), next(iter(arguments), None)
            plain = name in PLAIN_NAMES and known is None and first not in node.inputs.named
            help = write(first) if plain and first is not None else _near(name, [*arguments])
            node.error(code, span, f"`{name}` {what}", help)
            return False
        if not known.many and len(bounds) != 1:
            message = f"`{name}` of `{title}` takes one input, not {len(bounds)}"
            node.error("input-count", node.span_of("from", name), message)
            return False
        groups[name] = tuple(bound.value for bound in bounds) if known.many else bounds[0].value
    return True


def _near(word: str, names: list[str]) -> str | None:
    """The remedy for an unknown input; an initial, such as `q`, is the first that begins with it."""
    full = next((name for name in names if len(word) == 1 and name.startswith(word.lower())), None)
    return near_help(word, names) if full is None else meant(full, word, safe=True)


def _count(cls: type[Layer]) -> str:
    names = [a.name for a in cls.arguments if a.required]
    if not cls.arguments:
        return "no input"
    return "one input" if len(names) == 1 else f"{len(names)} inputs ({', '.join(names)})"


def one_tensor(node: NodeInstance, cls: type[Wrapper], op: Op) -> bool:
    """Whether a wrapper can pass on what it wraps: one tensor, of no wrapper of another kind."""
    if len(op.outputs) > 1:
        why = f"needs one output to wrap, and `{op.title}` has {len(op.outputs)}"
        help = "leave `return_state` out" if op.layer is not None else "wrap a block or model for each output"
    elif op.wrapper is not None and not (isinstance(op.wrapper, cls | NestedWrapper) and cls.passes_on):
        why, help = "cannot wrap another wrapper", "put the inner one in a block, and wrap the block"
    else:
        return True
    node.error("not-supported", node.span_of("wraps"), f"`{cls.spec_name}` {why}", help)
    return False


def report(node: NodeInstance, error: LayerError) -> None:
    """Reports a `LayerError` at its place in the spec."""
    feeds = node.inputs.all()
    words = [bound.text for bound in feeds]
    at = [feeds[i] for i in error.inputs if i < len(feeds)]
    help = named(error.help, words) if error.help else None
    if error.code == "wrong-rank":
        x = at[0].value.tensor if at and isinstance(at[0].value, Value) else None
        if help is not None and at:
            help = _with_channel(node, at[0], help)
        help = of_ids(x) or (_of_last_step(at[0]) if at else None) or help or _of_rank(node, x, at) or OF_AXES
    labels: list[Label] = []
    span: Span | None
    node_keys = ("from", "wraps", "parameter", "constant")
    written = error.argument in (*node_keys, *node.declared.extra, *node.overrides)
    if error.argument is not None and written:
        span, label = node.span_of(error.argument), ""
    elif at and node.declared.source is not MISSING:
        last = at[-1]
        span, label = last.span, _tensor_text(last)
        labels = [
            Label(b.span, _tensor_text(b)) for b in at[:-1] if b.span is not None and b.span != last.span
        ]
    else:
        span, label = node.span, ""
    chained = (
        node.index is not None
        and node.index > 0
        and error.code in ("shapes-differ", "wrong-rank", "window-too-large", "wrong-dtype")
    )
    code = (
        "repeat-shapes"
        if chained and node.declared.repeat is not MISSING and not error.argument
        else error.code
    )
    node.error(
        code,
        span,
        named(error.message, words),
        help,
        label=label,
        labels=labels,
    )


def _of_rank(node: NodeInstance, x: Tensor | None, at: list[Bound]) -> str | None:
    """The remedy where a layer is for fewer or more axes, and another of its kind for these; where an
    input of a file has one too many, its first is that of the batch.
    """
    other = re.sub(r"[123]D$", f"{x.rank - 2}D", str(node.declared.target)) if x is not None else None
    known = other in REGISTRY["layer"] and other != node.declared.target
    if not known or x is None:
        return None
    words = f"`{other}` is for {x.rank} axes; {OF_AXES}"
    declared = _declared_shape(node, at[0]) if at else None
    if declared is not None and str(node.declared.target)[-2:] == f"{x.rank - 3}D":
        (batch, *shape), place = declared
        sizes = ", ".join(map(show_size, x.shape[2:]))
        words = f"`{other}` is for {x.rank} axes; a `shape` leaves out the batch axis: [{sizes}]"
        return become(shape, words, at=place, safe=batch is None, drops=True)
    alike = not any(isinstance(item, list) for item in node.declared.extra.values()) and x.rank == 3
    made = any(isinstance(bound.value, Value) and bound.value.op is not None for bound in node.inputs.all())
    new = {key: other if key == node.form else item for key, item in node.written.items()}
    return become(new, words, safe=alike and made, around=node.declared.source is not MISSING)


def _with_channel(node: NodeInstance, bound: Bound, help: str) -> str | None:
    """The remedy that an image has no channels, where the input of a file is one; None for what a layer
    made.
    """
    if not isinstance(bound.value, Value) or bound.value.op is not None:
        return None
    declared = _declared_shape(node, bound)
    return help if declared is None else become([*declared[0], 1], help, at=declared[1])


def _declared_shape(node: NodeInstance, bound: Bound) -> tuple[list[Any], Span | None] | None:
    """The shape that an input of a file is declared with, and its place."""
    body, op = node.body.declared, bound.value.op if isinstance(bound.value, Value) else None
    declared = body.inputs.get(bound.text) if op is None and body.block is None else None
    if declared is None or not isinstance(declared.shape, list):
        return None
    return declared.shape, body.document.span((*body.input_path(bound.text), "shape"))


def _of_last_step(bound: Bound) -> str | None:
    """The remedy for the last step of a recurrent layer where all steps are wanted."""
    layer = bound.value.op.layer if isinstance(bound.value, Value) and bound.value.op is not None else None
    last = getattr(layer, "return_sequences", True) is False
    return f"`{bound.text}` gives its last step: write `return_sequences: true` on it" if last else None


def named(text: str, inputs: Sequence[str]) -> str:
    """A layer's text with the names of its inputs in place of `{input0}` and so on."""

    def name(match: re.Match[str]) -> str:
        return inputs[int(match[1])] if int(match[1]) < len(inputs) else "input"

    text = re.sub(rf"from: ({_INPUT}|\[[^\]]*\])", lambda read: re.sub(_INPUT, name, read[0]), text)
    return re.sub(_INPUT, lambda match: f"`{name(match)}`", text)


_INPUT = r"\{input(\d+)\}"


def _tensor_text(bound: Bound) -> str:
    return str(bound.value.tensor) if isinstance(bound.value, Value) else ""

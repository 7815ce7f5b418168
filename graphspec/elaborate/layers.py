"""Layers, merges and ops: found by name, read, bound to what is fed, called."""

from __future__ import annotations

import re
from typing import Any

from graphspec.contract import REGISTRY
from graphspec.contract.layer import Kind, Layer, LayerError, Weight, Wrapper
from graphspec.declarations import read_node
from graphspec.diagnostics import Label, Span, nearest
from graphspec.elaborate.bodies import build_body
from graphspec.elaborate.body import Instance
from graphspec.elaborate.context import FAILED, Bound, Nothing
from graphspec.elaborate.use import NodeInputs, NodeInstance, near_help, refuse_nothing
from graphspec.graph import Op, Value, types
from graphspec.objectives.settings import SettingError, validate
from graphspec.schema import MISSING
from graphspec.tensor import Tensor

ALONE = re.compile(r"\$(\w+|\(.*\))")
"""A value that is nothing but an insertion."""

INFERRED = ("in_features", "in_channels", "input_size", "input_shape", "num_features", "normalized_shape")
"""What other libraries must be told of a layer's input."""

HELP = {
    "wrong-rank": "`Reshape` adds and removes axes, global pooling and `Flatten` remove them; a `shape` "
    "leaves out the batch axis",
}


def called_layer(use: NodeInstance, kind: Kind) -> Op | None:
    name = use.run.evaluate(use.node.target, (*use.path, kind), use.index)
    if name is FAILED:
        return None
    cls = layer_class(use, kind, name)
    if cls is None:
        return None
    arguments = use.arguments()
    if arguments is None:
        return None
    if issubclass(cls, Wrapper):
        return _wrapper(use, cls, arguments)
    if use.node.wraps is not MISSING:
        arguments["wraps"] = use.run.evaluate(use.node.wraps, (*use.path, "wraps"), use.index)
        if arguments["wraps"] is FAILED:
            return None
    layer = read_layer(use, cls, arguments)
    if layer is None or use.feed.broken:
        return None
    bound = bind(use, cls.spec_name, cls)
    return None if bound is None else apply(use, kind, layer, bound, arguments)


def layer_class(use: NodeInstance, kind: Kind, name: Any) -> type[Layer] | None:
    """The class that a name stands for; an unknown one is reported with the nearest."""
    known = REGISTRY[kind]
    if isinstance(name, str) and name in known:
        return known[name]
    near, word = nearest(str(name), known, known.synonyms), str(name).lower()
    other = next((k for k in REGISTRY if k != kind and word in REGISTRY[k]), None)
    if other is not None and (near is None or other == "merge" or near == word):
        help: str | None = f"`{word}` is a `{other}`: write {{{other}: {word}}}"
    elif near is not None:
        help = f"did you mean `{near}`?"
    else:
        help = "`graphspec layers` lists them all"
    use.error(f"unknown-{kind}", use.span_of(kind), f"unknown {kind} `{name}`", help)
    return None


def read_layer(use: NodeInstance, cls: type[Layer], arguments: dict[str, Any]) -> Layer | None:
    """The layer with these arguments; each mistake is reported at the argument."""
    try:
        return validate(
            cls, arguments, f"{cls.kind} `{cls.spec_name}`" if cls.kind != "layer" else f"`{cls.spec_name}`"
        )
    except SettingError as error:
        for problem in error.problems:
            missing = problem.code == "missing-key"
            span = use.span if missing else use.span_of(*problem.path)
            help = problem.help
            if problem.code == "unknown-key":
                nested = use.run.body.document.key((*use.path, *problem.path))
                span = use.key_of(str(problem.path[0])) if len(problem.path) == 1 else nested
                help = _misplaced(cls, problem.path) or help
            raw = str(use.node.extra.get(str(problem.path[0]), "")) if problem.path else ""
            if problem.code == "wrong-type" and "$" in raw and not ALONE.fullmatch(raw):
                help = help and "an expression that stands alone, `$name` or `$(...)`, keeps its type"
            use.error(problem.code, span, problem.message, help)
        return None


def _misplaced(cls: type[Layer], path: tuple[str | int, ...]) -> str | None:
    """Where a key belongs that no layer takes as an argument, or this one only as an input."""
    key = path[-1]
    if key in INFERRED:
        return "it is not needed here: the size is inferred from the input"
    if path == ("name",):
        return "the key that a node stands under is its name"
    if path in (("input",), ("inputs",)):
        return "write what it reads under `from`"
    if len(path) > 1 or cls.variadic:
        return None
    if issubclass(cls, Wrapper) or "wraps" in cls.model_fields:
        return (
            f"what it wraps takes it: wraps: {{layer: ..., {key}: ...}}"
            if _wrapped_takes(cls, str(key))
            else None
        )
    if len(cls.arguments) < 2:
        return None
    first, *others = [argument.name for argument in cls.arguments]
    return f"it is an input: from: {{{first}: ..., {key}: ...}}" if key in others else None


def _wrapped_takes(cls: type[Layer], key: str) -> bool:
    """Whether a layer that the examples of this one wrap takes an argument of this name."""
    wrapped = {example.arguments["wraps"]["layer"] for example in cls.examples}
    return any(key in REGISTRY["layer"][name].model_fields for name in wrapped)


def bind(use: NodeInstance, title: str, cls: type[Layer]) -> tuple[Any, ...] | None:
    """The fed values as a layer's call takes them, or None after an error."""
    if cls.variadic:
        return _bind_list(use, title, cls)
    if refuse_nothing(use, use.feed.all()):
        return None
    names = [argument.name for argument in cls.arguments]
    groups = _bind_positional(use, title, cls)
    if groups is None or not _bind_named(use, title, cls, groups):
        return None
    if any(argument.required and argument.name not in groups for argument in cls.arguments):
        use.error(
            "input-count",
            use.span,
            f"`{title}` takes {_count(cls)}, and `{use.name}` gives it {len(groups)}",
            f"write from: {{{', '.join(f'{a.name}: ...' for a in cls.arguments if a.required)}}}",
        )
        return None
    # `LayerError.inputs` counts in the order of the arguments, whatever order the spec wrote them in.
    use.feed.named = {name: use.feed.named[name] for name in names if name in use.feed.named}
    return tuple(groups.get(name) for name in names)


def _bind_list(use: NodeInstance, title: str, cls: type[Layer]) -> tuple[Any, ...] | None:
    """All values, for a layer that takes one list; what was left out is left out here, too."""
    feed = use.feed
    if feed.named:
        use.error("input-count", use.span_of("from"), f"`{title}` takes one list of inputs, without names")
        return None
    values = [bound for bound in feed.positional if not isinstance(bound.value, Nothing)]
    if len(values) < cls.least_inputs:
        help = "list them: from: [a, b]" if not feed.listed else None
        count = f"at least {cls.least_inputs} inputs, and `{use.name}` gives it {len(values)}"
        use.error("input-count", use.span_of("from"), f"`{title}` takes {count}", help)
        return None
    feed.positional = values
    return tuple(bound.value for bound in values)


def _bind_positional(use: NodeInstance, title: str, cls: type[Layer]) -> dict[str, Any] | None:
    """The values fed by position, by argument name."""
    positional, arguments = use.feed.positional, cls.arguments
    if len(arguments) == 1 and arguments[0].many:
        return {arguments[0].name: tuple(bound.value for bound in positional)}
    if len(positional) > len(arguments):
        use.error(
            "input-count",
            use.span_of("from"),
            f"`{title}` takes {_count(cls)}, and `{use.name}` gives it {len(positional)}",
            "merge them first: {merge: concatenate, from: [...]}" if len(arguments) == 1 else None,
        )
        return None
    return {
        argument.name: (bound.value,) if argument.many else bound.value
        for argument, bound in zip(arguments, positional, strict=False)
    }


def _bind_named(use: NodeInstance, title: str, cls: type[Layer], groups: dict[str, Any]) -> bool:
    """Adds the values fed by name; whether all of them fit."""
    arguments = {argument.name: argument for argument in cls.arguments}
    for name, bounds in use.feed.named.items():
        known = arguments.get(name)
        if known is None or name in groups:
            what = "stands twice" if known else f"is no input of `{title}`"
            code = "input-count" if known else "unknown-key"
            span = use.run.body.document.key((*use.path, "from", name))
            use.error(code, span, f"`{name}` {what}", near_help(name, list(arguments)))
            return False
        if not known.many and len(bounds) != 1:
            message = f"`{name}` of `{title}` takes one input, not {len(bounds)}"
            use.error("input-count", use.span_of("from", name), message)
            return False
        groups[name] = tuple(bound.value for bound in bounds) if known.many else bounds[0].value
    return True


def _count(cls: type[Layer]) -> str:
    names = [a.name for a in cls.arguments if a.required]
    return "one input" if len(names) == 1 else f"{len(names)} inputs ({', '.join(names)})"


def apply(
    use: NodeInstance, kind: Kind, layer: Layer, bound: tuple[Any, ...], arguments: dict[str, Any]
) -> Op | None:
    """The op of a layer on values, its outputs inferred."""
    try:
        outputs = layer.infer(*(types(b) for b in bound))
        _need_fitting(layer, layer.weights(*(types(b) for b in bound)))
    except LayerError as error:
        report(use, error)
        return None
    op = Op(use.name, use.index, use.span, kind, bound, layer=layer, title=layer.spec_name)
    _name_outputs(op, layer, outputs)
    op.given = arguments
    op.expressions = use.expressions(arguments)
    return op


def _need_fitting(layer: Layer, weights: tuple[Weight, ...]) -> None:
    """Refuses regularizers and constraints that do not fit a weight as Keras stores it."""
    for weight in weights:
        rank = len(weight.unmerged or weight.shape) + (weight.row is not None)
        found = {"regularizer": layer.regularizer(weight), "constraint": layer.constraint(weight)}
        for kind, penalty in found.items():
            why = penalty.misfit(rank) if penalty is not None else None
            if why is not None:
                help = (
                    f"axes of the weight as Keras stores it: 0 to {rank - 1}"
                    if kind == "constraint"
                    else None
                )
                raise LayerError("out-of-range", why, help=help, argument=f"{weight.word}_{kind}")


def _name_outputs(op: Op, layer: Layer, outputs: Tensor | tuple[Tensor, ...]) -> None:
    tensors = outputs if isinstance(outputs, tuple) else (outputs,)
    names = ("", *layer.output_names())
    for name, tensor in zip(names, tensors, strict=True):
        op.outputs[name] = Value(tensor, f"{op.node}_{name}" if name else op.node, op)


def report(use: NodeInstance, error: LayerError) -> None:
    """A layer's local fact, at its place in the spec."""
    feeds = use.feed.all()

    def fill(text: str) -> str:
        def name(match: re.Match[str]) -> str:
            word = feeds[int(match[2])].text if int(match[2]) < len(feeds) else "input"
            return f"from: {word}" if match[1] else f"`{word}`"

        return re.sub(r"(from: )?\{input(\d+)\}", name, text)

    at = [feeds[i] for i in error.inputs if i < len(feeds)]
    labels: list[Label] = []
    span: Span | None
    own = ("from", "wraps", "parameter")
    written = error.argument in (*own, *use.node.extra, *use.overrides)
    if error.argument is not None and written:
        span, label = use.span_of(error.argument), ""
    elif at and "from" in _raw_keys(use):
        last = at[-1]
        span, label = last.span, _tensor_text(last)
        labels = [
            Label(b.span, _tensor_text(b)) for b in at[:-1] if b.span is not None and b.span != last.span
        ]
    else:
        span, label = use.span, ""
    chained = (
        use.index is not None
        and use.index > 0
        and error.code in ("shapes-differ", "wrong-rank", "window-too-large", "wrong-dtype")
    )
    code = (
        "repeat-shapes" if chained and use.node.repeat is not MISSING and not error.argument else error.code
    )
    use.error(
        code,
        span,
        fill(error.message),
        fill(error.help) if error.help else HELP.get(error.code),
        label=label,
        labels=labels,
    )


def _raw_keys(use: NodeInstance) -> list[str]:
    return ["from"] if use.node.source is not MISSING else []


def _tensor_text(bound: Bound) -> str:
    return str(bound.value.tensor) if isinstance(bound.value, Value) else ""


def _wrapper(use: NodeInstance, cls: type[Wrapper], arguments: dict[str, Any]) -> Op | None:
    """A layer around a node of any form with weights: the inner one is built on the types that the wrapper
    lets it see.
    """
    run = use.run
    if use.node.wraps is MISSING:
        use.error(
            "missing-key",
            use.span,
            f"`{cls.spec_name}` needs `wraps`",
            "write wraps: {layer: Dense, units: 8}",
        )
        return None
    place = (*use.path, "wraps")
    wrapped = read_node(run.body.document, use.name, use.node.wraps, place, run.context.diagnostics)
    wrapper = read_layer(use, cls, arguments)
    bound = bind(use, cls.spec_name, cls) if not use.feed.broken else None
    if wrapped is None or wrapper is None or bound is None:
        return None
    if wrapped.form not in ("layer", "block", "model"):
        use.error(
            "wrong-type",
            use.span_of("wraps", wrapped.form),
            f"`{cls.spec_name}` wraps a layer, a block or a model",
        )
        return None
    assert isinstance(wrapper, Wrapper)
    try:
        inside = wrapper.enter(*(types(b) for b in bound))
    except LayerError as error:
        report(use, error)
        return None
    feed = NodeInputs([Bound(Value(tensor, use.name), use.feed.all()[0].text, use.span) for tensor in inside])
    inner = NodeInstance(
        run, use.name, wrapped, (*use.path, "wraps"), use.index, feed=feed, exports=use.exports
    )
    instance: Any = (
        build_body(inner, wrapped.form) if wrapped.form != "layer" else called_layer(inner, "layer")
    )
    op = instance.op if isinstance(instance, Instance) else instance
    if op is None or not _one_tensor(use, cls, op):
        return None
    op.wrapper, op.inner = wrapper, tuple(inside)
    op.inner_outputs = tuple(value.tensor for value in op.outputs.values())
    op.arguments, op.span = bound, use.span
    for value in op.outputs.values():
        value.tensor = wrapper.leave(value.tensor, *(types(b) for b in bound))
    return op


def _one_tensor(use: NodeInstance, cls: type[Wrapper], op: Op) -> bool:
    """Whether a wrapper can hand on what it wraps: one tensor, of no wrapper of its own."""
    if len(op.outputs) > 1:
        why = f"wraps what has one output, and `{op.title}` has {len(op.outputs)}"
        help = "leave `return_state` out" if op.layer is not None else "wrap a block or model for each output"
    elif op.wrapper is not None:
        why, help = "cannot wrap another wrapper", "put the inner one in a block, and wrap the block"
    else:
        return True
    use.error("not-supported", use.span_of("wraps"), f"`{cls.spec_name}` {why}", help)
    return False

"""Blocks and models: an instance gets a graph of its own, from the body of its block or of another file."""

from __future__ import annotations

from typing import Any

from graphspec.declarations import Body, File
from graphspec.diagnostics import nearest
from graphspec.elaborate.body import BodyElaborator, Instance, export, failed
from graphspec.elaborate.context import FAILED, MAX_NESTING, Bound, Nothing, Resolved
from graphspec.elaborate.params import resolve_params
from graphspec.elaborate.sizes import meets_demands
from graphspec.elaborate.use import NodeInstance, near_help, refuse_nothing
from graphspec.graph import Definition, Graph, Op, Value
from graphspec.objectives.settings import show
from graphspec.schema import PLAIN, Input, Output, is_plain
from graphspec.source import Path


def find_body(use: NodeInstance, form: str, target: Any, *, quiet: bool = False) -> tuple[File, Body] | None:
    """The file and body that a block's or model's name stands for."""
    run = use.run
    if form == "model":
        span = use.span_of("model")
        if not isinstance(target, str):
            use.error("wrong-type", span, f"a model is the path of a spec file, not {show(target)}")
            return None
        file = run.context.model_file(target, run.body.document, span, run.open_files)
        return None if file is None else (file, file.body)
    if isinstance(target, str) and target in run.file.blocks:
        return run.file, run.file.blocks[target]
    if not quiet:
        if run.body.incomplete or (isinstance(target, str) and target in run.file.failed_blocks):
            return None
        help = near_help(str(target), list(run.file.blocks)) or "the file has no `blocks`"
        use.error("unknown-block", use.span_of("block"), f"unknown block `{target}`", help)
    return None


def body_inputs(use: NodeInstance, form: str, target: Any) -> list[str]:
    """The names of the inputs that a block or model declares; none where there is no such body."""
    target = use.run.evaluate(target, (*use.path, form), use.index)
    found = find_body(use, form, target, quiet=True) if target is not FAILED else None
    return list(found[1].inputs) if found else []


def build_body(use: NodeInstance, form: str) -> Instance:
    """An instance of a block or a model: params given, inputs bound, its own graph elaborated."""
    run = use.run
    target = run.evaluate(use.node.target, (*use.path, form), use.index)
    found = find_body(use, form, target) if target is not FAILED else None
    if found is None:
        return failed()
    file, body = found
    if body.block is not None and body.block in run.open_blocks:
        chain = " -> ".join((*run.open_blocks[run.open_blocks.index(body.block) :], body.block))
        use.error("block-recursive", use.span_of("block"), f"the block contains itself: {chain}")
        return failed()
    if len(run.open_blocks) + len(run.open_files) >= MAX_NESTING:
        use.error("too-deep", use.span, f"blocks and models are nested more than {MAX_NESTING} deep")
        return failed()
    given = _given(use, file, body)
    inputs = _bind(use, body) if not use.feed.broken else None
    if inputs is None or given is None:
        return failed()
    where = f"in {form} `{target}`, used by `{use.title}` at {use.span}"
    graph = Graph(Definition(body.file, body.block, body.title))
    outer = {} if form == "model" else {k: v for k, v in _file_scope(run).items() if k not in body.params}
    inner = BodyElaborator(run.context, file, body, graph, {}, {}, (where, *run.notes))
    inner.open_files = (*run.open_files, body.file) if form == "model" else run.open_files
    inner.open_blocks = (*run.open_blocks, body.block) if body.block else ()
    for name, value in inputs.items():
        own = Value(value.tensor, name) if isinstance(value, Value) else value
        inner.inputs[name] = own
        graph.inputs[name] = own if isinstance(own, Value) else None
    channels = inner.channels if body.block is not None else None
    unknown = frozenset(body.failed_params)
    if body.block is not None:
        unknown |= run.unknown - body.params.keys()
    params, inner.unknown = resolve_params(
        run.context, body.document, body.path, body.params, given, outer, channels, inner.notes, unknown
    )
    if not _required(use, body, params, inner.unknown):
        return failed()
    graph.params, graph.visible = params, {**outer, **params}
    graph.declared = dict(body.params)
    inner.scope = graph.visible
    if form == "model" and not meets_demands(use, inner, inputs):
        return failed()
    inner.elaborate()
    return _instance(use, form, inner, inputs, given)


def _file_scope(run: BodyElaborator) -> dict[str, Any]:
    """The params of the file, as a block's expressions see them."""
    if run.body.block is None:
        return run.scope
    own = run.body.params
    return {
        name: value for name, value in run.scope.items() if name not in own or name in run.file.body.params
    }


def _bind(use: NodeInstance, body: Body) -> dict[str, Resolved] | None:
    names = list(body.inputs)
    feed = use.feed
    if len(feed.positional) > len(names):
        count = f"{len(names)} input{'s' if len(names) > 1 else ''} ({', '.join(names)})"
        use.error(
            "input-count",
            use.span_of("from"),
            f"`{body.title}` takes {count}, and `{use.name}` gives it {len(feed.positional)}",
        )
        return None
    bound: dict[str, Bound] = dict(zip(names, feed.positional, strict=False))
    for name, values in feed.named.items():
        if name not in body.inputs or name in bound or len(values) != 1:
            what = (
                "is no input of"
                if name not in body.inputs
                else "is fed twice by"
                if name in bound
                else "takes one value in"
            )
            span = use.run.body.document.key((*use.path, "from", name))
            use.error(
                "input-count" if name in body.inputs else "unknown-key",
                span,
                f"`{name}` {what} `{body.title}`",
                near_help(name, names),
            )
            return None
        bound[name] = values[0]
    lacking = [name for name in names if name not in bound and not _may_lack(body, name)]
    if lacking:
        help = (
            f"write from: {{{', '.join(f'{name}: ...' for name in names)}}}"
            if len(names) > 1
            else "say with `from:` what it reads"
        )
        missing = f"input{'s' if len(lacking) > 1 else ''} {', '.join(f'`{n}`' for n in lacking)}"
        use.error("input-count", use.span, f"`{body.title}` needs its {missing}", help)
        return None
    result: dict[str, Resolved] = {}
    for name in names:
        value = bound[name].value if name in bound else Nothing()
        if isinstance(value, Nothing) and name in bound and body.block is None and not _may_lack(body, name):
            refuse_nothing(use, [bound[name]])
            return None
        result[name] = value
    return result


def _may_lack(body: Body, name: str) -> bool:
    """Whether a model's input has a `when`, so that it may be nothing."""
    declared = body.inputs[name]
    return isinstance(declared, Input) and declared.when is not True


def _given(use: NodeInstance, file: File, body: Body) -> dict[str, Any] | None:
    """The params that a use gives: of its preset, then beside the node. Unknown ones are reported."""
    arguments = use.arguments()
    if arguments is None:
        return None
    preset = use.run.evaluate(use.node.preset, (*use.path, "preset"), use.index)
    given: dict[str, Any] = {}
    if preset is not None:
        if not isinstance(preset, str) or preset not in file.presets:
            use.error(
                "unknown-preset",
                use.span_of("preset"),
                f"`{body.title}` has no preset `{preset}`",
                near_help(str(preset), list(file.presets)),
            )
            return None
        given.update(file.presets[preset])
    ok = _plain(use, body, arguments)
    for key in arguments:
        if key not in body.params:
            ok = False
            known = list(body.params)
            help = near_help(key, known) if known else f"`{body.title}` has no params"
            use.error("unknown-key", use.key_of(key), f"`{key}` is no param of `{body.title}`", help)
    return {**given, **arguments} if ok else None


def _plain(use: NodeInstance, body: Body, arguments: dict[str, Any]) -> bool:
    """Whether what a use gives are values that params can have."""
    wrong = [key for key, value in arguments.items() if key in body.params and not is_plain(value)]
    for key in wrong:
        message = f"the param `{key}` of `{body.title}` is {PLAIN}, not {show(arguments[key])}"
        use.error("wrong-type", use.span_of(key), message)
    return not wrong


def _required(use: NodeInstance, body: Body, params: dict[str, Any], unknown: frozenset[str]) -> bool:
    lacking = [name for name in body.params if name not in params and name not in unknown]
    if lacking:
        use.error(
            "missing-key",
            use.span,
            f"`{body.title}` requires {', '.join(f'`{n}`' for n in lacking)}",
            f"write {lacking[0]}: ... on `{use.name}`",
        )
    return not lacking


def _instance(
    use: NodeInstance, form: str, inner: BodyElaborator, inputs: dict[str, Resolved], given: dict[str, Any]
) -> Instance:
    """The op around an elaborated body, its outputs those that the body declares."""
    arguments = tuple(value if isinstance(value, Value) else None for value in inputs.values())
    kind: Any = form
    op = Op(use.name, use.index, use.span, kind, arguments, graph=inner.graph, title=inner.body.title)
    op.given = given
    op.expressions = use.expressions({k: v for k, v in given.items()})
    outputs: dict[str, Resolved] = {}
    for name, value in read_outputs(inner).items():
        if isinstance(value, Value):
            inner.graph.outputs[name] = value
            key = name
            op.outputs[key] = Value(value.tensor, use.name if not op.outputs else f"{use.name}_{name}", op)
            op.results[key] = value
            outputs[key] = op.outputs[key]
        else:
            outputs[name] = value
    if not outputs:
        return failed()
    if not op.outputs:
        return Instance(outputs)
    use.exports.ops.append((op, inner))
    for path in use.exports.paths:
        export(op, inner, path, None)
    return Instance(outputs, op, inner, use.exports)


def read_outputs(inner: BodyElaborator) -> dict[str, Resolved]:
    """What the outputs of a body are bound to."""
    results: dict[str, Resolved] = {}
    for name, output in inner.body.outputs.items():
        path = inner.body.output_path(name)
        text: Any = output
        if isinstance(output, Output):
            text = name if output.source is None else output.source
            when = inner.flag(output.when, (*path, "when"))
            if when is not True:
                _mark_read(inner, text)
                results[name] = FAILED if when is None else Nothing()
                continue
            path = path if output.source is None else (*path, "from")
        if not _bindable(inner, name, text, path):
            results[name] = FAILED
            continue
        items = text if isinstance(text, list) else [text]
        for position, item in enumerate(items):
            where = (*path, position) if isinstance(text, list) else path
            bounds = inner.reference(item, where, "")
            if len(bounds) != 1:
                message = f"the output `{name}` is bound to {len(bounds)} values, and takes one"
                help = f"read one instance, `{str(item).partition('.')[0]}.0`, or merge them first"
                inner.error("unbound-output", inner.body.document.span(path), message, help)
            key = name if position == 0 else f"{name}.{position}"
            results[key] = bounds[0].value if len(bounds) == 1 else FAILED
    return results


def _mark_read(inner: BodyElaborator, text: Any) -> None:
    """A left-out output reads nothing, and what it names is used all the same."""
    reads = inner.context.reads_of(inner.definition, inner.body).edges.setdefault("", set())
    for item in text if isinstance(text, list) else [text]:
        if isinstance(item, str):
            reads.add(item.partition(".")[0])


def _bindable(inner: BodyElaborator, name: str, text: Any, path: Path) -> bool:
    """Whether an output that says no `from` has the name of a node; an error is reported."""
    if text != name or path[-1:] == ("from",) or inner.has(name):
        return True
    names = [*inner.body.nodes, *inner.inputs]
    near = nearest(name, names)
    help = f"did you mean `{near}`? Or say what it is with `from:`" if near else "say what it is with `from:`"
    span = inner.body.document.key(path)
    inner.error(
        "unbound-output", span, f"the output `{name}` is bound to nothing: no node has that name", help
    )
    return False

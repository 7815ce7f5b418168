"""Blocks and models: an instance gets a graph of its own, from the body of its block or of another file."""

from __future__ import annotations

from itertools import chain
from typing import Any

from graphspec import std
from graphspec.contract import REGISTRY
from graphspec.declarations import Body, File
from graphspec.diagnostics import become, declared_name, renamed
from graphspec.diagnostics.foreign_terms import COUNTS, NESTS, call_of
from graphspec.elaborate.body import BodyElaborator, NodeResult, failed
from graphspec.elaborate.context import MAX_NESTING
from graphspec.elaborate.forms.call import visible
from graphspec.elaborate.inputs import meets_demands
from graphspec.elaborate.instance import NodeInstance, fewer_help, near_help
from graphspec.elaborate.lookup import give_out
from graphspec.elaborate.outputs import read_outputs
from graphspec.elaborate.scope import Scope, expression_in
from graphspec.elaborate.values import FAILED, NOTHING, Bound, Resolved
from graphspec.graph import ArgumentExpression, Definition, Graph, Op, Value
from graphspec.language.schema import PLAIN, Input, is_plain
from graphspec.settings import a, show, unquoted
from graphspec.traced import INDEX, Symbolic, formula, formula_of, leafed, outward, plain, traced


def build(node: NodeInstance) -> NodeResult:
    """An instance of a block or a model: params given, inputs bound, its own graph elaborated."""
    target = node.target()
    located = find_body(node, node.form, target) if target is not FAILED else None
    if located is None or not _may_open(node, located[1]):
        return failed()
    file, declared = located
    param_values, sound = _param_values(node, file, declared)
    inputs = _bind(node, declared) if not node.inputs.broken else None
    sound = sound and inputs is not None
    if inputs is None:
        inputs = dict.fromkeys(declared.inputs, FAILED)
    inner = _open(node, file, declared, target, inputs)
    inner.scope.origins = {name: node.span_of(name) for name in param_values if name in node.declared.extra}
    params = inner.scope.add_params(declared.path, declared.params, param_values)
    lacking = [name for name in declared.params if name not in params and name not in inner.scope.unknown]
    if lacking and sound:
        message = f"`{declared.title}` requires {', '.join(f'`{n}`' for n in lacking)}"
        node.error("missing-key", node.span, message, f"write {lacking[0]}: ... on `{node.name}`")
    inner.scope.unknown |= set(lacking)
    inner.graph.params = params
    sound = sound and not lacking
    if node.form == "model" and not meets_demands(node, inner, inputs):
        inner.inputs, sound = dict.fromkeys(inputs, FAILED), False
    inner.elaborate()  # of one that is not sound, for the sake of its own mistakes
    return _result(node, inner, inputs, param_values) if sound else failed()


def find_body(node: NodeInstance, form: str, target: Any, *, quiet: bool = False) -> tuple[File, Body] | None:
    """The file and body of a block or model, by name."""
    body = node.body
    if form == "model":
        span = node.span_of("model")
        if not isinstance(target, str):
            node.error("wrong-type", span, f"a model is the path of a spec file, not {show(target)}")
            return None
        file = body.context.model_file(target, body.declared.document, span, node.within.open_files)
        return None if file is None else (file, file.body)
    if (located := body.block(target)) is not None:
        return located
    if not quiet:
        failed_blocks = body.file.failed_blocks
        if body.declared.incomplete or (isinstance(target, str) and target in failed_blocks):
            return None
        known = [*body.file.blocks, *std.names()]
        help = near_help(str(target), known) or "the file has no `blocks`"
        called = call_of(target) if isinstance(target, str) else None
        if called is not None and called[0] in known and not called[1]:
            new = {**node.written, "block": called[0], **called[2]}
            shown = "".join(f", {name}: {unquoted(value)}" for name, value in called[2].items())
            help = become(new, f"write params next to its name: {{block: {called[0]}{shown}}}", around=True)
        if any(target in each.declared.shared for each in visible(node)):
            help = f"`{target}` is a shared layer: write {{call: {target}}}"
        for kind in REGISTRY:
            if target in REGISTRY[kind]:
                help = f"`{target}` is {a(f'`{kind}`')}: write {{{kind}: {target}}}"
        node.error("unknown-block", node.span_of("block"), f"unknown block `{target}`", help)
    return None


def _may_open(node: NodeInstance, declared: Body) -> bool:
    """Whether a body may be opened here: it is not open already, and not nested too deep."""
    blocks, files = node.within.open_blocks, node.within.open_files
    if declared.block is not None and declared.block in blocks:
        chain = " -> ".join((*blocks[blocks.index(declared.block) :], declared.block))
        node.error("block-recursive", node.span_of("block"), f"the block contains itself: {chain}")
        return False
    if len(blocks) + len(files) >= MAX_NESTING:
        node.error("too-deep", node.span, f"blocks and models are nested more than {MAX_NESTING} deep")
        return False
    return True


def _open(
    node: NodeInstance, file: File, declared: Body, target: Any, inputs: dict[str, Resolved]
) -> BodyElaborator:
    """The body of an instance, with its inputs as values of its own graph. A block sees the params of its
    file, a model none.
    """
    outer, within, block = node.body, node.within, declared.block
    graph = Graph(Definition(declared.file, block, declared.title), declared=dict(declared.params))
    passed: dict[str, Resolved] = {
        name: Value(value.tensor, name) if isinstance(value, Value) else value
        for name, value in inputs.items()
    }
    where = f"in {node.form} `{target}`, used by `{node.title}` at {node.span}"
    notes = (where, *within.scope.notes)
    unknown = frozenset(declared.failed_params)
    known = passed if block is not None else None
    lost = declared.lost_params or (block is not None and (outer.of_file or outer).scope.lost)
    scope = Scope(outer.context, declared.document, graph.visible, unknown, lost, known, notes)
    scope.bodies = (declared,)
    inner = BodyElaborator(scope, file, declared, graph, passed, outer.elaborate_node)
    if block is not None:
        inner.of_file = (outer.of_file or outer) if file is outer.file else _library(file, outer)
        seen = inner.of_file.scope
        if seen.document is declared.document:
            scope.bodies += seen.bodies
        graph.visible.update(
            (name, value) for name, value in seen.params.items() if name not in declared.params
        )
        scope.unknown |= seen.unknown - declared.params.keys()
        inner.open_files, inner.open_blocks = within.open_files, (*within.open_blocks, block)
    else:
        inner.open_files = (*within.open_files, declared.file)
    if outer.scope.formulas is not None:
        _name_sizes(inner, outer, inputs)
    graph.inputs = {name: value if isinstance(value, Value) else None for name, value in passed.items()}
    return inner


def _library(file: File, outer: BodyElaborator) -> BodyElaborator:
    """The body of a file of the library around its blocks: they see nothing of the file that uses them."""
    graph = Graph(Definition(file.document.file, None, file.name))
    scope = Scope(outer.context, file.document, graph.visible, bodies=(file.body,))
    return BodyElaborator(scope, file, file.body, graph, {}, outer.elaborate_node)


def _name_sizes(inner: BodyElaborator, outer: BodyElaborator, inputs: dict[str, Resolved]) -> None:
    """Names the params, the file's params and the sizes of inputs of a body in formulas, each with what it
    is in the body around. A size that is a param of the file there is that param here, too.
    """
    scope, params = inner.scope, inner.declared.params
    scope.formulas = {"index": INDEX} | {word: formula("param", word) for word in params}
    of_file: dict[Symbolic, Symbolic] = {}  # what a param of the file is around, to what it is here
    if inner.of_file is not None:
        around, names = inner.of_file.scope, inner.graph.visible
        for word in (around.formulas or {}).keys() & around.params.keys():
            leaf = formula("file", word)
            here = leafed(plain(around.params[word]), leaf)
            scope.bindings[leaf] = around.params[word] if outer is inner.of_file else here
            if (known := formula_of(scope.bindings[leaf])) is not None:
                of_file[known] = leaf
            if word not in params:
                scope.formulas[word], names[word] = leaf, here
    for word, value in inputs.items():
        given = scope.formulas[f"given({word})"] = formula("given", word)
        scope.bindings[given] = value is not NOTHING
        if not isinstance(value, Value):
            continue
        sizes = list(value.tensor.shape)
        for axis in range(1, len(sizes)):
            if isinstance(sizes[axis], int):
                known = formula_of(sizes[axis])
                leaf = formula("size", word, axis - len(sizes))
                leaf = of_file.get(known, leaf) if known is not None else leaf
                scope.bindings.setdefault(leaf, sizes[axis])
                sizes[axis] = traced(sizes[axis], leaf)
                if axis == len(sizes) - 1:
                    scope.formulas[f"channels({word})"] = leaf
        inner.inputs[word] = Value(value.tensor.with_shape(*sizes), word)


def _bind(node: NodeInstance, declared: Body) -> dict[str, Resolved] | None:
    """The value of each input of a body; None after an error."""
    names, inputs = list(declared.inputs), node.inputs
    if len(inputs.positional) > len(names):
        count = f"{len(names)} input{'s' if len(names) > 1 else ''} ({', '.join(names)})"
        message = f"`{declared.title}` takes {count}, and `{node.name}` gives it {len(inputs.positional)}"
        help = fewer_help(node) if len(names) == 1 else None
        node.error("input-count", node.span_of("from"), message, help)
        return None
    bound: dict[str, Bound] = dict(zip(names, inputs.positional, strict=False))
    for name, values in inputs.named.items():
        if name not in declared.inputs:
            code, why = "unknown-key", "is not an input of"
        elif name in bound or len(values) != 1:
            code, why = "input-count", "is fed twice by" if name in bound else "takes one value in"
        else:
            bound[name] = values[0]
            continue
        message = f"`{name}` {why} `{declared.title}`"
        node.error(code, node.key("from", name), message, declared_name(near_help(name, names)))
        return None
    lacking = [name for name in names if name not in bound and not _may_lack(declared, name)]
    if lacking:
        help = "use `from` to name its inputs"
        if len(names) > 1:
            help = f"write from: {{{', '.join(f'{name}: ...' for name in names)}}}"
        missing = f"input{'s' if len(lacking) > 1 else ''} {', '.join(f'`{n}`' for n in lacking)}"
        node.error("input-count", node.span, f"`{declared.title}` needs its {missing}", help)
        return None
    needed = [bound[name] for name in names if name in bound and not _may_lack(declared, name)]
    if declared.block is None and node.refuses_nothing(needed):
        return None
    return {name: bound[name].value if name in bound else NOTHING for name in names}


def _may_lack(declared: Body, name: str) -> bool:
    """Whether an input is optional: a block declares it so, an input of a model has a `when`."""
    declaration = declared.inputs[name]
    return name in declared.optional or (isinstance(declaration, Input) and declaration.when is not True)


def _param_values(node: NodeInstance, file: File, declared: Body) -> tuple[dict[str, Any], bool]:
    """The params that a node gives, from its preset and its keys, and whether all of them are valid. Unknown
    ones are reported.
    """
    arguments, broken = node.legal_arguments()
    preset = node.evaluate(node.declared.preset, "preset")
    params: dict[str, Any] = {}
    if preset is not None:
        if not isinstance(preset, str) or preset not in file.presets:
            message = f"`{declared.title}` has no preset `{preset}`"
            help = near_help(str(preset), list(file.presets))
            node.error("unknown-preset", node.span_of("preset"), message, help)
            return {}, False
        params.update(file.presets[preset])
    known, ok = list(declared.params), not broken
    for key, value in arguments.items():
        if key in declared.params and not is_plain(value):
            ok = False
            message = f"the param `{key}` of `{declared.title}` is {PLAIN}, not {show(value)}"
            node.error("wrong-type", node.span_of(key), message)
    for key in [*arguments, *broken]:
        if key not in declared.params:
            ok = False
            if declared.lost_params:
                continue
            help = declared_name(near_help(key, known)) if known else f"`{declared.title}` has no params"
            count = node.written.get(key)
            if key in COUNTS and "repeat" not in node.written and type(count) is int:
                words = f"a block is used several times by `repeat: {count}`"
                help = renamed(node.written, key, "repeat", words, safe=COUNTS[key])
            if key in NESTS and isinstance(inner := node.written.get(key), dict):
                shown = ", ".join(f"{name}: {unquoted(value)}" for name, value in inner.items())
                words = f"write params next to it: {{{node.form}: {node.target()}, {shown}}}"
                rest = node.written.keys() - {key}
                parts = ([(k, v)] if k != key else [*inner.items()] for k, v in node.written.items())
                safe = rest.isdisjoint(inner)
                help = become(dict(chain.from_iterable(parts)), words, around=True, safe=safe)
            message = f"`{key}` is not a param of `{declared.title}`"
            node.error("unknown-key", node.key_of(key), message, help)
    legal = {key: value for key, value in arguments.items() if key in declared.params and is_plain(value)}
    return {**params, **legal}, ok


def _result(
    node: NodeInstance, inner: BodyElaborator, inputs: dict[str, Resolved], params: dict[str, Any]
) -> NodeResult:
    """The op around an elaborated body, its outputs those that the body declares."""
    arguments = tuple(value if isinstance(value, Value) else None for value in inputs.values())
    kind: Any = node.form
    op = Op(node.name, node.index, node.span, kind, arguments, graph=inner.graph, title=inner.declared.title)
    inner.graph.bindings = inner.scope.bindings
    op.options, op.expressions = params, node.expressions(params)
    if (kind := expression_in(node.declared.target)) is not None:
        op.expressions += (ArgumentExpression(kind, inner.graph.definition.block, (node.form,)),)
    outputs: dict[str, Resolved] = {}
    for name, value in read_outputs(inner).items():
        if isinstance(value, Value):
            inner.graph.outputs[name] = op.results[name] = value
            word = f"{node.name}_{name}" if op.outputs else node.name
            value = op.outputs[name] = Value(outward(value.tensor, inner.scope.bindings), word, op)
        outputs[name] = value
    if not outputs:
        return failed()
    if not op.outputs:
        return NodeResult(outputs)
    node.inner_paths.bodies.append((op, inner))
    for path in node.inner_paths.paths:
        give_out(op, inner, path, None)
    return NodeResult(outputs, op, inner, node.inner_paths)

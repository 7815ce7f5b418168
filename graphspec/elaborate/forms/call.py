"""One more call of a shared entry: its arguments are evaluated once, its weights made once."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any

from graphspec.contract import REGISTRY
from graphspec.diagnostics import did_you_mean, nearest, renamed
from graphspec.elaborate.body import BodyElaborator, InnerPaths, NodeResult, SharedEntry, failed
from graphspec.elaborate.forms.arguments import misplaced
from graphspec.elaborate.forms.average import read_average
from graphspec.elaborate.instance import Build, NodeInstance, near_help
from graphspec.elaborate.scope import Scope
from graphspec.elaborate.values import FAILED
from graphspec.graph import Op, Unit
from graphspec.language.schema import MADE, NODE_KEYS, Node
from graphspec.traced import formula, leafed, outward, plain


def build(node: NodeInstance, build_inner: Build) -> NodeResult:
    """The result of a call; `build_inner` builds what is called."""
    name, located = node.declared.call, find_entry(node)
    if located is None:
        bodies = [body.declared for body in visible(node)]
        if not any(name in body.failed or body.incomplete for body in bodies):
            shared = [word for body in bodies for word in body.shared]
            help = near_help(name, shared) or f"declare it: shared: {{{name}: {{layer: ...}}}}"
            if name in bodies[0].nodes:
                help = f"move the node `{name}` to `shared`: its calls then share one set of weights"
            if name in node.body.file.blocks:
                words = f"`{name}` is a block: write {{block: {name}}}"
                help = renamed(node.written, "call", "block", words)
            node.error("unknown-reference", node.span_of("call"), f"`{name}` is not a shared layer", help)
        return failed()
    body, declared = located
    body.reads.called.add(name)
    call_arguments = _call_arguments(node, name, declared)
    if call_arguments is None:
        return failed()
    if name not in body.shared:
        body.shared[name] = _open_entry(body, name, declared)
    entry = body.shared[name]
    if entry.unit is None:
        return failed()
    inner = NodeInstance(body, node.name, declared, body.path("shared", _made_by(body, name)), node.index)
    inner.inputs, inner.inner_paths, inner.unit = node.inputs, entry.inner_paths, entry.unit
    arguments = entry.arguments if body is node.body else of_file(body.scope, entry.arguments)
    inner.entry_arguments, inner.caller = {**arguments, **call_arguments}, node.within
    result = build_inner(inner)
    op = result.op
    if op is None:
        return result
    op.node, op.index, op.span = node.name, node.index, node.span
    for twin in _twins(body, entry.unit):
        if _different(twin.first_call, op) is not None:
            message = f"`{name}` would need other weights than `{twin.name}`, and one averages the other"
            help = f"call both on inputs of the same sizes; `{twin.name}` is called at {twin.first_call.span}"
            return node.failure("shared-differs", node.span, message, help)
    other = _different(entry.unit.first_call, op) if entry.unit.calls else None
    if other is not None:
        where = "" if other == node.name else f" in `{other}`"
        message = f"`{name}` would need other weights, axes or arguments{where} here than at its first call"
        first = entry.unit.first_call
        help = f"its first call is at {first.span}"
        given = [" and ".join(str(value.tensor) for value in call.inputs) for call in (op, first)]
        if given[0] != given[1]:
            help += f", and gets {given[1]}; this one gets {given[0]}"
        return node.failure("shared-differs", node.span, message, help)
    node.unit = entry.unit
    return result


def of_file(scope: Scope, arguments: dict[str, Any]) -> dict[str, Any]:
    """Arguments that the file evaluated, as a block sees them: over the names of its file's params."""
    names = (scope.formulas or {}).items()
    bindings = {leaf: leafed(plain(scope.params.get(w)), formula("file", w)) for w, leaf in names}
    return {key: outward(value, bindings) for key, value in arguments.items()}


def find_entry(node: NodeInstance) -> tuple[BodyElaborator, Node] | None:
    """The entry of `shared` that a call names, and the body that declares it; None if there is none."""
    name = node.declared.call
    owner = next((body for body in visible(node) if name in body.declared.shared), None)
    return None if owner is None else (owner, owner.declared.shared[_made_by(owner, name)])


def _made_by(body: BodyElaborator, name: str) -> str:
    """The entry that says what an entry is made of: for an average of weights, what it averages."""
    shared = body.declared.shared
    other = shared[name].average_of
    return other if isinstance(other, str) and shared.get(other) is not None else name


def _twins(body: BodyElaborator, unit: Unit) -> Iterator[Unit]:
    """The units that are called already, and average the weights of a unit, or whose weights it averages."""
    for other in (entry.unit for entry in body.shared.values() if entry.unit is not None):
        pairs = (unit.name, other.average), (other.name, unit.average)
        if other.calls and any(each is not None and each.of == name for name, each in pairs):
            yield other


def visible(node: NodeInstance) -> list[BodyElaborator]:
    """The bodies whose shared entries a node sees: a block's own first, then the file's."""
    file = node.body.of_file
    return [node.body] if file is None else [node.body, file]


def _call_arguments(node: NodeInstance, name: str, declared: Node) -> dict[str, Any] | None:
    """The arguments of a call besides its inputs: `use_causal_mask`, or the output shape of a custom module.
    None after an error.
    """
    cls = REGISTRY["layer"].get(declared.target) if declared.form == "layer" else None
    flags = cls.call_arguments if cls is not None else ()
    legal = (*flags, *(MADE if declared.form == "module" else ()))
    arguments: dict[str, Any] = {}
    for key, value in node.declared.extra.items():
        if key in legal:
            evaluated = node.flag(key, value) if key in flags else node.evaluate(value, key)
            arguments[key] = None if evaluated is FAILED else evaluated
            continue
        help = _key_help(node, key, legal, declared)
        node.error("unknown-key", node.key(key), f"a call takes no `{key}`", help)
        arguments[key] = None
    return None if any(value is None for value in arguments.values()) else arguments


def _key_help(node: NodeInstance, key: str, legal: Collection[str], declared: Node) -> str:
    """The remedy for a key that calls of an entry do not take."""
    name, own = node.declared.call, _own_keys(node, declared)
    there = f"write it on `{name}` in `shared`"
    if own is not None and key in own:
        return there
    cls = REGISTRY[declared.form].get(declared.target) if declared.form in REGISTRY else None
    near = misplaced(cls, (key,)) if cls is not None else None
    near = near or did_you_mean(key, [*legal, *NODE_KEYS], None)
    if near is not None or own is None:
        return near or there
    if (meant := nearest(key, own, None if cls is None else cls.synonyms)) is not None:
        return f"did you mean `{meant}`? {there.capitalize()}"
    layers = REGISTRY["layer"]
    others = [f"`{word}`" for word in layers if key in layers[word].call_arguments]
    lacks = f"`{declared.target}` has no `{key}`"
    return f"{lacks}: calls of {' and '.join(others)} take it" if others else lacks


def _own_keys(node: NodeInstance, declared: Node) -> Collection[str] | None:
    """The arguments that an entry takes in `shared`; None where they are not known."""
    if declared.form in REGISTRY and declared.target in REGISTRY[declared.form]:
        return REGISTRY[declared.form][declared.target].model_fields
    located = node.body.block(declared.target) if declared.form == "block" else None
    return None if located is None else located[1].params


def _open_entry(body: BodyElaborator, name: str, declared: Node) -> SharedEntry:
    """Evaluates an entry at its first call, and adds its unit to the graph of its body."""
    written = NodeInstance(body, name, body.declared.shared[name], body.path("shared", name))
    averages = written.form == "average_of"
    average = read_average(written) if averages else None
    if averages and average is None:
        return SharedEntry(None, {}, InnerPaths())
    entry = NodeInstance(body, name, declared, body.path("shared", _made_by(body, name)))
    arguments = entry.arguments()
    trainable = entry.flag("trainable", declared.trainable)
    if arguments is None or trainable is None:
        return SharedEntry(None, {}, InnerPaths())
    file = None if averages else entry.weights()
    unit = Unit(name, None, written.span, True, trainable and not averages, file, average=average)
    position = sum(1 for other in body.graph.units if other.shared)
    body.graph.units.insert(position, unit)
    return SharedEntry(unit, arguments, InnerPaths())


def _made(op: Op) -> tuple[Any, ...]:
    """The arguments of an op's module: those of its layer, the properties that its inputs fix, the shapes of
    its weights. A layer without a module may have other arguments at each call.
    """
    if op.layer is None or not op.present:
        return (op.present, *(weight.shape for weight in op.weights()))
    site = op.site()
    made = op.layer.code(site).construct is not None
    arguments = tuple(value for name, value in op.layer if made and name not in op.layer.call_arguments)
    fixed = op.layer.fixed_by_inputs(*site.inputs)
    return (type(op.layer), arguments, fixed, *(weight.shape for weight in op.weights()))


def _different(a: Op, b: Op) -> str | None:
    """The node of two calls that would need two modules; None where one does for both."""
    if a.graph is None or b.graph is None:
        return None if _made(a) == _made(b) else b.node
    ops = (list(a.graph.walk()), list(b.graph.walk()))
    if len(ops[0]) != len(ops[1]):
        return b.node
    return next((y.node for x, y in zip(*ops, strict=True) if _made(x) != _made(y)), None)

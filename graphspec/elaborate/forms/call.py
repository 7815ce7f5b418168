"""One more call of a shared entry: its arguments are evaluated once, its weights made once."""

from __future__ import annotations

from typing import Any

from graphspec.contract import REGISTRY
from graphspec.elaborate.body import BodyElaborator, InnerPaths, NodeResult, SharedEntry, failed
from graphspec.elaborate.instance import Build, NodeInstance, near_help
from graphspec.elaborate.values import FAILED
from graphspec.graph import Op, Unit
from graphspec.language.schema import MADE, Node


def build(node: NodeInstance, build_inner: Build) -> NodeResult:
    """The result of a call; `build_inner` builds what is called."""
    name, located = node.declared.call, find_entry(node)
    if located is None:
        bodies = [body.declared for body in visible(node)]
        if not any(name in body.failed or body.incomplete for body in bodies):
            help = near_help(name, [word for body in bodies for word in body.shared])
            if name in bodies[0].nodes:
                help = f"move the node `{name}` to `shared`: its calls then share one set of weights"
            if name in node.body.file.blocks:
                help = f"`{name}` is a block: write {{block: {name}}}"
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
    inner = NodeInstance(body, node.name, declared, body.path("shared", name), node.index)
    inner.inputs, inner.inner_paths, inner.unit = node.inputs, entry.inner_paths, entry.unit
    inner.entry_arguments, inner.caller = {**entry.arguments, **call_arguments}, node.within
    result = build_inner(inner)
    op = result.op
    if op is None:
        return result
    op.node, op.index, op.span = node.name, node.index, node.span
    if entry.unit.calls and not _same_weights(entry.unit.first_call, op):
        message = f"`{name}` would need different weights or axes for this call and its first"
        return node.failure(
            "shared-differs", node.span, message, f"its first call is at {entry.unit.first_call.span}"
        )
    node.unit = entry.unit
    return result


def find_entry(node: NodeInstance) -> tuple[BodyElaborator, Node] | None:
    """The entry of `shared` that a call names, and the body that declares it; None if there is none."""
    name = node.declared.call
    owner = next((body for body in visible(node) if name in body.declared.shared), None)
    return None if owner is None else (owner, owner.declared.shared[name])


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
        help = near_help(key, list(legal)) if legal else None
        help = help or f"write it on `{name}` in `shared`"
        node.error("unknown-key", node.key(key), f"a call takes no `{key}`", help)
        arguments[key] = None
    return None if any(value is None for value in arguments.values()) else arguments


def _open_entry(body: BodyElaborator, name: str, declared: Node) -> SharedEntry:
    """Evaluates an entry at its first call, and adds its unit to the graph of its body."""
    entry = NodeInstance(body, name, declared, body.path("shared", name))
    arguments = entry.arguments()
    trainable = entry.flag("trainable", declared.trainable)
    if arguments is None or trainable is None:
        return SharedEntry(None, {}, InnerPaths())
    unit = Unit(name, None, entry.span, True, trainable, entry.weights())
    position = sum(1 for other in body.graph.units if other.shared)
    body.graph.units.insert(position, unit)
    return SharedEntry(unit, arguments, InnerPaths())


def _weight_arguments(op: Op) -> dict[str, Any]:
    """The arguments of a layer that its weights may depend on."""
    if op.layer is None:
        return {}
    return {name: value for name, value in op.layer if name not in op.layer.call_arguments}


def _held(op: Op) -> tuple[object, ...]:
    """What the module of an op has of its inputs: the shapes of its weights, and what its layer fixes."""
    fixed = op.layer.fixed_by_inputs(*op.site().inputs) if op.layer is not None and op.present else None
    return (fixed, *(weight.shape for weight in op.weights()))


def _same_weights(a: Op, b: Op) -> bool:
    if a.graph is None or b.graph is None:
        return _weight_arguments(a) == _weight_arguments(b) and _held(a) == _held(b)
    ops = (list(a.graph.walk()), list(b.graph.walk()))
    return len(ops[0]) == len(ops[1]) and all(
        x.present == y.present and _held(x) == _held(y) for x, y in zip(*ops, strict=True)
    )

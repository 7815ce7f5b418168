"""Calls of shared entries: arguments are evaluated once, weights made once."""

from __future__ import annotations

from typing import Any

from graphspec.contract import REGISTRY
from graphspec.elaborate.bodies import build_body
from graphspec.elaborate.body import Instance, failed
from graphspec.elaborate.context import Exports
from graphspec.elaborate.layers import called_layer
from graphspec.elaborate.units import register_op, weights_path
from graphspec.elaborate.use import NodeInstance, near_help
from graphspec.graph import Op, Unit
from graphspec.schema import Node


def shared_call(use: NodeInstance) -> Instance:
    """One more call of a shared entry: its arguments are evaluated once, its weights made once."""
    run, name = use.run, use.node.call
    entry = run.body.shared.get(name)
    if entry is None and (name in run.body.failed or run.body.incomplete):
        return failed()
    if entry is None:
        use.error(
            "unknown-reference",
            use.span_of("call"),
            f"`{name}` is no shared layer",
            near_help(name, list(run.body.shared)),
        )
        return failed()
    run.context.reads_of(run.definition, run.body).called.add(name)
    own = _call_arguments(use, name, entry)
    if own is None:
        return failed()
    state = run.shared.get(name)
    if state is None:
        state = run.shared[name] = _shared(use, name, entry)
    unit, exports, arguments = state
    if unit is None:
        return failed()
    inner = NodeInstance(
        run, use.name, entry, run.path("shared", name), use.index, feed=use.feed, exports=exports, unit=unit
    )
    inner.given = {**arguments, **own}
    made: Any = build_body(inner, entry.form) if entry.form != "layer" else called_layer(inner, "layer")
    if made is None:
        return failed()
    instance = made if isinstance(made, Instance) else Instance(dict(made.outputs), made)
    op = instance.op
    if op is None:
        return instance
    op.node, op.index, op.span = use.name, use.index, use.span
    if unit.calls and not _same_weights(unit.calls[0], op):
        use.error(
            "shared-differs",
            use.span,
            f"`{name}` would need other weights for this call than for its first",
            f"its first call is at {unit.calls[0].span}",
        )
        return failed()
    use.unit = unit
    return register_op(use, instance)


def _call_arguments(use: NodeInstance, name: str, entry: Node) -> dict[str, bool] | None:
    """What a call says beside its inputs, such as `use_causal_mask`; None after an error."""
    cls = REGISTRY["layer"].get(entry.target) if entry.form == "layer" else None
    legal = cls.call_arguments if cls is not None else ()
    found: dict[str, bool | None] = {}
    for key, value in use.node.extra.items():
        if key in legal:
            found[key] = use.flag(key, value)
            continue
        span = use.run.body.document.key((*use.path, key))
        help = near_help(key, list(legal)) if legal else None
        use.error(
            "unknown-key", span, f"a call takes no `{key}`", help or f"write it on `{name}` in `shared`"
        )
        found[key] = None
    return None if None in found.values() else found  # type: ignore[return-value]


def _shared(use: NodeInstance, name: str, entry: Node) -> tuple[Unit | None, Exports, dict[str, Any]]:
    run = use.run
    path = run.path("shared", name)
    holder = NodeInstance(run, name, entry, path)
    arguments = holder.arguments()
    trainable = holder.flag("trainable", entry.trainable)
    if arguments is None or trainable is None:
        return None, Exports(), {}
    unit = Unit(name, None, holder.span, True, trainable, weights_path(holder))
    position = sum(1 for other in run.graph.units if other.shared)
    run.graph.units.insert(position, unit)
    return unit, Exports(), arguments


def _own(op: Op) -> dict[str, object]:
    """The arguments of a layer that its weights may depend on."""
    return {} if op.layer is None else op.layer.model_dump(exclude=set(op.layer.call_arguments))


def _same_weights(a: Op, b: Op) -> bool:
    if a.graph is None or b.graph is None:
        return _own(a) == _own(b) and [w.shape for w in a.weights()] == [w.shape for w in b.weights()]
    ops = (list(a.graph.walk()), list(b.graph.walk()))
    return len(ops[0]) == len(ops[1]) and all(
        x.present == y.present and [w.shape for w in x.weights()] == [w.shape for w in y.weights()]
        for x, y in zip(*ops, strict=True)
    )

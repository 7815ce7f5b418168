"""A node becomes its instances: how often, with which arguments, or left out."""

from __future__ import annotations

from typing import Any

from graphspec.elaborate.bodies import find_body
from graphspec.elaborate.body import BodyElaborator, Instance, Repeated, failed
from graphspec.elaborate.context import FAILED, NOTHING, Exports, Failed, Resolved
from graphspec.elaborate.feed import feed_of, first_input
from graphspec.elaborate.forms import build
from graphspec.elaborate.use import NodeInstance, expression_in
from graphspec.graph import Op, Value
from graphspec.objectives.settings import show
from graphspec.schema import MISSING, Node
from graphspec.source import Path

MAX_REPEAT = 10_000


def elaborate_node(run: BodyElaborator, name: str) -> Instance | Repeated:
    """All instances of a node. Its errors are reported, and give a failed instance."""
    node = run.body.nodes[name]
    path = run.path("nodes", name)
    if node.repeat is MISSING and node.parallel is MISSING:
        return _instance(NodeInstance(run, name, node, path), None)
    parallel = node.repeat is MISSING
    plan = _plan(run, name, node, path, "parallel" if parallel else "repeat")
    if plan is None:
        return failed()
    if not plan and not parallel:
        use = NodeInstance(run, name, node, path, 0)
        first = first_input(use)
        return Repeated([], False, first.value if first is not None else NOTHING)
    exports = Exports()
    instances: list[Instance] = []
    for index, overrides in enumerate(plan):
        use = NodeInstance(run, name, node, path, index, overrides, exports=exports, count=len(plan))
        previous = instances[-1] if instances and not parallel else None
        instance = _instance(use, previous)
        if instance.op is not None:
            instance.op.repeated = "parallel" if parallel else "repeat"
        instances.append(instance)
        if isinstance(instance.first, Failed):
            return Repeated(instances, parallel, broken=True)  # the next would fail for the same reason
    return Repeated(instances, parallel)


def _plan(run: BodyElaborator, name: str, node: Node, path: Path, key: str) -> list[dict[str, Any]] | None:
    """The arguments of each instance that its `repeat` or `parallel` gives; None after an error."""
    raw = node.repeat if key == "repeat" else node.parallel
    here = (*path, key)
    value = run.evaluate(raw, here)
    span = run.body.document.span(here)
    if value is FAILED:
        return None
    if isinstance(value, int) and not isinstance(value, bool):
        if 0 <= value <= MAX_REPEAT:
            return [{} for _ in range(value)]
        run.error(
            "out-of-range",
            span,
            f"`{name}` is repeated {value} times; a count lies between 0 and {MAX_REPEAT:,}",
        )
        return None
    if not isinstance(value, dict):
        help = (
            f"write {int(value)}, or use `//`"
            if isinstance(value, float) and value.is_integer()
            else f"write {key}: 3, or {key}: {{units: [64, 32]}}"
        )
        run.error(
            "wrong-type",
            span,
            f"`{key}` is a count, or a mapping from arguments to lists, not {show(value)}",
            help,
        )
        return None
    if not all(_varies(run, node, here, word, items) for word, items in value.items()):
        return None
    lengths = {word: len(items) for word, items in value.items()}
    if len(set(lengths.values())) != 1:
        counts = ", ".join(f"`{word}` has {count}" for word, count in lengths.items()) or "it is empty"
        run.error("wrong-type", span, f"the lists of `{key}` must be equally long: {counts}")
        return None
    count = next(iter(lengths.values()))
    return [{word: items[i] for word, items in value.items()} for i in range(count)]


def _varies(run: BodyElaborator, node: Node, here: Path, word: str, items: Any) -> bool:
    """Whether a key under `repeat` or `parallel` may stand there, with a list; `here` is its path."""
    key, document = here[-1], run.body.document
    if not isinstance(items, list):
        message = f"`{word}` under `{key}` is a list with one item for each instance"
        run.error("wrong-type", document.span((*here, word)), message)
        return False
    if word in node.extra or (word == "from" and node.source is not MISSING):
        run.error("duplicate-key", document.key((*here, word)), f"`{word}` stands in `{key}` and beside it")
        return False
    if word in ("when", "else", "trainable", "weights") or (word == "from" and key == "repeat"):
        help = "it may use `index` where it stands"
        run.error("unknown-key", document.key((*here, word)), f"`{word}` cannot vary in `{key}`", help)
        return False
    return True


def _instance(use: NodeInstance, previous: Instance | None) -> Instance:
    run, node = use.run, use.node
    run.context.count(use.span)
    when = use.flag("when", node.when)
    if when is None:
        return failed()
    if not when:
        return _left_out(use, previous)
    use.feed = feed_of(use, previous)
    instance = build(use)
    if instance.op is not None:
        instance.op.when = expression_in(node.when)
    return instance


def _left_out(use: NodeInstance, previous: Instance | None) -> Instance:
    """What a node whose `when` is false hands on: its `else`, else its first input."""
    run, node = use.run, use.node
    if node.otherwise is not MISSING:
        if node.otherwise is None:
            return Instance({"": NOTHING})
        bounds = run.reference(node.otherwise, (*use.path, "else"), use.name, use.index)
        value: Resolved = bounds[0].value if len(bounds) == 1 else FAILED
        if len(bounds) != 1:
            use.error("wrong-type", use.span_of("else"), "`else` names one node")
    elif node.form == "parameter":
        return Instance({"": NOTHING})
    elif previous is not None:
        value = previous.first
    else:
        first = first_input(use)
        value = first.value if first is not None else FAILED
    if not isinstance(value, Value):
        return Instance({"": value})
    title = str(node.target)
    op = Op(use.name, use.index, use.span, node.form, (value,), present=False, title=title)  # type: ignore[arg-type]
    op.outputs = {_first_output(use): Value(value.tensor, use.name, op)}
    op.when = expression_in(node.when)
    if use.index is not None:
        op.repeated = "repeat" if node.repeat is not MISSING else "parallel"
    run.graph.ops.append(op)
    return Instance(dict(op.outputs), op)


def _first_output(use: NodeInstance) -> str:
    """The name of the first output that a left-out node would have."""
    form, target = use.node.form, use.node.target
    if form == "call" and (entry := use.run.body.shared.get(target)) is not None:
        form, target = entry.form, entry.target
    found = find_body(use, form, target, quiet=True) if form == "block" else None
    return next(iter(found[1].outputs), "") if found is not None else ""

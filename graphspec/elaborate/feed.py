"""What a node reads: its `from`, its edges, the node above, or in a chain the instance before."""

from __future__ import annotations

from typing import Any

from graphspec.elaborate.body import Instance
from graphspec.elaborate.context import FAILED, Bound
from graphspec.elaborate.forms import declared_inputs
from graphspec.elaborate.use import NodeInputs, NodeInstance
from graphspec.schema import MISSING
from graphspec.source import Path


def feed_of(use: NodeInstance, previous: Instance | None) -> NodeInputs:
    """What a node reads: its `from`, its edges, or the node above; in a chain, what comes out of the
    instance before.
    """
    node, body = use.node, use.run.body
    raw, path = node.source, (*use.path, "from")
    if "from" in use.overrides:
        raw, path = use.overrides["from"], (*use.path, "parallel", "from", use.index or 0)
    if node.form == "parameter":
        if raw is not MISSING:
            use.error("input-count", use.span_of("from"), f"`{use.name}` is a parameter and takes no input")
        return NodeInputs()
    edges = (body.edges or {}).get(use.name, [])
    if raw is not MISSING and edges:
        use.error(
            "from-and-edges",
            use.span_of("from"),
            f"`{use.name}` has both `from` and edges",
            f"remove one; its edges begin at {body.document.span(edges[0][1])}",
        )
        return NodeInputs([Bound(FAILED, "", None)])
    chained = _chained(use, previous) if previous is not None else {}
    if raw is MISSING:
        feed = _default_feed(use, edges, skip=bool(chained))
    else:
        feed = _written_feed(use, raw, path, chained)
    for name, bound in chained.items():
        if name == "":
            if isinstance(raw, dict):
                names = declared_inputs(use)
                feed.named[names[0] if names else next(iter(raw))] = [bound]
            else:
                feed.positional.insert(0, bound)
        else:
            feed.named[name] = [bound]
    return feed


def _chained(use: NodeInstance, previous: Instance) -> dict[str, Bound]:
    """The inputs that the instance before feeds: by name where its outputs are named like inputs, else ("")
    the first.
    """
    span = use.span
    text = f"{use.name}.{(use.index or 1) - 1}"
    if use.node.form in ("block", "model", "call"):
        names = [name for name in declared_inputs(use) if name in previous.outputs]
        if names:
            return {name: Bound(previous.outputs[name], f"{text}.{name}", span) for name in names}
    return {"": Bound(previous.first, text, span)}


def _written_feed(use: NodeInstance, raw: Any, path: Path, chained: dict[str, Bound]) -> NodeInputs:
    run, feed = use.run, NodeInputs()
    names = declared_inputs(use) if chained else []

    def skipped(position: int) -> bool:
        if "" in chained:
            return position == 0
        return position < len(names) and names[position] in chained

    if isinstance(raw, dict):
        for key, item in raw.items():
            if key in chained or ("" in chained and names and key == names[0]):
                continue
            items = item if isinstance(item, list) else [item]
            for position, part in enumerate(items):
                where = (*path, key, position) if isinstance(item, list) else (*path, key)
                feed.named.setdefault(key, []).extend(run.reference(part, where, use.name, use.index))
        return feed
    items = raw if isinstance(raw, list) else [raw]
    feed.listed = isinstance(raw, list) or (isinstance(raw, str) and "*" in raw)
    for position, item in enumerate(items):
        where = (*path, position) if isinstance(raw, list) else path
        if not skipped(position):
            bounds = run.reference(item, where, use.name, use.index)
            if chained and "" not in chained:  # positions are shifted: bind what is left by name
                if position < len(names):
                    feed.named[names[position]] = bounds
                continue
            feed.positional += bounds
    return feed


def _default_feed(use: NodeInstance, edges: list[tuple[str, Path]], skip: bool) -> NodeInputs:
    run, body = use.run, use.run.body
    if edges:
        bounds = []
        for text, path in edges[1:] if skip else edges:
            bounds += run.reference(text, path, use.name, use.index)
        return NodeInputs(bounds, listed=len(bounds) > 1)
    if skip:
        return NodeInputs()
    if body.edges is not None:
        use.error(
            "no-input",
            use.span,
            f"`{use.name}` has no `from`, and no edge leads to it",
            f"write the edge `... -> {use.name}`",
        )
        return NodeInputs([Bound(FAILED, "", None)])
    above = body.above[use.name]
    if above is not None:
        return NodeInputs([Bound(value, above, use.span) for value in run.resolve(above, use.span, use.name)])
    if len(body.inputs) == 1:
        name = next(iter(body.inputs))
        return NodeInputs([Bound(value, name, use.span) for value in run.resolve(name, use.span, use.name)])
    if not body.inputs:
        if not body.incomplete:
            help = "declare one: inputs: {x: {shape: [64]}}"
            use.error("no-input", use.span, f"`{use.name}` is the first node, and there is no input", help)
        return NodeInputs([Bound(FAILED, "", None)])
    names = ", ".join(body.inputs)
    use.error(
        "no-input",
        use.span,
        f"`{use.name}` is the first node, and there are {len(body.inputs)} inputs: {names}",
        "say which with `from:`",
    )
    return NodeInputs([Bound(FAILED, "", None)])


def first_input(use: NodeInstance) -> Bound | None:
    """The input that a left-out node hands on: the first that what it names declares. Nothing else is
    resolved.
    """
    raw = use.node.source
    if isinstance(raw, dict):
        names = declared_inputs(use)
        key = next((name for name in names if name in raw), None)
        if key is None:
            use.error(
                "no-input",
                use.span,
                f"`{use.name}` is left out and has no first input to hand on",
                "say with `else:` what it hands on",
            )
            return None
        item, path = raw[key], (*use.path, "from", key)
    elif isinstance(raw, list) and raw:
        item, path = raw[0], (*use.path, "from", 0)
    elif raw is MISSING:
        feed = feed_of(use, None)
        return feed.positional[0] if feed.positional else None
    else:
        item, path = raw, (*use.path, "from")
    bounds = use.run.reference(item, path, use.name, use.index)
    return bounds[0] if bounds else None

"""The outputs of a body: the values that they return."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from graphspec.diagnostics import Change, Remedy, certain, nearest
from graphspec.elaborate.body import BodyElaborator
from graphspec.elaborate.lookup import reference
from graphspec.elaborate.references import heads
from graphspec.elaborate.values import FAILED, NOTHING, Resolved
from graphspec.source import Path

if TYPE_CHECKING:
    pass


def read_outputs(body: BodyElaborator) -> dict[str, Resolved]:
    """The values that the outputs of a body are bound to."""
    results: dict[str, Resolved] = {}
    for name, output in body.declared.outputs.items():
        path = body.declared.output_path(name)
        text: Any = output
        if isinstance(output, dict):
            source = output.get("from")
            text = name if source is None else source
            when = body.scope.flag(output.get("when", True), (*path, "when"))
            if when is not True:
                _mark_read(body, text)
                results[name] = FAILED if when is None else NOTHING
                continue
            path = path if source is None else (*path, "from")
        if not _bindable(body, name, text, path):
            results[name] = FAILED
            continue
        items = text if isinstance(text, list) else [text]
        for position, item in enumerate(items):
            where = (*path, position) if isinstance(text, list) else path
            bounds = reference(body, item, where, "")
            if len(bounds) != 1:
                message = f"the output `{name}` is bound to {len(bounds)} values, and takes one"
                help = f"read one instance, `{str(item).partition('.')[0]}.0`, or merge them first"
                body.error("unbound-output", body.declared.document.span(path), message, help)
            key = name if position == 0 else f"{name}.{position}"
            results[key] = bounds[0].value if len(bounds) == 1 else FAILED
    return results


def _mark_read(body: BodyElaborator, text: Any) -> None:
    """Marks the nodes that a left-out output names as used."""
    body.reads.edges.setdefault("", set()).update(heads(text))


def is_unbound(body: BodyElaborator, name: str, output: Any) -> bool:
    """Whether an output that names no node has the name of none."""
    text = output.get("from") if isinstance(output, dict) else output
    return text in (None, name) and not body.has(name)


def _bindable(body: BodyElaborator, name: str, text: Any, path: Path) -> bool:
    """Whether an output without `from` has the name of a node; if not, that is reported."""
    if text != name or path[-1:] == ("from",) or body.has(name):
        return True
    names = [*body.declared.nodes, *body.inputs]
    near = nearest(name, names)
    last = next(reversed(body.declared.nodes), None)
    help = f"name its node with `from`, as `from: {last}`" if last else "name its node with `from`"
    if near:
        change = Change(near, name, safe=certain(name, near, names))
        help = Remedy(f"did you mean `{near}`? Or name its node with `from`", change)
    span = body.declared.document.key(path)
    body.error("unbound-output", span, f"the output `{name}` has no node: no node has that name", help)
    return False

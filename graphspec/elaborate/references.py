"""The references in a body, and the data order of its nodes; nothing is evaluated."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from graphspec.declarations import Body, reads_nothing
from graphspec.expressions import ExpressionError
from graphspec.language.schema import MISSING


def heads(written: Any) -> Iterator[str]:
    """The first names of all references in a raw `from`: `tower` of `tower.2.skip`."""
    if isinstance(written, str):
        yield written.partition(".")[0]
    elif isinstance(written, list | tuple):
        for item in written:
            yield from heads(item)
    elif isinstance(written, dict):
        yield from heads(list(written.values()))


def formula_references(text: str) -> list[str]:
    """The references of a formula; empty if it cannot be parsed."""
    from graphspec.expressions.formula import parse_formula

    try:
        return [reference.text for reference in parse_formula(text).references()]
    except ExpressionError:
        return []


def sources(body: Body) -> dict[str, list[str]]:
    """The nodes and inputs that the text of each node names as its inputs."""
    edges, names = body.edges or {}, body.nodes.keys() | body.inputs.keys()
    sources_by_node: dict[str, list[str]] = {}
    for name, node in body.nodes.items():
        texts: list[Any] = [] if node.source is MISSING else [node.source]
        if node.otherwise is not MISSING:
            texts.append(node.otherwise)
        if isinstance(node.parallel, dict):
            texts.append(node.parallel.get("from"))
        if node.form == "compute":
            texts.append(formula_references(node.compute) if isinstance(node.compute, str) else None)
        elif node.source is MISSING and body.edges is None and not reads_nothing(node):
            texts.append(body.above.get(name))
        texts += [source for source, _ in edges.get(name, ())]
        sources_by_node[name] = [head for head in heads(texts) if head in names]
    return sources_by_node


def order(sources: Mapping[str, Iterable[str]], report_cycle: Callable[[list[str]], None]) -> list[str]:
    """The nodes in data order, as close to file order as possible; `sources` are in file order.

    A cycle goes to `report_cycle`, its first name once more at the end.
    """
    ordered: list[str] = []
    finished: dict[str, bool] = {}  # false while a node's sources are being visited
    in_cycles: set[str] = set()
    for root in sources:
        stack: list[tuple[str, Iterator[str]]] = []
        if root not in finished:
            finished[root] = False
            stack.append((root, iter(sources[root])))
        while stack:
            name, names = stack[-1]
            for source in names:
                if source not in sources:
                    continue
                if source not in finished:
                    finished[source] = False
                    stack.append((source, iter(sources[source])))
                    break
                if not finished[source] and source not in in_cycles:
                    path = [each for each, _ in stack]
                    cycle = path[path.index(source) :]
                    in_cycles.update(cycle)
                    report_cycle([*cycle, source])
            else:
                finished[name] = True
                ordered.append(name)
                stack.pop()
    return ordered

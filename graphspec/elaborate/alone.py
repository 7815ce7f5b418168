"""One node of a text that is elaborated, elaborated again with what its text has become."""

from __future__ import annotations

from copy import copy

from graphspec.declarations import Body, read_named
from graphspec.diagnostics import Diagnostics
from graphspec.elaborate.body import BodyElaborator
from graphspec.elaborate.scope import Scope
from graphspec.graph import Graph
from graphspec.source import Document


def elaborate_alone(before: BodyElaborator, document: Document, name: str, diagnostics: Diagnostics) -> None:
    """Reports what is wrong with the node `name` of a document that has no other. All else is as in the
    body of an elaborated file.
    """
    read: Body = read_named(document, before.declared.title, diagnostics)
    if name not in read.nodes:
        return
    declared = copy(before.declared)
    declared.document, declared.failed = document, before.declared.failed - {name}
    declared.nodes = {**before.declared.nodes, name: read.nodes[name]}
    context = copy(before.context)
    context.diagnostics = diagnostics
    old = before.scope
    graph = Graph(before.graph.definition, before.graph.params, before.graph.declared, before.graph.visible)
    scope = Scope(context, document, old.params, old.unknown, old.lost, bodies=(declared,))
    body = BodyElaborator(
        scope, before.file, declared, graph, before.inputs, before.elaborate_node, before.open_files
    )
    body.results = {other: result for other, result in before.results.items() if other != name}
    body.node(name)

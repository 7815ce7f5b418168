"""Whether a model can go on as `generate:` says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from graphspec.diagnostics import SpecError, did_you_mean
from graphspec.elaborate.body import BodyElaborator
from graphspec.graph import Graph
from graphspec.passes.stream import step_of, streamed_size

if TYPE_CHECKING:
    from graphspec.generate.config import GenerateSettings


def check_generate(body: BodyElaborator, graph: Graph, given: Mapping[str, GenerateSettings]) -> bool:
    """Reports an input or an output that does not exist, and a node that needs later steps."""
    document = body.declared.document
    for name, settings in given.items():
        wanted, outputs = settings.source, graph.outputs
        if name not in graph.inputs:
            help = did_you_mean(name, graph.inputs, f"the inputs: {', '.join(graph.inputs)}")
            span = document.key(("generate", name))
            body.error("unknown-reference", span, f"there is no input `{name}`", help)
            return False
        if wanted is not None and wanted not in outputs:
            help = did_you_mean(wanted, outputs, f"the outputs: {', '.join(outputs)}")
            span = document.span(("generate", name, "from"))
            body.error("unknown-reference", span, f"there is no output `{wanted}`", help)
            return False
        kept = outputs if wanted is None else {wanted: outputs[wanted]}
        try:
            whole = replace(graph, outputs=kept)
            step_of(whole, streamed_size(whole))
        except SpecError as error:
            for diagnostic in error.diagnostics:
                span = diagnostic.span or document.key(("generate", name))
                body.context.diagnostics.add(replace(diagnostic, span=span))
            return False
    return True

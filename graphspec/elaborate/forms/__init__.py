"""Builds the forms of nodes, a file a form, and names facts about a node before it is built.

Forms that few specs use are imported by those.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from graphspec.contract import REGISTRY
from graphspec.contract.layer import Layer
from graphspec.elaborate.body import NodeResult
from graphspec.elaborate.forms import block, call, layer
from graphspec.elaborate.instance import NodeInstance
from graphspec.elaborate.values import FAILED

__all__ = ["build", "first_output", "input_names"]


def build(node: NodeInstance) -> NodeResult:
    """The result of an instance that is not left out."""
    match node.form:
        case "block" | "model":
            return block.build(node)
        case "call":
            return call.build(node, build)
        case "parameter":
            from graphspec.elaborate.forms import parameter

            return parameter.build(node)
        case "state":
            from graphspec.elaborate.forms import state

            return state.build(node)
        case "constant":
            from graphspec.elaborate.forms import constant

            return constant.build(node)
        case "module":
            from graphspec.elaborate.forms import module

            return module.build(node)
        case "compute":
            from graphspec.elaborate.forms import compute

            return compute.build(node)
        case _:
            return layer.build(node, build)


def input_names(node: NodeInstance) -> list[str]:
    """The names of the inputs of a node's target, in order; empty if unknown."""
    form, target = _named(node)
    if form in ("block", "model"):
        target = node.evaluate(target, form)
        located = block.find_body(node, form, target, quiet=True) if target is not FAILED else None
        return list(located[1].inputs) if located else []
    if form == "module":
        return list(node.declared.source) if isinstance(node.declared.source, dict) else []
    known: Mapping[str, type[Layer]] = REGISTRY.get(form, {})  # type: ignore[call-overload]
    cls = known.get(target) if isinstance(target, str) else None
    return [] if cls is None or cls.variadic else [argument.name for argument in cls.arguments]


def first_output(node: NodeInstance) -> str:
    """The name of the first output of a node's target."""
    form, target = _named(node)
    located = block.find_body(node, form, target, quiet=True) if form == "block" else None
    return next(iter(located[1].outputs), "") if located is not None else ""


def _named(node: NodeInstance) -> tuple[str, Any]:
    """The form and target of a node, or of the shared entry that it calls."""
    if node.form != "call":
        return node.form, node.declared.target
    located = call.find_entry(node)
    return (located[1].form, located[1].target) if located is not None else ("", None)

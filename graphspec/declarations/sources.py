"""Nodes without inputs: parameters, constants, and ops that make a tensor only from their arguments."""

from __future__ import annotations

from graphspec.contract import REGISTRY
from graphspec.language.schema import MISSING, Node

SOURCES = ("parameter", "constant", "state")
"""Forms that read nothing."""


def reads_nothing(node: Node) -> bool:
    """Whether a node takes no input, so that it is passed over where one reads the node above."""
    if node.form in SOURCES:
        return True
    if node.form != "op" or node.source is not MISSING or node.op not in REGISTRY["op"]:
        return False
    return bool(REGISTRY["op"][node.op].reads_nothing(node.extra))

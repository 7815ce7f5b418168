"""Params, repeats, blocks and models become a graph, in data order, each op with the types of its outputs."""

from graphspec.elaborate.context import Context
from graphspec.elaborate.program import elaborate

__all__ = ["Context", "elaborate"]

"""Params, repeats, blocks and models become a program, in data order, each op with the types of its outputs.

`root` goes through a file, `body` through its nodes in the order of `references`, `node` from a node to its
instances, `forms` from an instance to an op. `scope` evaluates, `lookup` finds what a name stands for.
"""

from graphspec.contract import argument_names
from graphspec.elaborate.context import Context
from graphspec.elaborate.root import elaborate

__all__ = ["Context", "argument_names", "elaborate"]

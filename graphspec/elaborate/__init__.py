"""Params, repeats, blocks and models become a program, in data order, each op with the types of its outputs.

`root` goes through a file, `body` through its nodes in the order of `references`, `node` from a node to its
instances, `forms` from an instance to an op. `scope` evaluates, `lookup` finds what a name stands for.
"""

from graphspec.contract import argument_names
from graphspec.elaborate.alone import elaborate_alone
from graphspec.elaborate.body import BodyElaborator
from graphspec.elaborate.context import Context, OutOfBudget
from graphspec.elaborate.root import elaborate

__all__ = ["BodyElaborator", "Context", "OutOfBudget", "argument_names", "elaborate", "elaborate_alone"]

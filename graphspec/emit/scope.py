"""The state while the `forward` of one class is written."""

from __future__ import annotations

import ast
from dataclasses import dataclass, field

from graphspec.emit.body import Statement
from graphspec.emit.calls import Calls, Ending, Values
from graphspec.emit.code import Variable
from graphspec.emit.construct import InitWriter
from graphspec.emit.module_class import ModuleClass
from graphspec.emit.slots import SlotOutput
from graphspec.graph import Value
from graphspec.passes.layout import Layout


@dataclass(eq=False, slots=True)
class ForwardScope:
    """The statements so far, and how values are read.

    `masks` is what the program returns in addition to its outputs if logits are requested.
    """

    constructor: InitWriter
    root: bool
    masks: dict[str, Value]
    body: list[Statement] = field(default_factory=list)
    values: Values = field(default_factory=Values)
    parameters: list[Variable] = field(default_factory=list)
    lists: dict[SlotOutput, Variable] = field(default_factory=dict)  # what loops collect
    logits: dict[Value, ast.expr] = field(default_factory=dict)  # how the logits of a value are read
    late: dict[Value, Ending] = field(default_factory=dict)  # activations that are part of the return
    inside: set[Value] = field(default_factory=set)  # what ops read
    ends: dict[Value, int] = field(default_factory=dict)  # the last slot that reads a value
    limits: dict[str, str] = field(
        default_factory=dict
    )  # the code of what sizes must be, where that depends on params

    @property
    def group(self) -> ModuleClass:
        return self.constructor.group

    @property
    def layout(self) -> Layout:
        return self.constructor.classes.layout

    @property
    def calls(self) -> Calls:
        return Calls(self.constructor, self.values, self.lists)

    def last_read(self, value: Value) -> int:
        """The last slot that reads a value; one past the end for returned values."""
        return self.ends.get(value, -1)

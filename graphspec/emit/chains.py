"""Repeated nodes that only call one module after another: an `nn.Sequential`."""

from __future__ import annotations

from typing import Any

from graphspec.contract.activations import LINEAR
from graphspec.emit.classes import Classes
from graphspec.emit.module_class import ModuleClass
from graphspec.emit.slots import Slot


def is_chain(classes: Classes[Any], group: ModuleClass, slot: Slot) -> bool:
    """Whether a slot's instances only feed one another, and only the output of the last is read."""
    op, last = slot.op, slot.ops[-1]
    if not slot.loop or op.repeated != "repeat" or op.wrapper is not None or len(op.outputs) != 1:
        return False
    if len(op.arguments) != 1 or isinstance(op.arguments[0], tuple) or list(slot.carried) != [0]:
        return False
    if op.unit is None or op.unit.shared or any(value in classes.ending for value in last.outputs.values()):
        return False
    if any(classes.reads(group, each.output) != 1 for each in slot.ops[:-1]):
        return False
    peers = list(group.cells(slot.position).values())
    if any(classes.recomputing(each) for each in peers):
        return False
    layout = classes.layout
    if op.graph is not None:
        (name,) = op.graph.inputs
        kinds = {classes.of[each.graph] for each in peers if each.graph is not None}
        if any(kind.is_function or classes.units.borrowed(kind.graph) for kind in kinds):
            return False
        return layout.wants_first(op.graph, name) == (op.output in layout.channels_first)
    codes = [classes.code(each) for each in peers if each.layer is not None]
    if len(codes) != len(peers) or any(code.call != "{self}({x})" or code.constants for code in codes):
        return False
    plain = all(code.construct is not None and code.activation == LINEAR for code in codes)
    return plain and layout.op_first(op) == (op.output in layout.channels_first)

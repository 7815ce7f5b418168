"""A node that the first body of a class leaves out, taken from another body."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from graphspec.emit.group import ModuleClass
from graphspec.emit.slots import Slot, passed_on
from graphspec.graph import Op, Value


def representative(group: ModuleClass, slot: Slot) -> Op:
    """The op of a body that has the node, with the values of the first body."""
    body, other = next(
        (body, slots[slot.position].op)
        for body, slots in enumerate(group.slots)
        if slots[slot.position].op.present
    )
    mapping: dict[Value, Value] = {}
    inputs = zip(group.bodies[body].inputs.values(), map(group.input_of, group.graph.inputs), strict=True)
    mapping.update({theirs: mine for theirs, mine in inputs if theirs is not None and mine is not None})
    for theirs, mine in zip(group.slots[body][: slot.position], group.slots[0], strict=False):
        mapping.update(_matching(theirs, mine))

    def translate(argument: Any) -> Any:
        if isinstance(argument, tuple):
            return tuple(translate(item) for item in argument)
        return mapping[passed_on(argument)] if argument is not None else None

    arguments = tuple(translate(argument) for argument in other.arguments)
    return replace(
        other, arguments=arguments, outputs=dict(slot.op.outputs), inner=other.inner or other.site().inputs
    )


def _matching(theirs: Slot, mine: Slot) -> dict[Value, Value]:
    """The outputs of two bodies' slots: instance by instance, the last to the last."""
    found = {}
    pairs = [*zip(theirs.ops, mine.ops, strict=False), (theirs.ops[-1], mine.ops[-1])]
    for a, b in pairs:
        found.update({value: b.outputs[key] for key, value in a.outputs.items() if key in b.outputs})
        found[a.output] = b.output
    return found

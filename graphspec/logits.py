"""Where an output ends in a softmax or sigmoid, `forward(..., logits=True)` returns that step's input."""

from __future__ import annotations

from graphspec.graph import Op, Value

SKIPPED = ("softmax", "sigmoid")
"""The activations that losses compute from logits."""


def last_step(value: Value) -> Op | None:
    """The op in its own graph whose final activation, or whose inside's, ends this value; left-out nodes
    are looked through.
    """
    op = value.op
    while op is not None and not op.present:
        op = op.inputs[0].op
    return op


def ends_in(value: Value) -> str | None:
    """`softmax` or `sigmoid` where the value's last step is one over the last axis, through blocks, models
    and wrappers.
    """
    op = last_step(value)
    if op is None or op.repeated is not None:
        return None
    if op.graph is not None:
        key = next((k for k, v in op.outputs.items() if v is value or v.tensor is value.tensor), None)
        return ends_in(op.results[key]) if key in op.results else None
    if op.layer is None or len(op.outputs) != 1:
        return None
    activation = op.layer.output_activation()
    return activation if activation in SKIPPED else None

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


def source(value: Value) -> Value:
    """The value itself, or what the left-out nodes before it hand on."""
    while value.op is not None and not value.op.present:
        value = value.op.inputs[0]
    return value


def ends_in(value: Value) -> str | None:
    """`softmax` or `sigmoid` where the value's last step is one over the last axis, through blocks, models
    and wrappers.
    """
    value = source(value)
    op = value.op
    if op is None or op.repeated is not None:
        return None
    if op.graph is not None:
        key = next(key for key, output in op.outputs.items() if output is value)
        return ends_in(op.results[key])
    if op.layer is None or len(op.outputs) != 1:
        return None
    activation = op.layer.output_activation()
    return activation if activation in SKIPPED else None


def ending(value: Value) -> str:
    """What is known of a value's range: the activation that it ends in, `linear` for a layer that applies
    none, `unknown` where the values come from elsewhere, as in an average of probabilities.

    Beyond `ends_in` this sees through repetitions, and, for what is applied to each element alone, through
    layers that only rearrange.
    """
    value = source(value)
    op = value.op
    if op is None:
        return "unknown"
    if op.graph is not None:
        key = next(key for key, output in op.outputs.items() if output is value)
        return ending(op.results[key])
    if op.layer is None:
        return "unknown"
    if op.layer.rearranges:
        before = ending(op.inputs[0])
        return before if before == "sigmoid" else "unknown"
    return op.layer.output_activation() or "unknown"

"""Functions of keras.ops that join tensors. The merges of these names do the same, and carry masks."""

from __future__ import annotations

from typing import Any

from graphspec.layers.merging import Concatenate, Stack


class ConcatenateOperation(Concatenate, kind="op", spec_name="concatenate", also="concat cat"):
    """All tensors one after another along an axis, the last unless said; along others their sizes agree."""

    def mask(self, inputs: tuple[Any, ...], masks: tuple[Any, ...]) -> Any:
        return None


class StackOperation(Stack, kind="op", spec_name="stack"):
    """All tensors, of one shape, along a new axis. Axis 0 is the batch, so the new axis is 1 unless said."""

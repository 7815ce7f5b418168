"""A cell that runs over the steps of sequences, from a state to the next."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from graphspec.contract.wrapper import Wrapper
from graphspec.tensor import Dim, Tensor


class Scanning(Wrapper, abstract=True):
    """A wrapper that runs a cell over steps: `over` names the inputs that are sequences."""

    inside_it = "wraps: {block: cell}, and the block `cell`"

    over: Annotated[tuple[str, ...], Field(strict=False)] | None = None
    """Inputs of the cell that are sequences; by default its first input that is not a state."""


class Scanned(Wrapper, abstract=True):
    """Around a cell. At the places `over` of its inputs are sequences [batch, steps, ...], of which each step
    gets its own; at `states` what the step before gave: the last outputs of the cell, in this order, after
    the `outputs` that are given for all steps.
    """

    passes_on = False
    supports_masking = True

    over: tuple[int, ...]
    states: tuple[int, ...]
    outputs: int

    @property
    def title(self) -> str:
        return "Scan"

    def times(self, *inputs: Any) -> Dim:
        steps: Dim = inputs[self.over[0]].shape[1]
        return steps

    def mask(self, inputs: tuple[Any, ...], masks: tuple[Any, ...]) -> Any:
        return masks[self.over[0]] if self.outputs else None

    def leave(self, output: Tensor, *inputs: Any) -> Tensor:
        """An output of all steps."""
        return output.with_shape(output.shape[0], inputs[self.over[0]].shape[1], *output.shape[1:])

    def leave_code(self) -> str:
        return "scan({y})"

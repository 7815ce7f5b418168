"""Wrappers of weights that differ from example to example."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

from pydantic import Field

from graphspec.contract.fields import Positive
from graphspec.contract.input_checks import need_float
from graphspec.contract.wrapper import Wrapper
from graphspec.diagnostics.foreign_terms import ARGUMENT_WORDS, ARGUMENTS
from graphspec.tensor import Dim, Tensor

WORDS = {"lr": "learning_rate", "inner_lr": "learning_rate", "inner_steps": "steps"}


class Moving(Wrapper, abstract=True):
    """A wrapper that knows the weights of what it wraps as one vector for each example, [batch, weights], in
    the order of the state dict.
    """

    exports = False


class Stepping(Moving, abstract=True):
    """A wrapper that gives how far steps of gradient descent move weights."""

    passes_on = False
    synonyms: ClassVar[Mapping[str, str]] = {**ARGUMENT_WORDS, **WORDS}
    remedies: ClassVar[Mapping[str, str]] = {k: v for k, v in ARGUMENTS.items() if k not in WORDS}

    of: str | None = None
    """Shared entry whose weights move; by default that which it wraps."""
    learning_rate: Annotated[float, Field(gt=0, repr=False)] = 0.01
    """Factor of the gradient in a step."""
    steps: Annotated[Positive, Field(repr=False)] = 1
    """Steps of gradient descent."""


class Stepped(Stepping, abstract=True, spec_name="GradientSteps"):
    """Around a loss. `lent` says that the weights are those of the shared entry `of`, which the loss calls;
    else they are its own. There are so many `weights`.
    """

    lent: bool
    weight_count: Annotated[int, Field(repr=False)]

    def leave(self, output: Tensor, *inputs: Any) -> Tensor:
        need_float(output, layer="GradientSteps")
        batch = next((x.shape[0] for x in inputs if isinstance(x, Tensor) and x.shape[0] != 1), 1)
        return Tensor((batch, self.weight_count), "float32")

    def leave_code(self) -> str:
        return "gradient_steps({y})"

    def times(self, *inputs: Any) -> Dim:
        return 3 * self.steps


class Moved(Moving, abstract=True, spec_name="MovedWeights"):
    """Around what is called with other weights; their change is its last argument."""

    def leave_code(self) -> str:
        return "with_weights_moved({y})"

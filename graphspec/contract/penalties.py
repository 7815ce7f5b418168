"""The families of Keras' regularizers and constraints. `regularizers.py` and `constraints.py` have their
members, and `train/penalties.py` applies them.

Axes are those of the weight as Keras stores it: 0 is a Dense kernel's input.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from graphspec.contract.named import NamedValue

Factor = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class Regularizer(NamedValue, family="regularizer"):
    """A penalty on a weight, added to the loss."""

    def misfit(self, rank: int) -> str | None:
        """Why it takes no weight of so many axes, if it takes none."""
        return None


class Constraint(NamedValue, family="constraint"):
    """Constrains a weight after each step."""

    def misfit(self, rank: int) -> str | None:
        """Why it takes no weight of so many axes, if it takes none."""
        axis = getattr(self, "axis", ())
        axes = axis if isinstance(axis, tuple) else (axis,)
        absent = next((axis for axis in axes if not -rank <= axis < rank), None)
        if absent is not None:
            return f"`{self.word}` counts norms along axis {absent}, and this weight has {count_axes(rank)}"
        if len({axis % rank for axis in axes}) < len(axes):
            return f"`{self.word}` names an axis twice"
        return None


def count_axes(count: int) -> str:
    """`2 axes`, in a message."""
    return "1 axis" if count == 1 else f"{count} axes"

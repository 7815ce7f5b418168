"""The settings of an output's rows. They are apart from the features: specs without data have outputs."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from graphspec.settings import Setting, validate

Weight = Annotated[float, Field(ge=0)]
Name = Annotated[str, Field(min_length=1)]


class RowSettings(Setting):
    """The rows that judge an output, and how much its loss counts. Classes are named by their value."""

    phrases: ClassVar = {
        "class_weight": "class_weight: balanced`, or `class_weight: {CLASS: 2}",
        "missing": "missing: ignore",
        "target": "target: COLUMN",
        "sample_weight": "sample_weight: COLUMN",
    }

    loss_weight: float | Literal["learned"] = 1.0
    """Weight of the loss in the sum, which may vary; `learned` weights by uncertainty.

    Example: {loss: mse, loss_weight: 0.3}
    """
    target: Name | None = None
    """Column or array of the targets; by default the name of the output.

    Example: {loss: mse, target: price}
    """
    missing: Literal["error", "ignore"] = "error"
    """`ignore` leaves out rows without a target.

    Example: {loss: mse, missing: ignore}
    """
    class_weight: Literal["balanced"] | Annotated[dict[str, Weight], Field(min_length=1)] | None = None
    """Weight of each class: `balanced`, or a mapping in which absent values weigh 1.

    Example: {loss: binary_crossentropy, class_weight: balanced}
    """
    sample_weight: Name | None = None
    """Column with the weight of each row.

    Example: {loss: mse, sample_weight: weight}
    """
    threshold: Annotated[float, Field(ge=0, le=1)] = 0.5
    """Probability from which `predict` counts a value as present.

    Example: {loss: binary_crossentropy, threshold: 0.3}
    """

    @property
    def weighted(self) -> bool:
        return self.class_weight is not None or self.sample_weight is not None


def parse_row_settings(value: dict[str, object], what: str) -> RowSettings:
    """The settings of an output; null is as if a key were not there. Raises `SettingError` with every
    problem.
    """
    settings = {key: item for key, item in value.items() if item is not None}
    return validate(RowSettings, settings, what) if settings else RowSettings.model_construct()

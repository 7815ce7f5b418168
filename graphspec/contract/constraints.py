"""Keras' constraints, as a spec writes them."""

from __future__ import annotations

from typing import Annotated

from pydantic import BeforeValidator, Field

from graphspec.contract.fields import as_tuple
from graphspec.contract.penalties import Constraint, Factor

Axes = Annotated[int | tuple[int, ...], BeforeValidator(as_tuple)]


class NonNeg(Constraint, word="non_neg"):
    """No element below 0."""


class MaxNorm(Constraint, word="max_norm"):
    """Norms along `axis` of at most `max_value`."""

    max_value: Factor = 2.0
    """Largest norm."""
    axis: Axes = 0
    """Axis, or axes, whose elements make a norm."""


class UnitNorm(Constraint, word="unit_norm"):
    """Norms along `axis` of 1."""

    axis: Axes = 0
    """Axis, or axes, whose elements make a norm."""


class MinMaxNorm(Constraint, word="min_max_norm"):
    """Norms along `axis` between `min_value` and `max_value`; `rate` is the share corrected in each step."""

    min_value: Factor = 0.0
    """Smallest norm."""
    max_value: Factor = 1.0
    """Largest norm."""
    rate: Annotated[float, Field(ge=0, le=1)] = 1.0
    """Share of the distance to the bound that each step corrects."""
    axis: Axes = 0
    """Axis, or axes, whose elements make a norm."""

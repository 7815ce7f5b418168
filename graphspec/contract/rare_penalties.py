"""Keras' regularizers and constraints, as a spec writes them. The file is imported when a spec names one."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from graphspec.contract.fields import as_tuple
from graphspec.contract.penalties import Constraint, Factor, Regularizer, count_axes

Axes = Annotated[int | tuple[int, ...], BeforeValidator(as_tuple)]


class L1(Regularizer, word="l1"):
    """`l1` times the sum of absolute values."""

    l1: Factor = 0.01


class L2(Regularizer, word="l2"):
    """`l2` times the sum of squares."""

    l2: Factor = 0.01


class L1L2(Regularizer, word="l1_l2", aliases=("l1l2",)):
    """Both."""

    l1: Factor = 0.0
    l2: Factor = 0.0


class OrthogonalRegularizer(Regularizer, word="orthogonal_regularizer", aliases=("orthogonal",)):
    """`factor` times the mean absolute cosine between the rows, or the columns, of a matrix."""

    factor: Factor = 0.01
    mode: Literal["rows", "columns"] = "rows"

    def misfit(self, rank: int) -> str | None:
        return f"`{self.word}` takes a matrix, and this has {count_axes(rank)}" if rank != 2 else None


class NonNeg(Constraint, word="non_neg"):
    """No element below 0."""


class MaxNorm(Constraint, word="max_norm"):
    """Norms along `axis` of at most `max_value`."""

    max_value: Factor = 2.0
    axis: Axes = 0


class UnitNorm(Constraint, word="unit_norm"):
    """Norms along `axis` of 1."""

    axis: Axes = 0


class MinMaxNorm(Constraint, word="min_max_norm"):
    """Norms along `axis` between `min_value` and `max_value`; `rate` is the share corrected in each step."""

    min_value: Factor = 0.0
    max_value: Factor = 1.0
    rate: Annotated[float, Field(ge=0, le=1)] = 1.0
    axis: Axes = 0

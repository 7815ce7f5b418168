"""Keras' regularizers, as a spec writes them."""

from __future__ import annotations

from typing import Literal

from graphspec.contract.penalties import Factor, Regularizer, count_axes


class L1(Regularizer, word="l1"):
    """`l1` times the sum of absolute values."""

    l1: Factor = 0.01


class L2(Regularizer, word="l2"):
    """`l2` times the sum of squares."""

    l2: Factor = 0.01


class L1L2(Regularizer, word="l1_l2", aliases="l1l2"):
    """Both."""

    l1: Factor = 0.0
    l2: Factor = 0.0


class OrthogonalRegularizer(Regularizer, word="orthogonal_regularizer", aliases="orthogonal"):
    """`factor` times the mean absolute cosine between the rows, or the columns, of a matrix."""

    factor: Factor = 0.01
    """Factor of the penalty."""
    mode: Literal["rows", "columns"] = "rows"
    """The orthogonal vectors: the rows, or the columns."""

    def misfit(self, rank: int) -> str | None:
        return f"`{self.word}` takes a matrix, and this has {count_axes(rank)}" if rank != 2 else None

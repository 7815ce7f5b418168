"""The functions of encoders: operators and a few functions, of arrays or of a single number.

Those of torch's tensors and of graphs of ONNX are where these are imported.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

Function = Callable[..., Any]


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Functions:
    """Functions on values of one kind, called as numpy calls them."""

    where: Function
    isnan: Function
    clip: Function
    sqrt: Function
    log1p: Function
    expm1: Function
    sin: Function
    cos: Function
    interp: Function
    number: Function
    """Whole numbers as doubles."""
    refuse: Function
    """`refuse(x, mask, reason)` is `x`, or ends the work where the mask is true."""


def _quiet(function: Function) -> Function:
    def call(x: Any) -> Any:
        with np.errstate(invalid="ignore", divide="ignore"):  # of what the encoder refuses, with its row
            return function(x)

    return call


def _refuse(x: float, mask: bool, reason: str) -> float:
    if mask:
        raise ArithmeticError(reason)
    return x


def _single(function: Function) -> Function:
    """numpy's function of one number: to the bit as of arrays, which Python's own is not."""
    return lambda *arguments: float(function(*arguments))


ARRAYS = Functions(
    np.where,
    np.isnan,
    np.clip,
    _quiet(np.sqrt),
    _quiet(np.log1p),
    np.expm1,
    np.sin,
    np.cos,
    np.interp,
    lambda x: x.astype(np.float64),
    lambda x, mask, reason: x,
)
ONE = Functions(
    lambda mask, yes, no: yes if mask else no,
    math.isnan,
    lambda x, low, high: min(max(x, low), high),
    math.sqrt,
    _single(np.log1p),
    _single(np.expm1),
    _single(np.sin),
    _single(np.cos),
    _single(np.interp),
    float,
    _refuse,
)
"""Of one number, in plain Python: several times as fast as arrays of one."""

"""Failures of an export, as diagnostics."""

from __future__ import annotations

import errno
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from graphspec.diagnostics import fail
from graphspec.diagnostics.text import first_line

if TYPE_CHECKING:
    from graphspec.program import Program

FAILURES = (
    RuntimeError,
    ValueError,
    TypeError,
    AssertionError,
    AttributeError,
    LookupError,
    ArithmeticError,
    OSError,
)
"""Errors of tracing, writing and reading for a module that they cannot take: they promise no class of their
own.
"""

OF_DISKS = (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS)
"""Errors that say nothing of the module."""
_LACKING = re.compile(r"No ONNX function found for <OpOverload\(op='([\w.]+)'")


@contextmanager
def failing(
    program: Program, what: str, failures: tuple[type[BaseException], ...] = FAILURES
) -> Iterator[None]:
    """Turns `failures` into a diagnostic (export-failed) at the node whose emitted line raised one.
    Raises `OSError` where a disk failed.
    """
    try:
        yield
    except failures as error:
        root: BaseException = error  # torch wraps what was raised in advice for its own developers
        while root.__cause__ is not None:
            root = root.__cause__
        if isinstance(root, OSError) and root.errno in OF_DISKS:
            raise root from None
        place = program.place_of(root) or program.place_of(error)
        lacking = _LACKING.match(str(root))
        why = f"ONNX has no operator for PyTorch's `{lacking[1]}`" if lacking else first_line(root)
        help = "`--format pt2` writes it: that is PyTorch's own" if lacking else None
        raise fail("export-failed", f"{what}: {why}", help, span=place) from error

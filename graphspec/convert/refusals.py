"""Errors of an import: coded diagnostics without a place, since a binary file has no lines."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from graphspec.diagnostics import fail


class Unsupported(Exception):
    """Raised for a part of a model that the language cannot express; the translator adds the layer.

    `code` is a diagnostic's, `help` says what to write instead.
    """

    def __init__(self, message: str, help: str, code: str = "import-unsupported"):
        super().__init__(message)
        self.message, self.help, self.code = message, help, code


@contextmanager
def as_keras_writes() -> Iterator[None]:
    """A context in which the parts of a config are assumed to exist with Keras' types."""
    try:
        yield
    except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError, RecursionError) as error:
        message = f"the config is not what Keras writes: {type(error).__name__}: {str(error)[:200]}"
        raise fail("import-format", message) from error

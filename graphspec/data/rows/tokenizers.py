"""Texts to the ids of a tokenizer of the tokenizers library, which is imported when one is read."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from graphspec.diagnostics import SpecError, fail
from graphspec.diagnostics.packages import needing
from graphspec.diagnostics.text import first_line


def library() -> Any:
    """The tokenizers library. Raises `SpecError` where it is not installed."""
    with needing("`encode: text`", "text"):
        import tokenizers
    return tokenizers


@contextmanager
def working() -> Iterator[None]:
    """Turns what a tokenizer of a file does that does not work into `SpecError` (data-format): the library
    raises `Exception`, and of some patterns a panic, which derives from none.
    """
    try:
        yield
    except BaseException as error:
        if not _is_of_library(error):
            raise
        raise _told(error) from error


def _is_of_library(error: BaseException) -> bool:
    return isinstance(error, Exception) or type(error).__name__ == "PanicException"


def _told(error: BaseException) -> SpecError:
    return fail("data-format", f"the tokenizer does not work: {first_line(error)}", "train again")


class TextIds:
    """The ids of a text or, with `types`, to which text of a pair each belongs. Raises `SpecError`."""

    def __init__(self, tokenizer: Any, types: bool):
        self.tokenizer, self.types = tokenizer, types

    def __call__(self, *texts: str | None) -> list[int]:
        try:
            encoded = self.tokenizer.encode(*texts)
        except BaseException as error:  # a context around each text would cost as much as to encode it
            if not _is_of_library(error):
                raise
            raise _told(error) from error
        return self.of(encoded)

    def of(self, encoded: Any) -> list[int]:
        """The ids, or the types of ids, of an encoded text."""
        ids: list[int] = encoded.type_ids if self.types else encoded.ids
        return ids

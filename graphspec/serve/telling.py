"""Events for one request for texts, as the batch makes them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from graphspec.diagnostics import Diagnostic
from graphspec.serve.http import Gone, Rejected

if TYPE_CHECKING:
    from graphspec.generate.batch import TokenLogs


@dataclass(frozen=True, slots=True)
class Said:
    """The text that a token adds to the text of this number in its request, and why it was the last one, if
    it was.
    """

    index: int
    text: str
    ended: str | None = None
    likely: TokenLogs | None = None
    """How likely the token was, where the request wants to know."""


class Telling:
    """Of each token of some texts what it says; `count` gets the reason for which each ends."""

    def __init__(self, numbers: Iterable[int], count: Callable[[str], None]):
        self.open = set(numbers)
        """Those that go on."""
        self.queue: asyncio.Queue[Said | Diagnostic | None] = asyncio.Queue()
        self._count = count

    async def next(self) -> Said:
        """The next one. Raises `Gone` after `close`, and `Rejected` where the module fails."""
        found = await self.queue.get()
        if found is None:
            raise Gone
        if isinstance(found, Diagnostic):
            raise Rejected(500, found.message, code=found.code)
        return found

    def end(self, index: int, reason: str) -> None:
        """Ends a text before its last token."""
        if index in self.open:
            self.open.discard(index)
            self._count(reason)

    def close(self) -> None:
        """Ends what is open: nobody waits for it."""
        for index in list(self.open):
            self.end(index, "left")
        self.queue.put_nowait(None)

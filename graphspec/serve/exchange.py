"""The texts of one request, for as long as its client is there."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from typing import TYPE_CHECKING

from graphspec.serve.asked import Stops
from graphspec.serve.http import Request
from graphspec.serve.telling import Said, Telling

if TYPE_CHECKING:
    from graphspec.generate.batch import Going, TokenLogs


class Exchange:
    """The texts of one request as they grow, by their numbers. They end where the client leaves."""

    def __init__(
        self,
        request: Request,
        telling: Telling,
        prompts: Sequence[Going],
        samples: int,
        stops: Sequence[str],
    ):
        self.telling = telling
        self.texts, self.tokens = [""] * len(prompts), [0] * len(prompts)
        self.ended: list[str | None] = [None] * len(prompts)
        self.likely: list[list[tuple[int, TokenLogs]]] = [[] for _ in prompts]
        """How likely the tokens of each text are, with the places in it where they begin."""
        self._made = [0] * len(prompts)
        """The length of each text, what is not said of it, too."""
        self.given = sum(len(each.prompt) for each in prompts[::samples])
        """Tokens of prompts, each once."""
        self._stops = [Stops(stops) for _ in prompts]
        self._first: Said | None = None
        self._gone = asyncio.ensure_future(request.gone())
        self._gone.add_done_callback(lambda _: telling.close())

    def close(self) -> None:
        self._gone.cancel()

    async def begin(self) -> None:
        """Waits for the first token. Raises `Gone`, and `Rejected`."""
        try:
            self._first = await self.telling.next()
        except BaseException:
            self.close()
            raise

    async def said(self) -> AsyncGenerator[Said]:
        """Of each token what it adds to its text. Raises `Gone`, and `Rejected`."""
        try:
            said = self._first or await self.telling.next()
            while True:
                yield self._added(said)
                if all(self.ended):
                    return
                said = await self.telling.next()
        finally:
            self.close()

    def _added(self, said: Said) -> Said:
        stops = self._stops[said.index]
        piece = stops.add(said.text, said.ended is not None)
        ended = "stop" if stops.found else said.ended
        if ended == "stop":
            self.telling.end(said.index, ended)
        self.texts[said.index] += piece
        if said.likely is not None:
            self.likely[said.index].append((self._made[said.index], said.likely))
        self._made[said.index] += len(said.text)
        self.tokens[said.index] += 1
        self.ended[said.index] = ended
        return Said(said.index, piece, ended)

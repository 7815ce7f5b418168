"""Texts of several clients that go on together: they join the batch of their run, and leave it, between two
tokens.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from graphspec.diagnostics import Diagnostic
from graphspec.diagnostics.text import first_line
from graphspec.generate.batch import Going, GoingBatch
from graphspec.generate.generating import Maker
from graphspec.generate.texts import Pieces
from graphspec.serve.counts import ServerCounts
from graphspec.serve.http import Rejected
from graphspec.serve.options import ServeOptions
from graphspec.serve.telling import Said, Telling


@dataclass(slots=True, eq=False)
class Text:
    """A text that waits or goes on."""

    telling: Telling
    going: Going
    pieces: Pieces

    @property
    def is_open(self) -> bool:
        return self.going.number in self.telling.open


class Continuer:
    """The texts of a run. All but the computing thread belongs to the event loop."""

    def __init__(
        self, name: str, maker: Maker, limits: ServeOptions, counts: ServerCounts, thread: ThreadPoolExecutor
    ):
        self.name, self.maker, self.limits, self.counts = name, maker, limits, counts
        self.waiting: deque[Text] = deque()
        self.running: list[Text] = []
        self._thread = thread
        self._batch = GoingBatch(maker.scorer)
        self._task: asyncio.Task[None] | None = None

    def need_room(self, count: int) -> None:
        """Raises `Rejected` where so many texts never fit, or not now."""
        most = self.limits.max_texts + self.limits.max_waiting
        if count > most:
            message = f"the request is for {count:,} texts; at most {most:,} go on or wait at a time"
            raise Rejected(413, message, help="ask for fewer, or start the server with more `--max-waiting`")
        self.waiting = deque(each for each in self.waiting if each.is_open)
        if len(self.waiting) + len(self.running) + count > most:
            message = f"{most:,} texts go on or wait already, the limit of the server"
            raise Rejected(503, message, {"retry-after": "1"}, help="ask again a second later")

    def begin(self, prompts: Sequence[Going]) -> Telling:
        """Lets texts join as soon as there is room. Raises `Rejected` where they never fit, or not now."""
        size = self.maker.scorer.state_bytes(prompts)
        if size > self.limits.max_states:
            message = (
                f"the states of the text take {size:,} bytes; at most {self.limits.max_states:,} are held"
            )
            help = "ask for fewer tokens, or start the server with more `--max-states`"
            raise Rejected(413, message, help=help)
        self.need_room(len(prompts))
        telling = Telling((each.number for each in prompts), self._ended)
        self.waiting += [Text(telling, each, Pieces(self.maker.texts, each.ids)) for each in prompts]
        if self._task is None:
            self._task = asyncio.ensure_future(self._run())
        return telling

    def _ended(self, reason: str) -> None:
        self.counts.texts[self.name, reason] += 1

    def _admitted(self) -> list[Text]:
        """The oldest of those that wait, as many as there is room for."""
        joining: list[Text] = []
        going = [each.going for each in self.running]
        while self.waiting:
            text = self.waiting[0]
            if text.is_open and going and self._is_full([*going, text.going]):
                break
            self.waiting.popleft()
            if text.is_open:
                joining.append(text)
                going.append(text.going)
        return joining

    def _is_full(self, sequences: Sequence[Going]) -> bool:
        """Whether so many are more than go on together, or their states larger than is held."""
        count, limits = len(sequences), self.limits
        return (
            count > limits.max_texts or count * self.maker.scorer.state_bytes(sequences) > limits.max_states
        )

    async def _run(self) -> None:
        """Until nothing goes on."""
        while True:
            left = [each.going for each in self.running if not each.is_open]
            self.running = [each for each in self.running if each.is_open]
            joining = self._admitted()
            if not joining and not self.running:
                self._batch = GoingBatch(self.maker.scorer)
                self._task = None
                return
            self.running += joining
            self.counts.tokens[self.name, "prompt"] += sum(len(each.going.prompt) for each in joining)
            call = asyncio.get_running_loop().run_in_executor
            made = await call(self._thread, self._round, left, joining, list(self.running))
            for text, said in made:
                self._tell(text, said)

    def _tell(self, text: Text, said: Said | Diagnostic) -> None:
        if not text.is_open:  # its client has left meanwhile
            return
        self.counts.tokens[self.name, "made"] += isinstance(said, Said)
        ended = "failed" if isinstance(said, Diagnostic) else said.ended
        if ended is not None:
            text.telling.end(text.going.number, ended)
        text.telling.queue.put_nowait(said)

    # --- in the thread

    def _round(
        self, left: Collection[Going], joining: Sequence[Text], running: Sequence[Text]
    ) -> list[tuple[Text, Said | Diagnostic]]:
        """A token of each text. Where the module fails with those that join, these have failed."""
        try:
            self._batch.leave(left)
            self._batch.advance()
            failed = self._joined(joining)
            made = {going for going, _ in self._batch.draw()}
            pieces = [(text, self._said(text)) for text in running if text.going in made]
        except Exception as error:
            self._batch = GoingBatch(self.maker.scorer)
            return [(text, _failure(error)) for text in running]
        return [*failed, *pieces]

    def _joined(self, joining: Sequence[Text]) -> list[tuple[Text, Said | Diagnostic]]:
        """Those that do not work: where some fail together, each is tried alone."""
        if not joining:
            return []
        try:
            self._batch.join([each.going for each in joining])
        except Exception as error:
            if len(joining) == 1:
                return [(joining[0], _failure(error))]
            return [each for text in joining for each in self._joined([text])]
        return []

    @staticmethod
    def _said(text: Text) -> Said:
        going = text.going
        piece = "" if going.ended == "end" else text.pieces.add(going.ids[-1])
        rest = text.pieces.add(None) if going.ended is not None else ""
        likely = going.likely[-1] if going.likely and going.ended != "end" else None
        return Said(going.number, piece + rest, going.ended, likely)


def _failure(error: BaseException) -> Diagnostic:
    return Diagnostic("run-failed", f"running the module fails: {first_line(error)}", None)

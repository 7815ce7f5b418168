"""Samples that a run makes of noise, over HTTP: `/generate` of such a run."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from concurrent.futures import Executor
from typing import Annotated, Any, ClassVar

from pydantic import Field

from graphspec.diagnostics import SpecError, by_word
from graphspec.generate.loop_config import Count
from graphspec.serve.counts import ServerCounts
from graphspec.serve.http import Answer, Rejected, Request
from graphspec.serve.limits import OpenRequests
from graphspec.serve.options import ServeOptions
from graphspec.serve.served import Served
from graphspec.settings import Setting

PNG = "image/png"
LATE = "ask for fewer samples or steps, or start the server with a longer `--timeout`"
TOGETHER = 64
"""Samples that are made at a time."""


class SampleRequest(Setting):
    """A request for samples."""

    samples: Count = 1
    """Number of samples, or of each row."""
    rows: dict[str, Any] | list[dict[str, Any]] | None = None
    """Values that samples are made for: a row, or several."""
    steps: Count | None = None
    """Number of steps; by default that of the spec."""
    seed: Annotated[int, Field(ge=0)] | None = None
    """Seed of what is drawn; by default that of the spec."""

    synonyms: ClassVar = by_word(samples="n count num_images", rows="row prompt condition", steps="num_steps")


class SamplePath:
    """Answers requests for samples, one after another in a thread."""

    def __init__(self, limits: ServeOptions, open: OpenRequests, counts: ServerCounts, thread: Executor):
        self.limits, self.open, self.counts, self._thread = limits, open, counts, thread
        self._waiting = 0

    async def generate(self, request: Request, served: Served, asked: SampleRequest) -> Answer:
        """Arrays as JSON, or where `Accept` asks for it a picture."""
        samples = served.samples
        assert samples is not None
        rows = asked.rows if isinstance(asked.rows, list) else [asked.rows]
        count, drawn = asked.samples * len(rows), PNG in request.headers.get("accept", "")
        if count > self.limits.max_rows:
            message = f"the request is for {count:,} samples; at most {self.limits.max_rows:,} are made"
            raise Rejected(413, message, help="ask for fewer, or start the server with more `--max-rows`")
        if (asked.steps or 1) > self.limits.max_tokens:
            message = f"the request is for {asked.steps:,} steps; at most {self.limits.max_tokens:,} are made"
            raise Rejected(413, message, help="ask for fewer, or start the server with more `--max-tokens`")
        if self._waiting >= self.limits.max_waiting:
            message = f"{self._waiting:,} requests for samples wait already, the limit"
            raise Rejected(503, message, {"retry-after": "1"}, help="ask again a second later")
        try:
            if drawn:
                samples.need_picture()
            maker = samples.asked(asked.steps, asked.seed)
            given = maker.read(asked.rows, asked.samples)
        except SpecError as error:
            raise Rejected.of(error) from None
        gone = threading.Event()
        self._waiting += 1
        try:
            with self.open.timed(request, LATE):
                loop = asyncio.get_running_loop()
                made: Sequence[Any] = await loop.run_in_executor(
                    self._thread, lambda: list(maker.make(given, TOGETHER, gone.is_set))
                )
        finally:
            self._waiting -= 1
            gone.set()
        self.counts.rows[served.name, "predicted"] += len(made)
        if drawn:
            try:
                return Answer(200, await asyncio.to_thread(maker.png, made), PNG)
            except SpecError as error:  # of samples of several sizes
                raise Rejected.of(error) from None
        return Answer.json({"samples": [each.tolist() for each in made]})

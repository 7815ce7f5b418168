"""Texts that go on, over HTTP: `/generate`, and the completions API for clients of that."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, TypeVar
from weakref import WeakKeyDictionary

from graphspec.diagnostics import Diagnostic, SpecError, fail
from graphspec.generate.choosing import chosen
from graphspec.serve.asked import CompletionRequest, GenerateRequest
from graphspec.serve.completions import TextCompletion
from graphspec.serve.counts import ServerCounts
from graphspec.serve.exchange import Exchange
from graphspec.serve.http import Answer, Events, Gone, Rejected, Request, encode, value_of
from graphspec.serve.limits import OpenRequests
from graphspec.serve.options import ServeOptions
from graphspec.serve.samples import SamplePath, SampleRequest
from graphspec.serve.served import Served
from graphspec.settings import Setting, SettingError, validate

if TYPE_CHECKING:
    from graphspec.generate.batch import Going
    from graphspec.generate.generating import Maker
    from graphspec.serve.going import Continuer

EVENTS = "text/event-stream"
LATE = "ask again later, or start the server with a longer `--timeout` or more `--max-texts`"
"""Remedy where the first token did not come in time."""
SettingT = TypeVar("SettingT", bound=Setting)


class TextPaths:
    """Answers requests for texts. `find` gives the run of a request."""

    def __init__(
        self,
        runs: Mapping[str, Served],
        limits: ServeOptions,
        open: OpenRequests,
        counts: ServerCounts,
        find: Callable[[Request], Served],
    ):
        self.runs, self.limits, self.open, self.counts, self.find = runs, limits, open, counts, find
        self._continuers: WeakKeyDictionary[Served, Continuer] = WeakKeyDictionary()
        self._thread = ThreadPoolExecutor(1, "graphspec-generate")
        self._samples = SamplePath(limits, open, counts, self._thread)

    def close(self) -> None:
        """Ends the thread after what it computes."""
        self._thread.shutdown()

    @property
    def going(self) -> dict[str, int]:
        """How many texts are at hand."""
        all = list(self._continuers.values())
        return {
            "running": sum(len(each.running) for each in all),
            "waiting": sum(len(each.waiting) for each in all),
        }

    # --- in our words

    async def generate(self, request: Request) -> Answer:
        served = self.find(request)
        if served.samples is not None:
            return await self._samples.generate(request, served, await self._asked(request, SampleRequest))
        asked = await self._asked(request, GenerateRequest)
        single = isinstance(asked.prompt, str) and asked.samples == 1
        prompts = [asked.prompt] if isinstance(asked.prompt, str) else asked.prompt
        exchange = await self._begun(request, served, asked.settings(), prompts, asked.samples)
        if EVENTS in request.headers.get("accept", ""):
            return Events(200, b"", events=_events(exchange))
        async for _ in exchange.said():
            pass
        parts = zip(exchange.texts, exchange.tokens, exchange.ended, strict=True)
        texts = [{"text": text, "tokens": tokens, "ended": ended} for text, tokens, ended in parts]
        return Answer.json(texts[0] if single else {"texts": texts})

    # --- in those of the completions API

    async def completions(self, request: Request) -> Answer:
        asked = await self._asked(request, CompletionRequest)
        request.run = asked.model
        served, lacking = self.find(request), asked.lacking()
        if lacking is not None:
            beside = " with `logprobs`" if lacking == "echo" else ""
            message, help = f"`{lacking}`{beside} is not supported", f"leave out `{lacking}`"
            raise Rejected(422, message, help=help, code="not-supported")
        given, maker = asked.settings(), self._maker(served)
        if "seed" not in given and "seed" not in maker.settings.model_fields_set:
            given["seed"] = secrets.randbelow(2**31)
        exchange = await self._begun(
            request, served, given, asked.prompts, asked.n or 1, asked.stops, asked.logprobs
        )
        prompts = [p if isinstance(p, str) else maker.prompt_texts.text(p) for p in asked.prompts]
        echoed = [prompt for prompt in prompts for _ in range(asked.n or 1)]
        completion = TextCompletion(asked, exchange, echoed, maker.texts)
        if asked.stream:
            return Events(200, b"", events=completion.events())
        async for _ in exchange.said():
            pass
        return Answer.json(completion.whole())

    async def models(self, request: Request) -> Answer:
        names = [name for name, each in self.runs.items() if each.maker is not None]
        about = {"object": "model", "created": 0, "owned_by": "graphspec"}
        if request.run:
            self._maker(self.find(request))
            return Answer.json({"id": request.run, **about})
        return Answer.json({"object": "list", "data": [{"id": name, **about} for name in names]})

    # --- both

    async def _asked(self, request: Request, form: type[SettingT]) -> SettingT:
        """Reads a request in this form. Its time goes on until it begins."""
        request.plain_json()
        with self.open.timed(request, LATE):
            body = await request.body(self.limits.max_bytes, self.open.hold)
        try:
            return validate(form, value_of(body), "the request")
        except SettingError as error:
            told = [Diagnostic(each.code, each.message, None, help=each.help) for each in error.problems]
            raise Rejected.of(SpecError(told)) from None

    async def _begun(
        self,
        request: Request,
        served: Served,
        given: Mapping[str, Any],
        prompts: Sequence[str | list[int]],
        samples: int,
        stops: Sequence[str] = (),
        told: int | None = None,
    ) -> Exchange:
        """The texts of a request, whose first token is there."""
        maker = self._maker(served)
        self._continuer(served).need_room(len(prompts) * samples)  # before anything is made of them
        with self.open.timed(request, LATE):
            try:  # in a thread, as long prompts take their time
                going = await asyncio.to_thread(self._sequences, maker, given, prompts, samples)
            except SpecError as error:
                raise Rejected.of(error) from None
            for each in going:
                each.told = told
            exchange = Exchange(request, self._continuer(served).begin(going), going, samples, stops)
            await exchange.begin()
        return exchange

    def _maker(self, served: Served) -> Maker:
        if served.maker is None:
            raise Rejected(
                404, f"the run `{served.name}` makes no texts", help=served.silent, code="not-causal"
            )
        return served.maker

    def _continuer(self, served: Served) -> Continuer:
        found = self._continuers.get(served)
        if found is None:
            from graphspec.serve.going import Continuer

            maker = self._maker(served)
            found = Continuer(served.name, maker, self.limits, self.counts, self._thread)
            self._continuers[served] = found
        return found

    def _sequences(
        self, maker: Maker, given: Mapping[str, Any], prompts: Sequence[str | list[int]], samples: int
    ) -> list[Going]:
        """The sequences that a request begins, by their numbers. Raises `SpecError`, and `Rejected`."""
        other = next((key for key in ("from", "beams") if given.get(key, 1) != 1), None)
        if other is not None:
            help = f"leave out `{other}`, which is for `graphspec generate`"
            raise fail("not-supported", f"a server has no `{other}`", help)
        length = given.get("length", min(maker.settings.length, self.limits.max_tokens))
        if length > self.limits.max_tokens:
            message = f"the request is for {length:,} tokens; at most {self.limits.max_tokens:,} are made"
            help = "ask for fewer, or start the server with more `--max-tokens`"
            raise fail("out-of-range", message, help)
        _, settings = chosen(maker.program, {**given, "length": length, "beams": 1})
        ids = maker.ids(prompts)
        if not ids:
            raise fail("prompt-misfit", "the request has no prompt", "give at least one")
        each = [one for one in ids for _ in range(samples)]
        return [maker.sequence(one, number, settings) for number, one in enumerate(each)]


async def _events(exchange: Exchange) -> AsyncGenerator[str]:
    """Of each token what it says; in the end of a text, why it has ended."""
    try:
        async for said in exchange.said():
            if said.text or said.ended:
                yield encode({"index": said.index, "text": said.text, "ended": said.ended})
    except Rejected as rejected:
        yield rejected.answer().body.decode()
    except Gone:
        return

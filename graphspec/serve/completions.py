"""Answers in the form of the completions API."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import AsyncGenerator
from typing import TYPE_CHECKING, Any

from graphspec.serve.asked import CompletionRequest
from graphspec.serve.exchange import Exchange
from graphspec.serve.http import Answer, Gone, Rejected, encode

if TYPE_CHECKING:
    from graphspec.generate.texts import TextCodec

FINISHED = {"end": "stop", "stop": "stop"}
"""Reasons in the words of that API; all others are `length`."""
DONE = "[DONE]"
"""The last event of a stream."""


def refusal(answer: Answer) -> Answer:
    """An answer of diagnostics in the form in which clients of that API look for a mistake."""
    told = json.loads(answer.body)["diagnostics"]
    message = "; ".join(": ".join(filter(None, (each["message"], each.get("help")))) for each in told)
    kind = "invalid_request_error" if answer.status < 500 else "server_error"
    error = {"message": message, "type": kind, "param": None, "code": told[0]["code"]}
    return Answer.json({"error": error}, answer.status, answer.headers)


class TextCompletion:
    """The answer to a request for texts: whole, or as events."""

    def __init__(self, asked: CompletionRequest, exchange: Exchange, prompts: list[str], texts: TextCodec):
        self.asked, self.exchange, self.prompts, self.texts = asked, exchange, prompts, texts
        self._told = [0] * len(prompts)
        """Of each text of how many tokens it is told how likely they are."""
        self._about = {
            "id": f"cmpl-{secrets.token_hex(12)}",
            "object": "text_completion",
            "created": int(time.time()),
            "model": asked.model,
        }

    def whole(self) -> dict[str, Any]:
        made = zip(self._echoed(), self.exchange.texts, self.exchange.ended, strict=True)
        choices = [self._choice(n, echo + text, ended) for n, (echo, text, ended) in enumerate(made)]
        return {**self._about, "choices": choices, "usage": self._usage()}

    async def events(self) -> AsyncGenerator[str]:
        echoed = dict(enumerate(self._echoed()))
        try:
            async for said in self.exchange.said():
                text = echoed.pop(said.index, "") + said.text
                if text or said.ended:
                    choice = self._choice(said.index, text, said.ended)
                    yield encode({**self._about, "choices": [choice]})
        except Rejected as rejected:
            yield refusal(rejected.answer()).body.decode()
            return
        except Gone:
            return
        if self.asked.stream_options is not None and self.asked.stream_options.include_usage:
            yield encode({**self._about, "choices": [], "usage": self._usage()})
        yield DONE

    def _echoed(self) -> list[str]:
        """The start of each text: its prompt, where the request wants an echo."""
        return [prompt if self.asked.echo else "" for prompt in self.prompts]

    def _choice(self, index: int, text: str, ended: str | None) -> dict[str, Any]:
        finish = None if ended is None else FINISHED.get(ended, "length")
        return {"index": index, "text": text, "logprobs": self._logs(index), "finish_reason": finish}

    def _logs(self, index: int) -> dict[str, Any] | None:
        """How likely the tokens are that have not been told of; the token itself is among the likeliest."""
        if self.asked.logprobs is None:
            return None
        new = self.exchange.likely[index][self._told[index] :]
        self._told[index] += len(new)
        best = [{token: log for token, log in (*each.best, (each.token, each.log))} for _, each in new]
        return {
            "tokens": [self._word(each.token) for _, each in new],
            "token_logprobs": [each.log for _, each in new],
            "top_logprobs": [{self._word(token): log for token, log in each.items()} for each in best],
            "text_offset": [place for place, _ in new],
        }

    def _word(self, token: int) -> str:
        return self.texts.text([token])

    def _usage(self) -> dict[str, int]:
        given, made = self.exchange.given, sum(self.exchange.tokens)
        return {"prompt_tokens": given, "completion_tokens": made, "total_tokens": given + made}

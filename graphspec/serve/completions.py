"""Answers in the form of the completions API."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import AsyncGenerator
from typing import Any

from graphspec.serve.asked import CompletionRequest
from graphspec.serve.exchange import Exchange
from graphspec.serve.http import Answer, Gone, Rejected, encode

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

    def __init__(self, asked: CompletionRequest, exchange: Exchange, prompts: list[str]):
        self.asked, self.exchange, self.prompts = asked, exchange, prompts
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

    @staticmethod
    def _choice(index: int, text: str, ended: str | None) -> dict[str, Any]:
        finish = None if ended is None else FINISHED.get(ended, "length")
        return {"index": index, "text": text, "logprobs": None, "finish_reason": finish}

    def _usage(self) -> dict[str, int]:
        given, made = self.exchange.given, sum(self.exchange.tokens)
        return {"prompt_tokens": given, "completion_tokens": made, "total_tokens": given + made}

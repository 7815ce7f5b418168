"""Requests for texts: in our words, and in those of the completions API."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar

from pydantic import Field

from graphspec.diagnostics import by_word
from graphspec.generate.config import GenerateSettings
from graphspec.generate.loop_config import Count
from graphspec.settings import Setting

NAMES = ("temperature", "top_k", "top_p", "min_p", "repetition_penalty", "seed")
"""The settings that have the same name in both."""


class GenerateRequest(GenerateSettings):
    """A request for texts, in the words of `generate`."""

    prompt: str | list[str]
    """Text to go on from, or several."""
    samples: Count = 1
    """Number of continuations of each prompt."""

    synonyms: ClassVar = {
        **GenerateSettings.synonyms,
        **by_word(prompt="prompts text input", samples="n num_return_sequences"),
    }
    phrases: ClassVar = {"prompt": 'prompt: "Once upon a time"'}

    def settings(self) -> dict[str, Any]:
        """The settings of `generate` that are given."""
        return self.model_dump(by_alias=True, exclude_unset=True, exclude={"prompt", "samples"})


class StreamOptions(Setting):
    """How a completion is streamed."""

    include_usage: bool | None = None
    include_obfuscation: bool | None = None


class CompletionRequest(Setting):
    """A request of the completions API. What it has and a model here lacks may be said where it changes
    nothing.
    """

    model: str
    prompt: str | list[str] | list[int] | list[list[int]]
    max_tokens: Count | None = None
    temperature: Annotated[float, Field(ge=0)] | None = None
    top_k: Count | None = None
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    min_p: Annotated[float, Field(ge=0, lt=1)] | None = None
    repetition_penalty: Annotated[float, Field(gt=0)] | None = None
    seed: Annotated[int, Field(ge=0)] | None = None
    n: Count | None = None
    stop: str | list[str] | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    echo: bool | None = None
    user: str | None = None
    best_of: Count | None = None
    logprobs: Annotated[int, Field(ge=0, le=5)] | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    logit_bias: dict[str, float] | None = None
    suffix: str | None = None

    def settings(self) -> dict[str, Any]:
        """The settings of `generate` that are given."""
        given = {name: getattr(self, name) for name in NAMES} | {"length": self.max_tokens}
        return {name: value for name, value in given.items() if value is not None}

    def lacking(self) -> str | None:
        """The name of a key that asks for what is not there."""
        idle: Mapping[str, Any] = {"best_of": self.n or 1, "suffix": ""}
        idle = {**idle, "presence_penalty": 0, "frequency_penalty": 0, "logit_bias": {}}
        if self.logprobs is not None and self.echo:  # those of prompts are not kept
            return "echo"
        return next((key for key, each in idle.items() if getattr(self, key) not in (None, each)), None)

    @property
    def stops(self) -> tuple[str, ...]:
        """The texts before which a completion ends."""
        return (self.stop,) if isinstance(self.stop, str) else tuple(self.stop or ())

    @property
    def prompts(self) -> list[str | list[int]]:
        """Each prompt, as a text or as tokens."""
        given: Any = self.prompt
        single = isinstance(given, str) or (given and isinstance(given[0], int))
        return [given] if single else given


class Stops:
    """A text that ends before any of some words: what may be the beginning of one is not said yet."""

    def __init__(self, words: Sequence[str]):
        self.words = [word for word in words if word]
        self.held = ""
        self.found = False

    def add(self, piece: str, last: bool) -> str:
        """The text that may be sent after a piece; after the last one, all. After a stop word nothing is
        sent.
        """
        if self.found:
            return ""
        text = self.held + piece
        ends = [place for word in self.words if (place := text.find(word)) >= 0]
        if ends:
            self.found, self.held = True, ""
            return text[: min(ends)]
        kept = 0 if last else max((self._begun(text, word) for word in self.words), default=0)
        self.held = text[len(text) - kept :]
        return text[: len(text) - kept]

    @staticmethod
    def _begun(text: str, word: str) -> int:
        """How many letters at the end of a text begin a word."""
        lengths = range(min(len(text), len(word) - 1), 0, -1)
        return next((length for length in lengths if word.startswith(text[-length:])), 0)

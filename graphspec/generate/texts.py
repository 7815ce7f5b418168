"""TextCodec to tokens and back: with the tokenizer of a run, with one in a file, or as numbers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

from graphspec.data.encoders import Encoders
from graphspec.data.encoders.lists import TextEncoder
from graphspec.data.features.texts import PADDING, UNSEEN
from graphspec.data.mistakes import shown
from graphspec.data.rows.tokenizers import working
from graphspec.diagnostics import SpecError, fail

PROMPT = "the prompt"
BROKEN = "\ufffd"
"""The last character of a text whose last token is a part of a character."""


def refused(message: str, help: str | None = None) -> SpecError:
    """The error of a prompt."""
    return fail("prompt-misfit", message, help)


class TextCodec(ABC):
    """Converts between texts and the tokens of a model."""

    @abstractmethod
    def ids(self, prompt: str, called: str = PROMPT) -> list[int]:
        """The tokens of a prompt; `called` is its name in errors. Raises `SpecError` (prompt-misfit)."""

    @abstractmethod
    def text(self, ids: Sequence[int]) -> str:
        """The text of tokens."""

    def unsaid(self, count: int) -> list[int]:
        """Those of the first tokens that stand for no text: a model that learned to has no use for them."""
        return []

    begin: int | None = None
    """The token before each text."""
    last: int | None = None
    """The token after each text."""
    answers: bool = False
    """Whether what follows a prompt is a text of its own."""

    def ends(self, words: str | int | list[str | int] | None) -> list[int]:
        """The tokens that `end` says; by default that after each text. Raises `SpecError` (prompt-misfit)."""
        words = self.last if words is None else words
        listed = words if isinstance(words, list) else [] if words is None else [words]
        return [self.token(word, "end") for word in listed]

    def token(self, word: str | int, key: str) -> int:
        """The token that `end` or `begin` says. Raises `SpecError` (prompt-misfit)."""
        if isinstance(word, str):
            raise refused(f"`{key}` is {shown(word)}, and the run has no tokenizer", "write its number")
        return word


class Numbers(TextCodec):
    """Tokens as numbers, with spaces between them."""

    def ids(self, prompt: str, called: str = PROMPT) -> list[int]:
        words = prompt.replace(",", " ").split()
        wrong = next((word for word in words if not word.isdecimal()), None)
        if wrong is not None:
            help = "the run has no tokenizer: give numbers of tokens, such as `5 17 9`"
            raise refused(f"{shown(wrong)} of {called} is not the number of a token", help)
        return [int(word) for word in words]

    def text(self, ids: Sequence[int]) -> str:
        return " ".join(map(str, ids))


class Tokenized(TextCodec):
    """Tokens of a tokenizer of the tokenizers library. `begin` comes before each prompt, `last` ends a
    sequence unless the settings say otherwise; ids of tokens that it has not seen are `unseen`.
    """

    def __init__(self, tokenizer: Any, begin: int | None, last: int | None, unseen: int | None, around: bool):
        self.tokenizer, self.begin, self.last, self.unseen = tokenizer, begin, last, unseen
        self.around = around

    def ids(self, prompt: str, called: str = PROMPT) -> list[int]:
        with working():
            encoded = self.tokenizer.encode(prompt, add_special_tokens=self.around)
        for place, index in zip(encoded.offsets, encoded.ids, strict=True):
            if index == self.unseen:
                part = prompt[place[0] : place[1]]
                help = "the texts of the training lack it: leave it out, or train with it"
                raise refused(f"{shown(part)} of {called} is not a token of the model", help)
        return [*([] if self.begin is None else [self.begin]), *encoded.ids]

    def unsaid(self, count: int) -> list[int]:
        if self.unseen is None:
            return []
        known = int(self.tokenizer.get_vocab_size())
        return [*{PADDING, self.unseen, *([] if self.begin is None else [self.begin])}, *range(known, count)]

    def text(self, ids: Sequence[int]) -> str:
        with working():
            return str(self.tokenizer.decode([*ids], skip_special_tokens=False))

    def token(self, word: str | int, key: str) -> int:
        if not isinstance(word, str):
            return word
        found: int | None = self.tokenizer.token_to_id(word)
        if found is None:
            help = "name a token that it has"
            raise refused(f"`{key}` is {shown(word)}, which is not a token of the model", help)
        return found


def texts_of(encoders: Encoders | None, name: str, tokenizer: Any) -> TextCodec:
    """The texts of an input, with what its encoder learned, or with the tokenizer of a file."""
    encoder = encoders.encoders.get(name) if encoders is not None else None
    if isinstance(encoder, TextEncoder):
        feature, known = encoder.feature, encoder.tokenizer
        marks = [None if mark is None else known.token_to_id(mark) for mark in (feature.begin, feature.end)]
        unseen = UNSEEN if feature.file is None else None
        codec = Tokenized(known, marks[0], marks[1], unseen, not feature.goes_on)
        codec.answers = feature.prompt is not None
        return codec
    return Numbers() if tokenizer is None else Tokenized(tokenizer, None, None, None, True)


class Pieces:
    """The text of a sequence as it grows: of each token what it adds.

    It decodes the tokens since a place where a character began. The first text after it is said already, and
    is not empty: what decoders do at the beginning of a text, such as to leave out a space, ends within it.
    """

    def __init__(self, texts: TextCodec, prompt: Sequence[int]):
        self.texts, self.recent = texts, [*prompt]
        self.said, self.read = len(texts.text(self.recent)), len(self.recent)
        """Of the recent tokens: the length of the text that is said, and how many tokens it comes from."""

    def add(self, token: int | None) -> str:
        """The text that a token adds; empty while a character is not complete. None: no more come."""
        if token is not None:
            self.recent.append(token)
        text = self.texts.text(self.recent)
        if token is not None and text.endswith(BROKEN):
            return ""
        piece = text[self.said :]
        self.said = len(text)
        newest = self.recent[self.read :]
        if piece and (alone := self.texts.text(newest)):
            self.recent, self.said = newest, len(alone)
        self.read = len(self.recent)
        return piece

"""The settings of features that are lists of ids: texts, their tokens, what is drawn, what comes next."""

from __future__ import annotations

import re
from typing import Annotated, ClassVar, Literal, get_args

from pydantic import Field, PrivateAttr, field_validator, model_validator

from graphspec.data.features.settings import Count, Feature, FeatureType, Text, Value, distinct
from graphspec.settings import show

Tokenizer = Literal["word", "char", "bpe", "whitespace", "characters", "words", "bytes"]
TOKENIZERS: tuple[str, ...] = get_args(Tokenizer)
TokenizerFile = Annotated[str, Field(pattern=r"\.json$")]
"""A `tokenizer.json`, as the tokenizers library and Hugging Face write it, beside the spec."""
PADDING, UNSEEN = 0, 1
"""The ids of a list that are no value of it."""
BYTES = 256
"""The tokens with which `bytes` and an exact `bpe` begin, after these."""


class Listed(Feature):
    """A list of ids: 0 pads, 1 is unseen. Without `length` a row is as long as it is."""

    vocabulary: Annotated[int, Field(ge=3)] | None = None
    min_count: Count = 1
    length: Count | None = None
    """Number of elements that are kept; shorter rows are padded."""
    cut: Literal["end", "start"] = "end"
    """End at which rows that are too long are truncated."""
    fill: str | None = None

    @property
    def may_list(self) -> bool:
        return True

    @property
    def most(self) -> int | None:
        """Elements of a row that are kept."""
        return self.length

    def feature_type(self, *, target: bool) -> FeatureType:
        return FeatureType((self.most,), "int64", self.vocabulary)


class TextFeature(Listed):
    """The tokens of a text: in lower case, words and punctuation apart; or as it is."""

    made_by = "lists:TextEncoder"
    phrases: ClassVar = {"tokenizer": "tokenizer: bpe, vocabulary: 8000", "pack": "pack: 256"}
    reads_text: ClassVar = True
    encode: Literal["text"] = "text"
    tokenizer: Tokenizer | TokenizerFile = "word"
    """How text is split: word, char, whitespace, bpe; as it is, into characters, words or bytes; or a
    tokenizer.json.
    """
    pack: Count | None = None
    """Tokens of a row, where documents are joined and then cut."""
    begin: Text | None = None
    """Token before each text."""
    end: Text | None = None
    """Token after each text."""
    prompt: Text | None = None
    """Column of the text that comes before, and is not learned."""
    pair: Text | None = None
    """The column of the second text of each row, which a tokenizer of a file appends to the first."""
    part: Literal["ids", "types"] = "ids"
    """The part of a tokenizer's result: ids, or types, which tell the texts of a pair apart."""

    _goes_on: bool = PrivateAttr(False)

    @field_validator("tokenizer", mode="before")
    @classmethod
    def _known(cls, value: object) -> object:
        if isinstance(value, str) and value not in TOKENIZERS and not value.endswith(".json"):
            names = ", ".join(TOKENIZERS)
            words = f"`tokenizer` is {show(value)}, but must be one of {names}, or a tokenizer.json"
            if re.search(r"[-/]", value):
                words += (
                    f": `AutoTokenizer.from_pretrained({show(value)}).save_pretrained('.')` saves that one"
                )
            raise ValueError(words)
        return value

    def read(self, name: str) -> tuple[str, ...]:
        return super().read(name) + tuple(each for each in (self.pair, self.prompt) if each is not None)

    @property
    def goes_on(self) -> bool:
        """Whether a model learns which token comes next, so that a text can be made of its tokens again."""
        keys = (self.pack, self.begin, self.end, self.prompt)
        return self._goes_on or any(key is not None for key in keys)

    def go_on(self) -> None:
        """Says that another feature has the tokens that come next."""
        self._goes_on = True

    @property
    def exact(self) -> bool:
        """Whether the tokens of a text are the text: nothing of it is lost or changed."""
        return self.tokenizer in ("characters", "words", "bytes") or (
            self.tokenizer == "bpe" and self.goes_on
        )

    @property
    def marks(self) -> tuple[str, ...]:
        """The tokens around texts, in the order of their ids."""
        return tuple(dict.fromkeys(each for each in (self.end, self.begin) if each is not None))

    @property
    def most(self) -> int | None:
        return self.length if self.pack is None else self.pack

    def feature_type(self, *, target: bool) -> FeatureType:
        size = self.vocabulary if self.tokenizer != "bytes" else self.least
        return FeatureType((self.most,), "int64", size)

    @property
    def least(self) -> int:
        """How many tokens there are before the first one is learned."""
        letters = BYTES if self.exact and self.tokenizer in ("bytes", "bpe") else 0
        return UNSEEN + 1 + len(self.marks) + letters

    @property
    def file(self) -> str | None:
        """The file of a tokenizer that was trained before."""
        return self.tokenizer if self.tokenizer.endswith(".json") else None

    @model_validator(mode="after")
    def _fitting(self) -> TextFeature:
        if self.file is not None and (self.vocabulary is not None or self.min_count != 1):
            raise ValueError(
                "a tokenizer of a file has its own tokens: leave `vocabulary` and `min_count` out"
            )
        if self.tokenizer == "bpe" and self.vocabulary is None:
            raise ValueError("`tokenizer: bpe` merges until it has `vocabulary` tokens: give it")
        if self.file is None and (self.pair is not None or self.part != "ids"):
            raise ValueError("`pair` and `part` go by the template of a tokenizer of a file: give its file")
        if self.tokenizer == "bytes" and (self.vocabulary is not None or self.min_count != 1):
            raise ValueError("`tokenizer: bytes` knows all 256: leave `vocabulary` and `min_count` out")
        if self.goes_on and (self.pair is not None or self.part != "ids"):
            raise ValueError("`pair` and `part` are of texts that are read as a whole: leave them out")
        if self.pack is not None and self.length is not None:
            raise ValueError("`pack` is the length of a row: leave `length` out")
        return self


class Shifted(Feature):
    """The tokens of another feature that come `shift` places later: what a model is to say next."""

    made_by = "shifts:ShiftEncoder"
    encode: Literal["shift"] = "shift"
    of: Text
    """Feature whose tokens these are."""
    shift: Count
    """Places between a token and the one to be said: 1 for the next."""

    phrases: ClassVar = {"of": "of: tokens", "shift": "shift: 1"}

    def read(self, name: str) -> tuple[str, ...]:
        return ()

    @property
    def may_list(self) -> bool:
        return True

    @model_validator(mode="after")
    def _of_another(self) -> Shifted:
        if self.column is not None:
            raise ValueError("`of` names the feature that is read: leave `column` out")
        return self

    def feature_type(self, *, target: bool) -> FeatureType:
        return FeatureType((None,), "int64")


class DrawnValues(Feature):
    """Values of another feature that are drawn at random for each row, all alike: others in each epoch."""

    made_by = "drawn:DrawnEncoder"
    target = False
    encode: Literal["draw"] = "draw"
    of: Text
    """Feature whose values these are: one with `encode: category`."""
    draw: Count
    """How many are drawn for a row."""

    phrases: ClassVar = {"of": "of: movie", "draw": "draw: 20"}

    def read(self, name: str) -> tuple[str, ...]:
        return ()

    @model_validator(mode="after")
    def _of_another(self) -> DrawnValues:
        if self.column is not None:
            raise ValueError("`of` names the feature that is read: leave `column` out")
        return self

    def feature_type(self, *, target: bool) -> FeatureType:
        return FeatureType((self.draw,), "int64")


class Tokens(Listed):
    """The elements of a list column."""

    made_by = "lists:TokensEncoder"
    encode: Literal["tokens"] = "tokens"
    values: Annotated[list[Value], Field(min_length=1)] | None = None

    @model_validator(mode="after")
    def _fitting(self) -> Tokens:
        if self.values is not None and self.vocabulary is not None:
            raise ValueError("give `values` or `vocabulary`, not both")
        distinct(self.values)
        return self

    def feature_type(self, *, target: bool) -> FeatureType:
        size = len(self.values) + 2 if self.values is not None else self.vocabulary
        return FeatureType((self.length,), "int64", size)

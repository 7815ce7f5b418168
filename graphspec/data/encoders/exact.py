"""Tokenizers of which nothing of a text is lost: characters, bytes, words with the spaces before them, and
merged bytes. Ids 0 and 1 are padding and what was not seen; then come the tokens around texts.

They are tokenizers of the tokenizers library, as all are; characters and bytes of many texts are looked up in
a table, which gives the same ids in far less time.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from graphspec.data.features.texts import BYTES, UNSEEN, TextFeature
from graphspec.data.ragged import Ragged, offsets_of
from graphspec.data.rows.tokenizers import library

SPECIAL = ("[PAD]", "[UNK]")
"""The tokens of the ids 0 and 1."""
CHARACTERS = 0x110000
"""Code points of Unicode."""
WORD = r" ?\w+| ?[^\w\s]+|\s+(?!\S)|\s+"
"""A word or signs with the space before them, or other spaces."""


class Letters:
    """How often each character occurs in training texts."""

    share = 1.0

    def __init__(self) -> None:
        self.counts = np.zeros(0, np.int64)

    def add(self, rows: NDArray[np.int64], column: pa.Array) -> None:
        codes = _codes("".join(column.drop_null().to_pylist()))
        if len(codes):
            counts = np.bincount(codes, minlength=len(self.counts))
            counts[: len(self.counts)] += self.counts
            self.counts = counts

    def most(self, least: int, count: int | None) -> list[str]:
        """Those that occur `least` times: all, or the `count` most frequent; ties by character."""
        there = np.flatnonzero(self.counts >= least)
        order = there[np.argsort(-self.counts[there], kind="stable")]
        return [chr(code) for code in order[:count]]


def trained(feature: TextFeature, texts: Iterable[list[str]] | Letters) -> Any:
    """A tokenizer of training texts; of characters, of which there are counts."""
    tokenizers, special = library(), [*SPECIAL, *feature.marks]
    models, pre, decoders = tokenizers.models, tokenizers.pre_tokenizers, tokenizers.decoders
    trainers, shared = tokenizers.trainers, {"special_tokens": special, "show_progress": False}
    room = None if feature.vocabulary is None else max(0, feature.vocabulary - len(special))
    if isinstance(texts, Letters):
        known = [*special, *texts.most(feature.min_count, room)]
        tokenizer = tokenizers.Tokenizer(_lookup(known))
        tokenizer.pre_tokenizer = pre.Split(tokenizers.Regex(r"[\s\S]"), "isolated")
        tokenizer.decoder = decoders.Fuse()
    elif feature.tokenizer == "words":
        tokenizer = tokenizers.Tokenizer(models.WordLevel(unk_token=SPECIAL[UNSEEN]))
        tokenizer.pre_tokenizer = pre.Split(tokenizers.Regex(WORD), "isolated")
        tokenizer.decoder = decoders.Fuse()
        size = feature.vocabulary or 2**31
        counted = {"vocab_size": size, "min_frequency": feature.min_count}
        tokenizer.train_from_iterator(texts, trainers.WordLevelTrainer(**counted, **shared))
    else:
        whole = feature.tokenizer == "bytes"
        known = [*special, *byte_letters()]
        tokenizer = tokenizers.Tokenizer(models.BPE({t: i for i, t in enumerate(known)}, []))
        tokenizer.pre_tokenizer = pre.ByteLevel(add_prefix_space=False, use_regex=not whole)
        tokenizer.decoder = decoders.ByteLevel()
        if not whole:
            begun = {"vocab_size": feature.vocabulary, "initial_alphabet": byte_letters()}
            trainer = trainers.BpeTrainer(min_frequency=feature.min_count, **begun, **shared)
            tokenizer.train_from_iterator(texts, trainer)
    return marked(tokenizer, feature.marks)


def _lookup(known: Sequence[str]) -> Any:
    ids = {token: index for index, token in enumerate(known)}
    return library().models.WordLevel(ids, unk_token=SPECIAL[UNSEEN])


def marked(tokenizer: Any, marks: Sequence[str]) -> Any:
    """The tokenizer with these tokens, which it has, as its only special ones: they are found in texts, where
    padding and what was not seen would else be, too.
    """
    state = json.loads(tokenizer.to_str())
    kinds = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    state["added_tokens"] = [
        {"id": tokenizer.token_to_id(mark), "content": mark, **kinds, "special": True} for mark in marks
    ]
    return library().Tokenizer.from_str(json.dumps(state))


def byte_letters() -> list[str]:
    """The letter that stands for each byte: itself where it can be seen, else one beyond all bytes."""
    seen = {*range(33, 127), *range(161, 173), *range(174, 256)}
    others = iter(range(BYTES, 2 * BYTES))
    return [chr(byte if byte in seen else next(others)) for byte in range(BYTES)]


class Lookup:
    """The ids of whole texts, of a tokenizer of characters or bytes, without the library."""

    def __init__(self, tokenizer: Any, feature: TextFeature):
        self.marks = feature.marks
        self.bytes = feature.tokenizer == "bytes"
        vocabulary: dict[str, int] = tokenizer.get_vocab()
        if self.bytes:
            self.table = np.array([vocabulary[letter] for letter in byte_letters()], np.int32)
        else:
            self.table = np.full(CHARACTERS, UNSEEN, np.int32)
            for token, index in vocabulary.items():
                if len(token) == 1 and token not in self.marks:
                    self.table[ord(token)] = index

    def __call__(self, texts: Sequence[str]) -> Ragged | None:
        """None for texts that hold a token around texts, of more than one letter."""
        whole = "".join(texts)
        if any(mark in whole for mark in self.marks):
            return None
        if self.bytes:
            parts = [text.encode() for text in texts]
            codes: NDArray[Any] = np.frombuffer(b"".join(parts), np.uint8)
            return Ragged(self.table[codes], offsets_of([len(part) for part in parts]))
        return Ragged(self.table[_codes(whole)], offsets_of([len(text) for text in texts]))


def _codes(text: str) -> NDArray[np.uint32]:
    return np.frombuffer(text.encode("utf-32-le"), np.uint32)

"""Texts to the tokens of a tokenizer, with ONNX and onnxruntime's own tokenizer."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Iterable, Iterator
from functools import cache
from typing import Any

import numpy as np

from graphspec.data.encoders.exact import SPECIAL
from graphspec.data.encoders.lists import TextEncoder
from graphspec.data.features.texts import UNSEEN
from graphspec.data.rows.tokenizers import library
from graphspec.export.columns.graph import EXTENSIONS, MICROSOFT, WHOLE, GraphWriter
from graphspec.export.columns.merging import compacted, merged

SPACES = r"\x{9}-\x{d}\x{20}\x{85}\x{a0}\x{1680}\x{2000}-\x{200a}\x{2028}\x{2029}\x{202f}\x{205f}\x{3000}"
LETTERS = (
    r"\p{L}\p{Nl}\p{M}\p{Nd}\p{Pc}\x{200c}\x{200d}\x{24b6}-\x{24e9}"
    r"\x{1f130}-\x{1f149}\x{1f150}-\x{1f169}\x{1f170}-\x{1f189}"
)
"""The letters that `\\w` matches in the tokenizers library: alphabetic, marks, digits, connectors, joiners.
"""
WORDS = {
    "Whitespace": rf"[{LETTERS}]+|[^{LETTERS}{SPACES}]+",
    "WhitespaceSplit": rf"[^{SPACES}]+",
}
"""The tokens of each way to split texts; the third one takes every letter."""
LETTER_BY_LETTER = "Split"
UNUSUAL = (
    "dropout",
    "continuing_subword_prefix",
    "end_of_word_suffix",
    "fuse_unk",
    "byte_fallback",
    "ignore_merges",
)
"""Settings of merging that no tokenizer has that is trained here."""
ENDS = "<|endoftext|>"
LAST = 0x30000
"""Behind it are no letters."""


def tokenizer_of(encoder: TextEncoder) -> dict[str, Any]:
    state: dict[str, Any] = json.loads(encoder.tokenizer.to_str())
    return state


def readable(encoder: TextEncoder) -> bool:
    """Whether its tokenizer is as those that are trained here: it looks whole words or letters up, or merges
    letters.
    """
    state = tokenizer_of(encoder)
    model, way = state["model"], (state.get("pre_tokenizer") or {}).get("type")
    kinds = [each.get("type") for each in (state.get("normalizer") or {}).get("normalizers", ())]
    plain = not any(model.get(name) for name in UNUSUAL)
    ways = {"WordLevel": {*WORDS, LETTER_BY_LETTER}, "BPE": {*WORDS}}
    return (
        way in ways.get(model["type"], ())
        and plain
        and [model["vocab"].get(name) for name in SPECIAL] == [0, UNSEEN]
        and model.get("unk_token") == SPECIAL[UNSEEN]
        and kinds == ["NFC", "Lowercase"]
        and not state.get("added_tokens")
        and not state.get("post_processor")
    )


def merges_bytes(encoder: TextEncoder) -> bool:
    """Whether its tokenizer is as that of GPT-2: it merges bytes, and does nothing else to a text. So does an
    operator of onnxruntime-extensions, which knows the token `ENDS` alone.
    """
    state = tokenizer_of(encoder)
    model, way = state["model"], state.get("pre_tokenizer") or {}
    added = [(each["content"], each["id"]) for each in state.get("added_tokens") or ()]
    around = any(each[name] for each in state["added_tokens"] for name in ("lstrip", "rstrip", "single_word"))
    return (
        model["type"] == "BPE"
        and not any(model.get(name) for name in UNUSUAL)
        and not state.get("normalizer")
        and way.get("type") == "ByteLevel"
        and way.get("use_regex", True)
        and not way.get("add_prefix_space")
        and (state.get("post_processor") or way)["type"] == "ByteLevel"
        and added == [(ENDS, model["vocab"].get(ENDS))]
        and not around
        and {*library().pre_tokenizers.ByteLevel.alphabet()} <= model["vocab"].keys()
    )


def byte_tokens(g: GraphWriter, encoder: TextEncoder, text: str) -> tuple[str, str]:
    """As `tokens`, of a tokenizer that merges bytes."""
    model = tokenizer_of(encoder)["model"]
    merges = [pair if isinstance(pair, str) else " ".join(pair) for pair in model["merges"]]
    files = {"vocab": json.dumps(model["vocab"]), "merges": "\n".join(merges)}
    ids, there = g.op("GPT2Tokenizer", text, domain=EXTENSIONS, outputs=2, **files)
    none = padding(g, text)
    return g.joined([ids, none]), g.op("Greater", g.joined([there, none]), g.constant([0], np.int64))


def tokens(g: GraphWriter, encoder: TextEncoder, name: str, text: str) -> tuple[str, str]:
    """[batch, any] ids of the tokens of each text, 0 after its last one, and where there are any. Letters
    that are written as several characters end the run: they would have to be composed first.
    """
    ids = _tokens(g, encoder, name, text)
    return ids, g.op("Greater", ids, g.constant([0], np.int64))


def _tokens(g: GraphWriter, encoder: TextEncoder, name: str, text: str) -> str:
    state = tokenizer_of(encoder)
    way, vocabulary = state["pre_tokenizer"]["type"], state["model"]["vocab"]
    fits = g.op("RegexFullMatch", text, pattern=_normal())
    reason = f"column {name}: a letter that is written as several characters, or is not normalized (NFC)"
    known = {word: index for word, index in vocabulary.items() if index > 1}
    if way == LETTER_BY_LETTER:
        known |= {upper: index for word, index in known.items() for upper in _capitals().get(word, ())}
        pieces = g.op(
            "Tokenizer", text, domain=MICROSOFT, mark=0, pad_value="", mincharnum=1, separators=[""]
        )
    else:
        lower: dict[str, Any] = {"case_change_action": "LOWER", "is_case_sensitive": 1, "locale": "C.UTF-8"}
        lowered = g.op("StringNormalizer", text, **lower)
        cut: dict[str, Any] = {"mark": 0, "pad_value": "", "mincharnum": 1, "tokenexp": WORDS[way]}
        pieces = g.op("Tokenizer", lowered, domain=MICROSOFT, **cut)
    if state["model"]["type"] == "BPE":
        empty = g.where(g.is_text(text, [""]), text, g.constant(np.array([""], object)))
        pieces = g.joined([pieces, g.expanded(empty)])  # so that there is one
        ids = compacted(g, merged(g, pieces, state["model"]))
        return g.guarded(ids, WHOLE, g.expanded(fits), reason)
    ids = g.look_up(pieces, ["", *known], [0, *known.values()], 1)
    ids = g.joined([ids, padding(g, text)])
    return g.guarded(ids, WHOLE, g.expanded(fits), reason)


def padding(g: GraphWriter, column: str) -> str:
    """[batch, 1] zeros beside a column: that there is an element, even where no row has one."""
    return str(g.expanded(g.look_up(column, [""], [0], 0)))


def words_of(encoder: TextEncoder) -> list[str]:
    """The tokens that a file reads beside any others: no letter of theirs ends the run."""
    words = sorted(word for word, index in encoder.tokenizer.get_vocab().items() if index > UNSEEN)
    return [word for word in words if (_composing() | _marks()).isdisjoint(word)]


@cache
def _normal() -> str:
    """The pattern of texts that NFC leaves as they are: without a letter that it may change, or two marks in
    a row, whose order it may turn.
    """
    mark = f"[{_pattern(_ranges(_marks() - _composing()))}]?"
    return f"({mark}[^{_pattern(_ranges(_marks() | _composing()))}])*{mark}"


@cache
def _marks() -> frozenset[str]:
    """The letters whose order NFC may turn."""
    return frozenset(letter for letter in map(chr, range(LAST)) if unicodedata.combining(letter))


def _pattern(ranges: Iterable[tuple[int, int]]) -> str:
    return "".join(rf"\x{{{low:x}}}-\x{{{high:x}}}" for low, high in ranges)


@cache
def _composing() -> frozenset[str]:
    """The characters that NFC changes, that may join the one before, or whose lower case is several."""
    codes = {0x130, *range(0x1160, 0x1200)}
    for code in range(LAST):
        letter = chr(code)
        parts = unicodedata.decomposition(letter)
        if parts and not parts.startswith("<"):
            codes.update(int(part, 16) for part in parts.split()[1:])
            if unicodedata.normalize("NFC", letter) != letter:
                codes.add(code)
    return frozenset(map(chr, codes))


def _ranges(letters: Iterable[str]) -> Iterator[tuple[int, int]]:
    first = last = -2
    for code in sorted(map(ord, letters)):
        if code != last + 1:
            if last >= 0:
                yield first, last
            first = code
        last = code
    if last >= 0:
        yield first, last


@cache
def _capitals() -> dict[str, list[str]]:
    """By letter, those whose lower case it is."""
    capitals: dict[str, list[str]] = {}
    for letter in map(chr, range(LAST)):
        if letter.lower() != letter:
            capitals.setdefault(letter.lower(), []).append(letter)
    return capitals

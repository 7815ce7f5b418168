"""Tokenizers, made and trained by the tokenizers library. Id 0 pads and 1 is unseen."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from graphspec.data.encoders import exact
from graphspec.data.encoders.exact import SPECIAL
from graphspec.data.features.texts import TextFeature
from graphspec.data.mistakes import shown
from graphspec.data.rows.tokenizers import library
from graphspec.diagnostics import fail
from graphspec.diagnostics.text import first_line
from graphspec.files.reading import content

MAX_FILE = 256 << 20
"""Bytes of a file with a tokenizer."""
ALPHABET = 1000
"""Letters that `bpe` knows, the most frequent; others are unseen."""


def trained(feature: TextFeature, texts: Iterable[list[str]] | exact.Letters) -> Any:
    """A tokenizer of texts: as they are, see `exact`; or in lower case, by frequency, ties by text, or merged
    for `bpe`.
    """
    if feature.exact or isinstance(texts, exact.Letters):
        return exact.trained(feature, texts)
    tokenizers, tokenizer = library(), _untrained(feature.tokenizer)
    shared = {
        "special_tokens": [*SPECIAL, *feature.marks],
        "min_frequency": feature.min_count,
        "show_progress": False,
    }
    trainers = tokenizers.trainers
    if feature.tokenizer == "bpe":
        size = feature.vocabulary
        alphabet = _letters(tokenizer.normalizer, texts, min(ALPHABET, max(1, (size or 0) // 2)))
        known = {"initial_alphabet": alphabet, "limit_alphabet": len(alphabet)}
        trainer = trainers.BpeTrainer(vocab_size=size, **known, **shared)
    else:
        trainer = trainers.WordLevelTrainer(vocab_size=feature.vocabulary or 2**31, **shared)
    tokenizer.train_from_iterator(texts, trainer)
    return exact.marked(tokenizer, feature.marks)


def of_file(path: Path, marks: Sequence[str] = ()) -> Any:
    """A tokenizer that was trained before, with its special tokens. Rows are padded and cut by the feature.

    Raises `SpecError` (data-missing, data-format); data-range where it lacks one of the `marks`.
    """
    tokenizers = library()
    try:
        text = content(path, MAX_FILE).decode("utf-8")
    except OSError as error:
        raise fail("data-missing", f"`{path}` cannot be read: {error.strerror or error}") from None
    except UnicodeDecodeError:
        raise fail("data-format", f"`{path}` is not the text of a tokenizer") from None
    try:
        tokenizer = tokenizers.Tokenizer.from_str(text)
    except BaseException as error:
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise
        reason = first_line(error)[:120]
        help = "save it with the tokenizers library, or `save_pretrained` of a fast tokenizer"
        raise fail("data-format", f"`{path}` is not a tokenizer: {reason}", help) from error
    tokenizer.no_padding()
    tokenizer.no_truncation()
    for mark in marks:
        if tokenizer.token_to_id(mark) is None:
            special = [token.content for token in tokenizer.get_added_tokens_decoder().values()]
            named = f"its special tokens: {', '.join(map(shown, special[:20]))}" if special else None
            raise fail("data-range", f"`{path}` has no token {shown(mark)}", named)
    return tokenizer


def _letters(normalizer: Any, texts: Iterable[list[str]], most: int) -> list[str]:
    """The most frequent letters, ties by letter: of equal ones the library takes any."""
    counts: Counter[str] = Counter()
    for part in texts:
        for text in part:
            counts.update(normalizer.normalize_str(text))
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return [letter for letter, _ in ordered if not letter.isspace()][:most]


def _untrained(kind: str) -> Any:
    tokenizers = library()
    models, pre, normalizers = tokenizers.models, tokenizers.pre_tokenizers, tokenizers.normalizers
    model = models.BPE(unk_token=SPECIAL[1]) if kind == "bpe" else models.WordLevel(unk_token=SPECIAL[1])
    tokenizer = tokenizers.Tokenizer(model)
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFC(), normalizers.Lowercase()])
    tokenizer.pre_tokenizer = {
        "word": pre.Whitespace,
        "bpe": pre.Whitespace,
        "whitespace": pre.WhitespaceSplit,
        "char": lambda: pre.Split(tokenizers.Regex(r"[\s\S]"), "isolated"),
    }[kind]()
    return tokenizer

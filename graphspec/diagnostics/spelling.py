"""The most likely legal word for a misspelling."""

from __future__ import annotations

import re
import string
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from typing import TypeVar

from graphspec.diagnostics.remedy import Change, Remedy

T = TypeVar("T")

AKIN: Mapping[str, frozenset[str]] = {
    ours: frozenset(words.split())
    for ours, words in {
        "axis": "dim dims",  # channels come first in PyTorch
        "target_shape": "shape",  # which may count the batch
        "RandomFlip": "RandomHorizontalFlip RandomVerticalFlip",
        "RandomZoom": "RandomResizedCrop RandomAffine",
        "UpSampling2D": "UpsamplingBilinear2d",
        "ZeroPadding1D": "ConstantPad1d",
        "ZeroPadding2D": "ConstantPad2d",
        "ZeroPadding3D": "ConstantPad3d",
        "random_binomial": "bernoulli",
        "schedule_free_adamw": "schedule_free",
        "hyperband": "asha successive_halving",
        "float": "loguniform log_uniform",
    }.items()
}
"""By a word, those of other libraries that mean nearly the same: a reader decides whether it is meant."""

_LONGEST_WORD = 64
_MANY = 500


@lru_cache(maxsize=65536)
def _letters(word: str) -> str:
    return re.sub(r"[\W_]+", "", word).casefold()


def same_word(a: str, b: str) -> bool:
    """Whether two words differ only in case, underscores and other marks."""
    return _letters(a) == _letters(b)


def nearest(word: str, candidates: Iterable[str], synonyms: Mapping[str, str] | None = None) -> str | None:
    """The candidate most likely meant by `word`, or None if none is near.

    In this order: the synonym (another vocabulary's word), the same letters in another case or with other
    underscores, the fewest typing mistakes (at most one in three letters, a transposition being one), one the
    start or the end of the other. Among many hundreds of candidates one typing mistake is looked for.
    """
    names = dict.fromkeys(name for name in candidates if isinstance(name, str))
    letters = _letters(word[:_LONGEST_WORD])
    for foreign, ours in (synonyms or {}).items():
        if (foreign == word or _letters(foreign) == letters) and ours in names:
            return ours
    if not letters or len(word) > _LONGEST_WORD:
        return None
    if len(names) > _MANY:
        folded = {_letters(name): name for name in reversed(names)}
        exact = next((each for each in _one_mistake(word) if each in names), None)
        return exact or next((folded[each] for each in _one_mistake(letters) if each in folded), None)
    best: tuple[int, bool, str] | None = None
    for name in names:
        other = _letters(name)
        limit = min(max(len(letters), len(other)) // 3, 3) if best is None else best[0]
        if abs(len(other) - len(letters)) > limit:
            continue
        distance = _edits(letters, other, limit)
        score = (distance, sorted(letters) != sorted(other), name)  # letters in another order before others
        if distance <= limit and (best is None or score < best):
            best = score
    if best is not None:
        return best[2]
    parts = [name for name in names if _is_part(letters, _letters(name))]
    return min(parts, key=lambda name: (abs(len(name) - len(word)), name), default=None)


def by_word(**words: str) -> dict[str, str]:
    """A table with a row for each word: `by_word(units="size width")` is
    {"size": "units", "width": "units"}.
    """
    return {word: value for value, several in words.items() for word in several.split()}


def did_you_mean(
    word: object,
    legal: Iterable[str],
    otherwise: T,
    synonyms: Mapping[str, str] | None = None,
    written: str | None = None,
) -> str | T:
    """The remedy for what is not among the `legal` words: the nearest of these, `otherwise` where none is.

    `written` is what it replaces, where that is longer than the word.
    """
    legal = list(legal)
    near = nearest(word, legal, synonyms) if isinstance(word, str) else None
    if near is None or not isinstance(word, str):
        return otherwise
    return meant(near, written or word, certain(word, near, legal, synonyms))


def meant(near: str, written: str, safe: bool = False) -> str:
    """The remedy that a word was meant for another."""
    return Remedy(f"did you mean `{near}`?{_foreign(written)}", Change(near, written, safe=safe))


def _foreign(written: str) -> str:
    """Which sign of a word is none of its alphabet, though it may look like one."""
    for sign in written[:_LONGEST_WORD]:
        name = unicodedata.name(sign, "")
        if not sign.isascii() and not name.startswith("LATIN"):
            return f" Its `{sign}` is U+{ord(sign):04X}, {name.lower() or 'no letter'}"
    return ""


def certain(word: str, near: str, legal: Iterable[str], synonyms: Mapping[str, str] | None = None) -> bool:
    """Whether `word` can have meant no other of the words than `near`, its nearest: another library's word
    for the same, the same letters, or few typing mistakes in letters (no digit is taken for another) and no
    second word as near.
    """
    letters, other = _letters(word[:_LONGEST_WORD]), _letters(near)
    if akin(word, near):
        return False
    if letters == other or any(_letters(foreign) == letters for foreign in synonyms or ()):
        return True
    limit = min(max(len(letters), len(other)) // 3, 3)
    distance = _edits(letters, other, limit)
    if distance > limit or re.findall(r"\d", word) != re.findall(r"\d", near):
        return False
    if distance > 1 + (len(letters) >= 8) or len(letters) < 3:
        return False
    return not any(
        name != near
        and abs(len(name) - len(word)) <= 4
        and _edits(letters, _letters(name), distance) <= distance
        for name in legal
        if isinstance(name, str)
    )


def akin(word: str, near: str) -> bool:
    """Whether a word is another library's for what is nearly `near`."""
    return any(same_word(word, each) for each in AKIN.get(near, ()))


def _is_part(a: str, b: str) -> bool:
    short, long = sorted((a, b), key=len)
    return (len(short) >= 3 and long.startswith(short)) or (len(short) >= 4 and long.endswith(short))


def _one_mistake(word: str) -> Iterator[str]:
    """Every word that is one typing mistake away."""
    yield from (word.lower(), word.upper(), word.capitalize())
    letters = string.ascii_letters + string.digits + "_"
    for i in range(len(word) + 1):
        before, after = word[:i], word[i:]
        if after:
            yield before + after[1:]
        if len(after) > 1:
            yield before + after[1] + after[0] + after[2:]
        for letter in letters:
            yield before + letter + after
            if after:
                yield before + letter + after[1:]


def _edits(a: str, b: str, limit: int) -> int:
    """Insertions, deletions, substitutions and transpositions from `a` to `b`, at most `limit + 1`."""
    if a == b:
        return 0
    if limit < 1:
        return limit + 1
    before: list[int] = []
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        new = [i]
        for j, y in enumerate(b, 1):
            cost = min(row[j] + 1, new[j - 1] + 1, row[j - 1] + (x != y))
            if i > 1 and j > 1 and x == b[j - 2] and a[i - 2] == y:
                cost = min(cost, before[j - 2] + 1)
            new.append(cost)
        if min(new) > limit:
            return limit + 1
        before, row = row, new
    return min(row[-1], limit + 1)

"""The apparent content of a table's columns, each with its reason: the source of a first spec."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from graphspec.data.columns import Writing, is_list, is_text, kind_in_words
from graphspec.data.drafting.images import ImageProfile, holds_images, images, names_images, stored_images
from graphspec.data.drafting.words import flow, word
from graphspec.data.lookalikes import DATES, MEASURED, fits, is_iso

CLASSES = 20
"""A target of whole numbers has at most so many values where it is classes."""
GAPS = ("NA", "N/A", "n/a", "#N/A", "<NA>", "NaN", "nan", "null", "NULL", "None", "?", "-")
"""Texts for a missing value in columns that are numbers or dates otherwise. In others, `None` may be a value.
So may `NA` among codes of two letters (Namibia, North America), `-` beside `+`, and each of them where there
is but one other value.
"""
SPOKEN = 0.3
"""The share of rows in which words may stand for missing numbers or dates, at most; there are up to
`MOST_SPOKEN` of them.
"""
MOST_SPOKEN = 3
SPARSE = 0.1
"""A column with values in fewer rows, as a share, is left out."""
CONSTANT = "it has one value"
SKEWED = 20
"""How many medians the largest number is where numbers are read by their logarithm."""
OFTEN = 3
"""How often a value must occur to be learned from."""
REPEATED = 20
"""How often a number must occur to be read as a value of its own, too, where half of the rows have such
numbers, or one of them has a share of `ALONE`. Of many such numbers each must have a share of `APART`: what
is left are steps of a scale, of which a model learns single rows by heart.
"""
ALONE = 0.2
APART = 0.05
MANY = 100
"""Values of a category from which on it has very many."""
NAMED = 1.3
"""Words of such a value, on average, where it is a name whose words are read."""
LISTED = 0.15
"""The share of texts with a separator where a column of them lists values."""
MOST_OF_SET = 200
"""Values of a set that have a place of their own, at most."""
SEPARATORS = ("; ", ";", " | ", "|", ", ", ",", " / ")
IDENTIFIER = re.compile(
    r"(?i:(?:^|[\W_])(?:id|key|idx|index|uuid|guid|nr|no|row|number|unnamed)s?(?:$|[\W_]))|[a-z]I[Dd]$"
)
"""Names of columns that say which row is which."""
NAMING = re.compile(
    r"(?i:(?:^|[\W_])(?:id|code|key|user|customer|member|item|movie|film|product|book|song|track|article)$)"
    r"|[a-z]I[Dd]$"
)
"""Names of columns whose whole numbers name something, and measure nothing."""
WORDS = 3
"""Words in a row from which on a column is text, on average."""


@dataclass(frozen=True, slots=True)
class ColumnProfile:
    """The content of a column: `kind` is number, date, category, set, text, letters, tokens, vector or image;
    left where it is not used.
    """

    name: str
    kind: str
    reason: str
    distinct: int
    missing: int
    images: ImageProfile | None = None
    formats: tuple[str, ...] = ()
    """Of dates: the formats that every row fits; none for ISO 8601."""
    parts: tuple[str, ...] = ()
    """Of dates: what `encode: date` takes of them."""
    rank: tuple[bool, float] = (False, 0.0)
    """Of dates: whether they never fall from row to row, or never rise, and their median. Of several columns
    the one of the highest rank is the time of the rows; others are of what was before: births, of patients.
    """
    width: int = 0
    """The numbers of a vector, or the values of a set."""
    separator: str | None = None
    """The text between the values of a set; None where a list holds them."""
    writing: Writing | None = None
    """How texts write numbers, where it takes keys to read them."""
    frequent: int = 0
    """Of a category with very many values, how many occur often."""
    repeated: int = 0
    """Of numbers that are read as values, too: how many occur often."""
    skewed: bool = False
    """Whether numbers of 0 and more have a few that are far larger than the others."""
    key: bool = False
    """Whether it says which row is which."""

    def marked(self, decimal: str) -> ColumnProfile:
        """The same, of numbers whose decimal mark is not that of the table."""
        return replace(self, writing=Writing(decimal=decimal)) if self.kind == "number" else self

    def keys(self) -> str:
        """The keys of a feature that read its numbers."""
        if self.writing is None:
            return ""
        return "".join(f", {key}: {flow(value)}" for key, value in asdict(self.writing).items() if value)


def look(name: str, column: pa.Array, folder: Path | None = None) -> ColumnProfile:
    """Profiles a column; names of images in it start from `folder`."""
    return profile(name, without(column, gaps_of(column)), folder)


def profile(
    name: str,
    column: pa.Array,
    folder: Path | None,
    decimal: str = ".",
    asked: bool = False,
    step: int = 1,
) -> ColumnProfile:
    """Profiles a column whose missing values are null, of every `step`-th row of a table. `decimal` is the
    decimal mark of texts that are more than a number. In a column that is asked for, as targets are, numbers
    are read however few there are, and though they number the rows.
    """
    there = column.drop_null()
    kind, reason = _kind(there)
    if not asked and 0 < len(there) < SPARSE * len(column):
        kind, reason = "left", f"{len(column) - len(there):,} of {len(column):,} rows have no value"
    seen = ColumnProfile(name, kind, reason, _distinct(there), len(column) - len(there))
    if reason == CONSTANT and not asked and seen.missing >= SPARSE * len(column) and _is_plain(there.type):
        return replace(seen, kind="category", reason="one value or none, as of a mark")
    if is_text(there.type) and kind in ("category", "text", "left") and names_images(there):
        pictures = images(there.to_pylist(), folder) if folder is not None else None
        if pictures is None:
            return replace(seen, kind="left", reason=f"there is no image `{there[0]}`")
        return replace(seen, kind="image", reason="names of images", images=pictures)
    if holds_images(there.type) and len(there):
        pictures = stored_images(there)
        reason = "images" if pictures is not None else "its bytes are not those of an image that can be read"
        return replace(seen, kind="image" if pictures is not None else "left", reason=reason, images=pictures)
    if is_list(there.type) and pa.types.is_floating(there.type.value_type) and len(there):
        return _vectors(seen, there)
    if kind == "date":
        formats = _formats(there) if is_text(there.type) else ()
        known = _times(there, formats)
        return replace(seen, formats=formats, parts=_date_parts(known), rank=_rank(known))
    if is_list(there.type) and kind == "tokens":
        listed = _listed_set(seen, there) if is_text(there.type.value_type) else None
        empty = pc.sum(pc.equal(pc.list_value_length(there), 0)).as_py() or 0
        return listed or replace(seen, missing=seen.missing + empty)
    if len(there) and is_text(there.type) and kind in ("category", "text", "left"):
        if (forms := _forms(there) or _json(there)) is not None:
            return replace(seen, kind="left", reason=forms, distinct=0)  # its texts are no classes
        texts = _measured_numbers(seen, there, decimal, asked)
        if texts is None and not words_of(there, 1.0):  # beside which commas are of numbers
            texts = _joined_set(seen, there)
        if texts is not None:
            return texts
    if kind == "number":
        return _numeric(seen, there, asked, step)
    if kind == "left" and is_text(there.type) and seen.distinct == len(column) > CLASSES:
        return replace(seen, reason="a different value in every row: it identifies rows", key=True)
    return _many_values(seen, there) if kind == "category" and is_text(there.type) else seen


def alone(seen: ColumnProfile, column: pa.Array, folder: Path | None, decimal: str) -> ColumnProfile:
    """Profiles a column that would be left out, where there is no other to read: numbers of the rows are
    numbers, and of texts that differ in nearly every row the letters are read. One whose name identifies rows
    stays left out.
    """
    if seen.kind != "left" or seen.distinct < 2 or IDENTIFIER.search(seen.name):
        return seen
    seen = profile(seen.name, column, folder, decimal, asked=True)
    there = column.drop_null()
    if seen.kind == "left" and seen.distinct and is_text(there.type) and not names_images(there):
        reason = "its texts hardly ever repeat: their letters are read, three by three"
        return replace(seen, kind="letters", reason=reason, key=False)
    return seen


def _numeric(seen: ColumnProfile, there: pa.Array, asked: bool, step: int = 1) -> ColumnProfile:
    """A column of numbers, or of whole ones that only say which row is which."""
    values = there if not is_text(there.type) else pc.utf8_trim_whitespace(there)
    numbers = values.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False)
    with np.errstate(invalid="ignore"):  # of an infinity, which reading refuses
        whole = bool((numbers % 1 == 0).all())
    unique = whole and seen.distinct == len(there) > CLASSES
    if unique and not asked and numbers.max() - numbers.min() == step * (len(numbers) - 1):
        return replace(seen, kind="left", reason="it numbers the rows", key=not seen.missing)
    if unique and not asked and IDENTIFIER.search(seen.name):
        reason = "whole numbers that differ in every row identify rows: its name says so"
        return replace(seen, kind="left", reason=reason, key=True)
    if whole and not (unique and asked) and seen.distinct > 2 and NAMING.search(seen.name):
        texts = pa.array([f"{number:.0f}" for number in numbers])
        reason = f"{seen.distinct:,} whole numbers that name something: its name says so"
        return _many_values(replace(seen, kind="category", reason=reason), texts)
    middle = float(np.median(numbers))
    skewed = bool(numbers.min() >= 0) and float(numbers.max()) > SKEWED * max(middle, 1e-9) > 0
    counts = np.unique(numbers, return_counts=True)[1]
    often = counts[counts >= REPEATED]
    if len(often) > 1 / APART:
        often = counts[counts >= APART * len(numbers)]
    read = often.sum() >= len(numbers) / 2 or often.max(initial=0) >= ALONE * len(numbers)
    repeated = len(often) if len(counts) > 2 and read else 0
    return replace(seen, skewed=skewed, repeated=repeated)


def _measured_numbers(
    seen: ColumnProfile, there: pa.Array, decimal: str, asked: bool
) -> ColumnProfile | None:
    """Texts that are numbers with one unit, or with separated thousands."""
    texts = pc.unique(pc.utf8_trim_whitespace(there)).to_pylist()
    matches = [MEASURED.fullmatch(text) for text in texts]
    if len(texts) < 2 or not all(matches):
        return None
    before, after = ({m[key] for m in matches if m is not None} - {""} for key in ("before", "after"))
    if max(len(before), len(after)) > 1:
        return None
    prefix, unit = (next(iter(each), None) for each in (before, after))
    there = pc.utf8_trim_whitespace(there)
    writing = Writing(prefix, unit, _thousands(Writing(prefix, unit).bare(there), decimal))
    numbers = cast(writing.plain(there, decimal), pa.float64())
    if numbers is None or writing == Writing():
        return None
    reason = f"{seen.distinct:,} numbers such as `{there[0].as_py()}`"
    measures = asked or prefix is not None or unit is not None
    if decimal != ".":  # as texts of a frame or a request have it, too, which no file is beside
        writing = replace(writing, decimal=decimal)
    return replace(_numeric(replace(seen, kind="number", reason=reason), numbers, measures), writing=writing)


def _thousands(numbers: pa.Array, decimal: str) -> str | None:
    """The separator of thousands: three digits follow it in every number that has it. A decimal mark, in
    contrast, never occurs twice in a number.
    """
    texts = pc.unique(numbers).to_pylist()
    for mark in (",", ".", " ", "'"):
        having = [text for text in texts if mark in text]
        form = re.compile(rf"[+-]?[1-9]\d{{0,2}}(?:{re.escape(mark)}\d{{3}})+(?:[.,]\d+)?")
        sure = mark != decimal or any(text.count(mark) > 1 for text in having)
        if having and sure and all(form.fullmatch(text) for text in having):
            return mark
    return None


def _listed_set(seen: ColumnProfile, there: pa.Array) -> ColumnProfile | None:
    """Lists of texts without an order: no list has a value twice, and there are few values."""
    flat = there.flatten().drop_null()
    counts = pc.value_counts(flat)
    repeated = sum(len(set(row)) < len(row) for row in there.to_pylist())
    if not len(counts) or repeated or len(counts) > MOST_OF_SET or len(flat) < OFTEN * len(counts):
        return None
    reason = f"lists of {len(counts):,} values"
    return replace(seen, kind="set", reason=reason, width=len(counts))


def _joined_set(seen: ColumnProfile, there: pa.Array) -> ColumnProfile | None:
    """Texts that list a few values after one another: `Action, Comedy`."""
    for separator in SEPARATORS:
        share = pc.mean(pc.match_substring(there, separator).cast(pa.float64())).as_py()
        if share < LISTED:
            continue
        pieces = pc.split_pattern(there, separator)
        flat = pc.utf8_trim_whitespace(pieces.flatten())
        values = pc.value_counts(flat)
        words = pc.mean(pc.list_value_length(pc.split_pattern(flat, " "))).as_py()
        often = sum(each["counts"] >= OFTEN for each in values.to_pylist())
        few = len(values) < seen.distinct and len(flat) >= OFTEN * len(values)
        if few and words < WORDS and often > 1:
            width = min(often, MOST_OF_SET)
            reason = f"lists of {len(values):,} values, separated by `{separator.strip() or separator}`"
            return replace(seen, kind="set", reason=reason, width=width, separator=separator)
    return None


def _many_values(seen: ColumnProfile, there: pa.Array) -> ColumnProfile:
    """A category. With very many values it becomes a text if they are names of several words, else only
    frequent values get an id.
    """
    if seen.distinct <= MANY:
        return seen
    words = pc.mean(pc.list_value_length(pc.split_pattern(there, " "))).as_py()
    counts = pc.value_counts(there).to_pylist()
    frequent = sum(each["counts"] >= OFTEN for each in counts)
    covered = sum(each["counts"] for each in counts if each["counts"] >= OFTEN) / max(1, len(there))
    if words >= NAMED:
        reason = f"{seen.distinct:,} different names of {words:.1f} words: their words are read"
        return replace(seen, kind="text", reason=reason)
    if covered < 0.2:
        reason = f"{seen.distinct:,} values in {len(there):,} rows, which hardly ever repeat"
        return replace(seen, kind="left", reason=reason)
    reason = f"{seen.distinct:,} values, of which {frequent:,} occur {OFTEN} times or more"
    return replace(seen, frequent=frequent, reason=reason) if frequent < seen.distinct else seen


def _vectors(seen: ColumnProfile, lists: pa.Array) -> ColumnProfile:
    """Lists of numbers, which an input of their name and length reads as they are."""
    lengths = pc.unique(pc.list_value_length(lists)).to_pylist()
    why = None
    if len(lengths) > 1:
        why = "its lists of numbers have different lengths"
    elif seen.missing:
        why = f"{seen.missing:,} of its lists of numbers are missing"
    elif word(seen.name) != seen.name:
        why = "a column of lists of numbers needs a name that an input can have"
    if why is not None:
        return replace(seen, kind="left", reason=why)
    return replace(seen, kind="vector", reason=f"{lengths[0]} numbers a row", width=lengths[0])


def gaps_of(column: pa.Array) -> tuple[str, ...]:
    """The texts of a column that stand for a missing value."""
    if not is_text(column.type):
        return ()
    distinct = set(pc.unique(column.drop_null()).to_pylist())
    gaps, rest = distinct & set(GAPS), pa.array(sorted(distinct - set(GAPS)), pa.string())
    if gaps and cast(rest, pa.float64()) is None and not is_date(rest):
        kept = {"None"} if len(rest) > 1 else gaps
        if all(re.fullmatch("[A-Z]{2}", text) for text in rest.to_pylist()):
            kept = kept | {"NA"}
        if "+" in distinct:
            kept = kept | {"-"}
        gaps -= kept
    return tuple(sorted(gaps))


def spoken_gaps(columns: Mapping[str, pa.Array], targets: Sequence[str]) -> dict[str, list[str]]:
    """Words in columns of numbers or dates, as `pending`, which no other column has as values. A target has
    one of them in any share of its rows, and several in up to half: `S`, `M` and `L` in more are classes.
    """
    candidates = {
        name: (words_of(column, 1.0, 1) if name in targets else set())
        or words_of(column, 0.5 if name in targets else SPOKEN)
        for name, column in columns.items()
    }
    values = {
        word
        for word in set().union(*candidates.values())
        for name, column in columns.items()
        if word not in candidates[name]
        and is_text(column.type)
        and pc.index(column, pa.scalar(word, column.type)).as_py() >= 0
    }
    return {name: sorted(words - values) for name, words in candidates.items() if words - values}


def words_of(column: pa.Array, share: float, most: int = MOST_SPOKEN) -> set[str]:
    """The words among the texts of a column that are numbers or dates otherwise, in up to a share of the
    rows; none where there are more than `most`.
    """
    if not is_text(column.type):
        return set()
    there = column.drop_null()
    there = there.filter(pc.invert(pc.is_in(there, pa.array(GAPS, there.type))))
    texts = pc.unique(there).to_pylist()
    words = {text for text in texts if text.strip() and not any(character.isdigit() for character in text)}
    rest = pa.array([text for text in texts if text not in words], pa.string())
    if not 0 < len(words) <= most or len(rest) < CLASSES:
        return set()
    if pc.sum(pc.is_in(there, pa.array(sorted(words), there.type))).as_py() > share * len(there):
        return set()
    measured = all(MEASURED.fullmatch(text.strip()) for text in rest.to_pylist())
    return words if measured or is_date(rest) or cast(rest, pa.float64()) is not None else set()


def without(column: pa.Array, gaps: Sequence[str]) -> pa.Array:
    """A column whose texts that stand for a missing value are missing."""
    if not gaps or not is_text(column.type):
        return column
    return pc.if_else(pc.is_in(column, pa.array(gaps, column.type)), pa.scalar(None, column.type), column)


def _is_plain(kind: pa.DataType) -> bool:
    return is_text(kind) or any(each(kind) for each in (pa.types.is_integer, pa.types.is_boolean))


def _distinct(there: pa.Array) -> int:
    kind = there.type
    if pa.types.is_nested(kind) or pa.types.is_null(kind) or isinstance(kind, pa.BaseExtensionType):
        return 0
    return int(pc.count_distinct(there).as_py())


def _kind(there: pa.Array) -> tuple[str, str]:
    """The kind and the reason of a column without nulls."""
    kind = there.type
    distinct = _distinct(there)
    if not len(there):
        return "left", "it is empty"
    if is_list(kind):
        nested = pa.types.is_nested(kind.value_type)
        return ("left", "it holds lists of lists or objects") if nested else ("tokens", "a list in each row")
    if distinct == 1:
        return "left", CONSTANT
    if pa.types.is_date(kind) or pa.types.is_timestamp(kind):
        return "date", "dates"
    if pa.types.is_boolean(kind):
        return "category", "true and false"
    if not is_text(kind):
        counted = pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind)
        held = f"it holds {kind_in_words(kind)}"
        if isinstance(kind, pa.FixedShapeTensorType):
            held += f", which an input of its name reads as they are: `{{shape: {kind.shape}}}`"
        return ("number", f"{distinct:,} numbers") if counted else ("left", held)
    as_numbers = cast(there, pa.float64())
    if as_numbers is not None:
        return "number", f"{pc.count_distinct(as_numbers).as_py():,} numbers"
    if is_date(there):
        return "date", "dates"
    words = pc.mean(pc.list_value_length(pc.split_pattern(there, " "))).as_py()
    if words >= WORDS or (words > 1.5 and distinct > len(there) / 2):
        return "text", f"{words:.1f} words a row"
    if distinct > 0.9 * len(there) and distinct > CLASSES:
        return "left", "nearly every row has a different value, as what identifies rows"
    return "category", f"{distinct:,} values"


def is_date(texts: pa.Array) -> bool:
    return len(texts) > 0 and (_moments(texts) is not None or bool(_formats(texts)))


def _moments(texts: pa.Array) -> pa.Array | None:
    """Texts of ISO 8601 as times; those with zones in UTC."""
    times = cast(texts, pa.timestamp("us"))
    return cast(texts, pa.timestamp("us", "UTC")) if times is None else times


def _forms(texts: pa.Array) -> str | None:
    """Why a column of dates in several forms is left out; None where it holds something else."""
    known: dict[str, str] = {}
    for text in pc.unique(texts).to_pylist():
        if not any(character.isdigit() for character in text):
            return None
        forms = [_iso_form(text)] if is_iso(text) else [format for format in DATES if fits(text, format)]
        if not forms:
            return None
        if not any(form in known for form in forms):
            known[forms[0]] = text
    if len(known) < 2:
        return None
    samples = " and ".join(f"`{text}`" for text in list(known.values())[:3])
    return f"its dates are written in {len(known)} ways, as {samples}: write them in one"


def _json(texts: pa.Array) -> str | None:
    """Why a column of JSON's lists or objects as texts is left out; None where it holds something else."""
    distinct = pc.unique(texts)
    if not pc.all(pc.match_substring_regex(distinct, r"^\s*[\[{]")).as_py():
        return None
    try:
        held = {type(json.loads(text)) for text in distinct.to_pylist()}
    except ValueError:
        return None
    kinds = " and ".join(name for kind, name in ((list, "lists"), (dict, "objects")) if kind in held)
    sample = texts[0].as_py()
    shortened = sample if len(sample) <= 40 else f"{sample[:40]}..."
    remedy = "write the file as .jsonl, which holds them as they are"
    return f"its texts are {kinds} of JSON, as `{shortened}`: {remedy}"


def _iso_form(text: str) -> str:
    return "ISO 8601" if datetime.fromisoformat(text).tzinfo is None else "ISO 8601 with a zone"


def _formats(texts: pa.Array) -> tuple[str, ...]:
    """The formats of dates that all of some texts fit; none for ISO 8601."""
    if _moments(texts) is not None:
        return ()
    distinct = pc.unique(texts).to_pylist()
    return tuple(format for format in DATES if all(fits(text, format) for text in distinct))


def _times(dates: pa.Array, formats: tuple[str, ...]) -> pa.Array:
    """A column of dates as times or days."""
    if not formats:
        return _moments(dates) if is_text(dates.type) else dates
    encoded = dates.dictionary_encode()
    texts = encoded.dictionary.to_pylist()
    known = pa.array([datetime.strptime(text, formats[0]).replace(tzinfo=None) for text in texts])
    return known.take(encoded.indices)


def _rank(known: pa.Array) -> tuple[bool, float]:
    ticks = known.cast(pa.timestamp("us", getattr(known.type, "tz", None)), safe=False).cast(pa.int64())
    numbers = np.asarray(ticks)
    changes = np.diff(numbers)
    return bool((changes >= 0).all() or (changes <= 0).all()), float(np.median(numbers))


def _date_parts(known: pa.Array) -> tuple[str, ...]:
    """The parts in which dates differ. Where all are of one day of the month, as those of months and years
    are, their weekdays say nothing.
    """

    def differs(part: Callable[[pa.Array], pa.Array]) -> bool:
        return bool(pc.count_distinct(part(known)).as_py() > 1)

    kept = ["year"] if differs(pc.year) else []
    kept += ["month_sin", "month_cos"] if differs(pc.month) else []
    kept += ["weekday"] if differs(pc.day) and differs(pc.day_of_week) else []
    timed = pa.types.is_timestamp(known.type) and differs(pc.hour)
    kept += ["hour_sin", "hour_cos"] if timed else []
    return tuple(kept) or ("year", "month_sin", "month_cos", "weekday")


def cast(column: pa.Array, kind: pa.DataType) -> pa.Array | None:
    try:
        return pc.utf8_trim_whitespace(column).cast(kind)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        return None

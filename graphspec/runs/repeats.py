"""Runs of a spec that differ by chance alone, seeds or folds, and whether two such groups differ by more."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from graphspec.runs.directory import RunRow, entries, holds_run, row_of

MEMBER = re.compile(r"(seed|fold)-([0-9]+)")
"""The name of the directory of one of the runs."""
LEVEL = 0.05
"""Differences that chance makes more often than this are none."""


@dataclass(frozen=True, slots=True)
class RunGroup:
    """A directory with runs by seed or by fold; or a single run."""

    path: Path
    rows: tuple[RunRow, ...]
    """Those that have completed an epoch."""
    word: str = "run"
    """The name of the varied setting: `seed` or `fold`."""

    @property
    def names(self) -> list[str]:
        """The values that all of them have."""
        first, *others = (list(row.values) for row in self.rows) if self.rows else ([],)
        return [name for name in first if all(name in other for other in others)]

    def values(self, name: str) -> list[float]:
        """Of each run the value of its best epoch, without those that have none."""
        found = (row.values.get(name) for row in self.rows)
        return [float(value) for value in found if isinstance(value, int | float)]

    def spread(self, name: str) -> tuple[float | None, float | None]:
        """The mean over the runs, and the standard deviation of one; None where there are too few."""
        values = self.values(name)
        deviation = float(np.std(values, ddof=1)) if len(values) > 1 else None
        return (float(np.mean(values)) if values else None), deviation

    def to_json(self) -> dict[str, Any]:
        spreads = {name: self.spread(name) for name in self.names}
        return {
            "run_dir": str(self.path),
            "by": self.word,
            "runs": [str(row.path) for row in self.rows],
            "mean": {name: mean for name, (mean, _) in spreads.items()},
            "deviation": {name: deviation for name, (_, deviation) in spreads.items()},
        }


def members(path: Path) -> list[Path]:
    """The runs in a directory that are named by their seeds or folds, in the order of these numbers."""
    named = [(match, entry) for entry in entries(path) if (match := MEMBER.fullmatch(entry.name))]
    runs = [(match[1], int(match[2]), entry) for match, entry in named if holds_run(entry)]
    return [entry for _, _, entry in sorted(runs)]


def repeated(path: Path) -> RunGroup:
    """The runs in a directory, or the run that it is."""
    found = [] if holds_run(path) else members(path)
    rows = [row_of(each) for each in found or [path]]
    word = found[0].name.partition("-")[0] if found else "run"
    return RunGroup(path, tuple(row for row in rows if row.values), word)


def list_repeated(parent: Path) -> list[RunGroup]:
    """The directories of repeated runs in a directory, also those of presets; itself, if it is one."""
    paths = [parent, *(path for entry in entries(parent) for path in (entry, *entries(entry)))]
    return [repeated(path) for path in paths if members(path)]


def presets_of(path: Path) -> list[Path]:
    """The directories of repeated runs of presets in a directory that is none itself; else the directory."""
    inner = [] if holds_run(path) or members(path) else [entry for entry in entries(path) if members(entry)]
    return inner or [path]


@dataclass(frozen=True, slots=True)
class Difference:
    """How far the mean of a value is from that of another group, and how often chance alone makes it differ
    so much: `p`, None where too few runs tell.
    """

    name: str
    run: Path
    other: Path
    difference: float
    p: float | None

    @property
    def significant(self) -> bool:
        return self.p is not None and self.p < LEVEL

    def to_json(self) -> dict[str, Any]:
        values = {"name": self.name, "run": str(self.run), "other": str(self.other)}
        return {**values, "difference": self.difference, "p": self.p, "significant": self.significant}


def differences(groups: Sequence[RunGroup]) -> list[Difference]:
    """Each value of validation (or of training, where none has others) in each group against the first. With
    several groups, p is Holm's: the chance of one false difference among all of a value stays that of one.
    """
    first, *others = groups
    found = []
    for name in scores(groups):
        pairs = [(other, first.spread(name)[0], other.spread(name)[0]) for other in others]
        known = [(other, mean - base) for other, base, mean in pairs if mean is not None and base is not None]
        chances = holm([chance(first, other, name) for other, _ in known])
        found += [
            Difference(name, other.path, first.path, apart, p)
            for (other, apart), p in zip(known, chances, strict=True)
        ]
    return found


def scores(groups: Sequence[RunGroup]) -> list[str]:
    """The values to compare: those of validation, where there are some."""
    names = list(dict.fromkeys(name for group in groups for name in group.names))
    return [name for name in names if name.startswith("val_")] or names


def chance(first: RunGroup, other: RunGroup, name: str) -> float | None:
    """The p of a difference of means in a t test of two sides: Welch's, as seeds are independent; of folds,
    that of Nadeau and Bengio on their pairs, which counts in that folds share most of their training rows.
    """
    one, two = first.values(name), other.values(name)
    if "fold" in (first.word, other.word):
        same = [row.path.name for row in first.rows] == [row.path.name for row in other.rows]
        return _paired(np.subtract(two, one)) if same and len(one) == len(two) else None
    if min(len(one), len(two)) < 2:
        return None
    shares = [float(np.var(each, ddof=1)) / len(each) for each in (one, two)]
    apart, total = float(np.mean(two) - np.mean(one)), sum(shares)
    if total == 0:
        return float(apart == 0)
    freedom = total**2 / sum(share**2 / (len(v) - 1) for share, v in zip(shares, (one, two), strict=True))
    return beyond(apart / math.sqrt(total), freedom)


def _paired(apart: Any) -> float | None:
    count = len(apart)
    if count < 2:
        return None
    variance = float(np.var(apart, ddof=1)) * (1 / count + 1 / (count - 1))
    mean = float(np.mean(apart))
    return beyond(mean / math.sqrt(variance), count - 1) if variance else float(mean == 0)


def beyond(t: float, freedom: float) -> float:
    """How often Student's t is at least so far from 0: with t = sqrt(freedom) / tan(angle), its density is a
    power of the sine.
    """
    first, steps = math.atan(abs(t) / math.sqrt(freedom)), np.arange(20000) + 0.5
    widths = (np.pi / 2 - first) / len(steps), np.pi / 2 / len(steps)
    tail, whole = (w * (np.sin(w * steps) ** (freedom - 1)).sum() for w in widths)
    return float(min(1.0, tail / whole))


def holm(chances: Sequence[float | None]) -> list[float | None]:
    """Each p for a family of tests, after Holm."""
    known = sorted((p, index) for index, p in enumerate(chances) if p is not None)
    corrected: list[float | None] = [None] * len(chances)
    largest = 0.0
    for place, (p, index) in enumerate(known):
        largest = max(largest, min(1.0, p * (len(known) - place)))
        corrected[index] = largest
    return corrected


def ablation(groups: Sequence[RunGroup], settings: Mapping[str, Sequence[str]]) -> list[list[str]]:
    """A table for a paper: a row for each group, with the settings that differ and its values as mean ± the
    deviation of a run; `*` where one differs from the first by more than chance.
    """
    marks = {(each.run, each.name): each.significant for each in differences(groups)}
    names = scores(groups)
    rows = [["", *settings, *names]]
    for index, group in enumerate(groups):
        cells = [
            spread_text(*group.spread(name)) + ("*" if marks.get((group.path, name)) else "")
            for name in names
        ]
        rows.append([group.path.name, *(values[index] for values in settings.values()), *cells])
    return rows


def spread_text(mean: float | None, deviation: float | None) -> str:
    """`0.9712 ± 0.0031`, the mean with as many digits as its deviation gives sense."""
    if mean is None:
        return "-"
    if not deviation:
        return f"{mean:.4g}" if deviation is None else f"{mean:.4g} ± 0"
    digits = max(0, 1 - math.floor(math.log10(deviation)))
    return f"{mean:.{digits}f} ± {deviation:.{digits}f}"


def markdown(rows: Sequence[Sequence[str]]) -> str:
    """A table of texts in Markdown, the first row its header."""
    lines = ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows]
    return "\n".join([lines[0], "|" + " --- |" * len(rows[0]), *lines[1:]]) + "\n"


ESCAPED = str.maketrans({c: f"\\{c}" for c in "&%$#_{}"} | {"±": r"$\pm$", "*": "$^*$", "~": r"\~{}"})


def latex(rows: Sequence[Sequence[str]]) -> str:
    """The same in LaTeX, with booktabs."""
    escape = [" & ".join(c.replace("\\", "/").translate(ESCAPED) for c in row) + r" \\" for row in rows]
    begin = rf"\begin{{tabular}}{{{'l' * len(rows[0])}}}"
    body = [r"\toprule", escape[0], r"\midrule", *escape[1:], r"\bottomrule"]
    return "\n".join([begin, *body, r"\end{tabular}"]) + "\n"

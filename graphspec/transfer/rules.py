"""Rules: which tensors of a file the weights of a spec come from.

prefix: transformer.                        what is before every name of the file
weights:                                    target: source, or a mapping; the first that matches counts
  words.embeddings: wte.weight
  layers.{i}.attention.{part}.{w}:
    from: h.{i}.attn.c_attn.{w}
    transpose: true
    split: {part: [query, key, value]}
drop: ["h.{i}.attn.bias"]                   what of the file nobody needs
fresh: ["probs.*"]                          targets that keep their initial values
flatten: chw                                the order in which the file's network flattens images
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from importlib import resources
from itertools import permutations
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Field

from graphspec.contract.fields import as_tuple
from graphspec.diagnostics import Diagnostic, Diagnostics, Span, by_word, did_you_mean, fail, nearest
from graphspec.files.reading import read_text
from graphspec.settings import Problem, Setting, SettingError, show, validate
from graphspec.source import read
from graphspec.transfer.patterns import Pattern, PatternError, names_of, pattern

ORDERS = {
    "".join(order): order for axes in ("hwc", "dhwc", "lc") for order in permutations(axes)
}  # what `flatten` may say
SHIPPED = resources.files("graphspec.transfer") / "shipped"


def _as_names(value: object) -> object:
    return (value,) if isinstance(value, str) else as_tuple(value)


Names = Annotated[tuple[str, ...], BeforeValidator(_as_names)]


class Origin(Setting):
    """The source of a target: one tensor of the file, or several, and how they become it.

    In this order: several become one along `axis` (or their `sum`); a tensor in Keras' `layout` becomes
    PyTorch's; a matrix is transposed, or the axes permuted; one of the parts named by `split` is taken, which
    lie along `axis`, within each of `groups` equal blocks of it, or the rest from `start` on; the heads of a
    part, each of `head_size` elements, are put one after the other where they alternate; columns that stand
    for the pixels of an image in the order `flatten` are put into the spec's.
    """

    source: Names = Field(alias="from", min_length=1)
    sum: bool = False
    transpose: bool = False
    permute: Annotated[tuple[int, ...] | None, BeforeValidator(as_tuple)] = None
    split: dict[str, Names] | None = None
    axis: int = 0
    groups: Annotated[int, Field(ge=1)] = 1
    head_size: Annotated[int | None, Field(ge=1)] = None
    start: Annotated[int, Field(ge=0)] = 0
    flatten: str | None = None
    layout: Literal["pytorch", "keras"] | None = None

    synonyms: ClassVar = {
        "source": "from",
        "dim": "axis",
        "chunk": "split",
        "parts": "split",
        "heads": "groups",
        "add": "sum",
        "order": "flatten",
    }


class RulesFile(Setting):
    """A file of rules, as it is written."""

    prefix: str | None = None
    weights: dict[str, Any] = {}
    drop: Names = ()
    fresh: Names = ()
    flatten: str | None = None

    synonyms: ClassVar = by_word(weights="rules rename map", drop="ignore", fresh="new")


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule: the targets whose keys match `to` come from `origin`."""

    to: Pattern
    origin: Origin
    span: Span | None = field(default=None, compare=False)

    @property
    def split(self) -> tuple[str, tuple[str, ...]] | None:
        """The placeholder that distinguishes the parts, and its value in each, in their order."""
        return next(iter(self.origin.split.items())) if self.origin.split else None


@dataclass(frozen=True, slots=True)
class Rules:
    """All rules of a file; the first that matches a target, and whose sources are there, counts."""

    rules: tuple[Rule, ...] = ()
    prefix: str | None = None
    drop: tuple[str, ...] = ()
    fresh: tuple[str, ...] = ()
    flatten: str | None = None
    file: str = ""

    def with_fresh(self, patterns: Iterable[str]) -> Rules:
        return replace(self, fresh=(*self.fresh, *patterns))


def read_rules(text: str, file: str) -> Rules:
    """The rules in a text. Raises `SpecError` with every mistake at its place."""
    diagnostics = Diagnostics()
    document = read(text, file, diagnostics)
    diagnostics.raise_if_errors()
    assert document is not None

    def report(problem: Problem, path: tuple[str | int, ...]) -> None:
        key = problem.code == "unknown-key"
        where = path if problem.code == "missing-key" else (*path, *problem.path)
        span = document.key(where) if key or problem.code == "missing-key" else document.span(where)
        diagnostics.add(Diagnostic(problem.code, problem.message, span, help=problem.help))

    try:
        written = validate(RulesFile, document.value, "a file of rules")
    except SettingError as error:
        for problem in error.problems:
            report(problem, ())
        diagnostics.raise_if_errors()
        raise
    for key in ("drop", "fresh"):
        for text in getattr(written, key):
            _checked(lambda text=text: pattern(text), (key,), report)
    _check_flatten(written.flatten, ("flatten",), report)
    rules = []
    for to, value in written.weights.items():
        path = ("weights", to)
        several = isinstance(value, list)
        for index, each in enumerate(value if several else [value]):
            rule = _rule(to, each, (*path, index) if several else path, report)
            if rule is not None:
                rules.append(replace(rule, span=document.key(path)))
    diagnostics.raise_if_errors()
    return Rules(tuple(rules), written.prefix, written.drop, written.fresh, written.flatten, file)


def _rule(to: str, value: Any, path: tuple[str | int, ...], report: Any) -> Rule | None:
    """One entry of `weights`, or None with what is wrong with it reported."""
    if isinstance(value, str):
        value = {"from": value}
    if not isinstance(value, dict):
        help = "a name of the file, or {from: name, transpose: true}"
        report(Problem("wrong-type", f"`{to}` comes from a name, not from {show(value)}", help), path)
        return None
    try:
        origin = validate(Origin, value, "a rule")
    except SettingError as error:
        for problem in error.problems:
            report(problem, path)
        return None
    words = tuple((name, names) for name, names in (origin.split or {}).items())
    target = _checked(lambda: pattern(to, words), path, report)
    if target is None or not _check_flatten(origin.flatten, (*path, "flatten"), report):
        return None
    if len(words) > 1 or any(len(names) < 2 or name not in target.names for name, names in words):
        help = "for example `layers.{i}.{part}.weight` with {part: [query, key, value]}"
        message = "`split` names one placeholder of the target and the two or more parts that replace it"
        report(Problem("out-of-range", message, help, ("split",)), path)
        return None
    taken = {name for name, _ in words}
    for source in origin.source:
        read = _checked(lambda source=source: names_of(source), path, report)
        if read is None:
            return None
        unknown = sorted(read - set(target.names))
        if unknown and unknown[0].startswith("*"):
            report(Problem("unknown-name", f"`{source}` has more `*` than `{to}`", None, ("from",)), path)
            return None
        if unknown or read & taken:
            word = unknown[0] if unknown else min(taken)
            legal = ", ".join(f"{{{name}}}" for name in target.names if name not in taken)
            near = nearest(word, set(target.names) - taken)
            help = f"did you mean `{{{near}}}`?" if near else f"`{to}` has {legal or 'no placeholders'}"
            if not unknown:
                help = "the parts of a split have one source; without `split` each has its own"
            report(Problem("unknown-name", f"`{source}` uses `{{{word}}}`", help, ("from",)), path)
            return None
    return Rule(target, origin)


def _checked(make: Any, path: tuple[str | int, ...], report: Any) -> Any:
    try:
        return make()
    except PatternError as error:
        report(Problem("expression-syntax", str(error)), path)
        return None


def _check_flatten(word: str | None, path: tuple[str | int, ...], report: Any) -> bool:
    if word is None or word in ORDERS:
        return True
    help = "the axes in their order: `chw` as PyTorch flattens images, `hwc` as Keras and specs do"
    report(Problem("out-of-range", f"`flatten` is not an order of axes: {show(word)}", help), path)
    return False


def shipped() -> list[str]:
    """The names of the rules that come with graphspec."""
    files = SHIPPED.iterdir()
    return sorted(file.name.removesuffix(".yaml") for file in files if file.name.endswith(".yaml"))


def load_rules(name: str) -> Rules:
    """The rules of a file, or those of that name that come with graphspec. Raises `SpecError`."""
    known = shipped()
    if name in known:
        return read_rules((SHIPPED / f"{name}.yaml").read_text(encoding="utf-8"), name)
    try:
        text = read_text(Path(name))
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        ours = known if "/" not in name and "." not in name else ()
        help = did_you_mean(name, ours, f"graphspec has: {', '.join(known)}; or name a file")
        message = f"the rules `{name}` cannot be read: {reason or error}"
        raise fail("rules-missing", message, help) from None
    return read_rules(text, name)

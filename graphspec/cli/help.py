"""How `--help` is laid out: the names of arguments, and headings over options and over commands."""

from __future__ import annotations

import errno
import math
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

from graphspec.diagnostics.text import shortened

PLACES = ("data", "output", "weights")
"""Parameters that are texts, as they may be addresses or words, and else paths."""
UNBOUNDED = 1e12
"""A bound of numbers that are as large as anyone wants."""
HEADINGS: Mapping[str, Sequence[str]] = {
    "Write a spec": ("new", "check", "fmt", "layers", "explain"),
    "Look at a spec": ("summary", "plot", "resolve", "diff"),
    "Train it": ("plan", "prepare", "train", "tune", "runs", "report", "backtest", "drift"),
    "Use a trained model": ("evaluate", "predict", "generate", "build", "serve"),
    "Take models and weights over": ("import", "weights", "migrate", "prove", "verify", "audit"),
    "Connect editors and programs": ("schema", "server", "mcp"),
}
"""The commands as `graphspec --help` lists them: in the order in which one needs them."""


class GroupedCommand(TyperCommand):
    """A command whose `--help` lists its options under the headings of `GROUPS` in its file."""

    groups: Mapping[str, Sequence[str]] = {}

    def parse_args(self, ctx: Any, args: list[str]) -> Any:
        """Also finds what the types of values let pass: a path that no file can have, and NaN."""
        left = super().parse_args(ctx, args)
        parameter: Any  # a class of click's or of typer's own, by its release
        for parameter in self.get_params(ctx):
            value = ctx.params.get(parameter.name or "")
            for each in value if isinstance(value, list | tuple) else (value,):
                why = _wrong(each, parameter.name in PLACES)
                if why is not None:
                    place: Any = parameter
                    raise typer.BadParameter(why, ctx=ctx, param=place)
        return left

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        """Names of arguments as their files write them: some releases of typer put them in braces."""
        names = [_name(each) for each in self.get_params(ctx) if each.param_type_name == "argument"]
        return [*filter(None, [self.options_metavar]), *names]

    def format_options(self, ctx: Any, formatter: Any) -> None:
        headings = {name: title for title, names in self.groups.items() for name in names}
        sections: dict[str, list[tuple[str, str]]] = {"Arguments": [], **{title: [] for title in self.groups}}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record is None:
                continue
            if parameter.param_type_name == "argument":
                sections["Arguments"].append((_name(parameter), getattr(parameter, "help", None) or ""))
            else:
                title = headings.get(parameter.name or "", "Options")
                sections.setdefault(title, []).append((record[0], _in_words(record[1])))
        _write(formatter, sections.items())


def write_commands(group: TyperGroup, ctx: Any, formatter: Any) -> None:
    """The commands under their headings, each with its first sentence."""
    longest = max(map(len, group.list_commands(ctx)))
    left = formatter.width - 6 - longest
    sections = [
        (title, [(name.ljust(longest), group.commands[name].get_short_help_str(left)) for name in names])
        for title, names in HEADINGS.items()
    ]
    _write(formatter, sections)


def _wrong(value: object, is_place: bool) -> str | None:
    """The mistake in a number, a text or a path, whatever it is for."""
    if isinstance(value, float) and math.isnan(value):
        return "it is not a number"
    text = str(value)
    if (isinstance(value, str) or is_place) and any("\ud800" <= letter <= "\udfff" for letter in text):
        return f"{shortened(text)!r} is not text in UTF-8"
    if isinstance(value, Path) or (isinstance(value, str) and is_place and "://" not in text):
        try:
            os.stat(text)
        except OSError as error:
            if error.errno in (errno.ENAMETOOLONG, errno.ELOOP):
                return f"{shortened(text)}: {error.strerror}"
        except ValueError:  # a NUL
            return f"{shortened(text)!r} is not a path"
    return None


def _name(argument: Any) -> str:
    """As in the usage line: `SPEC`, or `[NAME]` where it may be left out."""
    name: str = argument.metavar
    return name if argument.required or name.startswith("[") else f"[{name}]"


_RANGE = re.compile(r"(?:([\d.]+)<=?)?x(?:<=?([\d.]+)|>=?([\d.]+))?(?=\])")
"""The range of a number as the parser writes it: `0<=x<=65535`, `x>=1`."""


def _in_words(text: str) -> str:
    """The help of an option with its range in words, without a bound that only keeps numbers finite."""

    def words(found: re.Match[str]) -> str:
        low, high = found[1] or found[3], found[2]
        bounded = high is not None and float(high) < UNBOUNDED
        return f"{low} to {high}" if low and bounded else f"at least {low}" if low else f"at most {high}"

    return _RANGE.sub(words, text)


def _write(formatter: Any, sections: Iterable[tuple[str, Sequence[tuple[str, str]]]]) -> None:
    for title, records in sections:
        if records:
            with formatter.section(title):
                formatter.write_dl(records)

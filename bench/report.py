"""Result tables: data first, then Markdown."""

import datetime
import os
import platform
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

Value = str | int | float | None


@dataclass(frozen=True, slots=True)
class Column:
    """`key` is the key of the value in a row; `show` formats it (a missing value is a dash)."""

    key: str
    heading: str
    show: Callable[..., str] = str


@dataclass(frozen=True, slots=True)
class Table:
    title: str
    note: str
    columns: tuple[Column, ...]
    rows: tuple[Mapping[str, Value], ...]

    def markdown(self) -> str:
        texts = [[column.heading for column in self.columns]]
        for row in self.rows:
            texts.append([_show(column, row.get(column.key)) for column in self.columns])
        widths = [max(map(len, column)) for column in zip(*texts, strict=True)]
        texts.insert(1, ["-" * width for width in widths])
        lines = [
            "| " + " | ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)) + " |"
            for row in texts
        ]
        return "\n".join([f"## {self.title}", "", self.note, "", *lines, ""])

    def to_json(self) -> dict[str, object]:
        return {"title": self.title, "note": self.note, "rows": [dict(row) for row in self.rows]}


def _show(column: Column, value: Value) -> str:
    return "-" if value is None else column.show(value)


def seconds(value: float) -> str:
    return f"{value:.2f} s" if value >= 1 else f"{value:.3f} s"


def duration(value: float) -> str:
    """Microseconds, milliseconds or seconds, with four digits."""
    for unit, scale in (("us", 1e6), ("ms", 1e3)):
        if value * scale < 1000:
            return f"{value * scale:.1f} {unit}"
    return f"{value:.3f} s"


def environment(threads: int) -> dict[str, str]:
    """The conditions of a run: date, machine, versions, threads."""
    packages = ("torch", "keras", "pydantic", "pyyaml", "typer")
    return {
        "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "machine": f"{_processor()}, {os.cpu_count()} cores, {platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        **{package: version(package) for package in packages},
        "torch threads": str(threads),
    }


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or "unknown processor"

"""What a server is told when it starts, and the reader of a plain command line, which takes no library."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

COUNT = (1, 10**12)
SECONDS = (0.001, 10**6)
RANGES: Mapping[str, tuple[float, float]] = {
    "port": (0, 65535),
    "batch": COUNT,
    "batch_wait": (0, 10**6),
    "max_bytes": COUNT,
    "max_rows": COUNT,
    "timeout": SECONDS,
    "max_head": (256, 2**24),
    "max_target": (64, 2**20),
    "head_timeout": SECONDS,
    "idle_timeout": SECONDS,
    "max_connections": (1, 10**6),
    "max_client_connections": (1, 10**6),
}
"""The least and the most of options that are numbers."""


@dataclass(frozen=True, slots=True)
class ServeOptions:
    """The options of `graphspec serve` by their names, with `_` for `-`."""

    runs: Sequence[Path]
    port: int = 8000
    host: str = "127.0.0.1"
    weights: str = "best"
    device: str = "auto"
    engine: str = "torch"
    batch: int = 256
    batch_wait: float = 0.0
    max_bytes: int = 16 * 2**20
    max_rows: int = 10_000
    timeout: float = 60.0
    max_head: int = 32 * 2**10
    max_target: int = 4096
    head_timeout: float = 10.0
    idle_timeout: float = 5.0
    max_connections: int = 1000
    max_client_connections: int = 500
    allow: Sequence[str] = ()


KINDS: Mapping[str, Any] = {"int": int, "float": float, "str": str}
BY_WORD = {f"--{f.name.replace('_', '-')}": f for f in fields(ServeOptions) if f.type in KINDS}
"""The options with one value."""


def plain(words: Iterable[str]) -> ServeOptions | None:
    """The options of a command line that has only runs, and options with one value each: `--port 80` or
    `--port=80`. None for any other command line, and for a wrong one.
    """
    options: dict[str, Any] = {}
    runs: list[Path] = []
    left = iter(words)
    for word in left:
        if not word.startswith("-"):
            runs.append(Path(word))
            continue
        name, equals, text = word.partition("=")
        if name not in BY_WORD:
            return None
        value, option = text if equals else next(left, None), BY_WORD[name]
        if value is None:
            return None
        try:
            options[option.name] = KINDS[str(option.type)](value)
        except ValueError:
            return None
    fit = all(is_within(name, options[name]) for name in options.keys() & RANGES.keys())
    return ServeOptions(runs, **options) if runs and fit else None


def is_within(name: str, value: float) -> bool:
    """Whether an option has a number in its range, which NaN is not."""
    least, most = RANGES[name]
    return least <= value <= most

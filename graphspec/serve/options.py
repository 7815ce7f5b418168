"""The options of a server, and the ranges of those that are numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

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

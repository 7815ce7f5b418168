"""The options of a server, each number with its range and its line of help."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

COUNT = (1, 10**12)
SECONDS = (0.001, 10**6)


def number(default: float, span: tuple[float, float], metavar: str, help: str) -> Any:
    """A field that is an option of the command line: `span` has the least and the most that it may be."""
    return field(default=default, metadata={"min": span[0], "max": span[1], "metavar": metavar, "help": help})


@dataclass(slots=True)
class ServeOptions:
    """The options of `graphspec serve` by their names, with `_` for `-`."""

    runs: Sequence[Path] = ()
    host: str = "127.0.0.1"
    weights: str = "best"
    device: str = "auto"
    engine: str = "torch"
    allow: Sequence[str] = ()
    tiles: int | None = None
    port: int = number(8000, (0, 65535), "N", "Port; 0: any free port.")
    batch_size: int = number(256, COUNT, "N", "Predict at most N rows together.")
    top: int = number(
        0, (0, 10**6), "N", "Answer with the N keys that suit each query best; 0: with vectors."
    )
    batch_wait: float = number(0.0, (0, 10**6), "MS", "Wait this long for more rows.")
    max_bytes: int = number(16 * 2**20, COUNT, "N", "Refuse requests of more than N bytes.")
    max_rows: int = number(10_000, COUNT, "N", "Refuse requests of more than N rows.")
    timeout: float = number(60.0, SECONDS, "SECONDS", "Time limit of a request.")
    max_head: int = number(32 * 2**10, (256, 2**24), "N", "Refuse heads of requests of more than N bytes.")
    max_target: int = number(4096, (64, 2**20), "N", "Refuse paths of requests of more than N bytes.")
    head_timeout: float = number(10.0, SECONDS, "SECONDS", "Time limit of the head of a request.")
    idle_timeout: float = number(5.0, SECONDS, "SECONDS", "Close a connection that is idle for this long.")
    max_connections: int = number(1000, (1, 10**6), "N", "Keep at most N connections open.")
    max_client_connections: int = number(500, (1, 10**6), "N", "Keep at most N of one address open.")
    max_texts: int = number(16, COUNT, "N", "Let at most N texts go on together.")
    max_waiting: int = number(64, COUNT, "N", "Let at most N texts wait for others to end.")
    max_tokens: int = number(4096, COUNT, "N", "Refuse requests of more than N new tokens of a text.")
    max_states: int = number(2 * 2**30, COUNT, "N", "Hold states of texts of at most N bytes.")

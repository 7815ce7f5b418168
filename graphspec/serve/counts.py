"""Counts of requests, rows and seconds, in the text format of Prometheus."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from graphspec.serve.connections import Connections
    from graphspec.serve.drift import ColumnCounts

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0)
"""The bounds of the histogram of times."""


@dataclass(eq=False, repr=False)
class ServerCounts:
    """Counts, by run."""

    requests: Counter[tuple[str, int]] = field(default_factory=Counter)
    rows: Counter[tuple[str, str]] = field(default_factory=Counter)
    reloads: Counter[tuple[str, str]] = field(default_factory=Counter)
    tokens: Counter[tuple[str, str]] = field(default_factory=Counter)
    texts: Counter[tuple[str, str]] = field(default_factory=Counter)
    """That have ended, by the reason."""
    buckets: Counter[int] = field(default_factory=Counter)
    """How many took at most a bound, and longer than the one before it, by the position of that."""
    seconds: float = 0.0
    answered: int = 0

    def timed(self, seconds: float) -> None:
        self.seconds += seconds
        self.answered += 1
        self.buckets[bisect_left(SECONDS, seconds)] += 1

    def text(
        self,
        batches: int,
        connections: Connections,
        going: Mapping[str, int],
        drift: Mapping[str, ColumnCounts],
    ) -> str:
        """`going` are how many texts are at hand, by whether they run or wait; `drift` is by run."""
        lines = _counters("requests", ("run", "status"), self.requests)
        lines += _counters("rows", ("run", "outcome"), self.rows)
        lines += _counters("reloads", ("run", "outcome"), self.reloads)
        lines += _counters("tokens", ("run", "kind"), self.tokens)
        lines += _counters("texts", ("run", "outcome"), self.texts)
        values = {(run, *key): count for run, each in drift.items() for key, count in each.values.items()}
        lines += _counters("values", ("run", "column", "state"), values)
        shifts = {(run, name): shift for run, each in drift.items() for name, shift in each.shifts.items()}
        lines += _samples("column_shift", "gauge", ("run", "column"), shifts)
        lines.append("# TYPE graphspec_open_texts gauge")
        lines += [f'graphspec_open_texts{{state="{state}"}} {count}' for state, count in going.items()]
        closed = {(reason,): count for reason, count in connections.closed.items()}
        lines += _counters("connections_closed", ("reason",), closed)
        lines += ["# TYPE graphspec_connections gauge", f"graphspec_connections {len(connections.open)}"]
        lines += ["# TYPE graphspec_batches_total counter", f"graphspec_batches_total {batches}"]
        lines.append("# TYPE graphspec_request_seconds histogram")
        below = accumulate(self.buckets[index] for index in range(len(SECONDS)))
        for bound, count in zip(SECONDS, below, strict=True):
            lines.append(f'graphspec_request_seconds_bucket{{le="{bound:g}"}} {count}')
        lines.append(f'graphspec_request_seconds_bucket{{le="+Inf"}} {self.answered}')
        lines.append(f"graphspec_request_seconds_sum {self.seconds:.6f}")
        lines.append(f"graphspec_request_seconds_count {self.answered}")
        return "\n".join(lines) + "\n"


def _counters(name: str, labels: Sequence[str], counts: Mapping[Any, int]) -> list[str]:
    return _samples(f"{name}_total", "counter", labels, counts)


def _samples(name: str, kind: str, labels: Sequence[str], values: Mapping[Any, float]) -> list[str]:
    """Values by those of labels, which are the names of directories and columns, too."""
    lines = [f"# TYPE graphspec_{name} {kind}"]
    for key, value in sorted(values.items()):
        pairs = ",".join(f'{label}="{_escaped(each)}"' for label, each in zip(labels, key, strict=True))
        lines.append(f"graphspec_{name}{{{pairs}}} {value}")
    return lines


def _escaped(value: str | int) -> str:
    """The value of a label. Half a character, as a name that is no UTF-8 has it, is written out."""
    text = str(value).encode("utf-8", "backslashreplace").decode()
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")

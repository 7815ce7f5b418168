"""What a server has done, in the text format of Prometheus."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from dataclasses import dataclass, field
from itertools import accumulate

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0)
"""The bounds of the histogram of times."""


@dataclass(eq=False, repr=False)
class ServerCounts:
    """Counts, by run."""

    requests: Counter[tuple[str, int]] = field(default_factory=Counter)
    rows: Counter[tuple[str, str]] = field(default_factory=Counter)
    reloads: Counter[tuple[str, str]] = field(default_factory=Counter)
    buckets: Counter[int] = field(default_factory=Counter)
    """How many took at most a bound, and longer than the one before it, by the position of that."""
    seconds: float = 0.0
    answered: int = 0

    def timed(self, seconds: float) -> None:
        self.seconds += seconds
        self.answered += 1
        self.buckets[bisect_left(SECONDS, seconds)] += 1

    def text(self, batches: int) -> str:
        lines = ["# TYPE graphspec_requests_total counter"]
        for (run, status), count in sorted(self.requests.items()):
            lines.append(f'graphspec_requests_total{{run="{run}",status="{status}"}} {count}')
        lines.append("# TYPE graphspec_rows_total counter")
        for (run, outcome), count in sorted(self.rows.items()):
            lines.append(f'graphspec_rows_total{{run="{run}",outcome="{outcome}"}} {count}')
        lines.append("# TYPE graphspec_reloads_total counter")
        for (run, outcome), count in sorted(self.reloads.items()):
            lines.append(f'graphspec_reloads_total{{run="{run}",outcome="{outcome}"}} {count}')
        lines += ["# TYPE graphspec_batches_total counter", f"graphspec_batches_total {batches}"]
        lines.append("# TYPE graphspec_request_seconds histogram")
        below = accumulate(self.buckets[index] for index in range(len(SECONDS)))
        for bound, count in zip(SECONDS, below, strict=True):
            lines.append(f'graphspec_request_seconds_bucket{{le="{bound:g}"}} {count}')
        lines.append(f'graphspec_request_seconds_bucket{{le="+Inf"}} {self.answered}')
        lines.append(f"graphspec_request_seconds_sum {self.seconds:.6f}")
        lines.append(f"graphspec_request_seconds_count {self.answered}")
        return "\n".join(lines) + "\n"

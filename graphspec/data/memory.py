"""Limits on the memory and cores that reading data uses."""

from __future__ import annotations

import os
import re
from pathlib import Path

from graphspec.diagnostics import fail

VARIABLE = "GRAPHSPEC_MEMORY"
"""Overrides the limit: bytes, or a number with K, M, G or T (powers of 1024)."""
CORES = "GRAPHSPEC_CORES"
"""Limits the cores that a process uses."""
UNKNOWN = 16 * 2**30
"""Taken where the system does not say."""
CONTROL_GROUPS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")


def limit() -> int:
    """Bytes that examples may take: half of the machine's memory, or what the variable says."""
    text = os.environ.get(VARIABLE, "").strip()
    if not text:
        return machine() // 2
    match = re.fullmatch(r"(\d{1,15})\s*([KMGT]?)(?:i?B)?", text, re.ASCII | re.IGNORECASE)
    if match is None or not int(match[1]):
        raise fail(
            "out-of-range", f"{VARIABLE} is `{text}`, which is not an amount of memory", "write 8G, or 500M"
        )
    return int(match[1]) << 10 * " KMGT".index(match[2].upper() or " ")


def machine() -> int:
    """This machine's memory in bytes; that of its container, where it is less."""
    memory = UNKNOWN
    if hasattr(os, "sysconf"):
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for name in CONTROL_GROUPS:
        try:
            text = Path(name).read_text().strip()
        except OSError:
            continue
        memory = min(memory, int(text)) if text.isdigit() else memory
    return memory


def cores() -> int:
    """How many cores the process may use: those that the system gives it, or fewer where the variable says.
    Raises `SpecError` (out-of-range).
    """
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    text = os.environ.get(CORES, "").strip()
    if not text:
        return count
    if not re.fullmatch(r"0*[1-9]\d{0,5}", text, re.ASCII):
        raise fail("out-of-range", f"{CORES} is `{text}`, which is not a number of cores", "write 4")
    return min(count, int(text))

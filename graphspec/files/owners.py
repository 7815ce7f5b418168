"""Processes as owners of what they are writing: a name that tells others whether a process lives, also where
containers or machines share a folder.
"""

from __future__ import annotations

import hashlib
import os
import platform
import re
import time
from contextlib import suppress
from itertools import count
from pathlib import Path

OWNER = re.compile(r"(?P<process>[0-9]{1,10})(?:-(?P<started>[0-9a-f]+)-(?P<place>[0-9a-f]{8})-[0-9]+)?")
"""A name that `owner` gives; those of earlier versions are the number of the process alone."""
PATIENCE = 86_400.0
"""Seconds without a change after which a process of which nothing is known here has ended."""
UNKNOWN = "0"

_counter = count()


def owner() -> str:
    """A name of this process, another each time: its number, its start, and where these mean something."""
    process = os.getpid()
    return f"{process}-{_started(process)}-{_place()}-{next(_counter)}"


def is_gone(name: str, silence: float) -> bool:
    """Whether the process of a name has ended. One of another machine or container, and one of which this
    system does not tell, counts as ended when it has changed nothing for so many seconds (`PATIENCE`).
    """
    match = OWNER.fullmatch(name)
    if match is None or match["place"] != _place() or os.name != "posix":
        return silence > PATIENCE
    process = int(match["process"])
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return True
    except OSError:  # another user's
        pass
    known = {_started(process), match["started"]} - {UNKNOWN}
    return len(known) > 1


def silence(folder: Path) -> float:
    """Seconds since something in a folder has changed; 0 where that is unknown."""
    with suppress(OSError), os.scandir(folder) as entries:
        times = [folder.stat().st_mtime, *(entry.stat(follow_symlinks=False).st_mtime for entry in entries)]
        return time.time() - max(times)
    return 0.0


def _place() -> str:
    """The kernel since its start, and the namespace of numbers of processes; of a system that tells neither,
    the machine by its name.
    """
    facts = [platform.node()]
    with suppress(OSError):
        facts.append(Path("/proc/sys/kernel/random/boot_id").read_text())
        facts += [os.readlink(f"/proc/self/ns/{kind}") for kind in ("pid", "time")]
    return hashlib.sha256("\0".join(facts).encode()).hexdigest()[:8]


def _started(process: int) -> str:
    """When a process began; `UNKNOWN` where the system does not tell, another word of one that has ended."""
    try:
        if int(os.readlink("/proc/self")) != os.getpid():  # numbers of another namespace
            return UNKNOWN
        after_name = Path(f"/proc/{process}/stat").read_bytes().rpartition(b")")[2].split()
    except (OSError, ValueError):
        return UNKNOWN
    return "ended" if after_name[0] in (b"Z", b"X") else f"{int(after_name[19]):x}"

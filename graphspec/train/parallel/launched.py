"""The environment that torch's launcher sets for this process, and the launcher's store.

Nothing here imports torch before something is to be kept: a spec with a mistake has said so by then.
"""

from __future__ import annotations

import hashlib
import os
import signal
import threading
import time
import uuid
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch.distributed import Store

MEETING = timedelta(minutes=5)
"""For all processes to be there."""
PATIENCE = 10.0
"""Seconds for the launcher to answer, and for it to end a process that has nothing more to say."""


LAUNCHER = "GRAPHSPEC_LAUNCHER"
"""The environment variable with the process id of our own launcher."""
GLANCE = 0.2
"""Seconds between two looks whether it lives."""


@dataclass(frozen=True, slots=True)
class Launched:
    """One of `size` processes, `rank` from 0; on its machine one of `local_size`, `local_rank`."""

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    local_size: int = 1

    @property
    def is_first(self) -> bool:
        """Whether this process writes files and shows progress."""
        return self.rank == 0


def launched() -> Launched:
    """The rank of this process among those started together; a world of one without a launcher."""
    texts = [os.environ.get(name, "") for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")]
    if not all(text.isdecimal() for text in texts):
        return Launched()
    return Launched(*map(int, texts))


def follow_launcher() -> None:
    """Ends this process when our launcher has ended, however: as SIGTERM does, after a save; then at once."""
    launcher = os.getppid()
    if os.environ.get(LAUNCHER) != str(launcher):
        return

    def follow() -> None:
        while os.getppid() == launcher:
            time.sleep(GLANCE)
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(PATIENCE)
        os._exit(128 + signal.SIGTERM)

    threading.Thread(target=follow, daemon=True).start()


def elastic() -> bool:
    """Whether torch's launcher keeps a store for its processes: it outlives those that are restarted."""
    return os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True"


def meeting() -> Store:
    """Where the processes of one attempt find each other: torch would find the addresses of the last one.

    Raises `RuntimeError` where the launcher, or another process, does not answer.
    """
    from torch.distributed import PrefixStore

    store = _store("meeting", MEETING)
    return PrefixStore(attempt(store, launched()), store)


def attempt(store: Store, mine: Launched) -> str:
    """A name of this attempt, that all of its processes have and those of earlier ones had not.

    The launcher keeps what earlier attempts wrote, and only the machine of a process that failed counts them.
    So the first process proposes a name, each other one answers with a token of its own, and the name holds
    for those whose tokens the first process has read. Raises `RuntimeError`.
    """
    token = uuid.uuid4().hex
    if mine.is_first:
        store.set("name", token)
        tokens = [store.get(f"{token} {rank}").decode() for rank in range(1, mine.size)]
        store.set(f"{token} holds", " ".join(tokens))
        return token
    end = time.monotonic() + MEETING.total_seconds()
    while time.monotonic() < end:
        name: str = store.get("name").decode()
        store.set(f"{name} {mine.rank}", token)
        with suppress(RuntimeError):  # no answer yet: the name may be that of an earlier attempt
            store.wait([f"{name} holds"], timedelta(seconds=1))
            if token in store.get(f"{name} holds").decode().split():
                return name
            time.sleep(0.1)
    raise RuntimeError("the first process does not answer")


def _store(prefix: str, patience: timedelta = timedelta(seconds=PATIENCE)) -> Store:
    """A part of what the launcher keeps. Raises `RuntimeError` where it does not answer."""
    from torch.distributed import PrefixStore, TCPStore

    address, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    return PrefixStore(f"graphspec {prefix}", TCPStore(address, port, is_master=False, timeout=patience))


def remember(training: int, run: Path) -> None:
    """Let the launcher keep which run a training is in, the first one of a process or a later one."""
    if not elastic():
        return
    with suppress(RuntimeError):  # torch's network errors are
        _store("runs").set(str(training), str(run.resolve()))


def remembered(training: int) -> Path | None:
    """The run that a training was in before the launcher restarted its processes."""
    if not elastic():
        return None
    with suppress(RuntimeError):
        kept = _store("runs")
        if kept.check([str(training)]):
            return Path(kept.get(str(training)).decode())
    return None


def speaks(error: str) -> bool:
    """Whether this process is the one that says this error, which others may have met, too.

    One that leaves the word to another waits for the launcher to end it: its own end must not come first.
    """
    if launched().size == 1 or not elastic():
        return True
    try:
        first = _store("errors").add(hashlib.sha256(error.encode()).hexdigest(), 1) == 1
    except RuntimeError:  # torch's network errors are: the launcher is gone
        return True
    if not first:
        time.sleep(PATIENCE)
    return first

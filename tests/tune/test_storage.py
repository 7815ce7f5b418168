"""A study in PostgreSQL, shared by several processes; the server is started for the test alone."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from graphspec.tune.config import parse_tune
from graphspec.tune.study import Study
from tests.processes import ENDLESS

pytest.importorskip("psycopg", reason="the driver of PostgreSQL is not installed")

pytestmark = pytest.mark.parity

TRIALS = 10


def programs() -> Path | None:
    """Where PostgreSQL's programs are; None where it is not installed."""
    found = shutil.which("initdb")
    places = [Path(found).parent] if found else []
    places += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    return next((place for place in places if (place / "initdb").exists()), None)


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """The URL of a server of its own on a socket in a directory of its own."""
    place = programs()
    if place is None:
        pytest.skip("PostgreSQL is not installed")
    folder = Path(tempfile.mkdtemp(prefix="graphspec"))
    user: dict[str, Any] = {}
    if os.geteuid() == 0:  # it refuses to run as root
        shutil.chown(folder, "nobody")
        user = {"user": "nobody", "group": "nogroup", "extra_groups": []}
    environment = {"PATH": os.environ["PATH"], "LC_ALL": "C"}
    options: dict[str, Any] = {"cwd": folder, "env": environment, "stdout": subprocess.DEVNULL, **user}
    data = folder / "data"
    subprocess.run(
        [place / "initdb", "-D", data, "-U", "graphspec", "--auth=trust", "-N", "-E", "UTF8"],
        check=True,
        **options,
    )
    command = [f"{place}/postgres", "-D", str(data), "-k", str(folder), "-c", "listen_addresses=", "-F"]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL, **options)
    try:
        for _ in range(10 * ENDLESS):
            if (folder / ".s.PGSQL.5432").exists():
                break
            assert process.poll() is None, "the server ended at once"
            time.sleep(0.1)
        yield f"postgresql://graphspec@/postgres?host={folder}"
    finally:
        process.send_signal(signal.SIGINT)  # at once, whoever is connected
        process.wait(ENDLESS)
        shutil.rmtree(folder, ignore_errors=True)


def study(url: str) -> Study:
    config = parse_tune({"trials": TRIALS, "search": {"width": {"int": [1, 10**6]}}})
    return Study("shared", url, config, "minimize", 1, 0, parallel=True)


def work(url: str, ready: Any, told: Any) -> None:
    """What one machine does: trials, as long as there are some."""
    found = study(url)
    ready.wait(ENDLESS)
    numbers = []
    while (trial := found.ask()) is not None:
        time.sleep(0.02)
        found.complete(trial, float(found.values(trial)["width"]))
        numbers.append(trial.number)
    found.close()
    told.put(numbers)


def test_two_processes_share_a_study_and_run_no_trial_twice(server: str) -> None:
    study(server).close()
    spawn = multiprocessing.get_context("spawn")
    ready, told = spawn.Barrier(2), spawn.Queue()
    processes = [spawn.Process(target=work, args=(server, ready, told)) for _ in range(2)]
    for process in processes:
        process.start()
    first, second = told.get(timeout=ENDLESS), told.get(timeout=ENDLESS)
    for process in processes:
        process.join(ENDLESS)
    assert first and second, "both had a share"
    assert sorted(first + second) == list(range(TRIALS))
    found = study(server)
    trials = found.finished()
    found.close()
    assert [trial.number for trial in trials if trial.state == "complete"] == list(range(TRIALS))
    assert len({trial.params["width"] for trial in trials}) == TRIALS

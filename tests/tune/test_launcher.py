"""Processes of trials: forks of a process that has imported torch behave as interpreters of their own do."""

from __future__ import annotations

import json
import multiprocessing
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from queue import Queue
from typing import Any
from unittest import mock

import psutil
import pytest

from graphspec.tune import launcher as launchers
from graphspec.tune.launcher import Child, ForkLauncher, Launcher
from graphspec.tune.trial import Event, Process

linux = pytest.mark.skipif(sys.platform != "linux", reason="forks are for Linux")
ABOUT = """
import json, os, sys
found = {"pid": os.getpid(), "group": os.getpgid(0), "arguments": sys.argv[1:], "name": __name__}
found["server"] = os.getppid()
found |= {"read": sys.stdin.read(), "torch": "torch" in sys.modules, "threads": os.environ["OMP_NUM_THREADS"]}
found["cores"] = os.environ.get("GRAPHSPEC_CORES")
found["files"] = len(os.listdir("/dev/fd"))
print(json.dumps(found))
"""
WAYS = """
import os, signal, sys, time
print("output", flush=True), print("errors", file=sys.stderr)
if sys.argv[1] == "raises":
    raise ValueError("no")
if sys.argv[1] == "killed":
    os.kill(os.getpid(), signal.SIGKILL)
if sys.argv[1] == "waits":
    print("waiting", flush=True)
    time.sleep(3600)
sys.exit(int(sys.argv[1]))
"""
TRAINS = """
import json, os, sys
import numpy as np

os.chdir(os.path.dirname(__file__))
before = {name for name in sys.modules if name.startswith("torch.optim")}
from pathlib import Path
from graphspec.compiler import compile
from graphspec.train.loop import train

np.savez("d.npz", x=np.ones((20, 3), "float32"), y=np.ones((20, 1), "float32"))
spec = "inputs: {x: {shape: [3]}}\\nnodes: {y: {layer: Dense, units: 1}}\\noutputs: {y: {loss: mse}}"
train(compile(spec + "\\ndata: {train: d.npz}\\n"), root=Path("."), epochs=1, tell=lambda line: None)
needless = {"torch._dynamo", "sympy", "torch.optim.adam"} & sys.modules.keys() - before
print(json.dumps(sorted(needless)))
"""


BARE = """
import graphspec.tune.fork_server as server
server.preload = lambda spec, modules: None
server.main()
"""
"""A server that begins sooner, without torch."""


def forking() -> ForkLauncher:
    """A launcher whose server has torch imported by nobody."""
    launcher = ForkLauncher(Path("none.yaml"), 1)
    with mock.patch.object(launchers, "SERVER", BARE):
        output, errors, code = read(launcher.start(["-m", "this"]))
    assert code == 0 and output.startswith("The Zen"), errors
    return launcher


@pytest.fixture(scope="module", params=["fresh", pytest.param("forked", marks=linux)])
def started(request: pytest.FixtureRequest) -> Iterator[Launcher]:
    launcher: Launcher = Launcher(1) if request.param == "fresh" else forking()
    yield launcher
    launcher.close()


@pytest.fixture
def script(tmp_path: Path) -> Path:
    (tmp_path / "ways.py").write_text(WAYS)
    (tmp_path / "about.py").write_text(ABOUT)
    (tmp_path / "trains.py").write_text(TRAINS)
    return tmp_path / "ways.py"


def read(child: Child) -> tuple[str, str, int | None]:
    with child.output as output, child.errors as errors:
        return output.read(), errors.read(), child.wait()


def test_a_process_has_its_own_group_arguments_and_no_input(started: Launcher, script: Path) -> None:
    child = started.start([str(script.with_name("about.py")), "--set", "a=ü"])
    output, errors, code = read(child)
    about = json.loads(output)
    assert (code, errors) == (0, "") and about["arguments"] == ["--set", "a=ü"]
    assert child.pid == about["pid"] == about["group"] and about["name"] == "__main__"
    assert (about["read"], about["threads"], about["cores"]) == ("", "1", None)  # as in `conftest.py`
    assert about["files"] == 4, "the three standard ones, and that of the list itself"


@pytest.mark.parametrize(
    ("way", "code", "last"),
    [("0", 0, "errors"), ("3", 3, "errors"), ("raises", 1, "ValueError: no"), ("killed", -9, "")],
)
def test_exit_codes_and_output_arrive(
    started: Launcher, script: Path, way: str, code: int, last: str
) -> None:
    output, errors, found = read(started.start([str(script), way]))
    assert found == code and errors.splitlines()[-1:] == ([last] if last else ["errors"])
    assert output == "output\n"


def test_a_signal_reaches_one_process_of_several(started: Launcher, script: Path) -> None:
    events: Queue[Event] = Queue()
    one, other = (started.start([str(script), "waits"]) for _ in range(2))
    for child in (one, other):
        assert [child.output.readline() for _ in range(2)] == ["output\n", "waiting\n"]
    first = Process(0, one, events)
    first.stop()
    assert events.get(timeout=300).trial == 0 and first.code == -signal.SIGTERM
    assert psutil.pid_exists(other.pid)
    second = Process(1, other, events)
    second.kill()
    assert events.get(timeout=300).trial == 1 and "SIGKILL" in second.reason()


@linux
def test_forks_find_torch_imported_by_a_process_of_one_thread_without_cuda(
    script: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the number of cores: the thread that a library would start does not outlive a fork. A training
    in one imports neither dynamo nor sympy, and of torch's optimizers no more than torch itself.
    """
    monkeypatch.delenv("OMP_NUM_THREADS")
    launcher = ForkLauncher(Path("none.yaml"), 2)
    output, _, _ = read(launcher.start([str(script.with_name("about.py"))]))
    about = json.loads(output)
    server = psutil.Process(about["server"])
    assert about["torch"] and server.num_threads() == 1
    assert (about["threads"], about["cores"]) == ("1", "2")
    assert not any("nvidia" in file.path for file in server.open_files())
    needless, said, code = read(launcher.start([str(script.with_name("trains.py"))]))
    assert code == 0 and json.loads(needless) == [], said
    events: Queue[Event] = Queue()
    lost = Process(0, launcher.start([str(script), "waits"]), events)
    server.kill()
    lost.kill()
    assert events.get(timeout=300).epoch is None and "got lost" in lost.reason()
    assert read(launcher.start([str(script), "3"]))[2] == 3, "an interpreter of its own stands in"
    launcher.close()


def _search(script: Path, told: Any) -> None:
    launcher = forking()
    child = launcher.start([str(script), "waits"])
    told.put((child.pid, psutil.Process(child.pid).ppid()))
    time.sleep(3600)


@linux
def test_a_search_that_is_killed_leaves_no_process_behind(script: Path) -> None:
    spawn = multiprocessing.get_context("spawn")
    told = spawn.Queue()
    search = spawn.Process(target=_search, args=(script, told))
    search.start()
    left = [psutil.Process(pid) for pid in told.get(timeout=300)]
    search.kill()
    search.join()
    _, alive = psutil.wait_procs(left, timeout=300)
    assert not [process for process in alive if process.status() != psutil.STATUS_ZOMBIE]

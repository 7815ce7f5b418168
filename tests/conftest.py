"""Settings for every test: one thread, Keras on torch, and the hypothesis profiles.

The variables are read when torch and Keras are first imported, so a test that imports neither pays for
neither, and the processes that tests start inherit them.
"""

import atexit
import functools
import gc
import logging
import os
import re
import shutil
import sys
import tempfile
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from tests import seed

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("KERAS_BACKEND", "torch")

if "GRAPHSPEC_TESTS" not in os.environ:  # the key that signs runs is not kept among those of the user
    os.environ["GRAPHSPEC_TESTS"] = os.environ["XDG_STATE_HOME"] = tempfile.mkdtemp(prefix="graphspec-tests-")
    atexit.register(shutil.rmtree, os.environ["XDG_STATE_HOME"], ignore_errors=True)

gc.disable()  # until the tests are collected: what is made meanwhile stays

NEEDLESS = {"sklearn"} - sys.modules.keys()
"""What Keras imports for a second where it is there, for classes that no test uses."""
sys.modules.update(dict.fromkeys(NEEDLESS))  # type: ignore[arg-type]  # until the tests are collected

# Pytest's plugin for logs, which is switched off, would be here: libraries that find nobody write to stderr.
logging.getLogger().addHandler(logging.NullHandler())

# No test cuts the power: what was written may stay in the buffers of the system.
os.fsync = lambda fd: None

# No deadline and no `too_slow`: both measure the machine's load, and a test must not.
settings.register_profile(
    "default", max_examples=10, derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile(
    "fuzz", max_examples=500, deadline=None, print_blob=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("default")
# Hypothesis draws numbers and texts that it has read in all files of the checkout, too: whoever edits a line
# would draw other examples in every test. It has no setting for that; without this name it draws as it likes.
providers: Any = sys.modules.get("hypothesis.internal.conjecture.providers")
if hasattr(providers, "_get_local_constants"):
    providers._get_local_constants = lambda: providers._local_constants


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-golden", action="store_true", help="write the emitted files of specs/ anew")


MADE_ONCE = re.compile(r"tests\.processes|import everything|onnx|torch\.(export|compile)")
"""What a worker makes or imports for seconds, once: a server of processes, a run, exporters and compilers."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests that share such things come first, and so are those of one worker, which many trainings begin: a
    worker that is done takes tests from the end of another's, and would make them again.
    """
    alone = {path: not MADE_ONCE.search(path.read_text("utf-8")) for path in {item.path for item in items}}
    items.sort(key=lambda item: (item.path.name != "test_parallel.py", alone[item.path]))


def pytest_collection_finish() -> None:
    """What was made to collect the tests stays, the little garbage in it, too: a collection does not look at
    it again, and waits for more.
    """
    for name in NEEDLESS:
        del sys.modules[name]
    gc.freeze()
    gc.set_threshold(100_000, 20, 20)
    gc.enable()


def pytest_sessionfinish() -> None:
    """Pytest looks five times for what garbage has to say in the end, which once tells."""
    gc.collect()
    gc.freeze()


def keep_registry() -> None:
    """Exports to ONNX after the first one find what that has read of onnxscript: half a second of each."""
    place = sys.modules.get("torch.onnx._internal.exporter._registration")
    registry = getattr(place, "ONNXRegistry", None)
    if registry is not None and not hasattr(registry.from_torchlib, "cache_info"):
        registry.from_torchlib = staticmethod(functools.cache(registry.from_torchlib))


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup() -> None:
    keep_registry()
    seed()

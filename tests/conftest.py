"""Settings for every test: one thread, Keras on torch, and the hypothesis profiles.

The variables are read when torch and Keras are first imported, so a test that imports neither pays for
neither, and the processes that tests start inherit them.
"""

import atexit
import functools
import gc
import os
import random
import shutil
import sys
import tempfile

import pytest
from hypothesis import HealthCheck, settings

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("KERAS_BACKEND", "torch")

if "GRAPHSPEC_TESTS" not in os.environ:  # the key that signs runs is not kept among those of the user
    os.environ["GRAPHSPEC_TESTS"] = os.environ["XDG_STATE_HOME"] = tempfile.mkdtemp(prefix="graphspec-tests-")
    atexit.register(shutil.rmtree, os.environ["XDG_STATE_HOME"], ignore_errors=True)

gc.disable()  # until the tests are collected: what is made meanwhile stays

# No test cuts the power: what was written may stay in the buffers of the system.
os.fsync = lambda fd: None

# No deadline and no `too_slow`: both measure the machine's load, and a test must not.
settings.register_profile(
    "default", max_examples=16, derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile(
    "fuzz", max_examples=5_000, deadline=None, print_blob=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("default")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-golden", action="store_true", help="write the emitted files of specs/ anew")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The trainings that many tests look at come first: a worker that is done takes tests from the end of
    another's, and would make them again.
    """
    items.sort(key=lambda item: item.path.name != "test_parallel.py")


def pytest_collection_finish() -> None:
    """What was imported to collect the tests stays: a collection of garbage does not look at it again, and
    waits for more of it.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)
    gc.enable()


def keep_onnx_functions() -> None:
    """Each export to ONNX reads the functions of onnxscript for a second: those after the first find them."""
    exporter = sys.modules.get("torch.onnx._internal.exporter._registration")
    if exporter is not None and not hasattr(exporter.ONNXRegistry.from_torchlib, "cache_info"):
        read = functools.cache(exporter.ONNXRegistry.from_torchlib)
        exporter.ONNXRegistry.from_torchlib = staticmethod(read)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup() -> None:
    """What a test draws without a seed of its own is the same in each run, whichever tests ran before it."""
    keep_onnx_functions()
    random.seed(0)
    if (numpy := sys.modules.get("numpy")) is not None:
        numpy.random.seed(0)
    if (torch := sys.modules.get("torch")) is not None:
        torch.default_generator.manual_seed(0)  # `torch.manual_seed` looks for devices
        if torch.cuda.is_initialized():
            torch.cuda.manual_seed_all(0)

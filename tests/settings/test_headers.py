"""Names of settings, which the headers of their classes show before their files are imported."""

from __future__ import annotations

import subprocess
import sys

import pytest

from graphspec.settings import headers

ALL_NAMES = """
from importlib import import_module
from pkgutil import iter_modules
from graphspec.contract.activations import ACTIVATIONS
from graphspec.contract.initializers import Initializer
from graphspec.contract.penalties import Constraint, Regularizer
from graphspec.objectives import LOSSES, METRICS, Loss, Metric
from graphspec.settings.families import leaves
from graphspec.train.config.callbacks import CALLBACKS, CallbackSettings
from graphspec.train.config.optimizers import OPTIMIZERS, OptimizerSettings
from graphspec.train.config.schedules import SCHEDULES, Schedule

values = [ACTIVATIONS, Initializer.members, Regularizer.members, Constraint.members]
bases = [(LOSSES, Loss), (METRICS, Metric), (OPTIMIZERS, OptimizerSettings)]
bases += [(SCHEDULES, Schedule), (CALLBACKS, CallbackSettings)]
shown = [{*family} for family in values] + [{*family.members} for family, _ in bases]
for name in ("contract", "objectives", "train.config", "train.callbacks"):
    package = import_module(f"graphspec.{name}")
    for each in iter_modules(package.__path__):
        import_module(f"{package.__name__}.{each.name}")
there = [{name for name in family if family[name]} for family in values]
there += [{name for cls in leaves(base) for name in cls.names()} for _, base in bases]
for named, made in zip(shown, there, strict=True):
    print(len(made) > 3, sorted(named ^ made))
"""


def test_headers_show_the_names_of_all_classes() -> None:
    """Families know their members before the files of these are imported."""
    done = subprocess.run([sys.executable, "-c", ALL_NAMES], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["True []"] * 9


def test_headers_are_read_however_they_are_written(monkeypatch: pytest.MonkeyPatch) -> None:
    text = '''
class First(Base, word="a"):
    name: Literal["lion-two", "x"] = "x"
class Second(
    first.First,
    word="b",
):
    """No name."""
class Third(Second[int]):
    name: Literal["third"]
class Other(Other):
    name: Literal["other"]
'''
    monkeypatch.setattr(headers, "files", lambda package: {"p.m": text})
    headers.headers.cache_clear()
    found = headers.below("Base", "p")
    headers.headers.cache_clear()
    assert [(each.name, headers.literal_names(each)) for each in found] == [
        ("First", ["lion-two", "x"]),
        ("Second", []),
        ("Third", ["third"]),
    ]


def test_losses_and_metrics_of_further_files_are_made_when_they_are_named() -> None:
    code = (
        "import sys; from graphspec.objectives import LOSSES, METRICS; "
        "first = {'graphspec.objectives.confusion', 'graphspec.objectives.region_losses'} & {*sys.modules}; "
        "print(METRICS.read('accuracy').name, LOSSES.read('mse').canonical, len(first), "
        "METRICS.read('auc').name, LOSSES.read('dice').name, 'nope' in METRICS.members, "
        "len(METRICS.members) > 40, len(LOSSES.members) > 30)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == [
        *("accuracy", "mean_squared_error", "0"),
        *("auc", "dice", "False", "True", "True"),
    ]

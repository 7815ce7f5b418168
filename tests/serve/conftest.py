"""Runs that a server begins with."""

import shutil
from pathlib import Path

import pytest

from tests.runs import everything


@pytest.fixture(scope="session")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that has predicted with onnxruntime."""
    return everything.train(tmp_path_factory.mktemp("exported"), everything.exported()).path


@pytest.fixture
def path(exported: Path, tmp_path: Path) -> Path:
    """A copy of it, for a test that changes it."""
    shutil.copytree(exported, tmp_path / "run")
    return tmp_path / "run"

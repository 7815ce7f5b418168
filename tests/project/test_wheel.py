"""A wheel of the tree, installed alone: it has every file that it needs, checks, builds and trains."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from importlib.util import cache_from_source
from pathlib import Path

import pytest

from graphspec.diagnostics.packages import EXTRAS
from tests import ROOT
from tests.lower_bounds import PROJECT, lower_bounds

SPEC = """\
inputs: {x: {shape: [4]}}
nodes: {a: {layer: Dense, units: 3, activation: softmax}}
outputs: {a: {loss: sparse_categorical_crossentropy}}
train: {epochs: 1}
"""

OTHERS = """
from graphspec.cli.app import app
app("train a.yaml --device cpu".split(), standalone_mode=False)
for command in ("build a.yaml -o model.py", "plot a.yaml -o a.html", "runs runs"):
    app(command.split(), standalone_mode=False)
import model
model.A()
"""
"""What needs no process of its own; among what is printed is the table of runs."""


def run(*command: str | Path, cwd: Path) -> str:
    alone = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    done = subprocess.run(
        list(map(str, command)), cwd=cwd, env=alone, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, from a copy of what belongs to it."""
    pytest.importorskip("hatchling", reason="what builds wheels is not installed")
    source, target = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    skip = shutil.ignore_patterns("__pycache__")
    for folder in ("graphspec", "specs"):
        shutil.copytree(ROOT / folder, source / folder, ignore=skip)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    run(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", target, cwd=source)
    (path,) = target.glob("*.whl")
    return path


def compile_as_here(installed: Path) -> None:
    """Files that are those of the tree get what Python has compiled of these."""
    for path in (installed / "graphspec").rglob("*.py"):
        tree = ROOT / path.relative_to(installed)
        assert path.read_bytes() == tree.read_bytes()
        shutil.copystat(tree, path)
        compiled, place = (Path(cache_from_source(str(file))) for file in (tree, path))
        place.parent.mkdir(exist_ok=True)
        if compiled.exists():
            shutil.copy(compiled, place)


@pytest.fixture(scope="module")
def python(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Python with the wheel alone, and what it depends on from this one."""
    folder = tmp_path_factory.mktemp("clean")
    run(sys.executable, "-m", "venv", "--without-pip", folder, cwd=folder)
    clean = folder / "bin" / "python"
    paths = sysconfig.get_paths(vars={"base": str(folder), "platbase": str(folder)})
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(paths["purelib"])
    compile_as_here(Path(paths["purelib"]))
    ours = sysconfig.get_paths()["purelib"]
    (Path(paths["purelib"]) / "theirs.pth").write_text(f"import sys; sys.path.append({ours!r})\n")
    return clean


def test_the_wheel_checks_builds_draws_and_trains(python: Path, tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(SPEC)

    def graphspec(*arguments: str) -> str:
        return run(python, "-m", "graphspec", *arguments, cwd=tmp_path)

    where = run(python, "-c", "import graphspec; print(graphspec.__file__)", cwd=tmp_path)
    assert Path(where.strip()).is_relative_to(python.parent.parent)
    assert graphspec("check", "a.yaml") == "a.yaml: ok\n"
    assert "a-1" in run(python, "-c", OTHERS, cwd=tmp_path)


def test_the_wheel_has_what_is_no_python(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    tree = [path.relative_to(ROOT) for path in (ROOT / "graphspec").rglob("*") if path.is_file()]
    ours = [path for path in tree if not any(part.startswith((".", "__pycache__")) for part in path.parts)]
    assert {str(path) for path in ours} <= set(names)
    assert {"graphspec/plot/page.js", "graphspec/py.typed"} <= set(names)
    assert not any(name.startswith(("tests", "bench", "specs")) for name in names)


def test_every_dependency_has_a_lower_bound() -> None:
    """`make test-lowest` installs exactly these."""
    bounds = lower_bounds()
    assert len(bounds) > 15 and all("==" in bound for bound in bounds)
    assert all(">=" in need and "<" not in need for need in PROJECT["dependencies"])


def test_hints_name_the_packages_of_each_extra() -> None:
    extras = {
        extra: tuple(need.partition(">=")[0] for need in needs)
        for extra, needs in PROJECT["optional-dependencies"].items()
        if extra not in ("bench", "dev", "docs")  # of those who work on it
    }
    assert extras == EXTRAS


def test_nobody_is_told_to_install_the_project_that_has_our_name_on_the_index() -> None:
    """`graphspec[onnx]` would fetch a stranger's package: a hint names the packages themselves."""
    pages = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")]
    files = [*pages, ROOT / "pyproject.toml", *(ROOT / "graphspec").rglob("*.py")]
    told = re.compile(r"\bgraphspec\[|pip install [^`\n]*\bgraphspec\b(?!-)")
    assert [path.name for path in files if told.search(path.read_text(encoding="utf-8"))] == []

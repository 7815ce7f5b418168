"""`train --batch-size auto`: the largest batch that fits, by running out of memory for real."""

import gc
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

import graphspec
from graphspec.cli.app import app
from graphspec.diagnostics import SpecError
from graphspec.emit.load import out_of_memory
from graphspec.train import batch_size
from graphspec.train.batch_size import fitting, widest
from graphspec.train.loop import train
from graphspec.train.phases import Phases
from tests import processes

WIDE = """
inputs: {x: {shape: [4]}}
nodes:
  wide: {layer: Dense, units: 30000, activation: relu}
  y: {layer: Dense, units: 1}
outputs: {y: {loss: mse}}
train: {optimizer: adam, epochs: 1, batch_size: 16}
data: {train: d.npz}
"""

LIMITED = """
import resource, sys
import torch
from graphspec.cli.app import app
torch.set_num_threads(1)
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + int(sys.argv[1]), -1))
app(sys.argv[2:])
"""
"""The command line in a process that may take so many bytes more than it has taken."""


@pytest.fixture(scope="module", autouse=True)
def what_other_tests_left_is_not_collected() -> Iterator[None]:
    """After each size that does not fit garbage is collected: without this, among all that a worker holds."""
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.fixture
def place(tmp_path: Path) -> Path:
    x = np.random.default_rng(0).normal(size=(3000, 4)).astype("float32")
    np.savez(tmp_path / "d.npz", x=x, y=x[:, :1])
    (tmp_path / "wide.yaml").write_text(WIDE)
    return tmp_path


@pytest.mark.parity
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs a limit on a process' memory")
def test_a_process_that_runs_out_of_memory_takes_half(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """3,000 examples: 2,048 of them take 0.7 GB in the backward pass, which are not there."""
    arguments = ["train", "wide.yaml", "--batch-size", "auto", "--progress", "lines", "--run-dir", "run"]
    monkeypatch.chdir(place)
    done = processes.run(["-c", LIMITED, str(500 * 2**20), *arguments])
    assert done.returncode == 0, done.stdout + done.stderr
    said = done.stdout + done.stderr
    assert "batch size 2048 does not fit" in said
    about = json.loads((place / "run" / "environment.json").read_text())
    assert about["batch_size"] in (256, 512, 1024)
    assert f"batch size {about['batch_size']} is the largest that fits" in said
    assert f"batch_size: {about['batch_size']}" in (place / "run" / "spec.yaml").read_text()


def failing_above(largest: int, error: Exception) -> Any:
    def trial(program: Any, batch: Any) -> None:
        assert len(batch) == program.training.batch_size
        if len(batch) > largest:
            raise error

    return trial


CPU = RuntimeError(
    "[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes."
)
ERRORS = [torch.OutOfMemoryError("CUDA out of memory."), MemoryError(), CPU]


@pytest.mark.parametrize("error", ERRORS, ids=["cuda", "python", "cpu"])
@pytest.mark.parametrize(("largest", "chosen"), [(10_000, 2048), (2047, 1024), (100, 64), (16, 16), (3, 2)])
def test_sizes_are_halved_until_one_fits(place: Path, error: Exception, largest: int, chosen: int) -> None:
    program, lines = graphspec.compile(place / "wide.yaml"), list[str]()
    examples = loaded(program, place)
    found = fitting(program, examples, torch.device("cpu"), failing_above(largest, error), lines.append)
    assert found.training.batch_size == chosen
    assert f"batch_size: {chosen}" in found.resolved
    assert lines[-1].startswith(f"batch size {chosen} is the largest that fits")
    assert program.training.batch_size == 16


def loaded(program: Any, place: Path) -> Any:
    from graphspec.data.loading import load

    return load(program, None, place, torch.device("cpu")).training


def test_where_nothing_fits_that_is_said(place: Path) -> None:
    program = graphspec.compile(place / "wide.yaml")
    trial = failing_above(0, MemoryError())
    with pytest.raises(SpecError, match="not even one example fits"):
        fitting(program, loaded(program, place), torch.device("cpu"), trial, lambda line: None)


def test_other_errors_are_not_memory(place: Path) -> None:
    assert not out_of_memory(RuntimeError("shapes differ"))
    program = graphspec.compile(place / "wide.yaml")
    with pytest.raises(RuntimeError, match="shapes differ"):
        trial = failing_above(0, RuntimeError("shapes differ"))
        fitting(program, loaded(program, place), torch.device("cpu"), trial, lambda line: None)


def test_estimates_beyond_the_memory_are_not_tried(place: Path) -> None:
    program = graphspec.compile(place / "wide.yaml")
    needed = program.summary().step(512).total_bytes
    assert isinstance(needed, int)
    assert batch_size.first_size(program, 3000, needed) == 512
    assert batch_size.first_size(program, 500, 10**12) == 256
    assert batch_size.first_size(program, 3000, 1) == 16


def test_the_longest_batch_is_tried(tmp_path: Path) -> None:
    rows = [{"ids": [1] * length, "y": 1.0} for length in (*[2] * 60, 9, *[3] * 20)]
    (tmp_path / "d.jsonl").write_text("\n".join(map(json.dumps, rows)))
    program = graphspec.compile("""
inputs: {ids: {shape: [n], dtype: int64}}
nodes:
  table: {layer: Embedding, input_dim: 4, output_dim: 2, mask_zero: true}
  mean: {layer: GlobalAveragePooling1D}
  y: {layer: Dense, units: 1}
outputs: {y: {loss: mse}}
train: {batch_size: 8}
data: {train: d.jsonl, features: {ids: {encode: tokens, vocabulary: 4}}}
""")
    assert widest(program, loaded(program, tmp_path)).arrays["ids"].shape == (8, 9)


def test_a_run_goes_on_with_its_own_size_and_the_same_losses(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = graphspec.compile(WIDE.replace("30000", "8").replace("epochs: 1", "epochs: 2"))
    monkeypatch.setattr(batch_size, "free", lambda device: 0)
    options: dict[str, Any] = {
        "root": place,
        "device": "cpu",
        "batch_size": "auto",
        "tell": lambda line: None,
        "limit": 328,
    }
    train(small, run_dir=place / "run", epochs=1, **options)
    monkeypatch.setattr(batch_size, "free", lambda device: 10**12)
    again = train(small, run_dir=place / "run", resume=True, **options)
    assert again.steps == 2 * -(-328 // 16), "the last batch of an epoch is a part"
    plain = train(small, run_dir=place / "plain", **(options | {"batch_size": None}))
    assert again.history == plain.history
    for damaged in ("- 1", "[" * 9, "train: [1]"):
        (place / "run" / "spec.yaml").write_text(damaged)
        with pytest.raises(SpecError, match=r"spec.yaml` is missing or damaged|is not the one of"):
            train(small, run_dir=place / "run", resume=True, **options)


def test_one_process_alone_is_tried(place: Path) -> None:
    result = CliRunner().invoke(app, ["train", str(place / "wide.yaml"), "--batch-size", "big"])
    assert result.exit_code == 2 and "neither `auto` nor a number" in " ".join(result.stderr.split())


def test_every_phase_is_tried(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tried = []
    begin = Phases.begin

    def noted(phases: Phases, number: int) -> Any:
        tried.append(number)
        return begin(phases, number)

    monkeypatch.setattr(Phases, "begin", noted)
    program = graphspec.compile(
        place / "wide.yaml", settings={"train.phases": [{"epochs": 1}, {"epochs": 1}]}
    )
    monkeypatch.setattr(batch_size, "first_size", lambda *given: 16)
    train(
        program,
        root=place,
        run_dir=place / "run",
        device="cpu",
        limit=32,
        batch_size="auto",
        epochs=1,
        tell=print,
    )
    assert tried[:2] == [0, 1]

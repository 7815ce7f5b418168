"""What limits the speed of a training: by a clock of which the test says what takes how long."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from typer.testing import CliRunner

import graphspec
from graphspec.cli.app import app
from graphspec.data.batches import Batch, Changed, InMemory, Shuffle
from graphspec.data.loading import Data
from graphspec.train import speed as speed_room
from graphspec.train.feeding import feed
from graphspec.train.speed import Operations, TimedSteps, speed
from tests import ROOT

CPU = torch.device("cpu")
SPEC = """
name: small
inputs: {x: {shape: [2]}}
nodes: {y: {layer: Dense, units: 1}}
outputs: {y: {loss: mse}}
train: {batch_size: 16}
"""


class Clock:
    """A time that passes where something says so."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


@dataclass(frozen=True, slots=True)
class Slow(Changed):
    """Batches that take a second more to be changed."""

    clock: Clock

    def changed(self, batch: Batch, seed: int) -> Batch:
        self.clock.now += 1
        return batch


@dataclass(frozen=True, slots=True)
class Read(InMemory):
    """Batches that take so many seconds to read."""

    clock: Any = None
    seconds: float = 0.0

    def batches(self, batch_size: int, shuffle: Shuffle | None = None, start: int = 0) -> Iterator[Batch]:
        for batch in InMemory.batches(self, batch_size, shuffle, start):
            self.clock.now += self.seconds
            yield batch


def examined(
    fixed: float = 0.0, row: float = 0.0, moved: float = 0.0, read: float = 0.0, changes: bool = False
) -> Any:
    """The speed of steps that take `fixed` seconds and some for each row, without a product."""
    clock, program = Clock(), graphspec.compile(SPEC)
    array = torch.zeros(100, 2)
    examples: Any = Read({"x": array}, {"x": torch.float32}, clock=clock, seconds=read)
    data = Data(Slow(examples, clock) if changes else examples, None, None)

    def step(objective: Any, called: Any, batch: Batch, totals: Any) -> Any:
        clock.now += fixed + row * len(batch)
        return SimpleNamespace(value=0.0)

    def move() -> None:
        clock.now += moved

    objective = SimpleNamespace(totals=lambda called, parts: None)
    update = SimpleNamespace(objective=objective, compiled=step, move=move, alone=nullcontext)
    phase: Any = SimpleNamespace(turns=(update,))
    fed = feed(program.training, data)
    return speed(program, data, TimedSteps(phase, None, fed, 0, clock), CPU, is_compiled=False)


@pytest.mark.parametrize(
    ("options", "parts", "limit", "edit", "gain"),
    [
        ({"fixed": 3, "row": 0.0625}, {"launching": 3, "memory": 1}, "launching", "--compile", 1.0),
        ({"row": 0.25, "moved": 4}, {"memory": 4, "updating": 4}, "memory", "--compile on", 0.5),
        ({"row": 0.25, "read": 6}, {"reading": 6, "memory": 4}, "reading", "--compile on", 0.4),
        ({"row": 0.0625, "changes": True}, {"changing": 1, "memory": 1}, "changing", "data.mix=[]", 0.5),
    ],
)
def test_each_part_is_found_and_has_its_edit(
    options: dict[str, Any], parts: dict[str, float], limit: str, edit: str, gain: float
) -> None:
    found = examined(**options)
    assert {name: value for name, value in found.parts.items() if value} == pytest.approx(parts)
    assert found.limit == limit or found.parts[limit] == max(found.parts.values())
    (best,) = [each for each in found.edits if edit in each.text]
    assert best.gain == pytest.approx(gain) and not best.measured


def test_a_larger_batch_is_tried_and_its_gain_is_that_of_all_that_is_done_for_a_row() -> None:
    found = examined(fixed=3, row=0.0625, read=1)
    (larger,) = [each for each in found.edits if "train.batch_size=64" in each.text]
    before, after = 4, (3 + 64 / 16) / 4
    assert larger.measured and larger.gain == pytest.approx((before - after) / before * 4 / 5)
    assert "saves 45% of the time of a row (measured)" in str(found)
    assert not any("train.batch_size" in each.text for each in examined(row=1).edits)


def test_products_are_told_from_other_operations() -> None:
    clock = Clock()
    with Operations(lambda: clock.now) as none:
        torch.ones(3) + 1
    assert none.products == none.others == 0

    def ticking() -> float:
        clock.now += 1
        return clock.now

    weight = torch.ones(2, 2, requires_grad=True)
    with Operations(ticking) as found:
        torch.nn.functional.linear(torch.ones(4, 2), weight, torch.ones(2)).relu().sum().backward()
        torch.nn.functional.conv1d(torch.ones(1, 1, 4), torch.ones(1, 1, 2))
    assert found.products == 3  # one forward, one backward, for the weight alone, and a convolution
    assert found.others > 3


def test_the_command_says_it_and_writes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(speed_room, "READ", 0.01)
    command = ["train", str(ROOT / "specs" / "digits.yaml"), "--explain-speed", "--limit", "300"]
    done = CliRunner().invoke(app, [*command, "--json", "--device", "cpu"])
    assert done.exit_code == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["limit"] in found["parts"] and found["rows"] == 64
    assert sum(found["parts"].values()) == pytest.approx(found["seconds"]) and found["parts"]["products"] > 0
    assert any("communication" in each for each in found["unmeasured"])
    assert not [*tmp_path.iterdir()]
    for option in (["--resume"], ["--run-dir", "x"], ["--devices", "2"], ["--seeds", "2"], ["--plot"]):
        refused = CliRunner().invoke(app, [*command, *option])
        assert refused.exit_code == 2 and option[0] in refused.stderr

"""What `test_card.py` runs, each function in a process of its own: on a device without a card there come the
numbers of the CPU, and the host waits for nothing but the loss of a step.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from safetensors.torch import load_file
from torch import Tensor

from graphspec.compiler import compile
from graphspec.train.loop import train
from graphspec.train.progress import Result
from graphspec.train.saver import Saver
from tests import ROOT
from tests.card import GPU, Card, card

SPECS = ROOT / "specs"
STEP = {
    ("out", "train/batch_result.py:__init__"): "the loss is sent to the host",
    ("wait", "train/batch_result.py:value"): "which reads it before the weights move",
}
"""What a step of a training has to do with the host, each once for an update."""
RAGGED = {
    ("in", "data/padding.py:sent"): "where the elements of rows of different lengths go",
}
"""What batches of rows of different lengths add: nobody waits for that."""
CHUNK = {
    ("in", "data/batches.py:batches"): "the order of an epoch",
    ("out", "data/padding.py:select"): "the order, where rows have different lengths",
    ("wait", "data/padding.py:select"): "which the host looks up",
    ("in", "data/padding.py:select"): "their elements",
}
"""What the first batch of an epoch adds, or of each part of it that is gathered at once."""


@contextmanager
def steps(gpu: Card) -> Iterator[list[tuple[int, int]]]:
    """The events from each step to the next one of its epoch: their first number and their last."""
    found: list[tuple[int, int]] = []
    last: list[int] = []
    step, epoch = Saver.step, Saver.epoch

    def after_step(saver: Saver, due: bool) -> None:
        step(saver, due)
        found.extend((begin, len(gpu.events)) for begin in last)
        last[:] = [len(gpu.events)]

    def after_epoch(saver: Saver, due: bool) -> None:
        epoch(saver, due)
        last.clear()

    with patch.object(Saver, "step", after_step), patch.object(Saver, "epoch", after_epoch):
        yield found


def both(
    spec: Path | str,
    folder: Path,
    allowed: Any = STEP,
    updates: int = 1,
    close: float = 1e-5,
    **options: Any,
) -> Result:
    """Trains a spec on the CPU and on the device, compares what the runs leave, and counts what the steps on
    the device have to do with the host. Returns the result on the device.
    """
    options = {"root": SPECS, "limit": 100, "epochs": 2, "tell": lambda _: None} | options
    on_cpu = train(compile(spec), run_dir=folder / "cpu", device="cpu", **options)
    with card() as gpu, steps(gpu) as each:
        on_gpu = train(compile(spec), run_dir=folder / "gpu", device="cuda", **options)
        assert gpu.ops > 100
        assert not gpu.pending, "a copy to the host that nobody waited for"
    assert on_gpu.device.startswith("cuda")
    alike(on_cpu.metrics, on_gpu.metrics, close)
    for name in ("last", "best"):
        here, there = (folder / place / f"{name}.safetensors" for place in ("cpu", "gpu"))
        assert here.exists() == there.exists()
        if here.exists():
            same(load_file(here), load_file(there), close)
    assert each
    for begin, end in each:
        found = gpu.count(begin, end)
        assert set(found) <= set(allowed), found
        assert all(found[event] <= updates for event in STEP), found
    return on_gpu


def alike(some: Any, others: Any, close: float) -> None:
    assert some.keys() == others.keys()
    for name, value in some.items():
        assert abs(value - others[name]) <= close * max(1.0, abs(value)), (name, value, others[name])


def same(some: dict[str, Tensor], others: dict[str, Tensor], close: float) -> None:
    assert some.keys() == others.keys()
    for name, value in some.items():
        torch.testing.assert_close(others[name], value, rtol=close, atol=close, msg=name)


def a_device_that_holds_numbers(folder: Path) -> None:
    """What CUDA refuses is refused, and copies and waits are counted."""
    from pytest import raises

    with card() as gpu:
        x = torch.ones(3, 4).to("cuda")
        assert x.is_cuda and x.device == GPU and torch.zeros(2, device="cuda").is_cuda
        assert gpu.count() == {("in", "test"): 1, ("wait", "test"): 1}
        with raises(RuntimeError, match="same device"):
            x + torch.ones(4)
        assert (x + torch.tensor(1.0)).cpu().tolist() == 3 * [4 * [2.0]]
        with raises(TypeError, match=r"Tensor.cpu\(\)"):
            x.numpy()
        before = len(gpu.events)
        torch.nn.functional.dropout(x @ x.T, 0.5).relu().sum()
        assert len(gpu.events) == before, "these need no host"
        x.sum().item()
        x[x > 0]
        torch.tensor([1.0, 2.0], device="cuda")
        assert [each.kind for each in gpu.events[before:]] == ["wait", "out", "wait", "in", "wait"]
        read = torch.empty((), pin_memory=True)
        read.copy_(x.sum(), non_blocking=True)
        event = torch.cuda.Event()
        event.record(torch.cuda.current_stream())
        assert read.isnan(), "what nobody waited for is not there"
        event.synchronize()
        assert read.item() == 12
        torch.manual_seed(3)
        drawn = torch.rand(2, device="cuda"), torch.rand(2)
        torch.manual_seed(3)
        assert torch.equal(torch.rand(2), drawn[0].cpu()) and torch.equal(drawn[0].cpu(), drawn[1])


def a_small_network(folder: Path) -> None:
    result = both(SPECS / "dense.yaml", folder)
    again = {"root": SPECS, "limit": 100, "epochs": 3, "tell": lambda _: None}
    straight = train(compile(SPECS / "dense.yaml"), run_dir=folder / "straight", device="cpu", **again)
    with card():
        resumed = train(
            compile(SPECS / "dense.yaml"), run_dir=result.run_dir, device="cuda", resume=True, **again
        )
    alike(straight.metrics, resumed.metrics, 1e-5)


def rows_of_different_lengths(folder: Path) -> None:
    both(SPECS / "names.yaml", folder, STEP | RAGGED | CHUNK)


CASES = [a_device_that_holds_numbers, a_small_network, rows_of_different_lengths]

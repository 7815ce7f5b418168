"""What `test_card.py` runs, each function in a process of its own: on a device without a card there come the
numbers of the CPU, and the host waits for nothing but the loss of a step.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor

from graphspec.compiler import compile
from graphspec.data import batches, streamed
from graphspec.data.loading import load
from graphspec.runs.run import Run
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
SENT = {("in", "data/padding.py:sent"): "a batch"}
"""What batches add that lie on the host."""
EPOCH = {
    "train/meter.py:_numbers": "the sums of its losses",
    "objectives/metrics.py:result": "its metrics",
    "train/files.py:untied": "weights, to be written",
    "train/batch_result.py:__init__": "the losses of its validation",
    "data/padding.py:sent": "the batches of that",
}
"""What the end of an epoch has to do with the host, beside that of its steps."""
ACCUMULATED = {"name": "adam", "gradient_accumulation_steps": 2}
CELL = """
inputs: {words: {shape: [length], dtype: int32}}
nodes:
  code: {layer: Embedding, input_dim: 20, output_dim: 4, mask_zero: true}
  read: {layer: LSTM, units: 4, return_state: true}
  y: {layer: Dense, from: read.state_c, units: 3, activation: softmax}
outputs: {y: {loss: sparse_categorical_crossentropy, metrics: [accuracy]}}
train: {epochs: 2, batch_size: 14, seed: 4}
data: {train: words.npz, validation: {split: 0.2}}
"""


def sequences(folder: Path) -> Path:
    source = np.random.default_rng(0)
    np.savez(folder / "words.npz", words=source.integers(0, 20, (107, 5)), y=source.integers(0, 3, 107))
    return folder


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
        if last:
            ends = gpu.count(last.pop())
            assert {place for _, place in ends} <= set(EPOCH), ends

    with patch.object(Saver, "step", after_step), patch.object(Saver, "epoch", after_epoch):
        yield found


def both(
    spec: Path | str,
    folder: Path,
    allowed: Any = STEP,
    updates: int = 1,
    close: float = 1e-5,
    settings: Any = None,
    **options: Any,
) -> Result:
    """Trains a spec on the CPU and on the device, compares what the runs leave, and counts what the steps on
    the device have to do with the host. Returns the result on the device.
    """
    options = {"root": SPECS, "limit": 100, "epochs": 2, "tell": lambda _: None} | options
    on_cpu = train(compile(spec, settings=settings), run_dir=folder / "cpu", device="cpu", **options)
    with card() as gpu, steps(gpu) as each:
        on_gpu = train(compile(spec, settings=settings), run_dir=folder / "gpu", device="cuda", **options)
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
    counts = [gpu.count(begin, end) for begin, end in each]
    assert set().union(*counts) == set(allowed), counts
    assert all(count[event] <= updates for count in counts for event in STEP), counts
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
    both(SPECS / "names.yaml", folder, STEP | RAGGED)


def dropout_and_penalties(folder: Path) -> None:
    """The generator of the device is in the state of a run, and what is drawn is that of the seed."""
    text = (SPECS / "digits.yaml").read_text()
    dense = "layer: Dense, units: 10, activation: softmax"
    penalized = f"{dense}, kernel_regularizer: {{name: l2, l2: 0.01}}, activity_regularizer: l1"
    both(text.replace(dense, penalized), folder)


def augmented_pictures(folder: Path) -> None:
    both(SPECS / "digit_images.yaml", folder)


def products_of_fewer_bits(folder: Path) -> None:
    text = (SPECS / "digits.yaml").read_text().replace("train:\n  opt", "train:\n  precision: bf16\n  opt")
    assert "bf16" in text
    both(text, folder, close=0.1)


def weights_that_are_averages(folder: Path) -> None:
    both(SPECS / "byol.yaml", folder, close=1e-3)


def several_updates_on_each_batch(folder: Path) -> None:
    both(SPECS / "digits_gan.yaml", folder, updates=4, close=1e-4)


def phases(folder: Path) -> None:
    both(SPECS / "distillation.yaml", folder)


def parts_of_a_batch(folder: Path) -> None:
    text = (SPECS / "dense.yaml").read_text()
    both(text, folder, updates=4, settings={"train.optimizer": ACCUMULATED})


def low_rank_adapters(folder: Path) -> None:
    adapters = [{"match": "*", "rank": 2, "alpha": 4}]
    both(SPECS / "dense.yaml", folder, settings={"train.adapters": adapters})


def the_last_state_of_a_cell(folder: Path) -> None:
    both(CELL, folder, root=sequences(folder))


def losses_with_constants(folder: Path) -> None:
    quantiles = CELL.replace("units: 3, activation: softmax", "units: 3")
    loss = "{loss: {name: quantile, levels: [0.1, 0.5, 0.9]}}"
    spec = quantiles.replace("{loss: sparse_categorical_crossentropy, metrics: [accuracy]}", loss)
    both(spec, folder, root=sequences(folder))


def data_that_stay_on_the_host(folder: Path) -> None:
    """Each batch is sent, and nobody waits for that."""
    with patch("tests.card.FREE", 0), patch.object(batches, "GATHERED", 1):
        both(SPECS / "dense.yaml", folder, STEP | SENT)


def the_next_batch_is_sent_while_one_is_used(folder: Path) -> None:
    """On a stream of its own, which that of the training waits for; of three batches one is not there yet."""
    spec = compile(SPECS / "dense.yaml")
    with patch("tests.card.FREE", 0), patch.object(batches, "GATHERED", 1), card() as gpu:
        examples = load(spec, None, SPECS, torch.device("cuda"), limit=100).training
        gpu.events.clear()
        read = iter(examples.batches(32, batches.Shuffle(1, 0)))
        arrays = len(next(read).arrays)
        sent = len(gpu.events)
        assert arrays <= sent <= 2 * arrays
        count = 1 + sum(1 for _ in read)
        assert count == 4 and len(gpu.events) == arrays * count
        assert {(event.kind, event.stream) for event in gpu.events} == {("in", 1)}
        assert gpu.ordered == [(1, 0)] * count and gpu.used_on == [0] * arrays * count


def streamed_data(folder: Path) -> None:
    with patch.object(streamed, "WINDOW", 2_000), patch.dict(os.environ, {"GRAPHSPEC_MEMORY": "1K"}):
        both(SPECS / "cars.yaml", folder, STEP | SENT, limit=None, epochs=1)


def a_run_that_is_used(folder: Path) -> None:
    """Evaluation, predictions, and the model that `serve` asks."""
    spec, options = SPECS / "digits.yaml", {"root": SPECS, "limit": 100, "epochs": 1}
    train(compile(spec), run_dir=folder / "run", device="cpu", tell=lambda _: None, **options)
    images = {"image": np.load(SPECS / "data" / "digits.npz")["image"][:8]}
    found = []
    for device in ("cpu", "cuda"):
        with card():
            run = Run(folder / "run")
            found.append((run.evaluate(device=device), run.predict(images, device=device)))
    (scores, said), (others, other) = found
    alike(dict(scores), dict(others), 1e-5)
    assert said.column_names == other.column_names
    for name in said.column_names:
        if name == "digit":
            assert said[name] == other[name]
        else:
            np.testing.assert_allclose(said[name].to_numpy(), other[name].to_numpy(), atol=1e-6)


CASES = [
    a_device_that_holds_numbers,
    a_small_network,
    rows_of_different_lengths,
    dropout_and_penalties,
    augmented_pictures,
    products_of_fewer_bits,
    weights_that_are_averages,
    several_updates_on_each_batch,
    phases,
    parts_of_a_batch,
    low_rank_adapters,
    the_last_state_of_a_cell,
    losses_with_constants,
    data_that_stay_on_the_host,
    the_next_batch_is_sent_while_one_is_used,
    streamed_data,
    a_run_that_is_used,
]

"""Trains ResNet-50, GPT-2 small, BERT base and a DLRM on a GPU beside hand-written compiled loops.

python -m bench.gpu            on a card, in about ten minutes
python -m bench.gpu --tiny --device cpu   small networks, to see that it works

All train in bfloat16 on synthetic data with AdamW. By hand a network is a module of `bench.twins` in a loop
with autocast, a fused optimizer and torch.compile over the whole module; its loss is read after each step, as
graphspec does.
"""

from __future__ import annotations

import argparse
import gc
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

import graphspec
from bench.cases import SPECS
from bench.report import Column, Table, Value, duration, environment
from bench.twins.published import Bottleneck, ResNet
from bench.twins.text import Bert, Gpt
from graphspec.data.fields import fields
from graphspec.data.synthetic import synthetic
from graphspec.train.speed import TIMED, WARM, explain

ADAMW: dict[str, Any] = {
    "train.optimizer": {"name": "adamw", "learning_rate": 0.001},
    "train.precision": "bf16",
}
CLASSES = {"outputs.probs": {"loss": "sparse_categorical_crossentropy"}}
DLRM = """
name: dlrm
params: {rows: 10000000, width: 64, fields: 26, hidden: 512}
inputs:
  dense: {shape: [13]}
  ids: {shape: [$fields], dtype: int64}
nodes:
  hidden: {layer: Dense, from: dense, units: $hidden, activation: relu}
  bottom: {layer: Dense, units: $width, activation: relu}
  row: {layer: Reshape, target_shape: [1, $width]}
  table: {layer: Embedding, from: ids, input_dim: $rows, output_dim: $width}
  vectors: {merge: concatenate, from: [row, table], axis: 1}
  pairs: {merge: dot, from: [vectors, vectors], axes: 2}
  flat: {layer: Flatten}
  all: {merge: concatenate, from: [bottom, flat]}
  top: {layer: Dense, units: $hidden, activation: relu}
  click: {layer: Dense, units: 1, activation: sigmoid}
outputs:
  click: {loss: binary_crossentropy}
"""


class Dlrm(nn.Module):
    """Numbers and hashed ids, and the products of all pairs of their vectors."""

    def __init__(self, rows: int = 10_000_000, width: int = 64, hidden: int = 512) -> None:
        super().__init__()
        self.hidden = nn.Linear(13, hidden)
        self.bottom = nn.Linear(hidden, width)
        self.table = nn.Embedding(rows, width)
        self.top = nn.Linear(width + 27 * 27, hidden)
        self.click = nn.Linear(hidden, 1)

    def forward(self, dense: Tensor, ids: Tensor, *, logits: bool = False) -> Tensor:
        x = self.bottom(self.hidden(dense).relu()).relu()
        vectors = torch.cat((x[:, None], self.table(ids)), 1)
        pairs = vectors @ vectors.transpose(1, 2)
        found: Tensor = self.click(self.top(torch.cat((x, pairs.flatten(1)), 1)).relu())
        return found if logits else found.sigmoid()


@dataclass(frozen=True, slots=True)
class Subject:
    """A network as a spec and by hand, and the loss of the hand-written outputs."""

    spec: str
    settings: Mapping[str, Any]
    twin: Callable[[], nn.Module]
    loss: Callable[[Any, Tensor], Tensor]
    preset: str | None = None

    def program(self) -> graphspec.Program:
        settings = {**ADAMW, **self.settings}
        if self.spec == "dlrm":
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder) / "dlrm.yaml"
                path.write_text(DLRM)
                return graphspec.compile(path, settings=settings)
        return graphspec.compile(SPECS / f"{self.spec}.yaml", preset=self.preset, settings=settings)


def _classes(found: Tensor, wanted: Tensor) -> Tensor:
    return F.cross_entropy(found.float().flatten(0, -2), wanted.flatten())


def _pooled(found: Mapping[str, Tensor], wanted: Tensor) -> Tensor:
    return F.mse_loss(found["pooled"].float(), wanted)


def _click(found: Tensor, wanted: Tensor) -> Tensor:
    return F.binary_cross_entropy_with_logits(found.float(), wanted)


POOLED = {"outputs.pooled": {"loss": "mse"}}
SUBJECTS = {
    "ResNet-50, 256 pictures": Subject(
        "resnet50",
        {**CLASSES, "train.batch_size": 256},
        lambda: ResNet(Bottleneck, (3, 4, 6, 3), bias=True),
        _classes,
    ),
    "GPT-2 small, 16 x 1,024 tokens": Subject(
        "gpt",
        {"inputs.tokens.shape": [1024], "train.batch_size": 16},
        lambda: Gpt(768, 12, 12, 50257, 1024, "tanh"),
        _classes,
        "gpt2",
    ),
    "BERT base, 64 x 512 tokens": Subject(
        "bert",
        {
            **POOLED,
            "inputs.tokens.shape": [512],
            "inputs.segments.shape": [512],
            "train.batch_size": 64,
        },
        lambda: Bert(30522, 768, 12, 12),
        _pooled,
        "bert_base",
    ),
    "DLRM, 16,384 rows, a table of 10^7": Subject("dlrm", {"train.batch_size": 16384}, Dlrm, _click),
}
TINY = {
    "ResNet": Subject(
        "resnet50",
        {
            **CLASSES,
            "params.depths": [1, 1, 1, 1],
            "inputs.image.shape": [32, 32, 3],
            "train.batch_size": 4,
        },
        lambda: ResNet(Bottleneck, (1, 1, 1, 1), bias=True),
        _classes,
    ),
    "GPT": Subject(
        "gpt", {"inputs.tokens.shape": [16], "train.batch_size": 4}, lambda: Gpt(64, 4, 3), _classes
    ),
    "BERT": Subject(
        "bert",
        {
            **POOLED,
            "params.longest": 512,
            "params.hidden": 256,
            "inputs.tokens.shape": [16],
            "inputs.segments.shape": [16],
            "train.batch_size": 4,
        },
        lambda: Bert(120, 64, 4, 2),
        _pooled,
    ),
    "DLRM": Subject(
        "dlrm",
        {"params.rows": 1000, "params.width": 8, "params.hidden": 16, "train.batch_size": 16},
        lambda: Dlrm(1000, 8, 16),
        _click,
    ),
}
COLUMNS = (
    Column("network", "network"),
    Column("eager", "graphspec, a step", duration),
    Column("compiled", "`--compile on`", duration),
    Column("hand", "by hand, compiled", duration),
    Column("ratio", "of by hand", "{:.2f}".format),
    Column("memory", "peak memory", "{:.1f} GiB".format),
    Column("hand_memory", "by hand", "{:.1f} GiB".format),
)


def table(subjects: Mapping[str, Subject], device: str, compiles: bool = True) -> Table:
    """The fastest of ten steps of each; without `compiles` nothing is compiled."""
    rows = [
        {"network": name, **measured(subject, torch.device(device), compiles)}
        for name, subject in subjects.items()
    ]
    note = "The fastest of ten steps in bfloat16 with AdamW, on synthetic data on the card."
    return Table("Trainings on a GPU", note, COLUMNS, tuple(rows))


def measured(subject: Subject, device: torch.device, compiles: bool) -> dict[str, Value]:
    """The seconds of a step, and the peak of memory, of graphspec and by hand."""
    program = subject.program()
    row: dict[str, Value] = {"eager": explain(program, device=str(device), tell=_silent).seconds}
    _clear(device)
    if compiles:
        row["compiled"] = explain(program, device=str(device), compile="on", tell=_silent).seconds
    row["memory"] = _clear(device)
    row["hand"] = by_hand(subject, program, device, compiles)
    row["hand_memory"] = _clear(device)
    best = min(float(row[way] or 0) for way in ("eager", "compiled") if way in row)
    return {**row, "ratio": best / float(row["hand"] or 1)}


def by_hand(subject: Subject, program: graphspec.Program, device: torch.device, compiles: bool) -> float:
    """The seconds of the fastest step of the hand-written loop."""
    size = program.training.batch_size
    examples = synthetic(program, fields(program), size, 0).to(device)
    (batch,) = examples.batches(size)
    inputs = [batch.arrays[name] for name in program.inputs]
    (target,) = {output.target for output in program.outputs.values() if output.loss is not None}
    wanted = batch.arrays[target]
    module = subject.twin().to(device).train()
    asked: dict[str, Any] = {} if subject.loss is _pooled else {"logits": True}
    called: Any = torch.compile(module) if compiles else module
    optimizer = torch.optim.AdamW(module.parameters(), 0.001, fused=True)
    taken = []
    for _ in range(WARM + TIMED):
        begin = time.perf_counter()
        with torch.autocast(device.type, torch.bfloat16):
            found = called(*inputs, **asked)
        loss = subject.loss(found, wanted)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        loss.item()
        taken.append(time.perf_counter() - begin)
    return min(taken[WARM:])


def _clear(device: torch.device) -> float | None:
    """The peak of memory since it was last called, in GiB; of a CPU nobody counts it."""
    gc.collect()
    if device.type != "cuda":
        return None
    peak = torch.cuda.max_memory_allocated(device) / 2**30
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats(device)
    return peak


def _silent(line: str) -> None:
    """Discards a report."""


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--tiny", action="store_true", help="small networks")
    parser.add_argument("--compile", choices=["on", "off"], default="on")
    parser.add_argument("--only", nargs="*", help="some of the networks, by the begins of their names")
    given = parser.parse_args()
    facts = environment(torch.get_num_threads())
    if given.device != "cpu":
        facts["card"] = torch.cuda.get_device_name()
    for key, value in facts.items():
        print(f"- {key}: {value}")
    every = TINY if given.tiny else SUBJECTS
    chosen = {n: s for n, s in every.items() if not given.only or n.startswith(tuple(given.only))}
    print(table(chosen, given.device, given.compile == "on").markdown())


if __name__ == "__main__":
    main()

"""Inference with a folded module and with the hand-written one, which is not folded."""

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from bench.cases import CASES, Case, copy_weights
from bench.measure import interleave
from bench.report import Column, Table, Value, duration
from graphspec.fold.weights import difference

NOTE = """The output of `build --fold` compared with the twin, which is not folded, with the same weights and
random statistics: `eval()` under `inference_mode`, both in channels_last. Runs are interleaved. The ratio is
the median over rounds of folded / twin; the difference is the largest of all outputs and logits."""

COLUMNS = (
    Column("spec", "spec"),
    Column("batch_size", "batch"),
    Column("threads", "threads"),
    Column("folded", "folded", duration),
    Column("twin", "twin", duration),
    Column("ratio", "ratio", "{:.3f}".format),
    Column("processor_ratio", "of processor time", "{:.3f}".format),
    Column("difference", "difference", "{:.1e}".format),
    Column("rounds", "rounds"),
)
SPECS = {"resnet50": 8, "posts": 32}
"""The specs, and for each the size of a batch."""


def table(budget_seconds: float) -> Table:
    rows: list[Mapping[str, Value]] = []
    for name, batch_size in SPECS.items():
        case = dataclasses.replace(CASES[name], batch_size=batch_size)
        folded, twin, apart = _pair(name, case)
        for threads in (1, 2):
            with _threads(threads):
                subjects = {"folded": _forward(folded, case), "twin": _forward(twin, case)}
                samples = interleave(subjects, warmup=3, budget_seconds=budget_seconds)
            ours, theirs = samples["folded"], samples["twin"]
            rows.append(
                {
                    "spec": name,
                    "batch_size": case.batch_size,
                    "threads": threads,
                    "folded": ours.median,
                    "twin": theirs.median,
                    "ratio": ours.ratio(theirs),
                    "processor_ratio": ours.processor_ratio(theirs),
                    "difference": apart,
                    "rounds": len(ours.seconds),
                }
            )
    return Table("Folded modules beside hand-written twins", NOTE, COLUMNS, tuple(rows))


def _pair(name: str, case: Case) -> tuple[nn.Module, nn.Module, float]:
    """The folded module and the twin with the same weights, and the largest difference of their logits."""
    program = case.program(name)
    module = program.module(seed=0)
    generator = torch.Generator().manual_seed(1)
    for key, value in module.state_dict().items():
        if key.endswith("running_mean"):
            value.normal_(0, 0.1, generator=generator)
        elif key.endswith("running_var"):
            value.uniform_(0.5, 1.5, generator=generator)
    twin = case.twin()
    copy_weights(module, twin)
    with TemporaryDirectory() as directory:
        weights = Path(directory) / "weights.safetensors"
        save_file({key: value.contiguous() for key, value in module.state_dict().items()}, weights)
        folded = program.fold().module(weights=weights)
    apart, allowed = difference(folded, twin, case.example())
    if apart > allowed:
        raise AssertionError(f"{name}: folded and twin differ by {apart}")
    return folded, twin, apart


def _forward(module: nn.Module, case: Case) -> Callable[[], Tensor | Mapping[str, Tensor]]:
    example = case.example()
    module.eval()

    def run() -> Tensor | Mapping[str, Tensor]:
        with torch.inference_mode():
            return module(**example)

    return run


@contextmanager
def _threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)

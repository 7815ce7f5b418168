"""Forward and training step: the emitted module beside its hand-written twin, with the same weights."""

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import nn

import graphspec
from bench.cases import CASES, SPECS, Case, copy_weights, loss, outputs
from bench.measure import interleave
from bench.report import Column, Table, Value, duration

NOTE = """Forward: `eval()` under `inference_mode`. Step: `train()`, forward to logits, half the mean square,
backward, a fused SGD step. Interleaved, after outputs and gradients of the two were found equal; medians and
minima; the ratio is the median over rounds of emitted / twin, and on a busy machine that of processor
time tells more."""

COLUMNS = (
    Column("spec", "spec"),
    Column("batch_size", "batch"),
    Column("phase", "phase"),
    Column("emitted", "emitted", duration),
    Column("twin", "twin", duration),
    Column("emitted_min", "emitted min", duration),
    Column("twin_min", "twin min", duration),
    Column("ratio", "ratio", "{:.3f}".format),
    Column("processor_ratio", "of processor time", "{:.3f}".format),
    Column("difference", "difference", lambda value: f"{value * 1e6:+.1f} us"),
    Column("rounds", "rounds"),
)


def emitted(name: str) -> nn.Module:
    return graphspec.compile(SPECS / f"{name}.yaml").module(seed=0)


def hand_written(name: str) -> nn.Module:
    """The twin in the emitted module's place: what such a comparison shows is the noise of the machine."""
    twin = CASES[name].twin()
    with torch.no_grad():
        for key, parameter in twin.named_parameters():
            if "bias_hh" in key:
                parameter.zero_()
    return twin


def table(names: Sequence[str], make: Callable[[str], nn.Module], budget_seconds: float) -> Table:
    rows: list[Mapping[str, Value]] = []
    for name in names:
        case = CASES[name]
        module, twin = make(name), case.twin()
        copy_weights(module, twin)
        verify(module, twin, case)
        for phase, subject in (("forward", _forward), ("step", _step)):
            samples = interleave(
                {"emitted": subject(module, case), "twin": subject(twin, case)},
                warmup=3,
                budget_seconds=budget_seconds,
            )
            rows.append(
                {
                    "spec": name,
                    "batch_size": case.batch_size,
                    "phase": phase,
                    "emitted": samples["emitted"].median,
                    "twin": samples["twin"].median,
                    "emitted_min": samples["emitted"].minimum,
                    "twin_min": samples["twin"].minimum,
                    "ratio": samples["emitted"].ratio(samples["twin"]),
                    "processor_ratio": samples["emitted"].processor_ratio(samples["twin"]),
                    "difference": samples["emitted"].median - samples["twin"].median,
                    "rounds": len(samples["emitted"].seconds),
                }
            )
    return Table("Emitted modules beside hand-written twins", NOTE, COLUMNS, tuple(rows))


def verify(module: nn.Module, twin: nn.Module, case: Case) -> None:
    """Outputs in both modes and the gradients of one step must agree, or the comparison means nothing."""
    example = case.example()
    for training in (False, True):
        results = []
        for model in (module, twin):
            torch.manual_seed(0)
            with torch.no_grad():
                results.append(outputs(model.train(training)(**example)))
        for ours, theirs in zip(*results, strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-4)
    gradients = []
    for model in (module, twin):
        torch.manual_seed(0)
        loss(model(**example, logits=True)).backward()
        gradients.append(
            [p.grad for key, p in model.named_parameters() if p.grad is not None and "bias_hh" not in key]
        )
        model.zero_grad()
    for ours, theirs in zip(*gradients, strict=True):
        scale = float(theirs.abs().max())
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=max(1e-3 * scale, 1e-7))


def _forward(module: nn.Module, case: Case) -> Callable[[], object]:
    example = case.example()
    module.eval()

    def run() -> None:
        with torch.inference_mode():
            module(**example)

    return run


def _step(module: nn.Module, case: Case) -> Callable[[], object]:
    example = case.example()
    module.train()
    optimizer = torch.optim.SGD(module.parameters(), lr=1e-4, fused=True)

    def run() -> None:
        optimizer.zero_grad()
        loss(module(**example, logits=True)).backward()
        optimizer.step()

    return run

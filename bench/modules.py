"""Forward pass and training step of the emitted module and its hand-written twin, with the same weights."""

import copy
import inspect
import sys
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn

from bench.cases import CASES, Case, copy_weights, loss, outputs, second_biases
from bench.measure import Samples, interleave
from bench.report import Column, Table, Value, duration
from graphspec.program import Program

NOTE = """Forward: `eval()` under `inference_mode`. Step: `train()`, forward to logits, half the mean square,
backward, a fused SGD step. Runs are interleaved, with the same weights, after a check that outputs and
gradients of the emitted module and its twin are equal. Times are medians. A ratio is the median over rounds
of the emitted module's time divided by the other's: below 1, the emitted module is faster. Keras runs on
torch, in the same loop."""

PHASES = ("forward", "step")


def _columns() -> tuple[Column, ...]:
    found = [Column("spec", "spec"), Column("batch_size", "batch")]
    for phase in PHASES:
        found += [
            Column(f"{phase}_emitted", phase, duration),
            Column(f"{phase}_twin", "by hand", duration),
            Column(f"{phase}_ratio", "of by hand", "{:.3f}".format),
            Column(f"{phase}_keras_ratio", "of Keras", "{:.2f}".format),
        ]
    return tuple(found)


def table(names: Sequence[str], budget_seconds: float, noise: bool = False) -> Table:
    """A row for each case of `names` and its twin.

    With `noise` it compares the twin with itself, which shows the noise of the machine.
    """
    rows: list[Mapping[str, Value]] = []
    for name in names:
        rows.append(_row(name, CASES[name], budget_seconds, noise))
        ratios = {key: f"{value:.3f}" for key, value in rows[-1].items() if key.endswith("ratio")}
        print(name, ratios, file=sys.stderr, flush=True)
    return Table("Emitted modules beside hand-written twins", NOTE, _columns(), tuple(rows))


def _row(name: str, case: Case, budget_seconds: float, noise: bool) -> dict[str, Value]:
    program, twin = case.program(name), case.twin()
    module = program.module(seed=0)
    copy_weights(module, twin)
    verify(module, twin, case)
    keras = same_in_keras(program, module, case) if case.keras and not noise else None
    if noise:
        module = copy.deepcopy(twin)
    row: dict[str, Value] = {"spec": name, "batch_size": case.batch_size}
    for phase in PHASES if learns(module) else PHASES[:1]:
        subject = _forward if phase == "forward" else _step
        pair = {"emitted": subject(module, case), "twin": subject(twin, case)}
        row |= _compared(phase, "twin", interleave(pair, warmup=2, budget_seconds=budget_seconds))
        if keras is not None:
            pair = {"emitted": subject(module, case), "keras": subject(keras, case)}
            samples = interleave(pair, warmup=1, budget_seconds=budget_seconds / 3, min_rounds=3)
            row |= _compared(phase, "keras", samples)
    return row


def _compared(phase: str, other: str, samples: Mapping[str, Samples]) -> dict[str, Value]:
    ours, theirs = samples["emitted"], samples[other]
    prefix = f"{phase}_" if other == "twin" else f"{phase}_{other}_"
    return {
        f"{prefix}emitted": ours.median,
        f"{phase}_{other}": theirs.median,
        f"{prefix}emitted_min": ours.minimum,
        f"{prefix}{other}_min": theirs.minimum,
        f"{prefix}ratio": ours.ratio(theirs),
        f"{prefix}processor_ratio": ours.processor_ratio(theirs),
        f"{prefix}rounds": len(ours.seconds),
    }


def same_in_keras(program: Program, module: nn.Module, case: Case) -> nn.Module:
    """The same network in Keras. Its outputs are checked to be equal, unless it draws random numbers."""
    from bench.keras_models import keras_model

    model, example = keras_model(program, module).eval(), case.example()
    module.eval()
    if not any(op.title.startswith("random") for op in program.graph.walk()):
        with torch.no_grad():
            _assert_close(outputs(module(**example)), outputs(model(**example)))
    return model


def _assert_close(ours: Sequence[Tensor], theirs: Sequence[Tensor]) -> None:
    """Checks equality to a thousandth of the largest value."""
    for actual, expected in zip(ours, theirs, strict=True):
        scale = float(expected.abs().max())
        torch.testing.assert_close(actual, expected, rtol=1e-3, atol=max(1e-3 * scale, 1e-7))


def verify(module: nn.Module, twin: nn.Module, case: Case) -> None:
    """Checks that outputs in both modes and gradients agree; otherwise the comparison means nothing."""
    example, second = case.example(), second_biases(twin)
    for training in (False, True):
        results = []
        for model in (module, twin):
            torch.manual_seed(0)
            with torch.no_grad():
                results.append(outputs(model.train(training)(**example)))
        _assert_close(*results)
    if not learns(module):
        return
    gradients = []
    for model in (module, twin):
        torch.manual_seed(0)
        loss(model(**example, **asked(model))).backward()
        gradients.append(
            [p.grad for key, p in model.named_parameters() if p.grad is not None and key not in second]
        )
        model.zero_grad()
    _assert_close(*gradients)


def asked(module: nn.Module) -> dict[str, bool]:
    """The arguments that ask for logits, if a module supports it."""
    return {"logits": True} if "logits" in inspect.signature(module.forward).parameters else {}


def learns(module: nn.Module) -> bool:
    """Whether there is anything to train."""
    return any(parameter.requires_grad for parameter in module.parameters())


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
    given = {**example, **asked(module)}

    def run() -> None:
        optimizer.zero_grad()
        loss(module(**given)).backward()
        optimizer.step()

    return run

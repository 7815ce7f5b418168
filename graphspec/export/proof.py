"""Whether an exported program computes what the module computes, at sizes other than it was traced at."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from graphspec.diagnostics import SpecError, fail
from graphspec.elaborated import BaseProgram
from graphspec.export.tracing import Traced, inputs_at, label

if TYPE_CHECKING:
    from graphspec.program import Program

Run = Callable[[list[Tensor]], dict[str, Tensor]]
"""From the inputs, in the spec's order, to the outputs by name."""

RELATIVE, ABSOLUTE = 1e-4, 1e-5
"""The tolerances of outputs: of each number, and of the largest one where that is above 1."""

ALIKE = 0.95
"""The share of boxes that must be there in both."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """One comparison: its sizes, and the largest difference of any two numbers."""

    sizes: dict[str, int]
    difference: float


def outputs_of(program: BaseProgram, value: Tensor | Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The outputs of a module, by the spec's names."""
    return dict(value) if isinstance(value, Mapping) else {next(iter(program.outputs)): value}


def drawn(program: Program, module: nn.Module, inputs: list[Tensor]) -> list[str]:
    """The outputs that depend on random draws: they differ between seeds."""
    first, second = (outputs_of(program, _seeded(module, inputs, seed)) for seed in (0, 1))
    return [name for name in first if not torch.equal(first[name].nan_to_num(), second[name].nan_to_num())]


def prove(
    program: Program, module: nn.Module, traced: Traced, run: Run, draws: list[str]
) -> list[Comparison]:
    """Runs both at the smallest sizes and at larger ones than those of the example; `draws` are the outputs
    that are not compared by number.

    Raises `SpecError` (export-differs).
    """
    comparisons = []
    for sizes in trials(traced):
        inputs = list(inputs_at(program, sizes, seed=1).values())
        expected = outputs_of(program, _seeded(module, inputs, 0))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            actual = run(inputs)
        worst = 0.0
        for name, value in expected.items():
            output = actual[name]
            if output.shape != value.shape or output.dtype != value.dtype:
                raise _differs(name, sizes, f"{_type(output)} instead of {_type(value)}")
            if name in draws:
                continue
            loss = program.outputs[name].loss if name in program.outputs else None
            answers = loss is not None and loss.answers
            apart, fits = difference_of_boxes(output, value) if answers else difference(output, value)
            if not fits:
                finite = torch.equal(output.isfinite(), value.isfinite())
                how = f"by up to {apart:.1e}" if finite else "only one of them is finite everywhere"
                raise _differs(name, sizes, how)
            worst = max(worst, apart)
        comparisons.append(Comparison({label(name): size for name, size in sizes.items()}, worst))
    return comparisons


def trials(traced: Traced) -> list[dict[str, int]]:
    """The sizes to compare at: the smallest, and larger ones than the example's; the example's if none is
    dynamic.
    """
    if not traced.free:
        return [traced.example]
    least = {name: span.least for name, span in traced.free.items()}
    larger = {
        name: traced.example[name] + 2 if span.most is None else min(traced.example[name] + 2, span.most)
        for name, span in traced.free.items()
    }
    return [{**traced.example, **least}, {**traced.example, **larger}]


def _seeded(module: nn.Module, inputs: list[Tensor], seed: int) -> Tensor | dict[str, Tensor]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        outputs: Tensor | dict[str, Tensor] = module(*inputs)
    return outputs


def difference(actual: Tensor, expected: Tensor) -> tuple[float, bool]:
    """The largest difference of two finite numbers, and whether all are as close as they must be."""
    if not expected.is_floating_point():
        unequal = (actual != expected).any().item()
        return float(unequal), not unequal
    a, b = actual.double(), expected.double()
    coarse = max(1.0, torch.finfo(expected.dtype).eps / torch.finfo(torch.float32).eps)
    finite = b[b.isfinite()]
    scale = max(1.0, finite.abs().max().item() if finite.numel() else 0.0)
    fits = torch.isclose(a, b, RELATIVE * coarse, ABSOLUTE * coarse * scale, equal_nan=True).all().item()
    gaps = (a - b).abs()
    gaps = gaps[gaps.isfinite()]
    return (gaps.max().item() if gaps.numel() else 0.0), bool(fits)


def difference_of_boxes(actual: Tensor, expected: Tensor) -> tuple[float, bool]:
    """The largest difference of two boxes [n, top, 6] that are alike, and whether nearly all have one that
    is: where two are equally good, roundings choose.
    """
    scale = max(1.0, expected[..., :4].abs().max().item()) if expected.numel() else 1.0
    units = expected.new_tensor([scale] * 4 + [1.0, 1.0])
    apart = ((actual.unsqueeze(2) - expected.unsqueeze(1)) / units).abs().amax(-1)  # [n, top, top]
    there = [rows[..., 5] >= 0 for rows in (actual, expected)]
    nearest = [apart.amin(2)[there[0]], apart.amin(1)[there[1]]]
    alike = [each[each <= RELATIVE] for each in nearest]
    fits = sum(map(len, alike)) >= ALIKE * sum(map(len, nearest))
    return max((each.max().item() for each in alike if len(each)), default=0.0), fits


def _type(tensor: Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')}{list(tensor.shape)}"


def _differs(output: str, sizes: Mapping[str, int], how: str) -> SpecError:
    at = ", ".join(f"{label(name)} {size}" for name, size in sizes.items())
    message = f"the exported program's `{output}` differs from the module's at {at}: {how}"
    return fail("export-differs", message, "`--format py` needs no export")

"""Emission: the module equals its graph run op by op; its source is deterministic, formatted, and needs only torch."""

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import graphspec
from graphspec.compiler import Program
from tests.interpreter import interpret

ROOT = Path(__file__).parent.parent
CASES = sorted((ROOT / "tests/emit").glob("*.yaml")) + sorted((ROOT / "tests/emit/parts").glob("*.yaml"))
SPECS = sorted((ROOT / "specs").glob("*.yaml"))
ACTIVATIONS = {"softmax": lambda x: x.softmax(-1), "sigmoid": torch.sigmoid}


def randomized(program: Program) -> nn.Module:
    """The program's module in float64, every weight another number."""
    module = program.module().double().eval()
    generator = torch.Generator().manual_seed(1)
    for name, value in module.state_dict().items():
        if value.is_floating_point():
            noise = torch.randn(value.shape, generator=generator, dtype=torch.float64) / 3
            value.copy_(noise.abs() + 0.5 if name.endswith("running_var") else noise)
    return module


def example(program: Program, batch: int = 2) -> dict[str, Tensor]:
    inputs = program.example_inputs(batch)
    return {name: x.double() if x.is_floating_point() else x for name, x in inputs.items()}


def named(program: Program, outputs: Tensor | dict[str, Tensor]) -> dict[str, Tensor]:
    return outputs if isinstance(outputs, dict) else {next(iter(program.outputs)): outputs}


@torch.no_grad()
def agrees(program: Program) -> None:
    """Fails where the module and the graph differ, or logits and probabilities do."""
    module, inputs = randomized(program), example(program)
    expected = interpret(program, module, inputs)
    actual = named(program, module(*inputs.values()))
    assert list(actual) == list(program.outputs)
    for name, value in expected.items():
        torch.testing.assert_close(actual[name], value, msg=lambda text, name=name: f"{name}: {text}")
    by_name = named(program, module(**{local(name): x for name, x in inputs.items()}))
    assert all(torch.equal(by_name[name], actual[name]) for name in actual)
    if not any(judgement.activation for judgement in program.outputs.values()):
        return
    logits = named(program, module(*inputs.values(), logits=True))
    for name, judgement in program.outputs.items():
        plain = ACTIVATIONS[judgement.activation](logits[name]) if judgement.activation else logits[name]
        torch.testing.assert_close(plain, actual[name])
        assert not judgement.activation or not torch.equal(logits[name], actual[name])


def local(name: str) -> str:
    from graphspec.names import local as written

    return written(name)


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_the_module_computes_its_graph(path: Path) -> None:
    agrees(graphspec.compile(path))

"""Specs of each version of the language mean what they meant: the same weights, outputs and settings.

`corpus/<version>/` has the specs as they were, and `numbers.json` what they gave. A released version
is never written anew.
"""

from __future__ import annotations

import json
import zlib
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import graphspec
from graphspec.version import LANGUAGE
from tests import one_in

CORPUS = Path(__file__).parent / "corpus"
SPECS = sorted(CORPUS.glob("*/*.yaml"))


def filled(key: str, value: Tensor) -> Tensor:
    """Values that follow from a weight's key and shape alone; variances are positive."""
    steps = torch.arange(value.numel(), dtype=torch.float64).reshape(value.shape)
    found = torch.sin(steps + zlib.crc32(key.encode()) % 1000) * 0.1
    return (found + 1 if key.endswith("running_var") else found).to(value.dtype)


def numbers(path: Path) -> dict[str, Any]:
    """What a spec gives: its parameters, and sums of each output on inputs that its types give."""
    program = graphspec.compile(path)
    module = program.module().eval()
    state = module.state_dict()
    module.load_state_dict({k: filled(k, v) if v.is_floating_point() else v for k, v in state.items()})
    inputs = {}
    for name, example in program.example_inputs(2, seed=0).items():
        steps = torch.arange(example.numel()).reshape(example.shape)
        high = program.ranges.get(name, 2)
        limit = high if isinstance(high, int) else 2
        drawn = torch.sin(steps.double()) if example.is_floating_point() else 1 + steps % (limit - 1)
        inputs[name] = drawn.to(example.dtype)
    with torch.no_grad(), torch.random.fork_rng():
        torch.manual_seed(0)
        outputs = module(*inputs.values())
    named = outputs if isinstance(outputs, dict) else {next(iter(program.outputs)): outputs}
    return {
        "keys": sorted(state),
        "params": program.summary().total_params,
        "outputs": {
            name: [list(value.shape), float(value.double().sum()), float(value.double().square().sum())]
            for name, value in named.items()
        },
        "training": json.loads(
            program.training.model_dump_json(exclude={"freeze", "unfreeze_at", "adapters"})
        ),
    }


@pytest.fixture(scope="module")
def known() -> dict[str, Any]:
    found: dict[str, Any] = {}
    for file in CORPUS.glob("*/numbers.json"):
        found |= {f"{file.parent.name}/{name}": value for name, value in json.loads(file.read_text()).items()}
    return found


@pytest.mark.parametrize("path", one_in(2, SPECS[::-1]), ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_a_spec_means_what_it_meant(path: Path, known: dict[str, Any]) -> None:
    expected, found = known[f"{path.parent.name}/{path.stem}"], numbers(path)
    assert found["keys"] == expected["keys"]
    assert found["params"] == expected["params"]
    for name, (shape, *sums) in expected["outputs"].items():
        assert found["outputs"][name][0] == shape
        assert found["outputs"][name][1:] == pytest.approx(sums, rel=1e-4, abs=1e-4)
    assert {key: found["training"].get(key) for key in expected["training"]} == expected["training"]


def test_each_version_has_its_specs() -> None:
    assert {path.parent.name for path in SPECS} == {str(version) for version in range(1, LANGUAGE + 1)}


def test_a_spec_may_say_its_version() -> None:
    text = (CORPUS / "1" / "dense.yaml").read_text()
    assert graphspec.compile(f"language: 1\n{text}").source == graphspec.compile(text).source

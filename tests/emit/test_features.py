"""Small specs that combine features of blocks. Each says in `# weights:` how many it has, counted by hand.

`# weights NAME:` is the count with a preset. What they combine is hard to emit: what is absent in the first
instance and present in a later one, sizes that agree by chance, one definition in several structures.
"""

import re
from pathlib import Path

import pytest
import torch
import yaml
from torch import Tensor, nn

from bench.cases import outputs
from tests import ROOT, bundled, interpreter
from tests.programs import program_of

FEATURES = sorted((ROOT / "tests" / "features").glob("*.yaml"))


def by_hand(path: Path) -> dict[str | None, int]:
    """The weights of a spec as such, under None, and with each preset that it has."""
    found = re.findall(r"^# weights ?(\w*): (.*)$", path.read_text(encoding="utf-8"), re.M)
    return {name or None: eval(count) for name, count in found}


CASES = [
    pytest.param(path, preset, id=f"{path.stem}-{preset}") for path in FEATURES for preset in by_hand(path)
]


def state(module: nn.Module) -> int:
    return sum(value.numel() for value in module.state_dict().values())


def test_every_preset_of_a_feature_is_counted() -> None:
    for path in FEATURES:
        presets = yaml.safe_load(path.read_text(encoding="utf-8")).get("presets", {})
        assert set(by_hand(path)) == {None, *presets}, path.name


@bundled(16, ("path", "preset"), CASES)
def test_weights_are_as_many_as_counted_by_hand(path: Path, preset: str | None) -> None:
    program = program_of(path, preset)
    expected = by_hand(path)[preset]
    assert program.summary().total_params == expected


@bundled(16, ("path", "preset"), CASES)
def test_the_module_computes_what_its_graph_says(path: Path, preset: str | None) -> None:
    program = program_of(path, preset)
    module = program.module(seed=0).double().eval()
    assert state(module) == by_hand(path)[preset]
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in module.parameters():
            weight.copy_(0.5 * torch.randn(weight.shape, generator=generator))
        inputs = {name: widened(x) for name, x in program.example_inputs(batch_size=3).items()}
        found = outputs(module(*inputs.values()))
        expected = interpreter.interpret(program, module, inputs)
        for ours, theirs in zip(found, expected.values(), strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-7, atol=1e-9)
        alone = outputs(module(*(x[1:2] for x in inputs.values())))
        for ours, theirs in zip(found, alone, strict=True):
            torch.testing.assert_close(ours[1:2] if len(ours) == 3 else ours, theirs, rtol=1e-7, atol=1e-9)


ONE_CLASS = (
    "initializers",
    "lists_longer_shorter",
    "list_params",
    "unread_output",
    "parallel_several",
    "implied_constants",
)
"""Features whose blocks are one class each."""


@pytest.mark.parametrize("feature", ONE_CLASS)
def test_instances_that_can_share_a_class_do(feature: str) -> None:
    source = program_of(ROOT / "tests" / "features" / f"{feature}.yaml").source
    assert not re.findall(r"^class \w*\d\(", source, re.M)


def widened(x: Tensor) -> Tensor:
    return x.double() if x.is_floating_point() else x

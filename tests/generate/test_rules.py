"""What each layer says of the axis that is streamed, on all of its examples: steps are those of the whole."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import pairwise

import pytest
import torch

import graphspec
from graphspec import Program, SpecError
from graphspec.contract.layer import Example, Layer
from graphspec.contract.registry import REGISTRY
from graphspec.generate.stepper import Stepper
from graphspec.tensor import symbol
from tests import ROOT
from tests.generate.test_step import close, cut
from tests.layer_contract import Case
from tests.layers.examples import examples_of

LENGTH = 6


def streamed() -> Iterator[tuple[str, type[Layer], Program, Program]]:
    """The examples whose first axis may be streamed: the program, and that of its step."""
    for kind, classes in REGISTRY.items():
        for name, cls in sorted(classes.items()):
            for number, example in enumerate(examples_of(cls)):
                text = spec_of(cls, example) if example.shapes and example.shapes[0] else None
                try:
                    program = graphspec.compile(text) if text is not None else None
                    step = program.step() if program is not None else None
                except SpecError:
                    continue
                if program is not None and step is not None:
                    yield f"{kind}-{name}-{number}", cls, program, step


def spec_of(cls: type[Layer], example: Example) -> str:
    """The node on inputs whose first axis has a name, with its first output alone."""
    spec = json.loads(Case(cls, example).spec({example.shapes[0][0]: "length"}))
    return json.dumps({**spec, "outputs": ["node"]}) + "\n"


def check(program: Program, step: Program) -> None:
    """Compares the first output of steps in three chunks with that of the whole."""
    assert step.stepping is not None
    module, name = program.module(seed=1).eval(), next(iter(step.outputs))
    stepper = Stepper(step, step.module(weights=module.state_dict()).eval(), LENGTH)
    inputs = program.example_inputs(2, dict.fromkeys(program.minimum_sizes, LENGTH), seed=3)
    stepper.begin(2)
    with torch.no_grad():
        made = module(**inputs)
        expected = made[name] if isinstance(made, dict) else made
        cuts = pairwise((0, 3, 4, LENGTH))
        parts = [stepper.step(cut(inputs, step, first, last))[name] for first, last in cuts]
    shape, size = program.outputs[name].tensors[0].shape, symbol(step.stepping.size)
    found = torch.cat(parts, next(axis for axis, each in enumerate(shape) if each == size))
    close(found, expected.expand(found.shape))


@pytest.mark.parity
def test_steps_of_every_layer_are_those_of_the_whole() -> None:
    seen: set[str] = set()
    for name, cls, program, step in streamed():
        try:
            check(program, step)
        except AssertionError as error:
            raise AssertionError(name) from error
        seen.add(f"{cls.kind} {cls.spec_name}")
    assert len(seen) > 200


@pytest.mark.parity
def test_steps_of_small_specs_of_other_tests_are_those_of_the_whole() -> None:
    """Blocks, loops and shared layers in many forms; those that look ahead are refused, and nothing else."""
    count = 0
    for path in sorted(
        (*(ROOT / "tests" / "emit").glob("*.yaml"), *(ROOT / "tests" / "features").glob("*.yaml"))
    ):
        program = graphspec.compile(path)
        for name in program.outputs:
            try:
                step = program.step([name])
            except SpecError as error:
                assert {each.code for each in error.diagnostics} == {"not-causal"}
                continue
            check(program, step)
            count += 1
    assert count > 10

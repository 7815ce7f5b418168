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


@pytest.mark.parity
def test_steps_of_every_layer_are_those_of_the_whole() -> None:
    seen: set[str] = set()
    for name, cls, program, step in streamed():
        module = program.module(seed=1).eval()
        stepper = Stepper(step, step.module(weights=module.state_dict()).eval(), LENGTH)
        inputs = program.example_inputs(2, dict.fromkeys(program.minimum_sizes, LENGTH), seed=3)
        stepper.begin(2)
        with torch.no_grad():
            expected = module(**inputs)
            cuts = pairwise((0, 3, 4, LENGTH))
            parts = [stepper.step(cut(inputs, step, first, last))["node"] for first, last in cuts]
        shape = program.outputs["node"].tensors[0].shape
        found = torch.cat(parts, next(axis for axis, size in enumerate(shape) if size == symbol("length")))
        try:
            close(found, expected.expand(found.shape))
        except AssertionError as error:
            raise AssertionError(name) from error
        seen.add(f"{cls.kind} {cls.spec_name}")
    assert len(seen) > 200

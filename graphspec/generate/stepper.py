"""Sequences that go on together, each from its own place: the states of a batch."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from graphspec.contract.stepping import StateBuffer
from graphspec.program import Program
from graphspec.weights import layers


class Stepper:
    """The sequences of a batch. `program` is that of a step, `module` its module; `longest` is the number of
    steps that there is room for.

    Inputs and outputs are tensors by name: those with steps are of new ones, [N, steps, ...].
    """

    def __init__(self, program: Program, module: nn.Module, longest: int):
        assert program.stepping is not None
        self.program, self.module, self.longest = program, module, longest
        self.names, self.place_name = program.stepping.inputs, program.stepping.places
        self.paths = [path for path, op in layers(program.graph) if isinstance(op.layer, StateBuffer)]
        self.places = torch.zeros(0, dtype=torch.int64)

    def begin(self, batch: int) -> None:
        """Forgets all steps; from now on there are `batch` sequences."""
        if self.paths:
            self.module.begin(batch, self.longest)  # type: ignore[operator]
        device = next((each.device for each in self.module.parameters()), torch.device("cpu"))
        self.places = torch.zeros(batch, dtype=torch.int64, device=device)

    @property
    def states(self) -> dict[str, Tensor]:
        """The states by their paths in the module, the batch first."""
        return {path: self.module.get_buffer(path) for path in self.paths}

    @states.setter
    def states(self, states: Mapping[str, Tensor]) -> None:
        for path, state in states.items():
            parent, _, name = path.rpartition(".")
            setattr(self.module.get_submodule(parent), name, state)

    def take(self, rows: Tensor) -> None:
        """From now on the sequences are these of them, in this order; one may be several times there."""
        self.states = {path: state[rows] for path, state in self.states.items()}
        self.places = self.places[rows]

    def step(self, inputs: Mapping[str, Tensor], **options: Any) -> dict[str, Tensor]:
        """The outputs of new steps, by name. No more than `longest` fit."""
        outputs = self.module(**inputs, **{self.place_name: self.places}, **options)
        self.places = self.places + inputs[self.names[0]].shape[1]
        names = [key for output in self.program.outputs.values() for key in output.keys]
        return dict(outputs) if isinstance(outputs, Mapping) else {names[0]: outputs}

    def start(self, prompts: Sequence[Mapping[str, Tensor]], **options: Any) -> list[dict[str, Tensor]]:
        """New sequences, which begin with these steps, [steps, ...]: of each prompt the outputs at its last
        step. Prompts of one length are computed together.
        """
        by_length: dict[int, list[int]] = defaultdict(list)
        for number, prompt in enumerate(prompts):
            by_length[len(prompt[self.names[0]])].append(number)
        parts, outputs = [], dict[int, dict[str, Tensor]]()
        for numbers in by_length.values():
            self.begin(len(numbers))
            given = [prompts[number] for number in numbers]
            made = self.step({key: torch.stack([each[key] for each in given]) for key in given[0]}, **options)
            parts.append((self.places, self.states))
            for row, number in enumerate(numbers):
                outputs[number] = {name: value[row, -1] for name, value in made.items()}
        if len(parts) > 1:
            order = torch.tensor([number for numbers in by_length.values() for number in numbers])
            self.places = torch.cat([places for places, _ in parts])
            self.states = {path: torch.cat([states[path] for _, states in parts]) for path in self.paths}
            self.take(order.argsort().to(self.places.device))
        return [outputs[number] for number in range(len(prompts))]

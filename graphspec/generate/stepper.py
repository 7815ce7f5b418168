"""The states of sequences that go on together, each from its own place."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from graphspec.contract.stepping import StateBuffer
from graphspec.contract.streaming import LONGEST
from graphspec.program import Program
from graphspec.weights import layers


class Stepper:
    """The sequences of a batch. `program` is that of a step, `module` its module, which several may share;
    `longest` is the number of steps that there is room for.

    Inputs and outputs are tensors by name: those with steps are of new ones, [N, steps, ...].
    """

    def __init__(self, program: Program, module: nn.Module, longest: int):
        assert program.stepping is not None
        self.program, self.module, self.longest = program, module, longest
        self.names, self.place_name = program.stepping.inputs, program.stepping.places
        self.states: dict[str, Tensor] = {}
        """By their paths in the module, the batch first."""
        self.places = torch.zeros(0, dtype=torch.int64)
        self._owners: dict[str, tuple[nn.Module, str]] = {}
        self._rooms: dict[str, int] = {}
        """The axes of states along which there is room for `longest` steps."""
        for path, op in layers(program.graph):
            if isinstance(op.layer, StateBuffer):
                parent, _, name = path.rpartition(".")
                self._owners[path] = module.get_submodule(parent), name
                shape = op.output.tensor.shape
                self._rooms |= {path: shape.index(LONGEST)} if LONGEST in shape else {}

    def begin(self, batch: int) -> None:
        """Forgets all steps; from now on there are `batch` sequences."""
        if self._owners:
            self.module.begin(batch, self.longest)  # type: ignore[operator]
        self.states = {path: getattr(owner, name) for path, (owner, name) in self._owners.items()}
        device = next((each.device for each in self.module.parameters()), torch.device("cpu"))
        self.places = torch.zeros(batch, dtype=torch.int64, device=device)

    def take(self, rows: Tensor, longest: int | None = None) -> None:
        """From now on the sequences are these of them, in this order; one may be several times there.
        `longest` is the new room.
        """
        self.longest = longest or self.longest
        self.states = {path: self._of_room(path, state)[rows] for path, state in self.states.items()}
        self.places = self.places[rows]

    def join(self, others: Stepper) -> None:
        """Puts the sequences of another one behind those that are here."""
        self.longest = max(self.longest, others.longest)
        parts = {path: (state, others.states[path]) for path, state in self.states.items()}
        self.states = {path: torch.cat([self._of_room(path, e) for e in two]) for path, two in parts.items()}
        self.places = torch.cat([self.places, others.places])

    def _of_room(self, path: str, state: Tensor) -> Tensor:
        """A state with room for `longest` steps."""
        axis = self._rooms.get(path)
        if axis is None or state.shape[axis] == self.longest:
            return state
        if state.shape[axis] > self.longest:
            return state.narrow(axis, 0, self.longest)
        sizes = [*state.shape]
        sizes[axis] = self.longest - state.shape[axis]
        return torch.cat([state, state.new_zeros(sizes)], axis)

    def step(self, inputs: Mapping[str, Tensor], **options: Any) -> dict[str, Tensor]:
        """The outputs of new steps, by name. No more than `longest` fit."""
        for path, (owner, name) in self._owners.items():
            setattr(owner, name, self.states[path])
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
        outputs, order = dict[int, dict[str, Tensor]](), list[int]()
        for numbers in by_length.values():
            part = Stepper(self.program, self.module, self.longest) if order else self
            part.begin(len(numbers))
            given = [prompts[number] for number in numbers]
            made = part.step({key: torch.stack([each[key] for each in given]) for key in given[0]}, **options)
            if part is not self:
                self.join(part)
            order += numbers
            for row, number in enumerate(numbers):
                outputs[number] = {name: value[row, -1] for name, value in made.items()}
        if len(by_length) > 1:
            self.take(torch.tensor(order).argsort().to(self.places.device))
        return [outputs[number] for number in range(len(prompts))]

"""The states of sequences that go on together, each from its own place."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from graphspec.contract.stepping import StateBuffer
from graphspec.contract.streaming import LONGEST
from graphspec.program import Program
from graphspec.weights import layers


class Stepper:
    """The sequences of a batch. `program` is that of a step, `module` its module, which several may share;
    `longest` is the number of steps that there is room for. `encoder` is the module of the program's encoder,
    if it has one: it computes once what steps need of inputs that do not go on.

    Inputs and outputs are tensors by name: those with steps are of new ones, [N, steps, ...].
    """

    def __init__(self, program: Program, module: nn.Module, longest: int, encoder: nn.Module | None = None):
        assert program.stepping is not None
        self.program, self.module, self.longest, self.encoder = program, module, longest, encoder
        self.names, self.place_name = program.stepping.inputs, program.stepping.places
        self.states: dict[str, Tensor] = {}
        """By their paths in the module, the batch first."""
        self.places = torch.zeros(0, dtype=torch.int64)
        outputs = [zip(each.keys, each.tensors, strict=True) for each in program.outputs.values()]
        self.axes = {key: program.stepping.axis(tensor) for pairs in outputs for key, tensor in pairs}
        """By output, its axis of the steps."""
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

    def encode(self, inputs: Mapping[str, Tensor]) -> None:
        """Computes what the sequences need of inputs that do not go on, [N, ...]; right after `begin`."""
        stepping = self.program.stepping
        assert self.encoder is not None and stepping is not None and stepping.encoder is not None
        made = self.encoder(*(inputs.get(key) for key in stepping.encoder.inputs))
        self.module.encode(made)  # type: ignore[operator]
        self.states = {path: getattr(owner, name) for path, (owner, name) in self._owners.items()}

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
            if getattr(owner, name) is not self.states[path]:
                setattr(owner, name, self.states[path])
        given = {**inputs, self.place_name: self.places}
        outputs = self.module(*(given.get(name) for name in self.program.inputs), **options)
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
            part = Stepper(self.program, self.module, self.longest, self.encoder) if order else self
            part.begin(len(numbers))
            given = {key: torch.stack([prompts[n][key] for n in numbers]) for key in prompts[numbers[0]]}
            if self.encoder is not None:
                part.encode(given)
            read = {key: value for key, value in given.items() if key in self.program.inputs}
            made = part.step(read, **options)
            if part is not self:
                self.join(part)
            order += numbers
            for row, number in enumerate(numbers):
                outputs[number] = {
                    name: value.select(self.axes.get(name, 1), -1)[row] for name, value in made.items()
                }
        if len(by_length) > 1:
            self.take(torch.tensor(order).argsort().to(self.places.device))
        return [outputs[number] for number in range(len(prompts))]


class Steppers:
    """Sequences that go on together, though what they read besides has different sizes: a stepper, which
    `made` makes, for those of each. It has the methods of one.
    """

    def __init__(self, made: Callable[[], Stepper]):
        self._made = made
        self._parts: dict[object, Stepper] = {}
        self._rows: list[object] = []
        """Of each sequence which part it is in; its place there is the order here."""

    def start(self, prompts: Sequence[Mapping[str, Tensor]], **options: Any) -> list[dict[str, Tensor]]:
        """New sequences, as `Stepper.start`. Those that were here are forgotten."""
        fresh = self._made()
        names = fresh.names if fresh.encoder is not None else [*prompts[0]]
        sizes = [tuple((k, v.shape) for k, v in each.items() if k not in names) for each in prompts]
        self._parts, self._rows = {}, [*sizes]
        outputs: list[dict[str, Tensor]] = [{} for _ in prompts]
        for size, rows in self._places().items():
            self._parts[size] = part = self._made()
            for row, found in zip(rows, part.start([prompts[row] for row in rows], **options), strict=True):
                outputs[row] = found
        return outputs

    def _places(self) -> dict[object, list[int]]:
        places = defaultdict[object, list[int]](list)
        for row, size in enumerate(self._rows):
            places[size].append(row)
        return places

    def step(self, inputs: Mapping[str, Tensor], **options: Any) -> dict[str, Tensor]:
        """The outputs of new steps, by name."""
        if len(self._parts) == 1:
            (part,) = self._parts.values()
            return part.step(inputs, **options)
        made, order = list[dict[str, Tensor]](), list[int]()
        for size, rows in self._places().items():
            made.append(self._parts[size].step({k: v[rows] for k, v in inputs.items()}, **options))
            order += rows
        back = torch.tensor(order).argsort()
        return {key: torch.cat([each[key] for each in made])[back] for key in made[0]}

    def take(self, rows: Tensor, longest: int | None = None) -> None:
        """From now on the sequences are these of them, as `Stepper.take`."""
        wanted, before = rows.tolist(), self._places()
        place = {row: number for each in before.values() for number, row in enumerate(each)}
        self._rows = [self._rows[row] for row in wanted]
        for size, part in [*self._parts.items()]:
            here = [place[row] for row, found in zip(wanted, self._rows, strict=True) if found == size]
            if here:
                part.take(torch.tensor(here, device=rows.device), longest)
            else:
                del self._parts[size]

    def join(self, others: Steppers) -> None:
        """Puts the sequences of another one behind those that are here."""
        for size, part in others._parts.items():
            if size in self._parts:
                self._parts[size].join(part)
            else:
                self._parts[size] = part
        self._rows += others._rows

"""What a trained model makes of noise: a value begins as noise, and each step of a loop replaces it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from copy import copy
from typing import Any

import torch
from torch import Tensor, nn

from graphspec.diagnostics import fail
from graphspec.generate.generating import loaded
from graphspec.generate.sampling import generator
from graphspec.program import Program
from graphspec.settings import SettingError
from graphspec.tensor import sizes_of, value_of

DRAWS: Mapping[str, Callable[..., Tensor]] = {"random_normal": torch.randn, "random_uniform": torch.rand}


class LoopSampler:
    """The loop of a trained model. `load` gives the module with the weights; `steps` and `seed` replace those
    of the settings. Raises `SpecError` before anything is computed.
    """

    def __init__(
        self,
        program: Program,
        load: Callable[[], nn.Module],
        steps: int | None = None,
        seed: int | None = None,
    ):
        step, loop = program.looped, program.loop
        if step is None or loop is None:
            message = "the model makes texts, not samples" if program.generation else "the spec has no loop"
            help = "write what begins as noise: generate: {noise: {start: random_normal, from: image}}"
            raise fail("not-supported", message, "give a prompt" if program.generation else help)
        self.step, self.loop = step, loop
        self._ask(steps, seed)
        values = self.values
        replaced = {loop.name, *values, *(f"next_{name}" for name in values), *loop.drawn}
        self.conditions = {
            name: each for name, each in step.inputs.items() if name not in {*replaced, *step.defaults}
        }
        """The inputs that a sample is made for."""
        weights = load().state_dict()
        self.device = next((each.device for each in weights.values()), torch.device("cpu"))
        self.module = loaded(step, weights, self.device)

    def _ask(self, steps: int | None, seed: int | None) -> None:
        try:
            self.values = self.loop.settings.values(steps)
        except SettingError as error:
            raise fail(error.code, error.message, error.help) from None
        self.steps, self.seed = steps, self.loop.settings.seed if seed is None else seed

    def asked(self, steps: int | None, seed: int | None) -> LoopSampler:
        """The same module with other steps and another seed. Raises `SpecError` (two-forms)."""
        other = copy(self)
        other._ask(steps, seed)
        return other

    @torch.inference_mode()
    def make(
        self,
        numbers: Sequence[int],
        given: Mapping[str, Tensor] | None = None,
        ended: Callable[[], bool] = lambda: False,
    ) -> Tensor | None:
        """The samples of these numbers, [N, ...], for these values of `conditions`, [N, ...], whose named
        sizes are those of the samples. Each number has draws of its own, which do not depend on the others.
        None where between two steps it has `ended`.
        """
        drawing = [generator(self.seed, number) for number in numbers]
        name, kept = self.loop.name, {key: value.to(self.device) for key, value in (given or {}).items()}
        sizes = sizes_of(self.conditions, {key: value.shape for key, value in kept.items()})
        value, made = self._draw(name, self.loop.settings.start, drawing, sizes), dict[str, Tensor]()
        for step in range(max([1, *(len(values) - 1 for values in self.values.values())])):
            if ended():
                return None
            inputs = {name: value, **kept}
            for key, values in self.values.items():
                inputs |= self._filled(key, values[step], sizes)
                inputs |= self._filled(f"next_{key}", values[step + 1], sizes)
            inputs |= {key: self._draw(key, how, drawing, sizes) for key, how in self.loop.drawn.items()}
            spread = {key: self._spread(each, len(numbers)) for key, each in inputs.items()}
            made = self._outputs(self.module(*(spread.get(key) for key in self.step.inputs)))
            value = made.get(name, value)
        return made[self.loop.settings.source or name]

    def _draw(
        self, name: str, how: str, drawing: Sequence[torch.Generator], sizes: Mapping[str, int]
    ) -> Tensor:
        tensor = self.step.inputs[name]
        shape = [value_of(size, sizes) for size in tensor.shape[1:]]
        draws = [DRAWS[how](shape, generator=each, dtype=torch.float32) for each in drawing]
        return torch.stack(draws).to(self.device, getattr(torch, tensor.dtype))

    def _filled(self, name: str, value: float, sizes: Mapping[str, int]) -> dict[str, Tensor]:
        """The input of this name, one for all samples; none where a step does not read it."""
        tensor = self.step.inputs.get(name)
        if tensor is None:
            return {}
        number = value if tensor.is_float else round(value)
        shape = [1, *(value_of(size, sizes) for size in tensor.shape[1:])]
        return {name: torch.full(shape, number, dtype=getattr(torch, tensor.dtype), device=self.device)}

    @staticmethod
    def _spread(value: Tensor, count: int) -> Tensor:
        return value.expand(count, *value.shape[1:])

    def _outputs(self, made: Any) -> dict[str, Tensor]:
        return dict(made) if isinstance(made, Mapping) else {next(iter(self.step.outputs)): made}

"""Sequences that a model makes: prompts first, then a token at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

import torch
from torch import Tensor, nn

from graphspec.generate.batch import Going, GoingBatch, NextToken, Scorer
from graphspec.generate.beams import Beams
from graphspec.generate.choosing import output_of
from graphspec.generate.config import GenerateSettings
from graphspec.generate.sampling import generator
from graphspec.generate.texts import TextCodec, refused
from graphspec.program import Program
from graphspec.tensor import unit_of

UNBOUNDED = 1 << 20
"""New tokens of a model whose sequences may have any length."""


class Maker:
    """A trained model that makes sequences. `others` are its other inputs, one example each, without a batch.

    `load` gives the module with the weights. Raises `SpecError` (not-causal), before anything is computed.
    """

    def __init__(
        self,
        program: Program,
        load: Callable[[], nn.Module],
        texts: TextCodec,
        name: str,
        settings: GenerateSettings,
        others: Mapping[str, Tensor] | None = None,
    ):
        self.program, self.settings, self.texts = program, settings, texts
        output = output_of(program, name, settings)
        self.step = program.step([output])
        lacking = [each for each in program.inputs if each != name and each not in (others or {})]
        if lacking:
            message = f"the model reads `{lacking[0]}`, too, and nothing is given for it"
            raise refused(message, "go on by hand, with the module of `Program.step()`: it takes all inputs")
        unit = unit_of(program.inputs[name].shape[1])
        self.context = program.maximum_sizes.get(unit[0], UNBOUNDED) if unit is not None else UNBOUNDED
        limit = program.ranges.get(name)
        self.limit = limit if isinstance(limit, int) else None
        self._end_of(settings)
        weights = load().state_dict()
        device = next((each.device for each in weights.values()), torch.device("cpu"))
        module = self.step.module()
        module.load_state_dict(weights, assign=True)
        self.scorer = Scorer(self.step, module.to(device).eval(), name, output, others or {}, texts.unsaid)

    def _end_of(self, settings: GenerateSettings) -> int | None:
        """The token that ends a sequence. Raises `SpecError` (prompt-misfit)."""
        end = self.texts.end(settings.end)
        if end is not None and self.limit is not None and not 0 <= end < self.limit:
            raise refused(f"`end: {end}` is not a token: there are {self.limit}")
        return end

    def ids(self, prompt: str) -> list[int]:
        """The tokens of a prompt. Raises `SpecError` (prompt-misfit)."""
        return self.checked(self.texts.ids(prompt))

    def checked(self, ids: list[int]) -> list[int]:
        """The tokens of a prompt, if the model can go on from them. Raises `SpecError` (prompt-misfit)."""
        if not ids:
            raise refused("the prompt is empty", "give at least one token to go on from")
        beyond = next((each for each in ids if self.limit is not None and each >= self.limit), None)
        if beyond is not None:
            raise refused(f"{beyond} of the prompt is not a token: there are {self.limit}, from 0")
        if len(ids) >= self.context:
            message = f"the prompt has {len(ids):,} tokens, and the model takes at most {self.context:,}"
            raise refused(message, "give a shorter one: what follows counts, too")
        return ids

    def sequence(self, ids: Sequence[int], number: int, settings: GenerateSettings | None = None) -> Going:
        """A sequence that begins with these tokens; of a seed each number draws something else. Raises
        `SpecError` (prompt-misfit) for settings without such an end.
        """
        settings = settings or self.settings
        drawing = generator(settings.seed, number)
        return Going(number, [*ids], settings, self._end_of(settings), drawing, self.context)

    def make(
        self, prompts: Sequence[Sequence[int]], numbers: Sequence[int] | None = None
    ) -> Iterator[NextToken]:
        """The new tokens of sequences that begin with these, as they are made. `numbers` are those of the
        sequences, by which they draw; by default 0, 1 and so on.
        """
        numbers = range(len(prompts)) if numbers is None else numbers
        going = [self.sequence(ids, number) for ids, number in zip(prompts, numbers, strict=True)]
        if self.settings.beams > 1:
            yield from self._search(going)
            return
        batch = GoingBatch(self.scorer)
        batch.join(going)
        while batch.going:
            yield from (made for _, made in batch.draw())
            batch.advance()

    def _search(self, sequences: Sequence[Going]) -> Iterator[NextToken]:
        """The best continuation of each prompt by its probability, all of it at once."""
        for each in sequences:
            beams = Beams(self.settings.beams, each.longest - len(each.ids), each.end)
            with torch.inference_mode():
                stepper, scores = self.scorer.start([each.ids], each.longest)
                while (found := beams.add(scores)) is not None:
                    rows, tokens = found
                    stepper.take(rows)
                    scores = self.scorer.next(stepper, tokens)
            yield from map(each.add, beams.best())

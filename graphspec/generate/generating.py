"""Sequences that a model makes: prompts first, then a token at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from graphspec.data.features.texts import PADDING
from graphspec.generate.batch import Going, GoingBatch, NextToken, Scorer
from graphspec.generate.beams import Beams
from graphspec.generate.choosing import output_of, source_of
from graphspec.generate.config import GenerateSettings
from graphspec.generate.sampling import generator
from graphspec.generate.texts import PROMPT, TextCodec, refused
from graphspec.program import Program
from graphspec.tensor import unit_of

UNBOUNDED = 1 << 20
"""New tokens of a model whose sequences may have any length."""


def _bounds(program: Program, name: str) -> tuple[int, int | None]:
    """The most tokens of an input, and how many different ones it takes, if that is known."""
    size, limit = program.inputs[name].shape[1], program.ranges.get(name)
    unit = unit_of(size)
    known = program.maximum_sizes.get(unit[0], UNBOUNDED) if unit is not None else UNBOUNDED
    return size if isinstance(size, int) else known, limit if isinstance(limit, int) else None


def loaded(program: Program, weights: Mapping[str, Tensor], device: torch.device) -> nn.Module:
    """The module of a part of a program, with those of its weights that it has."""
    module = program.module()
    own = module.state_dict()
    module.load_state_dict({key: value for key, value in weights.items() if key in own}, assign=True)
    return module.to(device).eval()


class Maker:
    """A trained model that makes sequences. `others` are its other inputs, one example each, without a batch.

    Where the only other input holds tokens, prompts are its: `prompt_texts` reads them, and what follows is
    all of the other sequence. `load` gives the module with the weights. Raises `SpecError` (not-causal),
    before anything is computed.
    """

    def __init__(
        self,
        program: Program,
        load: Callable[[], nn.Module],
        texts: TextCodec,
        name: str,
        settings: GenerateSettings,
        others: Mapping[str, Tensor] | None = None,
        prompt_texts: TextCodec | None = None,
    ):
        self.program, self.settings, self.texts = program, settings, texts
        output = output_of(program, name, settings)
        self.step = program.step([output], encoded=True)
        self.source = source_of(program, name) if others is None else None
        self.prompt_texts = texts if self.source is None or prompt_texts is None else prompt_texts
        given = {name, self.source, *(others or {})}
        lacking = [each for each in program.inputs if each not in given]
        if lacking:
            message = f"the model reads `{lacking[0]}`, too, and nothing is given for it"
            raise refused(message, "go on by hand, with the module of `Program.step()`: it takes all inputs")
        self.context, self.limit = _bounds(program, name)
        self._ends(settings)
        self.begun = self._begun(settings)
        weights = load().state_dict()
        device = next((each.device for each in weights.values()), torch.device("cpu"))
        module, encoder = loaded(self.step, weights, device), None
        if self.step.encoder is not None:
            encoder = loaded(self.step.encoder, weights, device)
        self.scorer = Scorer(
            self.step, module, name, output, others or {}, texts.unsaid, encoder, self.source
        )

    @property
    def apart(self) -> bool:
        """Whether what follows a prompt is a text of its own, such as an answer or a translation."""
        return self.source is not None or self.texts.answers

    def _known(self, token: int, key: Literal["begin", "end"]) -> int:
        """The token that begins or ends a sequence. Raises `SpecError` (prompt-misfit)."""
        if self.limit is not None and not 0 <= token < self.limit:
            raise refused(f"`{key}: {token}` is not a token: there are {self.limit}")
        return token

    def _ends(self, settings: GenerateSettings) -> frozenset[int]:
        """The tokens that end a sequence. Raises `SpecError` (prompt-misfit)."""
        return frozenset(self._known(token, "end") for token in self.texts.ends(settings.end))

    def _begun(self, settings: GenerateSettings) -> list[int]:
        """The first tokens of a sequence; none where prompts give them."""
        if self.source is None:
            return []
        word = self.texts.begin if settings.begin is None else settings.begin
        if word is None:
            what = f"prompts are for `{self.source}`, and nothing says which token what follows begins with"
            raise refused(what, "write it in `generate`, `begin: <s>`, or at the feature of the input")
        return [self._known(self.texts.token(word, "begin"), "begin")]

    def ids(self, prompts: Sequence[str | list[int]]) -> list[list[int]]:
        """The tokens of prompts, texts or tokens, if the model can go on from them. Raises `SpecError`
        (prompt-misfit), which names the prompt by its number where there are several.
        """
        last = self.prompt_texts.last if self.source is not None else None
        found = []
        for number, prompt in enumerate(prompts, 1):
            called = f"prompt {number}" if len(prompts) > 1 else PROMPT
            if isinstance(prompt, str):
                ids = self.prompt_texts.ids(prompt, called)
                prompt = [*ids, *([] if last is None or not prompt else [last])]
            found.append(self._checked(prompt, called))
        return found

    def _checked(self, ids: list[int], called: str) -> list[int]:
        """The tokens of a prompt, if the model can go on from them. Raises `SpecError` (prompt-misfit)."""
        if not ids:
            raise refused(f"{called} is empty", "give at least one token to go on from")
        whole = self.source is not None
        context, limit = _bounds(self.program, self.source) if self.source else (self.context, self.limit)
        beyond = next((each for each in ids if limit is not None and each >= limit), None)
        if beyond is not None:
            help = f"give numbers from 0 to {limit - 1}" if limit else None
            raise refused(f"{beyond} of {called} is not a token: there are {limit}, from 0", help)
        if len(ids) >= context + whole:
            message = f"{called} has {len(ids):,} tokens, and the model takes at most {context:,}"
            raise refused(message, "give a shorter one" + ("" if whole else ": what follows counts, too"))
        size = self.program.inputs[self.source].shape[1] if self.source is not None else None
        return [*ids, *[PADDING] * (size - len(ids))] if isinstance(size, int) else ids

    def sequence(self, ids: Sequence[int], number: int, settings: GenerateSettings | None = None) -> Going:
        """A sequence that begins with these tokens, or that these are the source of; of a seed each number
        draws something else. Raises `SpecError` (prompt-misfit) for settings without such an end.
        """
        settings = settings or self.settings
        drawing, ends = generator(settings.seed, number), self._ends(settings)
        source = None if self.source is None else ids
        begun = ids if self.source is None else self._begun(settings)
        return Going(number, [*begun], settings, ends, drawing, self.context, source)

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
            beams = Beams(self.settings.beams, each.longest - len(each.ids), each.ends)
            with torch.inference_mode():
                stepper, scores = self.scorer.start([each], each.longest)
                while (found := beams.add(scores)) is not None:
                    rows, tokens = found
                    stepper.take(rows)
                    scores = self.scorer.next(stepper, tokens)
            yield from map(each.add, beams.best())

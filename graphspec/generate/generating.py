"""Sequences that a model makes: prompts first, then a token at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from graphspec.diagnostics import did_you_mean, fail
from graphspec.generate.beams import Beams
from graphspec.generate.config import GenerateSettings, settings_of
from graphspec.generate.sampling import generators, next_tokens, penalized
from graphspec.generate.stepper import Stepper
from graphspec.generate.texts import TextCodec, refused
from graphspec.program import Program
from graphspec.settings import SettingError
from graphspec.tensor import unit_of

Reason = Literal["end", "length", "context"]
"""Why a sequence ended: by its last token, at `length` new ones, or where the model takes no more."""
UNBOUNDED = 1 << 20
"""New tokens of a model whose sequences may have any length."""


@dataclass(frozen=True, slots=True)
class NextToken:
    """A token that a sequence was given, and why it was the last one, if it was."""

    sequence: int
    token: int
    ended: Reason | None = None


@dataclass(slots=True)
class Going:
    """A sequence that goes on."""

    number: int
    ids: list[int]
    made: int = 0
    drawing: Any = None
    ended: Reason | None = None


def chosen(program: Program, given: Mapping[str, Any]) -> tuple[str, GenerateSettings]:
    """The input that goes on, and its settings: those of the spec, and what is given besides.

    Raises `SpecError` for settings that do not fit, and for a program without such an input.
    """
    section = program.generation or {}
    name = next(iter(section), None) or _only_input(program)
    written = section[name].model_dump(by_alias=True, exclude_unset=True) if name in section else {}
    try:
        settings = settings_of({**written, **given}, "`generate`")
    except SettingError as error:
        raise fail(error.code, error.message, error.help) from None
    return name, settings


def _only_input(program: Program) -> str:
    names = [name for name, tensor in program.inputs.items() if tensor.is_integer and tensor.rank == 2]
    if len(names) == 1:
        return names[0]
    what = "no input holds tokens, `int64[N, length]`" if not names else f"the inputs {', '.join(names)} do"
    raise fail("not-causal", f"which input goes on is not known: {what}", "write generate: {tokens: {}}")


def output_of(program: Program, name: str, settings: GenerateSettings) -> str:
    """The output with the scores of the next token of an input. Raises `SpecError`."""
    outputs, wanted = program.outputs, settings.source
    if wanted is not None and wanted not in outputs:
        help = did_you_mean(wanted, outputs, f"the outputs: {', '.join(outputs)}")
        raise fail("unknown-reference", f"there is no output `{wanted}`", help)
    length = program.inputs[name].shape[1]
    fitting = [
        each
        for each, output in outputs.items()
        if len(output.tensors) == 1 and output.tensors[0].rank == 3 and output.tensors[0].shape[1] == length
    ]
    if wanted is None and len(fitting) != 1:
        what = "no output has" if not fitting else f"the outputs {', '.join(fitting)} have"
        raise fail("not-causal", f"{what} scores for each step of `{name}`", "name one: `from: next`")
    found = wanted if wanted is not None else fitting[0]
    if found not in fitting:
        tensor = outputs[found].tensors[0]
        message = f"the output `{found}`, {tensor}, has no scores for each step of `{name}`"
        raise fail("not-causal", message, "it is [N, length, tokens]")
    return found


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
        self.name, self.settings, self.texts = name, settings, texts
        self.others = dict(others or {})
        self.output = output_of(program, name, settings)
        self.step = program.step([self.output])
        assert self.step.stepping is not None
        lacking = [each for each in program.inputs if each != name and each not in self.others]
        if lacking:
            message = f"the model reads `{lacking[0]}`, too, and nothing is given for it"
            raise refused(message, "give it: `inputs={...}` in Python")
        unit = unit_of(program.inputs[name].shape[1])
        self.context = program.maximum_sizes.get(unit[0], UNBOUNDED) if unit is not None else UNBOUNDED
        limit = program.ranges.get(name)
        self.limit = limit if isinstance(limit, int) else None
        self.end = texts.end(settings.end)
        if self.end is not None and self.limit is not None and not 0 <= self.end < self.limit:
            raise refused(f"`end: {self.end}` is not a token: there are {self.limit}")
        self.logits = {"logits": True} if program.outputs[self.output].activation is not None else {}
        weights = load().state_dict()
        self.device = next((each.device for each in weights.values()), torch.device("cpu"))
        stepped = self.step.module()
        stepped.load_state_dict(weights, assign=True)
        self.module = stepped.to(self.device).eval()

    def ids(self, prompt: str) -> list[int]:
        """The tokens of a prompt. Raises `SpecError` (prompt-misfit)."""
        ids = self.texts.ids(prompt)
        if not ids:
            raise refused("the prompt is empty", "give at least one token to go on from")
        beyond = next((each for each in ids if self.limit is not None and each >= self.limit), None)
        if beyond is not None:
            raise refused(f"{beyond} of the prompt is not a token: there are {self.limit}, from 0")
        if len(ids) >= self.context:
            message = f"the prompt has {len(ids):,} tokens, and the model takes at most {self.context:,}"
            raise refused(message, "give a shorter one: what follows counts, too")
        return ids

    def make(
        self, prompts: Sequence[Sequence[int]], numbers: Sequence[int] | None = None
    ) -> Iterator[NextToken]:
        """The new tokens of sequences that begin with these, as they are made. `numbers` are those of the
        sequences, by which they draw; by default 0, 1 and so on.
        """
        numbers = range(len(prompts)) if numbers is None else numbers
        if self.settings.beams > 1:
            yield from self._search(prompts, numbers)
            return
        drawing = generators(self.settings.seed, numbers)
        going = [
            Going(number, [*ids], drawing=each)
            for number, ids, each in zip(numbers, prompts, drawing, strict=True)
        ]
        stepper = self._stepper(going)
        with torch.inference_mode():
            scores = torch.stack(self._start(stepper, going))
            seen = self._seen(scores, going)
            while True:
                scores = penalized(scores, seen, self.settings.repetition_penalty)
                tokens = next_tokens(scores, self.settings, [each.drawing for each in going])
                for each, token in zip(going, tokens.tolist(), strict=True):
                    yield self._added(each, token)
                left = [row for row, each in enumerate(going) if each.ended is None]
                if not left:
                    return
                if self.settings.repetition_penalty != 1:
                    seen.scatter_(1, tokens[:, None], True)
                if len(left) < len(going):
                    rows = torch.tensor(left, device=self.device)
                    stepper.take(rows)
                    going, tokens, seen = [going[row] for row in left], tokens[rows], seen[rows]
                scores = self._step(stepper, tokens)

    def _added(self, sequence: Going, token: int) -> NextToken:
        sequence.ids.append(token)
        sequence.made += 1
        if token == self.end:
            sequence.ended = "end"
        elif sequence.made == self.settings.length:
            sequence.ended = "length"
        elif len(sequence.ids) >= self.context:
            sequence.ended = "context"
        return NextToken(sequence.number, token, sequence.ended)

    def _stepper(self, going: Sequence[Going]) -> Stepper:
        longest = max(len(each.ids) for each in going) + self.settings.length
        return Stepper(self.step, self.module, min(longest, self.context))

    def _start(self, stepper: Stepper, going: Sequence[Going]) -> list[Tensor]:
        prompts = [{**self.others, self.name: torch.tensor(each.ids, device=self.device)} for each in going]
        return [self._sayable(made[self.output]) for made in stepper.start(prompts, **self.logits)]

    def _sayable(self, scores: Tensor) -> Tensor:
        """Scores [..., tokens], -inf for tokens that stand for no text."""
        scores = scores.float()
        scores[..., self.texts.unsaid(scores.shape[-1])] = -torch.inf
        return scores

    def _step(self, stepper: Stepper, tokens: Tensor) -> Tensor:
        """The scores after one more token of each sequence."""
        others = {key: value.expand(len(tokens), *value.shape) for key, value in self.others.items()}
        made = stepper.step({**others, self.name: tokens[:, None]}, **self.logits)
        return self._sayable(made[self.output][:, -1])

    def _seen(self, scores: Tensor, going: Sequence[Going]) -> Tensor:
        """Which tokens each sequence has."""
        seen = torch.zeros_like(scores, dtype=torch.bool)
        for row, each in enumerate(going):
            seen[row, torch.tensor(each.ids, device=seen.device)] = True
        return seen

    def _search(self, prompts: Sequence[Sequence[int]], numbers: Sequence[int]) -> Iterator[NextToken]:
        """The best continuation of each prompt by its probability, all of it at once."""
        for number, ids in zip(numbers, prompts, strict=True):
            first = Going(number, [*ids])
            most = min(self.settings.length, self.context - len(ids))
            beams = Beams(self.settings.beams, most, self.end)
            with torch.inference_mode():
                stepper = self._stepper([first])
                scores = torch.stack(self._start(stepper, [first]))
                while (found := beams.add(scores)) is not None:
                    rows, tokens = found
                    stepper.take(rows)
                    scores = self._step(stepper, tokens)
            for token in beams.best():
                yield self._added(first, token)

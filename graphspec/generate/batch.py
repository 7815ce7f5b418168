"""Sequences that go on together, each with its own settings: they join and leave between two tokens."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, partial
from typing import Any, Literal

import torch
from torch import Tensor, nn

from graphspec.contract.streaming import LONGEST
from graphspec.generate.config import GenerateSettings
from graphspec.generate.sampling import next_tokens, penalized
from graphspec.generate.stepper import Stepper, Steppers
from graphspec.program import Program
from graphspec.tensor import Tensor as Type
from graphspec.tensor import nbytes, sizes_of, sum_of, value_of

Reason = Literal["end", "length", "context"]
"""Why a sequence ended: by its last token, at `length` new ones, or where the model takes no more."""


@dataclass(frozen=True, slots=True)
class TokenLogs:
    """The logarithm of the probability of a token by the model, and of the likeliest tokens."""

    token: int
    log: float
    best: tuple[tuple[int, float], ...]


@dataclass(slots=True, eq=False)
class Going:
    """A sequence that goes on: `ids` are its tokens so far, `context` is how many the model takes."""

    number: int
    ids: list[int]
    settings: GenerateSettings
    ends: frozenset[int]
    drawing: torch.Generator
    context: int
    source: Sequence[int] | None = None
    """The tokens of the prompt, where that is another input's."""
    told: int | None = None
    """Of how many of the likeliest tokens at each place the logarithms of probabilities are kept."""
    likely: list[TokenLogs] = field(default_factory=list)
    """Those of the tokens made so far."""
    made: int = 0
    ended: Reason | None = None

    @property
    def prompt(self) -> Sequence[int]:
        """The tokens that it was given."""
        return self.ids[: len(self.ids) - self.made] if self.source is None else self.source

    @property
    def longest(self) -> int:
        """The most tokens that it may have."""
        return min(len(self.ids) - self.made + self.settings.length, self.context)

    def add(self, token: int) -> NextToken:
        self.ids.append(token)
        self.made += 1
        if token in self.ends:
            self.ended = "end"
        elif self.made == self.settings.length:
            self.ended = "length"
        elif len(self.ids) >= self.context:
            self.ended = "context"
        return NextToken(self.number, token, self.ended)


@dataclass(frozen=True, slots=True)
class NextToken:
    """A token that a sequence was given, and why it was the last one, if it was."""

    sequence: int
    token: int
    ended: Reason | None = None


def _logs(logs: Tensor, token: int, count: int) -> TokenLogs:
    """Of the logarithms of all tokens those that are told; of what is never the next token there is none."""
    best = logs.topk(min(count, len(logs)))
    pairs = zip(best.indices.tolist(), best.values.tolist(), strict=True)
    return TokenLogs(token, float(logs[token]), tuple(each for each in pairs if each[1] > -torch.inf))


class Scorer:
    """The scores of the next token of each sequence, [N, tokens], by the module of a step.

    `name` is the input that goes on, `output` has the scores; `others` are the other inputs, one example
    each, and `source` is the input of prompts, if that is another one. What is computed of these is computed
    once for each sequence, by the module `encoder`. Tokens that are `unsaid` of so many are never the
    next one.
    """

    def __init__(
        self,
        step: Program,
        module: nn.Module,
        name: str,
        output: str,
        others: Mapping[str, Tensor],
        unsaid: Any,
        encoder: nn.Module | None = None,
        source: str | None = None,
    ):
        self.step, self.module, self.name, self.output = step, module, name, output
        self.others, self.encoder, self.source = others, encoder, source
        self.unsaid = cache(lambda count: torch.tensor(unsaid(count), dtype=torch.int64))
        self.logits = {"logits": True} if step.outputs[output].activation is not None else {}
        self.device = next((each.device for each in module.parameters()), torch.device("cpu"))
        assert step.stepping is not None
        self._state = sum_of(map(nbytes, step.stepping.states))

    def start(self, begun: Sequence[Going], longest: int) -> tuple[Steppers, Tensor]:
        """New sequences with room for so many tokens."""
        stepper = Steppers(partial(Stepper, self.step, self.module, longest, self.encoder))
        given = [{self.name: self._ids(each.ids), **self._others(each)} for each in begun]
        made = stepper.start(given, **self.logits)
        return stepper, self._sayable(torch.stack([each[self.output] for each in made]))

    def _others(self, going: Going) -> dict[str, Tensor]:
        source = {} if self.source is None else {self.source: self._ids(going.source or ())}
        return {**self.others, **source}

    def _ids(self, ids: Sequence[int]) -> Tensor:
        return torch.tensor([*ids], dtype=torch.int64, device=self.device)

    def next(self, stepper: Steppers, tokens: Tensor) -> Tensor:
        """After one more token of each sequence."""
        made = stepper.step({self.name: tokens[:, None]}, **self.logits)
        return self._sayable(made[self.output][:, -1])

    def state_bytes(self, sequences: Collection[Going]) -> int:
        """The memory of the states of one sequence with room for the longest of these, and for what is
        computed of the longest source.
        """
        given: dict[str, Sequence[int]] = {name: tuple(tensor.shape) for name, tensor in self.others.items()}
        if self.source is not None:
            given |= {self.source: (max(len(each.source or ()) for each in sequences),)}
        encoder = self.step.encoder
        inputs = {} if encoder is None else encoder.inputs
        unbatched = {name: Type(each.shape[1:], each.dtype) for name, each in inputs.items()}
        sizes = sizes_of(unbatched, given) | dict.fromkeys(LONGEST.names, max(e.longest for e in sequences))
        return value_of(self._state, sizes)

    def _sayable(self, scores: Tensor) -> Tensor:
        scores, unsaid = scores.float(), self.unsaid(scores.shape[-1])
        if len(unsaid):
            scores[..., unsaid] = -torch.inf
        return scores


class GoingBatch:
    """Sequences that go on together. For each token, in this order: let some `leave`, `advance` those that
    are here, let others `join`, and `draw`.
    """

    def __init__(self, scorer: Scorer):
        self.scorer = scorer
        self.going: list[Going] = []
        self._stepper: Steppers | None = None
        self._tokens = torch.zeros(0, dtype=torch.int64)
        """The last token of each, of which the states do not know."""
        self._scores = torch.zeros(0, 0)

    @property
    def longest(self) -> int:
        """The tokens that there is room for in the states of each."""
        return max((each.longest for each in self.going), default=0)

    def leave(self, gone: Collection[Going]) -> None:
        """These end before their last token."""
        self._keep([row for row, each in enumerate(self.going) if each not in gone])

    @torch.inference_mode()
    def advance(self) -> None:
        """Gives the states the last token of each sequence."""
        if self._stepper is not None:
            self._scores = self.scorer.next(self._stepper, self._tokens)

    @torch.inference_mode()
    def join(self, others: Sequence[Going]) -> None:
        """Others begin with their prompts. After an error those that were here are as before."""
        stepper, scores = self.scorer.start(others, max(each.longest for each in others))
        if self._stepper is not None:
            scores = torch.cat([self._scores, scores])
            self._stepper.join(stepper)
        self._stepper, self._scores = self._stepper or stepper, scores
        self.going += others

    @torch.inference_mode()
    def draw(self) -> list[tuple[Going, NextToken]]:
        """The next token of each sequence; those that end with it leave."""
        logs = {
            row: self._scores[row].log_softmax(-1)
            for row, each in enumerate(self.going)
            if each.told is not None
        }
        for row, each in enumerate(self.going):
            if each.settings.repetition_penalty != 1:
                penalty = each.settings.repetition_penalty
                self._scores[row] = penalized(self._scores[row], each.ids, penalty)
        self._tokens = next_tokens(
            self._scores, [each.settings for each in self.going], [each.drawing for each in self.going]
        )
        for row, of_tokens in logs.items():
            going, token = self.going[row], int(self._tokens[row])
            going.likely.append(_logs(of_tokens, token, going.told or 0))
        made = [
            (each, each.add(token)) for each, token in zip(self.going, self._tokens.tolist(), strict=True)
        ]
        self._keep([row for row, each in enumerate(self.going) if each.ended is None])
        return made

    @torch.inference_mode()
    def _keep(self, rows: Sequence[int]) -> None:
        if len(rows) == len(self.going):
            return
        self.going = [self.going[row] for row in rows]
        index = torch.tensor(rows, dtype=torch.int64, device=self._tokens.device)
        self._tokens = self._tokens[index]
        if self._stepper is not None and self.going:
            self._stepper.take(index, self.longest)
        else:
            self._stepper = None

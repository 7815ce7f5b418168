"""Metrics of what is found for queries among the keys of all training rows."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from graphspec.data.batches import Batch, Examples
from graphspec.data.candidates import ROWS, Candidates, candidates_of, each_once, fingerprints
from graphspec.elaborated import BaseProgram, OutputSpec
from graphspec.objectives.history import metric_names
from graphspec.train.batch_result import BatchResult
from graphspec.train.meter import Values
from graphspec.train.objective import Objective

SCORES = 2**24
"""Scores that are computed together."""
Scoring = Callable[[Tensor], Tensor]
"""The scores of all candidates for some queries, [queries, candidates]."""


class Ranker:
    """Gathers the queries of an evaluation with the keys of their rows, and ranks all candidates for each
    query once. What training rows have of it is no candidate, unless it is to be found.
    """

    def __init__(self, objective: Objective):
        self.objective = objective
        self._parts: dict[str, list[tuple[Tensor, Tensor, Tensor]]] = defaultdict(list)

    def add(self, result: BatchResult, batch: Batch) -> None:
        """Adds the queries of a batch."""
        for name in self.objective.rankings:
            if name in self.objective.candidates and not batch.idle:
                of = self.objective.candidates[name].towers
                query, key = (fingerprints(batch.arrays, names).cpu() for names in of)
                self._parts[name].append((result.outputs[name].float().cpu(), query, key))

    def values(self, module: nn.Module, batch_size: int, prefix: str) -> Values:
        """The metrics of all outputs by name, those of all processes together."""
        values: Values = {}
        for name, output in self.objective.rankings.items():
            candidates = self.objective.candidates.get(name)
            if candidates is None:
                continue
            gathered = self.objective.world.gather(self._parts[name])
            parts = [part for parts in gathered for part in parts]
            if not parts:
                continue
            vectors, queries, keys = (torch.cat(column) for column in zip(*parts, strict=True))
            known = key_vectors(self.objective, module, name, candidates, batch_size).cpu()

            def scores(rows: Tensor, of: Any = output.loss, known: Tensor = known) -> Tensor:
                found: Tensor = of.scores(rows, known)
                return found

            several = len(self.objective.outputs) > 1
            named = f"{prefix}{name}_" if several else prefix
            values |= ranked(
                output, candidates, Queries.of(vectors, queries, keys, candidates), scores, named
            )
        return values


@torch.no_grad()
def key_vectors(
    objective: Objective, module: nn.Module, name: str, candidates: Candidates, batch_size: int
) -> Tensor:
    """The vectors of all candidates, [candidates, size]."""
    key = objective.outputs[name].keys[1]
    parts = []
    for arrays in candidates.batches(batch_size, objective.device):
        outputs = module(*(arrays.get(word) for word in objective.inputs), **objective.asked)
        parts.append(outputs[key].float())
    return torch.cat(parts)


@dataclass(frozen=True, slots=True)
class Queries:
    """Queries, each once: their vectors, [queries, size], and fingerprints. `relevant` are pairs of the place
    of a query and the number of a key, -1 for one that is no candidate.
    """

    vectors: Tensor
    prints: Tensor
    relevant: tuple[Tensor, Tensor]

    @classmethod
    def of(cls, vectors: Tensor, queries: Tensor, keys: Tensor, candidates: Candidates) -> Queries:
        """Those of rows with these fingerprints."""
        prints, inverse, first = each_once(queries)
        pairs = torch.stack((inverse, keys)).unique(dim=1)
        return cls(vectors[first], prints, (pairs[0], candidates.numbers(pairs[1])))


def ranked(
    output: OutputSpec, candidates: Candidates, asked: Queries, scores: Scoring, prefix: str
) -> Values:
    """The metrics of one output over some queries."""
    sums: list[Tensor | None] = [None] * len(output.metrics)
    size = max(1, SCORES // len(candidates))
    for first in range(0, len(asked.prints), size):
        found, target = _block(candidates, asked, scores, first, min(first + size, len(asked.prints)))
        for index, metric in enumerate(output.metrics):
            part = metric.statistics(found, target)
            before = sums[index]
            sums[index] = part if before is None else metric.joined(before, part)
    named: Mapping[str, Any] = dict(zip(metric_names(output.metrics), output.metrics, strict=True))
    pairs = zip(named.items(), sums, strict=True)
    return {prefix + word: metric.result(each) for (word, metric), each in pairs if each is not None}


def _block(
    candidates: Candidates, asked: Queries, scores: Scoring, first: int, stop: int
) -> tuple[Tensor, Tensor]:
    """The scores of some queries, and which candidates are relevant. What is relevant, and no candidate, has
    a column at the end, which nothing finds.
    """
    places, numbers = asked.relevant
    mine = (places >= first) & (places < stop)
    places, numbers = places[mine] - first, numbers[mine]
    found = without_seen(
        candidates, scores(asked.vectors[first:stop]), asked.prints[first:stop], (places, numbers)
    )
    unknown = torch.bincount(places[numbers < 0], minlength=stop - first)
    beyond = torch.arange(int(unknown.max())) < unknown.unsqueeze(1)
    target = torch.zeros_like(found)
    target[places[numbers >= 0], numbers[numbers >= 0]] = 1
    nothing = torch.full(beyond.shape, -torch.inf, dtype=found.dtype)
    return torch.cat((found, nothing), 1), torch.cat((target, beyond.to(target.dtype)), 1)


def without_seen(
    candidates: Candidates,
    scores: Tensor,
    queries: Tensor,
    but: tuple[Tensor, Tensor] | None = None,
) -> Tensor:
    """Scores of which those of keys that training rows have with a query are -inf, `but` for these pairs."""
    places, numbers = candidates.seen(queries)
    scores = scores.clone()
    kept = None
    if but is not None:
        kept_places, kept_numbers = (each[but[1] >= 0] for each in but)
        kept = kept_places, kept_numbers, scores[kept_places, kept_numbers]
    scores[places, numbers] = -torch.inf
    if kept is not None:
        scores[kept[0], kept[1]] = kept[2]
    return scores


def popularity(program: BaseProgram, training: Examples, held: Examples, prefix: str) -> Values:
    """The same metrics where all queries find what most training rows have."""
    values: Values = {}
    for name, candidates in candidates_of(program, training).items():
        parts = [
            [fingerprints(batch.arrays, names).cpu() for names in candidates.towers]
            for batch in held.batches(ROWS)
        ]
        queries, keys = (torch.cat(column) for column in zip(*parts, strict=True))
        asked = Queries.of(queries.new_zeros(len(queries), 0), queries, keys, candidates)

        def scores(rows: Tensor, counts: Tensor = candidates.counts) -> Tensor:
            return counts.float().expand(len(rows), -1)

        named = f"{prefix}{name}_" if len(program.outputs) > 1 else prefix
        values |= ranked(program.outputs[name], candidates, asked, scores, named)
    return values

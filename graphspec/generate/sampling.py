"""The next token, of the scores of all: drawn from the likely ones, or the best."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import torch
from torch import Tensor

from graphspec.generate.config import GenerateSettings


def generator(seed: int, number: int) -> torch.Generator:
    """The random numbers of the sequence of this number: they do not depend on the others."""
    return torch.Generator().manual_seed((seed * 1_000_003 + number) % 2**63)


def penalized(scores: Tensor, seen: Sequence[int], penalty: float) -> Tensor:
    """Scores [tokens] in which the tokens that were `seen` are less likely."""
    places = torch.tensor(seen, device=scores.device)
    values = scores[places]
    return scores.scatter(0, places, torch.where(values < 0, values * penalty, values / penalty))


def next_tokens(
    scores: Tensor, settings: Sequence[GenerateSettings], drawing: Sequence[torch.Generator]
) -> Tensor:
    """The next token of each sequence, [N], of scores [N, tokens]; each is drawn by its own generator."""
    alike = defaultdict[tuple[float | None, ...], list[int]](list)
    for row, each in enumerate(settings):
        alike[each.temperature, each.top_k, each.top_p, each.min_p].append(row)
    if len(alike) == 1:
        return _drawn(scores, settings[0], drawing)
    tokens = torch.zeros(len(settings), dtype=torch.int64, device=scores.device)
    for rows in alike.values():
        tokens[rows] = _drawn(scores[rows], settings[rows[0]], [drawing[row] for row in rows])
    return tokens


def _drawn(scores: Tensor, settings: GenerateSettings, drawing: Sequence[torch.Generator]) -> Tensor:
    if settings.temperature == 0:
        return scores.argmax(-1)
    likely = _likely(scores.double() / settings.temperature, settings)
    ordered, tokens = _sorted(likely.softmax(-1))
    total = ordered.cumsum(-1)
    draws = torch.stack([torch.rand((), generator=each, dtype=torch.float64) for each in drawing])
    reached = total > draws.to(total.device)[:, None] * total[:, -1:]
    return tokens.gather(1, reached.int().argmax(-1, keepdim=True))[:, 0]


def _likely(scores: Tensor, settings: GenerateSettings) -> Tensor:
    """Scores, -inf for tokens that are not likely enough to be drawn."""
    if settings.top_k is not None and settings.top_k < scores.shape[-1]:
        least = scores.topk(settings.top_k).values[:, -1:]
        scores = scores.masked_fill(scores < least, -torch.inf)
    if settings.top_p < 1:
        ordered, tokens = _sorted(scores)
        shares = ordered.softmax(-1)
        beyond = shares.cumsum(-1) - shares >= settings.top_p
        scores = scores.masked_fill(torch.zeros_like(beyond).scatter(1, tokens, beyond), -torch.inf)
    if settings.min_p > 0:
        shares = scores.softmax(-1)
        least = settings.min_p * shares.amax(-1, keepdim=True)
        scores = scores.masked_fill(shares < least, -torch.inf)
    return scores


def _sorted(values: Tensor) -> tuple[Tensor, Tensor]:
    """Values of each row, the largest first, and their places; equal ones in their order."""
    ordered = torch.sort(values, dim=-1, descending=True, stable=True)
    return ordered.values, ordered.indices

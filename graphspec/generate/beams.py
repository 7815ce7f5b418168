"""A search for the most likely continuation: the best few are kept, and go on together."""

from __future__ import annotations

from collections.abc import Collection

import torch
from torch import Tensor


class Beams:
    """The `count` best continuations of one prompt, of at most `length` tokens; any of `ends` ends one.

    A continuation that has ended counts by the mean of the logarithms of its probabilities.
    """

    def __init__(self, count: int, length: int, ends: Collection[int]):
        self.count, self.length, self.ends = count, length, ends
        self.tokens: list[list[int]] = [[]]
        self.totals = torch.zeros(1, dtype=torch.float64)
        self.ended: list[tuple[float, list[int]]] = []

    def add(self, scores: Tensor) -> tuple[Tensor, Tensor] | None:
        """The next tokens of the continuations, of scores [continuations, tokens]: for each that goes on the
        row that it comes from, and its token. None where the search is over.
        """
        totals = self.totals.to(scores.device)[:, None] + scores.double().log_softmax(-1)
        values, places = totals.flatten().topk(min(2 * self.count, totals.numel()))
        kept: list[tuple[float, int, int]] = []
        for rank, (value, place) in enumerate(zip(values.tolist(), places.tolist(), strict=True)):
            row, token = divmod(place, totals.shape[1])
            if token in self.ends:
                if rank < self.count:
                    made = [*self.tokens[row], token]
                    self.ended.append((value / len(made), made))
            elif len(kept) < self.count:
                kept.append((value, row, token))
        self.tokens = [[*self.tokens[row], token] for _, row, token in kept]
        self.totals = torch.tensor([value for value, _, _ in kept], dtype=torch.float64)
        if self._is_over():
            return None
        rows, tokens = ([each[place] for each in kept] for place in (1, 2))
        return torch.tensor(rows, device=scores.device), torch.tensor(tokens, device=scores.device)

    def _is_over(self) -> bool:
        made = len(self.tokens[0]) if self.tokens else self.length
        if made >= self.length:
            return True
        worst = sorted(self.ended, reverse=True)[: self.count][-1:]
        return len(self.ended) >= self.count and worst[0][0] >= self.totals.max().item() / made

    def best(self) -> list[int]:
        """The tokens of the best continuation."""
        going = [(t / max(1, len(m)), m) for t, m in zip(self.totals.tolist(), self.tokens, strict=True)]
        full = [each for each in going if len(each[1]) >= self.length]
        return max([*self.ended, *(full if self.ended else going)], key=lambda each: each[0])[1]

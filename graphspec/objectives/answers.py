"""The boxes that a detector answers with: the best of its points, one for each thing.

torch is imported inside of functions: a spec is checked without it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from graphspec.objectives.boxes import clipped, selected
from graphspec.objectives.heads import Head
from graphspec.objectives.loss import Select

if TYPE_CHECKING:
    from torch import Tensor as Values


PICTURES = 32
"""How many pictures are looked at together: what all their boxes take stays small."""


def answers(head: Head, output: Values, select: Select | None = None) -> Values:
    """[n, top, 6] in the order of scores: corners in pixels, clipped to the picture, the score and the class.
    What is behind the last box has the score 0 and the class -1. `select` does what `selected` does.
    """
    import torch

    if torch.compiler.is_exporting() or len(output) <= PICTURES:
        return _answers(head, output, select or selected)
    return torch.cat([_answers(head, part, select or selected) for part in output.split(PICTURES)])


def _answers(head: Head, output: Values, select: Select) -> Values:
    import torch

    loss = head.loss
    scores, boxes = head.scores(output), clipped(head.boxes(output), (head.height, head.width))
    if head.suppresses:
        scores, kinds, places = _all_candidates(head, scores)
        boxes = _at(boxes, places)
        top = min(loss.top, scores.shape[1])
        order, best = select(boxes, kinds, scores, loss.nms, top)
    else:
        scores, kinds = scores.max(-1)
        best, order = scores.topk(min(loss.top, scores.shape[1]), 1)
        best = torch.where(best > loss.least_score, best, 0.0)
    found = torch.stack((best, kinds.gather(1, order).to(best.dtype)), -1)
    rows = torch.cat((_at(boxes, order), found), -1)
    nothing = rows.new_tensor([0.0, 0.0, 0.0, 0.0, 0.0, -1.0])
    rows = torch.where(best.unsqueeze(-1) > 0, rows, nothing)
    return torch.cat((rows, nothing.expand(rows.shape[0], loss.top - rows.shape[1], 6)), 1)


def _all_candidates(head: Head, scores: Values) -> tuple[Values, Values, Values]:
    """Those of each level or class one after another, where there are so many of each."""
    import torch

    loss = head.loss
    if loss.candidates_of == "picture":
        return _candidates(scores, loss.candidates, loss.least_score)
    if loss.candidates_of == "class":
        parts = [(scores[..., number : number + 1], number, 0) for number in range(scores.shape[-1])]
    else:
        counts = [y * x * len(loss.shapes_of(level)) for level, (y, x) in enumerate(loss.grids)]
        starts = [sum(counts[:level]) for level in range(len(counts))]
        parts = [(part, 0, start) for part, start in zip(scores.split(counts, 1), starts, strict=True)]
    found = []
    for part, first, start in parts:
        best, kinds, places = _candidates(part, loss.candidates, loss.least_score)
        found.append((best, torch.where(kinds < 0, kinds, kinds + first), places + start))
    best, kinds, places = (torch.cat(each, 1) for each in zip(*found, strict=True))
    return best, kinds, places


def _candidates(scores: Values, most: int, least: float) -> tuple[Values, Values, Values]:
    """The best pairs of a point and a class, best first: their scores, classes and points, each [n, k]."""
    import torch

    flat, classes = scores.flatten(1), scores.shape[-1]
    count = min(most, flat.shape[1])
    if not torch.compiler.is_exporting():  # there, sizes follow from no value
        count = max(1, min(count, int((flat > least).sum(1).amax()) if len(flat) else 1))
    best, order = flat.topk(count, 1)
    best = torch.where(best > least, best, 0.0)
    return best, torch.where(best > 0, order % classes, -1), order // classes


def _at(boxes: Values, places: Values) -> Values:
    return boxes.gather(1, places.unsqueeze(-1).expand(-1, -1, 4))

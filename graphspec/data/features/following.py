"""Targets that are images: where `augment` moves the pixels of the input, it moves theirs."""

from __future__ import annotations

from collections.abc import Iterator

from graphspec.data.features.plan import Fill, FillPlan
from graphspec.data.features.settings import MOVING, Feature, ImageFeature
from graphspec.settings import Problem


def followers(found: FillPlan) -> dict[str, tuple[Fill, ...]]:
    """By input with an `augment` that moves pixels, the targets that are images."""
    targets = tuple(fill for fill in found.fills if fill.target and isinstance(fill.feature, ImageFeature))
    moved = [fill.field for fill in found.fills if not fill.target and _moves(fill.feature)]
    return dict.fromkeys(moved, targets) if targets else {}


def _moves(feature: Feature | None) -> bool:
    return isinstance(feature, ImageFeature) and feature.moves


def follow_misfits(found: FillPlan) -> Iterator[Problem]:
    """Why the targets cannot follow."""
    moved = followers(found)
    help = f"leave out the layers that move pixels: {', '.join(MOVING)}"
    names = list(moved)
    for name in names[1:]:
        target = moved[name][0].field
        message = f"`augment` moves the pixels of `{names[0]}` and `{name}`, and `{target}` follows one image"
        yield Problem("feature-misfit", message, help, (name, "augment"))
    for name in names[:1]:
        sides = found.of(name).tensor.shape[1:3]
        for fill in moved[name]:
            if fill.tensor.shape[1:3] != sides:
                other = " x ".join(map(str, fill.tensor.shape[1:3]))
                message = (
                    f"`augment` moves the {' x '.join(map(str, sides))} pixels of `{name}`, and its target "
                    f"`{fill.field}` has {other}"
                )
                yield Problem("feature-misfit", message, help, (name, "augment"))

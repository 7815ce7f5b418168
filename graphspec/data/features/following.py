"""The values that `augment` moves together: inputs of one picture, and the targets that are images."""

from __future__ import annotations

from collections.abc import Iterator

from graphspec.data.features.plan import Fill, FillPlan, pictured
from graphspec.data.features.settings import Feature
from graphspec.data.features.vision import MOVING, BoxesFeature, ImageFeature
from graphspec.settings import Problem


def pictures(plan: FillPlan) -> list[list[Fill]]:
    """The inputs that are augmented, those of one picture together: of one column, by the same layers."""
    groups: list[list[Fill]] = []
    for fill in plan.fills:
        if not fill.target and isinstance(fill.feature, ImageFeature) and fill.feature.augment:
            same = next((group for group in groups if _same(group[0], fill)), None)
            groups.append([fill]) if same is None else same.append(fill)
    return groups


def _same(one: Fill, other: Fill) -> bool:
    features = one.feature, other.feature
    assert isinstance(features[0], ImageFeature) and isinstance(features[1], ImageFeature)
    columns = features[0].read(one.field), features[1].read(other.field)
    return columns[0] == columns[1] and features[0].augment == features[1].augment


def followers(plan: FillPlan) -> dict[str, tuple[Fill, ...]]:
    """By picture whose pixels `augment` moves, the targets that are images. A picture is named by its first
    input, of those that are as large as these targets where one is.
    """
    targets = tuple(fill for fill in plan.fills if fill.target and isinstance(fill.feature, ImageFeature))
    if not targets:
        return {}
    size = targets[0].tensor.shape[1:3]
    moved = [group for group in pictures(plan) if _moves(group[0].feature)]
    first = [next((fill for fill in g if fill.tensor.shape[1:3] == size), g[0]).field for g in moved]
    return dict.fromkeys(first, targets)


def boxed_pictures(plan: FillPlan) -> dict[str, tuple[str, ...]]:
    """By input whose pixels `augment` moves, the targets that are boxes in its pictures."""
    found: dict[str, tuple[str, ...]] = {}
    for fill in plan.fills:
        picture = pictured(plan, fill.feature) if isinstance(fill.feature, BoxesFeature) else None
        if picture is not None and _moves(picture.feature):
            found[picture.field] = (*found.get(picture.field, ()), fill.field)
    return found


def _moves(feature: Feature | None) -> bool:
    return isinstance(feature, ImageFeature) and feature.moves


def follow_misfits(plan: FillPlan) -> Iterator[Problem]:
    """Why the targets cannot follow."""
    moved = followers(plan)
    help = f"leave out the layers that move pixels: {', '.join(MOVING)}"
    names = list(moved)
    for name in names[1:]:
        target = moved[name][0].field
        message = f"`augment` moves the pixels of `{names[0]}` and `{name}`, and `{target}` follows one image"
        yield Problem("feature-misfit", message, help, (name, "augment"))
    for name in names[:1]:
        sides = plan.of(name).tensor.shape[1:3]
        for fill in moved[name]:
            if fill.tensor.shape[1:3] != sides:
                other = " x ".join(map(str, fill.tensor.shape[1:3]))
                message = (
                    f"`augment` moves the {' x '.join(map(str, sides))} pixels of `{name}`, and its target "
                    f"`{fill.field}` has {other}"
                )
                yield Problem("feature-misfit", message, help, (name, "augment"))

"""The encoders of a program: new ones, those of a run, those of a folder of images. They need no torch."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from graphspec.data.binding import need_images
from graphspec.data.config import DataConfig
from graphspec.data.encoders import Encoders
from graphspec.data.features.plan import misfits, of_images, plan_fills
from graphspec.data.opening import spanner
from graphspec.elaborated import BaseProgram


def new_encoders(program: BaseProgram, images: bool = False, absent: Collection[str] = ()) -> Encoders:
    """Encoders of a program that have learned nothing, but of inputs that are `absent`; `images` for a folder
    of them without features. Raises `SpecError` (feature-misfit) for inputs that images do not fit.
    """
    config = program.data or DataConfig()
    fills = plan_fills(
        program.inputs, program.outputs, config.features, program.ranges, absent, windows=config.windows
    )
    if images:
        fills = of_images(fills)
        need_images(fills, spanner(program))
    return Encoders(fills, program.outputs, images, program.folder)


def image_encoders(program: BaseProgram) -> Encoders | None:
    """Encoders of a program that learned from no table, for a folder of images; None where it has another
    input than one that images fit. They know no targets.
    """
    fills = of_images(plan_fills(program.inputs, {}, {}, program.ranges, program.defaults))
    fits = len(fills.fills) == 1 and fills.fills[0].feature is not None
    return Encoders(fills, program.outputs, True) if fits and not [*misfits(fills, {})] else None


def encoders_of(program: BaseProgram, state: Mapping[str, Any]) -> Encoders:
    """The encoders of a program with what `Encoders.to_json` says that they learned. Raises `SpecError`."""
    known = state.get("fields")
    absent = [name for name in program.defaults if isinstance(known, dict) and name not in known]
    encoders = new_encoders(program, state.get("images") is True, absent)
    encoders.restore(state)
    return encoders

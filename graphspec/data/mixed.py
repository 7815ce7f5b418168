"""Training batches whose examples are mixed with one another: `MixUp` and `CutMix` as in Keras, `Mosaic`.

What a batch draws depends on the seed, the epoch and the batch's place in it, and on no device. Batches are
mixed whole, before processes share them: so the result is the same for any number of processes, and for a run
that was resumed.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from torch import Tensor

from graphspec.data.batches import Batch, Changed, Examples
from graphspec.data.draws import Draw, draw
from graphspec.data.features.plan import target_type
from graphspec.data.features.vision import BoxesFeature
from graphspec.data.mixing import IMAGE, Mixing
from graphspec.elaborated import BaseProgram
from graphspec.objectives.detection_settings import Detector


def mixing(program: BaseProgram, examples: Examples) -> Examples:
    """The examples of a training, mixed as the `mix` of the program's data says."""
    if program.data is None or not program.data.mix:
        return examples
    features, boxes, masks = program.data.features, list[str](), list[str]()
    for output in program.outputs.values():
        target = target_type(output)
        if isinstance(output.loss, Detector) or isinstance(features.get(output.target), BoxesFeature):
            boxes.append(output.target)
        elif target is not None and not target.is_float:
            masks.append(output.target)
    pictures = [tensor.shape[1:3] for tensor in program.inputs.values() if tensor.rank == IMAGE]
    size = pictures[0] if pictures else ()
    return Mixed(examples, program.data.mix, program.channels_first, tuple(boxes), tuple(masks), size)


@dataclass(frozen=True, slots=True)
class Mixed(Changed):
    """Examples mixed by `steps`.

    `CutMix` and `Mosaic` paste parts of all images, inputs and targets, and blend the other arrays; images
    have their channels first in the arrays that `channels_first` names. An example counts for an output if
    all that it is mixed of do; weights are blended.
    """

    steps: Sequence[Mixing]
    channels_first: Collection[str] = ()
    boxes: tuple[str, ...] = ()
    """The targets that are boxes: those of all pictures, as far as they are seen."""
    masks: tuple[str, ...] = ()
    """The targets that are class numbers of pixels, which `Mosaic` alone mixes."""
    size: tuple[Any, ...] = ()
    """The height and width of the pictures that they lie in."""

    def changed(self, batch: Batch, seed: int) -> Batch:
        random = np.random.default_rng(seed)
        device = next(iter(batch.arrays.values())).device
        for step in self.steps:
            drawn = draw(step, len(batch), random).to(device)
            masks = {name: drawn.all(there) for name, there in batch.masks.items()}
            weights = {name: drawn.blended(weight) for name, weight in batch.weights.items()}
            batch = replace(batch, arrays=self._arrays(batch.arrays, drawn), weights=weights, masks=masks)
        return batch

    def _arrays(self, arrays: Mapping[str, Tensor], drawn: Draw) -> dict[str, Tensor]:
        return {name: self._mixed(name, values, drawn) for name, values in arrays.items()}

    def _mixed(self, name: str, values: Tensor, drawn: Draw) -> Tensor:
        if name in self.boxes:
            return drawn.boxes(values, self.size)
        if drawn.pastes and (values.dim() == IMAGE or name in self.masks):
            return drawn.pasted(values, 2 if name in self.channels_first else 1)
        return drawn.blended(values)

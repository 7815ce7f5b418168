"""Calls with one `training`, whether a model trains or not, which a spec does not say."""

from __future__ import annotations

from graphspec.convert.config import KerasLayer

UNSAID = (
    "BatchNormalization",
    "Bidirectional",
    "GroupQueryAttention",
    "MultiHeadAttention",
    "TimeDistributed",
)
"""Layers, beside models, for which Keras writes no `training` of its own."""
OF_IMAGES = ("AutoContrast", "CenterCrop", "Random", "Resizing", "Solarization")
"""Layers, by how their names begin, for which it writes `training: true`."""


def by_default(layer: KerasLayer) -> bool | None:
    """The `training` that Keras writes for a call that has none."""
    if layer.model is not None or layer.class_name in UNSAID:
        return None
    return layer.class_name.startswith(OF_IMAGES)


def always(name: str, training: bool) -> str:
    """The note on a layer that is called with one `training`."""
    return f"`{name}` is always called with training={training}, which the spec does not say"

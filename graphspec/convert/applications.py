"""Layers of keras.applications that have no class of their own in a spec."""

from __future__ import annotations

from collections.abc import Mapping

from graphspec.convert.arguments import shortest
from graphspec.convert.config import Call, KerasLayer, KerasTensor, tensors_in
from graphspec.convert.nodes import ConvertedNode, ConvertedValue, Stored

Values = Mapping[KerasTensor, ConvertedValue]

OF_APPLICATIONS = tuple(
    f"keras.{package}{name}"
    for package in ("", "src.")
    for name in ("applications.convnext", "applications.inception_resnet_v2")
)
"""Modules of keras.applications that have layers of their own."""


def layer_scale(layer: KerasLayer, call: Call, values: Values, stored: Stored) -> ConvertedNode:
    """ConvNeXt's factor of each channel: a parameter, and a product."""
    size, start = layer.config["projection_dim"], layer.config["init_values"]
    initializer = {"name": "constant", "value": shortest(start)}
    scale = ConvertedNode(f"{layer.name}_gamma", "parameter", [size], {"initializer": initializer})
    scale.stored = stored
    scale.trainable = layer.config.get("trainable") is not False
    read = [("", values[call.args[0]]), ("", ConvertedValue(scale))]
    return ConvertedNode(layer.name, "merge", "multiply", {}, read, "list")


def scaled_sum(layer: KerasLayer, call: Call, values: Values) -> ConvertedNode:
    """Inception-ResNet's residual: the second tensor times a constant, added to the first."""
    first, second = (values[tensor] for tensor in tensors_in(call.args))
    scaled = ConvertedNode(
        f"{layer.name}_scaled", "op", "multiply", {"x2": shortest(layer.config["scale"])}, [("", second)]
    )
    return ConvertedNode(layer.name, "merge", "add", {}, [("", first), ("", ConvertedValue(scaled))], "list")

"""The parts of an import apart: calls of configs, the order of nodes, layers on tensors without a batch."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

import graphspec
from graphspec.convert.config import Call, KerasLayer, KerasModel, KerasTensor, read_model
from graphspec.convert.nodes import ConvertedBody, ConvertedInput, ConvertedNode, ConvertedValue
from graphspec.convert.ordering import ordered
from graphspec.convert.placed import PlacedValues
from graphspec.convert.refusals import Unsupported


def test_keywords_of_a_call_in_a_config_of_keras_2() -> None:
    """They follow the name, the call and the output of the first tensor."""
    nodes = {"a": [], "b": [], "m": [[["a", 0, 0, {"value": ["b", 0, 0], "use_causal_mask": True}]]]}
    layers = [
        {"class_name": "InputLayer", "name": name, "config": {"name": name}, "inbound_nodes": calls}
        for name, calls in nodes.items()
    ]
    config = {"name": "old", "layers": layers, "input_layers": [["a", 0, 0], ["b", 0, 0]]}
    model = read_model({"class_name": "Functional", "config": {**config, "output_layers": [["m", 0, 0]]}})
    keywords = {"value": KerasTensor("b", 0, 0), "use_causal_mask": True}
    assert model.layers["m"].calls == [Call((KerasTensor("a", 0, 0),), keywords)]


def listed(*, elsewhere: bool) -> list[str]:
    """The order of a sum of two branches off `root`, of which the deeper one may read another node, too."""

    def node(name: str, *read: ConvertedNode | ConvertedInput) -> ConvertedNode:
        reads = [("x", ConvertedValue(maker)) for maker in read]
        return ConvertedNode(name, "layer", "Dense", reads=reads)

    x = ConvertedInput("x", (4,))
    other, root = node("other", x), node("root", x)
    short, first = node("short", root), node("first", root)
    second = node("second", first, *([other] if elsewhere else []))
    total = node("total", short, second)
    outputs = {each.name: ConvertedValue(each) for each in (other, total)}
    return [each.name for each in ordered(ConvertedBody("b", [x], [], outputs))]


def test_branches_off_one_value_come_in_the_order_in_which_they_are_read() -> None:
    """One that reads another node, too, is no branch off that value alone, and the deeper comes first."""
    assert listed(elsewhere=False) == ["other", "root", "short", "first", "second", "total"]
    assert listed(elsewhere=True) == ["other", "root", "first", "second", "short", "total"]


@pytest.mark.parametrize(
    ("axis", "fits"),
    [(-1, True), ([-1], True), (2, True), ([2], True), (1, False), (-2, False), ([1], False), ([-2], False)],
)
def test_a_normalization_of_the_last_axis_takes_a_batch_on_any_axis(axis: Any, fits: bool) -> None:
    tensor = KerasTensor("x", 0, 0, (4, None, 3))
    layer = KerasLayer("n", "LayerNormalization", "keras.layers", {"axis": axis})
    placed = PlacedValues(KerasModel("m", {}, [], []), {})
    if fits:
        placed.align(layer, 0, Call((tensor,), {}))
        assert not placed.timed
    else:
        with pytest.raises(Unsupported, match="not on the first axis"):
            placed.align(layer, 0, Call((tensor,), {}))


class NativeDropout(nn.Module):
    """Dropout by the function that gives the kept values and which those are."""

    def __init__(self) -> None:
        super().__init__()
        self.out = nn.Linear(4, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        kept, _ = torch.native_dropout(x, 0.25, self.training)
        return self.out(kept)


def test_the_first_output_of_native_dropout_is_a_dropout() -> None:
    imported = graphspec.from_torch(NativeDropout(), torch.randn(3, 4))
    assert "{layer: Dropout, rate: 0.25}" in imported.text
    assert imported.proved is not None and imported.proved.gradient is not None

"""Random changes of random specs: the function is kept where the table of a migration says so."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import torch
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

import graphspec
from graphspec.migrate import migrate, write
from graphspec.runs.run import Run

Nodes = dict[str, dict[str, Any]]
WIDTHS = {"Conv2D": "filters", "Conv1D": "filters", "Dense": "units", "LSTM": "units", "GRU": "units"}


def image_nodes(draw: st.DrawFn) -> Nodes:
    conv = {"layer": "Conv2D", "kernel_size": 3, "padding": "same"}
    bodies: list[dict[str, Any]] = [
        {**conv, "filters": 4, "activation": "relu"},
        {**conv, "filters": 3, "activation": "tanh", "use_bias": False},
        {"layer": "BatchNormalization"},
        {"layer": "DepthwiseConv2D", "kernel_size": 3, "padding": "same"},
        {"layer": "MaxPooling2D", "pool_size": 2, "strides": 1},
        {"layer": "Dropout", "rate": 0.2},
    ]
    chosen = [bodies[0], *draw(st.lists(st.sampled_from(bodies), min_size=1, max_size=3))]
    chosen.append({"layer": draw(st.sampled_from(["Flatten", "GlobalAveragePooling2D"]))})
    return {f"n{number}": dict(node) for number, node in enumerate(chosen)}


def sequence_nodes(draw: st.DrawFn) -> Nodes:
    bodies: list[dict[str, Any]] = [
        {"layer": "Dense", "units": 4, "activation": "gelu"},
        {"layer": "LSTM", "units": 3, "return_sequences": True},
        {"layer": "GRU", "units": 4, "return_sequences": True},
        {"layer": "LayerNormalization"},
        {"layer": "Conv1D", "filters": 4, "kernel_size": 3, "padding": "causal", "activation": "relu"},
        {"layer": "MultiHeadAttention", "num_heads": 2, "key_dim": 2, "self": True},
    ]
    chosen = [bodies[0], *draw(st.lists(st.sampled_from(bodies), min_size=1, max_size=3))]
    chosen.append({"layer": "GlobalAveragePooling1D"})
    nodes = {f"n{number}": dict(node) for number, node in enumerate(chosen)}
    names = list(nodes)
    for place, node in enumerate(nodes.values()):
        if node.pop("self", False):
            node["from"] = {"query": names[place - 1], "value": names[place - 1]}
    return nodes


def changed(draw: st.DrawFn, nodes: Nodes) -> Nodes:
    """The same nodes, some of them wider, deeper, or under another name. Where means run over channels, all
    are twice as wide.
    """
    found = copy.deepcopy(nodes)
    normalized = any(node["layer"] == "LayerNormalization" for node in nodes.values())
    for node in found.values():
        word = WIDTHS.get(node["layer"])
        if word is not None and (draw(st.booleans()) or normalized):
            node[word] += node[word] if normalized else draw(st.sampled_from([1, 2, 5]))
        if node["layer"] == "MultiHeadAttention":
            node["num_heads"] += draw(st.integers(0, 2))
            node["key_dim"] += draw(st.integers(0, 2))
    deeper = draw(st.booleans())  # nothing is renamed then: of two nodes that changed, neither may be it
    renamed = {name: f"{name}_new" if not deeper and draw(st.booleans()) else name for name in found}
    made: Nodes = {}
    for name, node in found.items():
        if isinstance(node.get("from"), dict):
            node["from"] = {key: renamed[source] for key, source in node["from"].items()}
        made[renamed[name]] = node
        if name == "n0" and node["layer"] == "Conv2D" and deeper:
            made["deeper"] = dict(node)
    return made


@st.composite
def changes(draw: st.DrawFn) -> tuple[dict[str, Any], dict[str, Any]]:
    image = draw(st.booleans())
    nodes = image_nodes(draw) if image else sequence_nodes(draw)
    shape = [6, 6, 2] if image else [5, 4]
    specs = []
    classes = draw(st.integers(0, 2))
    for body, units in ((nodes, 3), (changed(draw, nodes), 3 + classes)):
        out = {"layer": "Dense", "units": units, "activation": "softmax"}
        outputs = {"out": {"loss": "sparse_categorical_crossentropy"}}
        specs.append({"inputs": {"x": {"shape": shape}}, "nodes": {**body, "out": out}, "outputs": outputs})
    return specs[0], specs[1]


@settings(max_examples=max(4, settings().max_examples // 12), phases=[Phase.explicit, Phase.generate])
@given(changes())
def test_the_function_is_kept(tmp_path_factory: Any, both: tuple[dict[str, Any], dict[str, Any]]) -> None:
    old, new = (graphspec.compile(spec) for spec in both)
    folder: Path = tmp_path_factory.mktemp("run")
    state = old.module(seed=1).state_dict()
    generator = torch.Generator().manual_seed(2)
    for value in state.values():
        if value.is_floating_point():
            value += torch.rand(value.shape, generator=generator) * 0.2 + 0.05
    (folder / "old.yaml").write_text(old.resolved)
    write(folder / "old.safetensors", state)
    found = migrate(Run(folder / "old.yaml", folder / "old.safetensors"), new, limit=64)
    assert found.measured is not None
    assert found.measured.same, (both, found.measured, [row.to_json() for row in found.rows])
    assert not any(row.what in ("new", "dropped", "narrowed") for row in found.rows)

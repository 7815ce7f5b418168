"""Random uses of blocks whose repetitions differ in number, in their lists and in their instances."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

import graphspec
from tests.test_emit import agrees, randomized, weights_of

WIDTHS = st.lists(st.sampled_from([2, 3, 4]), min_size=1, max_size=4)
ACTIVATIONS = st.sampled_from(["relu", "tanh", "linear", "sigmoid"])


@st.composite
def repeated(draw: st.DrawFn, number: int) -> dict[str, Any]:
    """A node of a block that is repeated, by a list, a count or both of its params."""
    kind = draw(st.sampled_from(["list", "count", "index", "block", "plain", "parallel", "when"]))
    if kind == "list":
        return {"layer": "Dense", "activation": draw(ACTIVATIONS), "repeat": {"units": "$widths"}}
    if kind == "count":
        return {"layer": "Dense", "units": draw(st.sampled_from([3, "$units"])), "repeat": "$depth"}
    if kind == "index":
        return {"layer": "Dense", "units": "$(units + index)", "repeat": "$depth"}
    if kind == "block":
        return {
            "block": "inner",
            "repeat": {"units": "$widths"},
            "depth": draw(st.sampled_from([1, "$depth"])),
        }
    if kind == "parallel":
        return {"layer": "Dense", "units": "$units", "parallel": draw(st.sampled_from([2, "$(depth + 1)"]))}
    if kind == "when":
        return {"layer": "Dense", "units": "$units", "when": "$(depth > 1)"}
    return {"layer": draw(st.sampled_from(["BatchNormalization", "LayerNormalization"])), "repeat": "$depth"}


@st.composite
def specs(draw: st.DrawFn) -> str:
    """A spec whose blocks are used several times, each with a depth and widths of its own."""
    inner = {"h": {"layer": "Dense", "units": "$units", "repeat": "$depth"}, "act": {"op": "tanh"}}
    params = {"units": "required", "depth": 1}
    blocks: dict[str, Any] = {"inner": {"params": params, "inputs": ["x"], "nodes": inner}}
    nodes: dict[str, Any] = {}
    for number in range(draw(st.integers(1, 4))):
        node = draw(repeated(number))
        nodes[f"n{number}"] = node
        if "parallel" in node:
            nodes[f"sum{number}"] = {"merge": "add", "from": [f"n{number}.*"]}
    params = {"units": 3, "depth": 2, "widths": [3, 2]}
    text = json.dumps(nodes)
    used = {word: value for word, value in params.items() if f"${word}" in text or f"({word}" in text}
    blocks["outer"] = {"params": used, "inputs": ["x"], "nodes": nodes}
    if '"block": "inner"' not in text:
        del blocks["inner"]
    uses: dict[str, Any] = {}
    for number in range(draw(st.integers(1, 4))):
        given = {"units": draw(st.integers(2, 4)), "depth": draw(st.integers(1, 4)), "widths": draw(WIDTHS)}
        chosen = {word: value for word, value in given.items() if word in used and draw(st.booleans())}
        uses[f"use{number}"] = {"block": "outer", **chosen}
        if draw(st.booleans()):
            uses[f"use{number}"]["repeat"] = draw(st.integers(1, 3))
    last = next(reversed(uses))
    spec = {"inputs": {"x": {"shape": [4]}}, "blocks": blocks, "nodes": uses, "outputs": [last]}
    return json.dumps(spec, indent=1)


@given(specs())
def test_no_layer_is_lost(spec: str) -> None:
    program = graphspec.compile(spec)
    agrees(program)
    assert set(randomized(program).state_dict()) == {key for key, _, _ in weights_of(program.graph)}

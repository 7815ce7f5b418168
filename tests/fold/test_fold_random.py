"""Folding in random graphs: linear layers and normalizations, shared, repeated, left out, on other axes."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import graphspec
from tests.emit.test_random import specs
from tests.fold.test_fold import folded
from tests.random_specs import Body, Callee, Kit, Node, blocks, finish, settled

pytestmark = pytest.mark.hypothesis

ACTIVATIONS = (*4 * ["linear"], "relu", "softmax", "tanh")


def linear_layers(width: int, rank: int, formats: tuple[str, ...]) -> list[Node]:
    """Layers with a kernel, on vectors of `width` along `rank` axes of pixels."""
    dense: Node = {
        "layer": "Dense",
        "units": width,
        "use_bias": (True, False),
        "activation": ACTIVATIONS,
        "kernel_constraint": (*4 * [None], "max_norm"),
        "kernel_regularizer": (*8 * [None], "l2"),
    }
    if rank == 0:
        einsum = {"equation": "ab,bc->ac", "output_shape": width, "activation": ACTIVATIONS}
        return [dense, dense, {"layer": "EinsumDense", **einsum}]
    same = {
        "padding": "same",
        "data_format": formats,
        "use_bias": (True, False),
        "activation": ACTIVATIONS,
        "kernel_size": (1, 3),
    }
    conv = {
        "layer": f"Conv{rank}D",
        "filters": width,
        **same,
        "groups": (1, 1, 2),
        "dilation_rate": (1, 1, 2),
    }
    other: list[Node] = [
        {"layer": f"DepthwiseConv{rank}D", **same},
        {"layer": f"SeparableConv{rank}D", "filters": width, **same, "depth_multiplier": (1, 2)},
        {"layer": f"Conv{rank}DTranspose", "filters": width, **same},
    ]
    return [dense, dense, conv, conv, conv, *(other if rank < 3 else [])]


class Chain(Body):
    """A body in which most linear layers are normalized; a block takes a `flag` that may leave out layers.

    The kit begins with the normalization.
    """

    @property
    def norm(self) -> Node:
        """A normalization of the last node."""
        node = {**settled(self.draw, self.kit.layers[0]), "from": self.pool[-1]}
        left_out = "u" in self.inputs and self.one(*5 * [False], True)
        return {**node, "when": "$flag"} if left_out else node

    def node(self) -> Node:
        how = self.one(*4 * ["pair"], *4 * ["other"], "timed", *2 * ["shared"])
        source = self.one(self.pool[-1], self.pool[-1], *self.pool)
        pairs = sorted({callee.name[:-1] for callee in self.callees if callee.name.startswith("pair")})
        if how == "pair":
            linear = [layer for layer in self.kit.layers if "activation" in layer]
            self.add({**settled(self.draw, self.one(*linear)), "from": source})
            if self.one(*5 * [False], True):
                noise = self.one({"layer": "Dropout", "rate": 0.5}, {"layer": "GaussianNoise", "stddev": 0.1})
                self.add({**noise, "from": self.pool[-1]})
            if self.one(*5 * [False], True):
                self.add(self.norm)
            return self.norm
        wrapped = [layer for layer in self.kit.layers if "wraps" in layer]
        if how == "timed" and wrapped:
            self.add({**wrapped[0], "from": source})
            return {**wrapped[1], "from": self.pool[-1]}
        if how == "shared" and pairs:
            pair = self.one(*pairs)
            if self.one(False, False, True):  # a call that nothing normalizes
                self.add({"call": f"{pair}l", "from": source})
            self.add({"call": f"{pair}l", "from": source})
            return {"call": f"{pair}n", "from": self.pool[-1]}
        return super().node()

    def call(self, callee: Callee, source: str) -> Node:
        flag = self.one({}, {}, {"flag": True}, {"flag": False}) if callee.key == "block" else {}
        return {**super().call(callee, source), **flag}

    def closed(self) -> dict[str, Any]:
        block = super().closed()
        last = next(reversed(self.nodes))
        self.nodes["last"] = {"layer": "Activation", "activation": "relu", "when": "$flag", "from": last}
        return {"params": {"flag": self.one(True, False)}, **block}


@st.composite
def chains(draw: st.DrawFn) -> str:
    """A spec of one input with up to three axes of pixels; where all are as long as it is wide, any axis may
    be that of the channels.
    """
    width, rank, square = (
        draw(st.sampled_from([2, 4])),
        draw(st.sampled_from([2, 0, 1, 2, 3])),
        draw(st.booleans()),
    )
    shape = [width if square else 4] * rank + [width]
    norm: Node = {
        "layer": "BatchNormalization",
        "axis": (-1, -1, *range(1, rank + 1)) if square else -1,
        "center": (True, True, True, False),
        "scale": (True, True, True, False),
        "epsilon": (1e-3, 1e-2),
    }
    formats = ("channels_last", "channels_first") if square else ("channels_last",)
    linear = linear_layers(width, rank, formats)
    wraps = [{"layer": "Dense", "units": width}, {"layer": "BatchNormalization"}] if rank else []
    timed = [{"layer": "TimeDistributed", "wraps": wrapped} for wrapped in wraps]
    kit = Kit([norm, *linear, {"layer": "Activation", "activation": ACTIVATIONS}, *timed], (-1,))
    spec: dict[str, Any] = {"inputs": {"x": {"shape": shape}}, "blocks": {}, "shared": {}}
    callees = blocks(draw, kit, spec, 1, Chain)
    for number in range(draw(st.integers(0, 2))):
        for letter, template in (("l", draw(st.sampled_from(linear))), ("n", norm)):
            spec["shared"][f"pair{number}{letter}"] = settled(draw, template)
            callees.append(Callee("call", f"pair{number}{letter}", 1))
    body = Chain(draw, kit, callees, ["x"])
    body.grow(draw(st.integers(1, 5)))
    finish(body, spec)
    return json.dumps(spec, indent=1)


@settings(max_examples=settings().max_examples // 2)
@given(specs())
def test_random_blocks_fold(spec: str) -> None:
    folded(graphspec.compile(spec))


@settings(max_examples=settings().max_examples // 2)
@given(chains())
def test_random_chains_fold(spec: str) -> None:
    folded(graphspec.compile(spec))

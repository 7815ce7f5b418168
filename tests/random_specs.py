"""Random specs of sequences with masks, of images and of volumes.

The nodes of a spec all have one shape, so that any may read any. A draw shrinks towards fewer and
plainer nodes.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any, NamedTuple

from hypothesis import strategies as st

from graphspec.expressions.formula import parse_formula

Node = dict[str, Any]

WITH_ARGUMENTS: tuple[Node, ...] = (
    {"name": "leaky_relu", "negative_slope": 0.3},
    {"name": "gelu", "approximate": True},
    {"name": "relu", "max_value": 1.0, "negative_slope": 0.1},
)
ACTIVATIONS = ("relu", "linear", "relu", "relu", "tanh", "sigmoid", "softmax", *WITH_ARGUMENTS)
MERGES = ("add", "add", "multiply", "average", "maximum", "minimum", "subtract")
NAMES = ("n", "x", "y", "class", "mask", "del_")


def sequence_layers(width: int) -> list[Node]:
    """Layers that keep [length, width]. A tuple stands for any of its items, here and below."""
    dense = {"layer": "Dense", "units": width, "activation": ACTIVATIONS}
    conv = {"layer": "Conv1D", "filters": width, "padding": "same", "activation": ACTIVATIONS}
    halves = ({"layer": name, "units": width // 2, "return_sequences": True} for name in ("GRU", "LSTM"))
    activation = {"layer": "Activation", "activation": ACTIVATIONS}
    recurrent = {"layer": ("SimpleRNN", "GRU", "LSTM"), "units": width, "return_sequences": True}
    return [
        *(dense, dense, activation, activation, recurrent, recurrent),
        {"layer": "Bidirectional", "wraps": tuple(halves)},
        {"layer": "Masking", "mask_value": (0.0, 1.0)},
        {"layer": ("BatchNormalization", "LayerNormalization", "UnitNormalization")},
        {"layer": "Dropout", "rate": 0.5},
        {"layer": "GaussianNoise", "stddev": 0.1},
        {"op": ("negative", "relu", "tanh")},
        {**conv, "padding": ("same", "causal"), "kernel_size": (1, 3)},
        {**conv, "layer": "SeparableConv1D", "kernel_size": 3},
        {"layer": "TimeDistributed", "wraps": tuple({**dense, "activation": a} for a in ("relu", "tanh"))},
    ]


def image_layers(width: int, rank: int) -> list[Node]:
    """Layers that keep four pixels along each of `rank` axes, and the channels."""
    conv = {"filters": width, "padding": "same", "activation": ACTIVATIONS, "use_bias": (True, False)}
    sizes = {"kernel_size": (1, 3)}
    depthwise = {key: value for key, value in conv.items() if key != "filters"}
    flat = [
        {"layer": ("Conv2DTranspose", "SeparableConv2D"), **conv, **sizes},
        {"layer": "DepthwiseConv2D", **depthwise, "kernel_size": 3},
    ]
    activation = {"layer": "Activation", "activation": ACTIVATIONS}
    return [
        *3 * [{"layer": f"Conv{rank}D", **conv, **sizes}],
        *(activation, activation, {"layer": "ReLU"}),
        *2 * [{"layer": "BatchNormalization"}],
        {"layer": "LayerNormalization"},
        {"layer": "Dropout", "rate": 0.5},
        {"layer": "Permute", "dims": [2, 1, *range(3, rank + 2)]},
        {"layer": "Reshape", "target_shape": [4] * rank + [width]},
        {"layer": f"MaxPooling{rank}D", "pool_size": 3, "strides": 1, "padding": "same"},
        {"layer": "Dense", "units": width, "activation": ACTIVATIONS},
        {"op": ("relu", "negative")},
        *(flat if rank == 2 else []),
    ]


def settled(draw: st.DrawFn, template: Node) -> Node:
    """A node of a template: one item of each tuple."""
    return {
        key: draw(st.sampled_from(value)) if isinstance(value, tuple) else value
        for key, value in template.items()
    }


class Kit(NamedTuple):
    """What bodies are made of."""

    layers: list[Node]
    axes: tuple[int, ...]
    """Along which a value may be split in two."""
    attention: bool = False
    width: int = 0
    """The last axis of all values, for formulas and constants of that size; 0 for none."""


class Callee(NamedTuple):
    """A block, or an entry of `shared`."""

    key: str
    name: str
    inputs: int


class Body:
    """Nodes drawn one after the other; `pool` has the values that the next may read."""

    def __init__(self, draw: st.DrawFn, kit: Kit, callees: list[Callee], inputs: list[str]) -> None:
        self.draw, self.kit, self.callees = draw, kit, callees
        self.inputs, self.pool, self.nodes = inputs, [*inputs], dict[str, Node]()

    def one(self, *items: Any) -> Any:
        return self.draw(st.sampled_from(items))

    def fresh(self) -> str:
        return f"{self.one(*NAMES)}{len(self.nodes)}"

    def grow(self, count: int) -> None:
        for _ in range(count):
            self.add(self.node())

    def node(self) -> Node:
        extras = ["attention", "attention"] if self.kit.attention else []
        extras += ["formula", "formula", "constant"] if self.kit.width else []
        how = self.one(*10 * ["layer"], *4 * ["merge"], "split", *extras, *(["call"] if self.callees else []))
        source = self.one(*self.pool[:-5:-1])
        if how == "merge":
            merge = self.one(*MERGES)
            count = 2 if merge == "subtract" else self.one(2, 2, 3)
            return {"merge": merge, "from": [self.one(*self.pool) for _ in range(count)]}
        if how == "split":
            parts, axis = self.fresh(), self.one(*self.kit.axes)
            self.nodes[parts] = {"op": "split", "indices_or_sections": 2, "axis": axis, "from": source}
            return {"merge": "concatenate", "axis": axis, "from": [f"{parts}.part1", parts]}
        if how == "attention":
            return self.attention(source)
        if how == "formula":
            return {"compute": self.formula(source)}
        if how == "constant":
            return self.constant(source)
        if how == "call":
            return self.call(self.one(*self.callees), source)
        return {**settled(self.draw, self.one(*self.kit.layers)), "from": source}

    def attention(self, source: str) -> Node:
        other = self.one(*self.pool)
        if self.one(False, False, True):
            return {"layer": "Attention", "from": [source, other]}
        node = {"layer": "MultiHeadAttention", "num_heads": self.one(1, 2), "key_dim": 2}
        causal = {"use_causal_mask": True} if self.one(False, False, True) else {}
        return {**node, **causal, "from": {"query": source, "value": other}}

    def formula(self, source: str) -> str:
        """A formula of values of one shape, which gives that shape."""
        a, b = source, self.one(*self.pool)
        numbers = [round(0.25 * (i + 1), 2) for i in range(self.kit.width)]
        return str(
            self.one(
                f"{a} + 0.5 * tanh({b} - 2 * {a})",
                f"{numbers} * {a} - {b}[:, ::-1]",
                f"where(({a} > {b}) & ~({b} < 0), {a}, -{b})",
                f"concatenate([{a}, {b}], axis=-1)[..., 1:{self.kit.width + 1}]",
                f"{a} - mean({b}, axis=-1, keepdims=true) / sqrt({self.kit.width})",
            )
        )

    def constant(self, source: str) -> Node:
        """A list of numbers beside a value, or a node of its own merged with it."""
        numbers = [0.5 * i - 1 for i in range(self.kit.width)]
        if self.one(False, True):
            return {"op": self.one("multiply", "add", "maximum"), "from": source, "x2": numbers}
        name = self.fresh()
        self.nodes[name] = {"constant": numbers}
        return {"merge": self.one("add", "multiply"), "from": [name, source]}

    def call(self, callee: Callee, source: str) -> Node:
        both = [source, self.one(*self.pool)] if callee.inputs == 2 else source
        return {callee.key: callee.name, "from": both}

    def add(self, node: Node) -> None:
        """Appends a node, which may run repeatedly, in parallel with itself, or not at all."""
        name = self.fresh()
        self.nodes[name] = node
        calls = "block" in node or "call" in node
        layer = "layer" in node and "wraps" not in node
        how = self.one(*11 * ["once"], *3 * ["repeat"], "when", "parallel")
        if how == "repeat" and (calls or (layer and isinstance(node["from"], str))):
            node["repeat"] = self.one(2, 3)
            self.pool += [f"{name}.0"] if self.one(False, False, True) else []
            if self.one(*4 * [False], True):
                self.join(name, self.pool[0])
        elif how == "when" and layer:
            node["when"] = False
        elif how == "parallel" and (calls or layer):
            node["parallel"] = 2
            self.join(name, self.pool[-1])
            return
        self.pool.append(name)

    def join(self, name: str, other: str) -> None:
        """Merges all that a repeated or parallel node makes."""
        joined = self.fresh()
        self.nodes[joined] = {"merge": self.one("add", "maximum", "average"), "from": [f"{name}.*", other]}
        self.pool.append(joined)

    def unread(self) -> list[str]:
        return [name for name in self.nodes if name not in read(self.nodes)]

    def closed(self) -> dict[str, Any]:
        """The block of these nodes: each input and node is read, or is the last."""
        loose = [*self.unread(), *(name for name in self.inputs if name not in read(self.nodes))]
        last = next(reversed(self.nodes))
        if loose != [last]:
            both = loose if len(loose) > 1 else [*loose, last]
            self.nodes["end"] = {"merge": "add", "from": both}
        return {"inputs": self.inputs, "nodes": self.nodes}

    def outputs(self) -> list[str]:
        """The nodes that a spec may give away."""
        return [name for name, node in self.nodes.items() if "parallel" not in node]


def sources(node: Node) -> list[str]:
    if "compute" in node:
        return [reference.text for reference in parse_formula(node["compute"]).references()]
    found = node.get("from", [])
    return [found] if isinstance(found, str) else [*found.values()] if isinstance(found, dict) else found


def read(nodes: dict[str, Node]) -> set[str]:
    return {source.split(".")[0] for node in nodes.values() for source in sources(node)}


def blocks(
    draw: st.DrawFn,
    kit: Kit,
    spec: dict[str, Any],
    inputs: int,
    made: type[Body] = Body,
    layers: Iterable[Callee] = (),
) -> list[Callee]:
    """Gives the spec blocks, which may hold one another, and shares some. A block may call `layers` and what
    is shared of the blocks before it; each has `inputs` at most.
    """
    found, shared = list[Callee](), [*layers]
    for number in range(draw(st.integers(0, 2))):
        name = f"block{number}"
        body = made(draw, kit, [*found, *shared], ["u", "v"][: draw(st.integers(1, inputs))])
        body.grow(draw(st.integers(2, 5)))
        spec["blocks"][name] = block = body.closed()
        last = next(reversed(body.nodes))
        others = [other for other in body.outputs() if other != last]
        if others and body.one(False, False, True):
            second = body.one("u", "o_mask", "mask")
            block["outputs"] = {"o": last, second: body.one(*others)}
        found.append(Callee("block", name, len(body.inputs)))
        if draw(st.booleans()):
            spec["shared"][f"shared_{name}"] = {"block": name}
            shared.append(Callee("call", f"shared_{name}", len(body.inputs)))
    return [*found, *shared]


def finish(body: Body, spec: dict[str, Any]) -> None:
    """Calls all that may be called, mostly one behind the other; outputs are what nothing reads, and a node
    more.
    """
    for callee in body.callees:
        name, source = f"use_{callee.name}", body.one(body.pool[-1], body.pool[-1], *body.pool)
        body.nodes[name] = body.call(callee, source)
        body.pool.append(name)
    chosen = [*body.unread(), body.one(*body.outputs())]
    spec |= {"nodes": body.nodes, "outputs": {name: {} for name in chosen}}
    for key in ("blocks", "shared"):
        if not spec[key]:
            del spec[key]


@st.composite
def sequences(draw: st.DrawFn) -> str:
    """A spec of tokens `a` and vectors `b`, most of it masked; some of its outputs pooled, one judged."""
    width, length = draw(st.sampled_from([2, 4])), draw(st.sampled_from([5, "length"]))
    inputs = {"a": {"shape": [length], "dtype": "int64"}, "b": {"shape": [length, width]}}
    spec: dict[str, Any] = {"inputs": inputs, "blocks": {}, "shared": {}}
    kit = Kit(sequence_layers(width), (-1,), attention=True)
    layers = []
    if draw(st.booleans()):
        fit = [layer for layer in kit.layers if "layer" in layer and "wraps" not in layer]
        spec["shared"]["layer"] = settled(draw, draw(st.sampled_from(fit)))
        layers.append(Callee("call", "layer", 1))
    callees = blocks(draw, kit, spec, 2, layers=layers)
    body = Body(draw, kit, callees, ["b"])
    zero = draw(st.sampled_from([True, True, True, False]))
    body.nodes["words"] = {
        "layer": "Embedding", "input_dim": 7, "output_dim": width, "mask_zero": zero, "from": "a"
    }  # fmt: skip
    body.nodes["facts"] = {**settled(draw, {"layer": "Masking", "mask_value": (0.0, 1.0)}), "from": "b"}
    body.pool += ["words", "facts"]
    body.grow(draw(st.integers(2, 10)))
    finish(body, spec)
    for number, name in enumerate([*spec["outputs"]][:3]):
        pool = body.one("GlobalAveragePooling1D", "GlobalMaxPooling1D", "GRU")
        units = {"units": 2} if pool == "GRU" else {}
        body.nodes[f"pooled{number}"] = {"layer": pool, **units, "from": name}
        spec["outputs"][f"pooled{number}"] = {}
        if body.one(False, True):
            del spec["outputs"][name]
    if body.one(False, True):
        body.nodes["tag"] = {"layer": "Dense", "units": 3, "activation": "softmax", "from": body.pool[-1]}
        spec["outputs"]["tag"] = {"loss": "sparse_categorical_crossentropy"}
    return json.dumps(spec, indent=1)


@st.composite
def images(draw: st.DrawFn) -> str:
    """A spec of an image or a volume."""
    width, rank = draw(st.sampled_from([2, 4])), draw(st.sampled_from([2, 2, 3]))
    spec: dict[str, Any] = {"inputs": {"x": {"shape": [4] * rank + [width]}}, "blocks": {}, "shared": {}}
    kit = Kit(image_layers(width, rank), (-1, 1, 2), width=width)
    body = Body(draw, kit, blocks(draw, kit, spec, 1), ["x"])
    body.grow(draw(st.integers(3, 14)))
    finish(body, spec)
    return json.dumps(spec, indent=1)

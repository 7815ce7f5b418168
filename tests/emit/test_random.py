"""Random nested specs: blocks with params, repeats, parallels, left-out nodes, merges, images and vectors."""

import json
import re
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

import graphspec
from graphspec.program import Program
from tests.emit.test_emit import agrees, example, named, randomized, weights_of
from tests.random_specs import images, sequences, sources

pytestmark = pytest.mark.hypothesis

ACTIVATIONS = st.sampled_from(["relu", "linear", "softmax", "tanh", "sigmoid", "leaky_relu", "gelu"])
WIDTHS = st.sampled_from([2, 3, 4])
NAMES = ["a", "x", "y", "class", "sum", "train", "stages", "self", "F", "layer"]


@st.composite
def layers(draw: st.DrawFn, image: bool, width: Any, block: bool) -> dict[str, Any]:
    """A node with one input, which keeps the shape of an image but for its channels."""
    activation = draw(st.just("$act") | ACTIVATIONS if block else ACTIVATIONS)
    kinds = [
        "Dense",
        "BatchNormalization",
        "Activation",
        "Dropout",
        "Rescaling",
        *(["Conv2D"] * 3 if image else []),
    ]
    kind = draw(st.sampled_from(kinds))
    if kind == "Dense":
        return {"layer": kind, "units": width, "activation": activation}
    if kind == "Conv2D":
        size = draw(st.sampled_from([1, 2, 3]))
        return {
            "layer": kind,
            "filters": width,
            "kernel_size": size,
            "padding": "same",
            "activation": activation,
        }
    if kind == "Activation":
        return {"layer": kind, "activation": activation}
    if kind == "Dropout":
        return {"layer": kind, "rate": 0.5}
    return {"layer": kind, "scale": draw(WIDTHS)} if kind == "Rescaling" else {"layer": kind}


@st.composite
def bodies(draw: st.DrawFn, image: bool, blocks: dict[str, Any], block: bool) -> dict[str, Any]:
    """Nodes that end in the width of the body, whatever its input has."""
    width: Any = "$width" if block else draw(WIDTHS)
    made = {"first": {"layer": "Dense", "from": "x", "units": width}}
    last = "first"
    for name in draw(st.lists(st.sampled_from(NAMES[3:] if block else NAMES), max_size=5, unique=True)):
        if name == "x":
            continue
        kind = draw(st.sampled_from(["layer", "layer", "block", "merge", "parallel", "call"]))
        single = [n for n, other in made.items() if "parallel" not in other]
        source = draw(st.sampled_from([last, last, *single]))
        node: dict[str, Any]
        if kind == "block" and blocks:
            chosen = draw(st.sampled_from(sorted(blocks)))
            node = {"block": chosen, "from": source, "width": width}
            if draw(st.booleans()):
                node["act"] = draw(ACTIVATIONS)
            if draw(st.booleans()):
                node["deep"] = draw(st.booleans())
            if draw(st.booleans()):
                node["repeat"] = "$n" if block and draw(st.booleans()) else draw(st.integers(1, 3))
        elif kind == "merge":
            merge = draw(st.sampled_from(["add", "multiply", "average", "maximum"]))
            node = {"merge": merge, "from": [source, draw(st.sampled_from(single))]}
        elif kind == "parallel":
            made[f"{name}_each"] = {
                "layer": "Dense",
                "from": source,
                "units": width,
                "parallel": draw(st.integers(1, 3)),
            }
            node = {"merge": "add", "from": [source, f"{name}_each.*"]}
        elif kind == "call":
            node = {"call": "common", "from": source}
            if draw(st.booleans()):
                node["repeat"] = draw(st.integers(1, 3))
        else:
            node = {**draw(layers(image, width, block)), "from": source}
            if block and draw(st.booleans()):
                node["when"] = draw(
                    st.sampled_from(["$deep", "$(not deep)", "$(n > 1)", "$(channels(x) == width)"])
                )
            elif draw(st.booleans()):
                node["repeat"] = "$n" if block and draw(st.booleans()) else draw(st.integers(1, 3))
        made[name] = node
        last = name
    return {"nodes": made, "last": last, "width": width}


@st.composite
def specs(draw: st.DrawFn) -> str:
    """A spec whose outputs are every node that nothing else reads."""
    image = draw(st.booleans())
    blocks: dict[str, Any] = {}
    for name in ["inner", "outer"][: draw(st.integers(1, 2))]:
        body = draw(bodies(image, dict(blocks), True))
        reads = json.dumps(body["nodes"])
        blocks[name] = {
            "params": {
                "width": "required",
                "act": draw(ACTIVATIONS),
                "deep": draw(st.booleans()),
                "n": draw(st.integers(1, 3)),
            },
            "inputs": ["x"],
            "nodes": body["nodes"],
        }
        if "common" in reads:
            blocks[name]["shared"] = {"common": {"layer": "Dense", "units": "$width", "activation": "$act"}}
        _finish(blocks[name], body["last"])
    body = draw(bodies(image, blocks, False))
    nodes = body["nodes"]
    for name in blocks:
        nodes[f"{name}_end"] = {
            "block": name,
            "from": body["last"],
            "width": draw(WIDTHS),
            "act": draw(ACTIVATIONS),
            "n": draw(st.integers(1, 3)),
            "deep": draw(st.booleans()),
        }
        nodes[f"{name}_again"] = {"block": name, "width": draw(WIDTHS)}
    spec: dict[str, Any] = {
        "inputs": {"x": {"shape": [4, 4, 3] if image else [3]}},
        "blocks": blocks,
        "nodes": nodes,
    }
    if any(node.get("call") for node in nodes.values()):
        spec["shared"] = {"common": {"layer": "Dense", "units": body["width"], "activation": "softmax"}}
    spec["outputs"] = {name: {} for name, node in nodes.items() if "parallel" not in node}
    return json.dumps(spec, indent=1)


def _finish(block: dict[str, Any], last: str) -> None:
    """Reads every node and param of a block, so that none is an error."""
    nodes = block["nodes"]
    loose = [
        n
        for n in nodes
        if n != last and not any(n == s or f"{n}.*" in s for o in nodes.values() for s in sources(o))
    ]
    nodes["end"] = {"merge": "add", "from": [last, *loose]}
    nodes["tail"] = {
        "layer": "Dense",
        "units": "$(width + n - n)",
        "activation": "$act",
        "when": "$deep",
        "else": "end",
    }


@given(specs())
def test_random_specs(spec: str) -> None:
    agrees(graphspec.compile(spec))


# --- masks, attention, recurrent layers, volumes


def padded(program: Program) -> dict[str, Tensor]:
    """Inputs with padding in front, within and behind."""
    inputs = example(program, 3)
    for name, steps in (("a", [(0, 0), (0, 1), (1, -1), (2, 2)]), ("b", [(0, 1), (1, -2), (1, -1)])):
        for row, step in steps if name in inputs else []:
            inputs[name][row, step] = 0
    return inputs


def plainly(program: Program) -> nn.Module:
    """The module of the source in which nothing is written in place or let go of."""
    source = program.source.replace(", inplace=True", "").replace("F.relu_(", "F.relu(")
    namespace: dict[str, Any] = {}
    source = re.sub(r"^ +del (?!self).*\n", "", source, flags=re.MULTILINE)
    exec(compile(source, "<plain>", "exec"), namespace)
    module: nn.Module = namespace[program.class_name]().double()
    module.load_state_dict(randomized(program).state_dict())
    return module


def gradients(module: nn.Module, inputs: dict[str, Tensor], program: Program) -> list[Tensor | None]:
    """Of a random weighted sum of a training pass, by the weights and the inputs."""
    torch.manual_seed(0)
    given = {name: x.clone().requires_grad_(x.is_floating_point()) for name, x in inputs.items()}
    handed = {name: x.clone() for name, x in given.items()}  # no leaves: autograd itself guards those
    outputs = named(program, module.train()(*handed.values()))
    assert all(torch.equal(handed[name], x) for name, x in given.items()), "an input was written to"
    total = sum((y * torch.randn_like(y)).sum() for y in outputs.values())
    assert isinstance(total, Tensor)
    by = [*module.parameters(), *(x for x in given.values() if x.requires_grad)]
    return list(torch.autograd.grad(total, by, allow_unused=True))


@given(sequences() | images())
def test_random_graphs(spec: str) -> None:
    program = graphspec.compile(spec)
    inputs = padded(program)
    agrees(program, inputs)
    module = randomized(program)
    assert set(module.state_dict()) == {key for key, _, _ in weights_of(program.graph)}
    expected = gradients(plainly(program), inputs, program)
    for actual, plain in zip(gradients(module, inputs, program), expected, strict=True):
        assert (actual is None) == (plain is None)
        if actual is not None:
            torch.testing.assert_close(actual, plain, equal_nan=True)

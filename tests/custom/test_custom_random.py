"""Random graphs in which modules of one's own stand for layers: the same numbers; damaged, a diagnostic."""

from __future__ import annotations

import copy
import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

import graphspec
from graphspec.cli.app import app
from graphspec.compiler import check
from graphspec.diagnostics import Diagnostics
from tests.random_specs import images

PEERS = """
import torch
from torch import nn


class Conv(nn.Conv2d):
    def __init__(self, width, filters, kernel_size, activation=None, use_bias=True):
        super().__init__(width, filters, kernel_size, padding="same", bias=use_bias)
        self.activation = activation

    def forward(self, x):
        return act(super().forward(x), self.activation, 1)


class Linear(nn.Linear):
    def __init__(self, width, units, activation=None):
        super().__init__(width, units)
        self.activation = activation

    def forward(self, inputs):
        return act(super().forward(inputs), self.activation, -1)


class Negative(nn.Module):
    def forward(self, x):
        return -x


class Add(nn.Module):
    def forward(self, *inputs):
        return sum(inputs)


def act(x, name, axis):
    if isinstance(name, dict):
        slope, most = name.get("negative_slope", 0), name.get("max_value")
        if name["name"] == "gelu":
            return torch.nn.functional.gelu(x, approximate="tanh" if name["approximate"] else "none")
        return torch.where(x < 0, slope * x, x if most is None else x.clamp(max=most))
    if name == "softmax":
        return x.softmax(axis)
    return x if name in (None, "linear") else getattr(torch, name)(x)
"""

pytestmark = pytest.mark.hypothesis
FOLDER = settings(
    max_examples=settings().max_examples // 3,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "peers.py").write_text(PEERS)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def own(node: dict[str, Any], width: int) -> dict[str, Any] | None:
    """The module that stands for a node, if one does."""
    kept: dict[str, Any] = {key: node[key] for key in ("from", "repeat", "parallel", "when") if key in node}
    if node.get("layer") == "Conv2D":
        said: dict[str, Any] = {
            key: node[key] for key in ("filters", "kernel_size", "activation", "use_bias") if key in node
        }
        return {"module": "peers.Conv", "width": width, **said, "data_format": "channels_first", **kept}
    if node.get("layer") == "Dense":
        said = {key: node[key] for key in ("units", "activation") if key in node}
        named = {"from": {"inputs": kept["from"]}} if isinstance(kept["from"], str) else {}
        return {"module": "peers.Linear", "width": width, **said, **kept, **named}
    if node.get("op") == "negative":
        return {"module": "peers.Negative", **kept}
    if node.get("merge") == "add" and not any("*" in each for each in node["from"]):
        return {"module": "peers.Add", **kept}
    return None


def is_of_an_input(name: Any, body: dict[str, Any]) -> bool:
    """Whether what stands first in each `from` leads to an input, so that no constant gives the type."""
    while name in body["nodes"]:
        sources = body["nodes"][name].get("from")
        name = sources[0] if isinstance(sources, list) else sources
        if not isinstance(name, str):
            return False
    return name in body["inputs"]


def replaced(text: str, draw: Any) -> str:
    """A spec with some of its nodes, in blocks too, replaced by modules. A module's type is that of its first
    input, so a sum that begins with a constant stays as it is.
    """
    spec = json.loads(text)
    width = spec["inputs"]["x"]["shape"][-1]
    for body in (spec, *spec.get("blocks", {}).values()):
        for name, node in body["nodes"].items():
            made = own(node, width)
            is_sum = node.get("merge") == "add"
            if made is None or (is_sum and not is_of_an_input(node["from"][0], body)):
                continue
            if draw(st.booleans()):
                body["nodes"][name] = made
    return json.dumps(spec, indent=1)


@given(images(), st.data())
@FOLDER
def test_modules_that_compute_what_layers_do_give_the_same(folder: Path, text: str, data: Any) -> None:
    (folder / "spec.yaml").write_text(replaced(text, data.draw))
    plain = graphspec.compile(text)
    program = graphspec.compile(folder / "spec.yaml", allow=["peers"])
    theirs, ours = plain.module(seed=1).double().eval(), program.module().double().eval()
    ours.load_state_dict(theirs.state_dict())
    inputs = {name: x.double() for name, x in plain.example_inputs(2).items()}
    wanted, found = theirs(**inputs), ours(**inputs)
    if not isinstance(wanted, dict):
        wanted, found = {"": wanted}, {"": found}
    for name, value in wanted.items():
        torch.testing.assert_close(found[name], value, rtol=1e-8, atol=1e-8, equal_nan=True)
    program.prove(program.module())


DAMAGE: tuple[tuple[str, Any], ...] = (
    ("module", "peers.Convolution"),
    ("module", "peer.Conv"),
    ("module", "peers"),
    ("module", "__import__.os"),
    ("module", "os.system"),
    ("module", None),
    ("module", "peers.act"),
    ("shape", [1]),
    ("shape", [4, 4, "n"]),
    ("shape", None),
    ("shape", ["a" * 300]),
    ("dtype", "int64"),
    ("dtype", 3),
    ("data_format", "channels_last"),
    ("outputs", {"a": {}, "b": {}}),
    ("outputs", []),
    ("width", 7),
    ("width", "x"),
    ("widht", 2),
    ("kernel_size", -1),
    ("arguments", {"from": 1}),
    ("arguments", 3),
    ("__dict__", 1),
    ("from", []),
    ("from", {"y": "x"}),
    ("weights", "none.safetensors"),
    ("trainable", "maybe"),
    ("activation", "nonsense"),
)


@given(images(), st.data())
@FOLDER
def test_a_damaged_module_ends_in_a_diagnostic(folder: Path, text: str, data: Any) -> None:
    spec = json.loads(replaced(text, lambda strategy: True))
    nodes = [
        node
        for body in (spec, *spec.get("blocks", {}).values())
        for node in body["nodes"].values()
        if "module" in node
    ]
    if not nodes:
        return
    node = data.draw(st.sampled_from(nodes))
    for key, value in data.draw(st.lists(st.sampled_from(DAMAGE), min_size=1, max_size=2)):
        node[key] = copy.deepcopy(value)
    path = folder / "spec.yaml"
    path.write_text(json.dumps(spec, indent=1))
    before = set(sys.modules)
    check(path, Diagnostics(), {})
    assert "peers" in before or "peers" not in sys.modules, "check imports nothing"
    allow = [word for name in ("peers", "peer", "os") for word in ("--allow", name)]
    result = CliRunner().invoke(app, ["build", str(path), "-o", "-", *allow])
    assert result.exit_code in (0, 1, 2), result.output
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception

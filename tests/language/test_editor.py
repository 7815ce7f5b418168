"""Editors: the schema in the YAML language server that VS Code, Neovim and others run."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from graphspec.reference.json_schema import json_schema
from tests import ROOT
from tests.language_server import CURSOR, SERVER, Server, language_server

pytestmark = pytest.mark.skipif(SERVER is None, reason="npm's yaml-language-server is not installed")

SPECS = sorted((ROOT / "specs").glob("*.yaml"))
SPEC = "inputs:\n  x: {shape: [8, 8, 3]}\nnodes:\n  a: NODE\noutputs:\n  a: {loss: mse}\n"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    path = tmp_path_factory.mktemp("schema") / "graphspec.schema.json"
    path.write_text(json.dumps(json_schema()), encoding="utf-8")
    with language_server(path) as found:
        yield found


def test_the_gallery_has_no_errors(server: Server) -> None:
    found = {path.name: server.messages(path.read_text(encoding="utf-8")) for path in SPECS}
    assert {name: messages for name, messages in found.items() if messages} == {}


@pytest.mark.parametrize(
    ("node", "expected"),
    [
        ("{layer: Conv3, filters: 3, kernel_size: 3}", '"Conv1D"'),
        ("{op: tak, axis: 1}", '"take"'),
        ("{layer: Conv2D, kernel_size: 3}", "filters"),
        ("{layer: Conv2D, filters: x, kernel_size: 3}", "integer"),
        ("{layer: Conv2D, filters: 3, kernel_size: 3, paddin: same}", "paddin"),
        ("{layer: Dense, units: 3, op: take}", "op"),
    ],
)
def test_a_mistake_is_one_error(server: Server, node: str, expected: str) -> None:
    (message,) = server.messages(SPEC.replace("NODE", node))
    assert expected in message


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (SPEC.replace("NODE", "{layer: Con¦v2D, filters: 3, kernel_size: 3}"), "A convolution over an image"),
        (
            SPEC.replace("NODE", "{layer: Conv2D, fil¦ters: 3, kernel_size: 3}"),
            "Number of output channels",
        ),
        (SPEC.replace("NODE", "{op: ma¦x, axis: 1}"), "The maximum along axes"),
        (SPEC.replace("NODE", "{layer: Flatten}").replace("loss", "lo¦ss"), "Loss, by name"),
        (SPEC.replace("NODE", "{layer: Flatten}").replace("mse", "hub¦er"), "Squared near zero"),
        (SPEC.replace("NODE", "{layer: Flatten, repe¦at: 3}"), "How many chained instances"),
        (
            SPEC.replace("NODE", "{layer: Flatten}").replace("inputs", "in¦puts"),
            "Inputs of the model",
        ),
    ],
)
def test_the_mouse_tells_what_a_word_means(server: Server, text: str, expected: str) -> None:
    told = server.hover(text)
    assert expected in told and "Conv3DTranspose" not in told


def test_the_keys_of_a_layer_are_offered_required_ones_first(server: Server) -> None:
    for node in ("{layer: Conv2D, f¦}", "\n    layer: Conv2D\n    ¦"):
        offered = server.completions(SPEC.replace("NODE", node))
        assert offered[0] in ("filters", "kernel_size")
        assert {"filters", "kernel_size", "strides", "padding", "from", "when"} <= set(offered)
        assert not {"units", "rate", "layer", "op", "block"} & set(offered)


def test_names_are_offered_once(server: Server) -> None:
    layers = server.completions(SPEC.replace("NODE", "{layer: ¦}"))
    assert len(layers) == len(set(layers)) and {"Conv2D", "LSTM"} <= set(layers)
    losses = server.completions(SPEC.replace("NODE", "{layer: Flatten}").replace("mse", CURSOR))
    assert len(losses) == len(set(losses))
    assert "mean_squared_error" in losses and not {"mse", "MSE"} & set(losses)

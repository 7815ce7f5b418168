"""A training on GPUs that nobody has rented yet: what is counted, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest
from typer.testing import CliRunner

import graphspec
from graphspec.cli.app import app
from graphspec.diagnostics import SpecError
from graphspec.view.plan import NETWORK, plan
from tests import ROOT

SPEC = """
inputs: {x: {shape: [100]}}
nodes: {y: {layer: Dense, units: 10, use_bias: false}}
outputs: {y: {loss: mse}}
train: {optimizer: adam, epochs: 2, batch_size: 64, parallel: PARALLEL}
"""


def no_sizes(names: Sequence[str]) -> dict[str, int]:
    """The values of no named sizes."""
    assert not names
    return {}


def spec(parallel: str = "ddp", **settings: Any) -> Any:
    changed = {f"train.{name}": value for name, value in settings.items()}
    return graphspec.compile(SPEC.replace("PARALLEL", parallel), settings=changed)


def test_it_counts_weights_steps_and_what_is_sent() -> None:
    found = plan(spec(), "4xH100", 1000, no_sizes)
    assert found.parameters == 1000 and found.steps == 2 * 16 and found.fits
    assert found.memory["weights"] == found.memory["gradients"] == 4000 and found.memory["optimizer"] == 8000
    assert found.sent == (2 * 4000 * 3 // 4, 0) and found.data == 1000 * 400 and found.checkpoint == 12_000
    assert found.flops == 3 * 16 * 2 * 1000  # of 16 rows on each
    low, high = found.hours
    assert 0 < low < high


def test_shards_are_parts_and_weights_are_sent() -> None:
    whole, shards = (
        plan(spec(), "16xA100", 1000, no_sizes),
        plan(spec("fsdp", precision="bf16"), "16xA100", 1000, no_sizes),
    )
    assert shards.memory["optimizer"] * 16 == whole.memory["optimizer"] == 8000
    assert shards.memory["activations"] * 2 == whole.memory["activations"]
    assert shards.sent == (0, (2 * 2000 + 4000) * 15 // 16)
    assert shards.seconds["sending"][1] == 2 * sum(shards.sent) / NETWORK


def test_copies_of_shards_send_less_between_machines() -> None:
    found = plan(spec("hsdp"), "16xA100", 1000, no_sizes)
    assert found.memory["optimizer"] == 1000 and found.other is None
    assert found.sent == (3 * 4000 * 7 // 8, 2 * 500 // 2)
    assert plan(spec("hsdp"), "12xA100", 1000, no_sizes).memory["optimizer"] == 2000  # of 3 machines of 4
    assert plan(spec("hsdp"), "4xA100", 1000, no_sizes).sent == (3 * 4000 * 3 // 4, 0)


def test_it_says_when_copies_of_shards_take_less_time() -> None:
    large = SPEC.replace("units: 10", "units: 10000000")
    found = plan(graphspec.compile(large.replace("PARALLEL", "fsdp")), "16xA100", 1000, no_sizes)
    copies = plan(graphspec.compile(large.replace("PARALLEL", "hsdp")), "16xA100", 1000, no_sizes)
    assert copies.fits and copies.hours < found.hours and copies.hours == found.other.hours
    assert "`parallel: hsdp` takes" in str(found) and "hsdp" not in str(copies)
    huge = plan(
        graphspec.compile(SPEC.replace("PARALLEL", "fsdp"), settings={"nodes.y.units": 80_000_000}),
        "64xA100",
        1000,
        no_sizes,
    )
    assert huge.fits and not huge.other.fits and "hsdp" not in str(huge)


def test_a_model_that_does_not_fit_says_so() -> None:
    large = graphspec.compile(SPEC.replace("PARALLEL", "ddp").replace("units: 10", "units: 100000000"))
    found = plan(large, "1xL4", 64, no_sizes)
    assert not found.fits and "does not fit" in str(found)


@pytest.mark.parametrize(
    ("gpus", "code"), [("x", "out-of-range"), ("0xH100", "out-of-range"), ("4xRTX", "unknown-name")]
)
def test_gpus_that_are_none_are_refused(gpus: str, code: str) -> None:
    with pytest.raises(SpecError) as caught:
        plan(spec(), gpus, 10, no_sizes)
    assert caught.value.diagnostics[0].code == code and caught.value.diagnostics[0].help


def test_a_batch_has_a_row_for_each() -> None:
    with pytest.raises(SpecError, match="there are 65 GPUs"):
        plan(spec(), "65xH100", 10, no_sizes)


def test_the_command_prints_it() -> None:
    given = ["plan", str(ROOT / "specs" / "gpt.yaml"), "--gpus", "8xh100", "--rows", "1e6"]
    said = CliRunner().invoke(app, given)
    assert said.exit_code == 0 and "of 80 GB, fits" in said.stdout and "hours: " in said.stdout
    document = json.loads(CliRunner().invoke(app, [*given, "--json"]).stdout)
    assert document["gpus"] == "8xH100" and document["sizes"] == {"length": 128}
    wrong = CliRunner().invoke(app, [*given[:-1], "nan"])
    assert wrong.exit_code == 2 and "not a number of rows" in wrong.stderr

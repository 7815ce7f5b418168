"""The weights of a run for a spec that changed: what becomes of each tensor, and of the function."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

import graphspec
from graphspec.cli.app import app
from graphspec.diagnostics import SpecError
from graphspec.migrate import Migration, migrate, write
from graphspec.runs.run import Run

SPECS = Path(__file__).parents[2] / "specs"
DEEP = """
inputs: {image: {shape: [8, 8, 1]}}
nodes:
  conv: {layer: Conv2D, filters: 6, kernel_size: 3, padding: same, activation: relu}
  pool: {layer: MaxPooling2D, pool_size: 2}
  flat: {layer: Flatten}
  hidden: {layer: Dense, units: 12, activation: relu}
  digit: {layer: Dense, units: 4, activation: softmax}
outputs: {digit: {loss: sparse_categorical_crossentropy, metrics: [accuracy]}}
"""


def run_of(folder: Path, old: Any) -> Run:
    """The spec with weights that a training might have left: no bias is 0, no variance 1."""
    state = old.module(seed=3).state_dict()
    generator = torch.Generator().manual_seed(0)
    for value in state.values():
        if value.is_floating_point():
            value += torch.rand(value.shape, generator=generator) * 0.3 + 0.05
    (folder / "old.yaml").write_text(old.resolved)
    write(folder / "old.safetensors", state)
    return Run(folder / "old.yaml", folder / "old.safetensors")


def migrated(folder: Path, old: Any, new: Any) -> Migration:
    return migrate(run_of(folder, old), new, limit=8)


def kinds(found: Migration) -> dict[str, str]:
    return {row.key: row.what for row in found.rows}


def same(found: Migration) -> bool:
    assert found.measured is not None
    return found.measured.same


def test_an_unchanged_spec_keeps_every_tensor(tmp_path: Path) -> None:
    found = migrated(tmp_path, graphspec.compile(DEEP), graphspec.compile(DEEP))
    assert set(kinds(found).values()) == {"same"}
    assert found.measured is not None and found.measured.difference == 0


def test_wider_convolutions_before_a_flatten_and_more_classes(tmp_path: Path) -> None:
    text = DEEP.replace("filters: 6", "filters: 9").replace("units: 4", "units: 6")
    found = migrated(tmp_path, graphspec.compile(DEEP), graphspec.compile(text))
    assert same(found)
    assert kinds(found)["hidden.weight"] == "widened" and kinds(found)["digit.weight"] == "rows kept"
    fresh = found.weights["hidden.weight"].unflatten(1, (16, 9))[:, :, 6:]
    assert not fresh.any()  # nothing reads the fresh filters at first
    assert found.weights["conv.weight"][6:].any()  # which are as in a new training


def test_digits_with_more_filters_and_two_more_classes_lose_nothing(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    shutil.copy(SPECS / "data" / "digits.npz", tmp_path / "data")
    new = graphspec.compile(
        SPECS / "digits.yaml", settings={"nodes.conv2.filters": 96, "nodes.digit.units": 12}
    )
    run = run_of(tmp_path, graphspec.compile(SPECS / "digits.yaml"))
    torch.manual_seed(5)
    drawn = torch.get_rng_state()
    found = migrate(run, new)
    assert torch.equal(torch.get_rng_state(), drawn)  # what the caller draws next is what it would have been
    measured = found.measured
    assert same(found) and measured is not None and measured.examples == 180
    assert measured.after["loss"] == pytest.approx(measured.before["loss"], rel=1e-5)


def test_fresh_channels_learn(tmp_path: Path) -> None:
    """Neither what fresh channels give nor what is read of them stays 0."""
    text = DEEP.replace("filters: 6", "filters: 9")
    new = graphspec.compile(text)
    module = new.module(weights=migrated(tmp_path, graphspec.compile(DEEP), new).weights)
    before = {name: weight.detach().clone() for name, weight in module.named_parameters()}
    optimizer = torch.optim.SGD(module.parameters(), 0.1)
    for _ in range(2):
        optimizer.zero_grad()
        module(torch.randn(16, 8, 8, 1)).log()[:, 0].mean().neg().backward()
        optimizer.step()
    assert (module.get_parameter("conv.weight")[6:] != before["conv.weight"][6:]).any()
    assert module.get_parameter("hidden.weight").unflatten(1, (16, 9))[:, :, 6:].any()


def test_a_deeper_network_starts_as_the_old_one(tmp_path: Path) -> None:
    more = "  more: {layer: Conv2D, filters: 6, kernel_size: 3, padding: same, activation: relu}\n  norm: "
    text = DEEP.replace("  pool:", more + "{layer: BatchNormalization}\n  pool:")
    found = migrated(tmp_path, graphspec.compile(DEEP), graphspec.compile(text))
    assert same(found) and kinds(found)["more.weight"] == kinds(found)["norm.running_var"] == "deepened"


def test_a_layer_that_cannot_be_an_identity_is_new_and_told(tmp_path: Path) -> None:
    text = DEEP.replace("  digit:", "  norm: {layer: LayerNormalization}\n  digit:")
    found = migrated(tmp_path, graphspec.compile(DEEP), graphspec.compile(text))
    assert not same(found) and kinds(found)["norm.weight"] == "new"


@pytest.mark.parametrize(
    ("name", "params", "what"),
    [
        ("gpt", {"width": 128, "heads": 8}, {"widened"}),  # tied words, layer normalizations, more heads
        # Residual blocks that add 0:
        pytest.param("gpt", {"depth": 4}, {"same", "new", "deepened"}, marks=pytest.mark.parity),
        ("llama", {"hidden": 200, "depth": 3}, {"same", "widened", "new", "deepened"}),
        pytest.param("bert", {"width": 128}, {"same", "widened"}, marks=pytest.mark.parity),
        ("residual", {}, {"same"}),
    ],
)
def test_networks_of_the_gallery(tmp_path: Path, name: str, params: dict[str, int], what: set[str]) -> None:
    path = SPECS / f"{name}.yaml"
    found = migrated(tmp_path, graphspec.compile(path), graphspec.compile(path, params=params))
    assert same(found), found.measured
    assert set(kinds(found).values()) <= what


def test_copies_of_channels_do_not_stay_alike(tmp_path: Path) -> None:
    """Where channels are copied, gradients of what reads the copies and of the copies differ."""
    text = """
inputs: {x: {shape: [4]}}
nodes: {first: {layer: Dense, units: 4}, norm: {layer: LayerNormalization}, out: {layer: Dense, units: 2}}
outputs: {out: {loss: mse}}
"""
    new = graphspec.compile(text.replace("units: 4", "units: 8"))
    found = migrated(tmp_path, graphspec.compile(text), new)
    assert same(found)
    read = found.weights["out.weight"]
    assert not torch.allclose(read[:, :4], read[:, 4:]) and torch.equal(
        *found.weights["first.weight"].chunk(2)
    )


TABLE = """
name: cars
inputs: {{kind: {{shape: [1], dtype: int64}}, size: {{shape: [1]}}}}
nodes:
  words: {{layer: Embedding, from: kind, input_dim: {ids}, output_dim: 3}}
  flat: {{layer: Flatten}}
  both: {{merge: concatenate, from: [flat, size]}}
  maker: {{layer: Dense, units: {classes}, activation: softmax}}
outputs: {{maker: {{loss: sparse_categorical_crossentropy}}}}
data:
  train: {file}
  validation: {{split: 0.25}}
  features: {{kind: {{encode: category}}, size: {{encode: number}}, maker: {{encode: category}}}}
train: {{epochs: 1, optimizer: adam}}
"""


def table(folder: Path, file: str, kinds: str, makers: str) -> Path:
    rows = [f"{kinds[i % len(kinds)]},{i % 5},{makers[i % len(makers)]}" for i in range(48)]
    (folder / file).write_text("\n".join(["kind,size,maker", *rows]) + "\n")
    spec = folder / file.replace(".csv", ".yaml")
    spec.write_text(TABLE.format(ids=len(kinds) + 1, classes=len(makers), file=file))
    return spec


def test_a_class_and_a_category_more_are_matched_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The new names sort before the old ones: every number changes. `train --from` does both steps."""
    monkeypatch.chdir(tmp_path)
    run = CliRunner().invoke
    old, new = table(tmp_path, "old.csv", "pq", "mz"), table(tmp_path, "new.csv", "apq", "amz")
    assert run(app, ["train", str(old), "--run-dir", "first", "--progress", "none"]).exit_code == 0
    moved = run(app, ["migrate", "first", str(new), "-o", "start.safetensors", "--json"])
    assert moved.exit_code == 0, moved.output
    found = json.loads(moved.output)
    assert found["measured"]["same_function"] and found["measured"]["examples"] == 12
    assert found["measured"]["before"]["loss"] == pytest.approx(found["measured"]["after"]["loss"], abs=1e-6)
    whats = {row["key"]: row["change"] for row in found["weights"]}
    assert whats["maker.weight"] == whats["words.weight"] == "rows kept"
    Path("runs").mkdir()
    Path("mine").write_text("mine")
    command = ["train", str(new), "--from", "first", "--progress", "none"]
    Path("runs/cars-start.safetensors").symlink_to(Path("mine").absolute())
    done = run(app, command)
    assert done.exit_code == 0, done.output
    assert Path("mine").read_text() == "mine" and Path("runs/cars-start-2.safetensors").is_file()
    Path("runs/cars-start.safetensors").unlink()
    again = run(app, command)
    assert again.exit_code == 0, again.output
    assert Path("runs/cars-start.safetensors").is_file()


def test_a_rule_says_what_cannot_be_seen(tmp_path: Path) -> None:
    from graphspec.transfer.rules import read_rules

    text = DEEP.replace("hidden: {layer: Dense, units: 12, activation: relu}", "a: {layer: Dense, units: 12}")
    text = text.replace("  digit:", "  b: {layer: Dense, units: 12, activation: relu}\n  digit:")
    old, new = graphspec.compile(DEEP), graphspec.compile(text)
    run = run_of(tmp_path, old)
    rules = read_rules("weights: {'a.{w}': 'hidden.{w}'}", "rules.yaml")
    found = migrate(run, new, rules, limit=8)
    assert kinds(found)["a.weight"] == "rule"
    assert torch.equal(found.weights["a.weight"], run.module().state_dict()["hidden.weight"])


@pytest.mark.parametrize(
    "changes",
    [
        [("[8, 8, 1]", "[8, 8, 3]")],
        [
            ("[8, 8, 1]", "[8, 8, 1], dtype: float64"),
            ("  conv:", "  cast: {op: cast, dtype: float32}\n  conv:"),
        ],
        [
            ("image: {shape: [8, 8, 1]}", "image: {shape: [8, 8, 1]}, more: {shape: [3]}"),
            ("layer: Conv2D", "layer: Conv2D, from: image"),
            ("  digit:", "  both: {merge: concatenate, from: [hidden, more]}\n  digit:"),
        ],
    ],
)
def test_what_the_new_spec_does_not_read_is_not_measured(
    tmp_path: Path, changes: list[tuple[str, str]]
) -> None:
    text = DEEP
    for old, new in changes:
        text = text.replace(old, new)
    found = migrated(tmp_path, graphspec.compile(DEEP), graphspec.compile(text))
    assert found.measured is None and kinds(found)["conv.bias"] == "same"


def test_a_network_that_needs_longer_sequences_is_tried_on_some(tmp_path: Path) -> None:
    text = """
inputs: {x: {shape: [length, 3]}}
nodes:
  conv: {layer: Conv1D, filters: 4, kernel_size: 3, padding: same}
  mean: {layer: GlobalAveragePooling1D}
  y: {layer: Dense, units: 2}
outputs: {y: {loss: mse}}
"""
    old, pool = graphspec.compile(text), "  pool: {layer: MaxPooling1D, pool_size: 2, repeat: 6}\n  mean:"
    found = migrated(tmp_path, old, graphspec.compile(text.replace("  mean:", pool)))
    assert found.measured is None and set(kinds(found).values()) == {"same"}


def test_ids_that_the_new_spec_lacks_are_not_looked_up(tmp_path: Path) -> None:
    text = """
inputs: {x: {shape: [4], dtype: int64}}
nodes:
  words: {layer: Embedding, input_dim: 50, output_dim: 4}
  flat: {layer: Flatten}
  y: {layer: Dense, units: 9}
outputs: {y: {loss: {name: sparse_categorical_crossentropy, from_logits: true}}}
"""
    old = graphspec.compile(text)
    for less in (text.replace("input_dim: 50", "input_dim: 20"), text.replace("units: 9", "units: 3")):
        found = migrate(run_of(tmp_path, old), graphspec.compile(less), limit=64)
        assert found.measured is None or not found.measured.after


def test_wrong_uses_have_remedies(tmp_path: Path) -> None:
    run = CliRunner().invoke
    spec = tmp_path / "a.yaml"
    spec.write_text(DEEP)
    missing = run(app, ["migrate", str(tmp_path / "none"), str(spec), "--json"])
    assert json.loads(missing.output)["diagnostics"][0]["code"] == "run-missing"
    assert run(app, ["migrate", "r", str(spec), "-o", "a.bin"]).exit_code == 2
    turned = run(app, ["migrate", str(spec), str(tmp_path)])
    assert turned.exit_code == 2 and "the run comes first" in turned.output
    for option in (["-o", "a.safetensors"], ["--set", "train.epochs=3"], ["--force"]):
        assert run(app, ["migrate", "--spec", str(spec), *option]).exit_code == 2
    assert run(app, ["train", str(spec), "--from", "r", "--resume"]).exit_code == 2


def test_data_that_a_run_does_not_keep_are_neither_measured_on_nor_evaluated(tmp_path: Path) -> None:
    text = "inputs: {x: {shape: [2]}}\nnodes: {y: {layer: Dense, units: 1}}\noutputs: {y: {loss: mse}}\n"
    spec = tmp_path / "s.yaml"
    spec.write_text(f"{text}data: {{validation: {{split: 0.5}}}}\ntrain: {{epochs: 1}}\n")
    arrays = {"x": np.ones((8, 2), np.float32), "y": np.ones((8, 1), np.float32)}
    for data, name in ((arrays, "arrays"), (None, "none")):
        graphspec.compile(spec).fit(data, run_dir=tmp_path / name, device="cpu")
        found = CliRunner().invoke(app, ["migrate", str(tmp_path / name), str(spec)])
        assert "rows of synthetic data" in found.output, found.output
    with pytest.raises(SpecError, match=r"data-missing.*arrays in memory"):
        Run(tmp_path / "arrays").evaluate(device="cpu")


def test_weights_of_a_spec_are_named_and_data_of_others_are_not_read(tmp_path: Path) -> None:
    run_of(tmp_path, graphspec.compile(DEEP))
    spec, file = str(tmp_path / "old.yaml"), str(tmp_path / "old.safetensors")
    (tmp_path / "elsewhere").mkdir()
    bare = str(shutil.copy(spec, tmp_path / "elsewhere" / "new.yaml"))
    lacking = CliRunner().invoke(app, ["migrate", bare, spec])
    assert lacking.exit_code == 1 and "`--weights FILE`" in lacking.output
    found = CliRunner().invoke(app, ["migrate", bare, spec, "--weights", file])
    assert found.exit_code == 0 and "the outputs are the same" in found.output
    data = tmp_path / "data.npz"
    np.savez(data, x=np.ones((8, 2), np.float32), y=np.ones((8, 1), np.float32))
    text = "inputs: {x: {shape: [2]}}\nnodes: {y: {layer: Dense, units: 1}}\noutputs: {y: {loss: mse}}\n"
    (tmp_path / "s.yaml").write_text(text)
    graphspec.compile(tmp_path / "s.yaml").fit(data, run_dir=tmp_path / "run", epochs=1, device="cpu")
    about = json.loads((tmp_path / "run" / "environment.json").read_text())
    (tmp_path / "run" / "environment.json").write_text(json.dumps({**about, "signature": "0" * 64}))
    found = CliRunner().invoke(app, ["migrate", str(tmp_path / "run"), str(tmp_path / "s.yaml")])
    assert (
        found.exit_code == 0 and "not measured: " in found.output and "is not signed by you" in found.output
    )


NOISY = """
inputs: {x: {shape: [4]}, noise: {shape: [4], default: random_normal}}
nodes: {near: {compute: x + noise}, y: {layer: Dense, units: 1}}
outputs: {y: {loss: mse}}
"""


def test_what_is_drawn_is_the_same_for_both(tmp_path: Path) -> None:
    measured = migrated(tmp_path, graphspec.compile(NOISY), graphspec.compile(NOISY)).measured
    assert measured is not None and measured.before == measured.after != {}

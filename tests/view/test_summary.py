"""The summary: rows, totals as Keras counts them, unknown sizes, costs."""

from __future__ import annotations

import json
import time

import pytest

import graphspec
from graphspec.view.summary import Row, Summary, show_bytes
from tests import ROOT

SPECS = ROOT / "specs"
RESNET50 = (SPECS / "resnet50.yaml").read_text()
SIAMESE = (SPECS / "siamese.yaml").read_text()


def summary(text: str) -> Summary:
    return graphspec.compile(text).summary()


def rows(found: Summary) -> dict[str, Row]:
    """Every row by name, those inside blocks among them."""

    def walk(rows: tuple[Row, ...]) -> list[Row]:
        return [row for outer in rows for row in (outer, *walk(outer.rows))]

    return {row.name: row for row in walk(found.rows)}


def test_resnet50_counts_as_keras_does() -> None:
    found = summary(RESNET50)
    counts = (found.total_params, found.trainable_params, found.non_trainable_params)
    assert counts == (25_636_712, 25_583_592, 53_120)
    assert [row.name for row in found.rows] == [
        "image", "stem", "pad", "pool", "stages.0", "stages.1", "stages.2", "stages.3", "flat", "probs",
    ]  # fmt: skip
    assert rows(found)["stages.1"].output_shape == (None, 28, 28, 512)
    assert rows(found)["stages.1"].connected_to == ("stages.0",)
    text = str(found)
    assert " Total params: 25,636,712 (97.80 MB)" in text
    assert " Non-trainable params: 53,120 (207.50 KB)" in text


def test_unfolded_rows_have_paths_and_look_through_what_is_left_out() -> None:
    found = rows(summary(RESNET50))
    assert found["stages.0.first.reduce.pad"].connected_to == ("pool",)
    assert "stages.0.rest.0.shortcut" not in found
    assert found["stages.0.rest.0.sum"].connected_to == ("stages.0.first", "stages.0.rest.0.expand")
    text = summary(RESNET50).render(expand=True)
    assert "│       stages.3.rest.1.expand.conv (Conv2D) " in text
    assert "stages.3.rest.1" not in str(summary(RESNET50))


def test_blocks_cost_what_is_inside_them() -> None:
    found = rows(summary(RESNET50))
    for row in found.values():
        if row.rows:
            assert row.params == sum(inner.params for inner in row.rows)
            assert row.flops == sum(inner.flops for inner in row.rows)
    dense = found["probs"]
    assert isinstance(dense.flops, int)
    assert dense.flops >= 2 * 2048 * 1000


def test_shared_weights_count_at_the_first_call() -> None:
    found = summary(SIAMESE)
    table = rows(found)
    assert table["left_code"].params == 4 * 32 * (128 + 32 + 1) == table["left_code"].trainable_params
    assert table["right_code"].params == 0
    assert table["right_code"].output_shape == (None, 32)
    assert found.total_params == table["left_code"].params + 65
    line = next(line for line in str(found).splitlines() if "right_code (encoder: LSTM)" in line)
    assert "shared" in line


def test_json_is_the_contract() -> None:
    found = summary(SIAMESE).to_json()
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert set(found) == {"name", "layers", "total_params", "trainable_params", "non_trainable_params"}
    assert found["layers"][0] == {
        "name": "left",
        "type": "InputLayer",
        "output_shape": [None, None, 128],
        "params": 0,
        "trainable_params": 0,
        "connected_to": [],
    }
    assert found["layers"][4]["connected_to"] == ["left_code", "right_code"]


def test_shared_block_is_counted_once_inside_too() -> None:
    found = summary("""
inputs: {a: {shape: [4]}, b: {shape: [4]}}
blocks:
  two:
    inputs: [x]
    nodes: {one: {layer: Dense, units: 4}, other: {layer: Dense, units: 4}}
shared: {tower: {block: two, trainable: false}}
nodes:
  left:  {call: tower, from: a}
  right: {call: tower, from: b}
  both:  {merge: add, from: [left, right]}
outputs: [both]
""")
    assert (found.total_params, found.trainable_params) == (40, 0)
    assert [row.params for row in rows(found)["right"].rows] == [0, 0]
    assert " N " in next(line for line in found.render(trainable=True).splitlines() if "left (tower" in line)


def test_frozen_is_inherited() -> None:
    found = summary("""
inputs: {x: {shape: [8]}}
blocks:
  body:
    inputs: [x]
    nodes: {one: {layer: Dense, units: 8}, norm: {layer: BatchNormalization}}
nodes:
  base: {block: body, trainable: false}
  head: {layer: Dense, units: 2}
outputs: [head]
""")
    assert found.trainable_params == 18
    assert found.total_params == 18 + 72 + 32


def test_unknown_sizes_are_expressions_in_the_table_and_null_in_json() -> None:
    found = summary("""
inputs: {text: {shape: [length, 8]}, free: {shape: [null, 8]}}
nodes:
  conv: {layer: Conv1D, filters: 4, kernel_size: 5, from: text}
  pool: {layer: MaxPooling1D, pool_size: 5}
  code: {layer: LSTM, units: 4}
  free_code: {layer: LSTM, units: 4, from: free}
  both: {merge: add, from: [code, free_code]}
outputs: [both]
""")
    text = found.render(flops=True, memory=True)
    assert "(None, (length - 4) // 5, 4)" in text
    assert "(None, ?, 8)" in text
    layers = {layer["name"]: layer for layer in found.to_json(flops=True)["layers"]}
    assert layers["pool"]["output_shape"] == [None, None, 4]
    assert layers["pool"]["flops"] is None


def test_several_outputs_are_several_lines() -> None:
    found = summary("""
inputs: {x: {shape: [5, 8]}}
nodes:
  code: {layer: LSTM, units: 4, return_state: true}
  both: {merge: add, from: [code, code.state_c]}
outputs: [both]
""")
    assert rows(found)["both"].connected_to == ("code", "code.state_c")
    assert rows(found)["code"].output_shapes == ((None, 4),) * 3


def test_a_training_step() -> None:
    text = """
inputs: {x: {shape: [10]}}
nodes: {y: {layer: Dense, units: 5}}
outputs: {y: {loss: mse}}
train: {optimizer: {name: sgd, momentum: 0.9}}
"""
    found = summary(text)
    step = found.step(batch_size=4)
    assert step.forward_flops == 4 * found.rows[1].flops
    assert step.flops == 3 * step.forward_flops
    assert (step.weight_bytes, step.gradient_bytes, step.optimizer_bytes) == (220, 220, 220)
    assert step.activation_bytes == 4 * 4 * (10 + 5)
    assert step.total_bytes == 660 + 240
    assert found.to_json(batch_size=4)["training_step"]["total_bytes"] == 900
    assert "Training step on 4 examples" in found.render(batch_size=4)
    adam = summary(text.replace("{name: sgd, momentum: 0.9}", "{name: adam, amsgrad: true}"))
    assert adam.step().optimizer_bytes == 3 * 220


def test_every_optimizer_has_its_slots() -> None:
    from graphspec.train.config import OPTIMIZERS
    from graphspec.view.costs import slots

    for name in OPTIMIZERS.members:
        assert 0 <= slots(OPTIMIZERS.read(name)) <= 2
    assert slots(OPTIMIZERS.read({"name": "adam", "use_ema": True})) == 3


def test_seventy_billion_parameters_allocate_nothing() -> None:
    started = time.process_time()
    found = summary("""
inputs: {x: {shape: [8192]}}
blocks:
  feed_forward:
    inputs: [x]
    nodes: {up: {layer: Dense, units: 28672}, down: {layer: Dense, units: 8192}}
nodes:
  layers: {block: feed_forward, repeat: 150}
outputs: [layers]
""")
    assert found.total_params > 70_000_000_000
    assert time.process_time() - started < 5  # generous: it takes a few hundredths of a second


def test_bytes_as_keras_prints_them() -> None:
    assert [show_bytes(n) for n in (0, 1023, 13_864, 4 * 25_636_712)] == [
        "0 bytes", "1,023 bytes", "13.54 KB", "97.80 MB",
    ]  # fmt: skip


def test_colors_do_not_change_the_columns() -> None:
    import re

    plain, colored = summary(SIAMESE).render(), summary(SIAMESE).render(color=True)
    assert "\x1b[" in colored
    assert re.sub(r"\x1b\[\d+m", "", colored) == plain


@pytest.mark.parametrize("width", [60, 80, 100, 140])
def test_a_table_fits_the_terminal(width: int) -> None:
    """Names are cut, numbers and shapes never, though shapes are wrapped; what fits already is as it was."""
    found = graphspec.compile(SPECS / "resnet50.yaml").summary()
    cut, whole = found.render(expand=True, width=width).splitlines(), found.render(expand=True).splitlines()
    table = [line for line in cut if line.startswith(("│", "┃", "┏", "└", "┡"))]
    assert max(map(len, table)) <= width

    def numbers(lines: list[str]) -> list[list[str]]:
        found: list[list[str]] = []
        for line in lines:
            shape, params = (cell.strip() for cell in [*line.split("│"), "", "", ""][2:4])
            if params:
                found.append([shape, params])
            elif shape:
                found[-1][0] += f" {shape}"
        return found

    assert numbers(cut) == numbers(whole)
    assert found.render(width=1000) == found.render()
    assert all("conv" in line for line in cut if "(Conv2D)" in line)


def test_sizes_are_bound() -> None:
    found = graphspec.compile(SPECS / "gpt.yaml").summary()
    assert found.to_json(flops=True)["layers"][-1]["flops"] is None
    bound = found.at({"length": 16}).to_json(flops=True, memory=True, batch_size=2)
    assert all(isinstance(row["flops"], int) for row in bound["layers"])
    assert bound["training_step"]["flops"] == 3 * bound["training_step"]["forward_flops"] > 0
    assert bound["layers"][0]["output_shape"] == [None, 16]
    assert found.at({"length": 32}).step(1).forward_flops > 2 * found.at({"length": 16}).step(1).forward_flops  # type: ignore[operator]

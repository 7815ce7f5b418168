"""A cell of one's own over the steps of a sequence is a loop by hand."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import onnxruntime
import pytest
import torch

import graphspec
from graphspec.export import export
from tests import one_in

CELL = """
inputs:
  x: {shape: [steps, 5]}
params: {width: 8}
blocks:
  cell:
    params: {units: required}
    inputs: [x, h, c]
    nodes:
      both: {merge: concatenate, from: [x, h]}
      parts: {layer: Dense, units: $units, parallel: 4}
      cell: {compute: "sigmoid(parts.0) * tanh(parts.1) + sigmoid(parts.2) * c"}
      out: {compute: "sigmoid(parts.3) * tanh(cell)"}
    outputs: {y: out, h: out, c: cell}
nodes:
  zero: {op: zeros, shape: [$width], from: []}
  rnn: {layer: Scan, wraps: {block: cell, units: $width}, from: {x: x, h: zero, c: zero}}
outputs: {all: {from: rnn}, h: {from: rnn.h}, c: {from: rnn.c}}
"""


def test_a_cell_is_a_loop_by_hand() -> None:
    program = graphspec.compile(CELL)
    module: Any = program.module()
    x = torch.randn(3, 4, 5)
    h = c = torch.zeros(3, 8)
    rows = []
    for step in x.unbind(1):
        y, h, c = module.rnn(step, h, c)
        rows.append(y)
    outputs = module(x)
    for key, value in {"all": torch.stack(rows, 1), "h": h, "c": c}.items():
        torch.testing.assert_close(outputs[key], value)
    sum(value.sum() for value in outputs.values()).backward()
    assert all(weight.grad is not None for weight in module.parameters())
    assert module(torch.randn(2, 9, 5))["all"].shape == (2, 9, 8)
    torch.testing.assert_close(
        graphspec.compile(CELL, params={"width": 12}).module(seed=1)(x)["h"].shape, torch.Size([3, 12])
    )
    torch.testing.assert_close(torch.compile(module, backend="aot_eager")(x)["h"], outputs["h"])


def test_the_file_is_that_of_any_width() -> None:
    space: dict[str, Any] = {}
    exec(graphspec.compile(CELL).source, space)
    made, twin = space["Model"](width=12), graphspec.compile(CELL, params={"width": 12}).module()
    made.load_state_dict(twin.state_dict())
    x = torch.randn(2, 3, 5)
    torch.testing.assert_close(made(x)["c"], twin(x)["c"])


MASKED = (
    CELL.replace("{shape: [steps, 5]}", "{shape: [steps], dtype: int64}")
    .replace(
        "nodes:\n  zero",
        "nodes:\n  words: {layer: Embedding, input_dim: 9, output_dim: 5, mask_zero: true, from: x}\n  zero",
    )
    .replace("from: {x: x, h", "from: {x: words, h")
)


def test_masked_steps_change_no_state_and_repeat_the_output() -> None:
    module: Any = graphspec.compile(MASKED).module()
    ids = torch.tensor([[3, 4, 0, 5, 0], [0, 2, 0, 0, 0]])
    outputs = module(ids)
    alone = [module(torch.tensor([[3, 4, 5]])), module(torch.tensor([[2]]))]
    for row, own in enumerate(alone):
        for key in ("h", "c"):
            torch.testing.assert_close(outputs[key][row], own[key][0])
    torch.testing.assert_close(outputs["all"][0], alone[0]["all"][0][[0, 1, 1, 2, 2]])
    assert not outputs["all"][1, 0].any()
    torch.testing.assert_close(outputs["all"][1, 4], alone[1]["all"][0, 0])


POINTER = """
inputs: {x: {shape: [steps, 6]}, memory: {shape: [length, 6]}, start: {shape: [6]}}
blocks:
  reader:
    inputs: [h, memory, x]
    nodes:
      new: {compute: "tanh(x + h)"}
      score: {compute: "softmax(sum(memory * new[:, None], axis=-1))"}
      read: {compute: "sum(memory * score[:, :, None], axis=1)"}
      next: {layer: GRUCell, from: {inputs: read, states: [new]}, units: 6}
    outputs: {score: score, h: next}
shared:
  read: {block: reader}
nodes:
  scan: {layer: Scan, wraps: {call: read}, over: [x], from: {x: x, memory: memory, h: start}}
  once: {call: read, from: {x: start, memory: memory, h: scan.h}}
outputs: {scores: {from: scan}, once: {from: once.h}}
"""


def test_a_cell_reads_what_is_the_same_at_all_steps() -> None:
    """Its module is shared with a call; its inputs are in another order than a loop gives them."""
    module: Any = graphspec.compile(POINTER).module()
    x, memory, h = torch.randn(2, 3, 6), torch.randn(2, 5, 6), torch.randn(2, 6)
    outputs = module(x, memory, h)
    first = h
    for t, step in enumerate(x.unbind(1)):
        score, h = module.read(h, memory, step)
        torch.testing.assert_close(outputs["scores"][:, t], score)
    torch.testing.assert_close(outputs["once"], module.read(h, memory, first)[1])


READING = POINTER.replace(
    "{layer: GRUCell, from: {inputs: read, states: [new]}, units: 6}", "{layer: Dense, units: 6}"
)

IMAGES = """
inputs: {x: {shape: [steps, 8, 8, 3]}, h: {shape: [8, 8, 4]}}
blocks:
  cell:
    inputs: [x, h]
    nodes:
      a: {layer: Conv2D, filters: 4, kernel_size: 3, padding: same, from: x}
      b: {layer: Conv2D, filters: 4, kernel_size: 3, padding: same, from: h}
      sum: {merge: add, from: [a, b]}
      new: {layer: Activation, activation: tanh}
    outputs: {h: new}
nodes:
  scan: {layer: Scan, wraps: {block: cell}, from: {x: x, h: h}}
outputs: [scan]
"""


def test_a_cell_of_images_takes_what_it_gives() -> None:
    module: Any = graphspec.compile(IMAGES).module()
    x, h = torch.randn(2, 3, 8, 8, 3), torch.randn(2, 8, 8, 4)
    wanted = h
    for step in x.unbind(1):
        both = [
            conv(v.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
            for conv, v in ((module.scan.a, step), (module.scan.b, wanted))
        ]
        wanted = (both[0] + both[1]).tanh()
    torch.testing.assert_close(module(x, h), wanted)


def test_a_layer_is_a_cell_without_states() -> None:
    node = "{layer: Scan, wraps: {layer: Dense, units: 2, activation: relu}}"
    module: Any = graphspec.compile(
        f"inputs: {{x: {{shape: [t, 5]}}}}\nnodes: {{s: {node}}}\noutputs: [s]\n"
    ).module()
    x = torch.randn(2, 3, 5)
    torch.testing.assert_close(module(x), module.s(x).relu())


WRONG = {
    "unknown-key": ("from: {x: x, h: zero", "over: [z], from: {x: x, h: zero"),
    "repeat-shapes": (
        "h: zero, c: zero}}",
        "h: other, c: zero}}\n  other: {op: zeros, shape: [3], from: []}",
    ),
    "not-supported": ("{y: out, h: out, c: cell}", "{h: out, y: out, c: cell}"),
    "wrong-rank": ("{shape: [steps, 5]}", "{shape: []}"),
    "input-count": (", h: zero, c: zero}", ", h: zero}"),
}


@pytest.mark.parametrize("code", WRONG)
def test_what_is_no_cell_is_told(code: str) -> None:
    old, new = WRONG[code]
    with pytest.raises(graphspec.SpecError) as caught:
        graphspec.compile(CELL.replace(old, new))
    assert [each.code for each in caught.value.diagnostics][:1] == [code], caught.value
    assert caught.value.diagnostics[0].help, caught.value


def test_the_layer_of_cells_that_keras_has_names_it() -> None:
    other = CELL.replace(
        "layer: Scan, wraps: {block: cell, units: $width}", "layer: RNN, cell: {block: cell}"
    )
    with pytest.raises(graphspec.SpecError, match=r"write {layer: Scan, wraps: {block: cell}}"):
        graphspec.compile(other)


@pytest.mark.parametrize("text", one_in(3, [READING, MASKED, CELL]), ids=["reading", "masked", "cell"])
def test_it_is_exported_at_any_length(text: str, tmp_path: Path) -> None:
    program = graphspec.compile(text)
    export(program, "onnx", tmp_path / "m.onnx")
    inputs = program.example_inputs(3, {"steps": 7})
    with torch.no_grad():
        wanted = program.module().eval()(*inputs.values())
    session = onnxruntime.InferenceSession(tmp_path / "m.onnx")
    given = session.run(list(wanted), {name: value.numpy() for name, value in inputs.items()})
    for value, other in zip(wanted.values(), given, strict=True):
        torch.testing.assert_close(torch.from_numpy(other), value, atol=1e-5, rtol=1e-4)


def test_a_step_goes_on_from_its_states() -> None:
    text = CELL.replace("outputs: {all: {from: rnn}, h: {from: rnn.h}, c: {from: rnn.c}}", "outputs: [rnn]")
    program = graphspec.compile(text)
    module: Any = program.module()
    x = torch.randn(3, 7, 5)
    step: Any = program.step().module()
    step.load_state_dict(module.state_dict())
    step.begin(3, 7)
    places = torch.zeros(3, dtype=torch.int64)
    parts = []
    for part in x.split((1, 3, 1, 2), 1):
        parts.append(step(part, places).detach())
        places = places + part.shape[1]
    torch.testing.assert_close(torch.cat(parts, 1), module(x))


def test_a_summary_counts_the_weights_once_and_the_steps_as_often_as_they_are() -> None:
    text = re.sub(r"\[steps, 5\]", "[4, 5]", CELL)
    one, four = (graphspec.compile(re.sub("4, 5", each, text)).summary() for each in ("1, 5", "4, 5"))
    assert four.total_params == one.total_params == 4 * (13 * 8 + 8)
    costs: list[Any] = [next(row.flops for row in each.rows if row.name == "rnn") for each in (one, four)]
    assert costs[1] == 4 * costs[0] > 0

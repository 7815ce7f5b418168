"""What is legal and most likely not meant is said, refuses nothing, and can be silenced."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from graphspec.cli.app import app
from graphspec.cli.outputs import marked
from graphspec.cli.written import written
from graphspec.compiler import check, compile
from graphspec.diagnostics import Diagnostics
from graphspec.diagnostics.diagnostic import OF_ROWS
from graphspec.export import Exported
from graphspec.export.tracing import Range
from graphspec.files.stamps import is_edited, stamped
from graphspec.runs.run import Run
from tests import bundled


def run(*command: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, list(command))
    return result.exit_code, result.output


def found(text: str) -> list[tuple[str, int]]:
    """The code and line of each warning; the spec compiles."""
    diagnostics = Diagnostics()
    assert check(text, diagnostics, {}) is not None
    assert not diagnostics.errors
    return [(each.code, each.span.line if each.span else 0) for each in diagnostics.sorted()]


ODD = {
    "softmax-of-one": (
        "inputs: {x: {shape: [8]}}\nnodes:\n  y: {layer: Dense, units: UNITS, activation: softmax}\n"
        "outputs: [y]\n",
        ("UNITS", "1", "2"),
        3,
    ),
    "softmax-twice": (
        "inputs: {x: {shape: [8]}}\nnodes:\n  y: {layer: Dense, units: 4, activation: ACT}\n"
        "  p: {layer: Softmax}\noutputs: [p]\n",
        ("ACT", "softmax", "relu"),
        4,
    ),
    "accuracy-misfit": (
        "inputs: {x: {shape: [8]}}\nnodes: {y: {layer: Dense, units: 4}}\noutputs:\n"
        "  y: {loss: mse, metrics: [METRIC]}\n",
        ("METRIC", "accuracy", "mae"),
        4,
    ),
    "dropout-last": (
        "inputs: {x: {shape: [8]}}\nnodes:\n  y: {layer: Dense, units: 4}\n  d: {layer: LAYER}\n"
        "outputs:\n  d: {loss: mse}\n",
        ("LAYER", "Dropout, rate: 0.5", "LayerNormalization"),
        6,
    ),
    "flatten-missing": (
        "inputs: {x: {shape: [8, 8, 3]}}\nnodes:\n  c: {layer: Conv2D, filters: 2, kernel_size: 3}\n"
        "  y: {layer: LAYER, activation: softmax}\noutputs:\n  y: {loss: sparse_categorical_crossentropy}\n",
        ("LAYER", "Dense, units: 4", "Conv2D, filters: 4, kernel_size: 1"),
        6,
    ),
    "channels-first": (
        "inputs:\n  x: {shape: SHAPE}\nblocks:\n  b: {inputs: [x], nodes: {c: {layer: Conv2D, filters: 2, "
        "kernel_size: 3, padding: same}}}\nnodes:\n  a: {layer: Rescaling, scale: 0.1}\n  y: {block: b}\n"
        "outputs: [y]\n",
        ("SHAPE", "[3, 32, 32]", "[32, 32, 3]"),
        2,
    ),
    "momentum-low": (
        "inputs: {x: {shape: [8]}}\nnodes:\n  y: {layer: Dense, units: 4}\n"
        "  n: {layer: BatchNormalization, momentum: MOMENTUM}\noutputs: [n]\n",
        ("MOMENTUM", "0.1", "0.9"),
        4,
    ),
    "target-is-input": (
        "inputs: {a: {shape: [SIZE]}, b: {shape: [2]}}\n"
        "nodes:\n"
        "  c: {merge: concatenate, from: [a, b]}\n"
        "  y: {layer: Dense, units: 1}\n"
        "outputs:\n"
        "  y: {loss: mse, target: a}\n",
        ("SIZE", "1", "3"),
        6,
    ),
    "same-data": (
        "inputs: {x: {shape: [8]}}\n"
        "nodes: {y: {layer: Dense, units: 1}}\n"
        "outputs: {y: {loss: mse}}\n"
        "data:\n"
        "  train: a.csv\n"
        "  test: TEST\n",
        ("TEST", "a.csv", "b.csv"),
        6,
    ),
    "raw-pixels": (
        "inputs:\n  x: {shape: [8, 8, 3]}\nnodes:\n  r: {layer: LAYER}\n"
        "  y: {layer: Conv2D, filters: 2, kernel_size: 3}\noutputs: [y]\n"
        "data: {features: {x: {encode: image}}}\n",
        ("LAYER", "MaxPooling2D", "Rescaling, scale: 0.01"),
        2,
    ),
    "hidden-softmax": (
        "inputs: {x: {shape: [8]}}\n"
        "nodes:\n"
        "  h: {layer: Dense, units: 4, activation: ACT}\n"
        "  y: {layer: Dense, units: 4}\n"
        "outputs: [y]\n",
        ("ACT", "softmax", "tanh"),
        4,
    ),
    "mask-unread": (
        "inputs: {x: {shape: [t], dtype: int64}}\n"
        "nodes:\n"
        "  e: {layer: Embedding, input_dim: 9, output_dim: 4, mask_zero: true}\n"
        "  y: {layer: LAYER}\n"
        "  m: {layer: GlobalMaxPooling1D}\n"
        "outputs: [m]\n",
        ("LAYER", "Conv1D, filters: 4, kernel_size: 1", "GRU, units: 4, return_sequences: true"),
        3,
    ),
    "linear-stack": (
        "inputs: {x: {shape: [8]}}\n"
        "nodes:\n"
        "  h: {layer: Dense, units: UNITS}\n"
        "  d: {layer: Dropout, rate: 0.1}\n"
        "  y: {layer: Dense, units: 4}\n"
        "outputs: [y]\n",
        ("UNITS", "4", "3"),
        5,
    ),
    "softmax-misfit": (
        "inputs: {x: {shape: [8]}}\n"
        "nodes: {y: {layer: Dense, units: 4, activation: ACT}}\n"
        "outputs:\n"
        "  y: {loss: mse}\n",
        ("ACT", "softmax", "relu"),
        4,
    ),
    "never-acts": (
        "inputs: {x: {shape: [8]}}\n"
        "nodes: {y: {layer: Dense, units: 1}}\n"
        "outputs: {y: {loss: mse}}\n"
        "train:\n"
        "  epochs: 9\n"
        "  callbacks:\n"
        "    early_stopping: {monitor: loss, patience: WAIT}\n",
        ("WAIT", "9", "9, restore_best_weights: true"),
        7,
    ),
    "mode-misfit": (
        "inputs: {x: {shape: [8]}}\n"
        "nodes: {y: {layer: Dense, units: 1}}\n"
        "outputs: {y: {loss: mse}}\n"
        "train:\n"
        "  epochs: 9\n"
        "  callbacks:\n"
        "    early_stopping: {monitor: loss, patience: 3, mode: MODE}\n",
        ("MODE", "max", "min"),
        7,
    ),
    "weight-zero": (
        "inputs: {x: {shape: [8]}}\n"
        "nodes: {y: {layer: Dense, units: 1}}\n"
        "outputs:\n"
        "  y: {loss: mse, loss_weight: W}\n",
        ("W", "0", "0.1"),
        4,
    ),
    "loss-unused": (
        "inputs: {x: {shape: [8]}}\n"
        "nodes:\n"
        "  a: {layer: Dense, units: 1}\n"
        "  b: {layer: Dense, from: x, units: 1}\n"
        "outputs:\n"
        "  a: {loss: mse}\n"
        "  b: {loss: mse}\n"
        "train:\n"
        "  steps: [{outputs: [NAMED]}]\n",
        ("NAMED", "a", "a, b"),
        7,
    ),
    "rate-high": (
        "inputs: {x: {shape: [8]}}\n"
        "nodes: {y: {layer: Dense, units: 1}}\n"
        "outputs: {y: {loss: mse}}\n"
        "train:\n"
        "  optimizer: {name: sgd, learning_rate: RATE}\n",
        ("RATE", "1.5", "1.0"),
        5,
    ),
}


@bundled(16, "code", ODD)
def test_what_is_odd_is_said_and_what_is_not_odd_is_not(code: str) -> None:
    text, (word, odd, fine), line = ODD[code]
    assert found(text.replace(word, odd)) == [(code, line)]
    assert found(text.replace(word, fine)) == []


@bundled(16, "code", ODD)
def test_a_comment_on_the_line_silences_its_code_alone(code: str) -> None:
    text, (word, odd, _), line = ODD[code]
    lines = text.replace(word, odd).split("\n")
    before = lines[line - 1]
    for comment, silent in (
        (f"  # ok: {code}", True),
        (f"  # as in the paper  # ok: other-code, {code}", True),
        ("  # ok: other-code", False),
        (f"  # {code}", False),
    ):
        lines[line - 1] = before + comment
        assert found("\n".join(lines)) == ([] if silent else [(code, line)])
    lines[line - 1] = before
    elsewhere = found(f"# ok: {code}\n" + "\n".join(lines))
    unused = [("unused-ok", 1)] if code not in OF_ROWS else []  # which are told where rows are read
    assert elsewhere == [*unused, (code, line + 1)], "another line silences nothing"


CONVOLVED = (
    "{inputs: [x], nodes: {d: {layer: Dense, units: 4}, near: {layer: Conv1D, filters: 4, kernel_size: 1}}}"
)
LAST = "{inputs: [x, kept], nodes: {g: {layer: GRU, units: 4, from: {sequences: x, mask: kept}}}}"
EMBEDDED = f"""
inputs: {{words: {{shape: [20], dtype: int64}}}}
blocks:
  convolved: {CONVOLVED}
  last: {LAST}
nodes:
  kept: {{op: not_equal, from: words, x2: 0}}
  pairs: {{op: expand_dims, axis: 1}}
  places: {{parameter: [20, 4]}}
  c: {{block: convolved, from: places}}
  l: {{block: last, from: {{x: c, kept: kept}}}}
  e: {{layer: Embedding, from: words, input_dim: 9, output_dim: 4, mask_zero: true}}
  read: NODE
  y: READER
outputs: [y, pairs, l]
"""


@pytest.mark.parametrize(
    ("node", "dropping"),
    [
        ("merge: add, from: [e, places]", "read"),
        ("block: convolved, from: e", "near"),
        ("compute: relu(e * 2 + 1)", "read"),
    ],
)
@pytest.mark.parametrize(
    "reader",
    [
        "layer: GlobalAveragePooling1D, from: {x: read, mask: kept}",
        "layer: MultiHeadAttention, num_heads: 2, key_dim: 2, "
        "from: {query: read, value: read, attention_mask: pairs}",
        "block: last, from: {x: read, kept: kept}",
    ],
)
def test_the_node_that_drops_a_mask_is_named_unless_a_reader_has_one_by_name(
    node: str, dropping: str, reader: str
) -> None:
    text = EMBEDDED.replace("NODE", f"{{{node}}}")
    assert found(text.replace("READER", f"{{{reader}}}")) == []
    diagnostics = Diagnostics()
    plain = reader.partition(", mask")[0].partition(", attention")[0] + "}"
    plain = plain if "layer" in plain else "layer: GRU, units: 4, from: read"
    assert check(text.replace("READER", f"{{{plain}}}"), diagnostics, {}) is not None
    (warning,) = diagnostics
    assert warning.code == "mask-unread" and f"`{dropping}` drops it" in warning.message
    assert warning.help == (
        f"read it before `{dropping}`, give a later layer a mask by name: "
        "{op: not_equal, from: words, x2: 0}; or leave `mask_zero` out"
    )


def test_no_mask_of_a_whole_model_is_unread() -> None:
    assert found((Path(__file__).parents[1] / "emit/t5.yaml").read_text()) == []


def test_a_wrapped_embedding_makes_no_mask() -> None:
    wraps = "{layer: Embedding, input_dim: 9, output_dim: 4, mask_zero: true}"
    text = f"""
inputs: {{words: {{shape: [5, 6], dtype: int64}}}}
nodes: {{e: {{layer: TimeDistributed, wraps: {wraps}}}, y: {{layer: Flatten}}}}
outputs: [y]
"""
    assert found(text) == [("mask-unread", 3)]


def test_phases_and_steps_are_looked_at_too() -> None:
    text = """
inputs: {x: {shape: [8]}}
nodes: {y: {layer: Dense, units: 1}}
outputs: {y: {loss: mse}}
train:
  phases:
    - {epochs: 1, optimizer: {name: sgd, learning_rate: 2.0}}
    - epochs: 1
      steps:
        - optimizer: {name: sgd, learning_rate: 3.0}
        - schedule: {name: cosine_decay, warmup_steps: 1, warmup_target: 4.0}
"""
    assert found(text) == [("rate-high", 7), ("rate-high", 10), ("rate-high", 11)]


def test_a_comment_that_silences_nothing_is_told() -> None:
    text, (word, odd, fine), _ = ODD["momentum-low"]
    line = "  n: {layer: BatchNormalization, momentum: MOMENTUM}"
    for comment, expected in (
        ("momentum-low", [("unused-ok", 4)]),
        ("momentum-low, unused-ok", []),
        ("it is meant", []),
        ("no-such-code", []),
    ):
        assert found(text.replace(line, f"{line}  # ok: {comment}").replace(word, fine)) == expected
    both = text.replace(line, f"{line}  # ok: momentum-low, dropout-last").replace(word, odd)
    assert found(both) == [("unused-ok", 4)]
    broken = text.replace(line, f"{line}  # ok: momentum-low").replace("units: 4", "units: none")
    diagnostics, broken = Diagnostics(), broken.replace(word, fine)
    assert check(broken, diagnostics, {}) is None
    assert [each.code for each in diagnostics] == ["wrong-type"], "not all warnings were looked for"


def test_check_shows_warnings_and_is_content(tmp_path: Path) -> None:
    text, (word, odd, _), _ = ODD["momentum-low"]
    spec = tmp_path / "odd.yaml"
    spec.write_text(text.replace(word, odd))
    code, output = run("check", str(spec))
    assert code == 0 and "warning[momentum-low]" in output and "odd.yaml: ok" in output
    code, output = run("check", str(spec), "--json")
    (file,) = json.loads(output)["files"]
    (diagnostic,) = file["diagnostics"]
    assert code == 0 and file["ok"] and diagnostic["severity"] == "warning" and diagnostic["line"] == 4


def test_a_block_that_is_used_often_is_odd_once() -> None:
    text = """
inputs: {x: {shape: [8]}}
blocks:
  b: {inputs: [x], nodes: {d: {layer: Dense, units: 8}, n: {layer: BatchNormalization, momentum: 0.1}}}
nodes:
  y: {block: b, repeat: 600}
outputs: [y]
"""
    assert found(text) == [("momentum-low", 4)]


def test_warnings_of_many_nodes_end_somewhere() -> None:
    nodes = "".join(f"  n{i}: {{layer: BatchNormalization, momentum: 0.1}}\n" for i in range(600))
    assert len(found(f"inputs: {{x: {{shape: [8]}}}}\nnodes:\n{nodes}outputs: [n599]\n")) == 100


# --- files that would be overwritten

DENSE = "inputs: {x: {shape: [8]}}\nnodes: {y: {layer: Dense, units: 4}}\noutputs: {y: {loss: mse}}\n"


@pytest.fixture
def spec(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "dense.yaml").write_text(DENSE)
    return "dense.yaml"


def test_build_does_not_overwrite_edits(spec: str) -> None:
    path = Path("model.py")
    assert run("build", spec, "-o", "model.py")[0] == 0
    first = path.read_text()
    assert run("build", spec, "-o", "model.py", "--set", "nodes.y.units=5")[0] == 0, (
        "its own file is replaced"
    )
    assert path.read_text() != first
    edited = path.read_text().replace("self.y(x)", "2 * self.y(x)")
    path.write_text(edited)
    code, output = run("build", spec, "-o", "model.py")
    assert code == 2 and "edited" in output and path.read_text() == edited
    assert run("build", spec, "-o", "model.py", "--force")[0] == 0
    assert path.read_text() == first


def test_a_checksum_sees_edits_and_no_line_ends() -> None:
    source = compile(DENSE).source
    written = stamped(source)
    assert written.count("# A checksum, so that graphspec overwrites no edits: ") == 1
    assert not is_edited(source) and not is_edited(written)
    assert not is_edited(written.replace("\n", "\r\n"))
    assert is_edited(written + "x = 1\n") and is_edited(written.replace("# Made", "# made"))
    exec(__import__("builtins").compile(written, "written", "exec"), {})


@pytest.mark.parametrize("suffix", [".svg", ".html", ".mmd"])
def test_plot_does_not_overwrite_what_is_no_picture_of_its_own(suffix: str, spec: str) -> None:
    path = Path(f"picture{suffix}")
    path.write_text("mine")
    assert run("plot", spec, "-o", str(path))[0] == 2 and path.read_text() == "mine"
    assert run("plot", spec, "-o", str(path), "--force")[0] == 0
    first = path.read_text()
    assert run("plot", spec, "-o", str(path), "--set", "nodes.y.units=5")[0] == 0
    assert path.read_text() != first


def test_a_marked_png_is_a_png() -> None:
    stream = io.BytesIO()
    Image.new("RGB", (3, 2), "red").save(stream, "png")
    data = marked(stream.getvalue(), "png")
    with Image.open(io.BytesIO(data)) as image:
        image.load()
        assert image.size == (3, 2) and image.info["Software"] == "Made by graphspec"
    assert b"Made by graphspec" in data[-200:]


# --- synthetic data


def test_a_model_that_learned_from_synthetic_data_says_so(spec: str) -> None:
    code, output = run("train", spec, "--run-dir", "run", "--set", "train.epochs=1")
    assert code == 0 and "it was trained on synthetic data" in output
    np.savez("data.npz", x=np.ones((4, 8), "float32"), y=np.ones((4, 4), "float32"))
    for command in (
        ["evaluate", "run", "--data", "data.npz"],
        ["predict", "run", "--data", "data.npz", "-o", "p.npz"],
    ):
        code, output = run(*command)
        assert code == 0 and "warning[synthetic-data]" in output
    assert json.loads(run("evaluate", "run", "--data", "data.npz", "--json")[1])["synthetic_data"] is True
    assert "synthetic data" in run("runs", ".")[1]
    code, output = run(
        "train", spec, "--run-dir", "real", "--set", "train.epochs=1", "--data", "data.npz", "--json"
    )
    assert json.loads(output[output.index("{") :])["synthetic_data"] is False
    assert "synthetic" not in run("evaluate", "real", "--data", "data.npz")[1]
    assert Run("run").files.synthetic and not Run("real").files.synthetic


def test_an_export_says_where_it_takes_less_than_the_spec() -> None:
    free = {"length": Range(64, None), "width": Range(2, None), "batch": Range(1, None)}
    exported = Exported(Path("m.pt2"), free, {}, (), ())
    lines = written(exported, [], {"length": 12, "width": 1})
    assert "the spec takes length from 12 on, the file only from 64 on" in lines
    assert not any("takes width" in line or "takes batch" in line for line in lines)


@pytest.mark.parametrize(
    ("epochs", "callback", "remedy"),
    [
        (9, "patience: 12", "patience: 3"),
        (3, "patience: 3", "patience: 1"),
        (10, "patience: 3, start_from_epoch: 8", "patience: 1"),
        (1, "patience: 3", None),
        (4, "patience: 3, start_from_epoch: 4", None),
    ],
)
def test_the_patience_that_is_advised_acts(epochs: int, callback: str, remedy: str | None) -> None:
    text = (
        "inputs: {x: {shape: [8]}}\nnodes: {y: {layer: Dense, units: 1}}\noutputs: {y: {loss: mse}}\n"
        f"train: {{epochs: {epochs}, callbacks: {{early_stopping: {{monitor: loss, {callback}}}}}}}\n"
    )
    diagnostics = Diagnostics()
    check(text, diagnostics, {})
    (warning,) = diagnostics.sorted()
    assert warning.code == "never-acts"
    if remedy is None:
        assert warning.help == "train for more epochs"
        return
    assert warning.help == f"wait for fewer epochs: `{remedy}`"
    assert found(text.replace(callback.split(",")[0], remedy)) == []


@pytest.mark.parametrize(
    ("inputs", "pairs", "warns"),
    [
        ("x: {shape: [length, 8]}", "x[:, :, None] * x[:, None]", False),
        ("x: {shape: [12, 8]}", "x[:, :, None] - x[:, None]", False),
        ("x: {shape: [length, length, 8]}", "2 * x", False),
        ("x: {shape: [height, width, 8]}", "2 * x", True),
        ("x: {shape: [12, 12, 8]}", "2 * x", False),
        ("x: {shape: [12, 12, 3]}", "2 * x", True),
        ("x: {shape: [12, 14, 8]}", "2 * x", True),
    ],
)
def test_a_map_of_pairs_has_a_class_for_each_pair(inputs: str, pairs: str, warns: bool) -> None:
    text = (
        f'inputs: {{{inputs}}}\nnodes:\n  pairs: {{compute: "{pairs}"}}\n  act: {{layer: ReLU}}\n'
        "  bins: {layer: Dense, units: 16, activation: softmax}\n"
        "outputs: {bins: {loss: sparse_categorical_crossentropy}}\n"
    )
    diagnostics = Diagnostics()
    check(text, diagnostics, {})
    assert [each.code for each in diagnostics.sorted() if each.code == "flatten-missing"] == [
        "flatten-missing"
    ] * warns


def test_a_layer_that_reads_no_mask_since_one_before_it_drops_it_is_named() -> None:
    text = """
inputs: {words: {shape: [length], dtype: int64}}
blocks:
  layer:
    inputs: [x]
    nodes:
      seen: {layer: MultiHeadAttention, from: {query: x, value: x}, num_heads: 1, key_dim: 4}
      wide: {layer: HIDDEN}
nodes:
  code: {layer: Embedding, input_dim: 9, output_dim: 4, mask_zero: true}
  layers: {block: layer, repeat: 2}
outputs: [layers]
"""
    diagnostics = Diagnostics()
    assert check(text.replace("HIDDEN", "Conv1D, filters: 4, kernel_size: 1"), diagnostics, {}) is not None
    (warning,) = diagnostics
    assert (warning.code, warning.span and warning.span.line) == ("mask-unread", 10)
    assert warning.message == "`seen` reads no mask of `code`: `wide` drops it"
    assert "give `seen` a mask by name: {op: not_equal, from: words, x2: 0}" in (warning.help or "")
    assert found(text.replace("HIDDEN", "Dense, units: 4")) == []

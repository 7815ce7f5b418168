"""Mistakes of people who know other formats, other libraries, or write YAML in a hurry: one error for each,
at the characters at fault, with what to write in their place.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from graphspec.cli.app import app
from tests import bundled
from tests.language.test_messages import HEAD, IDS, IMAGE, LAST, TAIL, found, marked, nodes, says

SEQUENCE = "inputs: {x: {shape: [length, 8]}}\n"
DENSE = "a: {layer: Dense, units: 3"

NODES = [
    # a value in the habit of another language
    ("a: {layer: Dense, units: 1_000}", "wrong-type", "1_000", "write 1000"),
    ("a: {layer: Dense, units: 0b11}", "wrong-type", "0b11", "write 3"),
    (
        "a: {layer: Dense, units: \u0663\u0662}",
        "wrong-type",
        "\u0663\u0662",
        "write 32: `\u0663\u0662` has signs that only look like these",
    ),
    ("a: {layer: Dense, units: [64]}", "wrong-type", "[64]", "write 64"),
    ("a: {layer: Dense, units: null}", "wrong-type", "null", "write a number"),
    ("a: {layer: Dense, units: {value: 3}}", "wrong-type", "{value: 3}", "write a number"),
    ("a: {layer: Dropout, rate: 50}", "out-of-range", "50", "write 0.5"),
    ("a: {layer: Dropout, rate: 50%}", "wrong-type", "50%", "write 0.5"),
    ("a: {layer: Dropout, rate: 0,5}", "null-key", "5", "write `rate: 0.5`"),
    (f"{DENSE}, activation: [relu]}}", "wrong-type", "[relu]", "write `relu`"),
    (f"{DENSE}, kernel_initializer: normal(0, 1)}}", "null-key", "normal(0, 1)", "{name: normal, ...}"),
    # arguments with another name, in another place, or of another thing
    ("a: {layer: Dropout, prob: 0.5}", "unknown-key", "prob", "did you mean `rate`?"),
    (f"{DENSE}, weight_decay: 0.1}}", "unknown-key", "weight_decay", "kernel_regularizer: {name: l2"),
    (f"{DENSE}, frozen: true}}", "unknown-key", "frozen", "`trainable: false`"),
    (f"{DENSE}, dropout: 0.1}}", "unknown-key", "dropout", "{layer: Dropout, rate: 0.5}"),
    (f"{DENSE}, to: y}}", "unknown-key", "to", "under `from`"),
    ("a: {layer: Dense, args: {units: 3}}", "unknown-key", "args", "{layer: Dense, units: 3}"),
    ("a: {layer: Dense, params: {units: 3}}", "unknown-key", "params", "{layer: Dense, units: 3}"),
    # a layer as a call, a list, a mapping
    ("a: {layer: Dense(units=3)}", "unknown-layer", "Dense(units=3)", "{layer: Dense, units: 3}"),
    ("a: {layer: Dense(32, activation=relu)}", "null-key", "activation=relu)", "{layer: Dense, ...}"),
    (
        "a: {layer: {name: Dense, units: 3}}",
        "wrong-type",
        "{name: Dense, units: 3}",
        "`layer: Dense, units: 32`",
    ),
    ("a: {layer: [Dense, ReLU]}", "wrong-type", "[Dense, ReLU]", "`layer: Dense, units: 32`"),
    ("a: {layers: [{layer: Dense, units: 3}]}", "unknown-key", "layers", "each layer is a node"),
    ("a: {Dense: 3}", "unknown-key", "Dense", "write {layer: Dense, units: 3}"),
    ("a: Dense(3)", "wrong-type", "Dense(3)", "write {layer: Dense, units: 3}"),
    ("a: layers.Dense 3", "wrong-type", "layers.Dense 3", "write {layer: Dense, ...}"),
    ("a: [Dense, 3]", "wrong-type", "[Dense, 3]", "write {layer: Dense, ...}"),
    ("a: {layer: Dense, op: relu}", "two-forms", "op", "a node for each"),
    ("a: {layer: Conv, filters: 3}", "unknown-layer", "Conv", "Conv2D for images, Conv1D for sequences"),
    ("a: {op: x + 1}", "unknown-op", "x + 1", "{compute: x + 1}"),
    ("a: {merge: plus, from: [x, x]}", "unknown-merge", "plus", "one of: add, "),
    # references
    (f"{DENSE}, from: inputs.x}}", "unknown-reference", "inputs.x", "write `x`"),
    (f"{DENSE}, from: $x}}", "unknown-name", "$x", "write `x`"),
    # YAML
    ("a: {layer: Flatten} {layer: Flatten}", "yaml-syntax", "{", "start it on a new line"),
    ("a: {layer: Flatten}, b: {layer: Flatten}", "yaml-syntax", ",", "delete the `,`, and start a new line"),
    ("a: {layer: Flatten},", "yaml-syntax", ",", "delete it"),
    ("a: {layer: Flatten};", "yaml-syntax", ";", "delete it"),
    ("a: {layer: Flatten} // flat", "yaml-syntax", "// flat", "write `# flat`"),
    ("a:{layer: Flatten}", "bad-name", "a:{layer", "a colon needs a space after it: write `a: {`"),
    ("a:{layer: Dense, units: 3}", "yaml-syntax", ":", "write `a: {`"),
    ("a: {layer: Dense, units:}", "yaml-syntax", "units", "write `units: value`"),
    ("a: {layer: Dense, from: [- x], units: 3}", "yaml-syntax", "-", "delete it"),
    ("- a: {layer: Flatten}", "yaml-syntax", "-", "names without dashes: `a: ...`"),
    ("a: {layer: Dense, units: {{ width }}}", "complex-key", "{ width }", "write `$width`"),
    ("a: {layer: Dense, units: {{ 2 * width }}}", "complex-key", "{ 2 * width }", "write `$(2 * width)`"),
    ("a: {layer: Dense, units: %width}", "yaml-syntax", "%", "a param is written `$name`"),
]


@bundled(16, ("node", "code", "at", "help"), NODES, ids=[each[0][:44] for each in NODES])
def test_a_node(node: str, code: str, at: str, help: str) -> None:
    says(nodes(f"  {node}\n"), code, at, help)


SHAPED = [
    (IMAGE, "{layer: Conv2D, filters: 8, kernel_size: 3, 3}", "null-key", "3", "`kernel_size: [3, 3]`"),
    (IMAGE, "{layer: Conv2D, filters: 8, kernel_size: 3, padding: SAME}", "out-of-range", "SAME", "`same`"),
    (
        IMAGE,
        "{layer: MaxPooling2D, kernel_size: 2}",
        "unknown-key",
        "kernel_size",
        "did you mean `pool_size`?",
    ),
    (IMAGE, "{layer: UpSampling2D, scale_factor: 2}", "unknown-key", "scale_factor", "did you mean `size`?"),
    (IMAGE, "{layer: UpSampling2D, mode: bilinear}", "unknown-key", "mode", "did you mean `interpolation`?"),
    (IDS, "{layer: Embedding, vocab_size: 9, output_dim: 2}", "unknown-key", "vocab_size", "`input_dim`"),
    (IDS, "{layer: Embedding, input_dim: 9, embed_dim: 2}", "unknown-key", "embed_dim", "`output_dim`"),
    (IDS, "{layer: Embedding, input_dim: 9, dim: 2}", "unknown-key", "dim", "`output_dim`"),
    (SEQUENCE, "{layer: LSTM, units: 3, dropout: 30}", "out-of-range", "30", "write 0.3"),
    (SEQUENCE, "{layer: Bidirectional, units: 3}", "missing-key", "a", "`wraps: {layer: ..., units: 3}`"),
    (SEQUENCE, "{layer: RNN}", "missing-key", "a", "`cell: {layer: LSTMCell, units: 32}`"),
]


@pytest.mark.parametrize(("head", "node", "code", "at", "help"), SHAPED, ids=[each[1] for each in SHAPED])
def test_a_node_of_images_or_sequences(head: str, node: str, code: str, at: str, help: str) -> None:
    says(nodes(f"  a: {node}\n  b: {{layer: Flatten}}\n", head), code, at, help)


@pytest.mark.parametrize(
    ("written", "code", "at", "help"),
    [
        ("28x28", "wrong-type", "28x28", "write [28, 28]"),
        ("{length: 64}", "wrong-type", "{length: 64}", "write [64]"),
        ("['64']", "wrong-type", "'64'", "write 64"),
        ("[64], batch_size: 8", "unknown-key", "batch_size", "shapes leave out the batch"),
        ("[64], name: pixels", "unknown-key", "name", "the key of an input is its name"),
        ("[64], encode: number", "unknown-key", "encode", "data: {features: {NAME: {encode: ...}}}"),
        ("[64], dtype: string", "out-of-range", "string", "data: {features: {x: {encode: category}}}"),
    ],
)
def test_an_input(written: str, code: str, at: str, help: str) -> None:
    says(nodes("", f"inputs: {{x: {{shape: {written}}}}}\n"), code, at, help)


@pytest.mark.parametrize(
    ("item", "code", "at", "help"),
    [
        ("{dim: 64}", "unknown-key", "dim", "did you mean `shape`?"),
        ("{}", "missing-key", "x", "write `shape: [64]`"),
        ("null", "wrong-type", "x", "write `x: {shape: [64]}`"),
    ],
)
def test_an_input_without_a_shape(item: str, code: str, at: str, help: str) -> None:
    says(nodes("", f"inputs: {{x: {item}}}\n"), code, at, help)


@pytest.mark.parametrize(
    ("outputs", "code", "at", "help"),
    [
        ("y, z", "wrong-type", "y, z", "write outputs: [y, z]"),
        ("[]", "unbound-output", "outputs", "outputs: [y]"),
        ("{y: {loss: nn.CrossEntropyLoss()}}", "unknown-loss", "nn.CrossEntropyLoss()", "crossentropy`?"),
        ("{y: {loss: [mse, mae]}}", "wrong-type", "[mse, mae]", "write one loss, without brackets"),
        ("{y: {loss: mse, class_weight: balance}}", "wrong-type", "balance", "did you mean `balanced`?"),
        (
            "{y: {loss: mse, from_logits: true}}",
            "unknown-key",
            "from_logits",
            "{name: mse, from_logits: true}",
        ),
        ("{y: {node: y}}", "unknown-key", "node", "did you mean `from`?"),
    ],
)
def test_outputs(outputs: str, code: str, at: str, help: str) -> None:
    says(f"{HEAD}nodes:\n{LAST}outputs: {outputs}\n", code, at, help)


SECTIONS = [
    ("train: {optimizer: {type: adam}}", "missing-key", "optimizer", "write {name: adam}"),
    ("train: {optimizer: [adam]}", "wrong-type", "[adam]", "write `adam`"),
    ("train: {optimizer: {name: adam, learning_rate: 0,001}}", "null-key", "001", "`learning_rate: 0.001`"),
    (
        "train: {optimizer: {name: adam, betas: [0.9, 0.99]}}",
        "unknown-key",
        "betas",
        "beta_1: 0.9, beta_2: 0.99",
    ),
    (
        "train: {optimizer: {name: adam, learning_rate: {name: one_cycle}}}",
        "wrong-type",
        "{name: one_cycle}",
        "`schedule: {name: one_cycle}` next to `optimizer`",
    ),
    ("train: {freeze: true}", "wrong-type", "true", "`freeze: [encoder.*]`"),
    ("train: {clip: 1.0}", "unknown-key", "clip", "global_clipnorm"),
    ("data: {train: [a.csv, b.csv]}", "wrong-type", "[a.csv, b.csv]", "`data/*.csv`"),
    ("data: {train: a.csv, validation: {test_size: 0.2}}", "unknown-key", "test_size", "`split`?"),
    (
        "data: {train: a.csv, features: {x: {encode: {name: number, scale: standard}}}}",
        "unknown-encoder",
        "{name: number, scale: standard}",
        "are written next to it: {encode: number, scale",
    ),
    ("data: {train: a.csv, features: {x: {encode: log}}}", "unknown-encoder", "log", "transform: log1p"),
    ("train: adam", "wrong-type", "adam", "write train: {optimizer: adam, epochs: 3}"),
    ("train: {precision: 16}", "out-of-range", "16", ""),
    ("train: {fp16: true}", "unknown-key", "fp16", "write `precision: bf16`"),
    ("train: {max_steps: 100}", "unknown-key", "max_steps", "`epochs` sets the length"),
    ("train: {clip_grad: 1}", "unknown-key", "clip_grad", "global_clipnorm: 1}"),
    ("train: {accumulate: 4}", "unknown-key", "accumulate", "gradient_accumulation_steps: 4}"),
    ("train: {random_state: 3}", "unknown-key", "random_state", "did you mean `seed`?"),
    ("train: {batch_size: auto}", "wrong-type", "auto", "graphspec train --batch-size auto"),
    ("train: {val_split: 0.2}", "unknown-key", "val_split", "data: {validation: {split: 0.2}}"),
    ("train: {output_dir: out}", "unknown-key", "output_dir", "--run-dir DIR"),
    ("train: {gpus: 1}", "unknown-key", "gpus", "--device cuda"),
    ("train: {compile: true}", "unknown-key", "compile", "--compile on"),
    ("train: {callbacks: {early_stopping: 3}}", "wrong-type", "3", "`early_stopping: {patience: 3}`"),
    ("data: [a.csv]", "wrong-type", "[a.csv]", "write data: a.csv"),
    ("data: {train: a.csv, validation: {split: 20}}", "out-of-range", "20", "write 0.2"),
    ("data: {train: a.csv, header: true}", "unknown-key", "header", "the first line of a table"),
    (
        "data: {train: a.csv, normalize: true}",
        "unknown-key",
        "normalize",
        "{encode: number, scale: standard}",
    ),
    ("data: {train: a.csv, labels: y}", "unknown-key", "labels", "outputs: {name: {target: y}}"),
    ("data: {train: a.csv, features: {x: {normalize: true}}}", "missing-key", "x", "scale: standard"),
    ("connections: [x -> y]", "unknown-key", "connections", "did you mean `edges`?"),
]


@bundled(16, ("section", "code", "at", "help"), SECTIONS, ids=[each[0] for each in SECTIONS])
def test_a_section(section: str, code: str, at: str, help: str) -> None:
    says(nodes("") + section + "\n", code, at, help)


EDGES = [
    ("{x: y}", "{x: y}", "write edges: [x -> y]"),
    ("[x --> y]", "x --> y", "write `x -> y`"),
    ("[x, y]", "x", "write `x -> y`"),
    ("[{from: x, to: y}]", "{from: x, to: y}", "write `x -> y`"),
    ("[{source: x, target: y}]", "{source: x, target: y}", "write `x -> y`"),
    ("[x \N{RIGHTWARDS ARROW} y]", "x \N{RIGHTWARDS ARROW} y", "write `x -> y`"),
    ("[[x -> y]]", "[x -> y]", "write `x -> y`"),
]


@pytest.mark.parametrize(("edges", "at", "help"), EDGES, ids=[each[0] for each in EDGES])
def test_edges(edges: str, at: str, help: str) -> None:
    says(nodes("") + f"edges: {edges}\n", "wrong-type", at, help)


def test_an_edge_the_wrong_way_round() -> None:
    says(nodes("") + "edges: [y -> x]\n", "unknown-reference", "y -> x", "turn it around: `x -> y`")


PARAMS = [
    # params that cannot be read are one error, however many values name them
    ("params: [width]\n", "$width", "wrong-type", "[width]", "write {width: 32}"),
    ("params: {width = 3}\n", "$width", "null-key", "width = 3", "write `width: 3`"),
    ("param: {width: 3}\n", "$width", "unknown-key", "param", "did you mean `params`?"),
    ("params: {width: 3}\n", "$ width", "lone-dollar", "$", "write `$width`"),
    ("params: {width: 3}\n", "$3 * width", "lone-dollar", "$", "write `$(3 * width)`"),
    ("params: {width: 3}\n", "$2 * $width + 1", "lone-dollar", "$", "write `$(2 * width + 1)`"),
    ("params: {width: 3}\n", "$(2width)", "expression-syntax", "2width", "write `2 * width`"),
    (
        "params: {width: 3}\n",
        "$(8 if width > 3)",
        "expression-syntax",
        "8 if width > 3",
        "write `8 if width > 3 else ...`",
    ),
]


@pytest.mark.parametrize(("params", "units", "code", "at", "help"), PARAMS, ids=[p[0] + p[1] for p in PARAMS])
def test_params(params: str, units: str, code: str, at: str, help: str) -> None:
    says(nodes(f"  a: {{layer: Dense, units: {units}}}\n", params + HEAD), code, at, help)


BLOCK = "blocks: {b: {params: {n: 3}, inputs: [x], nodes: {a: {layer: Dense, units: $n}}}}\n"
BLOCKS = [
    (
        "blocks: {b: {layer: Dense, units: 3}}\n",
        "{block: b}",
        "wrong-type",
        "b",
        "nodes: {hidden: {layer: Dense,",
    ),
    (
        "blocks: {b: {inputs: [x], nodes: [{layer: Dense, units: 3}]}}\n",
        "{block: b}",
        "wrong-type",
        "[{layer: Dense, units: 3}]",
        "`dense: {layer: Dense, units: 3}`",
    ),
    (BLOCK.replace("blocks", "block"), "{block: b}", "unknown-key", "block", "did you mean `blocks`?"),
    (BLOCK, "{block: b, params: {n: 4}}", "unknown-key", "params", "{block: b, n: 4}"),
    (BLOCK, "{block: b, from: [x, x]}", "input-count", "[x, x]", "merge them first"),
    (BLOCK, "{call: b}", "unknown-reference", "b", "write {block: b}"),
    (
        BLOCK.replace("$n", '"$(x.channels)"'),
        "{block: b}",
        "expression-attribute",
        "x.channels",
        "`channels(x)`",
    ),
    (BLOCK, "{use: b}", "unknown-key", "use", "did you mean `block`?"),
]


@pytest.mark.parametrize(("blocks", "node", "code", "at", "help"), BLOCKS, ids=[b[0] + b[1] for b in BLOCKS])
def test_blocks(blocks: str, node: str, code: str, at: str, help: str) -> None:
    diagnostics, sources = found(nodes(f"  c: {node}\n", HEAD + blocks))
    told = [each for each in diagnostics if each.code != "unused-block"]
    (diagnostic,) = told
    assert (diagnostic.code, marked(diagnostic, sources)) == (code, at)
    assert help in (diagnostic.help or "")


def test_a_list_in_brackets_has_no_dashes() -> None:
    text = f"{HEAD}nodes: [- a: {{layer: Dense, units: 3}}]\n{TAIL}"
    says(text, "yaml-syntax", "-", "names without dashes: `a: ...`")


FILES = [
    ("import torch\nclass Net(nn.Module):\n  pass\n", "yaml-syntax", "import torch", "`graphspec new`"),
    (f"inputs = {{x: {{shape: [64]}}}}\nnodes:\n{LAST}{TAIL}", "yaml-syntax", "=", "write `inputs: {`"),
    (
        f"{HEAD}nodes: {{layer: Dense, units: 3}}\n{TAIL}",
        "wrong-type",
        "nodes",
        "{name: {layer: Dense, units: 3}}",
    ),
    (f"inputs: {{shape: [64]}}\nnodes:\n{LAST}{TAIL}", "wrong-type", "inputs", "write {x: {shape: [64]}}"),
    (f"{HEAD}nodes:\n{LAST}outputs: {{loss: mse}}\n", "wrong-type", "mse", "outputs: {name: {loss: mse}}"),
    (
        f"{HEAD}nodes:\n  Dense: {{units: 3}}\noutputs: [Dense]\n",
        "no-form",
        "Dense",
        "`dense: {layer: Dense,",
    ),
    (
        f"net: {{{HEAD.strip()}, nodes: {{y: {{op: relu}}}}, outputs: [y]}}\n",
        "unknown-key",
        "net",
        "top-level keys",
    ),
]


@pytest.mark.parametrize(("text", "code", "at", "help"), FILES, ids=[each[3] for each in FILES])
def test_a_file(text: str, code: str, at: str, help: str) -> None:
    says(text, code, at, help)


SHAPES = [
    ("[28, 28]", "{layer: Conv2D, filters: 3, kernel_size: 3}", "wrong-rank", "a", "shape: [28, 28, 1]"),
    ("[3, 32, 32]", "{layer: Conv2D, filters: 3, kernel_size: 5}", "window-too-large", "5", "channels_first"),
]


@pytest.mark.parametrize(("shape", "node", "code", "at", "help"), SHAPES, ids=[each[0] for each in SHAPES])
def test_images_without_channels_and_with_these_first(
    shape: str, node: str, code: str, at: str, help: str
) -> None:
    head = f"inputs: {{x: {{shape: {shape}}}}}\n"
    says(nodes(f"  a: {node}\n  b: {{layer: Flatten}}\n", head), code, at, help)


def test_recurrent_layers_in_a_row() -> None:
    layers = "  a: {layer: GRU, units: 3}\n  b: {layer: LSTM, units: 3}\n"
    says(
        nodes(layers, SEQUENCE), "wrong-rank", "b", "`a` gives its last step: write `return_sequences: true`"
    )


def test_a_section_that_is_missing_is_shown() -> None:
    says(f"nodes:\n{LAST}{TAIL}", "missing-key", "nodes", "write `inputs: {x: {shape: [64]}}`")


@pytest.mark.parametrize(
    ("key", "value", "code", "at", "help"),
    [
        ("epochs", "3", "unknown-param", "epochs", "`--set train.epochs=...`"),
        ("data", "a.csv", "unknown-param", "data", "`--data FILE`"),
        ("blocks.b.n", "3", "unknown-key", "blocks.b.n", "the spec has no `blocks`"),
        ("inputs.x.shape", "32", "wrong-type", "32", "write [32]"),
    ],
)
def test_the_command_line(key: str, value: str, code: str, at: str, help: str) -> None:
    says(nodes(""), code, at, help, {key: value})


def test_a_colon_on_the_command_line(tmp_path: Path) -> None:
    (tmp_path / "spec.yaml").write_text(nodes(""))
    result = CliRunner().invoke(app, ["check", str(tmp_path / "spec.yaml"), "--set", "train.epochs: 3"])
    assert result.exit_code == 2 and "write train.epochs=3" in result.stderr


def test_a_search_without_one() -> None:
    text = nodes("") + "tune: {trials: 3}\n"
    says(text, "missing-key", "{trials: 3}", "write `search: {width: {int: [16, 256]}}`")


def test_labels_that_are_texts(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text("x,y\n1,cat\n2,dog\n")
    text = f"inputs: {{x: {{shape: [1]}}}}\nnodes:\n{LAST}{TAIL}data: rows.csv\n"
    (tmp_path / "spec.yaml").write_text(text)
    result = CliRunner().invoke(app, ["train", str(tmp_path / "spec.yaml")])
    assert result.exit_code == 1 and '"cat" is not a number' in result.stderr
    assert "help: write `y: {encode: category}` under `features`" in result.stderr


def test_a_checkpoint_of_pytorch_as_weights(tmp_path: Path) -> None:
    (tmp_path / "spec.yaml").write_text(nodes(""))
    torch.save({"y.weight": torch.ones(10, 64)}, tmp_path / "x.pt")
    command = [
        "build",
        str(tmp_path / "spec.yaml"),
        "--weights",
        str(tmp_path / "x.pt"),
        "-o",
        str(tmp_path / "m.pt2"),
    ]
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 1 and "is a checkpoint of PyTorch, not .safetensors" in result.stderr
    assert "help: `graphspec weights SPEC --from" in result.stderr


def test_a_data_file_that_is_not_there_names_those_that_are(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text("x,y\n1,0\n")
    (tmp_path / "spec.yaml").write_text(nodes("") + "data: missing.csv\n")
    result = CliRunner().invoke(app, ["check", str(tmp_path / "spec.yaml")])
    assert result.exit_code == 1 and "help: files there: rows.csv" in result.stdout

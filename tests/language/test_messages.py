"""What newcomers write, and people who come from Keras and PyTorch: one error each, at the characters that
are at fault, with what to write in their place.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet
from typer.testing import CliRunner

import graphspec
from graphspec.cli.app import app
from graphspec.compiler import check
from graphspec.diagnostics import Diagnostic, Diagnostics, SpecError, render, split_lines
from graphspec.source.overrides import from_command_line
from tests import bundled

HEAD = "inputs: {x: {shape: [64]}}\n"
IMAGE = "inputs: {x: {shape: [28, 28, 1]}}\n"
IDS = "inputs: {x: {shape: [length], dtype: int64}}\n"
LAST = "  y: {layer: Dense, units: 10, activation: softmax}\n"
TAIL = "outputs: {y: {loss: sparse_categorical_crossentropy}}\n"


def found(text: str, sets: dict[str, str] | None = None) -> tuple[list[Diagnostic], dict[str, str]]:
    """What is said of a spec, and the texts that it points into."""
    diagnostics, sources = Diagnostics(), dict[str, str]()
    settings = from_command_line(list((sets or {}).items()), sources)
    check(text, diagnostics, sources, settings=settings)
    return diagnostics.sorted(), sources


def marked(diagnostic: Diagnostic, sources: dict[str, str]) -> str:
    """The characters that a diagnostic underlines, of its first line."""
    span = diagnostic.span
    assert span is not None
    line = split_lines(sources[span.file])[span.line - 1]
    return line[span.column - 1 : span.end_column - 1 if span.end_line == span.line else None]


def says(text: str, code: str, at: str, help: str, sets: dict[str, str] | None = None) -> None:
    diagnostics, sources = found(text, sets)
    shown = "\n\n".join(render(each, sources) for each in diagnostics)
    assert len(diagnostics) == 1, shown
    diagnostic = diagnostics[0]
    assert (diagnostic.code, marked(diagnostic, sources)) == (code, at), shown
    assert help in (diagnostic.help or ""), shown


def nodes(text: str, head: str = HEAD) -> str:
    return f"{head}nodes:\n{text}{LAST}{TAIL}"


LAYERS = [
    # a layer that is not one
    ("a: {layer: GELU}", "unknown-layer", "GELU", "activation: gelu}, or `activation: gelu`"),
    ("a: {layer: SiLU}", "unknown-layer", "SiLU", "activation: silu}, or `activation: silu`"),
    ("a: {layer: LogSoftmax}", "unknown-layer", "LogSoftmax", "activation: log_softmax"),
    ("a: {layer: Input, shape: [64]}", "unknown-layer", "Input", "under `inputs`"),
    ("a: {layer: Sequential}", "unknown-layer", "Sequential", "`nodes` is the chain"),
    ("a: {layer: Lambda}", "unknown-layer", "Lambda", "as an op"),
    (
        "a: {layer: TransformerEncoderLayer}",
        "unknown-layer",
        "TransformerEncoderLayer",
        "block: std/transformer",
    ),
    ("a: {layer: StringLookup}", "unknown-layer", "StringLookup", "encode: category"),
    ("a: {layer: CrossEntropyLoss}", "unknown-layer", "CrossEntropyLoss", "belongs to an output"),
    ("a: {layer: Concatenate, from: [x, x]}", "unknown-layer", "Concatenate", "{merge: concatenate}"),
    ("a: {layer: Residual, from: [x, x]}", "unknown-layer", "Residual", "{merge: add"),
    ("a: {layer: nn.Linear, units: 3}", "unknown-layer", "nn.Linear", "did you mean `Dense`?"),
    ("a: {layer: torch.nn.ReLU}", "unknown-layer", "torch.nn.ReLU", "did you mean `ReLU`?"),
    ("a: {layer: Flatten()}", "unknown-layer", "Flatten()", "write {layer: Flatten}"),
    ("a: {op: Dense}", "unknown-op", "Dense", "{layer: Dense}"),
    ("a: {block: Dense}", "unknown-block", "Dense", "{layer: Dense}"),
    ("a: {Dense: {units: 3}}", "unknown-key", "Dense", "{layer: Dense, units: 3}"),
    ("a: Dense", "wrong-type", "Dense", "{layer: Dense}"),
    ("a: [layer: Dense, units: 3]", "wrong-type", "[layer: Dense, units: 3]", "{layer: Dense, units: 3}"),
    # arguments
    ("a: {layer: Dense, units: '3'}", "wrong-type", "'3'", "without quotes"),
    ("a: {layer: Dense, units: 3.0}", "wrong-type", "3.0", "write 3"),
    ("a: {layer: Dense, units: 3, use_bias: yes}", "wrong-type", "yes", "write `true`"),
    ("a: {layer: Dense, units: 3, when: no}", "wrong-type", "no", "write `false`"),
    ("a: {layer: Dense, units: 3, activation: None}", "out-of-range", "None", "`null`"),
    ("a: {layer: Dense, units: 3, activation: nn.ReLU()}", "out-of-range", "nn.ReLU()", "`relu`"),
    ("a: {layer: Dense, units: 3, kernel_initializer: xavier}", "out-of-range", "xavier", "glorot_uniform"),
    (
        "a: {layer: Dense, units: 3, kernel_initializer: kaiming_normal}",
        "out-of-range",
        "kaiming_normal",
        "he_normal",
    ),
    (
        "a: {layer: Dense, units: 3, kernel_regularizer: {l2: 0.01}}",
        "wrong-type",
        "{l2: 0.01}",
        "{name: l2, l2: 0.01}",
    ),
    (
        "a: {layer: Dense, units: 3, kernel_regularizer: l2(0.01)}",
        "out-of-range",
        "l2(0.01)",
        "{name: l2, l2: 0.01}",
    ),
    (
        "a: {layer: Dense, units: 3, batch_size: 32}",
        "unknown-key",
        "batch_size",
        "shapes leave out the batch",
    ),
    ("a: {layer: ReLU, inplace: true}", "unknown-key", "inplace", "delete it"),
    ("a: {layer: Dense, units: 3, dtype: float16}", "unknown-key", "dtype", "precision: bf16"),
    ("a: {layer: Dense, units: 3, device: cuda}", "unknown-key", "device", "--device cuda"),
    # references
    ("a: {layer: Dense, units: 3, from: 'x, x'}", "unknown-reference", "'x, x'", "[x, x]"),
    ("a: {call: y}", "unknown-reference", "y", "move the node `y` to `shared`"),
    (
        "a.b: {layer: Dense, units: 3}\n  c: {layer: Dense, units: 3, from: a.b}",
        "bad-name",
        "a.b",
        "write `a_b`",
    ),
    # YAML
    ("a {layer: Dense, units: 3}", "yaml-syntax", "a", "write `a: {`"),
    ("a: {layer: Dense units: 3}", "yaml-syntax", " ", "write `,`"),
    ("a: {layer: Dense; units: 3}", "yaml-syntax", ";", "write `,`"),
    ("a: {layer: Dense,, units: 3}", "yaml-syntax", ",", "delete it"),
    ("a: {layer: 'Dense, units: 3}", "yaml-syntax", "'", "close it where the text ends"),
    ('a: {layer: "Dense, units: 3}\n  b: {layer: "Dense", units: 3}', "yaml-syntax", '"', "close it where"),
    ("a: {layer: Dense, units: 3", "yaml-syntax", "{", "at the end of line 3"),
    ("a: (layer: Dense, units: 3)", "yaml-syntax", "(", "{layer: ...}"),
    ("a: layer: Dense", "yaml-syntax", ":", "{layer: ...}"),
    ("a: {layer: Dense, units=3}", "null-key", "units=3", "write `units: 3`"),
    ("a: {layer: Dense, units 3}", "null-key", "units 3", "write `units: 3`"),
    ("a: {layer: Dense, units: 3, // wide\n  }", "null-key", "// wide", "write `# wide`"),
    ("a: {layer: Dropout, 0.5}", "null-key", "0.5", "write `rate: 0.5`"),
    ("a: {layer: Dense, 32}", "null-key", "32", "write `units: 32`"),
    ("a: {merge: add, from: x, x2, x3}", "null-key", "x, x2, x3", "write [x, x2, x3]"),
    ("a:\n    layer: Dense\n    units:3", "yaml-syntax", ":", "write `units: 3`"),
    ("a:\n    layer: Dense\n    units 3", "yaml-syntax", "units", "write `units: 3`"),
    ("a:\n    layer = Dense\n    units = 3", "wrong-type", "layer = Dense", "a key has a colon"),
    ("a:\n  layer: Dense\n  units: 3", "not-indented", "layer", "`a` by two spaces"),
]


@bundled(16, ("node", "code", "at", "help"), LAYERS, ids=[each[0][:40] for each in LAYERS])
def test_a_node(node: str, code: str, at: str, help: str) -> None:
    says(nodes(f"  {node}\n"), code, at, help)


EXPRESSIONS = [
    ("width", "write `$width`"),
    ("width * 2", "write `$(width * 2)`"),
    ("$width * 2", "write `$(width * 2)`"),
    ("$(width / 2)", "write `$(width // 2)`"),
    ("$(width * 0.5)", "write `$(int(width * 0.5))`"),
]


@pytest.mark.parametrize(("written", "help"), EXPRESSIONS)
def test_a_number_that_is_a_text_or_a_fraction(written: str, help: str) -> None:
    """The remedy is legal, too."""
    text = nodes(f"  a: {{layer: Dense, units: {written}}}\n  b: {{layer: Dense, units: $width}}\n")
    says("params: {width: 64}\n" + text, "wrong-type", written, help)
    mended = help.removeprefix("write `").removesuffix("`")
    program = graphspec.compile(
        "params: {width: 64}\n" + text.replace(f"units: {written}}}", f"units: {mended}}}", 1)
    )
    assert program.summary().rows[1].params > 0


OTHERS = [
    (
        nodes("  a: {layer: Conv2D, filters: 8, kernel_size: (3, 3)}\n  f: {layer: Flatten}\n", IMAGE),
        "yaml-syntax",
        "(3, 3)",
        "write `[3, 3]`",
    ),
    (nodes("", "inputs: {x: {shape: (64,)}}\n"), "yaml-syntax", "(64,)", "write `[64]`"),
    (nodes("", "inputs:\n  x:\n    shape: (64,)\n"), "yaml-syntax", "(64,)", "write `[64]`"),
    (
        nodes("  a: {layer: AveragePooling2D, pool_size: 3, padding: 1}\n  f: {layer: Flatten}\n", IMAGE),
        "out-of-range",
        "1",
        "`same`, or put {layer: ZeroPadding2D, padding: 1}",
    ),
    (
        nodes("  a: {layer: MaxPooling2D, padding: 2}\n  f: {layer: Flatten}\n", IMAGE),
        "out-of-range",
        "2",
        "a number up to 1",
    ),
    (nodes("  a: {layer: LSTM, units: 3}\n", IDS), "wrong-rank", "a", "{layer: Embedding"),
    (nodes("", "inputs: {x: {shape: [None, 64]}}\n"), "wrong-type", "None", "null"),
    (nodes("", "inputs: {x: {shape: 64}}\n"), "wrong-type", "64", "[64]"),
    (nodes("", "inputs: {x: 64}\n"), "wrong-type", "64", "{shape: [64]}"),
    (nodes("", "inputs: [x]\n"), "wrong-type", "[x]", "{x: {shape: [64]}}"),
    (nodes("", "inputs: x\n"), "wrong-type", "x", "{x: {shape: [64]}}"),
    (
        HEAD + "nodes:\n  - a: {layer: Dense, units: 3}\n" + TAIL,
        "wrong-type",
        "- a: {layer: Dense, units: 3}",
        "names without dashes: `a: {layer",
    ),
    (
        HEAD + "nodes:\n  - {layer: Dense, units: 3}\n" + TAIL,
        "wrong-type",
        "- {layer: Dense, units: 3}",
        "`dense: {layer: Dense",
    ),
    (
        HEAD + "nodes:\n  - layer: Dense\n    units: 3\n" + TAIL,
        "wrong-type",
        "- layer: Dense",
        "`dense: {layer: Dense",
    ),
    (
        "inputs:\nx: {shape: [64]}\nnodes:\ny: {layer: Dense, units: 10}\noutputs:\n  y: {loss: mse}\n",
        "not-indented",
        "x",
        "`inputs` and `nodes` by two spaces",
    ),
    (
        "inputs:\nx: {shape: [64]}\nnodes:\ny: {layer: Dense, units: 10}\noutputs:\ny: {loss: mse}\n",
        "not-indented",
        "x",
        "by two spaces",
    ),
    (HEAD + "edges: [x > y]\nnodes:\n" + LAST + TAIL, "wrong-type", "x > y", "write `x -> y`"),
    (HEAD + "edges: x -> y\nnodes:\n" + LAST + TAIL, "wrong-type", "x -> y", "edges: [x -> y]"),
    (HEAD + "edges: [[x, y]]\nnodes:\n" + LAST + TAIL, "wrong-type", "[x, y]", "write `x -> y`"),
    (HEAD + "nodes:\n" + LAST + "outputs: {out: {loss: mse}}\n", "unbound-output", "out", "`from: y`"),
    (
        HEAD + "nodes:\n" + LAST + "outputs: [{name: y, loss: mse}]\n",
        "wrong-type",
        "{name: y, loss: mse}",
        "outputs: {y: {loss: mse}}",
    ),
    (
        HEAD + "nodes:\n" + LAST + "outputs: {y: {loss: {huber: {delta: 2}}}}\n",
        "missing-key",
        "loss",
        "{name: huber, delta: 2}",
    ),
    (
        HEAD + "nodes:\n" + LAST + "outputs: {y: {loss: 'mse(x=1)'}}\n",
        "unknown-loss",
        "'mse(x=1)'",
        "{name: mean_squared_error, x: 1}",
    ),
    (
        HEAD + "nodes:\n" + LAST + "outputs: {y: {optimizer: adam}}\n",
        "unknown-key",
        "optimizer",
        "train: {optimizer: adam}",
    ),
]


@bundled(16, ("text", "code", "at", "help"), OTHERS, ids=[each[2] for each in OTHERS])
def test_a_file(text: str, code: str, at: str, help: str) -> None:
    says(text, code, at, help)


SECTIONS = [
    ("train: {lr: 0.1}", "lr", "optimizer: {name: rmsprop, learning_rate: 0.1}"),
    ("train: {learning_rate: 0.1}", "learning_rate", "{name: rmsprop, learning_rate: 0.1}"),
    ("train: {weight_decay: 0.1}", "weight_decay", "optimizer: {name: rmsprop, weight_decay: 0.1}"),
    ("train: {loss: mse}", "loss", "outputs:"),
    ("train: {metrics: [mae]}", "metrics", "outputs:"),
    ("train: {device: cuda}", "device", "--device cuda"),
    ("train: {validation_split: 0.1}", "validation_split", "data: {validation: {split: 0.1}}"),
    ("train: {early_stop: 3}", "early_stop", "callbacks: {early_stopping: {patience: 3}}"),
    ("train: {shuffle: true}", "shuffle", "training rows are shuffled"),
    ("train: {epoch: 3}", "epoch", "did you mean `epochs`?"),
    ("train:\nepochs: 3", "epochs", "`train` by two spaces"),
    ("optimizer: adam", "optimizer", "train: {optimizer: adam}"),
    ("loss: mse", "loss", "outputs:"),
    ("data: {path: a.csv}", "path", "did you mean `train`?"),
    ("data: {train: a.csv, batch_size: 3}", "batch_size", "train: {batch_size: 3}"),
    ("data: {train: a.csv, target: y}", "target", "outputs:"),
]


@bundled(16, ("section", "at", "help"), SECTIONS, ids=[each[0] for each in SECTIONS])
def test_a_key_that_belongs_elsewhere(section: str, at: str, help: str) -> None:
    diagnostics, sources = found(nodes("") + section + "\n")
    (diagnostic,) = diagnostics
    assert diagnostic.code in ("unknown-key", "not-indented")
    assert marked(diagnostic, sources) == at and help in (diagnostic.help or "")


PARAMS = [
    # a param whose value fits nowhere: the remedy is in `params`
    ("{units: int}", "{layer: Dense, units: $units}", "$units", "a value, not a type: write `units: 3`"),
    ("{rate: float}", "{layer: Dropout, rate: $rate}", "$rate", "a value, not a type: write `rate: 0.5`"),
    ("{on: bool}", "{layer: Flatten, when: $on}", "$on", "a value, not a type: write `on: true`"),
    ("{n: int}", "{layer: Dense, units: 3, repeat: $n}", "$n", "a value, not a type: write `n: 3`"),
    (
        "{n: null}",
        "{layer: Dense, units: 3, repeat: $n}",
        "$n",
        "the param `n` is null: give it a value, such as 3",
    ),
    ("{n: null}", "{layer: Dense, units: 3, parallel: $(n)}", "$(n)", "the param `n` is null"),
    ("{n: null}", "{layer: Dense, repeat: {units: $n}}", "$n", "the param `n` is null"),
    ("{n: null}", "{layer: Dense, units: $n}", "$n", "the param `n` is null: give it a value"),
    ("{n: null}", "{layer: Flatten, when: $n}", "$n", "the param `n` is null: give it a value, such as true"),
]


@pytest.mark.parametrize(("params", "node", "at", "help"), PARAMS, ids=[each[0] + each[1] for each in PARAMS])
def test_a_param_that_is_null_or_a_type(params: str, node: str, at: str, help: str) -> None:
    says(nodes(f"  a: {node}\n", f"params: {params}\n{HEAD}"), "wrong-type", at, help)


def test_a_type_that_is_a_value_elsewhere() -> None:
    layer = "  a: {layer: Discretization, bin_boundaries: [0, 1], output_mode: $mode}\n"
    text = nodes(layer + "  b: {op: cast, dtype: float32}\n", f"params: {{mode: int}}\n{HEAD}")
    assert found(text)[0] == []


@pytest.mark.parametrize("params", ["{units}", "{units, depth: 3}", "{depth: 3, units}"])
def test_a_param_without_a_value(params: str) -> None:
    text = nodes("  a: {layer: Dense, units: $units}\n", f"params: {params}\n{HEAD}")
    says(text, "null-key", "units", "write `units: value`")
    (diagnostic,) = found(text)[0]
    assert diagnostic.help == "write `units: value`"


def test_lists_that_are_not_equally_long() -> None:
    lists = "{units: [1, 2], activation: [relu, relu, tanh]}"
    help = "write 3 items in each; an argument that all instances share is written next to `repeat`"
    says(nodes(f"  a: {{layer: Dense, repeat: {lists}}}\n"), "wrong-type", lists, help)
    says(nodes("  a: {layer: Dense, repeat: {}}\n"), "wrong-type", "{}", "write repeat: 3")
    says(nodes("  a: {layer: Dense, repeat: {units: 3}}\n"), "wrong-type", "3", "is written next to `repeat`")


def test_articles() -> None:
    """A noun has its own."""
    (diagnostic,) = found(nodes("") + "train: {optimizer: {learning_rate: 0.1}}\n")[0]
    assert diagnostic.message.startswith("an optimizer ") and "{name: ..., learning_rate: 0.1}" in str(
        diagnostic.help
    )
    (diagnostic,) = found(nodes("  a: {op: relu, repeat: 2}\n"))[0]
    assert diagnostic.message == "an `op` node takes no `repeat`"


def test_the_command_line_is_a_place() -> None:
    sets = {"train.optimizer": "adamx", "train.epochs": "x", "train.early_stop": "3", "nodes.y.units": "a"}
    diagnostics, sources = found(nodes(""), sets)
    assert sources["<command line>"].startswith("--set train.optimizer=adamx\n--set train.epochs=x\n")
    assert [(d.span.file, d.span.line, marked(d, sources)) for d in diagnostics if d.span] == [
        ("<command line>", 1, "adamx"),
        ("<command line>", 2, "x"),
        ("<command line>", 3, "train.early_stop"),
        ("<command line>", 4, "a"),
    ]
    assert diagnostics[1].help == "write a number: --set train.epochs=3"
    assert diagnostics[3].help == "write a number: --set nodes.y.units=3"


def test_a_part_of_an_option_is_no_option() -> None:
    sets = {"train.optimizer": "{name: adam, learning_rate: fast}", "train.epochs": '"7"'}
    diagnostics, _ = found(nodes(""), sets)
    assert [each.help for each in diagnostics] == [
        "write a number, such as 0.5",
        "a number is written without quotes: 7",
    ]


@pytest.mark.parametrize(
    ("formula", "code", "at", "help"),
    [
        ("x.T", "unknown-reference", "x.T", "a loss compares the examples of a batch"),
        ("2x + 1", "expression-syntax", "2x", "write `2 * x`"),
        ("x² + 1", "expression-syntax", "²", "write `** 2`"),
        ("x \N{MULTIPLICATION SIGN} 3", "expression-syntax", "\N{MULTIPLICATION SIGN}", "write `*`"),
        ("h = relu(x)", "expression-syntax", "h = relu(x)", "write `relu(x)`"),
        ("relu x", "expression-syntax", "relu x", "`relu(x)`"),
        ("1e-3 * x +", "expression-syntax", "+", "a formula has"),
        ("x if x else", "expression-syntax", "e", "a formula has"),
        ("sum(x, axis=0)", "out-of-range", "0", "`axis=1`"),
        ("tahn(x)", "unknown-function", "tahn", "did you mean `tanh`?"),
        ("x.mean(axis=1)", "unknown-function", "x.mean(axis=1)", "`mean(x, axis=1)`"),
        ("Dense(3)(x)", "unknown-function", "Dense(3)", "{layer: Dense, from: x, ...}"),
        ("x + arange(3)", "shapes-differ", "arange(3)", "give `arange(3)` the size"),
    ],
)
def test_formulas_as_others_write_them(formula: str, code: str, at: str, help: str) -> None:
    says(nodes(f'  a: {{compute: "{formula}"}}\n'), code, at, help)


@pytest.mark.parametrize(
    ("node", "code", "at", "help"),
    [
        ("{layer: Dense, units: [8, 16]}", "wrong-type", "[8, 16]", "`repeat: {units: [8, 16]}`"),
        ("{layer: Dense, units: 3, repeats: 2}", "unknown-key", "repeats", "did you mean `repeat`?"),
        ("{layer: Dense, units: 3, form: x}", "unknown-key", "form", "did you mean `from`?"),
        ("{layer: Dense, units: 3, from: 'x[0]'}", "unknown-reference", "'x[0]'", "`x.0`"),
        ("{compute: x[:, 0:2] + 1}", "unquoted-expression", "x[:, 0:2] + 1", 'write "x[:, 0:2] + 1"'),
        ("{layer: Dense, from: x[1], units: 3}", "yaml-syntax", "x[1]", 'write "x[1]"'),
        ("{layer: Dense, units: 16 * 2}", "wrong-type", "16 * 2", "write `$(16 * 2)`"),
        ("{layer: RNN, wraps: {layer: LSTMCell, units: 2}}", "unknown-key", "wraps", "did you mean `cell`?"),
        ("{layer: Flatten, activation: relu}", "unknown-key", "activation", "a node below it"),
    ],
)
def test_nodes_as_others_write_them(node: str, code: str, at: str, help: str) -> None:
    says(nodes(f"  a: {node}\n"), code, at, help)


@pytest.mark.parametrize(
    ("lines", "code", "at", "help"),
    [
        ("", "missing-key", "b", "write `inputs: [x]`"),
        (
            "    inputs: [x]\n    params: [units]\n",
            "wrong-type",
            "[units]",
            "write `params: {units: required}`",
        ),
    ],
)
def test_blocks_as_others_write_them(lines: str, code: str, at: str, help: str) -> None:
    block = f"blocks:\n  b:\n{lines}    nodes:\n      h: {{layer: Dense, units: 3}}\n"
    says(nodes("  a: {block: b}\n", HEAD + block), code, at, help)


def test_params_as_others_name_them() -> None:
    head = "params: {width: 8}\n" + HEAD
    says(nodes("  a: {layer: Dense, units: params.width}\n", head), "wrong-type", "params.width", "`$width`")
    says(
        nodes("  a: {layer: Dense, units: params.width * 2}\n", head),
        "wrong-type",
        "params.width * 2",
        "`$(width * 2)`",
    )
    (braced,) = [d for d in found(nodes("  a: {layer: Dense, units: '${params.width}'}\n", head))[0]]
    assert braced.help == "write `$width` or `$(width)`"


@pytest.mark.parametrize(
    ("key", "help"),
    [
        ("trian.epochs", "`train`"),
        ("nodes.z.units", "a, y"),
        ("widht", "`width`"),
        ("train.epoch", "`epochs`"),
    ],
)
def test_a_key_of_the_command_line_that_nothing_has(key: str, help: str) -> None:
    text = "params: {width: 3}\n" + nodes("  a: {layer: Dense, units: $width}\n")
    says(text, "unknown-param" if "." not in key else "unknown-key", key, help, {key: "3"})


def test_a_value_from_elsewhere_has_its_label() -> None:
    block = "blocks: {b: {params: {n: required}, inputs: [x], nodes: {d: {layer: Dense, units: $n}}}}\n"
    text = "params: {width: 3}\n" + block + nodes("  a: {block: b, n: $width}\n")
    diagnostics, _ = found(text, {"width": "wide"})
    (label,) = diagnostics[0].labels
    assert label.text == "`n` is given here" and label.span.line == 5
    diagnostics, _ = found(
        text.replace("{block: b, n: $width}", "{layer: Dense, units: $width}").replace(block, ""),
        {"width": "wide"},
    )
    (label,) = diagnostics[0].labels
    assert (label.span.file, label.text) == ("<command line>", "`width` is given here")
    required = "params: {width: required}\n" + nodes("  a: {layer: Dense, units: $width}\n")
    assert found(required, {"width": "wide"})[0][0].labels == (label,)


def test_a_value_of_this_file_has_its_label() -> None:
    block = "blocks: {b: {params: {n: three, m: 2}, inputs: [x], nodes: {d: {layer: Dense, units: UNITS}}}}\n"
    text = "params: {wide: four}\n" + block + nodes("  a: {block: b}\n")
    for units, at in (("$n", (2, "three")), ("$wide", (1, "four"))):
        diagnostics, _ = found(text.replace("UNITS", units))
        (label,) = diagnostics[0].labels
        line, value = at
        assert label.text == f"`{units[1:]}` is given here" and label.span.line == line
        written = text.replace("UNITS", units).splitlines()[line - 1]
        assert written[label.span.column - 1 :].startswith(value)


def test_settings_of_python_have_a_place_too() -> None:
    with pytest.raises(SpecError) as caught:
        graphspec.compile(nodes(""), settings={"train.epochs": "x"})
    (diagnostic,) = caught.value.diagnostics
    assert str(diagnostic.span) == "<settings>:1:15"


BLOCK = """\
blocks:
  b:
    params: {n: required, wide: $(channels(x) * 2)}
    inputs: [x]
    nodes:
      c: {layer: Dense, units: $wide, activatoin: relu}
      d: {layer: Dense, units: $n}
"""

TOGETHER = [
    # an unknown layer above hides nothing below it, nor in a block that reads it
    ("  a: {layer: Dens, units: 3}\n  b: {layer: Dense, units: 3, activation: rellu}\n", ["Dens", "rellu"]),
    ("  a: {layer: Dens, units: 3}\n  c: {block: b, n: 3}\n", ["activatoin", "Dens"]),
    # a param that is missing or unknown hides nothing in its block, nor beside it
    ("  a: {block: b}\n", ["activatoin", "a"]),
    ("  a: {block: b, m: 3, n: $k}\n", ["activatoin", "m", "k"]),
    ("  a: {layer: Dense, units: $k, activation: rellu}\n", ["k", "rellu"]),
    # another library's name for a layer has arguments that can be checked
    ("  a: {layer: Linear, in_features: 64, out_features: 3}\n", ["Linear", "in_features", "out_features"]),
    # inputs under another key, or a node that has the name of an input
    ("  a: {layer: Dense, units: 3, inputs: x, activation: rellu}\n", ["inputs", "rellu"]),
    ("  x: {layer: Dense, units: 3, from: x}\n  a: {layer: Dense, units: 3, from: x}\n", ["x"]),
    # a count, or a `when`, that is none
    ("  a: {layer: Dense, units: 64, repeat: two, activation: rellu}\n", ["two", "rellu"]),
    ("  a: {layer: Dense, units: 64, when: two, activation: rellu}\n", ["two", "rellu"]),
]


@pytest.mark.parametrize(("text", "at"), TOGETHER, ids=[each[0][:60] for each in TOGETHER])
def test_all_at_once(text: str, at: list[str]) -> None:
    head = (BLOCK if "block: b" in text else "") + HEAD
    diagnostics, sources = found(nodes(text, head))
    shown = "\n\n".join(render(each, sources) for each in diagnostics)
    assert sorted(marked(each, sources) for each in diagnostics) == sorted(at), shown


WHOLE = """
inputs: {x: {shape: [4]}}
shared: {twice: {layer: Dens, units: 4}}
nodes: {a: {call: twice, from: x}, y: {layer: Dense, units: 3, activation: softmax}}
outputs: {y: {loss: sparse_categorical_crossentropy}}
data: {train: rows.csv, validation: {split: 0.2}, features: {x: {encode: number}, y: {encode: category}}}
train: {epochs: 9, callbacks: {early_stopping: {patience: 3}}}
"""


@pytest.mark.parametrize(
    ("section", "written"),
    [
        ("inputs", "input"),
        ("shared", "share"),
        ("nodes", "layers"),
        ("outputs", "output"),
        ("data", "dataset"),
        ("train", "training"),
    ],
)
def test_a_misspelt_section_is_read_as_the_one_that_is_meant(section: str, written: str) -> None:
    diagnostics, _ = found(WHOLE.replace(f"\n{section}: ", f"\n{written}: "))
    codes = {(each.code, str(each.help)) for each in diagnostics}
    assert ("unknown-key", f"did you mean `{section}`?") in codes
    assert ("unknown-layer", "did you mean `Dense`?") in codes
    shapes = {code for code, _ in codes} - {"unknown-key", "unknown-layer"}
    assert shapes == {"feature-misfit"}, "which is told at once, too: one column is no shape [4]"


def test_what_is_legal_is_listed_once() -> None:
    diagnostics, _ = found(nodes("  a: {layer: Dense, units: 3, foo: 1, bar: 2}\n"))
    assert [bool(diagnostic.help) for diagnostic in diagnostics] == [True, False]


def test_words_of_recurrent_layers() -> None:
    text = nodes(
        "  e: {layer: Embedding, input_dim: 9, output_dim: 4}\n"
        "  a: {layer: LSTM, units: 3, num_layers: 2, bidirectional: true, batch_first: true}\n",
        IDS,
    )
    helps = [diagnostic.help or "" for diagnostic in found(text)[0]]
    assert ["`repeat: 2`" in helps[0], "Bidirectional" in helps[1], "delete it" in helps[2]] == [True] * 3


def test_a_layer_that_is_wrapped_is_told_by_its_own_arguments() -> None:
    text = nodes(
        "  e: {layer: Embedding, input_dim: 9, output_dim: 4}\n"
        "  a: {layer: Bidirectional, wraps: {layer: LSTM, unit: 3}}\n",
        IDS,
    )
    says(text, "unknown-key", "unit", "did you mean `units`?")


TABLE = "inputs: {a: {shape: [1]}, b: {shape: [1]}}\nnodes:\n  m: {merge: concatenate, from: [a, b]}\n"
TABLE += "  kind: {layer: Dense, units: 2, activation: softmax}\n"
TABLE += "outputs: {kind: {loss: sparse_categorical_crossentropy}}\ndata: FILE\n"


@pytest.mark.parametrize(
    ("file", "content", "code", "place", "line", "marks"),
    [
        ("a.csv", "a,b,kind\n1,2,0\n3,x,1\n", "data-dtype", "a.csv:3:3", "3,x,1", "^"),
        ("a.csv", "a,b,kind\n1,2,0\n3,4,7\n", "data-range", "a.csv:3:5", "3,4,7", "^"),
        ("a.csv", "a,b,kind\n1,2,0\n3,4\n", "data-format", "a.csv:3:1", "3,4", "^^^"),
        ("a.csv", 'a,b,kind\n1,2,0\n"3",x,1\n', "data-dtype", "a.csv:3:1", '"3",x,1', "^" * 7),
        ("a.csv", "a,b,kind\n1,2,cat\n", "data-dtype", "a.csv:2:5", "1,2,cat", "^^^"),
        (
            "a.jsonl",
            '{"a": 1, "b": 2, "kind": 0}\n{"a": 1, "b": "x", "kind": 1}\n',
            "data-dtype",
            "a.jsonl:2:15",
            '{"a": 1, "b": "x", "kind": 1}',
            "^^^",
        ),
    ],
)
def test_a_cell_of_the_data_is_a_place(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    file: str,
    content: str,
    code: str,
    place: str,
    line: str,
    marks: str,
) -> None:
    """The file, the line and the cell, then where the spec reads it."""
    monkeypatch.chdir(tmp_path)
    Path(file).write_text(content)
    Path("spec.yaml").write_text(TABLE.replace("FILE", file))
    result = CliRunner().invoke(app, ["train", "spec.yaml"])
    assert result.exit_code == 1
    lines = result.stderr.splitlines()
    head = next(index for index, text in enumerate(lines) if text.startswith(f"error[{code}]"))
    assert lines[head + 1].strip() == f"--> {place}"
    number = place.split(":")[1]
    assert lines[head + 3] == f"{number} | {line}" and lines[head + 4].split("|")[1].strip() == marks
    assert lines[head + 5].strip() == "::: spec.yaml:6:7"


def write_table(file: str, columns: dict[str, list[Any]]) -> None:
    if file.endswith(".parquet"):
        parquet.write_table(pa.table(columns), file)
    else:
        arrays: dict[str, Any] = {name: np.array(values).reshape(-1, 1) for name, values in columns.items()}
        np.savez(file, **arrays)


@pytest.mark.parametrize(
    ("file", "changed", "code", "place"),
    [
        ("a.parquet", {"b": ["x", "2"]}, "data-dtype", "a.parquet: row 0, column b"),
        ("a.parquet", {"a": [1.0, None]}, "data-gap", "a.parquet: row 1, column a"),
        ("a.parquet", {"kind": [0, 7]}, "data-range", "a.parquet: row 1, column kind"),
        ("a.npz", {"b": [1.0, float("nan")]}, "data-nonfinite", "a.npz: row 1, array b"),
        ("a.npz", {"kind": [0, 7]}, "data-range", "a.npz: row 1, array kind"),
    ],
)
def test_a_row_of_data_that_are_no_text_is_a_place(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    file: str,
    changed: dict[str, list[Any]],
    code: str,
    place: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    write_table(file, {"a": [1.0, 2.0], "b": [3.0, 4.0], "kind": [0, 1], **changed})
    Path("spec.yaml").write_text(TABLE.replace("FILE", file))
    result = CliRunner().invoke(app, ["train", "spec.yaml"])
    lines = result.stderr.splitlines()
    head = next(index for index, text in enumerate(lines) if text.startswith(f"error[{code}]"))
    assert [line.strip() for line in lines[head + 1 : head + 3]] == [f"--> {place}", "::: spec.yaml:6:7"]
    (found,) = json.loads(CliRunner().invoke(app, ["train", "spec.yaml", "--json"]).stdout)["diagnostics"]
    assert (found["file"], found["line"], found["column"]) == (file, None, None)


def test_a_picture_that_cannot_be_read_is_a_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("cat", "dog"):
        Path("pictures", name).mkdir(parents=True)
        Path("pictures", name, "0.png").write_bytes(b"no picture")
    Path("spec.yaml").write_text(
        "inputs: {image: {shape: [4, 4, 3]}}\n"
        "nodes: {flat: {layer: Flatten}, label: {layer: Dense, units: 2, activation: softmax}}\n"
        "outputs: {label: {loss: sparse_categorical_crossentropy}}\ndata: pictures\n"
    )
    result = CliRunner().invoke(app, ["train", "spec.yaml"])
    assert "--> pictures/cat/0.png\n" in result.stderr and "::: spec.yaml:4:7" in result.stderr


def test_a_table_cut_by_semicolons_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("a.csv").write_text("a;b;kind\n1;2;0\n")
    Path("spec.yaml").write_text(TABLE.replace("FILE", "a.csv"))
    result = CliRunner().invoke(app, ["check", "spec.yaml"])
    assert result.exit_code == 1 and result.stdout.count('{path: ..., delimiter: ";"}') == 3


@pytest.mark.parametrize(
    ("option", "value", "key"),
    [
        ("--epochs", "3", "epochs=3"),
        ("--lr", "0.1", "learning_rate=0.1"),
    ],
)
def test_options_that_are_keys(tmp_path: Path, option: str, value: str, key: str) -> None:
    (tmp_path / "a.yaml").write_text(nodes(""))
    result = CliRunner().invoke(app, ["train", str(tmp_path / "a.yaml"), option, value])
    assert result.exit_code == 2 and "--set train." in result.stderr and key in result.stderr


STEPS = "inputs: {x: {shape: [6, 3]}}\n"
NESTED = [
    # an output that an option gives, a part, all instances, and what a wrapper wraps
    (
        "a: {layer: Bidirectional, wraps: {layer: LSTM, units: 3}}",
        "a.forward_state_h",
        "in the layer that it wraps",
    ),
    (
        "a: {layer: Bidirectional, wraps: {layer: GRU, units: 3}}",
        "a.backward_state",
        "write `return_state: true` in",
    ),
    ("a: {op: split, indices_or_sections: 3, axis: -1}", "a.part3", "its parts are `a.part0` to `a.part2`"),
    ("a: {op: unstack, num: 6, axis: 1}", "a.part12", "its parts are `a.part0` to `a.part5`"),
    ("a: {block: b, repeat: 2}", "[a.l.*, x]", "write `a.*.l`"),
]


@pytest.mark.parametrize(("node", "source", "help"), NESTED, ids=[each[1] for each in NESTED])
def test_an_output_that_is_not_there(node: str, source: str, help: str) -> None:
    block = (
        "blocks: {b: {inputs: [x], nodes: {l: {layer: Dense, units: 3}, r: {op: relu}}, outputs: [r, l]}}\n"
    )
    blocks = block if "block" in node else ""
    text = f"{STEPS}{blocks}nodes:\n  {node}\n  y: {{merge: concatenate, from: {source}}}\noutputs: [y]\n"
    text = text if source.startswith("[") else text.replace("merge: concatenate", "op: relu")
    says(text, "unknown-reference", source.strip("[]").split(",")[0], help)


@pytest.mark.parametrize(
    ("wraps", "help"), [("b", "{block: b}"), ("encoder", "{call: encoder}"), ("Dense", "{layer: Dense}")]
)
def test_a_wrapper_wraps_a_mapping(wraps: str, help: str) -> None:
    head = f"{STEPS}blocks: {{b: {{inputs: [x], nodes: {{l: {{layer: Dense, units: 3}}}}}}}}\n"
    head += "shared: {encoder: {layer: Dense, units: 3}}\nnodes:\n  a: {block: b}\n  c: {call: encoder}\n"
    text = f"{head}  y: {{layer: TimeDistributed, wraps: {wraps}}}\noutputs: [y]\n"
    says(text, "wrong-type", wraps, help)


def test_the_shape_of_a_parameter() -> None:
    says(
        f"{STEPS}nodes:\n  p: {{parameter: 3}}\n  y: {{compute: x * p}}\noutputs: [y]\n",
        "wrong-type",
        "3",
        "[3]",
    )


@pytest.mark.parametrize(
    ("formula", "code", "at", "help"),
    [
        ("where(x > 0, x)", "input-count", "where(x > 0, x)", "with a number `where(condition, a, x2=0)`"),
        ("cast(x > 0, 'int64')", "call-arguments", "'int64'", "write `dtype='int64'`"),
    ],
)
def test_remedies_of_formulas_are_as_a_formula_writes_them(
    formula: str, code: str, at: str, help: str
) -> None:
    says(f'{STEPS}nodes: {{y: {{compute: "{formula}"}}}}\noutputs: [y]\n', code, at, help)


@pytest.mark.parametrize(("shape", "layer"), [("[1, 4]", "Flatten"), ("[5, 4]", "GlobalAveragePooling1D")])
def test_a_vector_of_one_step_is_flattened(shape: str, layer: str) -> None:
    head = f"inputs: {{a: {{shape: [3]}}, b: {{shape: {shape}}}}}\n"
    text = f"{head}nodes: {{y: {{merge: concatenate, from: [a, b]}}}}\noutputs: [y]\n"
    says(text, "shapes-differ", "b", f"{{layer: {layer}, from: b}}")


def test_a_number_of_each_example_is_made_a_vector() -> None:
    head, joined = "inputs: {a: {shape: [3]}, b: {shape: []}}\n", "y: {merge: concatenate, from: [a, NAME]}"
    fixed = "{layer: Reshape, from: b, target_shape: [1]}"
    told = f"{head}nodes: {{{joined.replace('NAME', 'b')}}}\noutputs: [y]\n"
    says(told, "shapes-differ", "b", fixed)
    graphspec.compile(f"{head}nodes: {{one: {fixed}, {joined.replace('NAME', 'one')}}}\noutputs: [y]\n")


@pytest.mark.parametrize("outcast", ["b: {op: relu}\n", " b: {op: relu}\n"])
def test_a_line_indented_less_than_its_neighbours_is_the_one_at_fault(outcast: str) -> None:
    text = f"{HEAD}nodes:\n    a: {{op: relu}}\n{outcast}    y: {{op: relu}}\noutputs: [y]\n"
    says(text, "yaml-syntax", "b", "same column")


def test_a_list_in_a_text_is_told_with_its_element() -> None:
    head = "params: {sizes: [3, 4]}\n" + HEAD
    mistake = "  a: {layer: Dense, units: '$sizes[index]', repeat: 2}\n"
    says(nodes(mistake, head), "operand-type", "sizes", "write `$(sizes[index])`")
    says(
        nodes("  a: {layer: Dense, units: 'u$sizes'}\n", head),
        "operand-type",
        "sizes",
        "write `$(sizes[0])`",
    )


def test_what_is_wrapped_may_be_shared_or_new() -> None:
    block = (
        "blocks: {net: {inputs: [x], nodes: {h: {layer: Dense, units: 2}}}}\nshared: {net: {block: net}}\n"
    )
    node = "  a: {layer: InputGradient, from: x, wraps: net}\n"
    says(nodes(node, HEAD + block), "wrong-type", "net", "{call: net} for the shared weights")


def test_a_param_of_a_block_that_is_meant_to_be_that_of_the_file() -> None:
    block = (
        "blocks: {part: {params: {heads: $heads}, inputs: [x], nodes: {y: {layer: Dense, units: $heads}}}}\n"
    )
    head = "params: {heads: 4}\n" + HEAD + block
    remedy = "the block sees the `heads` of the file: remove it here, or rename it"
    says(nodes("  a: {block: part}\n", head), "cycle", "$heads", remedy)

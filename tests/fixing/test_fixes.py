"""Fixes: most mistakes mend themselves, none into another model than meant; comments and layout stay."""

from __future__ import annotations

import json
import re
from functools import cache
from pathlib import Path

import jsonschema
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from typer.testing import CliRunner

from graphspec.cli.app import app
from graphspec.diagnostics import Diagnostic, Diagnostics
from graphspec.diagnostics.foreign_terms import ARGUMENT_WORDS, ARGUMENTS
from graphspec.fixing.checking import check_spec_text
from graphspec.fixing.rounds import Fixed, fixed
from graphspec.program import Program
from tests import bundled
from tests.fixing.mistakes import IMAGES, MISTAKES, TEXTS


def check(text: str) -> tuple[list[Diagnostic], dict[str, str]]:
    diagnostics, sources = Diagnostics(), dict[str, str]()
    check_spec_text(text, "spec.yaml", None, diagnostics, sources)
    return diagnostics.sorted(), sources


def compiled(text: str) -> Program | None:
    return check_spec_text(text, "spec.yaml", None, Diagnostics(), {})[1]


@cache
def emitted(text: str) -> str | None:
    program = compiled(text)
    return None if program is None else program.source


@cache
def mended(index: int) -> str:
    good, right, wrong = MISTAKES[index]
    assert good.count(right) == 1
    return fixed(good.replace(right, wrong), "spec.yaml", check).text


@pytest.mark.parametrize(("number", "new"), [("inf", None), ("e", None)])
def test_numbers_with_names_are_mended_where_they_stay_the_same(number: str, new: str | None) -> None:
    node = f"{{compute: 'where(x > 0, x, -{number})'}}"
    text = f"inputs: {{x: {{shape: [4]}}}}\nnodes: {{y: {node}}}\noutputs: [y]\n"
    result = fixed(text, "spec.yaml", check)
    assert (result.text == text) is (new is None) and (new is None or new in result.text)


def test_a_hundred_mistakes_of_which_eighty_mend_themselves() -> None:
    legal = [wrong for good, right, wrong in MISTAKES if emitted(good.replace(right, wrong))]
    assert legal == [] and len(MISTAKES) >= 100
    whole = [index for index in range(len(MISTAKES)) if emitted(mended(index)) is not None]
    left = [MISTAKES[index][2] for index in range(len(MISTAKES)) if index not in whole]
    assert len(whole) >= 0.8 * len(MISTAKES), left


@bundled(16, "index", range(len(MISTAKES)))
def test_what_compiles_after_its_fix_is_the_model_that_was_meant(index: int) -> None:
    made, meant = emitted(mended(index)), emitted(MISTAKES[index][0])
    assert made in (None, meant)


def test_good_specs_stay_as_they_are() -> None:
    for text in (IMAGES, TEXTS):
        assert fixed(text, "spec.yaml", check) == fixed(text, "spec.yaml", check, unsafe=True)
        assert fixed(text, "spec.yaml", check).text == text


IMAGE = """\
inputs: {{x: {{shape: [8, 8, 3]}}}}
nodes:
  c: {{layer: Conv2D, filters: 4, kernel_size: 3}}
  n: {}
outputs: {{n: {{loss: mse}}}}
train: {}
"""
NORM = "{layer: BatchNormalization}"
ADAM = "{optimizer: adam, epochs: 1}"


@pytest.mark.parametrize(
    ("node", "train"),
    [
        ("{layer: BatchNormalization, track_running_stats: false}", ADAM),
        ("{layer: Conv2D, filters: 2, kernel_size: 1, in_channels: 5}", ADAM),
        ("{layer: BatchNormalization, num_features: 9}", ADAM),
        ("{layer: Dense, units: 3, in_features: 9}", ADAM),
        ("{layer: Softmax, dim: 1}", ADAM),
        ("{op: softmax, dim: 1}", ADAM),
        ("{op: mean, dim: 1}", ADAM),
        ("{merge: cat, from: [c, c], dim: 1}", ADAM),
        ("{layer: RandomHorizontalFlip}", ADAM),
        ("{layer: UpsamplingBilinear2d}", ADAM),
        ("{layer: RMSNormalization, elementwise_affine: false}", ADAM),
        ("{layer: BatchNormalization, scale: true, affine: false}", ADAM),
        (NORM, "{shuffle: false, optimizer: adam, epochs: 1}"),
        (NORM, "{optimizer: lbfgs, epochs: 1}"),
        (NORM, "{optimizer: momentum, epochs: 1}"),
        (NORM, "{optimizer: adam, epochs: 1, steps_per_epoch: 10}"),
    ],
)
def test_what_another_library_computes_otherwise_is_not_mended(node: str, train: str) -> None:
    text = IMAGE.format(node, train)
    assert emitted(fixed(text, "spec.yaml", check).text) is None


@pytest.mark.parametrize(
    ("written", "right"),
    {
        "{layer: BatchNorm2d, affine: false}": "{layer: BatchNormalization, scale: false, center: false}",
        "\n    layer: GroupNorm\n    elementwise_affine: false  # why\n    groups: 2": "\n    "
        "layer: GroupNormalization\n    scale: false\n    center: false  # why\n    groups: 2",
        "{layer: BatchNorm2d,\n      affine: false}": "{layer: BatchNormalization,\n"
        "      scale: false, center: false}",
        "{layer: BatchNorm2d, track_running_stats: true}": NORM,
    }.items(),
)
def test_what_another_library_says_otherwise_is_mended(written: str, right: str) -> None:
    text = IMAGE.format(written, "{shuffle: true, optimizer: adam, epochs: 1}")
    assert fixed(text, "spec.yaml", check) == Fixed(IMAGE.format(right, ADAM), 3)


@pytest.mark.parametrize(
    "text",
    [
        "inputs: {x: {shape: [8]}}\nnodes:\n  h: {layer: Dense, out_features: 8, units: 9}\noutputs: [h]\n",
        "inputs: {x: {shape: [8]}}\nnodes:\n  h: {layer: Dense, unit: 8, units: 9}\noutputs: [h]\n",
        "inputs: {x: {shape: [4]}}\n\tnodes:\n  a: {layer: Dense, units: 3}\noutputs: [a]\n",
        "inputs:\n  x: {shape: [4]}\n\tblocks:\n    b: {nodes: {}}\nnodes: {a: {block: b}}\noutputs: [a]\n",
        "inputs: {x: {shape: [4]}}\nnodes:\n  a:\n    layer: Dense\n\tunits: 3\noutputs: [a]\n",
    ],
)
def test_a_fix_that_makes_another_mistake_is_not_made(text: str) -> None:
    assert fixed(text, "spec.yaml", check) == Fixed(text, 0)


DECLARED = """\
params: {width: 4}
inputs: {features: {shape: [4]}}
blocks: {residual: {params: {size: 3}, inputs: [x], nodes: {d: {layer: Dense, units: $size}}}}
nodes:
  a: {block: residual, from: features, size: 5}
  more: {layer: Dense, units: $width}
  core: {layer: Dense, units: $width}
  score: {layer: Dense, units: $width}
outputs: {score: {loss: mse}}
"""


@pytest.mark.parametrize(
    ("declared", "typed"),
    {
        "params: {width": "params: {Width",
        "inputs: {features": "inputs: {featres",
        "blocks: {residual": "blocks: {rresidual",
        "params: {size": "params: {szie",
        "  score: {": "  scores: {",
    }.items(),
)
def test_a_mistake_in_a_declaration_is_not_spread(declared: str, typed: str) -> None:
    text = DECLARED.replace(declared, typed)
    assert emitted(DECLARED) is not None and fixed(text, "spec.yaml", check) == Fixed(text, 0)


def test_a_name_that_is_used_elsewhere_is_right() -> None:
    wrong = DECLARED.replace("$width}\nout", "$widht}  # widht\nout")
    right = wrong.replace("$widht", "$width")
    assert fixed(wrong, "spec.yaml", check) == Fixed(right, 1)


def test_a_key_that_is_written_twice_is_not_renamed_once() -> None:
    """Another name for the first would hide that there are two values."""
    text = "inputs: {x: {shape: [4]}}\nnodes:\n  y: {layer: Dense, unit: 3, unit: 4}\noutputs: [y]\n"
    assert fixed(text, "spec.yaml", check) == Fixed(text, 0)


def outline(text: str) -> object:
    """A model without the names of its own: shapes, weights and judgements."""
    program = compiled(text)
    if program is None:
        return None
    table = program.summary().to_json(True)
    return sorted((str(row["output_shape"]), row["params"]) for row in table["layers"])


SIGNS = "abcdefghijklmnopqrstuvwxyz_:,{}[] \t1234"


@given(
    st.sampled_from([IMAGES, TEXTS]), st.integers(0, 2000), st.sampled_from("drsi"), st.sampled_from(SIGNS)
)
def test_a_typing_mistake_is_mended_to_what_was_there_or_left(
    good: str, index: int, kind: str, sign: str
) -> None:
    at = index % (len(good) - 1)
    rest = {"d": "", "r": sign, "s": good[at + 1] + good[at], "i": sign + good[at]}[kind]
    wrong = good[:at] + rest + good[at + 1 + (kind == "s") :]
    before, result = outline(wrong), fixed(wrong, "spec.yaml", check)
    after = outline(result.text)
    assert after in (None, before if before is not None else outline(good)), result.text
    errors = sum(each.severity == "error" for each in check(wrong)[0])
    assert result.count or result.text == wrong
    assert not (errors == 0 and after is None)
    assert emitted(wrong) in (None, emitted(result.text))


ARGUMENT = st.tuples(
    st.sampled_from(sorted({**ARGUMENTS, **ARGUMENT_WORDS})), st.sampled_from(["true", "false", "8", "relu"])
)


@given(st.sampled_from([IMAGES, TEXTS]), st.integers(0, 200), st.lists(ARGUMENT, min_size=1, max_size=3))
@example(IMAGES, 0, [("bias", "8"), ("bias", "true"), ("bias", "true")])
def test_safe_fixes_make_no_new_mistake(good: str, index: int, arguments: list[tuple[str, str]]) -> None:
    """Of arguments that other libraries have, beside those that are there: the text reads, and only mistakes
    of these arguments are left.
    """
    places = [place.end() for place in re.finditer(r"(?:layer|op): \w+", good)]
    at = places[index % len(places)]
    wrong = good[:at] + "".join(f", {name}: {given}" for name, given in arguments) + good[at:]
    result = fixed(wrong, "spec.yaml", check)
    before, after = (
        {(each.code, each.message) for each in check(text)[0] if each.severity == "error"}
        for text in (wrong, result.text)
    )
    assert fixed(result.text, "spec.yaml", check) == Fixed(result.text, 0)
    assert len(after) <= len(before) and not any(code == "duplicate-key" for code, _ in after - before)


NODE = """\
params: {{width: 8}}
inputs: {{x: {{shape: [4]}}}}
nodes:
  h: {}
  y: {{layer: Dense, units: 3, activation: softmax}}
outputs: {{y: {{loss: sparse_categorical_crossentropy, loss_weight: $(width / 8)}}}}
{}"""
IN_NODES = {
    "nn.Linear(4, 8)": "{layer: Dense, units: 8}",
    "Dropout(0.25)": "{layer: Dropout, rate: 0.25}",
    "{layer: Dense(8, activation='relu')}": "{layer: Dense, units: 8, activation: relu}",
    "{layer: Dense, args: {units: 0x10, use_bias: false}}": "{layer: Dense, units: 0x10, use_bias: false}",
    "\n    layer: Dense\n    config:\n      units: $width  # as wide\n    trainable: false": "\n    "
    "layer: Dense\n    units: $width  # as wide\n    trainable: false",
    "\n    layer: Dense\n    config:\n      # as wide\n      units: $width": "\n    layer: Dense\n"
    "    config:\n      # as wide\n      units: $width",  # a comment would be lost
    "\n    layer: Dense  # first\n    config:\n      units: $width\n    trainable: false": "\n    "
    "layer: Dense  # first\n    units: $width\n    trainable: false",
    "\n    in_features: 4\n    layer: Linear\n    out_features: 8": "\n    layer: Dense\n    units: 8",
    "{Dense: {units: 8}, from: x}": "{layer: Dense, units: 8, from: x}",
    "[{layer: Dense}, {units: 8}]": "{layer: Dense, units: 8}",
    "{layer: nn.Tanh, from: x}": "{layer: Activation, activation: tanh, from: x}",
    "{layer: Dense, units: [64, 32], from: x}": "{layer: Dense, from: x, repeat: {units: [64, 32]}}",
    "{layer: LayerNorm, normalized_shape: 4}": "{layer: LayerNormalization}",
    "{layer: LayerNorm, normalized_shape: 5}": "{layer: LayerNormalization, normalized_shape: 5}",
    "{layer: Softmax, dim: -1}": "{layer: Softmax, axis: -1}",
    "{layer: Dense, units: 8, use_bias: 1}": "{layer: Dense, units: 8, use_bias: true}",
    "{compute: np.exp(x) ^ 2}": "{compute: exp(x) ** 2}",
    "{layer: Dense, units: 8, from: -1}": "{layer: Dense, units: 8}",
    "{layer: Dense, units:\u00a08}": "{layer: Dense, units: 8}",
    "{layer: Dense, units\uff1a 8}": "{layer: Dense, units: 8}",
    "{layer: Dense, units: '{width}'}": "{layer: Dense, units: $width}",
    "{layer: Dense, args: [8, relu]}": "{layer: Dense, units: 8, activation: relu}",
    "{layer: nn.Linear, args: [4, 8], from: x}": "{layer: Dense, units: 8, from: x}",
    "{class_name: Dense, config: {units: 8}}": "{layer: Dense, units: 8}",
    "{_target_: torch.nn.Linear, in_features: 4, out_features: 8}": "{layer: Dense, units: 8}",
    "{Dense: 8, from: x}": "{layer: Dense, units: 8, from: x}",
    "{name: h, layer: Dense, units: 8}": "{layer: Dense, units: 8}",
    "{name: first, layer: Dense, units: 8}": "{name: first, layer: Dense, units: 8}",
    "{layer: Dense, units: 8, inputs: x}": "{layer: Dense, units: 8, from: x}",
    "{layer: Dense, units: 8, from: inputs.x}": "{layer: Dense, units: 8, from: x}",
    "{layer: Dense, units: 8, times: 3}": "{layer: Dense, units: 8, repeat: 3}",
    "{layer: Dense, units: 8, kernel_regularizer: l2(0.01)}": "{layer: Dense, units: 8, "
    "kernel_regularizer: {name: l2, l2: 0.01}}",
    "{layer: Concatenate, from: [x, x], axis: -1}": "{merge: concatenate, from: [x, x], axis: -1}",
    "{layer: BatchNorm1d, momentum: 0.1}": "{layer: BatchNormalization, momentum: 0.9}",
    "nn.BatchNorm1d(4, 1e-5, 0.01)": "{layer: BatchNormalization, epsilon: 1.0e-05, momentum: 0.99}",
    "\n    layer = Dense\n    units = $width": "\n    {layer: Dense, units: $width}",
    "{layer: Dense, units: {{ width }}}": '{layer: Dense, units: "$width"}',
    "x * 2 + tanh(x)": "{compute: x * 2 + tanh(x)}",
    "$(x - 1)": "{compute: x - 1}",
    "{compute: $x * $width}": "{compute: x * $width}",
    "{add: [x, x]}": "{merge: add, from: [x, x]}",
    "{tanh: x}": "{op: tanh, from: x}",
    "{layer: Dense, units: 8, kernel_initializer: HeNormal(seed=1)}": "{layer: Dense, units: 8, "
    "kernel_initializer: {name: he_normal}}",
}
IN_SECTIONS = {
    "train: {optimizer: {type: adam, learning_rate: 1e-3}}": "train: {optimizer: {name: adam, "
    "learning_rate: 1e-3}}",
    "train: {optimizer: {class_name: adam, config: {learning_rate: 1e-3}}}": "train: {optimizer: "
    "{name: adam, learning_rate: 1e-3}}",
    "train: {optimizer: 'Adam(lr=0.001)'}": "train: {optimizer: {name: adam, learning_rate: 0.001}}",
    "train: {optimizer: [adamw, 0.003]}": "train: {optimizer: {name: adamw, learning_rate: 0.003}}",
    "train: {optimizer: [sgd, {lr: 0.1}]}": "train: {optimizer: {name: sgd, learning_rate: 0.1}}",
    "train: {optimizer: [sgd, 0.1, 0.9]}": "train: {optimizer: [sgd, 0.1, 0.9]}",
    "train: {optimizer: 'Adam(0.01, epsilon=0.1)'}": "train: {optimizer: {name: adam, learning_rate: 0.01, "
    "epsilon: 0.1}}",
    "fit: {epochs: 3}": "train: {epochs: 3}",
    "train: {grad_clip: 1.0, optimizer: sgd}": "train: {optimizer: {name: sgd, global_clipnorm: 1.0}}",
    "train: {lr: $(width / 8000), optimizer: sgd}": "train: {lr: $(width / 8000), optimizer: sgd}",
    "train: {optimizer: {name: adam, params: {beta_1: 0.8}}}": "train: {optimizer: {name: adam, "
    "beta_1: 0.8}}",
    "train: {optimizer: {name: adamw, betas: [0.8, 0.99]}}": "train: {optimizer: {name: adamw, beta_1: 0.8, "
    "beta_2: 0.99}}",
    "train: {optimizer: {name: sgd, schedule: {name: cosine_decay}}}": "train: {optimizer: {name: sgd}, "
    "schedule: {name: cosine_decay}}",
    "train: {optimizer: {name: sgd, learning_rate: 0.1}, early_stopping: {monitor: loss}}": "train: "
    "{optimizer: {name: sgd, learning_rate: 0.1}, callbacks: {early_stopping: {monitor: loss}}}",
    "train: {early_stopping_monitor: loss, seed: 3}": "train: {seed: 3, callbacks: {early_stopping: "
    "{monitor: loss}}}",
    "train: {early_stopping: {patience: 3, monitor: loss}}": "train: {callbacks: {early_stopping: "
    "{patience: 3, monitor: loss}}}",
    "train: {callbacks: [{name: early_stopping, patience: 3, monitor: loss}]}": "train: {callbacks: "
    "{early_stopping: {patience: 3, monitor: loss}}}",
    "train: {precision: 16-mixed}": "train: {precision: bf16}",
    "epochs: 3\ntrain: {seed: 1}": "train: {seed: 1, epochs: 3}",
    "train: {epochs: 1}\ntune: {objective: loss, search: {width: {float: [16, 64], log: true}}}": "train: "
    "{epochs: 1}\ntune: {objective: loss, search: {width: {int: [16, 64], log: true}}}",
    "train: {epochs: 1}\ntune: {objective: loss, search: {width: {float: [16.5, 64]}}}": "train: "
    "{epochs: 1}\ntune: {objective: loss, search: {width: {float: [16.5, 64]}}}",
}
MONTHLY = """\
inputs: {{x: {{shape: [4]}}}}
nodes: {{y: {{layer: Dense, units: 2}}}}
outputs: {{y: {{loss: mse}}}}
data:
  train: d.csv
  windows: {{order: t, past: 4, next: 2, every: {}}}
  features: {{x: {{column: v, encode: number, steps: past}}, y: {{column: v, encode: number, steps: next}}}}
"""
WHOLE = {
    "inputs: {x: {shape: [null, 28, 28, 1]}}\nnodes: {y: {layer: Conv2D, filters: 4, kernel_size: 3}}\n"
    "outputs: {y: {loss: Huber(delta=0.5)}}\n": "inputs: {x: {shape: [28, 28, 1]}}\nnodes: {y: {layer: "
    "Conv2D, filters: 4, kernel_size: 3}}\noutputs: {y: {loss: {name: huber, delta: 0.5}}}\n",
    "inputs: {x: {shape: [5, 4]}}\nnodes: {y: {layer: MultiHeadAttention, num_heads: 2, key_dim: 8, from: {"
    "q: x, K: x, v: x}}}\noutputs: [y]\n": "inputs: {x: {shape: [5, 4]}}\nnodes: {y: {layer: "
    "MultiHeadAttention, num_heads: 2, key_dim: 8, from: {query: x, key: x, value: x}}}\noutputs: [y]\n",
    **{
        MONTHLY.format(wrong): MONTHLY.format(right)
        for wrong, right in {"month": "1mo", "2 Weeks": "2w", "H": "1h", "m": "m"}.items()
    },
    "params: {w: 8}\ninputs: {x: {shape: [n, 8]}}\nnodes:\n  a: {layer: MultiheadAttention, embed_dim: $w, "
    "num_heads: 2, from: {query: x, value: x}}\n  y: {layer: LSTM, num_layers: 1, units: 3}\noutputs: y\n": ""
    "params: {w: 8}\ninputs: {x: {shape: [n, 8]}}\nnodes:\n  a: {layer: MultiHeadAttention, key_dim: "
    "$(w // 2), num_heads: 2, from: {query: x, value: x}}\n  y: {layer: LSTM, units: 3}\noutputs: y\n",
    "```yaml\ninputs: {x: {shape: [-1, 4]}}\nnodes:\n  y: Dense(3)\noutputs: [y]\n```\n": "inputs: {x: "
    "{shape: [4]}}\nnodes:\n  y: {layer: Dense, units: 3}\noutputs: [y]\n",
    "model:\n  inputs: {x: {shape: [4]}}\n  nodes: {y: {layer: Dense, units: 3}}\n  outputs: [y]\n": ""
    "inputs: {x: {shape: [4]}}\nnodes: {y: {layer: Dense, units: 3}}\noutputs: [y]\n",
    "inputs: {x: {shape: [4}}\nnodes: {y: {layer: Dense, units: 3}}}\noutputs: [y]\nloss: mse\n": "inputs: "
    "{x: {shape: [4]}}\nnodes: {y: {layer: Dense, units: 3}}\noutputs: {y: {loss: mse}}\n",
    "inputs\uff1a\n  x: {shape: [4]}\u00a0\nnodes:\n  - {id: y, layer: Dense, units: 3}\noutputs: {y: "
    "{metrics: 'mae, mse'}}\ntrain: {loss: mse, epochs: 2}\n": "inputs:\n  x: {shape: [4]}\nnodes:\n  y: "
    "{layer: Dense, units: 3}\noutputs: {y: {metrics: [mae, mse], loss: mse}}\ntrain: {epochs: 2}\n",
    " inputs:\n  - name: x\n    shape: [batch, 4]\nnodes:\n  - {name: y, layer: Dense, units: 3}\noutputs:\n"
    "  - {name: y, loss: mse}\n": "inputs:\n  x: {shape: [4]}\nnodes:\n  y: {layer: Dense, units: 3}\n"
    "outputs:\n  y: {loss: mse}\n",
    "// a model\ninputs: {t: {type: image, shape: [28, 28]}}\nnodes:\n  c: {layer: Conv2D, filters: 2, "
    "kernel_size: 3x3}\n  y: {layer: Flatten}\noutputs: {y: {loss: mse, metrics: {mae: {}}}}\n": "# a model\n"
    "inputs: {t: {shape: [28, 28, 1]}}\nnodes:\n  c: {layer: Conv2D, filters: 2, kernel_size: [3, 3]}\n"
    "  y: {layer: Flatten}\noutputs: {y: {loss: mse, metrics: [mae]}}\n",
}
INPUTS = """\
params: {{w: 8}}
inputs: {{x: {{shape: [5, 4]{}}}}}
blocks:
  b: {{{}: {{n: required}}, inputs: [x], nodes: {{d: {{layer: Dense, units: $n}}}}}}
nodes:
  h: {}
  y: {{layer: Dense, units: 3, from: h, activation: softmax}}
outputs: {}
"""
OF_BLOCKS = {
    "{block: b, params: {n: $w}, repeat: 2}": "{block: b, n: $w, repeat: 2}",
    "{block: b, n: $w, repeats: 2}": "{block: b, n: $w, repeat: 2}",
    "{b: {n: $w}, repeat: 2}": "{block: b, n: $w, repeat: 2}",
    "{block: b(n=8), when: $(w > 2)}": "{block: b, when: $(w > 2), n: 8}",
}
LOSS = "{y: {loss: sparse_categorical_crossentropy}}"
MENDED = {
    **{
        INPUTS.format("", "params", wrong, LOSS): INPUTS.format("", "params", right, LOSS)
        for wrong, right in OF_BLOCKS.items()
    },
    INPUTS.format(", dtype: torch.FloatTensor", "args", "{block: b, n: $w}", LOSS): INPUTS.format(
        ", dtype: float32", "params", "{block: b, n: $w}", LOSS
    ),
    INPUTS.format("", "params", "{block: b, n: $w}", "[y]\ncompile: {loss: mse}"): INPUTS.format(
        "", "params", "{block: b, n: $w}", "{y: {loss: mse}}"
    ),
    **{NODE.format(wrong, ""): NODE.format(right, "") for wrong, right in IN_NODES.items()},
    **{
        NODE.format("{layer: Dense, units: $width}", f"{wrong}\n"): NODE.format(
            "{layer: Dense, units: $width}", f"{right}\n"
        )
        for wrong, right in IN_SECTIONS.items()
    },
    **WHOLE,
}


@bundled(8, "wrong", list(MENDED))
def test_whole_nodes_are_mended_and_keep_their_literals(wrong: str) -> None:
    result = fixed(wrong, "spec.yaml", check).text
    assert result == MENDED[wrong]
    assert emitted(result) is not None or result == wrong or "normalized_shape: 5" in result


DROPPED = re.compile(
    r"in_features|in_channels|normalized_shape|num_features|shuffle|inplace|batch_first|from: -1"
)
"""Entries that say what holds anyway, and go with their values."""


@bundled(16, "index", range(len(MISTAKES)))
def test_no_number_of_anyone_is_lost_and_nothing_new_is_wrong_there(index: int) -> None:
    good, right, wrong = MISTAKES[index]
    text, result = good.replace(right, wrong), mended(index)
    numbers = [re.findall(r"(?<![\w.])\d+(?:\.\d+)?", each) for each in (text, result)]
    if not DROPPED.search(wrong):
        assert sorted(numbers[0]) == sorted(numbers[1]) or re.search(r"\d[_,]\d|%|\d\.0\b|[^ -~\n]", wrong), (
            result
        )
    before, after = ({each.message for each in check(each)[0]} for each in (text, result))
    lines = [
        n for n, (a, b) in enumerate(zip(text.split("\n"), result.split("\n"), strict=False), 1) if a != b
    ]
    new = [each for each in check(result)[0] if each.severity == "error" and each.message in after - before]
    assert not [each for each in new if each.span is not None and each.span.line in lines]


def test_fixes_of_a_file_keep_its_comments_and_are_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    wrong = IMAGES.replace("Conv2D", "Conv2d").replace("units: 10", "inplace: true, units: 10")
    wrong = wrong.replace("  epochs: 3\n", "  epochs: 3\n  shuffle: true  # always\n").replace("\n", "\r\n")
    Path("spec.yaml").write_bytes(wrong.encode())
    shown = CliRunner().invoke(app, ["check", "spec.yaml", "--diff"])
    assert shown.exit_code == 1 and "-  shuffle: true  # always" in shown.output
    assert Path("spec.yaml").read_bytes() == wrong.encode()
    (told,) = json.loads(CliRunner().invoke(app, ["check", "spec.yaml", "--diff", "--json"]).output)["files"]
    assert "fixed" not in told and told["fixable"] == 4 and "-  shuffle: true  # always" in told["diff"]
    done = CliRunner().invoke(app, ["check", "spec.yaml", "--fix", "--json"])
    (told,) = json.loads(done.output)["files"]
    assert (done.exit_code, told["fixed"], told["diagnostics"]) == (0, 4, [])
    assert Path("spec.yaml").read_bytes() == IMAGES.replace("\n", "\r\n").encode()


def test_an_unsafe_fix_waits_until_it_is_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    wrong = TEXTS.replace("from: [attention, x]", "from: [attention1, x]")
    Path("spec.yaml").write_text(wrong)
    told = json.loads(CliRunner().invoke(app, ["check", "spec.yaml", "--fix", "--json"]).output)
    ((mistake,), fixed) = (told["files"][0]["diagnostics"], told["files"][0]["fixed"])
    assert (fixed, mistake["fix"]["applicability"]) == (0, "unsafe")
    line = TEXTS.splitlines().index("      sum:       {merge: add, from: [attention, x]}") + 1
    assert mistake["fix"]["edits"] == [
        {
            "file": "spec.yaml",
            "line": line,
            "column": 38,
            "end_line": line,
            "end_column": 48,
            "content": "attention",
        }
    ]
    assert CliRunner().invoke(app, ["check", "spec.yaml", "--unsafe-fixes"]).exit_code == 0
    assert Path("spec.yaml").read_text() == TEXTS


def test_mistakes_beyond_a_number_are_not_counted_and_the_other_files_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("graphspec.diagnostics.collecting.MAX_ERRORS", 5)
    nodes = "".join(f"  a{i}: {{layer: Dens, units: 3, activation: relu}}\n" for i in range(8))
    Path("many.yaml").write_text(f"inputs: {{x: {{shape: [4]}}}}\nnodes:\n{nodes}outputs: [a7]\n")
    Path("other.yaml").write_text(IMAGES.replace("units", "unitz"))
    done = CliRunner().invoke(app, ["check", "many.yaml", "other.yaml"])
    end = "6 errors in 2 files; a check ends after 5 in a file, so there may be more\n"
    assert done.exit_code == 1 and done.output.endswith(end), done.output
    done = CliRunner().invoke(app, ["check", "many.yaml", "other.yaml", "--json"])
    assert [each.get("more") for each in json.loads(done.output)["files"]] == [True, None]
    done = CliRunner().invoke(app, ["check", "many.yaml", "--fix", "--json"])
    (told,) = json.loads(done.output)["files"]
    assert (done.exit_code, told["fixed"]) == (0, 8)


def test_standard_input_has_no_file_to_mend() -> None:
    done = CliRunner().invoke(app, ["check", "-", "--fix"], input=IMAGES)
    assert done.exit_code == 2 and "name one" in done.output


def test_a_comment_that_silences_nothing_is_removed() -> None:
    silent = IMAGES.replace("pool_size: [2, 2]}\n", "pool_size: [2, 2]}  # ok: dropout-last\n")
    assert fixed(silent, "spec.yaml", check) == Fixed(IMAGES, 1)


def test_what_check_prints_has_a_schema(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    schema = json.loads(CliRunner().invoke(app, ["schema", "--of", "check"]).output)
    for index, (good, right, wrong) in enumerate(MISTAKES[::9]):
        Path(f"{index}.yaml").write_text(good.replace(right, wrong))
    for options in (["."], [".", "--diff"], [".", "--fix"], ["absent.yaml"], ["--no-such-option"]):
        told = json.loads(CliRunner().invoke(app, ["check", *options, "--json"]).output)
        jsonschema.validate(told, schema)
    assert CliRunner().invoke(app, ["schema", "--of", "train"]).exit_code == 2


def test_a_file_that_cannot_be_written_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    name = "a" * 250 + ".yaml"  # a temporary file beside it has a name that is too long
    wrong = IMAGES.replace("Conv2D, filters: $width, kernel", "Conv2d, filters: $width, kernel")
    Path(name).write_text(f"{wrong}\n\n")
    for command in (["check", name, "--fix"], ["fmt", name]):
        done = CliRunner().invoke(app, command)
        assert (done.exit_code, "cannot be written" in done.output) == (2, True), done.output


def test_equal_mistakes_of_two_nodes_are_told_apart() -> None:
    """The second is hidden by the first, and is not what the fix of the first has left."""
    text = """\
inputs: {x: {shape: [6, 4]}}
nodes:
  first: {compute: "x - mean(x, -1, keepdims=true)"}
  second: {compute: "mean(first, -1)"}
outputs: {second: {loss: mse}}
"""
    right = text.replace("(x, -1,", "(x, axis=-1,").replace("(first, -1)", "(first, axis=-1)")
    assert fixed(text, "spec.yaml", check) == Fixed(right, 2)


@pytest.mark.parametrize(
    ("written", "right"),
    {
        "transpose(x, 0, 2, 1)": "transpose(x, axes=[0, 2, 1])",
        "expand_dims(x, -1)": "expand_dims(x, axis=-1)",
        "sum(x, -1, keepdims=true)": "sum(x, axis=-1, keepdims=true)",
        "reshape(x, -1, 6, 4)": "reshape(x, newshape=[-1, 6, 4])",
        "reshape(x, [-1, 4, 6])": "reshape(x, newshape=[-1, 4, 6])",
        "einsum('bij,bkj->bik', x, x)": "einsum([x, x], subscripts='bij,bkj->bik')",
        "einsum([x, x], 'bij,bkj->bik')": "einsum([x, x], subscripts='bij,bkj->bik')",
        # what another library's order of arguments or of axes may mean is left
        **{each: each for each in ("norm(x, 2)", "softmax(x, 1)", "transpose(x, 0, 1)", "split(x, 2)")},
    }.items(),
)
def test_arguments_without_names_get_them(written: str, right: str) -> None:
    text = f'inputs: {{x: {{shape: [6, 4]}}}}\nnodes: {{y: {{compute: "{written}"}}}}\noutputs: [y]\n'
    assert fixed(text, "spec.yaml", check).text == text.replace(written, right)


LISTED_BLOCK = """\
inputs: {x: {shape: [4]}}
blocks:
  b:
    inputs: x
    params: [n, act]
    nodes:
      - {name: a, layer: Dense, units: $n, activation: $act}
nodes:
  y: {block: b, n: 3, act: relu}
outputs: {y: {loss: mse}}
"""


def test_a_block_of_lists_is_told_at_once_and_mended() -> None:
    errors, _ = check(LISTED_BLOCK)
    assert [(error.span and error.span.line, error.code) for error in errors] == [
        (line, "wrong-type") for line in (4, 5, 7)
    ]
    mended = fixed(LISTED_BLOCK, "spec.yaml", check)
    assert "inputs: [x]" in mended.text and "params: {n: required, act: required}" in mended.text
    assert check(mended.text)[0] == []


TABLE = """\
inputs: {a: {shape: [1]}}
nodes: {kind: {layer: Dense, units: 3, activation: softmax}}
outputs: {kind: {loss: sparse_categorical_crossentropy}}
data:
  train: t.csv
  features: {a: {columns: [age], encode: number}, kind: {column: kind, encode: category}}
"""


@pytest.mark.parametrize(
    ("right", "wrong", "mended", "unsafe"),
    [
        ("train: t.csv", "train: t.csv", "train: {path: t.csv, delimiter: ;}", False),
        ("train: t.csv", "train: {path: t.csv, delimiter: '|'}", "train: {path: t.csv, delimiter: ;}", False),
        ("[1]}", "[2]}", "[1]}", True),
        (", activation: softmax", "", ", activation: softmax", True),
        ("inputs:", "params: {n: 8}\ninputs:", "params: {}\ninputs:", True),
    ],
)
def test_what_data_and_losses_need_is_written_where_it_belongs(
    right: str, wrong: str, mended: str, unsafe: bool, tmp_path: Path
) -> None:
    """Another delimiter can only have been meant; a shape and an activation are somebody's choice."""
    (tmp_path / "t.csv").write_text("age;kind\n1;a\n2;b\n3;c\n")
    good = TABLE if right == "train: t.csv" else TABLE.replace("t.csv", "{path: t.csv, delimiter: ;}")

    def check(text: str) -> tuple[list[Diagnostic], dict[str, str]]:
        diagnostics, sources = Diagnostics(), dict[str, str]()
        check_spec_text(text, "spec.yaml", tmp_path / "spec.yaml", diagnostics, sources)
        return diagnostics.sorted(), sources

    text = good.replace(right, wrong)
    assert fixed(text, "spec.yaml", check, unsafe) == Fixed(good.replace(right, mended), 1)
    if unsafe:
        assert fixed(text, "spec.yaml", check) == Fixed(text, 0)


WINDOWS = """\
inputs: {past: {shape: [14]}}
nodes: {sales: {layer: Dense, units: 7}}
outputs: {sales: {loss: mse}}
data:
  train: sales.csv
  windows: {order: day, past: 14, next: 7}
  features:
    past: {column: sales, encode: number, steps: past}
    sales: {encode: number, steps: next}
"""


def test_a_column_that_fills_the_steps_of_an_input_gets_them() -> None:
    text = WINDOWS.replace(", steps: past", "")

    def check(text: str) -> tuple[list[Diagnostic], dict[str, str]]:
        diagnostics, sources = Diagnostics(), dict[str, str]()
        check_spec_text(text, "spec.yaml", None, diagnostics, sources, data=False)
        return diagnostics.sorted(), sources

    assert fixed(text, "spec.yaml", check) == Fixed(WINDOWS, 1)
    assert fixed(text.replace("[14]", "[12]"), "spec.yaml", check).count == 0

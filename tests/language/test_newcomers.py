"""Specs as people write them who come from other libraries: one error each, with what to write."""

from __future__ import annotations

import re

import pytest

from graphspec.diagnostics import Diagnostic
from tests.language.test_messages import found

VECTOR, IMAGE, STEPS = "x: {shape: [4]}", "x: {shape: [32, 32, 3]}", "x: {shape: [20], dtype: int32}"
LAST, LOSS = "y: {layer: Dense, units: 3, activation: softmax}", "sparse_categorical_crossentropy"


def spec(nodes: str = "", head: str = VECTOR, out: str = f"loss: {LOSS}", more: str = "") -> str:
    lines = "".join(f"  {line}\n" for line in [*filter(None, nodes.split("\n"))])
    last = "" if "y: {" in nodes else f"  {LAST}\n"
    return f"inputs: {{{head}}}\nnodes:\n{lines}{last}outputs: {{y: {{{out}}}}}\n{more}"


def image(node: str) -> str:
    return spec(f"c: {{{node}}}\nf: {{layer: Flatten}}", IMAGE)


def embedded(node: str) -> str:
    return spec(f"e: {{layer: Embedding, input_dim: 9, output_dim: 8}}\nl: {{{node}}}", STEPS)


def dense(rest: str) -> str:
    return spec(f"h: {{layer: Dense, {rest}}}")


MISTAKES = {
    # shapes in the habit of other libraries
    spec(head="x: {shape: [?, 4]}"): ("wrong-type", "leave the batch axis out of a shape"),
    spec(head="x: {shape: [-1, 4]}"): ("out-of-range", r"write \[4\]: a shape leaves out the batch axis"),
    spec(head="x: {shape: [None, 4]}"): ("wrong-type", "the batch axis is left out"),
    spec(head="x: {shape: (4,)}"): ("yaml-syntax", r"write `\[4\]`"),
    spec(head="x: {shape: 28x28x1}"): ("wrong-type", r"write \[28, 28, 1\]"),
    spec(head="x: [4]"): ("wrong-type", r"write \{shape: \[4\]\}"),
    spec(head="x: {shape: [4], dtype: torch.float32}"): ("out-of-range", "did you mean `float32`"),
    spec("c: {layer: Conv2D, filters: 4, kernel_size: 3}\nf: {layer: Flatten}", "x: {shape: [12, 16]}"): (
        "wrong-rank",
        r"Conv1D; a gray image has one channel: shape: \[12, 16, 1\]",
    ),
    image("layer: Conv2D, filters: 4, kernel_size: 3x3"): ("wrong-type", r"write \[3, 3\]"),
    image("layer: Permute, dims: [0, 3, 1, 2]"): (
        "out-of-range",
        r"leave out the batch: `dims: \[3, 1, 2\]`",
    ),
    # letters and signs
    spec("h: {l\u0430yer: Dense, units: 3}"): ("unknown-key", "`layer`.* U\\+0430, cyrillic small letter a"),
    dense("units: 3, \u0430ctivation: relu"): ("unknown-key", "`activation`.* cyrillic"),
    spec("h: {layer: \uff24ense, units: 3}"): ("unknown-layer", "`Dense`.* fullwidth latin capital letter d"),
    spec("h: {layer: \u201cDense\u201d, units: 3}"): ("unknown-layer", "left double quotation mark"),
    spec("h: {layer: Dense\uff0c units: 3}"): ("yaml-syntax", "`\uff0c` is written instead of `,`"),
    spec("h: {op: sum, axis: \u20131}"): ("wrong-type", "write -1: `\u20131` has signs that only look like"),
    # around a spec
    "```yaml\n" + spec() + "```\n": ("yaml-syntax", "fence of code"),
    "Sure! A small classifier.\n\n" + spec(): ("yaml-syntax", "there is text above the spec"),
    "model = Sequential([\n  Dense(3)\n])\n": ("not-a-mapping", "this is Python"),
    # values that are used again
    dense("units: 8, activation: LeakyReLU(negative_slope=0.2)"): (
        "out-of-range",
        r"\{name: leaky_relu, negative_slope: 0.2\}",
    ),
    dense("units: 8, kernel_regularizer: l2(0.01)"): ("out-of-range", r"\{name: l2, l2: 0.01\}"),
    dense("units: 8, kernel_regularizer: 0.01"): ("wrong-type", r"\{name: l2, l2: 0.01\}"),
    dense("units: 4, activation: relu, times: 3"): ("unknown-key", "write `repeat"),
    dense("units: 4, name: first"): ("unknown-key", "the key of a node is its name"),
    embedded("layer: LSTM, units: 8, num_layers: 2"): ("unknown-key", "`repeat: 2`"),
    embedded("layer: LSTM, units: 8, bidirectional: true"): ("unknown-key", "wraps: {layer"),
    spec(more="train: {early_stopping: 5}\n"): ("unknown-key", r"\{early_stopping: \{patience: 5\}\}"),
    spec(more="train: {callbacks: [csv_logger]}\n"): ("wrong-type", r"write \{csv_logger: \{\}\}"),
    spec(more="train: {callbacks: [{early_stopping: {patience: 7}}]}\n"): ("wrong-type", "patience: 7"),
    spec(more="train: {val_split: 0.3}\n"): ("unknown-key", r"\{validation: \{split: 0.3\}\}"),
    spec(more="data: {train: d.npz, validation_split: 0.2}\n"): ("unknown-key", r"\{split: 0.2\}"),
    spec(more="tune: {search: {train.batch_size: {min: 8, max: 16}}}\n"): (
        "no-form",
        r"write \{int: \[8, 16\]\}",
    ),
    spec(more="tune: {search: {train.optimizer.learning_rate: {loguniform: [0.001, 0.1]}}}\n"): (
        "unknown-key",
        r"write \{float: \[0.001, 0.1\], log: true\}",
    ),
    "inputs: {x: {shape: [4]}}\nnodes:\n  - {layer: Dense, units: 7}\noutputs: [y]\n": (
        "wrong-type",
        r"`dense: \{layer: Dense, units: 7\}`",
    ),
    # what does not fit
    spec("a: {layer: Dense, units: 5, activation: relu}\nb: {merge: add, from: [x, a]}"): (
        "shapes-differ",
        "give both the same number of features, or bring `x`",
    ),
    spec(out=f"loss: {LOSS}, class_weight: {{7: 3}}"): ("out-of-range", "`y` has the classes 0 to 2"),
    spec("y: {layer: Dense, units: 1, activation: sigmoid}", out="loss: bce, class_weight: {2: 3}"): (
        "out-of-range",
        "`y` has the classes 0 to 1",
    ),
    spec(out=f"loss: {LOSS}, metrics: [loss]"): ("unknown-metric", "every epoch reports the loss"),
    image("layer: Conv2D, filters: 4, kernel_size: 3, data_format: channels_first"): (
        "channels-first",
        "seem to come last",
    ),
}


def all_of(diagnostic: Diagnostic) -> str:
    return f"{diagnostic.message}; {diagnostic.help}"


@pytest.mark.parametrize(("text", "meant"), MISTAKES.items(), ids=range(len(MISTAKES)))
def test_a_mistake_of_a_newcomer(text: str, meant: tuple[str, str]) -> None:
    code, words = meant
    told, _ = found(text)
    assert [each.code for each in told] == [code], [all_of(each) for each in told]
    assert re.search(words, all_of(told[0])), all_of(told[0])

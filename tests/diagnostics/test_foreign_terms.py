"""Words of other tools are told what they are here."""

from __future__ import annotations

from pathlib import Path

import pytest

from graphspec.compiler import compile
from graphspec.data.mistakes import lacks, missing, remedy
from graphspec.diagnostics import Diagnostics, SpecError
from graphspec.fixing.checking import check_spec_text

SPEC = """\
inputs:
  x: {{shape: [8]}}
  images: {{shape: [32, 28, 3]}}
nodes:
  h: {{{node}}}
  y: {{layer: Dense, units: 1}}
outputs:
  y: {{loss: mse{output}}}
{more}
"""
DATA = "data: {{train: t.csv, features: {{x: {{columns: [a], encode: {}}}}}{}}}"


@pytest.mark.parametrize(
    ("where", "written", "help"),
    [
        ("node", "layer: Dense, units: 4, input_dim: 8", "delete it: the size is that of the input"),
        ("node", "layer: Dense, units: 8, residual: true", "a node below it: write {merge: add"),
        ("node", "layer: Dense, units: 4, repeat: {n: 3}", "write `repeat: 3`"),
        ("node", "layer: TimeDistributed, layer: Dense", "wraps: {layer: ..., units: ...}"),
        ("node", "layer; Dense, units: 4", "write `layer: Dense`"),
        ("node", "layer: Dense, units: 4, from: h", "leave `from` out for the one above it"),
        ("node", "call: gate, from: x", "declare it: shared: {gate: {layer: ...}}"),
        ("output", ", metrics: {accuracy}", "write [accuracy]"),
        ("more", "hyperparameters: {a: 1}", "did you mean `params`?"),
        ("node", "layer: TimeDistributed, layer: Dense, units: 2", "write `wraps: {layer: Dense, units: 2}`"),
        ("node", "compute: 'x.mean(dim=1, keepdim=True)'", "`mean(x, axis=1, keepdims=True)`"),
        ("output", "}\n  h: {loss: [mse, mae]", "second output reads the same node: {from: NODE, loss: mae}"),
        ("output", "}\n  h: {loss: {mse: 1, mae: 0.5}", "{from: NODE, loss: mae, loss_weight: 0.5}"),
        ("more", "train: {callbacks: [EarlyStopping]}", "write {early_stopping: {}}"),
        ("more", "train: {learning_rate_init: 0.1}", "optimizer: {name: rmsprop, learning_rate: 0.1}"),
        ("more", "train: {optimizer: {name: sgd, learning_rate: {name: cosine, T_max: 9}}}", "_steps: 9"),
        ("more", "train: {epochs: '2.5'}", "write a number, such as 3"),
        ("more", "train: {epochs: '3.0'}", "write 3"),
        ("more", "data: {source: t.csv}", "did you mean `train`?"),
        ("more", "data: {train: t.csv, nrows: 9}", "`graphspec train --limit N`"),
        ("more", "data: {train: t.csv, features: {x: [a, b]}}", '{columns: ["a", "b"], encode: number}'),
        ("more", DATA.format("label", ""), "did you mean `category`?"),
        ("node", "layer: LSTM, units: 4, bidirectional: true", "wraps: {layer: LSTM, ...}}"),
        ("node", "model: bert-base-uncased", "`graphspec import huggingface FOLDER -o bert-base-uncased`"),
        ("output", ", metrics: [roc_auc_score]", "write `auc`"),
        ("more", "train: {optimizer: {name: sgd, decay: 0.5}}", "{name: inverse_time_decay, decay_rate: 0.5"),
        ("more", "train: {warmup_ratio: 0.1}", "{name: cosine_decay, warmup_steps: 100}"),
        ("more", "train: {bf16: true}", "write `precision: bf16`"),
        ("more", "train: {cv: 4}", "`graphspec train --folds 4`"),
        ("more", DATA.format("number", ", test_size: 0.2"), "write validation: {split: 0.2}"),
        ("more", DATA.format("OneHotEncoder", ""), "write {encode: category}"),
        ("more", DATA.format("text, tokenizer: org/name", ""), 'AutoTokenizer.from_pretrained("org/name")'),
        ("node", "layer: Conv1D, filters: 2, kernel_size: 3, from: images", "the batch axis: [28, 3]"),
        ("more", "// the rest", "write `# the rest`"),
        ("node", "layer: Dense, units: 4}\n  z\uff1a {layer: Dense, units: 2", "write `:`"),
        ("output", ", target: pricee", "did you mean `price`?"),
        (
            "more",
            "train: {epochs: 1}\ntune: {trials: 2, search: {train.epochs: {min: 2, max: 9, log: true}}}",
            "write {int: [2, 9], log: true}",
        ),
    ],
)  # fmt: skip
def test_words_of_other_tools(where: str, written: str, help: str) -> None:
    parts = {"node": "layer: Dense, units: 4, from: x", "output": "", "more": "", where: written}
    parts["more"] = parts["more"] or DATA.format("number}, price: {encode: number", "")
    found = Diagnostics()
    check_spec_text(SPEC.format(**parts), "s.yaml", None, found, {}, data=False)
    told = [f"{each.message} {each.help}" for each in found if each.severity == "error"]
    assert any(help in each for each in told), told


def test_a_number_that_is_not_read_has_no_further_mistake() -> None:
    found = Diagnostics()
    text = SPEC.format(node="layer: Dense, from: x, units: 2", output="", more="")
    text = text.replace("units: 1", f"units: {10**20}").replace("mse", "sparse_categorical_crossentropy")
    check_spec_text(text, "s.yaml", None, found, {})
    assert [each.code for each in found if each.severity == "error"] == ["number-too-large"]


def test_names_of_files_and_arrays_are_told_as_they_are_written() -> None:
    assert missing(Path("~/t.csv")).diagnostics[0].help == f"write `{Path('~/t.csv').expanduser()}`"
    (told,) = lacks("t.npz", "array", "x", ["X_train", "y_train"], remedy("array", "x")).diagnostics
    assert told.help is not None and told.help.startswith(
        "rename it where it is saved: numpy.savez(FILE, x=X_train, ...); another name of a target"
    )


def test_params_in_python_are_told_as_python_writes_them() -> None:
    spec = {
        "inputs": {"x": {"shape": [4]}},
        "nodes": {"y": {"layer": "Dense", "units": 1}},
        "outputs": ["y"],
    }
    for given in ({"params": {"units": 3}}, {"settings": {"units": 3}}):
        with pytest.raises(SpecError) as error:
            compile(spec, **given)  # type: ignore[arg-type]
        assert error.value.diagnostics[0].help == 'write `settings={"nodes.y.units": ...}`'

"""What data, runs and settings are told where a value says what was meant: the remedy is chosen by it."""

from __future__ import annotations

import gzip
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from graphspec.cli.app import app
from graphspec.data.lookalikes import number_remedy
from graphspec.diagnostics.foreign_terms import AUGMENTATIONS
from tests import bundled

TABLE = """\
inputs: {x: {shape: [1]}}
nodes: {y: {layer: Dense, units: UNITS}}
outputs: {y: {loss: LOSS}}
data: {train: t.csv}
train: {epochs: 1}
"""
IMAGES = """\
inputs: {image: {shape: SHAPE}}
nodes: {f: {layer: GlobalAveragePooling2D}, y: {layer: Dense, units: 2, activation: softmax}}
outputs: {y: {loss: sparse_categorical_crossentropy}}
data: DATA
train: {epochs: 1}
"""


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(*arguments: str, code: int = 1) -> str:
    result = CliRunner().invoke(app, list(arguments), prog_name="graphspec")
    assert result.exit_code == code, result.output
    return " ".join(result.output.split())


def train(*arguments: str, code: int = 1) -> str:
    return run("train", "s.yaml", "--device", "cpu", *arguments, code=code)


def table(rows: str, units: str = "1", loss: str = "mse") -> None:
    Path("t.csv").write_text("x,y\n" + rows)
    Path("s.yaml").write_text(TABLE.replace("UNITS", units).replace("LOSS", loss))


def picture(path: str) -> None:
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 8)).save(path)


@bundled(
    16,
    ("cell", "beside", "remedy"),
    [
        ("1,200", ["3,400", "5"], 'the comma separates thousands: write `thousands: ","` at the feature'),
        ("1,200", ["3,4", "5"], "the comma is the decimal mark"),
        ("1,5", [], "the comma is the decimal mark"),
        ("1.200.300", [], 'the point separates thousands: write `thousands: "."` at the feature'),
        ("1 200", [], 'the space separates thousands: write `thousands: " "` at the feature'),
        ("$3.50", [], "`$` is a unit: write `prefix: $$` at the feature"),
        ("3 kg", [], "`kg` is a unit"),
        ("12%", [], "`%` is a unit"),
        ("2024-01-05", [], "it is a date: {encode: date, parts: [year, month, day]}"),
        ("01/05/2024", ["02/13/2024"], 'format: "%m/%d/%Y"'),
        ("31.12.2024", [], 'format: "%d.%m.%Y"'),
        ("12:30", [], "it is a time"),
        ("(5)", [], "write -5 in the file"),
        ("\u22125", [], "its minus is another character: write -5 in the file"),
        ("\uff15\uff10", [], "its digits are other characters: write 50 in the file"),
        ("N/A", [], 'write `na_values: ["", "N/A"]`'),
        ("", [], 'write `na_values: [""]`'),
        ("red", [], None),
        ("10-20", [], None),
    ],
)
def test_a_text_among_numbers_tells_its_remedy(cell: str, beside: list[str], remedy: str | None) -> None:
    found = number_remedy(cell, beside)
    assert found is None if remedy is None else remedy in (found or "")


def test_a_point_in_a_file_with_a_decimal_comma_is_one() -> None:
    remedy = 'leave `decimal` out; or where other columns have another, `decimal: "."` at the feature'
    assert number_remedy("1.5", [], ",") == f"the point is the decimal mark: {remedy}"


@pytest.mark.parametrize(
    ("rows", "units", "loss", "told"),
    [
        ('"1,200",0\n"3,400",1\n', "1", "mse", "help: the comma separates thousands"),
        ("2024-01-05,0\n", "1", "mse", "parts: [year, month, day]}, for `x` under `features`"),
        ('"5,0\n3,1\n', "1", "mse", "help: a quote in it does not close"),
        ("1,0\n\uff15,1\n", "1", "mse", 'line 3: "\uff15" is not a number'),
        (
            "1,0\n2\n",
            "1",
            "mse",
            "of a missing value, nothing but its `,`",
        ),
        ("1,0\n2;1\n", "1", "mse", "help: it has another delimiter, ;: write it as the others"),
        ("1,0\n2,1,3\n", "1", "mse", "help: put a cell that contains the delimiter in quotes"),
        ("", "1", "mse", "help: its first line is the header: write a line for each example below it"),
        (
            "0,1.5\n1,2\n",
            "3, activation: softmax",
            "sparse_categorical_crossentropy",
            "help: to predict a number, write `units: 1`",
        ),
        ("0,-1\n1,1\n", "1, activation: sigmoid", "binary_crossentropy", "help: write 0 for -1"),
    ],
)
def test_rows_that_do_not_fit(rows: str, units: str, loss: str, told: str) -> None:
    table(rows, units, loss)
    assert told in train()


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ([str(n * 1.5) for n in range(30)], "help: they are numbers: to predict one, write `units: 1`"),
        (["a", "b", "c", "d"], "help: write `units: 4`"),
        (["a", "a"], "help: there is nothing to tell apart"),
    ],
)
def test_a_target_with_other_classes_than_the_output(values: list[str], told: str) -> None:
    table(
        "".join(f"{n},{value}\n" for n, value in enumerate(values)),
        "3, activation: softmax",
        "sparse_categorical_crossentropy",
    )
    encoded = "data: {train: t.csv, features: {y: {encode: category}}}"
    Path("s.yaml").write_text(Path("s.yaml").read_text().replace("data: {train: t.csv}", encoded))
    assert told in train()


@pytest.mark.parametrize(
    ("shape", "told"),
    [
        ("[8, 8, 2]", "the input `image` has 2 channels"),
        ("[3, 8, 8]", "help: channels come last: write `shape: [8, 8, 3]`"),
        ("[null, null, 3]", "images are resized to one size"),
        ("[8, 3]", "a folder of images fills one input [height, width, channels]"),
    ],
)
def test_an_input_that_images_do_not_fit_is_found_by_check(shape: str, told: str) -> None:
    picture("images/a/1.png")
    picture("images/b/1.png")
    spec = IMAGES.replace("SHAPE", shape).replace("DATA", "{train: images}")
    if shape == "[8, 3]":
        spec = spec.replace("GlobalAveragePooling2D", "GlobalAveragePooling1D")
    Path("s.yaml").write_text(spec)
    for answer in (run("check", "s.yaml"), train()):
        assert "error[feature-misfit]" in answer and told in answer and "s.yaml:1:10" in answer


def test_images_without_folders_of_classes() -> None:
    picture("images/1.png")
    Path("s.yaml").write_text(IMAGES.replace("SHAPE", "[8, 8, 3]").replace("DATA", "{train: images}"))
    assert "help: a class is a folder of its own: `images/cats/1.png`" in run("check", "s.yaml")


@pytest.mark.parametrize(
    ("pictures", "value", "told"),
    [
        (["tables/pictures/a.png"], "a.png", "paths are relative to `tables`: write `root: pictures`"),
        (["a.png"], "a.png", "and there is one in"),
        (["tables/a.png"], "a", "with the ending of the file: `a.png`"),
        (["tables/sub/a.png"], "sub/b.png", "did you mean `a.png`?"),
        (["tables/sub/other.png"], "sub/zzzzzz.png", "help: paths are relative to `tables`"),
    ],
)
def test_a_picture_that_is_not_where_a_table_says(pictures: list[str], value: str, told: str) -> None:
    for each in pictures:
        picture(each)
    Path("tables").mkdir(exist_ok=True)
    Path("tables/t.csv").write_text(f"file,label\n{value},a\n{value},b\n")
    features = "{image: {column: file, encode: image}, y: {column: label, encode: category}}"
    data = f"{{train: tables/t.csv, features: {features}}}"
    Path("s.yaml").write_text(IMAGES.replace("SHAPE", "[8, 8, 3]").replace("DATA", data))
    assert told in train()


@pytest.mark.parametrize(
    ("file", "told"),
    [
        ("t.xlsx", "save the sheet as .csv"),
        ("t.pkl", "save its arrays with `numpy.savez`"),
        ("t.txt", "a table of text ends in .csv or .tsv"),
    ],
)
def test_a_file_of_another_format(file: str, told: str) -> None:
    table("1,2\n")
    Path("s.yaml").write_text(Path("s.yaml").read_text().replace("t.csv", file))
    Path(file).write_text("x")
    assert told in run("check", "s.yaml")


@bundled(
    16,
    ("written", "told"),
    [
        (
            "train: {optimizer: {name: adam, learning_rate: {name: cosine_decay, decay_steps: 9}}}",
            "write `schedule: {name: cosine_decay, decay_steps: 9}` next to `optimizer`",
        ),
        (
            "train: {optimizer: {name: adam, learning_rate: {class_name: CosineDecay, config: {alpha: 1}}}}",
            "write `schedule: {name: cosine_decay, alpha: 1}` next to `optimizer`",
        ),
        ("train: {optimizer: {name: adam, learning_rate: cosine}}", "write `schedule: {name: cosine_decay}`"),
        ("train: {schedule: OneCycleLR}", "write {name: cosine_decay, warmup_steps: ...}"),
        ("data: {train: t.csv, features: {x: {encode: onehot}}}", "write {encode: category}, and a node"),
        ("data: {train: t.csv, features: {x: {encode: label_encoder}}}", "write {encode: category}"),
        ("data: {train: t.csv, validation: 20%}", "write {split: 0.2}"),
        ("data: {train: t.csv, validation: 20}", "write {split: 0.2}"),
        ("data: {train: t.csv, validation: {split: 0.2, stratify: true}}", "write `stratify: COLUMN`"),
        ("data: 'https://example.com/t.csv'", "help: download it, and name the file"),
        ("data: {train: t.csv, features: {x: {column: [a, b], encode: number}}}", "write `columns: [a, b]`"),
        ("nodes: {y: {layer: Dense, units: '${oc.env:UNITS}'}}", "write `$name` of a param, whose value"),
        ("data: {train: t.csv, validation: {split: 0.2, random_state: 3}}", "did you mean `seed`?"),
        ("data: {train: t.csv, test: {split: 0.2}}", "validation: {column: part}"),
        ("nodes: {y: {layer: Dense, units: '{{ width }}'}}", "write `$width`"),
        ("data: {train: t.csv, features: {x: {encode: number, fill: average}}}", "did you mean `mean`?"),
        ("data: {train: t.csv, features: {x: {encode: number, scale: zscore}}}", "did you mean `standard`?"),
        ("data: {train: t.csv, features: {x: {encode: number, scale: true}}}", "write `standard`"),
        ("data: {train: t.csv, features: {x: {encode: number, scale: 0-1}}}", "did you mean `min_max`?"),
        ("data: {train: t.csv, features: {x: {encode: number, fill: drop}}}", "remove them from the file"),
        ("data: {train: t.csv, features: {x: {encode: number, fill: ffill}}}", "`gaps: fill` of `windows`"),
        ("train: {freeze: y}", 'write "y.*"'),
        (
            "data: {train: t.csv, features: {x: {encode: number, missing: mean}}}",
            "write `fill: ...` of an input",
        ),
        (
            "data: {train: t.csv, features: [{name: x, encode: number}]}",
            "names before the features: {x: {enc",
        ),
        ("data: {train: t.csv, features: [x, y]}", "write {x: {encode: ...}, y: {encode: ...}}"),
        ("data: {train: t.csv, features: {x: z}}", "write {column: z, encode: ...}"),
        ("data: {train: t.csv, target: z}", "outputs: {name: {target: z}}"),
        ("data: {train: t.csv, random_state: 4}", "train: {seed: 4}"),
        ("data: {train: t.csv, validation: {kfold: 5}}", "graphspec train SPEC --folds 5"),
        ("train: {parameter_groups: {'y.*': {lr: 0.1}}}", 'write [{match: "y.*", learning_rate: 0.1}]'),
        ("train: {phases: {a: {epochs: 1}, b: {epochs: 2}}}", "write [{epochs: 1}, {epochs: 2}]"),
        ("train: {loss_weights: {y: 0.5}}", "outputs: {y: {loss_weight: 0.5}}"),
        ("train: {devices: 4}", "graphspec train --devices 4"),
        ("train: {log_every_n_steps: 5}", "see `--progress`"),
        ("train: {schedule: {name: step, gamma: 0.1}}", "staircase: true"),
        ("outputs: {y: {loss: categorical_crossentropy, label_smoothing: 0.2}}", "label_smoothing: 0.2}"),
        ("outputs: {y: {loss: mse, target: [a, b]}}", "write `target: COLUMN`"),
        ("nodes: {y: 'nn.Linear(4, 8)'}", "write {layer: Dense, units: 8}"),
        ("nodes: {y: }", "say what it is, or delete it"),
        ("nodes: {y: {layer: Lambda, function: 'lambda t: tf.exp(t) + t'}}", "{compute: exp(x) + x}"),
        (
            "nodes: {y: {layer: Dense, units: 1, activation: [relu, tanh]}}",
            "write `relu`, and a node below it",
        ),
        (
            "nodes: {y: {layer: Dense, units: 1, bias_initializer: {class_name: Ones, config: {}}}}",
            "write {name: ones}",
        ),
        ("nodes: {y: {layer: Dense, units: 1, if: false}}", "a condition is written under `when`"),
        ("nodes: {y: {layer: Attention, heads: 2, from: [x, x]}}", "num_heads: 2"),
        ("nodes: {y: {constant: '1, 2'}}", "write constant: [1, 2]"),
        ("nodes: {y: {layer: EncoderLayer, nhead: 4}}", "write {block: std/transformer, heads: 4}"),
        ("params: {width: {default: 8}}", "write `width: 8`"),
        ("outputs: {y: {loss: mse, metrics: {mae, rmse}}}", "write [mae, rmse]"),
        ("outputs: {y: {criterion: mse}}", "did you mean `loss`?"),
        ("outputs: {y: [mse]}", "write {loss: mse}"),
        ("outputs: {y: {loss: mse, class_weight: auto}}", "did you mean `balanced`?"),
        ("train: {schedule: {type: linear, warmup: 5}}", "write {name: polynomial_decay, warmup_steps: 5}"),
        ("train: {batch_size: '32,'}", "write 32"),
        ("train: {steps: 1000}", "`epochs` sets the length of a training"),
        ("train: {callbacks: {early_stopping: {monitor: loss, mode: highest}}}", "did you mean `max`?"),
        (
            "tune: {objective: loss, search: [{name: a, values: [8, 9]}]}",
            "write search: {a: {choice: [8, 9]}}",
        ),
        ("tune: {objective: loss, search: {train.batch_size: {int: 8-64}}}", "write [8, 64]"),
        ("nodes: {y: {op: relu, x: x}}", "its tensors are written under `from`"),
        ("nodes: {y: {compute: relu(x) * 2.0f}}", "write `2.0`"),
        ("nodes: {y: {compute: 'if x > 0 then x else 0'}}", "write `where(x > 0, x, 0)`"),
        ("nodes: {y: {layer: resnet50}}", "graphspec import torch torchvision.models:resnet50"),
        ("nodes: {y: {layer: BiLSTM, units: 4}}", "{layer: Bidirectional, wraps: {layer: LSTM"),
        ("nodes: {y: {layer: Dense, units: 1, weights: imagenet}}", "takes published networks over"),
        ("generate: {length: 10}", "write generate: {tokens: {length: 10}}"),
        ("presets: [small]", "write {small: {width: 64}}"),
        ("presets: {small: {units: 8}}", "declare it: params: {units: 8}"),
        ("nodes: {y: {layer: Dense, units: $n[0]}}\nparams: {n: [1]}", 'write "$(n[0])"'),
        ("nodes: {y: {layer: Dense, units: $params.width}}\nparams: {width: 8}", "params have no prefix"),
    ],
)
def test_a_setting_in_the_form_of_another_library(written: str, told: str) -> None:
    table("1,2\n")
    kept = [line for line in TABLE.splitlines() if line.split(":")[0] != written.split(":")[0]]
    Path("s.yaml").write_text("\n".join([*kept, written, ""]).replace("UNITS", "1").replace("LOSS", "mse"))
    answer = run("check", "s.yaml")
    assert told in answer and answer.count("error[") == 1, answer


@pytest.mark.parametrize(
    ("augment", "told"),
    [
        ("[horizontal_flip]", "write augment: [{layer: RandomFlip, mode: horizontal}]"),
        ("RandomFlip", "write augment: [{layer: RandomFlip}]"),
        ("{layer: RandomFlip, mode: vertical}", 'augment: [{layer: "RandomFlip", mode: "vertical"}]'),
        ("[{layer: RandomFlip}, color_jitter]", "{layer: RandomColorJitter, brightness_factor: 0.2}]"),
        ("[{rotation_range: 10}]", "write {layer: RandomRotation, factor: 0.1}"),
        ("[{layer: hflip}]", "write {layer: RandomFlip, mode: horizontal}"),
        ("[], resize: [8, 8]", "the size is that of the input: write `resize: crop`"),
    ],
)
def test_augmentation_in_the_form_of_another_library(augment: str, told: str) -> None:
    features = f"{{image: {{encode: image, augment: {augment}}}}}"
    written = IMAGES.replace("DATA", f"{{features: {features}}}").replace("SHAPE", "[8, 8, 3]")
    Path("s.yaml").write_text(written)
    answer = run("check", "s.yaml")
    assert told in answer and answer.count("error[") == 1


@bundled(16, "layer", sorted(set(AUGMENTATIONS.values())))
def test_augmentation_of_another_library_is_told_in_a_form_that_is_right(layer: str) -> None:
    features = f"{{image: {{encode: image, augment: [{layer}]}}}}"
    written = IMAGES.replace("DATA", f"{{features: {features}}}").replace("SHAPE", "[8, 8, 3]")
    Path("s.yaml").write_text(written)
    run("check", "s.yaml", code=0)


@pytest.mark.parametrize("key", ["targt: kind", "los: mse", "loss: mse, weigth: 3"])
def test_a_wrong_key_at_an_output_makes_no_feature_useless(key: str) -> None:
    table("1,2\n")
    text = Path("s.yaml").read_text().replace("{loss: mse}", f"{{{key}}}")
    data = "data: {train: t.csv, features: {kind: {encode: number}, y: {encode: number}}}"
    Path("s.yaml").write_text(text.replace("data: {train: t.csv}", data))
    answer = run("check", "s.yaml")
    assert "error[unknown-key]" in answer and "unused-feature" not in answer


FEATURES = "{kind: {encode: category, vocabulary: 5}, y: {encode: number}}"


@pytest.mark.parametrize(
    ("outputs", "data"),
    [
        ("5", f"{{features: {FEATURES}}}"),
        ("yq", f"{{features: {FEATURES}}}"),
        ("{z: {loss: mse}}", f"{{features: {FEATURES}}}"),
        ("{y: {loss: mse, target: 5}}", f"{{features: {FEATURES}}}"),
        ("{y: {loss: mse}}", f"{{feature: {FEATURES}}}"),
        ("{y: {loss: mse}}", "{features: 5}"),
        ("{y: {loss: mse}}", "{features: {kind: [category]}}"),
        ("{y: {loss: mse}}", "{features: [[1]]}"),
        ("{y: {loss: mse}}", "5"),
    ],
)
def test_a_mistake_in_outputs_or_data_makes_no_feature_useless_or_missing(outputs: str, data: str) -> None:
    Path("s.yaml").write_text(f"""
inputs: {{kind: {{shape: [1], dtype: int64}}}}
nodes:
  ids: {{layer: Embedding, input_dim: $(vocabulary(kind)), output_dim: 3}}
  flat: {{layer: Flatten}}
  y: {{layer: Dense, units: 1}}
outputs: {outputs}
data: {data}
""")
    assert run("check", "s.yaml").count("error[") == 1


def test_rows_without_a_target_are_ignored_and_not_filled() -> None:
    table("1,2\n")
    Path("s.yaml").write_text(Path("s.yaml").read_text().replace("{loss: mse}", "{loss: mse, missing: mean}"))
    assert "help: write `missing: ignore`" in run("check", "s.yaml")


def test_a_finished_run_that_is_resumed_says_that_nothing_is_left() -> None:
    table("1,2\n2,3\n")
    train("--run-dir", "r", code=0)
    answer = train("--run-dir", "r", "--resume", code=0)
    assert (
        "nothing to train: the run has completed all of its epochs, 1; more: `--set train.epochs=2`" in answer
    )
    assert "0 examples/s" not in answer


def test_a_run_without_its_best_weights_says_that_it_has_others() -> None:
    table("1,2\n2,3\n")
    train("--run-dir", "r", code=0)
    shutil.copytree("r", "damaged")
    Path("r/best.safetensors").unlink()
    Path("damaged/best.safetensors").write_bytes(b"x")
    for directory in ("r", "damaged"):
        assert "`--weights last`" in run("evaluate", directory, "--data", "t.csv")
        run("evaluate", directory, "--data", "t.csv", "--weights", "last", code=0)


@pytest.mark.parametrize(
    ("reference", "told"),
    [
        ("top.values", "its first output is `top`, the others `top.indices`"),
        ("top.indexes", "did you mean `indices`?"),
        ("top.1", "write `top.indices`"),
        ("top.0", "write `top`"),
        ("top.2", "its first output is `top`"),
    ],
)
def test_the_first_output_of_a_node_has_its_name(reference: str, told: str) -> None:
    nodes = f"{{top: {{op: top_k, k: 1}}, y: {{merge: add, from: [top, {reference}]}}}}"
    Path("s.yaml").write_text(f"inputs: {{x: {{shape: [3]}}}}\nnodes: {nodes}\noutputs: [y]\n")
    assert told in run("check", "s.yaml")


@pytest.mark.parametrize(
    ("shape", "nodes", "told"),
    [
        (
            "[height, width, 3]",
            "{d: {layer: Conv2D, filters: 3, kernel_size: 3, strides: 8, padding: same}, "
            "u: {layer: UpSampling2D, size: 8}, y: {merge: add, from: [x, u]}}",
            "help: they are equal for multiples: write `8 * height` for `height` and `8 * width` for `width`",
        ),
        (
            "[length, 3]",
            "{a: {layer: Conv1D, filters: 3, kernel_size: 3}, y: {merge: add, from: [x, a]}}",
            "help: use the same padding and strides on both paths",
        ),
        (
            "[length, 3]",
            "{a: {layer: GlobalAveragePooling1D}, y: {layer: RepeatVector, n: length}}",
            "help: `length` is a size of an input, which tensors have: {op: broadcast_to, shape: [-1, ",
        ),
    ],
)
def test_sizes_with_names(shape: str, nodes: str, told: str) -> None:
    Path("s.yaml").write_text(f"inputs: {{x: {{shape: {shape}}}}}\nnodes: {nodes}\noutputs: [y]\n")
    assert told in run("check", "s.yaml")


FROZEN = """\
inputs: {x: {shape: [4]}}
shared: {s: {layer: Dense, units: 4TRAINABLE}}
nodes:
  a: {call: s, from: x}
  b: {parameter: [4]TRAINABLE}
  y: {merge: add, from: [a, b]}
outputs: {y: {loss: mse}}
"""


@pytest.mark.parametrize(
    ("trainable", "train", "told"),
    [
        (", trainable: false", "{epochs: 1}", "error[nothing-to-train]: every weight is frozen"),
        ("", "{parameter_groups: [{match: '*', trainable: false}]}", "error[nothing-to-train]"),
        (", trainable: false", "{parameter_groups: [{match: 's.*', trainable: true}]}", "s.yaml: ok"),
        ("", "{parameter_groups: [{match: 's.*', trainable: false}]}", "s.yaml: ok"),
        ("", "{epochs: 1}", "s.yaml: ok"),
        (", trainable: false", "", "s.yaml: ok"),
    ],
)
def test_a_spec_in_which_everything_is_frozen_is_found_by_check(
    trainable: str, train: str, told: str
) -> None:
    written = FROZEN.replace("TRAINABLE", trainable) + (f"train: {train}\n" if train else "")
    Path("s.yaml").write_text(written)
    assert told in run("check", "s.yaml", code=0 if told.endswith("ok") else 1)


@pytest.mark.parametrize(
    ("node", "told"),
    [
        ("{layer: ReLU6}", "write {layer: ReLU, max_value: 6}"),
        ("{op: arange, stop: 4, from: {input: x}}", "`input` is not an input of `arange`"),
        (
            "{layer: MultiHeadAttention, num_heads: 1, key_dim: 2, from: {input: x, value: x}}",
            "write `query`",
        ),
        ("{layer: nn.InstanceNorm2d}", "write {layer: GroupNormalization, groups: -1}"),
        ("{module: my/layers.py}", "write `module: my.layers.GatedMix`: the file, then what is in it"),
        ("{module: ./layers.py:Mix}", "write `module: layers.Mix`"),
        ("{module: layers.py}", "write `module: layers.GatedMix`"),
        ("{layer: Concat}", "write {merge: concatenate, from: [a, b]}"),
        ("{layer: DropPath}", "noise_shape: [null, 1, 1, 1]"),
        ("{layer: ResidualBlock}", "write it as a block, under `blocks`"),
        ("{layer: Dense, units: 3, activation: prelu}", "a node below it, {layer: PReLU}"),
        ("{layer: Dense, units: 3, activation: swiglu}", "a gate is two layers and {merge: multiply}"),
        ("{layer: Dense, units: 3, activation: logits}", "from_logits: true"),
    ],
)
def test_a_layer_of_another_library_that_has_no_one_name_here(node: str, told: str) -> None:
    Path("s.yaml").write_text(f"inputs: {{x: {{shape: [4]}}}}\nnodes: {{y: {node}}}\noutputs: [y]\n")
    assert told in run("check", "s.yaml")


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ("outputs: {y: {loss: accuracy}}", "it is a metric: metrics: [accuracy]"),
        ("outputs: {y: {loss: mse, metrics: [confusion_matrix]}}", "`graphspec predict` writes"),
        ("outputs: {y: {loss: mse, metrics: [top_5_accuracy]}}", "k: 5}"),
        ("outputs: {y: {loss: mse}}\ntrain: {schedule: constant}", "leave `schedule` out"),
        ("outputs: {y: {loss: mse}}\ntrain: {callbacks: {lr_finder: {}}}", "`graphspec tune` varies"),
        ("outputs: {y: {loss: mse}}\ntrain: {gradient_clip: 1}", "global_clipnorm"),
        ("outputs: {y: {loss: mse}}\ntrain: {epochs: 1e9999}", "error[number-too-large]"),
        ("outputs: {y: {loss: {module: losses.py}}}", "write `module: losses.GatedMix`: the file,"),
        (
            "outputs: {y: {loss: mse}}\ntune: {objective: loss, search: {train.batch_size: {int: 4}}}",
            "from the lowest to the highest: write `int: [1, 8]`",
        ),
    ],
)
def test_a_name_of_another_library_for_a_setting(settings: str, told: str) -> None:
    nodes = "nodes: {y: {layer: Dense, units: 1}}"
    Path("s.yaml").write_text(f"inputs: {{x: {{shape: [4]}}}}\n{nodes}\n{settings}\n")
    answer = run("check", "s.yaml")
    assert told in answer and answer.count("error[") == 1


@pytest.mark.parametrize(
    ("shape", "told"),
    [
        ((3, 8, 8), "write `shape: [3, 8, 8]`, `data_format: channels_first` at the input"),
        ((8, 8), "write `shape: [8, 8, 1]` at the input"),
        ((28, 28, 3), "write `shape: [28, 28, 3]` at the input"),
        ((192,), "write `shape: [192]` at the input, and {layer: Reshape, target_shape: [8, 8, 3]} below it"),
    ],
)
def test_an_array_of_another_shape_says_how_its_input_is_declared(shape: tuple[int, ...], told: str) -> None:
    np.savez("d.npz", image=np.zeros((4, *shape), "float32"), y=np.arange(4) % 2)
    Path("s.yaml").write_text(IMAGES.replace("SHAPE", "[8, 8, 3]").replace("DATA", "{train: d.npz}"))
    assert told in run("check", "s.yaml")


def test_texts_in_an_array_become_numbers_before_they_are_saved() -> None:
    np.savez("d.npz", image=np.zeros((4, 8, 8, 3), "float32"), y=np.array(["a", "b"] * 2))
    Path("s.yaml").write_text(IMAGES.replace("SHAPE", "[8, 8, 3]").replace("DATA", "{train: d.npz}"))
    assert "`numpy.unique(y, return_inverse=True)[1]` gives class numbers" in run("check", "s.yaml")


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ('{"x": 1, "y": 2},', "lines are not separated by commas"),
        ("{'x': 1, 'y': 2}", "JSON has double quotes"),
        ('{"x": 1, "y": }', "a .jsonl file has one object a line"),
        ('{"x": {"a": 1}, "y": 2}', "give each value of the objects a column of its own"),
    ],
)
def test_lines_that_are_nearly_json(line: str, told: str) -> None:
    table("")
    Path("t.jsonl").write_text(f"{line}\n{line}\n")
    Path("s.yaml").write_text(Path("s.yaml").read_text().replace("t.csv", "t.jsonl"))
    assert told in train()


def test_a_file_of_weights_is_not_its_run() -> None:
    table("1,2\n2,3\n")
    train("--run-dir", "r", code=0)
    assert "help: the run is its directory: `r`" in run("evaluate", "r/best.safetensors", "--data", "t.csv")


def test_a_spec_that_is_not_there_names_those_that_are() -> None:
    table("1,2\n")
    assert "help: specs there: `s.yaml`" in run("check", "nothing.yaml")
    assert "help: there is no folder `specs`" in run("check", "specs/s.yaml")
    Path("runs/first-1").mkdir(parents=True)
    Path("runs/first-1/spec.yaml").write_text(Path("s.yaml").read_text())
    assert "help: did you mean `runs/first-1`?" in run("train", "runs/frist-1", "--resume")


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (gzip.compress(b"x,y\n1,2\n", mtime=0), "is compressed with gzip"),
        (b"PK\x03\x04...", "is a ZIP archive, such as an Excel workbook"),
        (b"<!DOCTYPE html>", "is a web page"),
        (b"PAR1....", "is a Parquet file"),
    ],
)
@pytest.mark.parametrize("name", ["t.csv", "t.jsonl"])
def test_a_file_of_another_format_than_its_name_says(content: bytes, told: str, name: str) -> None:
    table("1,2\n")
    Path("s.yaml").write_text(Path("s.yaml").read_text().replace("t.csv", name))
    Path(name).write_bytes(content)
    assert told in run("check", "s.yaml")

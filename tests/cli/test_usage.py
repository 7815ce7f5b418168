"""Words of other tools on the command line: each is answered with what to write here."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from graphspec.cli.app import app
from graphspec.cli.common import ELSEWHERE
from graphspec.cli.foreign_words import COMMANDS, OPTIONS
from graphspec.diagnostics import SpecError
from graphspec.reference.layers import find

SPEC = """\
inputs: {x: {shape: [4]}}
nodes:
  hidden: {layer: Dense, units: 8}
  y: {layer: Dense, units: 3, activation: softmax}
outputs: {y: {loss: sparse_categorical_crossentropy}}
"""


@pytest.fixture
def spec(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("s.yaml").write_text(SPEC)


def told(*arguments: str) -> str:
    """What wrong usage is told, on one line."""
    result = CliRunner().invoke(app, list(arguments), prog_name="graphspec")
    assert result.exit_code == 2, result.output
    return " ".join(re.sub(r"[│╭╮╰╯─]", " ", result.stderr).split())


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("lint s.yaml", "write `graphspec check s.yaml`"),
        ("fit s.yaml", "write `graphspec train s.yaml`"),
        ("init first", "write `graphspec new first`"),
        ("export s.yaml", "write `graphspec build s.yaml -o model.onnx`"),
        ("eval runs/a-1 --json", "write `graphspec evaluate runs/a-1`"),
        ("convert a.keras", "write `graphspec import keras a.keras -o DIR`"),
        ("doc Dense", "write `graphspec layers Dense`"),
        ("help", "write `graphspec --help`"),
        ("help train", "write `graphspec train --help`"),
        ("chek s.yaml", "did you mean `check`?"),
        ("s.yaml", "it is a file help: write a command before it: `graphspec check s.yaml`"),
        ("xyzzy", "the commands are "),
        ("import a.keras", "write `graphspec import keras a.keras`"),
        (
            "import onnx a.onnx",
            "`graphspec weights SPEC --from FILE -o OUT.safetensors` takes its weights over",
        ),
    ],
)
def test_a_command_that_there_is_not(spec: None, written: str, meant: str) -> None:
    arguments = written.split()
    if "--json" in arguments:
        result = CliRunner().invoke(app, arguments, prog_name="graphspec")
        assert result.exit_code == 2 and meant in result.stdout
    else:
        assert meant in told(*arguments)


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("train s.yaml -o out", "write `--run-dir DIR`"),
        ("train s.yaml --gpus 2", "write `--devices 2`"),
        ("train s.yaml --gpu", "write `--device cuda`"),
        ("train s.yaml --quiet", "write `--progress none`"),
        ("train s.yaml --seed 3", "write `--set train.seed=3`"),
        ("train s.yaml --lr=0.1", "write `--set train.optimizer.learning_rate=0.1`"),
        ("train s.yaml --patience 3", "write `--set train.callbacks.early_stopping.patience=3`"),
        ("train s.yaml --fp16", "write `--set train.precision=bf16`"),
        ("train s.yaml --workers 4", "leave it out: graphspec chooses how to read data"),
        ("train s.yaml --resum", "did you mean `--resume`?"),
        ("train s.yaml --xyzzy", "a key or a param of the spec is set by `--set KEY=VALUE`"),
        ("train s.yaml --define a=1", "write `--set KEY=VALUE`"),
        ("tune s.yaml --n-trials 9", "write `--set tune.trials=9`"),
        ("build s.yaml --onnx", "write `-o FILE.onnx`"),
        ("build s.yaml --out m.py", "write `-o FILE`"),
        ("predict run --input a.csv", "write `--data PATH`"),
        ("summary s.yaml --batch 3", "write `--batch-size 3`"),
        ("summary s.yaml --batch_size 3", "write `--batch-size`, with dashes"),
        ("check s.yaml --format json", "write `--json`"),
        ("train s.yaml --target kind", "write `--set outputs.NAME.target=kind`"),
        ("resolve s.yaml -o b.yaml", "which `> FILE` keeps"),
        ("build s.yaml -f onnx", "write `--format onnx`"),
        ("runs --xyzzy", "`graphspec runs --help` lists them"),
        ("import keras --xyzzy", "`graphspec import keras --help` lists them"),
        ("--xyzzy", "`graphspec --help` lists them"),
        ("--set a=1 check s.yaml", "options come after the command: `graphspec check s.yaml --set a=1`"),
        ("new a --label kind", "write `--target kind`"),
        ("new a --task regression", "the values of `--target` say what it is"),
        ("new a -o b.yaml", "leave it out: NAME is the file, NAME.yaml"),
    ],
)
def test_an_option_that_a_command_does_not_have(spec: None, written: str, meant: str) -> None:
    answer = told(*written.split())
    assert meant in answer and "has no option" in answer


def test_nothing_of_the_parser_shows_through(spec: None) -> None:
    """Wrong usage is a diagnostic, as each other mistake is: its code, what is wrong, and the remedy."""
    for line in ("train s.yaml --limit ten", "train", "xyzzy", "new a b", "import onnx a", "build s.yaml -o"):
        result = CliRunner().invoke(app, line.split(), prog_name="graphspec")
        head, *rest = result.stderr.strip().splitlines()
        assert head.startswith("error[usage]: ") and rest[0].startswith("help: ") and len(rest) == 1


def test_the_remedies_name_commands_and_options_that_there_are() -> None:
    from typer.main import get_command

    root = get_command(app)
    commands = {name: root.commands[name] for name in (*ELSEWHERE, "check")}  # type: ignore[attr-defined]
    options = {option for command in commands.values() for p in command.params for option in p.opts}
    assert {meant.split()[0] for meant in COMMANDS.values()} <= {*commands, "--help", "--version"}
    assert not set(COMMANDS) & set(commands)
    firsts = {text.split()[0] for texts in OPTIONS.values() for text in texts}
    named = {word.rstrip("?") for word in firsts if word.startswith("-")}
    assert named <= {*options, "--version"}


@pytest.mark.parametrize(
    ("word", "name"),
    [
        ("nn.Linear", "Dense"),
        ("torch.nn.Conv2d", "Conv2D"),
        ("keras.layers.Dense", "Dense"),
        ("nn.MSELoss", "mean_squared_error"),
        ("lr", "learning_rate"),
        ("out_channels", "filters"),
        ("flatten", "Flatten"),
        ("early stopping", "early_stopping"),
        ("batchnorm", "BatchNormalization"),
        ("L2", "l2"),
    ],
)
def test_layers_finds_what_other_libraries_call_it(word: str, name: str) -> None:
    assert find(word)[0].name == name


@pytest.mark.parametrize(
    ("word", "meant"),
    [
        ("OneCycleLR", "write {name: cosine_decay, warmup_steps: ...}"),
        ("zscore", "{encode: number, scale: standard}"),
        ("onehot", "{op: one_hot, num_classes: ...}"),
        ("padding_idx", "`mask_zero: true` masks the id 0; convolutions ignore the mask"),
        ("residual", "write {merge: add, from: [a, b]}"),
        ("gpus", "graphspec train --device cuda"),
        ("validation_split", "data: {validation: {split: 0.1}}"),
        ("csv", "data: {train: FILE.csv}"),
    ],
)
def test_layers_says_what_to_write_for_a_word_without_one_name(word: str, meant: str) -> None:
    with pytest.raises(SpecError) as caught:
        find(word)
    assert meant in (caught.value.diagnostics[0].help or "")


@pytest.mark.parametrize(
    ("written", "help"),
    [
        ("lr=0.1", "write `--set train.optimizer.learning_rate=...`"),
        ("epochs=3", "write `--set train.epochs=...`"),
        ("train.lr=0.1", "write `--set train.optimizer.learning_rate=...`"),
        (
            "train.backup_and_restore.save_freq=20",
            "write `--set train.callbacks.backup_and_restore.save_freq=...`",
        ),
        ("optimizer.learning_rate=0.1", "write `--set train.optimizer.learning_rate=...`"),
        ("train.optimizer.lr=0.1", "did you mean `learning_rate`?"),
        ("val_split=0.2", "write `--set data.validation.split=...`"),
        ("hidden.units=3", "write `--set nodes.hidden.units=...`"),
        ("units=3", "write `--set nodes.hidden.units=...`"),
        ("loss=mse", "write `--set outputs.y.loss=...`"),
        ("width=3", "it has none; a setting has a dotted path: `--set train.epochs=3`"),
    ],
)
def test_set_says_the_path_of_a_setting(spec: None, written: str, help: str) -> None:
    result = CliRunner().invoke(app, ["check", "s.yaml", "--set", written])
    assert result.exit_code == 1 and f"help: {help}" in result.stdout, result.stdout


def test_set_changes_the_optimizer_that_is_there_by_default(spec: None) -> None:
    written = CliRunner().invoke(app, ["resolve", "s.yaml", "--set", "train.optimizer.learning_rate=0.5"])
    assert written.exit_code == 0 and "{name: rmsprop, learning_rate: 0.5}" in written.stdout


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("train s.yaml train.epochs=3", "write `--set train.epochs=3`"),
        ("train s.yaml --set nodes.h.units", "write `--set nodes.h.units=VALUE`"),
        ("train s.yaml epochs=3", "write `--set train.epochs=3`"),
        ("train s.yaml --set train.epochs 3", "write `--set train.epochs=3`"),
        ("train s.yaml --resume runs/a-1", "`graphspec train runs/a-1 --resume`"),
        ("predict rows.csv", "write `graphspec predict RUN --data rows.csv`"),
        ("serve a --port abc", "write `--port 8000`, for example"),
        ("new s.yaml --target y", "write `graphspec new s --data s.yaml --target y`"),
        ("new https://a.org/t.csv", "download it, and name the file: --data FILE"),
        ("build s.yaml s.yaml", "takes SPEC, and `s.yaml` is one more help: run it once for each file"),
        ("train s.yaml run-dir a", "write `--run-dir`?"),
        ("build runs/a-1 --container box", "write `-o box`, as the option before it takes no value"),
        ("train s.yaml -set a=1", "write `--set`, with two dashes"),
        ("train", "`graphspec train` needs `SPEC`: A spec file"),
        ("plot s.yaml m.svg", "write `-o m.svg`"),
        ("weights --from a.pt", "write `graphspec weights SPEC --from a.pt`"),
        ("train s.yaml --set epochs", "write `--set train.epochs=VALUE`"),
        ("check s.yaml --inspect=yes", "`--inspect` takes no value, and has `yes` help: write `--inspect`"),
        ("predict r s.yaml", "needs `--data PATH` help: write `--data s.yaml`"),
        ("weights s.yaml", "needs `--from FILE`: A checkpoint"),
        ("predict runs/a-1 --data few.csv --engine onnxruntime", "write `graphspec predict ... -o FILE`"),
        ("serve s.yaml --workers 4", "write `--port N`: a server is one process"),
        ("train s.yaml --limit ten", "`--limit` is `ten`, but must be an integer"),
        ("train s.yaml --limit=-1", "`--limit` is `-1`, but must be at least 1"),
        ("serve s.yaml --port 99999", "`--port` is `99999`, but must be at most 65535"),
        ("import torch s.pt", "s.pt holds weights, and not what makes the module"),
        ("import torch net.py", "write the module and the name in it, such as `net:Net`"),
        ("import torch torch.nn.Flatten", "such as `torch.nn:Flatten`"),
        ("import torch torch.nn:Flatten --allow torch", 'say what it takes, --input "x: {shape'),
    ],
)
def test_words_that_are_too_many_or_missing(spec: None, written: str, meant: str) -> None:
    assert meant in told(*written.split())


def test_what_was_written_is_kept_where_python_runs_the_package() -> None:
    words = ["predict", "r-1", "--data", "t.csv"]
    result = CliRunner().invoke(app, words, prog_name="python -m graphspec")
    written = "write `python -m graphspec predict r-1 --data t.csv -o FILE`"
    assert result.exit_code == 2 and written in " ".join(result.stderr.split())


LONG = "x" * 5000
IMPOSSIBLE: dict[str, tuple[list[str], str]] = {
    "argument": (["check", LONG], "File name too long"),
    "option": (["build", "s.yaml", "-o", LONG], "File name too long"),
    "word": (["serve", "s.yaml", "--weights", "a/" * 3000], "File name too long"),
    "in a group": (["import", "keras", LONG], "File name too long"),
    "half": (["evaluate", "s.yaml", "--data", "\udcff"], "is not text in UTF-8"),
    "number": (["serve", "s.yaml", "--timeout", "nan"], "--timeout"),
    "no name": (["schema", "-o", ""], "is a directory"),
    "input": (["import", "torch", "m:N", "--input", "x: [1000000000000]"], "has 1,000,000,000,000 numbers"),
    "inputs": (["import", "torch", "m:N", "--input", "x: [9999999, 99999999999]"], "at most 67,108,864"),
}


@pytest.mark.parametrize("case", IMPOSSIBLE)
def test_what_no_path_and_no_number_is_ends_in_wrong_usage(spec: None, case: str) -> None:
    words, meant = IMPOSSIBLE[case]
    assert meant in told(*words)


def test_a_file_of_data_is_no_spec_for_any_command(spec: None) -> None:
    Path("t.csv").write_text("a,b\n1,2\n")
    for command in ("check", "fmt", "summary"):
        result = CliRunner().invoke(app, [command, "t.csv"], prog_name="graphspec")
        assert result.exit_code == 1 and "`graphspec new NAME --data t.csv --target COLUMN`" in result.output

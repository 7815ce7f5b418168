"""graphspec from Python: what a program offers beside training."""

from __future__ import annotations

import re
import runpy
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from torch.nn import functional as F

import graphspec
from graphspec.diagnostics import SpecError
from tests import ROOT

SPECS = ROOT / "specs"

SPEC = {
    "params": {"width": 8},
    "inputs": {"x": {"shape": [4]}},
    "blocks": {
        "mlp": {
            "inputs": ["x"],
            "nodes": {
                "up": {"layer": "Dense", "units": "$width", "activation": "relu"},
                "norm": {"layer": "BatchNormalization"},
                "down": {"layer": "Dense", "units": "$width"},
            },
        }
    },
    "nodes": {
        "stem": {"layer": "Dense", "units": "$width", "activation": "tanh"},
        "stages": {"block": "mlp", "repeat": 3},
        "sum": {"merge": "add", "from": ["stages", "stem"]},
        "kind": {"layer": "Dense", "units": 3, "activation": "softmax"},
        "value": {"layer": "Dense", "units": 1, "from": "sum"},
    },
    "outputs": {
        "kind": {"loss": "sparse_categorical_crossentropy", "metrics": ["accuracy"]},
        "value": {"loss": "mse", "loss_weight": 0.5, "metrics": ["mae"]},
    },
}


@pytest.fixture
def program() -> graphspec.Program:
    return graphspec.compile(SPEC)


def test_dir_shows_what_there_is_and_imports_nothing() -> None:
    code = "import sys, graphspec; print(*dir(graphspec)); "
    code += "print(len([name for name in sys.modules if 'graphspec' in name]))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    names, count = done.stdout.splitlines()
    public = {name for name in names.split() if not name.startswith("__")}  # what a Tab offers
    assert public == {name for name in graphspec.__all__ if name != "__version__"}
    assert int(count) <= 2
    assert all(getattr(graphspec, name) is not None for name in graphspec.__all__)
    assert callable(graphspec.export.export)


def test_a_dict_is_a_spec(program: graphspec.Program) -> None:
    again = graphspec.compile(program.resolve())
    assert again.source == program.source
    wider = graphspec.compile(SPEC, params={"width": 16})
    assert wider.summary().total_params > program.summary().total_params
    with pytest.raises(SpecError, match="did you mean `Dense`"):
        graphspec.compile({**SPEC, "nodes": {"kind": {"layer": "Dens", "units": 3}}})
    with pytest.raises(SpecError, match=r"`params`.`width` is tensor"):
        graphspec.compile({**SPEC, "params": {"width": torch.zeros(2)}})


def test_weights_are_a_state_dict_or_a_file(program: graphspec.Program, tmp_path: Path) -> None:
    from safetensors.torch import save_file

    trained = program.module(seed=3)
    save_file(trained.state_dict(), tmp_path / "w.safetensors")
    for weights in (trained.state_dict(), tmp_path / "w.safetensors", str(tmp_path / "w.safetensors")):
        module = program.module(weights=weights)
        assert all(torch.equal(a, b) for a, b in zip(module.parameters(), trained.parameters(), strict=True))
    state = trained.state_dict()
    state.pop("stem.weight")
    with pytest.raises(SpecError, match=r"has nothing for `stem\.weight`"):
        program.module(weights=state)


def test_the_loss_by_output_and_in_all(program: graphspec.Program) -> None:
    module, x = program.module(), torch.randn(6, 4)
    kind, value = torch.tensor([0, 1, 2, 0, 1, 2]), torch.randn(6, 1)
    found = program.loss(module(x), {"kind": kind, "value": value})
    outputs = module(x)
    first, second = F.nll_loss(outputs["kind"].log(), kind), F.mse_loss(outputs["value"], value)
    torch.testing.assert_close(found["kind_loss"], first.detach(), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(found["loss"], first + 0.5 * second, rtol=1e-5, atol=1e-5)


def test_metrics_are_those_of_a_training(program: graphspec.Program) -> None:
    """Over batches of different sizes, against one batch of all and against torch."""
    module, x = program.module().eval(), torch.randn(10, 4)
    kind, value = torch.randint(0, 3, (10,)), torch.randn(10, 1)
    metrics = program.metrics()
    assert metrics.compute() == {}
    for part in (slice(0, 7), slice(7, 10)):
        metrics.update(module(x[part]), {"kind": kind[part], "value": value[part]})
    found, outputs = metrics.compute(), module(x)
    assert found["kind_accuracy"] == pytest.approx((outputs["kind"].argmax(1) == kind).float().mean().item())
    assert found["value_mae"] == pytest.approx(F.l1_loss(outputs["value"], value).item(), rel=1e-5)
    whole = program.loss(outputs, {"kind": kind, "value": value})
    assert found["loss"] == pytest.approx(whole["loss"].item(), rel=1e-5)
    metrics.reset()
    assert metrics.compute() == {}
    with pytest.raises(SpecError, match="did you mean `kinds`"):
        metrics.update(outputs, {"kinds": kind, "value": value})


def test_activations_by_the_names_of_nodes(program: graphspec.Program) -> None:
    """Equal to what hooks see, at any depth, in training as in inference, with gradients."""
    module, x = program.module(), torch.randn(6, 4)
    names = ["stem", "stages.1", "stages.1.up", "sum", "kind"]
    for training in (False, True):
        module.train(training)
        found = program.activations(module, x, names)
        assert list(found) == names
    module.eval()
    found = program.activations(module, x, names)
    torch.testing.assert_close(found["kind"], module(x)["kind"])
    torch.testing.assert_close(found["stem"], torch.tanh(module.stem(x)))  # type: ignore[operator]
    seen: list[torch.Tensor] = []
    module.stages[1].register_forward_hook(lambda m, i, o: seen.append(o))  # type: ignore[index, union-attr]
    module(x)
    torch.testing.assert_close(found["stages.1"], seen[0])
    found["stages.1"].sum().backward()
    assert module.stem.weight.grad is not None and module.kind.weight.grad is None  # type: ignore[union-attr]
    with pytest.raises(SpecError, match="did you mean `stem`"):
        program.activations(module, x, ["stemm"])
    assert torch.equal(program.activations(module, {"x": x}, ["stem"])["stem"], found["stem"])


@pytest.mark.parametrize("name", ["unet", "gpt", "transformer_classifier"])
def test_activations_of_the_gallery(name: str) -> None:
    program = graphspec.compile(SPECS / f"{name}.yaml")
    module, inputs = program.module().eval(), program.example_inputs()
    written = yaml.safe_load(program.resolve())["nodes"]
    nodes = [name for name, node in written.items() if "repeat" not in node][:4]
    found = program.activations(module, inputs, nodes)
    assert list(found) == nodes and all(torch.isfinite(value).all() for value in found.values())


def test_pictures_and_short_representations(program: graphspec.Program) -> None:
    assert ElementTree.fromstring(program._repr_svg_()).tag.endswith("svg")
    assert repr(program) == "<Program model: x float32[batch, 4] -> kind, value; 604 params>"
    assert repr(program.summary()) == "<Summary of model: 8 rows, 604 params>"
    assert str(program.summary()).startswith('Model: "model"')


def test_a_run_is_short_too(program: graphspec.Program, tmp_path: Path) -> None:
    result = program.fit(device="cpu", run_dir=tmp_path / "run", limit=8)
    assert repr(result).startswith(f"<Result {tmp_path / 'run'}: 1 epochs, loss ") and len(repr(result)) < 300
    assert repr(graphspec.Run(tmp_path / "run")) == f"<Run {tmp_path / 'run'}: 1 epochs>"


DOCS = SPECS.parent / "docs"


def test_the_python_page_is_up_to_date() -> None:
    """Write it anew with `python docs/python_page.py`."""
    written = runpy.run_path(str(DOCS / "python_page.py"))["page"]()
    assert (DOCS / "python.md").read_text() == written
    undocumented = re.findall(r"### `(.*?)`.*\n\n(?:```\n(?:.*\n)+?```\n\n)?\n", written)
    assert undocumented == []


def test_the_code_of_the_python_page_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", (DOCS / "python.md").read_text(), re.DOTALL)
    assert len(blocks) == 5
    exec(compile("\n".join(blocks), "python.md", "exec"), {})
    source = (tmp_path / "model.py").read_text()
    assert "graphspec" not in source.replace("# Made by graphspec", "")


def test_a_check_makes_what_the_spec_names() -> None:
    """To make every class of a setting and every command takes longer than to check a spec."""
    code = (
        "import sys; from graphspec.cli import main; sys.argv[1:] = ['check', 'specs/resnet50.yaml']\n"
        "try: main()\n"
        "except SystemExit: print(*(name for name in sys.modules if name.startswith('graphspec.')))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=SPECS.parent
    )
    said, made = done.stdout.splitlines()
    assert said == "specs/resnet50.yaml: ok"
    names = [name.removeprefix("graphspec.") for name in made.split()]
    assert [name for name in names if name.startswith(("cli.", "data.", "tune", "ops."))] == SHARED
    assert not {"objectives.class_losses", "objectives.class_metrics", "objectives.loss_metrics"} & set(names)
    assert not {"contract.regularizers", "contract.learned"} & set(names)
    assert not {"train.config", "train.parallel.launched"} & set(names)
    assert {"objectives.losses", "layers.pooling"} < set(names) and "layers.lstm" not in names


SHARED = [
    *("cli.printing", "cli.checking", "cli.completing", "cli.help", "cli.common", "cli.app"),
    "data.augmentation",
]
"""What a check, and every spec with outputs, needs of these folders."""


def test_text_without_a_line_break_is_taken_as_a_path_and_said_so() -> None:
    with pytest.raises(graphspec.SpecError) as caught:
        graphspec.compile("inputs: {x: {shape: [2]}}")
    assert "line break" in (caught.value.diagnostics[0].help or "")


ARGUMENTS: list[tuple[Callable[[Any, Any], Any], str, str]] = [
    (lambda p, run: p.fit(epochs="3", device="cpu"), "wrong-type", "a whole number"),
    (lambda p, run: p.fit(epochs=True, device="cpu"), "wrong-type", "a whole number"),
    (lambda p, run: p.fit(epochs=0, device="cpu"), "out-of-range", "at least 1"),
    (lambda p, run: p.fit(limit=2.0, device="cpu"), "wrong-type", "a whole number"),
    (lambda p, run: p.fit(callbacks=5), "wrong-type", "a list"),
    (lambda p, run: p.fit(weights=3), "wrong-type", "a path"),
    (lambda p, run: p.fit(run_dir=3), "wrong-type", "a path"),
    (lambda p, run: p.fit(resume="yes"), "wrong-type", "True or False"),
    (lambda p, run: p.fit(device=3), "wrong-type", "'cpu'"),
    (lambda p, run: p.fit({}, {}), "wrong-type", "one dict, by the names"),
    (lambda p, run: p.fit({}, data={}), "duplicate-key", "by place and by name"),
    (lambda p, run: p.metrics(True), "wrong-type", "nothing by place"),
    (lambda p, run: p(1), "wrong-type", "`program.module()`"),
    (lambda p, run: p.module(device="gpu"), "device-missing", "auto, cpu"),
    (lambda p, run: p.module(seed="a"), "wrong-type", "a whole number"),
    (lambda p, run: p.module(seed=2**70), "out-of-range", "64 bits"),
    (lambda p, run: p.module(weights=3), "wrong-type", "a path"),
    (lambda p, run: p.example_inputs(sizes={"lenght": 3}), "unknown-name", "did you mean `length`?"),
    (lambda p, run: p.memory(2, {"lenght": 3}), "unknown-name", "did you mean `length`?"),
    (lambda p, run: p.example_inputs(sizes={"length": 1}), "out-of-range", "at least 3"),
    (lambda p, run: p.example_inputs(sizes={"length": "3"}), "wrong-type", "a whole number"),
    (lambda p, run: p.example_inputs(sizes=[3]), "wrong-type", "a dict"),
    (lambda p, run: p.example_inputs(batch_size=0), "out-of-range", "at least 1"),
    (lambda p, run: p.with_batch_size(0), "out-of-range", "at least 1"),
    (lambda p, run: graphspec.compile("a: 1", params=[3]), "wrong-type", "a dict"),  # type: ignore[arg-type]
    (lambda p, run: graphspec.compile("a: 1", settings=3), "wrong-type", "a dict"),  # type: ignore[arg-type]
    (lambda p, run: graphspec.compile("a: 1", allow=3), "wrong-type", "a list"),  # type: ignore[arg-type]
    (lambda p, run: graphspec.compile(None), "wrong-type", "a path"),  # type: ignore[arg-type]
    (lambda p, run: graphspec.Run(3), "wrong-type", "a path"),  # type: ignore[arg-type]
    (lambda p, run: graphspec.Run(run, 3), "wrong-type", "a path"),  # type: ignore[arg-type]
    (lambda p, run: graphspec.Run(run).evaluate(limit="3"), "wrong-type", "a whole number"),  # type: ignore[arg-type]
    (lambda p, run: graphspec.Run(run).predict({}, batch_size=0), "out-of-range", "at least 1"),
]


@pytest.mark.parametrize(("call", "code", "words"), ARGUMENTS)
def test_a_wrong_argument_is_a_diagnostic(
    tmp_path: Path, call: Callable[[Any, Any], Any], code: str, words: str
) -> None:
    program = graphspec.compile("""
inputs: {x: {shape: [length, 4]}}
nodes:
  slid: {layer: Conv1D, filters: 2, kernel_size: 3}
  y: {layer: GlobalAveragePooling1D}
outputs: {y: {loss: mse}}
""")
    run = tmp_path / "run"
    run.mkdir()
    (run / "spec.yaml").write_text(program.resolved)
    (run / "environment.json").write_text("{}")
    with pytest.raises(SpecError) as caught:
        call(program, run)
    (diagnostic,) = caught.value.diagnostics
    assert diagnostic.code == code and words in f"{diagnostic.message} {diagnostic.help}"


ATTRIBUTES = {
    "predict": "graphspec.Run(result.run_dir).predict",
    "parameters": "program.module()",
    "compile": "program.fit(data)",
    "fitt": "did you mean `fit`?",
}


@pytest.mark.parametrize(("word", "meant"), ATTRIBUTES.items())
def test_a_word_of_another_library_is_told_ours(word: str, meant: str) -> None:
    program = graphspec.compile("inputs: {x: {shape: [2]}}\nnodes: {y: {layer: Flatten}}\noutputs: [y]\n")
    assert not hasattr(program, "_repr_html_")
    with pytest.raises(AttributeError) as caught:
        getattr(program, word)
    assert f"`{word}`: " in str(caught.value) and meant in str(caught.value)
    for foreign in ("load_model", "Trainer"):
        with pytest.raises(AttributeError, match=r"graphspec\.Run\(RUN_DIR\)"):
            getattr(graphspec, foreign)

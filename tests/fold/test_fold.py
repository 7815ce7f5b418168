"""Folding: the same numbers from fewer layers; what does not fit stays."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from typer.testing import CliRunner

import graphspec
from graphspec.cli.app import app
from graphspec.fold import weights
from graphspec.fold.weights import difference, fold_weights
from graphspec.program import Program
from tests import bundled, one_in
from tests.emit.test_emit import CASES, SPECS, example, named, randomized
from tests.gallery.test_specs import SMALL
from tests.programs import program_of

NORM = "n: {layer: BatchNormalization}"
IMAGE = "inputs: {x: {shape: [6, 6, 4]}}\n"


def bare(program: Program) -> nn.Module:
    """The program's module in float64, its weights to come."""
    namespace: dict[str, Any] = {}
    exec(compile(program.source, "<folded>", "exec"), namespace)
    module: nn.Module = namespace[program.class_name]()
    return module.double().eval()


@torch.no_grad()
def folded(program: Program) -> Program:
    """The folded program, after it has been compared with the unfolded one on random weights in float64."""
    module, inputs = randomized(program), example(program)
    result = program.fold()
    assert result.folding is not None
    twin = bare(result)
    weights = fold_weights(module.state_dict(), result.folding.folded.steps)
    twin.load_state_dict({key: weights[key] for key in twin.state_dict()})
    for logits in ({}, {"logits": True}) if program.takes_logits else ({},):
        torch.manual_seed(0)
        expected = named(program, module(*inputs.values(), **logits))
        torch.manual_seed(0)
        actual = named(program, twin(*inputs.values(), **logits))
        assert list(actual) == list(expected)
        for name, value in expected.items():
            torch.testing.assert_close(actual[name], value, rtol=1e-7, atol=1e-8)
    return result


def counts(program: Program) -> tuple[int, int]:
    """Normalizations folded, layers dropped."""
    assert program.folding is not None
    found = program.folding.folded
    return found.absorbed, found.dropped


def body(nodes: str, outputs: str, inputs: str = IMAGE, more: str = "") -> Program:
    lines = "\n".join(f"  {line.strip()}" for line in nodes.strip().splitlines())
    return graphspec.compile(f"{inputs}{more}nodes:\n{lines}\noutputs: {outputs}\n")


# --- what folds


@bundled(16, "path", one_in(5, CASES), ids=lambda path: path.stem)
def test_what_is_folded_computes_the_same(path: Path) -> None:
    folded(program_of(path))


@pytest.mark.parametrize(
    "path",
    [p for p in SPECS if p.stem in SMALL or p.stem in ("dense", "siamese", "vae")],
    ids=lambda p: p.stem,
)
def test_specs_fold(path: Path) -> None:
    folded(graphspec.compile(path, settings=SMALL.get(path.stem)))


@pytest.mark.parity
def test_resnet50_loses_every_normalization_and_keeps_its_classes() -> None:
    path = next(path for path in SPECS if path.stem == "resnet50")
    program = graphspec.compile(path, settings={**SMALL["resnet50"], "depths": [3, 4, 6, 3]})
    result = folded(program)
    assert counts(result) == (53, 0)
    assert "BatchNorm" not in result.source and "init_weights" not in result.source

    def classes(source: str) -> list[str]:
        return [line for line in source.splitlines() if line.startswith("class ") and "(nn.Module)" in line]

    assert classes(result.source) == [c for c in classes(program.source) if "BatchNorm" not in c]


@bundled(
    16,
    "layer",
    [
        "Conv2D, filters: 6, kernel_size: 3, padding: same",
        "Conv2D, filters: 6, kernel_size: 3, strides: 2, padding: same, use_bias: false",
        "Conv2D, filters: 6, kernel_size: 3, groups: 2, dilation_rate: 2",
        "DepthwiseConv2D, kernel_size: 3, depth_multiplier: 2, use_bias: false",
        "SeparableConv2D, filters: 6, kernel_size: 3, padding: same, use_bias: false",
        "Conv2DTranspose, filters: 6, kernel_size: 3, strides: 2, padding: same",
        "Dense, units: 6",
    ],
)
@pytest.mark.parametrize("norm", ["", ", scale: false", ", center: false, epsilon: 1e-5"])
def test_a_normalization_goes_into_a_linear_layer(layer: str, norm: str) -> None:
    program = body(f"conv: {{layer: {layer}}}\nnorm: {{layer: BatchNormalization{norm}}}", "[norm]")
    assert counts(folded(program)) == (1, 0)


@pytest.mark.parametrize(
    ("nodes", "outputs"),
    [
        (
            "c: {layer: Conv1D, filters: 3, kernel_size: 2, padding: causal}\n" + NORM,
            "n",
        ),
        (
            "c: {layer: Conv1D, filters: 3, kernel_size: 2, data_format: channels_first}\n"
            "n: {layer: BatchNormalization, axis: 1}",
            "n",
        ),
        ("c: {layer: Dense, units: 3}\nd: {layer: Dropout, rate: 0.5}\n" + NORM, "n"),
        (
            "c: {layer: TimeDistributed, wraps: {layer: Dense, units: 3}}\n"
            "n: {layer: TimeDistributed, wraps: {layer: BatchNormalization}}",
            "n",
        ),
    ],
    ids=["causal", "channels_first", "dropout_between", "time_distributed"],
)
def test_sequences_fold(nodes: str, outputs: str) -> None:
    program = body(nodes, f"[{outputs}]", "inputs: {x: {shape: [5, 4]}}\n")
    assert counts(folded(program))[0] == 1


def test_an_output_after_a_softmax_has_no_logits_of_it() -> None:
    """A training-only layer stays where the output would become the softmax that it reads."""
    nodes = "a: {layer: Dense, units: 3, activation: softmax}\nd: {layer: Dropout, rate: 0.5}\n"
    program = folded(body(nodes + "e: {layer: Dropout, rate: 0.5}", "[a, e]"))
    assert counts(program) == (0, 1)


def test_two_normalizations_in_a_row_go_into_one_layer() -> None:
    nodes = "conv: {layer: Dense, units: 3}\na: {layer: BatchNormalization}\nb: {layer: BatchNormalization}"
    assert counts(folded(body(nodes, "[b]")))[0] == 1


def test_shared_layers_fold_where_all_calls_do() -> None:
    shared = "shared: {conv: {layer: Dense, units: 4}, norm: {layer: BatchNormalization}}\n"
    nodes = """
    a: {call: conv, from: x}
    b: {call: norm}
    c: {call: conv}
    d: {call: norm}
    """
    assert counts(folded(body(nodes, "[d]", more=shared))) == (1, 0)


def test_a_shared_block_folds_once_for_all_its_calls() -> None:
    more = """
shared: {core: {block: unit}}
blocks:
  unit:
    inputs: [x]
    nodes:
      conv: {layer: Conv2D, filters: 4, kernel_size: 3, padding: same}
      norm: {layer: BatchNormalization}
"""
    result = folded(body("a: {call: core, from: x}\nb: {call: core}", "[b]", more=more))
    assert counts(result) == (1, 0)
    assert set(result.module().state_dict()) == {"core.conv.weight", "core.conv.bias"}


def test_a_normalization_that_some_bodies_leave_out_stays_one_class() -> None:
    more = """
blocks:
  unit:
    params: {norm_it: true}
    inputs: [x]
    nodes:
      conv: {layer: Conv2D, filters: 4, kernel_size: 3, padding: same}
      norm: {layer: BatchNormalization, when: $norm_it}
      act: {layer: Activation, activation: relu}
"""
    result = folded(
        body("a: {block: unit}\nb: {block: unit, norm_it: false}\nc: {block: unit}", "[c]", more=more)
    )
    assert counts(result) == (2, 0)
    assert result.source.count("(nn.Module):") == 2


def test_a_block_folds_in_one_body_and_not_in_another() -> None:
    more = """
blocks:
  unit:
    params: {act: linear}
    inputs: [x]
    nodes:
      conv: {layer: Conv2D, filters: 4, kernel_size: 3, padding: same, activation: $act}
      norm: {layer: BatchNormalization}
"""
    result = folded(body("a: {block: unit}\nb: {block: unit, act: relu}", "[b]", more=more))
    assert counts(result) == (1, 0)
    assert result.source.count("class Unit") == 2


# --- what stays


@pytest.mark.parametrize(
    ("nodes", "outputs"),
    [
        (
            "c: {layer: Conv2D, filters: 4, kernel_size: 1, activation: relu}\n" + NORM,
            "n",
        ),
        ("c: {layer: Conv2D, filters: 4, kernel_size: 1}\n" + NORM, "c, n"),
        (
            "c: {layer: Conv2D, filters: 4, kernel_size: 1}\nn: {layer: BatchNormalization}\n"
            "s: {merge: add, from: [c, n]}",
            "s",
        ),
        ("c: {layer: Conv2D, filters: 4, kernel_size: 1}\nn: {layer: BatchNormalization, axis: 1}", "n"),
        (
            "n: {layer: BatchNormalization}\nc: {layer: Conv2D, filters: 4, kernel_size: 3, padding: same}",
            "c",
        ),
        (
            "c: {layer: Dense, units: 4}\nr: {layer: Activation, activation: relu}\n" + NORM,
            "n",
        ),
        ("c: {layer: Dense, units: 4, repeat: 2}\nn: {layer: BatchNormalization, repeat: 2}", "n"),
    ],
    ids=[
        "activated",
        "given_away",
        "read_twice",
        "other_axis",
        "norm_first",
        "activation_between",
        "repeated",
    ],
)
def test_what_does_not_fit_stays(nodes: str, outputs: str) -> None:
    assert counts(folded(body(nodes, f"[{outputs}]"))) == (0, 0)


@pytest.mark.parametrize(
    "formula", ["1 - d", "0.5 * d", "2 ** d", "[1, 2] / d", "concatenate([d, x], axis=-1)"]
)
def test_formulas_on_a_linear_layer_stay(formula: str) -> None:
    nodes = f'd: {{layer: Dense, units: 2}}\nf: {{compute: "{formula}"}}'
    assert counts(folded(body(nodes, "[f]"))) == (0, 0)


def test_what_a_path_reads_stays() -> None:
    more = """
blocks:
  unit:
    inputs: [x]
    nodes: {conv: {layer: Dense, units: 4}, norm: {layer: BatchNormalization}}
"""
    nodes = "a: {block: unit}\nb: {block: unit}\ns: {merge: add, from: [b, b.conv]}"
    assert counts(folded(body(nodes, "[s]", more=more)))[0] == 1


@pytest.mark.parametrize("second", ["other", "norm"])
def test_a_shared_layer_with_different_readers_stays(second: str) -> None:
    shared = "shared: {conv: {layer: Dense, units: 4}, norm: {layer: BatchNormalization}}\n"
    nodes = f"""
    a: {{call: conv, from: x}}
    b: {{call: norm}}
    c: {{call: conv}}
    d: {"{call: norm, from: b}" if second == "norm" else "{layer: BatchNormalization}"}
    e: {{merge: add, from: [c, d]}}
    """
    assert counts(folded(body(nodes, "[e]", more=shared)))[0] == 0


# --- weights and proof


def test_the_folded_module_takes_the_weights_of_the_unfolded_one(tmp_path: Path) -> None:
    program = body(
        "c: {layer: Conv2D, filters: 4, kernel_size: 3, use_bias: false}\n" + NORM,
        "[n]",
    )
    module = program.module(seed=3)
    module.state_dict()["n.running_mean"].normal_()
    file = tmp_path / "best.safetensors"
    save_file({key: value.contiguous() for key, value in module.state_dict().items()}, file)
    result = program.fold()
    assert result.fold() is result
    worst, allowed = difference(result.module(weights=file), module, program.example_inputs())
    assert worst <= allowed
    worst, allowed = difference(result.module(), module, program.example_inputs())
    assert worst > allowed


def test_masks_of_losses_are_training_and_vanish() -> None:
    program = graphspec.compile("""
inputs: {x: {shape: [6], dtype: int64}}
nodes:
  words: {layer: Embedding, input_dim: 9, output_dim: 4, mask_zero: true}
  code: {layer: LSTM, units: 3, return_sequences: true}
  tag: {layer: Dense, units: 5, activation: softmax}
outputs: {tag: {loss: sparse_categorical_crossentropy}}
""")
    result = program.fold()
    worst, allowed = difference(result.module(), program.module(), program.example_inputs())
    assert worst <= allowed
    assert "if logits:" in program.source and "if logits:" not in result.source


def test_the_program_itself_is_left_as_it_is() -> None:
    program = graphspec.compile(next(path for path in SPECS if path.stem == "resnet50"))
    source, ops = program.source, len(list(program.graph.walk()))
    program.fold()
    assert len(list(program.graph.walk())) == ops
    assert graphspec.compile(next(path for path in SPECS if path.stem == "resnet50")).source == source


# --- the command


SPEC = """
inputs: {x: {shape: [6, 6, 4]}}
nodes:
  conv: {layer: Conv2D, filters: 4, kernel_size: 3, use_bias: false}
  norm: {layer: BatchNormalization}
  flat: {layer: Flatten}
  age: {layer: Dense, units: 1}
  kind: {layer: Dense, units: 3, from: flat, activation: softmax}
outputs: {age: {loss: mse}, kind: {loss: categorical_crossentropy}}
"""


@pytest.fixture
def trained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> nn.Module:
    """A module with statistics of its own, whose spec and weights lie in the current directory."""
    monkeypatch.chdir(tmp_path)
    Path("model.yaml").write_text(SPEC)
    module = graphspec.compile("model.yaml").module(seed=5).eval()
    module.state_dict()["norm.running_mean"].normal_()
    module.state_dict()["norm.running_var"].uniform_(0.5, 2)
    save_file({key: value.contiguous() for key, value in module.state_dict().items()}, "best.safetensors")
    return module


def build(*arguments: str) -> Any:
    return CliRunner().invoke(app, ["build", "model.yaml", "--fold", *arguments])


@torch.no_grad()
def test_build_writes_source_and_weights(trained: nn.Module) -> None:
    result = build("--weights", "best.safetensors", "-o", "small.py")
    assert result.exit_code == 0, result.output
    first, done, equal, weights = result.stdout.splitlines()
    assert first == "wrote small.py and small.safetensors"
    assert done == "1 normalization folded"
    assert float(equal.rpartition(" ")[2]) < 1e-5
    assert weights == "weights: best.safetensors"
    namespace: dict[str, Any] = {}
    exec(compile(Path("small.py").read_text(), "small.py", "exec"), namespace)
    module = namespace["Model"]().eval()
    module.load_state_dict(load_file("small.safetensors"))
    x = torch.randn(3, 6, 6, 4)
    for ours, theirs in zip(module(x).values(), trained(x).values(), strict=True):
        torch.testing.assert_close(ours, theirs)
    assert build("-o", "small.py", "--json").exit_code == 0  # over its own files


def test_build_says_whose_weights_are_folded(trained: nn.Module) -> None:
    assert "initialised from seed 0; --weights takes trained ones" in build().stdout
    found = json.loads(build("--json", "--weights", "best.safetensors", "--no-check").stdout)
    assert found["fold"] == {"normalizations": 1, "dropped": 0, "difference": None}
    assert (found["file"], found["weights_file"]) == ("model.py", "model.safetensors")


@pytest.mark.parametrize(
    "arguments",
    [("-o", "-"), ("-o", "best.py"), ("-o", "best.py", "--weights", "best.safetensors", "--force")],
)
def test_build_keeps_weights_that_it_did_not_write(trained: nn.Module, arguments: tuple[str, ...]) -> None:
    before = Path("best.safetensors").read_bytes()
    assert build(*arguments).exit_code == 2
    assert Path("best.safetensors").read_bytes() == before and not Path("best.py").exists()


def test_build_exports_what_is_folded(trained: nn.Module) -> None:
    result = build("--format", "pt2", "--weights", "best.safetensors", "--json")
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["fold"]["normalizations"] == 1
    assert Path("model.pt2").exists() and not Path("model.safetensors").exists()


@pytest.mark.parametrize("wrong", ["shift", "nan"])
def test_numbers_that_change_are_a_diagnostic(
    trained: nn.Module, wrong: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def absorb_wrongly(state: dict[str, torch.Tensor], step: Any) -> None:
        folded_weights_absorb(state, step)
        state["conv.bias"] += 1e-2 if wrong == "shift" else float("nan")

    folded_weights_absorb = weights.absorb
    monkeypatch.setattr(weights, "absorb", absorb_wrongly)
    result = build("--json")
    assert result.exit_code == 1
    (found,) = json.loads(result.stdout)["diagnostics"]
    assert found["code"] == "fold-differs"
    assert not Path("model.py").exists() and not Path("model.safetensors").exists()

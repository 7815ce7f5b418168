"""Modules of PyTorch as specs: what they become, that both compute and learn the same, what is refused."""

from __future__ import annotations

import importlib
import re
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from torch import Tensor, nn

import graphspec
import tests.convert.modules.images
import tests.convert.modules.sequences  # noqa: F401  (they register)
from graphspec.convert.pytorch import proof
from graphspec.diagnostics import SpecError
from tests.convert import torch_modules as modules
from tests.convert.modules import learned
from tests.convert.modules.given import CASES as CASES_OF_USERS

pytestmark = pytest.mark.usefixtures("little_repeats")

TOKENS = torch.randint(0, 40, (2, 9), generator=torch.Generator().manual_seed(0))


def images(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(1))


CASES: dict[str, tuple[type[nn.Module], Tensor, dict[str, Any], int, tuple[str, ...]]] = {
    "mlp": (
        modules.ResidualMLP,
        images(2, 10),
        {},
        16,
        ("residual:", "blocks: {block: residual, repeat: 3}"),
    ),
    "cnn": (modules.SmallCNN, images(2, 3, 24, 24), {}, 28, ("conv_norm:", "data_format: channels_first")),
    "tagger": (modules.Tagger, TOKENS, {"tokens": ["length"]}, 12, ("shape: [length]", "Bidirectional")),
    "causal": (modules.CausalModel, TOKENS, {}, 34, ("ReversibleEmbedding", "use_causal_mask: true")),
    "attention": (modules.HandMade, images(2, 7, 16), {}, 22, ("MultiHeadAttention", "pooled:")),
    "branches": (modules.Branches, images(2, 3, 8, 8), {}, 28, ("scaled:", "op: exp")),
    "cell": (modules.Decoder, images(2, 3, 4), {}, 26, ("layer: GRU",)),
    "dense": (
        modules.DenseNet,
        images(2, 3, 8, 8),
        {},
        15,
        ("dense_layer:", "{block: dense_layer, repeat: 3}", "{block: dense_layer, repeat: 5}"),
    ),
    "scales": (modules.Scalings, images(2, 5, 16), {}, 20, ("x2: $(channels(x) ** -0.5)",)),
    "patches": (modules.Patches, images(2, 3, 8, 8), {}, 9, ("op: unfold",)),
}


@pytest.mark.usefixtures("shapes_are_kept")
@pytest.mark.parametrize("name", CASES)
def test_module_and_spec_compute_and_learn_the_same(name: str) -> None:
    cls, example, dynamic, lines, words = CASES[name]
    torch.manual_seed(0)
    imported = graphspec.from_torch(cls(), example, dynamic=dynamic)
    assert imported.proved is not None
    assert imported.proved.outputs < 1e-5
    assert imported.proved.gradient is not None and imported.proved.gradient < 1e-3, imported.proved.why
    assert imported.text.count("\n") <= lines
    assert all(word in imported.text for word in words)
    if name == "cnn":
        assert "Permute" not in imported.text


@pytest.mark.parametrize("name", ["AttentionPool", "DistanceEmbedding", "UNet", "VideoFrames"])
def test_what_is_learned_stays_learned(name: str) -> None:
    """Queries and biases of distances that are parameters, corners that stay, frames in the batch."""
    case = CASES_OF_USERS[name]
    imported = graphspec.from_torch(case.cls(), case.inputs[0])
    assert imported.proved is not None and imported.proved.gradient is not None
    assert imported.proved.outputs < 1e-5 and imported.proved.gradient < 1e-5
    assert not imported.frozen


def test_a_module_is_afterwards_as_before() -> None:
    """Its weights, their types, and which of its parts train."""
    gated = learned.Gated()
    graphspec.from_torch(gated, images(2, 4))
    assert gated.norm.weight.tolist() == [2.0] * 4
    apart = learned.PartsApart().train()
    apart.norm.eval()
    imported = graphspec.from_torch(apart, images(2, 4))
    assert apart.training and apart.dense.training and not apart.norm.training
    assert proof._own_rounding(apart, {"x": images(2, 4)}, [apart(images(2, 4))]) == 0
    assert apart.dense.weight.dtype == torch.float32
    assert imported.proved is not None and imported.proved.outputs < 1e-5


@pytest.mark.parametrize("causal", [False, True])
def test_a_learned_bias_that_looks_like_a_mask_is_learned(causal: bool) -> None:
    imported = graphspec.from_torch(learned.BiasedAttention(causal), images(2, 5, 4))
    assert list(imported.weights) == ["bias"] and "is_causal" not in imported.text


@pytest.mark.parametrize(
    ("how", "word"),
    [
        ("in part", "value: 0.5}, trainable: false}"),
        ("in a bias", "value: 0.5}, trainable: false}"),
        ("in a norm", "value: 0.5}, trainable: false}"),
        ("no_grad", "op: stop_gradient"),
        ("detach", "op: stop_gradient"),
        ("parameter", "{op: stop_gradient, from: scale}"),
        ("straight through", "op: stop_gradient"),
    ],
)
def test_gradients_stop_where_they_do_in_the_module(how: str, word: str) -> None:
    imported = graphspec.from_torch(learned.Stopped(how), images(2, 4))
    assert word in imported.text
    assert imported.proved is not None and imported.proved.gradient is not None
    assert imported.proved.gradient < 1e-5


@pytest.mark.parametrize(
    ("how", "word"),
    [
        ("biases", "{layer: Dense, units: 6, use_bias: false}"),
        ("turned", "{parameter: [4, 6]}"),
        ("table", "{layer: ReversibleEmbedding, input_dim: 6, output_dim: 6}"),
        ("detached", "op: stop_gradient"),
    ],
)
def test_a_common_weight_is_one_whatever_is_added_to_it(how: str, word: str) -> None:
    imported = graphspec.from_torch(learned.Tied(how), images(2, 6))
    assert word in imported.text and not imported.frozen
    assert imported.proved is not None and imported.proved.gradient is not None
    assert imported.proved.gradient < 1e-5


def test_a_function_that_is_others_comes_in_as_these() -> None:
    proved = graphspec.from_torch(learned.Fused(), images(2, 4)).proved
    assert proved is not None and proved.gradient is not None and proved.gradient < 1e-5


def test_what_is_only_checked_becomes_nothing() -> None:
    imported = graphspec.from_torch(learned.Triangles(), images(2, 4, 4))
    assert imported.proved is not None and imported.proved.outputs < 1e-5
    nodes = yaml.safe_load(imported.text)["nodes"].values()
    assert [next(iter(node.values())) for node in nodes] == ["Dense", "cast", "tril", "triu", "subtract"]


def test_the_parts_of_a_parameter_that_are_not_written_learn() -> None:
    imported = graphspec.from_torch(learned.Written(), images(2, 4, 6))
    assert imported.proved is not None and imported.proved.outputs < 1e-5
    assert imported.proved.gradient is not None and imported.proved.gradient < 1e-5
    assert not imported.frozen


def test_magnitudes_learn_at_zero() -> None:
    proved = graphspec.from_torch(learned.Spectrum(), images(2, 8)).proved
    assert proved is not None and proved.gradient is not None and proved.gradient < 1e-5


@pytest.mark.parametrize("mode", ["nearest", "nearest-exact", "bilinear"])
def test_a_factor_that_makes_no_whole_size(mode: str) -> None:
    if mode == "bilinear":
        with pytest.raises(SpecError, match="its factor makes no whole size of 9, 9"):
            graphspec.from_torch(learned.Resized(mode), images(2, 3, 9, 9))
    else:
        proved = graphspec.from_torch(learned.Resized(mode), images(2, 3, 9, 9)).proved
        assert proved is not None and proved.outputs < 1e-5


def test_a_gradient_that_is_nan_in_the_spec_alone_differs() -> None:
    nan, one = torch.tensor([torch.nan]), torch.ones(1)
    assert proof.worst_difference({"a": one, "b": nan}, {"a": one, "b": one})[0] == 0
    assert proof.worst_difference({"a": one}, {"a": nan}) == (float("inf"), "a")


def test_tables_that_only_the_weights_hold_are_told() -> None:
    imported = graphspec.from_torch(learned.Reordered(), images(2, 70))
    assert imported.notes == ("`order` is in the weights alone: without them it starts at random",)


def test_other_weights_go_in_without_rules(tmp_path: Path) -> None:
    from typer.testing import CliRunner

    from graphspec.cli.app import app

    torch.manual_seed(0)
    spec, _ = graphspec.from_torch(modules.ResidualMLP(), images(2, 10), check=False).save(tmp_path)
    other = modules.ResidualMLP().eval()
    torch.save(other.state_dict(), tmp_path / "other.pt")
    target = tmp_path / "out.safetensors"
    result = CliRunner().invoke(
        app, ["weights", str(spec), "--from", str(tmp_path / "other.pt"), "-o", str(target)]
    )
    assert result.exit_code == 0, result.output
    module = graphspec.compile(spec).module(weights=target).eval()
    x = images(3, 10)
    torch.testing.assert_close(module(x), other(x))


def test_frozen_parameters_are_told() -> None:
    layer = nn.utils.parametrizations.weight_norm(nn.GRU(3, 4, batch_first=True), "weight_hh_l0")
    imported = graphspec.from_torch(nn.Sequential(layer, modules.First()), images(2, 5, 3))
    names = [f"0.parametrizations.weight_hh_l0.original{k}" for k in (0, 1)]
    assert imported.frozen == tuple(names)
    assert any("folded in: `0.parametrizations" in note for note in imported.notes)


def test_a_kernel_that_is_computed_learns() -> None:
    imported = graphspec.from_torch(modules.Standardized(), images(2, 3, 8, 8))
    assert not imported.frozen and "op: conv" in imported.text
    assert imported.proved is not None and imported.proved.gradient is not None
    assert imported.proved.gradient < 1e-5


def line_of(word: str) -> int:
    lines = Path(str(modules.__file__)).read_text().splitlines()
    return next(number for number, line in enumerate(lines, 1) if word in line)


@pytest.mark.parametrize(
    ("cls", "inputs", "message", "line"),
    [
        (modules.IfPositive, images(2, 4), "control flow depends on the values", "if x.sum() > 0"),
        (
            modules.Packed,
            (images(2, 5, 4), torch.tensor([5, 3])),
            "it packs sequences",
            "pack_padded_sequence(",
        ),
        (modules.OverBatch, images(2, 4), "over the examples of a batch", "x - x.mean(0"),
        (modules.NoWord, images(2, 4), "no counterpart", "bessel_j0"),
    ],
)
def test_what_no_spec_says_is_refused_with_its_line(
    cls: type[nn.Module], inputs: Any, message: str, line: str
) -> None:
    with pytest.raises(SpecError) as error:
        graphspec.from_torch(cls(), inputs)
    text = str(error.value)
    assert "import-unsupported" in text and message in text
    assert f"torch_modules.py:{line_of(line)}" in text


# --- the command


SOURCE = """
from torch import nn


def net():
    return nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))


def number():
    return 3


def broken():
    return nn.Linear(4)
"""


def run(*arguments: str) -> Any:
    from typer.testing import CliRunner

    from graphspec.cli.app import app

    return CliRunner().invoke(app, ["import", "torch", *arguments])


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "my_nets.py").write_text(SOURCE)
    monkeypatch.chdir(tmp_path)
    importlib.invalidate_caches()
    return tmp_path


def test_command_writes_both_files_and_tells_what_became_what(package: Path) -> None:
    found = run(
        "my_nets:net", "--allow", "my_nets", "--input", "input: {shape: [4]}", "--name", "net", "-o", "out"
    )
    assert found.exit_code == 0, found.output
    assert re.search(r"0 +Linear +Dense", found.output)
    assert "equal to the module to" in found.output and "gradients to" in found.output
    module = graphspec.compile(package / "out" / "net.yaml").module(
        weights=package / "out" / "net.safetensors"
    )
    assert module(images(2, 4)).shape == (2, 2)


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("my_nets:net",), 1, "module-not-allowed"),
        (("my_nets:nothing", "--allow", "my_nets"), 1, "module-missing"),
        (("my_nets:number", "--allow", "my_nets"), 1, "not an nn.Module"),
        (("my_nets:broken", "--allow", "my_nets"), 1, "fails: TypeError"),
        (("my_nets", "--allow", "my_nets"), 2, "my_model:Net"),
    ],
)
def test_command_refuses(package: Path, arguments: tuple[str, ...], code: int, message: str) -> None:
    found = run(*arguments, "--input", "input: {shape: [4]}", "-o", "out")
    assert found.exit_code == code, found.output
    assert message in found.output
    assert not (package / "out").exists()


@pytest.mark.parametrize(
    "written", ["input", "input: {shape: 4}", "input: {shape: [0]}", "input: {shape: [4], dtype: x}"]
)
def test_inputs_are_checked(package: Path, written: str) -> None:
    found = run("my_nets:net", "--allow", "my_nets", "--input", written, "-o", "out")
    assert found.exit_code == 2, found.output

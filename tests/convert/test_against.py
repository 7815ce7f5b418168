"""A spec against a module written by hand: equal ones pass, and the first node that differs is named."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from typer.testing import CliRunner

from graphspec.cli.app import app
from graphspec.compiler import compile
from graphspec.convert.pytorch.against import against
from graphspec.diagnostics import SpecError

SPEC = """
inputs: {x: {shape: [8, 8, 1]}}
nodes:
  conv: {layer: Conv2D, filters: 4, kernel_size: 3, padding: same, activation: relu}
  norm: {layer: BatchNormalization, epsilon: 0.00001}
  pool: {layer: MaxPooling2D}
  flat: {layer: Flatten}
  drop: {layer: Dropout, rate: 0.3}
  code: {layer: Dense, units: 6, activation: relu}
  out: {layer: Dense, units: 3}
outputs: [out]
"""
CODE = """
import torch
from torch import nn


class Net(nn.Module):
    kind = "relu"
    flips = False

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(1, 4, 3, padding=1)
        self.norm = nn.BatchNorm2d(4)
        self.drop = nn.Dropout(0.3)
        self.hidden = nn.Linear(64, 6)
        self.head = nn.Linear(6, 3)

    def forward(self, image):
        x = nn.functional.max_pool2d(self.norm(torch.relu(self.first(image))), 2)
        if self.flips:
            x = x.flip(2)
        code = getattr(torch, self.kind)(self.hidden(self.drop(x.flatten(1))))
        return self.head(code)


class Tanh(Net):
    kind = "tanh"


class Flipped(Net):
    flips = True


class Detached(Net):
    def forward(self, image):
        x = nn.functional.max_pool2d(self.norm(torch.relu(self.first(image).detach())), 2)
        return self.head(torch.relu(self.hidden(self.drop(x.flatten(1)))))


def dilated():
    net = Net()
    net.first.dilation = net.first.padding = (2, 2)
    return net


def wide():
    net = Net()
    net.head = nn.Linear(6, 4)
    return net


def more():
    net = Net()
    net.extra = nn.Linear(2, 2)
    return net


class Two(Net):
    def forward(self, image, mask):
        return super().forward(image)
"""
GPT_SPEC = """
inputs: {ids: {shape: [6], dtype: int64}}
blocks:
  block:
    inputs: [x]
    nodes:
      norm1: {layer: LayerNormalization, epsilon: 0.00001, from: x}
      attention:
        {layer: MultiHeadAttention, num_heads: 2, key_dim: 4, use_causal_mask: true, from: [norm1, norm1]}
      sum1: {merge: add, from: [x, attention]}
      norm2: {layer: LayerNormalization, epsilon: 0.00001}
      up: {layer: Dense, units: 32, activation: gelu}
      down: {layer: Dense, units: 8}
      sum2: {merge: add, from: [sum1, down]}
    outputs: [sum2]
nodes:
  words: {layer: Embedding, input_dim: 11, output_dim: 8}
  first: {block: block}
  second: {block: block}
  norm: {layer: LayerNormalization, epsilon: 0.00001}
  head: {layer: Dense, units: 11, use_bias: false}
outputs: [head]
"""
GPT_CODE = """
import torch
from torch import nn


class Attention(nn.Module):
    order = (0, 1, 2)

    def __init__(self):
        super().__init__()
        self.qkv = nn.Linear(8, 24)
        self.proj = nn.Linear(8, 8)

    def forward(self, x):
        parts = self.qkv(x).chunk(3, -1)
        q, k, v = (parts[i].unflatten(-1, (2, 4)).transpose(1, 2) for i in self.order)
        y = nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.proj(y.transpose(1, 2).flatten(2))


class Swapped(Attention):
    order = (0, 2, 1)


class Block(nn.Module):
    def __init__(self, attention):
        super().__init__()
        self.ln_1 = nn.LayerNorm(8)
        self.attn = attention()
        self.ln_2 = nn.LayerNorm(8)
        self.fc = nn.Linear(8, 32)
        self.out = nn.Linear(32, 8)

    def forward(self, x):
        x = x + self.attn(self.ln_1(x))
        return x + self.out(nn.functional.gelu(self.fc(self.ln_2(x))))


class GPT(nn.Module):
    attention = Attention

    def __init__(self):
        super().__init__()
        self.wte = nn.Embedding(11, 8)
        self.blocks = nn.ModuleList([Block(self.attention), Block(self.attention)])
        self.ln_f = nn.LayerNorm(8)
        self.lm_head = nn.Linear(8, 11, bias=False)

    def forward(self, ids):
        x = self.wte(ids)
        for block in self.blocks:
            x = block(x)
        return self.lm_head(self.ln_f(x))


class Wrong(GPT):
    attention = Swapped


class ByHeads(Attention):
    def forward(self, x):
        y = self.qkv(x).unflatten(-1, (2, 3, 4))
        q, k, v = (y[..., i, :].transpose(1, 2) for i in range(3))
        y = nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.proj(y.transpose(1, 2).flatten(2))


class NeoX(GPT):
    attention = ByHeads


class Groups(ByHeads):  # two queries of each key and value
    def __init__(self):
        super().__init__()
        self.qkv, self.proj = nn.Linear(8, 32), nn.Linear(16, 8)

    def forward(self, x):
        y = self.qkv(x).unflatten(-1, (2, 4, 4))
        q, k, v = y[..., :2, :].flatten(2, 3), y[..., 2, :], y[..., 3, :]
        k, v = (z.repeat_interleave(2, 2) for z in (k, v))
        q, k, v = (z.transpose(1, 2) for z in (q, k, v))
        y = nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.proj(y.transpose(1, 2).flatten(2))


class Grouped(GPT):
    attention = Groups


class NoBias(Attention):
    def __init__(self):
        super().__init__()
        self.qkv, self.proj = nn.Linear(8, 24, bias=False), nn.Linear(8, 8, bias=False)


class Bare(GPT):
    attention = NoBias


class HalfBiased(Attention):
    def __init__(self):
        super().__init__()
        self.qkv = nn.Linear(8, 24, bias=False)


class Half(GPT):
    attention = HalfBiased


class Strided(Attention):
    order = "dkh"

    def forward(self, x):
        sizes = {"k": 3, "h": 2, "d": 4}
        y = self.qkv(x).unflatten(-1, [sizes[axis] for axis in self.order])
        y = y.permute(2 + self.order.index("k"), 0, *(2 + self.order.index(axis) for axis in "hd"), 1)
        q, k, v = y.transpose(-1, -2)
        y = nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.proj(y.transpose(1, 2).flatten(2))


class SizeFirst(GPT):
    attention = Strided


class KDH(GPT):
    attention = type("KDHAttention", (Strided,), {"order": "kdh"})


class HDK(GPT):
    attention = type("HDKAttention", (Strided,), {"order": "hdk"})


class DHK(GPT):
    attention = type("DHKAttention", (Strided,), {"order": "dhk"})


class Flat(nn.Module):
    # it holds the layers of its attention itself
    def __init__(self, attention):
        super().__init__()
        self.ln_1 = nn.LayerNorm(8)
        self.__dict__["attn"] = inner = attention()
        self.proj, self.qkv = inner.proj, inner.qkv
        self.ln_2 = nn.LayerNorm(8)
        self.fc = nn.Linear(8, 32)
        self.out = nn.Linear(32, 8)

    forward = Block.forward


def flat(attention=Attention):
    net = GPT()
    net.blocks = nn.ModuleList([Flat(attention), Flat(attention)])
    return net


class Apart(Attention):
    def __init__(self):
        super().__init__()
        del self.qkv, self.proj
        self.to_q, self.to_k, self.to_v, self.proj = (nn.Linear(8, 8) for _ in range(4))

    def qkv(self, x):
        return torch.cat([self.to_q(x), self.to_k(x), self.to_v(x)], -1)


class Projections(GPT):
    attention = Apart


class Masked(Attention):
    def __init__(self):
        super().__init__()
        self.register_buffer("bias", torch.ones(6, 6).tril())


class Tied(GPT):
    attention = Masked

    def __init__(self):
        super().__init__()
        self.lm_head.weight = self.wte.weight


def flat_wrong():
    return flat(Swapped)
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("against")
    (folder / "spec.yaml").write_text(SPEC)
    (folder / "hand_written.py").write_text(CODE)
    (folder / "gpt.yaml").write_text(GPT_SPEC)
    (folder / "hand_gpt.py").write_text(GPT_CODE)
    return folder


def prove(folder: Path, name: str, *more: str, allowed: bool = True) -> tuple[int, str]:
    words = ["prove", str(folder / "spec.yaml"), "--against", f"{folder / 'hand_written.py'}:{name}", *more]
    done = CliRunner().invoke(app, [*words, *(["--allow", "hand_written"] if allowed else [])])
    return done.exit_code, done.output


def test_an_equal_module_has_a_certificate_that_is_compared_again(folder: Path, tmp_path: Path) -> None:
    file = tmp_path / "proof.json"
    code, said = prove(folder, "Net", "-o", str(file))
    assert code == 0 and "in training mode gradients are equal" in said and "10 weights" in said
    record = json.loads(file.read_text())
    assert record["outputs"] < 1e-5 and record["gradients"] < 1e-5 and record["weights"] == 10
    assert prove(folder, "Net", "-o", str(file))[0] == 2
    words = ["verify", str(file), "--allow", "hand_written"]
    again = json.loads(CliRunner().invoke(app, [*words, "--json"]).stdout)
    assert again["ok"] and again["same"] == {"module": True, "weights": True}
    refused = CliRunner().invoke(app, words[:2])
    assert refused.exit_code == 1 and "module-not-allowed" in refused.output
    file.write_text(json.dumps({**record, "against": "hand_written.py:Net"}))
    lost = CliRunner().invoke(app, [*words, "--json"])
    assert lost.exit_code == 2 and "names hand_written.py, which is not here" in lost.output
    (tmp_path / "hand_written.py").write_text(CODE)  # next to the certificate
    assert CliRunner().invoke(app, [*words, "--json"]).exit_code == 0
    moved = tmp_path / "moved_code.py"
    moved.write_text(CODE.replace("kind = ", "kind =  "))
    words = ["verify", str(file), "--against", f"{moved}:Net", "--allow", "moved_code"]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0 and "the module is not what was compared then" in done.output
    file.write_text(
        json.dumps({**record, "spec": record["spec"].replace("units: 6, activation: relu", "units: 6")})
    )
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 1 and "import-differs" in done.output


@pytest.mark.parametrize(
    ("name", "code", "words"),
    [
        ("Tanh", "import-differs", "or the activation of `code`: what `out` reads differs"),
        ("Flipped", "import-differs", "first at `pool` or `flat` or `drop`"),
        ("dilated", "import-differs", "first at `conv`, which is `first` there"),
        ("Detached", "import-differs", "the gradient of `conv."),
        ("wide", "weights-misfit", "`out.weight`"),
        ("more", "weights-misfit", "has weights that the spec lacks: `extra.weight`, `extra.bias`"),
        ("Two", "import-differs", "does not run on the inputs of the spec, x [2, 8, 8, 1]"),
        ("Ned", "module-missing", "did you mean"),
    ],
)
def test_what_differs_is_named(folder: Path, name: str, code: str, words: str) -> None:
    status, said = prove(folder, name)
    assert status == 1 and f"error[{code}]" in said and words in said and "--fresh" not in said


@pytest.mark.parametrize("name", ["GPT", "flat", "Projections"])
def test_a_layer_of_query_key_and_value_is_taken_apart(folder: Path, tmp_path: Path, name: str) -> None:
    file, twin = tmp_path / "proof.json", f"{folder / 'hand_gpt.py'}:{name}"
    words = ["--allow", "hand_gpt", "--json"]
    command = ["prove", str(folder / "gpt.yaml"), "--against", twin, "-o", str(file), *words]
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 0, done.output
    record = json.loads(file.read_text())
    assert record["weights"] == 36 and record["outputs"] < 1e-5 and record["gradients"] < 1e-5
    again = CliRunner().invoke(app, ["verify", str(file), *words])
    assert again.exit_code == 0 and json.loads(again.stdout)["same"] == {"module": True, "weights": True}


GROUPED = GPT_SPEC.replace("MultiHeadAttention", "GroupedQueryAttention").replace(
    "num_heads: 2, key_dim: 4", "num_query_heads: 4, num_key_value_heads: 2, head_dim: 4"
)


ORDERS = [(name, GPT_SPEC) for name in ("NeoX", "SizeFirst", "KDH", "HDK", "DHK")]


@pytest.mark.parametrize(("name", "text"), [*ORDERS, ("Grouped", GROUPED)])
def test_query_key_and_value_in_any_order_are_taken_apart(
    folder: Path, tmp_path: Path, name: str, text: str
) -> None:
    (tmp_path / "s.yaml").write_text(text)
    words = ["--against", f"{folder / 'hand_gpt.py'}:{name}", "--allow", "hand_gpt"]
    done = CliRunner().invoke(app, ["prove", str(tmp_path / "s.yaml"), *words])
    assert done.exit_code == 0 and "36 weights" in done.output, done.output


def test_biases_that_one_of_both_lacks_are_named(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "s.yaml").write_text(GPT_SPEC.replace("num_heads: 2,", "num_heads: 2, use_bias: false,"))
    for spec, name, said in (
        (folder / "gpt.yaml", "Bare", "no `first.attention.query.bias`, `first.attention.key.bias`"),
        (tmp_path / "s.yaml", "GPT", "the module has `blocks.0.attn.qkv.bias`, `blocks.0.attn.proj.bias`"),
        (tmp_path / "s.yaml", "Bare", "28 weights have their tensors"),
        (
            folder / "gpt.yaml",
            "Half",
            "`first.attention` have a bias in the module, and `use_bias` is for all",
        ),
        (
            tmp_path / "s.yaml",
            "Half",
            "`first.attention` have a bias in the module, and `use_bias` is for all",
        ),
    ):
        words = ["--against", f"{folder / 'hand_gpt.py'}:{name}", "--allow", "hand_gpt"]
        output = CliRunner().invoke(app, ["prove", str(spec), *words]).output
        assert said in output and ("use_bias" in output) == ("weights have" not in said), output


def test_one_table_of_both_ends_is_one_weight_and_masks_are_none(folder: Path, tmp_path: Path) -> None:
    words = ["--against", f"{folder / 'hand_gpt.py'}:Tied", "--allow", "hand_gpt"]
    done = CliRunner().invoke(app, ["prove", str(folder / "gpt.yaml"), *words])
    assert done.exit_code == 1 and "the gradient of `head.weight` differs" in done.output
    table = "shared:\n  table: {layer: ReversibleEmbedding, input_dim: 11, output_dim: 8}\nnodes:\n  words"
    text = GPT_SPEC.replace("layer: Embedding, input_dim: 11, output_dim: 8", "call: table")
    text = text.replace("layer: Dense, units: 11, use_bias: false", "call: table, reverse: true")
    spec = tmp_path / "tied.yaml"
    spec.write_text(text.replace("nodes:\n  words", table))
    done = CliRunner().invoke(app, ["prove", str(spec), *words])
    assert done.exit_code == 0 and "35 weights" in done.output, done.output


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("Wrong", "first at `attention`, which is `blocks.0.attn` there"),
        ("flat_wrong", "what `first.norm2` reads differs"),
    ],
)
def test_parts_in_another_order_differ_until_a_rule_says_so(
    folder: Path, tmp_path: Path, name: str, words: str
) -> None:
    command = ["prove", str(folder / "gpt.yaml"), "--against", f"{folder / 'hand_gpt.py'}:{name}"]
    command += ["--allow", "hand_gpt"]
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 1 and "error[import-differs]" in done.output and words in done.output
    assert name != "Wrong" or "`value` is in `blocks.0.attn.qkv`" in done.output
    rules = tmp_path / "rules.yaml"
    layer = "attn.qkv" if name == "Wrong" else "qkv"
    text = "weights:\n"
    for i, ours in enumerate(("first", "second")):
        text += f"  {ours}.attention.{{part}}.{{w}}:\n    from: blocks.{i}.{layer}.{{w}}\n"
        text += "    split: {part: [query, value, key]}\n"
    rules.write_text(text)
    done = CliRunner().invoke(app, [*command, "--rules", str(rules)])
    assert done.exit_code == 0, done.output


def test_wrong_use_is_told(folder: Path, tmp_path: Path) -> None:
    assert "module-not-allowed" in prove(folder, "Net", allowed=False)[1]
    assert "does not end in .json" in prove(folder, "Net", "-o", str(tmp_path / "x.txt"))[1]
    done = CliRunner().invoke(app, ["prove", str(folder / "spec.yaml"), "--against", "hand_writen.py:Net"])
    assert done.exit_code == 2 and "there is no file hand_writen.py" in done.output
    for text in ("nothing", "{}", '{"spec": 1}', "[" * 9000):
        (tmp_path / "bad.json").write_text(text)
        done = CliRunner().invoke(app, ["verify", str(tmp_path / "bad.json")])
        assert done.exit_code == 1 and "is not a certificate" in done.output


PLACES = """
inputs:
  ids: {shape: [T], dtype: int64}
nodes:
  words:  {layer: Embedding, input_dim: 11, output_dim: 4}
  count:  {op: arange, from: ids, axis: 1}
  places: {layer: Embedding, input_dim: 512, output_dim: 4}
  sum:    {merge: add, from: [words, places]}
  hidden: {layer: Dense, units: 8, activation: tanh}
  out:    {layer: Dense, units: 3}
outputs: [out]
"""


def test_what_is_computed_once_for_all_rows_is_no_difference() -> None:
    """The activation is another one; positions have no axis of the batch there."""

    class Places(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.words, self.places = nn.Embedding(11, 4), nn.Embedding(512, 4)
            self.hidden, self.out = nn.Linear(4, 8), nn.Linear(8, 3)

        def forward(self, ids: torch.Tensor) -> Any:
            x = self.words(ids) + self.places(torch.arange(ids.shape[1]))
            return self.out(self.hidden(x).relu())

    with pytest.raises(SpecError, match="the activation of `hidden`: what `out` reads differs"):
        against(compile(PLACES), Places(), "Places")
    assert against(compile(PLACES.replace("tanh", "relu")), Places(), "Places").outputs < 1e-5

"""Another checkpoint of a module that was imported, as weights of its spec."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional as F
from typer.testing import CliRunner

import graphspec
from graphspec.cli.app import app
from graphspec.convert.pytorch.result import FromTorch
from graphspec.transfer import transfer
from graphspec.transfer.origins import imported_beside, origin_of
from tests import one_in
from tests.convert import torch_modules
from tests.convert.modules import common, learned
from tests.convert.modules.given import floats


class Several(nn.Module):
    """Parameters that no layer has, of one shape and of others, and a table that nothing trains."""

    order: Tensor
    fixed: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.Parameter(torch.randn(4)), nn.Parameter(torch.randn(4))
        self.many = nn.ParameterList([nn.Parameter(torch.randn(4)) for _ in range(3)])
        self.matrix = nn.Parameter(torch.randn(4, 6))
        self.register_buffer("order", torch.randn(70))
        self.register_buffer("fixed", torch.randn(6, 4), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        x = (x * self.one + self.two) @ self.matrix.flip(1) @ self.fixed
        x = torch.cat([x * self.many[2], x + self.many[0] * self.many[1]], -1)
        return (x.sum(-1, keepdim=True) * self.order)[:, :9]


class Mixed(nn.Module):
    """What other modules share and cut: a Bilinear, a projection in three, columns after a Flatten."""

    def __init__(self) -> None:
        super().__init__()
        self.both, self.three = nn.Bilinear(4, 4, 5), nn.Linear(5, 12)
        self.conv, self.head = nn.Conv1d(2, 3, 3), nn.Linear(9, 4)
        self.norm, self.tied = nn.LayerNorm(4), nn.Linear(4, 5)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.three(self.both(x, x.tanh())).chunk(3, -1)
        x = self.norm(F.scaled_dot_product_attention(q[:, None], k[:, None], v[:, None])[:, 0])
        x = torch.cat([self.norm(x), self.tied(x)], -1)[:, :5]
        x = self.head(self.conv(torch.stack([x, -x], 1)).flatten(1))
        return F.linear(x, self.tied.weight, self.tied.bias)


class Crossed(nn.Module):
    """Attention to tensors of another width, in a layer that goes with it."""

    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(8, 2, kdim=4, vdim=6, batch_first=True)

    def forward(self, x: Tensor, y: Tensor, z: Tensor) -> Tensor:
        return self.attention(x, y, z)[0]


MODULES: dict[str, tuple[Callable[[], nn.Module], Any]] = {
    "parameters": (Several, floats(2, 4)),
    "mixed": (Mixed, floats(2, 4)),
    "kdim": (Crossed, (floats(2, 5, 8), floats(2, 3, 4), floats(2, 3, 6))),
    "decoder": (
        lambda: nn.TransformerDecoderLayer(8, 2, 16, batch_first=True),
        (floats(2, 5, 8), floats(2, 3, 8)),
    ),
    "shortened": (lambda: nn.Embedding(40, 4, max_norm=0.5), torch.randint(0, 40, (2, 9))),
    "recurrent": (lambda: common.Recurrent(nn.LSTM, True, "sequence", num_layers=2), (floats(2, 6, 3),) * 2),
    "kernels": (lambda: common.Two(*common.TWO["conv"][:1], "weight"), common.TWO["conv"][2]),
    "fixed": (lambda: common.Fixed("kernel"), common.FIXED["kernel"]),
    "causal": (torch_modules.CausalModel, torch.randint(0, 40, (2, 9))),
    "written": (learned.Written, floats(2, 4, 6)),
}


def into(module: nn.Module, inputs: Any, folder: Path) -> FromTorch:
    imported = graphspec.from_torch(module, inputs, name="net")
    imported.save(folder)
    return imported


def goes_in(make: Callable[[], nn.Module], inputs: Any, folder: Path) -> None:
    """A checkpoint of other weights computes with the spec what it does with the module."""
    torch.manual_seed(0)
    imported = into(make(), inputs, folder)
    torch.manual_seed(1)
    other = make().eval()
    fixed = {name for name, _ in other.named_buffers()} - other.state_dict().keys()
    first = make()
    torch.manual_seed(0)
    first = make()
    for name in fixed:
        other.get_buffer(name).copy_(first.get_buffer(name))
    torch.save({f"model.{key}": value for key, value in other.state_dict().items()}, folder / "other.pt")
    found = transfer(
        imported.program.graph, folder / "other.pt", imported=imported_beside(folder / "net.yaml")
    )
    assert found.plan.ok, found.plan.missing
    assert {match.how for match in found.plan.matches.values()} <= {"import"}
    listed = [inputs] if isinstance(inputs, Tensor) else inputs
    actual = imported.program.module(weights=found.weights).eval()(*listed)
    torch.testing.assert_close(actual, other(*listed), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", one_in(2, MODULES))
def test_a_second_checkpoint_goes_in(name: str, tmp_path: Path) -> None:
    goes_in(*MODULES[name], tmp_path)


def chain(seed: int) -> nn.Module:
    """A module of random parts, each in one of the ways that modules hold parameters."""
    draw = random.Random(seed)

    class Part(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.kind, self.a = draw.randrange(6), nn.Parameter(torch.randn(4))
            self.b, self.w = nn.Parameter(torch.randn(4)), nn.Parameter(torch.randn(8, 4))
            self.layer = nn.Linear(4, 4, bias=draw.random() < 0.5)

        def forward(self, x: Tensor) -> Tensor:
            if self.kind == 0:
                return self.layer(x) * self.a + self.b
            if self.kind == 1:
                return F.linear(x, self.w[::2], self.a)
            if self.kind == 2:
                return x @ self.w[4:] + torch.cat([self.a[:2], self.b[2:]])
            if self.kind == 3:
                return F.layer_norm(x, (4,), self.a.flip(0), self.b)
            if self.kind == 4:
                return F.linear(x, torch.cat([self.w[:2], self.w[-2:]])).tanh()
            return torch.einsum("bi,ij->bj", x, self.w.view(2, 4, 4)[1].t()) + self.layer(self.a)

    return nn.Sequential(*(Part() for _ in range(4)))


@pytest.mark.parametrize("seed", range(3))
def test_random_modules_take_second_checkpoints(seed: int, tmp_path: Path) -> None:
    goes_in(lambda: chain(seed), floats(2, 4), tmp_path)


def test_the_command_uses_what_the_import_knows_and_passes_it_on(tmp_path: Path) -> None:
    into(Several(), floats(2, 4), tmp_path)
    torch.save(Several().state_dict(), tmp_path / "other.pt")
    arguments = ["weights", str(tmp_path / "net.yaml"), "--from", str(tmp_path / "other.pt")]
    again = ["-o", str(tmp_path / "net.safetensors"), "--force"]
    for _ in range(2):
        result = CliRunner().invoke(app, [*arguments, *again])
        assert result.exit_code == 0, result.output
        assert "import, rearranged" in result.output and "fixed in the module: " in result.output


@pytest.mark.parametrize(
    "word",
    [
        "{",
        '{"tensors": {}, "weights": {"x": 3}}',
        '{"tensors": {"weight": [4, 4]}, "weights": {"node.weight": {"views": [{"source": "weight", '
        '"start": 9, "sizes": [1000000000000, 4], "strides": [0, -1], "shape": [4000000000000]}]}}}',
    ],
)
def test_what_a_file_says_of_origins_is_checked(tmp_path: Path, word: str) -> None:
    """Anyone can write it."""
    spec = tmp_path / "net.yaml"
    spec.write_text(
        "inputs: {x: {shape: [4]}}\nnodes: {node: {layer: Dense, units: 4, use_bias: false}}\n"
        "outputs: [node]\n"
    )
    save_file({"weight": torch.randn(4, 4)}, tmp_path / "other.safetensors")
    save_file({"node.weight": torch.randn(4, 4)}, tmp_path / "net.safetensors", {"origins": word})
    found = transfer(
        graphspec.compile(spec).graph, tmp_path / "other.safetensors", imported=imported_beside(spec)
    )
    assert found.plan.ok == ("views" not in word)
    assert load_file(tmp_path / "net.safetensors").keys() == {"node.weight"}


def test_a_checkpoint_of_other_sizes_does_not_fit(tmp_path: Path) -> None:
    imported = into(nn.Bilinear(4, 4, 5), (floats(2, 4), floats(2, 4)), tmp_path)
    torch.save(nn.Bilinear(4, 5, 4).state_dict(), tmp_path / "other.pt")
    found = transfer(
        imported.program.graph, tmp_path / "other.pt", imported=imported_beside(tmp_path / "net.yaml")
    )
    assert not found.plan.ok


@pytest.mark.parametrize(
    "change",
    [
        lambda a, b: a,
        lambda a, b: a.t(),
        lambda a, b: a[1:3, ::2],
        lambda a, b: a.flip(0),
        lambda a, b: a.view(2, 2, 6).permute(2, 0, 1).flatten(1),
        lambda a, b: torch.cat([a, b]),
        lambda a, b: torch.cat([a[:, 1:], b.flip(1)], 1),
        lambda a, b: a[2, 3],
        lambda a, b: a[:, :1].expand(4, 3),
    ],
)
def test_views_are_found_and_give_the_same(change: Any) -> None:
    a, b = torch.randn(4, 6), torch.randn(4, 6)
    numbers = [torch.arange(24.0).view(4, 6), torch.arange(24.0, 48).view(4, 6)]
    elements = change(*numbers)
    origin = origin_of(elements if elements.dim() else elements[None], [(0, "a"), (24, "b")], False)
    assert origin is not None
    parts = [view.of({"a": a, "b": b}[view.source]) for view in origin.views]
    assert torch.equal(torch.cat(parts, origin.axis).reshape(change(a, b).shape), change(a, b))

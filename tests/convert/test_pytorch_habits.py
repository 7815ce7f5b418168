"""Modules as people write them, as specs: what is written in place, picked, masked, returned, refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import graphspec
from graphspec.diagnostics import SpecError
from tests import one_in
from tests.convert.modules import habits
from tests.convert.modules.given import floats, ids

PLACES = torch.tensor([3, 1])
NO_PADDING = torch.zeros(2, 6, dtype=torch.bool)

MODULES: dict[str, tuple[Callable[[], nn.Module], Any, dict[str, Any], tuple[str, ...]]] = {
    "written in part": (lambda: habits.Applied(habits.writes), floats(2, 5, 4), {}, ("op: where",)),
    "shifted": (lambda: habits.Applied(habits.shifts), floats(2, 5, 4), {}, ("op: pad",)),
    "filled": (lambda: habits.Applied(habits.fills), floats(2, 5, 4), {}, ("merge: stack",)),
    "looked at": (lambda: habits.Applied(habits.writes_after_a_look), floats(2, 5, 4), {}, ("op: exp",)),
    "flattened": (lambda: habits.Applied(habits.writes_after_flattening), floats(2, 5, 4), {}, ("Flatten",)),
    "padded": (
        lambda: habits.Applied(habits.before_the_first),
        floats(2, 5, 4),
        {"x": ["time", 4]},
        ("{op: pad, pad_width: [[0, 0], [1, 0], [0, 0]]}",),
    ),
    "last of an open size": (
        lambda: habits.Applied(lambda x: x[:, x.size(1) - 1]),
        floats(2, 5, 4),
        {"x": ["time", 4]},
        ('key: ":, -1"',),
    ),
    "types": (lambda: habits.Applied(habits.finite), floats(2, 5, 4), {}, ("op: cast",)),
    "one key head": (lambda: habits.Applied(habits.one_key_head), floats(2, 5, 4), {}, ("op: repeat",)),
    "skewed": (lambda: habits.Applied(habits.skewed), floats(2, 3, 4), {}, ("layer: Reshape",)),
    "last seen": (
        lambda: habits.AppliedToTwo(habits.last_seen),
        (floats(2, 5, 4), PLACES),
        {},
        ("op: take_along_axis",),
    ),
    "gathered": (
        lambda: habits.AppliedToTwo(habits.gathered),
        (floats(2, 5, 4), PLACES[:, None].expand(2, 2)),
        {},
        ("op: take_along_axis",),
    ),
    "bits": (lambda: habits.AppliedToIntegers(habits.bits), ids(), {}, ("{op: bitwise_and, y: 3}",)),
    "masked": (habits.MaskedEncoder, (floats(2, 6, 8), NO_PADDING), {}, ("repeat: 2",)),
    "dataclass": (habits.Named, floats(2, 4), {}, ("logits: {from: head}", "hidden: {from: dense}")),
    "compiled": (lambda: compiled_module(), floats(2, 4), {}, ("logits: {from: head}",)),
    "states": (habits.States, floats(2, 5, 4), {}, ("return_state: true",)),
}


@pytest.mark.filterwarnings("ignore:.torch.jit")
@pytest.mark.parametrize("name", MODULES)
def test_module_and_spec_compute_and_learn_the_same(name: str) -> None:
    make, inputs, dynamic, words = MODULES[name]
    torch.manual_seed(0)
    imported = graphspec.from_torch(make(), inputs, dynamic=dynamic)
    assert imported.proved is not None
    assert imported.proved.outputs < 1e-5
    assert imported.proved.gradient is not None and imported.proved.gradient < 1e-5, imported.proved.why
    assert all(word in imported.text for word in words), imported.text
    assert not imported.frozen


@pytest.mark.filterwarnings("ignore:Support for mismatched")
def test_padding_is_not_seen() -> None:
    """Where each example begins with what is seen, in batches of other sizes."""
    module = habits.MaskedEncoder().eval()
    imported = graphspec.from_torch(module, (floats(2, 6, 8), NO_PADDING), check=False)
    ours = imported.program.module(weights=imported.weights).eval()
    x, padding = floats(3, 6, 8), torch.arange(6) >= torch.tensor([[6], [3], [1]])
    with torch.no_grad():
        torch.testing.assert_close(ours(x, padding), module(x, padding), rtol=1e-5, atol=1e-5)


def test_states_have_the_batch_first() -> None:
    module = habits.States().eval()
    imported = graphspec.from_torch(module, floats(2, 5, 4))
    assert any("has the batch first, not as axis 1" in note for note in imported.notes)
    ours = imported.program.module(weights=imported.weights).eval()
    x = floats(3, 5, 4)
    with torch.no_grad():
        steps, states = module(x)
        torch.testing.assert_close(list(ours(x).values()), [steps, states.transpose(0, 1)])


def compiled_module() -> Any:
    return torch.compile(habits.Named())


def teacher() -> nn.Module:
    norm = nn.BatchNorm1d(4)
    norm.requires_grad_(False)
    return nn.Sequential(nn.Linear(4, 4), norm)


@pytest.mark.parametrize(
    ("make", "inputs", "told"),
    [
        (
            lambda: nn.Sequential(nn.BatchNorm1d(4, momentum=None)),
            floats(2, 4),
            "average the statistics of all",
        ),
        (teacher, floats(2, 4), "learn nothing, but normalize by each batch"),
        (lambda: nn.Sequential(nn.Embedding(40, 4, padding_idx=3)), ids(), "row 3 of"),
    ],
)
def test_what_the_spec_trains_in_another_way_is_told(
    make: Callable[[], nn.Module], inputs: Tensor, told: str
) -> None:
    imported = graphspec.from_torch(make(), inputs)
    assert any(told in note for note in imported.notes), imported.notes


class Tied(nn.Module):
    """A table that is read without a row, and gives scores with all."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(40, 4, padding_idx=3)
        self.scores = nn.Linear(4, 40, bias=False)
        self.scores.weight = self.table.weight

    def forward(self, x: Tensor) -> Tensor:
        return self.scores(self.table(x))


def test_a_row_that_is_padding_is_learned_by_the_scores() -> None:
    imported = graphspec.from_torch(Tied(), ids())
    assert imported.proved is not None and imported.proved.steps is not None
    assert imported.proved.steps < 1e-9


class Seen(nn.Module):
    """Attention with a mask that hides nothing, as transformers makes one for an encoder."""

    def forward(self, x: Tensor) -> Tensor:
        places = torch.arange(x.shape[1], device=x.device)
        mask = (places[:, None] >= 0)[None, None]
        y = x[:, None]
        return nn.functional.scaled_dot_product_attention(y, y, y, mask)[:, 0]


def test_a_mask_that_hides_nothing_is_not_written() -> None:
    imported = graphspec.from_torch(Seen(), floats(2, 6, 4), dynamic={"x": ["length", 4]})
    assert "greater_equal" not in imported.text and imported.proved is not None


def open_size(x: Tensor) -> Tensor:
    return x.sum(1) / x.size(1)


def writes_into_a_flat_one(x: Tensor) -> Tensor:
    y = x + 1
    y.flatten(1).mul_(2)
    return y


def attends_to_examples() -> nn.Module:
    return nn.TransformerEncoderLayer(4, 2, 8)


@pytest.mark.parametrize(
    ("make", "inputs", "dynamic", "message", "remedy"),
    [
        (lambda: nn.Sequential(nn.LazyLinear(3)), floats(2, 4), {}, "lazy layers", "call the module once"),
        (lambda: nn.Linear(4, 3).bfloat16(), floats(2, 4).bfloat16(), {}, "bfloat16", "module.float()"),
        (
            lambda: nn.InstanceNorm2d(3, track_running_stats=True),
            floats(2, 3, 4, 4),
            {},
            "running statistics",
            "track_running_stats=False",
        ),
        (
            lambda: nn.Embedding(40, 4, scale_grad_by_freq=True),
            ids(),
            {},
            "depend on the other examples",
            "scale_grad_by_freq=False",
        ),
        (
            lambda: habits.Applied(open_size),
            floats(2, 5, 4),
            {"x": ["time", 4]},
            "computes with a size that stays open",
            "give the size a number",
        ),
        (
            lambda: habits.Applied(writes_into_a_flat_one),
            floats(2, 5, 4),
            {},
            "a part of a tensor",
            "torch.cat",
        ),
        (attends_to_examples, floats(5, 2, 4), {}, "attends to the examples", "batch_first=True"),
        (
            lambda: habits.Applied(lambda x: torch.fft.irfft(torch.fft.rfft(x, dim=1), n=6, dim=1)),
            floats(2, 6, 4),
            {},
            "import-unsupported",
            "help:",
        ),
    ],
)
def test_what_no_spec_says_is_refused_with_a_remedy(
    make: Callable[[], nn.Module], inputs: Tensor, dynamic: Any, message: str, remedy: str
) -> None:
    with pytest.raises(SpecError) as error:
        graphspec.from_torch(make(), inputs, dynamic=dynamic)
    assert message in str(error.value) and remedy in str(error.value)


@pytest.mark.parametrize("length", [12, "time"])
@pytest.mark.parametrize("name", one_in(3, habits.HIDES))
def test_causal_attention_by_hand_is_one_layer(name: str, length: int | str) -> None:
    """Whether with a number or an open size; other masks stay what they are."""
    torch.manual_seed(0)
    module = habits.CausalByHand(habits.HIDES[name])
    imported = graphspec.from_torch(module, floats(2, 12, 24), dynamic={"x": [length, 24]})
    assert imported.proved is not None and imported.proved.outputs < 1e-5
    assert imported.proved.gradient is not None and imported.proved.gradient < 1e-5, imported.proved.why
    is_causal = name in ("filled", "chosen", "added")
    assert ("use_causal_mask: true" in imported.text) == is_causal, imported.text
    assert ("dropout: 0.1" if is_causal else "rate: 0.1") in imported.text
    assert ("softmax" in imported.text) != is_causal


@pytest.mark.parametrize("compute", [habits.seen_before, habits.scores_of_the_past, habits.later_steps])
def test_triangles_have_open_sizes(compute: Callable[[Tensor], Tensor]) -> None:
    torch.manual_seed(0)
    source = habits.Applied(compute)
    imported = graphspec.from_torch(source, floats(2, 5, 4), dynamic={"x": ["time", 4]})
    assert imported.proved is not None and imported.proved.outputs < 1e-5
    module, x = imported.program.module(), torch.randn(3, 9, 4)
    module.load_state_dict(imported.weights)
    torch.testing.assert_close(module.eval()(x), source(x))

"""Functions of PyTorch with any arguments, as specs: in random modules, and in those that people write."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

import graphspec
from graphspec.diagnostics import SpecError

pytestmark = pytest.mark.usefixtures("little_repeats")

Draw = Callable[[st.SearchStrategy[Any]], Any]
Forward = Callable[..., Tensor]


class Made(nn.Module):
    """A module of a function, with the layers that it calls."""

    def __init__(self, forward: Forward, **layers: Any):
        super().__init__()
        self.function = forward
        for name, layer in layers.items():
            setattr(self, name, layer)

    def forward(self, x: Tensor) -> Tensor:
        return self.function(self, x)


def same(forward: Forward, x: Tensor, dynamic: Any = None, **layers: Any) -> graphspec.FromTorch:
    """The module imported, which computes and learns the same."""
    imported = graphspec.from_torch(Made(forward, **layers), x, dynamic=dynamic or {})
    assert imported.proved is not None and imported.proved.outputs < 1e-5
    assert imported.proved.gradient is not None and imported.proved.gradient < 1e-5, imported.proved.why
    return imported


# --- random modules of images: each function is drawn for the image that it is given


def padding(draw: Draw, x: Tensor) -> Forward:
    mode = draw(st.sampled_from(["constant", "circular", "reflect", "replicate"]))
    most = min(x.shape[2:]) // 2
    pads = [draw(st.integers(-1, min(most, 3))) for _ in range(4)]
    value = draw(st.sampled_from([0.0, 1.5])) if mode == "constant" else None
    return lambda x: F.pad(x, pads, mode, value)


def resizing(draw: Draw, x: Tensor) -> Forward:
    mode = draw(st.sampled_from(["bilinear", "bicubic"]))
    size = [draw(st.integers(2, 9)) for _ in range(2)]
    corners = draw(st.booleans())
    smooth = draw(st.booleans())
    return lambda x: F.interpolate(x, size, mode=mode, align_corners=corners, antialias=smooth)


def averages(draw: Draw, x: Tensor) -> Forward:
    size, stride = [draw(st.integers(1, 3)) for _ in range(2)], draw(st.integers(1, 3))
    pads = [draw(st.integers(0, each // 2)) for each in size]
    ceil = draw(st.booleans())
    counts = draw(st.booleans())
    divisor = None if ceil else draw(st.sampled_from([None, None, 3]))
    return lambda x: F.avg_pool2d(x, size, stride, pads, ceil, counts, divisor)


def largest(draw: Draw, x: Tensor) -> Forward:
    size, gap = draw(st.integers(1, 3)), draw(st.integers(1, 2))
    stride, pad, ceil = draw(st.integers(1, 3)), draw(st.integers(0, size // 2)), draw(st.booleans())
    return lambda x: F.max_pool2d(x, size, stride, pad, gap, ceil)


def writing(draw: Draw, x: Tensor) -> Forward:
    axis = draw(st.integers(1, 3))
    start, step = draw(st.integers(0, 1)), draw(st.integers(1, 3))
    key = (*[slice(None)] * axis, slice(start, None, step))
    number = draw(st.booleans())

    def write(x: Tensor) -> Tensor:
        y = x.clone()
        y[key] = 0.5 if number else (x * x)[key]
        return y

    return write


FORMS = {"pad": padding, "resize": resizing, "average": averages, "largest": largest, "write": writing}


@given(st.data())
def test_random_functions_of_images(data: st.DataObject) -> None:
    draw = data.draw
    torch.manual_seed(0)
    x = torch.randn(2, 4, draw(st.integers(5, 8)), draw(st.integers(5, 8)))
    layer: nn.Module = nn.Conv2d(4, 4, 1)
    if draw(st.booleans()):
        groups, stride, size = (
            draw(st.sampled_from([1, 2, 4])),
            draw(st.integers(1, 3)),
            draw(st.integers(1, 3)),
        )
        pad, more = draw(st.integers(0, size - 1)), draw(st.integers(0, stride - 1))
        layer = nn.ConvTranspose2d(4, 4, size, stride, pad, more, groups)
    steps: list[Forward] = []
    y = layer(x)
    for _ in range(draw(st.integers(1, 2))):
        if min(y.shape[2:]) >= 4:
            steps.append(FORMS[draw(st.sampled_from(sorted(FORMS)))](draw, y))
            y = steps[-1](y)

    def forward(module: Any, x: Tensor) -> Tensor:
        x = module.layer(x)
        for step in steps:
            x = step(x)
        return x

    same(forward, x, layer=layer)


# --- what people write

ROWS = torch.randn(2, 4, 12, generator=torch.Generator().manual_seed(0))
IDS = torch.randint(0, 10, (2, 6), generator=torch.Generator().manual_seed(0))
VOLUME = torch.randn(2, 4, 6, 6, 6, generator=torch.Generator().manual_seed(0))
LENGTH = {"x": [4, "length"]}


@pytest.mark.parametrize("padding", [None, 3])
@pytest.mark.parametrize("mode", ["sum", "mean", "max"])
def test_bags_of_embeddings(mode: str, padding: int | None) -> None:
    same(lambda m, x: m.bag(x), IDS, bag=nn.EmbeddingBag(10, 5, mode=mode, padding_idx=padding))


def test_bags_of_any_length_with_weights() -> None:
    def weighed(module: Any, x: Tensor) -> Tensor:
        return module.bag(x, None, module.table(x).squeeze(2))

    bag, table = nn.EmbeddingBag(10, 5, mode="sum"), nn.Embedding(10, 1)
    same(weighed, IDS, {"x": ["length"]}, bag=bag, table=table)


def test_memory_that_is_filled_is_no_constant() -> None:
    def woven(module: Any, x: Tensor) -> Tensor:
        whole = torch.empty(x.shape[0], 2 * x.shape[1], 3)
        whole[:, 0::2] = module.dense(x)
        whole[:, 1::2] = -whole[:, 0::2]
        return whole

    torch.full((2, 10, 3), torch.nan)  # memory that the import may get
    same(woven, torch.randn(2, 5, 4), dense=nn.Linear(4, 3))


@pytest.mark.parametrize("there", ["weight", "bias"])
def test_a_batch_normalization_with_a_factor_or_an_offset_alone(there: str) -> None:
    def normalized(module: Any, x: Tensor) -> Tensor:
        norm, given = module.norm, {there: module.vector}
        return F.batch_norm(x, norm.running_mean, norm.running_var, training=module.training, **given)

    same(
        normalized,
        torch.randn(4, 3),
        norm=nn.BatchNorm1d(3, affine=False),
        vector=nn.Parameter(torch.randn(3)),
    )


def test_a_module_that_fails_for_another_batch_is_told() -> None:
    def fixed(module: Any, x: Tensor) -> Tensor:
        out: Tensor = module.gru(x, torch.ones(1, 2, 3))[0]
        return out

    with pytest.raises(
        SpecError, match=r"\[import-unsupported\]: `\w+` fails for a batch of 3: Expected hidden"
    ):
        same(fixed, torch.randn(2, 5, 4), gru=nn.GRU(4, 3, batch_first=True))


def test_bags_with_offsets_are_told() -> None:
    def ragged(module: Any, x: Tensor) -> Tensor:
        return module.bag(x.flatten(), torch.arange(0, x.numel(), x.shape[1]))

    with pytest.raises(SpecError, match="`embedding_bag` with `offsets` joins the bags of a batch"):
        same(ragged, IDS, bag=nn.EmbeddingBag(10, 5))


@pytest.mark.parametrize("norm", [1.0, 2.0])
def test_rows_of_tables_have_a_largest_norm(norm: float) -> None:
    """PyTorch scales a row when it is read, a spec when it was changed; the second norm is the usual one."""
    table = nn.Embedding(10, 5, max_norm=0.7, norm_type=norm)
    before = table.weight.detach().clone()
    imported = same(lambda m, x: m.table(x), IDS, table=table)
    constraint = "embeddings_constraint: {name: max_norm, max_value: 0.7, axis: 1}"
    assert (constraint in imported.text) == (norm == 2)
    if norm == 2:
        assert imported.weights["table.weight"].norm(dim=1).max() < 0.7001 < before.norm(dim=1).max()


def put(key: Any, value: Callable[[Any, Tensor], Any] = lambda m, x: 0.0) -> Forward:
    """A write into a part of what a layer gives."""

    def write(module: Any, x: Tensor) -> Tensor:
        y = module.layer(x).clone()
        y[key] = value(module, x)
        return y

    return write


def interleaved(module: Any, x: Tensor) -> Tensor:
    y = torch.zeros(x.shape[0], 4, 24)
    y[..., 0::2] = torch.sin(module.layer(x))
    y[..., 1::2] = torch.cos(module.layer(x))
    return y


WRITES: dict[str, Forward] = {
    "number in steps": put((slice(None), slice(None, None, 2))),
    "rows in steps": put((slice(None), slice(None, None, 2)), lambda m, x: m.other(x)[:, :2]),
    "rows at places": put((slice(None), [2, 0]), lambda m, x: m.other(x)[:, :2]),
    "one row at places": put((slice(None), [-1, 0]), lambda m, x: m.other(x)[:, :1]),
    "rows at a mask": put(
        (slice(None), torch.tensor([True, False, True, False])), lambda m, x: m.other(x)[:, 2:]
    ),
    "steps of two axes": put(
        (slice(None), slice(1, 4, 2), slice(None, None, 3)), lambda m, x: m.other(x)[:, :2, :4]
    ),
    "interleaved": interleaved,
    "index_add": lambda m, x: m.layer(x).index_add(1, torch.tensor([0, 2, 0]), m.other(x)[:, :3], alpha=2),
    "index_copy": lambda m, x: m.layer(x).index_copy(2, torch.tensor([5, 1]), m.other(x)[..., :2]),
    "index_fill": lambda m, x: m.layer(x).index_fill(2, torch.tensor([1, 3]), 2.0),
    "scatter": lambda m, x: m.layer(x).scatter(
        2, torch.tensor([3, 0]).expand(x.shape[0], 4, 2), m.other(x)[..., :2]
    ),
}


@pytest.mark.parametrize("name", WRITES)
def test_writes_at_constant_places(name: str) -> None:
    same(WRITES[name], ROWS, layer=nn.Linear(12, 12), other=nn.Linear(12, 12))


@pytest.mark.parametrize(("size", "stride", "pad"), [(2, 2, 0), (3, 2, 1)])
def test_windows_are_folded_back(size: int, stride: int, pad: int) -> None:
    def folded(module: Any, x: Tensor) -> Tensor:
        windows = F.unfold(module.layer(x), size, padding=pad, stride=stride)
        return F.fold(torch.tanh(windows), (8, 8), size, padding=pad, stride=stride)

    same(folded, VOLUME[..., 0].repeat(1, 1, 2, 2)[..., :8, :8], layer=nn.Conv2d(4, 4, 1))


OTHERS: dict[str, tuple[Forward, Tensor, Any, dict[str, nn.Module]]] = {
    "circular, open": (
        lambda m, x: m.conv(x),
        ROWS,
        LENGTH,
        {"conv": nn.Conv1d(4, 3, 5, padding=2, padding_mode="circular")},
    ),
    "cropped, open": (lambda m, x: m.conv(F.pad(x, (-1, -2))), ROWS, LENGTH, {"conv": nn.Conv1d(4, 3, 2)}),
    "groups of a volume": (
        lambda m, x: m.conv(x),
        VOLUME,
        None,
        {"conv": nn.ConvTranspose3d(4, 4, 3, 2, groups=2)},
    ),
    "depthwise sequence": (
        lambda m, x: m.conv(x),
        ROWS,
        None,
        {"conv": nn.ConvTranspose1d(4, 4, 4, 2, 1, groups=4)},
    ),
    "gaps in a sequence": (
        lambda m, x: m.conv(F.max_pool1d(x, 3, 2, 1, 2)),
        ROWS,
        None,
        {"conv": nn.Conv1d(4, 3, 1)},
    ),
    "every second, open": (put((..., slice(None, None, 2))), ROWS, LENGTH, {"layer": nn.Conv1d(4, 4, 1)}),
    "every third but the first, open": (
        put((..., slice(2, None, 3)), lambda m, x: 1.5),
        ROWS,
        LENGTH,
        {"layer": nn.Conv1d(4, 4, 1)},
    ),
    "an op of that name": (
        lambda m, x: m.conv(x.round(decimals=1)).log().nan_to_num(2.0),
        ROWS,
        None,
        {"conv": nn.Conv1d(4, 3, 1)},
    ),
    "average, open": (
        lambda m, x: m.conv(F.avg_pool1d(x, 3, 1, 1, count_include_pad=False)),
        ROWS,
        LENGTH,
        {"conv": nn.Conv1d(4, 3, 1)},
    ),
}


@pytest.mark.parametrize("name", OTHERS)
def test_other_ranks_and_open_sizes(name: str) -> None:
    forward, x, dynamic, layers = OTHERS[name]
    same(forward, x, dynamic, **layers)


def pairs(x: Tensor) -> Tensor:
    """Matrices that have an inverse, [batch, rows, columns]."""
    return x @ x.mT + 9 * torch.eye(x.shape[1])


ORDERS: dict[str, Callable[[Tensor], Tensor]] = {
    "sorted": lambda x: x.sort(-1)[0] + x.sort(1, descending=True)[0],
    "places": lambda x: x * (x.argsort(1) + x.argsort(-1, descending=True) + x.sort(-1)[1]),
    "smallest": lambda x: x.topk(2, 1, largest=False)[0] * x.topk(2, 1, largest=False)[1],
    "middle": lambda x: x.median(-1, keepdim=True)[0] * x + x.kthvalue(2, 1)[0].unsqueeze(1),
    "quantile": lambda x: x * x.quantile(0.3, dim=-1, keepdim=True),
    "both ends": lambda x: x * x.aminmax(dim=1, keepdim=True)[0] + x.aminmax(dim=-1, keepdim=True)[1],
    "spreads": lambda x: torch.std_mean(x, -1, keepdim=True)[0] * torch.var_mean(x, 1, keepdim=True)[1] * x,
    "without gaps": lambda x: x * x.nanmean(-1, keepdim=True) + x.nansum(1, keepdim=True),
    "classes": lambda x: x.unsqueeze(-1) * F.one_hot((3 * x).clamp(0, 4).long(), 5),
    "diagonals": lambda x: pairs(x).diagonal(1, -1, -2) * x[:, 1:, 0],
    "inverse": lambda x: torch.linalg.inv(pairs(x)) + torch.linalg.cholesky(pairs(x)),
    "solved": lambda x: torch.linalg.solve(pairs(x), x) * torch.linalg.solve(pairs(x), x[..., 0])[..., None],
    "weighed": lambda x: x.lerp(2 * x, 0.3) + x.clamp(torch.zeros(12), torch.ones(12)) + x.clamp_min(0.5 * x),
    "bounded": lambda x: F.hardtanh(x, -0.5, 2) + F.rrelu(x, 0.1, 0.3),
    "steps": lambda x: x * torch.heaviside(x.detach(), torch.tensor(0.5)),
    "gates": lambda x: torch.zeros_like(x).scatter_(-1, x.topk(2, -1)[1], x.topk(2, -1)[0].softmax(-1)),
    "marks": lambda x: x.scatter(1, x[:, :1].gt(0).long() * 2, 3.0),
    "counts": lambda x: x.scatter_add(1, (3 * x).clamp(0, 3).long(), x),
}
"""Of [batch, rows, columns]."""


@pytest.mark.parametrize("name", ORDERS)
def test_orders_places_and_matrices(name: str) -> None:
    same(lambda m, x: ORDERS[name](m.layer(x)), ROWS, layer=nn.Linear(12, 12))


@pytest.mark.parametrize("cls", [nn.LSTM, nn.GRU, nn.RNN])
def test_states_that_are_learned_begin_every_sequence(cls: Any) -> None:
    class Learned(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer, self.start = cls(12, 5, batch_first=True), nn.Parameter(torch.randn(2, 1, 1, 5))

        def forward(self, x: Tensor) -> Tensor:
            starts = [each.repeat(1, x.shape[0], 1) for each in self.start]
            states: Any = tuple(starts) if cls is nn.LSTM else starts[0] + starts[1]
            return self.layer(x, states)[0]

    same(lambda m, x: m.layer(x), ROWS, layer=Learned())


# --- refusals


@pytest.mark.parametrize(
    ("forward", "word"),
    [
        (
            put((..., slice(None, None, 2)), lambda m, x: x[..., ::2]),
            r"`x\[\.\.\.\] = \.\.\.` at .* places that stay open",
        ),
        (lambda m, x: F.interpolate(m.layer(x), scale_factor=0.3), "`interpolate` at"),
    ],
)
def test_a_refusal_names_what_the_user_called(forward: Forward, word: str) -> None:
    layer = nn.Conv1d(4, 4, 1)
    with pytest.raises(SpecError, match=word):
        same(
            lambda m, x: forward(m, x.transpose(1, 2)).sum(1),
            ROWS.transpose(1, 2),
            {"x": ["n", 4]},
            layer=layer,
        )


@pytest.mark.parametrize("mode", ["reflect", "replicate"])
def test_padding_of_shuffled_channels(mode: str) -> None:
    """Their axis is one of two parts until something needs it whole."""
    x = torch.randn(2, 8, 6, 6, generator=torch.Generator().manual_seed(1))
    shuffled = nn.ChannelShuffle(2)
    same(lambda m, x: m.conv(F.pad(shuffled(x), (1, 2, 0, 1), mode)), x, conv=nn.Conv2d(8, 3, 3))

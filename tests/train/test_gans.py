"""The GANs of Keras' examples as specs: their updates are those of loops by hand, with the same draws.

WGAN-GP is `specs/digits_gan.yaml`. The optimizers are plain here: what they compute has tests of its own.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import graphspec
from graphspec.data.batches import Shuffle
from graphspec.train.loop import train
from tests import one_in

GANS = Path(__file__).parent / "gans"
RATE = 0.05
ADAM = re.compile(r"name: adam, learning_rate: [0-9.]+(, (beta_[12]|use_ema|ema_momentum): [0-9.a-z]+)*")

Found = dict[str, Tensor]
Loss = Callable[[Found, Found], Tensor]
"""Of what the model returns, and of the batch."""
Updates = list[tuple[Loss, tuple[str, ...], float]]
"""A loss, the paths of the weights that it moves, and the learning rate."""


def both(x: Tensor, fake: float, y: Tensor, real: float) -> Tensor:
    """The least squares of two scores."""
    return F.mse_loss(x, torch.full_like(x, fake)) + F.mse_loss(y, torch.full_like(y, real))


def mean(**weights: float) -> Loss:
    """Of outputs that are terms of the loss."""
    return lambda found, batch: sum((w * found[name].mean() for name, w in weights.items()), torch.zeros(()))


def bce(found: Found, fake: float, real: float | None = None) -> Tensor:
    """Of scores of drawn images, and of real ones where these have a label."""
    scores, labels = [found["fake"]], [torch.full_like(found["fake"], fake)]
    if real is not None:
        scores, labels = [*scores, found["real"]], [*labels, torch.full_like(found["real"], real)]
    return F.binary_cross_entropy_with_logits(torch.cat(scores), torch.cat(labels))


def cycle(to: str, fake_score: str) -> Loss:
    def loss(found: Found, batch: Found) -> Tensor:
        fooled = F.mse_loss(found[fake_score], torch.ones_like(found[fake_score]))
        again, same = (F.l1_loss(found[name], batch[to]) for name in (f"{to}_again", f"same_{to}"))
        return fooled + 10 * again + 5 * same

    return loss


def painted(found: Found, batch: Found) -> Tensor:
    mean, variance = found["mean"], found["variance"]
    kl = -0.5 * (1 + variance - mean**2 - variance.exp()).sum()
    alike = sum((F.l1_loss(found[f"real{i}"], found[f"fake{i}"]) for i in "12"), torch.zeros(()))
    return -found["fake"].mean() + 0.1 * kl + 10 * alike + 0.1 * found["looks"].mean()


def hinge(found: Found, batch: Found) -> Tensor:
    return (F.relu(1 + found["fake"]).mean() + F.relu(1 - found["real"]).mean()) / 2


LOOPS: dict[str, tuple[list[Updates], str, dict[str, tuple[int, ...]]]] = {
    "dcgan": (
        [
            [
                (mean(told_fake=0.5, told_real=0.5), ("discriminator",), RATE),
                (lambda found, _: bce(found, 0), ("generator",), RATE),
            ]
        ],
        "{fake: {}, real: {}}",
        {"image": (8, 8, 1)},
    ),
    "conditional_gan": (
        [
            [
                (lambda found, _: bce(found, 1, 0), ("discriminator",), RATE),
                (lambda found, _: bce(found, 0), ("generator",), RATE),
            ]
        ],
        "{fake: {}, real: {}}",
        {"image": (8, 8, 1), "digit": ()},
    ),
    "cyclegan": (
        [
            [
                (cycle("zebra", "fake_zebra_score"), ("to_zebra",), RATE),
                (cycle("horse", "fake_horse_score"), ("to_horse",), RATE),
                (
                    lambda f, _: both(f["fake_horse_score"], 0, f["horse_score"], 1) / 2,
                    ("knows_horse",),
                    RATE,
                ),
                (
                    lambda f, _: both(f["fake_zebra_score"], 0, f["zebra_score"], 1) / 2,
                    ("knows_zebra",),
                    RATE,
                ),
            ]
        ],
        "{fake_horse_score: {}, fake_zebra_score: {}, horse_score: {}, zebra_score: {}}",
        {"horse": (8, 8, 3), "zebra": (8, 8, 3)},
    ),
    "gan_ada": (
        [
            [
                (lambda found, _: bce(found, 1), ("generator",), RATE),
                (lambda found, _: bce(found, 0, 1), ("discriminator",), RATE),
                (mean(error=1), ("probability",), 0.1),
            ]
        ],
        "{fake: {}, real: {}}",
        {"image": (8, 8, 3)},
    ),
    "gaugan": (
        [[(hinge, ("discriminator",), RATE), (painted, ("generator", "encoder"), RATE)]],
        "{fake: {}, real: {}, mean: {from: code.mean}, variance: {from: code.variance}, "
        "real1: {from: real.first}, real2: {from: real.second}, "
        "fake1: {from: fake.first}, fake2: {from: fake.second}}",
        {"image": (8, 8, 3), "map": (8, 8, 3), "labels": (8, 8, 4)},
    ),
    "stylegan": (
        [
            [
                (mean(fooled4=1), ("mapper", "draw4", "paint", "to_rgb"), RATE),
                (mean(gap4=1, drift4=0.001, penalty4=10), ("from_rgb", "judge"), RATE),
            ],
            [
                (mean(fooled8=1), ("mapper", "draw4", "paint", "to_rgb"), RATE),
                (mean(gap8=1, drift8=0.001), ("from_rgb", "judge"), RATE),
                (mean(fading=1), ("faded",), 0.25),
            ],
        ],
        "{}",
        {"image": (8, 8, 3)},
    ),
    "melgan": (
        [
            [
                (mean(fooled=0.5, alike=2.5), ("generator",), RATE),
                (mean(told=0.5), ("discriminator",), RATE),
            ]
        ],
        "{}",
        {"sound": (64,)},
    ),
}
"""For each phase its updates by hand; outputs that the loops read besides; the shapes of the data."""

SPREAD = """
import torch
from torch import nn


class Spread(nn.Module):
    def forward(self, x):
        spread = (x.var(0, correction=0) + 1e-8).sqrt().mean()
        return torch.cat([x, spread.expand(*x.shape[:-1], 1)], -1)
"""
"""A custom layer, as the example has one: how much the examples of a batch differ."""


def data(shapes: dict[str, tuple[int, ...]], count: int) -> dict[str, Any]:
    generator = np.random.default_rng(0)
    return {
        name: generator.random((count, *shape)).astype(np.float32)
        if shape
        else generator.integers(0, 3, count)
        for name, shape in shapes.items()
    }


def by_hand(module: nn.Module, phases: list[Updates], arrays: dict[str, Any], size: int) -> None:
    """Two steps a phase."""
    torch.manual_seed(0)
    module.train()
    for epoch, updates in enumerate(phases):
        for rows in Shuffle(0, epoch).order(2 * size).split(size):
            batch = {name: torch.from_numpy(array)[rows] for name, array in arrays.items()}
            for loss, paths, rate in updates:
                own = [weight for name, weight in module.named_parameters() if name.startswith(paths)]
                own = [weight for weight in own if weight.requires_grad]
                found = module(*batch.values())
                gradients = torch.autograd.grad(loss(found, batch), own, allow_unused=True)
                with torch.no_grad():
                    for weight, gradient in zip(own, gradients, strict=True):
                        if gradient is not None:
                            weight.sub_(gradient, alpha=rate)


@pytest.mark.parametrize("name", one_in(4, LOOPS))
def test_the_updates_are_those_of_a_loop_by_hand(name: str, tmp_path: Path) -> None:
    phases, outputs, shapes = LOOPS[name]
    extra = "".join(f"  {line}\n" for line in re.findall(r"\w+: \{[^}]*\}", outputs))
    text = (GANS / f"{name}.yaml").read_text().replace("\noutputs:\n", f"\noutputs:\n{extra}")
    spec = tmp_path / f"{name}.yaml"
    spec.write_text(ADAM.sub(f"name: sgd, learning_rate: {RATE}", text))
    (tmp_path / "minibatch.py").write_text(SPREAD)
    program = graphspec.compile(spec, allow=["minibatch"])
    size = program.training.batch_size
    arrays = data(shapes, 2 * size)
    np.savez(tmp_path / "data.npz", **arrays)
    result = train(program, data=tmp_path / "data.npz", run_dir=tmp_path / "run", device="cpu")
    module = program.module()
    before = {key: value.clone() for key, value in module.state_dict().items()}
    by_hand(module, phases, arrays, size)
    found = graphspec.Run(tmp_path / "run", "last", allow=["minibatch"]).module().state_dict()
    assert result.steps == 2 * len(phases)
    for key, value in module.state_dict().items():
        if "num_batches" not in key:
            torch.testing.assert_close(found[key], value, rtol=1e-4, atol=1e-6, msg=key)
    moved = {path for updates in phases for _, paths, _ in updates for path in paths}
    for path in moved:
        keys = [key for key in before if key.startswith(path)]
        assert any(not torch.equal(before[key], found[key]) for key in keys), path

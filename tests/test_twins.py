"""The hand-written twins of the benchmarks begin as their specs say, and refuse what these rule out."""

import pytest
import torch
from torch import Tensor, nn

from bench.cases import CASES, second_biases

DEEP = ("resnet34", "resnet50 as torchvision's", "resnet101", "resnet152")


def weights(module: nn.Module) -> list[Tensor]:
    second = second_biases(module)
    return [value.detach() for key, value in module.named_parameters() if key not in second]


def size(weight: Tensor) -> Tensor:
    """The root of the mean square: 0 for zeros, 1 for ones."""
    return weight.square().mean().sqrt()


@pytest.mark.parametrize("name", [name for name in CASES if name not in (*DEEP, "ensemble")])
def test_a_twin_begins_as_the_spec_says(name: str) -> None:
    torch.manual_seed(0)
    module, twin = CASES[name].program(name).module(seed=0), CASES[name].twin()
    for ours, by_hand in zip(weights(module), weights(twin), strict=True):
        few = 0.5 if ours.numel() < 200 else 0.1
        torch.testing.assert_close(size(by_hand), size(ours), atol=0, rtol=few)


@pytest.mark.parametrize(("name", "length"), [("posts", 148), ("gpt", 129), ("transformer_classifier", 201)])
def test_a_twin_refuses_what_the_spec_does(name: str, length: int) -> None:
    tokens = torch.ones(1, length, dtype=torch.int64)
    for module in (CASES[name].program(name).module(), CASES[name].twin()):
        with pytest.raises(ValueError, match=str(length)):
            module(tokens)

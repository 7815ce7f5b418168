"""The hand-written twins of the benchmarks begin as their specs say, and refuse what these rule out.

Those of papers, which the gallery lacks, also have as many weights as published, and compute the same.
"""

from dataclasses import replace
from functools import partial

import pytest
import torch
from torch import Tensor, nn

from bench.cases import CASES, PAPERS, Case, copy_weights, floats, second_biases
from bench.modules import verify
from bench.twins.attentive import Swin
from tests import one_in

DEEP = ("resnet34", "resnet50 as torchvision's", "resnet101", "resnet152")


def weights(module: nn.Module) -> list[Tensor]:
    second = second_biases(module)
    return [value.detach() for key, value in module.named_parameters() if key not in second]


def size(weight: Tensor) -> Tensor:
    """The root of the mean square: 0 for zeros, 1 for ones."""
    return weight.square().mean().sqrt()


OTHERS = [name for name in CASES if name not in (*DEEP, "ensemble")]


@pytest.mark.parametrize("name", one_in(8, [*OTHERS[3:], *OTHERS[:3]]))
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


PAPER = {name: case for name, case in CASES.items() if case.room == PAPERS}


@pytest.mark.parametrize(
    ("name", "settings", "published"),
    [
        ("mobilenet_v2", {}, 3_504_872),
        ("densenet", {}, 7_978_856),
        ("segformer", {}, 3_752_694),
        ("swin", {}, 28_288_354),
        ("diffusion_unet", {"width": 128}, 35_746_307),
    ],
)
def test_a_spec_of_a_paper_has_as_many_weights_as_published(name, settings, published) -> None:
    program = replace(PAPER[name], settings=settings).program(name)
    assert program.summary().trainable_params == published


@pytest.mark.parametrize("name", one_in(2, PAPER))
def test_a_spec_of_a_paper_has_as_many_weights_as_its_twin(name: str) -> None:
    with torch.device("meta"):
        count = sum(w.numel() for w in PAPER[name].twin().parameters())
    assert PAPER[name].program(name).summary().trainable_params == count


def small(name: str, case: Case) -> Case:
    """The case with fewer layers or pixels, where the twin leaves these open."""
    if name == "swin":
        depths = [2, 1, 2, 1]
        return replace(case, twin=partial(Swin, depths), settings={"depths": depths})
    if name in ("mobilenet_v2", "densenet", "ghostnet", "segformer"):
        return replace(case, settings={"size": 64}, inputs={"image": floats(64, 64, 3)})
    return replace(case, batch_size=2)


@pytest.mark.parametrize("name", one_in(4, PAPER))
def test_a_twin_of_a_paper_computes_what_its_spec_does(name: str) -> None:
    case = small(name, PAPER[name])
    module, twin = case.program(name).module(seed=0), case.twin()
    copy_weights(module, twin)
    verify(module, twin, case)

"""What is measured: specs, twins and inputs. A new spec is one class in twins.py and one line in CASES."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

from bench import twins

SPECS = Path(__file__).parent.parent / "specs"
MakeInput = Callable[[int, torch.Generator], Tensor]


def _floats(shape: tuple[int, ...], batch_size: int, generator: torch.Generator) -> Tensor:
    return torch.randn((batch_size, *shape), generator=generator)


def _tokens(vocabulary: int, length: int, batch_size: int, generator: torch.Generator) -> Tensor:
    return torch.randint(vocabulary, (batch_size, length), generator=generator)


def _bytes(below: int, shape: tuple[int, ...], batch_size: int, generator: torch.Generator) -> Tensor:
    return torch.randint(below, (batch_size, *shape), generator=generator, dtype=torch.uint8)


def floats(*shape: int) -> MakeInput:
    return partial(_floats, shape)


def tokens(vocabulary: int, length: int) -> MakeInput:
    return partial(_tokens, vocabulary, length)


def pixels(below: int, *shape: int) -> MakeInput:
    return partial(_bytes, below, shape)


@dataclass(frozen=True, slots=True)
class Case:
    """`inputs` maps each input of the spec to what fills it, batch axis first."""

    twin: Callable[[], nn.Module]
    batch_size: int
    inputs: Mapping[str, MakeInput]

    def example(self) -> dict[str, Tensor]:
        generator = torch.Generator().manual_seed(0)
        return {name: make(self.batch_size, generator) for name, make in self.inputs.items()}


CASES: dict[str, Case] = {
    "dense": Case(twins.Dense, 32, {"features": floats(64)}),
    "digits": Case(twins.Digits, 64, {"image": pixels(17, 8, 8, 1)}),
    "question_answering": Case(
        twins.QuestionAnswering, 128, {"text": tokens(10000, 100), "question": tokens(10000, 20)}
    ),
    "posts": Case(twins.Posts, 32, {"posts": tokens(10000, 200)}),
    "siamese": Case(twins.Siamese, 32, {"left": floats(50, 128), "right": floats(50, 128)}),
    "resnet50": Case(twins.ResNet50, 8, {"image": floats(224, 224, 3)}),
}


def copy_weights(source: nn.Module, twin: nn.Module) -> None:
    """Give `twin` the weights and statistics of `source`, in order; they must agree in number and shape.

    Keras' LSTM has one bias where nn.LSTM has two: the second is filled with zeros. Batch counters are left.
    """
    given = [(key, value) for key, value in source.state_dict().items() if _is_weight(key)]
    taken: list[tuple[str, Tensor]] = []
    for key, value in twin.state_dict().items():
        if "bias_hh" in key:
            value.zero_()
        elif _is_weight(key):
            taken.append((key, value))
    if len(given) != len(taken):
        raise ValueError(f"the emitted module has {len(given)} tensors, its twin {len(taken)}")
    for (source_key, value), (twin_key, target) in zip(given, taken, strict=True):
        if value.shape != target.shape:
            raise ValueError(f"{source_key} is {tuple(value.shape)}, {twin_key} is {tuple(target.shape)}")
        target.copy_(value)


def _is_weight(key: str) -> bool:
    return not key.endswith("num_batches_tracked") and "bias_hh" not in key


def outputs(result: Tensor | Mapping[str, Tensor]) -> list[Tensor]:
    """The outputs of a module as a list, in the order it returns them."""
    return [result] if isinstance(result, Tensor) else list(result.values())


def loss(result: Tensor | Mapping[str, Tensor]) -> Tensor:
    """Half the mean square of every output, summed: a scalar that needs no target."""
    return torch.stack([0.5 * output.square().mean() for output in outputs(result)]).sum()

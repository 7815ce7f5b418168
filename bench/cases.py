"""What is measured: specs, twins and inputs. A new spec is one class in twins/ and one line in CASES."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import graphspec
from bench.twins import attentive, convolutional, images, published, series, small, text

SPECS = Path(__file__).parent.parent / "specs"
PAPERS = Path(__file__).parent / "specs"
"""Networks of papers that are not in the gallery."""
MakeInput = Callable[[int, torch.Generator], Tensor]


def _floats(shape: tuple[int, ...], batch_size: int, generator: torch.Generator) -> Tensor:
    return torch.randn((batch_size, *shape), generator=generator)


def _tokens(below: int, shape: tuple[int, ...], batch_size: int, generator: torch.Generator) -> Tensor:
    return torch.randint(below, (batch_size, *shape), generator=generator)


def _padded(below: int, length: int, batch_size: int, generator: torch.Generator) -> Tensor:
    found = torch.randint(1, below, (batch_size, length), generator=generator)
    lengths = torch.randint(length // 2, length + 1, (batch_size, 1), generator=generator)
    return found.masked_fill(torch.arange(length) >= lengths, 0)


def _bytes(below: int, shape: tuple[int, ...], batch_size: int, generator: torch.Generator) -> Tensor:
    return torch.randint(below, (batch_size, *shape), generator=generator, dtype=torch.uint8)


def floats(*shape: int) -> MakeInput:
    return partial(_floats, shape)


def tokens(below: int, *shape: int) -> MakeInput:
    return partial(_tokens, below, shape)


def padded(below: int, length: int) -> MakeInput:
    """Texts of different lengths, at least half of `length`, padded with zeros."""
    return partial(_padded, below, length)


def pixels(below: int, *shape: int) -> MakeInput:
    return partial(_bytes, below, shape)


@dataclass(frozen=True, slots=True)
class Case:
    """`inputs` maps each input of the spec to the function that creates it, batch axis first.

    `spec` is the name of the spec file, if it is not that of the case; `room` is its directory.
    """

    twin: Callable[[], nn.Module]
    batch_size: int
    inputs: Mapping[str, MakeInput]
    spec: str | None = None
    preset: str | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    keras: bool = True
    room: Path = SPECS

    def example(self) -> dict[str, Tensor]:
        generator = torch.Generator().manual_seed(0)
        return {name: make(self.batch_size, generator) for name, make in self.inputs.items()}

    def program(self, name: str) -> graphspec.Program:
        return graphspec.compile(
            self.room / f"{self.spec or name}.yaml", preset=self.preset, settings=self.settings
        )


def _resnet(block: type[published.Basic | published.Bottleneck], *depths: int, bias: bool = False) -> Any:
    return partial(published.ResNet, block, depths, bias)


def _paper(twin: Callable[[], nn.Module], batch_size: int, inputs: Mapping[str, MakeInput]) -> Case:
    return Case(twin, batch_size, inputs, keras=False, room=PAPERS)


IMAGE = {"image": floats(224, 224, 3)}
LARGE_IMAGE = {"image": floats(299, 299, 3)}
DIGIT = {"image": pixels(17, 8, 8, 1)}
BASIC, BOTTLENECK = published.Basic, published.Bottleneck

CASES: dict[str, Case] = {
    "dense": Case(small.Dense, 32, {"features": floats(64)}),
    "digits": Case(small.Digits, 64, DIGIT),
    "ensemble": Case(small.Ensemble, 64, DIGIT),
    "encoder": Case(small.Encoder, 64, DIGIT),
    "decoder": Case(small.Decoder, 64, {"code": floats(8)}),
    "autoencoder": Case(small.Autoencoder, 64, DIGIT),
    "vae": Case(small.Vae, 64, DIGIT),
    "question_answering": Case(
        text.QuestionAnswering, 128, {"text": tokens(10000, 100), "question": tokens(10000, 20)}
    ),
    "posts": Case(text.Posts, 32, {"posts": tokens(10000, 200)}),
    "siamese": Case(text.Siamese, 32, {"left": floats(50, 128), "right": floats(50, 128)}),
    "item_price": Case(
        text.ItemPrice,
        32,
        {
            "description": padded(5000, 60),
            "brand": tokens(200),
            "facts": floats(6),
            "photo": pixels(256, 32, 32, 3),
        },
    ),
    "transformer_classifier": Case(text.TransformerClassifier, 32, {"text": padded(20000, 200)}),
    "gpt": Case(text.Gpt, 32, {"tokens": tokens(96, 128)}),
    "inception_module": Case(images.InceptionModule, 16, {"image": floats(32, 32, 3)}),
    "residual": Case(images.Residual, 32, {"image": floats(32, 32, 3)}),
    "unet": Case(images.UNet, 8, {"image": floats(64, 64, 3)}),
    "inception_v3": Case(published.InceptionV3, 2, LARGE_IMAGE),
    "xception": Case(published.Xception, 2, LARGE_IMAGE),
    "two_cameras": Case(published.TwoCameras, 2, {"left": floats(250, 250, 3), "right": floats(250, 250, 3)}),
    "resnet50": Case(_resnet(BOTTLENECK, 3, 4, 6, 3, bias=True), 2, IMAGE),
    "resnet18": Case(_resnet(BASIC, 2, 2, 2, 2), 2, IMAGE, "resnet", "resnet18"),
    "resnet34": Case(_resnet(BASIC, 3, 4, 6, 3), 2, IMAGE, "resnet", "resnet34"),
    "resnet50 as torchvision's": Case(published.Torchvision, 2, IMAGE, "resnet", "resnet50", keras=False),
    "resnet101": Case(_resnet(BOTTLENECK, 3, 4, 23, 3), 2, IMAGE, "resnet", "resnet101", keras=False),
    "resnet152": Case(_resnet(BOTTLENECK, 3, 8, 36, 3), 2, IMAGE, "resnet", "resnet152", keras=False),
    "mobilenet_v2": _paper(convolutional.MobileNetV2, 2, IMAGE),
    "densenet": _paper(convolutional.DenseNet, 2, IMAGE),
    "ghostnet": _paper(convolutional.GhostNet, 2, IMAGE),
    "retinanet": _paper(convolutional.RetinaNet, 2, {"image": floats(128, 128, 3)}),
    "segformer": _paper(attentive.SegFormer, 2, {"image": floats(128, 128, 3)}),
    "swin": _paper(attentive.Swin, 1, IMAGE),
    "diffusion_unet": _paper(attentive.DiffusionUNet, 4, {"image": floats(32, 32, 3), "time": tokens(1000)}),
    "nbeats": _paper(series.NBeats, 16, {"past": floats(60)}),
}


def available() -> list[str]:
    """The cases that can be measured here: all of them if torchvision is installed."""
    there = find_spec("torchvision") and find_spec("PIL")  # torchvision does not load without both
    return [name for name in CASES if there or "torchvision" not in name]


def copy_weights(source: nn.Module, twin: nn.Module) -> None:
    """Copies the weights and statistics of `source` to `twin`, in order; their number and shapes must agree.

    Keras' LSTM has one bias where nn.LSTM has two: the second is set to zero. Batch counters are not copied.
    """
    given = [(key, value) for key, value in source.state_dict().items() if _is_weight(key)]
    second = second_biases(twin)
    taken: list[tuple[str, Tensor]] = []
    for key, value in twin.state_dict().items():
        if key in second:
            value.zero_()
        elif _is_weight(key):
            taken.append((key, value))
    if len(given) != len(taken):
        raise ValueError(f"the emitted module has {len(given)} tensors, its twin {len(taken)}")
    for (source_key, value), (twin_key, target) in zip(given, taken, strict=True):
        if value.shape != target.shape:
            raise ValueError(f"{source_key} is {tuple(value.shape)}, {twin_key} is {tuple(target.shape)}")
        target.copy_(value)


def second_biases(twin: nn.Module) -> set[str]:
    """The weights of a twin that Keras' LSTM does not have."""
    return {
        f"{path}.{name}"
        for path, module in twin.named_modules()
        if isinstance(module, nn.LSTM)
        for name, _ in module.named_parameters()
        if name.startswith("bias_hh")
    }


def _is_weight(key: str) -> bool:
    return not key.endswith("num_batches_tracked")


def outputs(result: Tensor | Mapping[str, Tensor]) -> list[Tensor]:
    """The outputs of a module as a list, in the order in which it returns them."""
    return [result] if isinstance(result, Tensor) else list(result.values())


def loss(result: Tensor | Mapping[str, Tensor]) -> Tensor:
    """Half the mean square of each output, summed: a scalar loss without a target."""
    return torch.stack([0.5 * output.square().mean() for output in outputs(result)]).sum()

"""The vision half of the gallery in specs/: published counts, numbers equal to keras.applications', and a
falling loss; and the guide's listings as they stand in print.
"""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

import graphspec
from graphspec.data.fields import fields
from graphspec.data.synthetic import synthetic
from graphspec.diagnostics import SpecError
from graphspec.program import Program
from graphspec.train.loop import train
from graphspec.train.penalties import from_keras
from graphspec.view.summary import Row
from tests import ROOT, one_in, oracle
from tests.emit.test_emit import weights_of

SPECS = ROOT / "specs"


def compiled(name: str, preset: str | None = None, **settings: Any) -> Program:
    return graphspec.compile(SPECS / f"{name}.yaml", preset=preset, settings=settings)


# --- counts


@pytest.mark.parametrize(
    ("name", "total", "trainable"),
    [
        ("inception_v3", 23_851_784, 23_817_352),
        ("xception", 22_910_480, 22_855_952),
        ("resnet50", 25_636_712, 25_583_592),
        (
            "two_cameras",
            20_861_480 + 4_097,
            20_806_952 + 4_097,
        ),  # keras.applications' Xception without its top
        ("autoencoder", 5_832 + 5_921, 5_832 + 5_921),  # those of encoder.yaml and decoder.yaml
        ("ensemble", 3 * 29_066, 0),
    ],
)
def test_counts_are_the_published_ones(name: str, total: int, trainable: int) -> None:
    summary = compiled(name).summary()
    assert (summary.total_params, summary.trainable_params) == (total, trainable)


@pytest.mark.parametrize(
    ("layers", "torchvision", "keras_applications"),
    one_in(
        3,
        [
            (18, 11_689_512, None),
            (34, 21_797_672, None),
            (50, 25_557_032, 25_636_712),
            (101, 44_549_160, 44_707_176),
            (152, 60_192_808, 60_419_944),
        ],
    ),
)
def test_a_family_counts_as_both_publishers_do(
    layers: int, torchvision: int, keras_applications: int | None
) -> None:
    """torchvision has no biases before a normalization, and does not count moving statistics."""
    preset = f"resnet{layers}"
    assert compiled("resnet", preset).summary().trainable_params == torchvision
    if keras_applications is not None:
        assert compiled("resnet", preset, use_bias=True).summary().total_params == keras_applications


@pytest.mark.parametrize("depth", [0, 1, 3, 5])
def test_a_unet_has_any_depth(depth: int) -> None:
    program = compiled("unet", depth=depth, width=4)
    rows = {row.name: row for row in program.summary().rows}
    for index in range(depth):
        assert rows[f"ups.{index}"].connected_to[1] == f"downs.{depth - 1 - index}.skip"
    assert f"downs.{depth}" not in rows
    module = program.module()
    with torch.no_grad():
        for height, width in ((64, 64), (32, 96)):
            assert module(torch.zeros(1, height, width, 3)).shape == (1, height, width, 1)


def test_a_unet_refuses_sides_that_do_not_halve() -> None:
    with pytest.raises(SpecError, match=r"unet.yaml:\d+:\d+"):
        compiled("unet", None, **{"inputs.image.shape": [36, 36, 3]})
    with pytest.raises(ValueError, match=r"image: \[64, 36\] must be multiples of 8"):
        compiled("unet").module()(torch.zeros(1, 64, 36, 3))


# --- equality with keras.applications


def in_order(model: Any) -> Iterator[Any]:
    """A Keras model's layers, each behind what it reads; a merge's inputs one after another."""
    done: set[str] = set()
    stack = [(model.output, False)]
    while stack:
        tensor, ready = stack.pop()
        layer, node, _ = tensor._keras_history
        if layer.name in done:
            continue
        if ready:
            done.add(layer.name)
            yield layer
        else:
            inputs = layer._inbound_nodes[node].input_tensors
            stack += [(tensor, True), *((each, False) for each in reversed(inputs))]


@torch.no_grad()
def randomize(model: Any, images: Tensor) -> None:
    """Other biases and scales than the initial ones; the moving statistics become those of `images`, so that
    nothing explodes or fades on its way through a hundred layers.
    """
    generator = torch.Generator().manual_seed(0)
    for variable in model.trainable_weights:
        if "kernel" not in variable.name:
            noise = torch.randn(tuple(variable.shape), generator=generator, dtype=torch.float64) / 10
            variable.assign(variable.value + noise)
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = 0
    model(images, training=True)


@torch.no_grad()
def assert_equals_keras(program: Program, make: Callable[..., Any], size: int) -> None:
    """In float64, where a difference is one of meaning: logits agree to a millionth of what sets two images
    apart, and probabilities even more.
    """
    images = torch.randn(2, size, size, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    with oracle.double_precision():
        model = make(weights=None, input_shape=(size, size, 3), classifier_activation=None)
        randomize(model, images)
        expected = model(images, training=False)
    module = program.module().double().eval()
    variables = [variable for layer in in_order(model) for variable in layer.weights]
    state = module.state_dict()
    for (key, weight, _), variable in zip(weights_of(program.graph), variables, strict=True):
        state[key].copy_(from_keras(weight, variable.value))
    actual = module(images, logits=True)
    spread = float((expected[0] - expected[1]).abs().max())
    assert spread > 0.1
    assert float((actual - expected).abs().max()) < 1e-6 * spread
    torch.testing.assert_close(module(images), expected.softmax(-1), rtol=0, atol=1e-6)


@pytest.mark.parity
@pytest.mark.parametrize(
    ("name", "preset", "make", "size", "settings"),
    [
        ("inception_v3", None, keras.applications.InceptionV3, 299, {}),
        ("xception", None, keras.applications.Xception, 299, {}),
        ("resnet50", None, keras.applications.ResNet50, 224, {}),
        ("resnet50", "resnet101", keras.applications.ResNet101, 224, {}),
        ("resnet", "resnet50", keras.applications.ResNet50, 224, {"use_bias": True}),
        ("resnet", "resnet101", keras.applications.ResNet101, 224, {"use_bias": True}),
        ("resnet", "resnet152", keras.applications.ResNet152, 224, {"use_bias": True}),
    ],
)
def test_outputs_equal_those_of_keras_applications(
    name: str, preset: str | None, make: Callable[..., Any], size: int, settings: dict[str, Any]
) -> None:
    assert_equals_keras(compiled(name, preset, **settings), make, size)


# --- training


@pytest.mark.parametrize(
    ("name", "preset", "steps", "settings"),
    [
        ("inception_module", None, 6, {"inputs.image.shape": [16, 16, 3]}),
        ("residual", None, 6, {"width": 16, "inputs.image.shape": [16, 16, 3]}),
        pytest.param(
            "unet",
            None,
            60,
            {
                "depth": 2,
                "width": 4,
                "inputs.image.shape": [16, 16, 3],
                "train.optimizer.learning_rate": 0.01,
            },
            marks=pytest.mark.parity,
        ),
        pytest.param("inception_v3", None, 4, {"size": 75, "classes": 4}, marks=pytest.mark.parity),
        pytest.param("xception", None, 4, {"size": 71, "classes": 4}, marks=pytest.mark.parity),
        pytest.param(
            *("resnet", "resnet18", 8, {"size": 32, "classes": 4, "widths": [8, 16, 32, 64]}),
            marks=pytest.mark.parity,
        ),
        pytest.param(
            *("resnet", "resnet50", 14, {"size": 32, "classes": 4, "widths": [8, 16, 32, 64]}),
            marks=pytest.mark.parity,
        ),
        pytest.param(
            *("two_cameras", None, 8, {"size": 71, "train.optimizer.learning_rate": 0.00001}),
            marks=pytest.mark.parity,
        ),
    ],
)
def test_a_few_steps_lower_the_loss(
    name: str, preset: str | None, steps: int, settings: dict[str, Any], tmp_path: Path
) -> None:
    """Each epoch is one step on the same three examples."""
    program = compiled(name, preset, **{"train.optimizer": "adam", **settings})
    examples = synthetic(program, fields(program), 3, seed=0)
    arrays: dict[str, Any] = {key: array.numpy() for key, array in examples.arrays.items()}
    np.savez(tmp_path / "examples.npz", **arrays)
    run = tmp_path / "run"
    result = train(program, data=tmp_path / "examples.npz", device="cpu", run_dir=run, epochs=steps)
    shutil.rmtree(run)  # weights of up to 90 MB
    losses = np.array(result.history["loss"])
    assert losses[-1] < 0.9 * losses[0]


@pytest.mark.parity
@pytest.mark.parametrize("name", ["vae", "autoencoder"])
def test_digits_are_compressed(name: str, tmp_path: Path) -> None:
    """The validation error falls far below the variance of the pixels, 18.4 on average."""
    result = train(compiled(name), root=SPECS, device="cpu", run_dir=tmp_path / "run", epochs=8)
    losses = np.array(result.history["loss"])
    errors = np.array(result.history["val_decoder_loss" if name == "vae" else "val_loss"])
    assert errors[-1] < 12 < losses[0]


@torch.no_grad()
def test_a_vae_draws_anew_and_judges_its_code() -> None:
    program = compiled("vae")
    module = program.module().eval()
    (image,) = program.example_inputs().values()
    first, second = module(image), module(image)
    assert torch.equal(first["kl"], second["kl"]) and not torch.equal(first["decoder"], second["decoder"])
    assert float(first["kl"].min()) >= 0


def test_encoder_and_decoder_are_models_of_their_own() -> None:
    """The autoencoder computes what they compute one after another."""
    joined = compiled("autoencoder").module(seed=3).eval()
    (image,) = compiled("autoencoder").example_inputs().values()
    x = image
    for name in ("encoder", "decoder"):
        part = compiled(name).module().eval()
        prefix = f"{name}."
        part.load_state_dict(
            {
                key.removeprefix(prefix): value
                for key, value in joined.state_dict().items()
                if key.startswith(prefix)
            }
        )
        x = part(x)
    torch.testing.assert_close(x, joined(image))


# --- models as layers


@pytest.mark.parity
@torch.no_grad()
def test_both_cameras_look_with_the_same_eyes() -> None:
    program = compiled("two_cameras", size=71)
    module = program.module().eval()
    assert {key.split(".")[0] for key in module.state_dict()} == {"vision", "distance"}
    assert not any("probs" in key for key in module.state_dict())
    left, right = program.example_inputs(1).values()
    straight = module(left, right)
    weight = module.get_parameter("distance.weight")
    weight.copy_(torch.cat(weight.chunk(2, dim=1)[::-1], 1))
    torch.testing.assert_close(module(right, left), straight)


def right(outputs: Tensor, digits: Tensor) -> int:
    return int((outputs.argmax(1) == digits).sum())


@torch.no_grad()
def judged(folder: Path, digits: dict[str, Tensor]) -> tuple[list[int], int]:
    """How many digits each member of the ensemble in `folder` names rightly, and how many it does."""
    images, names = digits["image"], digits["digit"]
    alone = []
    for number in (1, 2, 3):
        weights = folder / f"data/digits_{number}.safetensors"
        member = graphspec.compile(folder / "digits.yaml").module(weights=weights).eval()
        alone.append(right(member(images), names))
    together = graphspec.compile(folder / "ensemble.yaml").module().eval()
    return alone, right(together(images), names)


@pytest.mark.parity
def test_an_ensemble_is_better_than_each_of_its_members(tmp_path: Path) -> None:
    """Members are trained on a third of the first 900 digits each, and judged by the 897 others."""
    folder = tmp_path / "specs"
    shutil.copytree(SPECS, folder)
    digits = dict(np.load(SPECS / "data/digits.npz"))
    for number in (1, 2, 3):
        np.savez(tmp_path / "part.npz", **{key: array[number - 1 : 900 : 3] for key, array in digits.items()})
        settings = {"train.seed": number, "train.epochs": 20}
        program = graphspec.compile(folder / "digits.yaml", settings=settings)
        run = train(
            program, data=tmp_path / "part.npz", device="cpu", run_dir=tmp_path / f"run{number}"
        ).run_dir
        shutil.copy(run / "last.safetensors", folder / f"data/digits_{number}.safetensors")
    others = {key: torch.from_numpy(array[900:]) for key, array in digits.items()}
    for each in (folder, SPECS):
        alone, together = judged(each, others)
        assert together > max(alone) >= 0.9 * 897


def test_an_ensemble_averages_probabilities(tmp_path: Path) -> None:
    folder = tmp_path / "specs"
    shutil.copytree(SPECS, folder)
    members = [graphspec.compile(folder / "digits.yaml").module(seed=seed).eval() for seed in (1, 2, 3)]
    for number, member in enumerate(members, start=1):
        state = {key: value.contiguous() for key, value in member.state_dict().items()}
        save_file(state, folder / f"data/digits_{number}.safetensors")
    program = graphspec.compile(folder / "ensemble.yaml")
    (image,) = program.example_inputs().values()
    mean = torch.stack([member(image) for member in members]).mean(0)
    torch.testing.assert_close(program.module().eval()(image), mean)


# --- the guide's listings as they stand in print


def row_of(text: str, name: str) -> Row:
    (found,) = (row for row in graphspec.compile(text).summary().rows if row.name == name)
    return found


@pytest.mark.parametrize(
    ("dims", "count"), [((64, 10_000), 640_000), ((32, 10_000), 320_000), ((256, 10_000), 2_560_000)]
)
def test_embeddings_whose_arguments_stand_the_other_way_round(dims: tuple[int, int], count: int) -> None:
    """The guide says Embedding(64, text_vocabulary_size): 64 tokens, each as 10,000 numbers."""
    size, width = dims
    text = (
        "inputs: {text: {shape: [null], dtype: int32}}\n"
        f"nodes:\n  embedded: {{layer: Embedding, input_dim: {size}, output_dim: {width}}}\n"
        "outputs: [embedded]\n"
    )
    row = row_of(text, "embedded")
    assert (row.params, row.output_shape[-1]) == (count, width)


def test_a_convolution_behind_such_an_embedding() -> None:
    text = (
        "inputs: {posts: {shape: [null], dtype: int32}}\n"
        "nodes:\n"
        "  embedded: {layer: Embedding, input_dim: 256, output_dim: 10000}\n"
        "  conv1: {layer: Conv1D, filters: 256, kernel_size: 5, activation: relu}\n"
        "  pool1: {layer: MaxPooling1D, pool_size: 5}\n"
        "outputs: [pool1]\n"
    )
    assert row_of(text, "conv1").params == 12_800_256


INCEPTION_IN_PRINT = """\
inputs: {x: {shape: [28, 28, 192]}}
nodes:
  branch_a: {layer: Conv2D, from: x, filters: 128, kernel_size: 1, activation: relu, strides: 2}
  reduce_b: {layer: Conv2D, from: x, filters: 128, kernel_size: 1, activation: relu}
  branch_b: {layer: Conv2D, filters: 128, kernel_size: 3, activation: relu, strides: 2}
  pool_c:   {layer: AveragePooling2D, from: x, pool_size: 3, strides: 2}
  branch_c: {layer: Conv2D, filters: 128, kernel_size: 3, activation: relu, strides: 2}
  reduce_d: {layer: Conv2D, from: x, filters: 128, kernel_size: 1, activation: relu}
  middle_d: {layer: Conv2D, filters: 128, kernel_size: 3, activation: relu}
  branch_d: {layer: Conv2D, filters: 128, kernel_size: 3, activation: relu, stride: 2}
  output:   {merge: concatenate, from: [branch_a, branch_b, branch_c, branch_d], axis: 1}
outputs: [output]
"""


def fail(text: str) -> tuple[str, int, str]:
    """The code, line and remedy of the only mistake."""
    with pytest.raises(SpecError) as caught:
        graphspec.compile(text)
    (diagnostic,) = caught.value.diagnostics
    assert diagnostic.span is not None
    return diagnostic.code, diagnostic.span.line, diagnostic.help or ""


def test_the_inception_listing_is_refused_until_it_is_mended() -> None:
    """In print it says `stride`, halves branch c twice, pads nothing, so that no two branches have one size,
    and joins rows rather than channels. specs/inception_module.yaml is the mended one.
    """
    code, line, help = fail(INCEPTION_IN_PRINT)
    assert (code, line) == ("unknown-key", 10) and "strides" in help
    text = INCEPTION_IN_PRINT.replace("stride: 2", "strides: 2").replace(", axis: 1", "")
    assert fail(text)[:2] == ("shapes-differ", 11)
    text = text.replace("strides: 2}", "strides: 2, padding: same}")
    assert fail(text)[:2] == ("shapes-differ", 11)  # branch c is a quarter
    text = text.replace(
        "  branch_c: {layer: Conv2D, filters: 128, kernel_size: 3, activation: relu, strides: 2",
        "  branch_c: {layer: Conv2D, filters: 128, kernel_size: 3, activation: relu",
    )
    text = text.replace("activation: relu}", "activation: relu, padding: same}")
    assert row_of(text, "output").output_shape == (None, 14, 14, 512)


def test_the_inception_module_has_four_branches_of_128_filters() -> None:
    rows = compiled("inception_module").summary().rows
    (module,) = (row for row in rows if row.name == "module")
    assert module.output_shape == (None, 16, 16, 4 * 128)


def test_the_residual_listing_is_refused_until_it_is_mended() -> None:
    """In print a sum has an axis. The other listing halves with a pool that rounds down beside a convolution
    that rounds up, which fits where sizes are even. specs/residual.yaml has both mended.
    """
    text = (
        "inputs: {x: {shape: [28, 28, 128]}}\n"
        "nodes:\n"
        "  y: {layer: Conv2D, filters: 128, kernel_size: 3, activation: relu, padding: same, repeat: 3}\n"
        "  sum: {merge: add, from: [y, x], axis: 1}\n"
        "outputs: [sum]\n"
    )
    assert fail(text)[:2] == ("unknown-key", 4)
    assert row_of(text.replace(", axis: 1", ""), "y.2").params == 147_584
    text = (
        "inputs: {x: {shape: [29, 29, 128]}}\n"
        "nodes:\n"
        "  y: {layer: Conv2D, filters: 128, kernel_size: 3, activation: relu, padding: same, repeat: 2}\n"
        "  pooled: {layer: MaxPooling2D, pool_size: 2, strides: 2}\n"
        "  residual: {layer: Conv2D, from: x, filters: 128, kernel_size: 1, strides: 2, padding: same}\n"
        "  sum: {merge: add, from: [pooled, residual]}\n"
        "outputs: [sum]\n"
    )
    assert fail(text)[:2] == ("shapes-differ", 6)
    assert row_of(text.replace("[29, 29, 128]", "[28, 28, 128]"), "sum").output_shape == (None, 14, 14, 128)

"""Augmentation layers beyond the contract: seeds, what they refuse, and what is left of them in inference."""

import pytest
import torch

import graphspec
from graphspec.diagnostics import SpecError

NODES = """
nodes:
  flip: {layer: RandomFlip}
  turn: {layer: RandomRotation, factor: 0.1}
  move: {layer: RandomTranslation, height_factor: 0.1, width_factor: 0.1}
  zoom: {layer: RandomZoom, height_factor: 0.2}
  bright: {layer: RandomBrightness, factor: 0.2, value_range: [0, 1]}
  contrast: {layer: RandomContrast, factor: 0.2, value_range: [0, 1]}
  hue: {layer: RandomHue, factor: 0.2, value_range: [0, 1]}
  saturation: {layer: RandomSaturation, factor: [0.3, 0.7], value_range: [0, 1]}
  jitter: {layer: RandomColorJitter, contrast_factor: 0.2, hue_factor: 0.1, value_range: [0, 1]}
  paler: {layer: RandomColorDegeneration, factor: 0.5, value_range: [0, 1]}
  sharp: {layer: RandomSharpness, factor: 0.6, value_range: [0, 1]}
  blur: {layer: RandomGaussianBlur, value_range: [0, 1]}
  tones: {layer: RandomPosterization, factor: [4, 8], value_range: [0, 1]}
  solar: {layer: Solarization, threshold_factor: 0.5, value_range: [0, 1]}
  slant: {layer: RandomShear, x_factor: 0.2}
  side: {layer: RandomPerspective, scale: 0.2}
  erase: {layer: RandomErasing, value_range: [0, 1]}
"""
CROP = "  crop: {layer: RandomCrop, height: 6, width: 5}\n"


def inputs(dtype: str = "float32", sizes: str = "8, 9") -> str:
    return f"inputs: {{image: {{shape: [{sizes}, 3], dtype: {dtype}}}}}\n"


def test_a_seed_decides_what_is_drawn() -> None:
    module = graphspec.compile(inputs() + NODES + CROP + "outputs: [crop]").module().train()
    images = torch.rand(4, 8, 9, 3)
    with torch.random.fork_rng():
        drawn = [(torch.manual_seed(seed), module(images))[1] for seed in (0, 0, 1)]
    assert drawn[0].shape == (4, 6, 5, 3) and drawn[0].dtype == torch.float32
    assert torch.equal(drawn[0], drawn[1]) and not torch.equal(drawn[0], drawn[2])


@pytest.mark.parametrize("dtype", ["float32", "uint8"])
def test_in_inference_they_are_not_there(dtype: str) -> None:
    program = graphspec.compile(inputs(dtype) + NODES + "outputs: [erase]")
    images = torch.randint(256, (2, 8, 9, 3)).to(getattr(torch, dtype))
    expected = program.module().eval()(images)
    assert torch.equal(expected, images.float())
    folded = program.fold().module().eval()
    assert torch.equal(folded(images), expected)
    assert "RandomRotation" not in str(folded)


def test_images_of_any_size_are_brought_to_one() -> None:
    module = graphspec.compile(inputs(sizes="h, w") + "nodes:\n" + CROP + "outputs: [crop]").module()
    for size in ((8, 9), (6, 9), (3, 20), (5, 2)):
        images = torch.rand(2, *size, 3)
        assert module.train()(images).shape == module.eval()(images).shape == (2, 6, 5, 3)


@pytest.mark.parametrize(
    ("layer", "code"),
    [
        ("RandomHue, factor: 0.5", "shapes-differ"),
        ("RandomHue, factor: 1.5", "out-of-range"),
        ("RandomPosterization, factor: 9", "wrong-type"),
        ("RandomGaussianBlur, kernel_size: 4", "out-of-range"),
        ("RandomGaussianBlur, kernel_size: [3, 5]", "out-of-range"),
        ("RandomPerspective, scale: 2", "out-of-range"),
        ("Solarization, threshold_factor: -1", "out-of-range"),
    ],
)
def test_what_they_do_not_take_is_told(layer: str, code: str) -> None:
    with pytest.raises(SpecError) as caught:
        graphspec.compile(inputs().replace("3]", "2]") + f"nodes:\n  y: {{layer: {layer}}}\noutputs: [y]")
    assert [found.code for found in caught.value.diagnostics] == [code]


def test_a_color_for_each_channel_needs_three() -> None:
    erase = "nodes:\n  erase: {layer: RandomErasing, fill_value: [1, 2, 3]}\noutputs: [erase]"
    with pytest.raises(SpecError, match="for each of 3 channels") as caught:
        graphspec.compile(inputs().replace("3]", "1]") + erase)
    assert caught.value.diagnostics[0].code == "shapes-differ"

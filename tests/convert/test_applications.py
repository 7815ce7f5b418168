"""Every architecture of keras.applications: the same parameters and outputs, in few lines.

`make parity` runs all at full size and prints a line for each.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import keras
import pytest
import torch
from keras import applications
from keras.src.applications.nasnet import NASNet

import graphspec
from graphspec.convert import Imported
from graphspec.convert.proof import difference
from tests.keras_saved import KERAS_WARNS, randomize

pytestmark = KERAS_WARNS

NAMES = sorted(name for name in dir(applications) if name[0].isupper())
LINES = {"ResNet": 60, "DenseNet": 50, "ConvNeXt": 60, "VGG": 30, "Xception": 70, "MobileNetV2": 70}
"""How many lines a folded spec has at most."""
SMALL: dict[str, dict[str, Any]] = {
    "ConvNeXtTiny": {"input_shape": (32, 32, 3), "classes": 10},
    "MobileNet": {"input_shape": (32, 32, 3), "alpha": 0.25, "classes": 10},
    "MobileNetV2": {"input_shape": (32, 32, 3), "alpha": 0.35, "classes": 10},
    "MobileNetV3Small": {"input_shape": (32, 32, 3), "minimalistic": True, "classes": 10},
}
STATISTICS = 7
"""Means, variances and a count of `Normalization`: Keras counts them, a spec writes them as numbers."""
TOLERANCE = 1e-4


def architecture(name: str, **options: Any) -> Any:
    """A model at its initial weights."""
    if name == "NASNetMobile":  # which Keras refuses on torch, for a bug of others; what it calls works
        sizes = {"penultimate_filters": 1056, "num_blocks": 4, "stem_block_filters": 32}
        more = {"skip_reduction": False, "filter_multiplier": 2, "default_size": 224, "name": "nasnet_mobile"}
        return NASNet((224, 224, 3), weights=None, **sizes, **more)
    return getattr(applications, name)(weights=None, **options)


def seconds(call: Callable[[], Any]) -> float:
    with torch.no_grad():
        call()
        start = time.perf_counter()
        call()
    return time.perf_counter() - start


def compared(model: Any) -> tuple[Imported, float]:
    """The model imported, and the largest difference of its outputs."""
    randomize(model)
    imported = graphspec.from_keras(model)
    assert imported.weights is not None
    assert not any("flat" in note for note in imported.notes)
    return imported, difference(imported.program, imported.weights, model)


def counts_agree(model: Any, imported: Imported) -> bool:
    normalized = any(
        isinstance(layer, keras.layers.Normalization) and layer.weights for layer in model.layers
    )
    ours = imported.program.summary().total_params
    return bool(ours + (STATISTICS if normalized else 0) == model.count_params())


@pytest.mark.parity
@pytest.mark.parametrize("name", SMALL)
def test_small_ones_agree(name: str) -> None:
    model = architecture(name, **SMALL[name])
    imported, found = compared(model)
    assert counts_agree(model, imported) and found < TOLERANCE


@contextmanager
def told(name: str, say: Callable[[str], None]) -> Iterator[None]:
    """Says why an architecture fails before it has a row of its own."""
    try:
        yield
    except Exception as error:
        say(
            f"{name:18} fails: {type(error).__name__}: {(str(error).strip() or 'no message').splitlines()[0]}"
        )
        raise


def test_an_architecture_that_fails_has_a_row() -> None:
    rows: list[str] = []
    with pytest.raises(ValueError), told("Broken", rows.append):
        raise ValueError("no such layer\nand more")
    assert rows == ["Broken             fails: ValueError: no such layer"]


@pytest.mark.parity
@pytest.mark.parametrize("name", NAMES)
def test_architectures_agree(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    def say(row: str) -> None:
        with capsys.disabled():
            print(f"\n{row}")

    with told(name, say):
        model = architecture(name)
        imported, found = compared(model)
        lines = len(imported.text.splitlines())
        module = imported.program.module().eval()
        x = torch.randn(1, *(size or 224 for size in model.input_shape[1:]))
        ours, theirs = seconds(lambda: module(x)), seconds(lambda: model(x, training=False))
        total, source = imported.program.summary().total_params, len(imported.program.source.splitlines())
    say(
        f"{name:18} {total:>11,} parameters  difference {found:.1e}  {lines:4} lines of YAML "
        f"{source:5} of Python  forward {ours:6.3f} s, Keras {theirs:6.3f} s"
    )
    assert counts_agree(model, imported) and found < TOLERANCE
    assert lines <= next((most for start, most in LINES.items() if name.startswith(start)), 240)

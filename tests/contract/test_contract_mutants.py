"""The contract refuses layers that are wrong: each of these is broken in one place, and must fail a test."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import pytest

from graphspec.contract import REGISTRY
from graphspec.contract.layer import Code, Layer, Site, Weight
from graphspec.contract.variance_scaling import LecunNormal
from graphspec.diagnostics import SpecError
from tests import oracle
from tests.contract.test_contract import drawn, exact
from tests.layer_contract import Case, compiled
from tests.layers.examples import examples_of


@pytest.fixture(autouse=True)
def double_precision() -> Iterator[None]:
    with oracle.double_precision():
        yield


@pytest.fixture(autouse=True)
def programs_of_this_test() -> Iterator[None]:
    """No program outlives the layer that it was compiled with."""
    compiled.cache_clear()
    yield
    compiled.cache_clear()


def complaint(cls: type[Layer]) -> str | None:
    """The first check of the contract that a class fails, with the number of the example."""
    for number, example in enumerate(examples_of(cls)):
        case = Case(cls, example)
        for check in (*exact(case), *drawn(case)):
            try:
                check(case)
            except (AssertionError, SpecError, RuntimeError):
                return f"{check.__name__}, example {number}"
    return None


@dataclass(frozen=True)
class Mutant:
    """A layer whose `attribute` is what `change` makes of it; or that of `owner`, which the layer uses."""

    layer: str
    attribute: str
    change: Callable[[Any], Any]
    owner: type[Any] | None = None


def becomes(layer: str, change: Callable[[Code], Code]) -> Mutant:
    """A layer that becomes other PyTorch."""

    def changed(code: Any) -> Any:
        return lambda self, site: change(code(self, site))

    return Mutant(layer, "code", changed)


def calls(layer: str, text: str) -> Mutant:
    """A layer whose call is this expression, of `{call}`, the right one, among others."""
    return becomes(layer, lambda code: replace(code, call=text.replace("{call}", code.call)))


def makes(layer: str, target: str | None = None, **values: Any) -> Mutant:
    """A layer whose module is another one, or is made with other values."""

    def change(code: Code) -> Code:
        assert code.construct is not None
        positional, keyword = dict(code.construct.positional), dict(code.construct.keyword)
        for key, value in values.items():
            if key in positional:
                positional[key] = value
            else:
                keyword[key] = (value, keyword[key][1])
        name = target or code.construct.target
        return replace(
            code, construct=replace(code.construct, target=name, positional=positional, keyword=keyword)
        )

    return becomes(layer, change)


def backwards(code: Code) -> Code:
    """The rotation of a layer in the other direction."""
    assert code.construct is not None
    factor: Any = code.construct.positional["factor"]
    positional = {**code.construct.positional, "factor": (-factor[1], -factor[0])}
    return replace(code, construct=replace(code.construct, positional=positional))


def says(layer: str, change: Callable[[Weight], Weight]) -> Mutant:
    """A layer that says something else of its weights."""

    def changed(weights: Any) -> Any:
        return lambda self, *inputs: tuple(map(change, weights(self, *inputs)))

    return Mutant(layer, "weights", changed)


def without_mask(code: Any) -> Any:
    def change(self: Layer, site: Site) -> Code:
        return code(self, replace(site, inputs=(site.inputs[0], None)))

    return change


def pads_turned(code: Code) -> Code:
    pads = code.constants["padding"]
    assert isinstance(pads, tuple)
    turned = [side for pair in zip(pads[1::2], pads[::2], strict=True) for side in pair]
    return replace(code, constants={"padding": tuple(turned)})


MUTANTS = {
    "a bias left out": calls("Dense", "F.linear({x}, {self}.weight)"),
    "a bias added twice": calls("Conv1D", "{call} + {self}.bias[:, None]"),
    "a gradient cut off": calls("LeakyReLU", "{call}.detach()"),
    "a kernel with height and width swapped": says(
        "Conv2D", lambda w: replace(w, permute=(3, 2, 1, 0)) if w.permute else w
    ),
    "axes swapped": calls("Permute", "{x}.mT"),
    "gates in another order": says("LSTM", lambda w: replace(w, gates=(1, 0, 2, 3))),
    "a weight that does not train": says("LayerNormalization", lambda w: replace(w, trainable=False)),
    "a moving mean that moves too fast": makes("BatchNormalization", momentum=0.3),
    "a mask ignored": Mutant("GlobalAveragePooling1D", "code", without_mask),
    "a mask not handed on": Mutant("Dense", "mask", lambda _: lambda self, inputs, masks: None),
    "padding on the other side": becomes("ZeroPadding1D", pads_turned),
    "a size off by one": Mutant(
        "UpSampling1D",
        "infer",
        lambda _: lambda self, x: x.with_shape(x.shape[0], 1 + x.shape[1] * self.size, x.shape[2]),
    ),
    "an initializer of another fan": Mutant(
        "Dense", "scaling", lambda _: (1.0, "fan_out", "truncated_normal"), LecunNormal
    ),
    "a rate ignored": makes("Dropout", p=0.4),
    "a flip that never flips": becomes("RandomFlip", lambda _: Code("{x}")),
    "a flip of all images or none": calls(
        "RandomFlip", "{x}.flip(1, 2) if self.training and torch.rand(()) < 0.5 else {x}"
    ),
    "elements dropped instead of channels": makes("SpatialDropout2D", "nn.Dropout"),
    "noise that all examples share": calls("GaussianNoise", "{x} + ({call} - {x})[:1]"),
    "a rotation the other way": becomes("RandomRotation", backwards),
    "a crop that stays in its corner": calls("RandomCrop", "{x}[:, :, :3, :4] if self.training else {call}"),
}


@pytest.mark.parametrize("mutant", MUTANTS.values(), ids=MUTANTS)
def test_the_contract_refuses_a_layer_that_is_wrong(mutant: Mutant, monkeypatch: pytest.MonkeyPatch) -> None:
    cls = REGISTRY["layer"][mutant.layer]
    owner = mutant.owner or cls
    monkeypatch.setattr(owner, mutant.attribute, mutant.change(getattr(owner, mutant.attribute)))
    assert complaint(cls) is not None


@pytest.mark.parametrize("layer", ["Permute", "ZeroPadding1D", "GlobalAveragePooling1D", "RandomFlip"])
def test_the_contract_accepts_it_as_it_is(layer: str) -> None:
    assert complaint(REGISTRY["layer"][layer]) is None

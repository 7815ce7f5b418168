"""Keras' public names beside ours: each is one of the language, another for one, or refused by name."""

import inspect
from typing import Any

import keras
import pytest

from graphspec.compiler import check
from graphspec.contract import REGISTRY
from graphspec.contract.activations import ACTIVATIONS
from graphspec.contract.initializers import Initializer
from graphspec.contract.keras_names import ALIASES, LAYERS, OPS
from graphspec.contract.penalties import Constraint, Regularizer
from graphspec.diagnostics import Diagnostics
from graphspec.diagnostics.foreign_terms import LAYERS as SAID_OTHERWISE
from graphspec.objectives import LOSSES, METRICS
from graphspec.reference.layers import SECTIONS, classes, find
from graphspec.settings.families import Family
from graphspec.train.config import OPTIMIZERS, SCHEDULES
from tests import bundled

MERGES = {"Add", "Average", "Concatenate", "Dot", "Maximum", "Minimum", "Multiply", "Subtract"}
BASES = {"Initializer", "Regularizer", "Constraint", "LearningRateSchedule"}
"""Classes that those of one's own derive from, in places where a spec takes none of one's own."""
FOREIGN = {"OneCycleLR", "ReduceLROnPlateau", "LambdaLR", "LBFGS", "lbfgs"}
FOREIGN |= {"StepLR", "step", "step_lr", "step_decay"}
"""Names of PyTorch that are refused with what to write."""
ELSEWHERE = {
    "SeedGenerator": "`seed` stands under `train`",
    "stft": "`op: stft` has it",
    "STFT": "`op: stft` has it",
    "STFTInitializer": "`op: stft` has it",
    "threshold": "an op",
}


def public(module: Any, classes: bool) -> set[str]:
    kinds = inspect.isclass if classes else callable
    return {name for name in dir(module) if not name.startswith("_") and kinds(getattr(module, name))}


def test_every_layer_of_keras_is_there_or_refused() -> None:
    theirs = public(keras.layers, True) - MERGES
    ours = set(REGISTRY["layer"]) | set(ALIASES) | set(LAYERS) | set(SAID_OTHERWISE)
    assert theirs - ours == set()
    assert set(LAYERS) <= theirs and set(LAYERS) & set(REGISTRY["layer"]) == set()
    assert set(ALIASES.values()) <= set(REGISTRY["layer"])


def test_every_function_of_keras_is_there_or_refused() -> None:
    theirs = public(keras.ops, False) | {f"image_{name}" for name in public(keras.ops.image, False)}
    theirs |= {f"random_{name}" for name in public(keras.random, False)} - {"random_SeedGenerator"}
    assert theirs - set(REGISTRY["op"]) - set(OPS) == set()
    assert set(OPS) <= theirs and set(OPS) & set(REGISTRY["op"]) == set()


def snake(name: str) -> str:
    return keras.src.utils.naming.to_snake_case(name)


@pytest.mark.parametrize(
    ("module", "family"),
    [
        (keras.losses, LOSSES),
        (keras.metrics, METRICS),
        (keras.optimizers, OPTIMIZERS),
        (keras.optimizers.schedules, SCHEDULES),
    ],
    ids=["losses", "metrics", "optimizers", "schedules"],
)
def test_every_setting_of_keras_is_there_or_refused(module: Any, family: Family) -> None:
    letters = {name.replace("_", "").lower() for name in family.members}
    missing = {
        name
        for name in public(module, True) - BASES - set(family.refused)
        if name.replace("_", "").lower() not in letters
    }
    assert missing == set()
    assert set(family.refused) - FOREIGN <= public(module, True)


@pytest.mark.parametrize(
    ("module", "names"),
    [
        (keras.initializers, Initializer.members),
        (keras.regularizers, Regularizer.members),
        (keras.constraints, Constraint.members),
        (keras.activations, ACTIVATIONS),
    ],
    ids=["initializers", "regularizers", "constraints", "activations"],
)
def test_every_named_value_of_keras_is_there(module: Any, names: Any) -> None:
    theirs = public(module, False) - {"deserialize", "get", "serialize"} - BASES - set(ELSEWHERE)
    letters = {name.replace("_", "").lower() for name in names}
    missing = {
        name
        for name in theirs
        if name.replace("_", "").removesuffix("Initializer").lower() not in letters
        and name.replace("_", "").lower() not in letters
    }
    assert missing == set()


@bundled(16, "name", [*LAYERS, *SAID_OTHERWISE])
def test_a_refused_layer_says_what_to_write(name: str) -> None:
    found = diagnostics(f"{{layer: {name}}}")
    assert found.help and "graphspec layers` lists" not in found.message
    assert found.help != "`graphspec layers` lists them all"
    if name in LAYERS:
        assert (found.code, found.help) == ("not-supported", LAYERS[name][1])


@bundled(16, "name", OPS)
def test_a_refused_function_says_what_to_write(name: str) -> None:
    found = diagnostics(f"{{op: {name}}}")
    assert (found.code, found.help) == ("not-supported", OPS[name][1])
    assert OPS[name][0] in found.message


def diagnostics(node: str) -> Any:
    found = Diagnostics()
    check(f"inputs: {{x: {{shape: [8, 8, 3]}}}}\nnodes: {{y: {node}}}\noutputs: [y]\n", found, {})
    (first,) = [each for each in found if each.code != "unbound-output"]
    return first


@pytest.mark.parametrize("name", ["MaxPool2D", "GlobalAvgPool2D"])
def test_other_names_of_layers_are_theirs(name: str) -> None:
    found = Diagnostics()
    text = f"inputs: {{x: {{shape: [8, 8, 3]}}}}\nnodes: {{y: {{layer: {name}}}}}\noutputs: [y]\n"
    program = check(text, found, {})
    assert program is not None and not len(found)
    assert program.graph.ops[0].title == ALIASES[name]


def test_every_place_of_a_key_has_its_word() -> None:
    """That of its section, or the name of what has it."""
    assert not [place for place, cls in classes() if cls not in SECTIONS and not find(place.strip("`"))]


@pytest.mark.parametrize("name", ["mix", "last_by", "unfreeze_at", "wraps"])
def test_a_key_of_the_language_is_explained(name: str) -> None:
    (page,) = find(name)
    assert page.kind.startswith("key") and page.doc.endswith(".") and page.text().startswith(f"{name} (key")

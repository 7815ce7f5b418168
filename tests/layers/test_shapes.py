"""What check accepts, in shapes far from those of the examples, runs, and gives the shape that it says."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from graphspec.contract import REGISTRY
from graphspec.contract.layer import Example, Layer
from graphspec.diagnostics import SpecError
from tests import bundled
from tests.layer_contract import Case, as_tuple, numbers
from tests.layers.examples import examples_of

CLASSES = [
    (kind, name)
    for kind, classes in REGISTRY.items()
    for name, cls in sorted(classes.items())
    if not cls.reads_nothing(()) and all(e.dtype == "float32" and not e.dtypes for e in cls.examples[:1])
]
"""Of tensors of integers, many are indices: which run depends on their values."""

Shapes = tuple[tuple[int, ...], ...]


def ones(shapes: Shapes) -> Shapes:
    """The same axes, each of size 1."""
    return tuple(tuple(1 for _ in shape) for shape in shapes)


def shorter(shapes: Shapes) -> Shapes:
    """Without the first axis of each."""
    return tuple(shape[1:] for shape in shapes)


def nothing(shapes: Shapes) -> Shapes:
    """One element for each example."""
    return tuple(() for _ in shapes)


def deeper(shapes: Shapes) -> Shapes:
    """With an axis more."""
    return tuple((2, *shape) for shape in shapes)


CHANGES = (ones, shorter, nothing, deeper)


def assert_runs(cls: type[Layer], example: Example) -> None:
    """What is accepted runs, and gives the shapes that were said."""
    case = Case(cls, example)
    try:
        said = [numbers(value.tensor) for value in case.op().outputs.values()]
    except SpecError:
        return
    given = as_tuple(case.module().eval()(*case.tensors()))
    assert [tuple(output.shape) for output in given] == said, (cls.__name__, example)


@bundled(16, ("kind", "name"), CLASSES, ids=lambda word: word)
@pytest.mark.parametrize("whole", [False, pytest.param(True, marks=pytest.mark.parity)], ids=["some", "all"])
def test_other_shapes_run_or_are_refused(kind: Any, name: str, whole: bool) -> None:
    """All examples in each way, if `whole`; else the first, which of an op takes two of the ways."""
    cls = REGISTRY[kind][name]
    examples = {repr(e): e for e in examples_of(cls) if e.dtype == "float32" and not e.dtypes}
    changes = CHANGES if whole or kind != "op" else CHANGES[sum(map(ord, name)) % 2 :: 2]
    for example in list(examples.values())[: None if whole else 1]:
        for change in changes:
            assert_runs(cls, replace(example, shapes=change(example.shapes), masks={}))


AXES = st.sampled_from([-3, -2, -1, 1, 2, 3, (), (1,), (-1,), (1, 2), (-1, -2)])


@given(st.data())
def test_any_axes_run_or_are_refused(data: st.DataObject) -> None:
    """Also empty lists, of axes and of sizes."""
    kind, name = data.draw(st.sampled_from(CLASSES))
    cls = REGISTRY[kind][name]
    example = data.draw(st.sampled_from(examples_of(cls)))
    if example.dtype != "float32" or example.dtypes or example.masks:
        return
    arguments = dict(example.arguments)
    for key in cls.model_fields:
        if key in ("axis", "axes") or isinstance(arguments.get(key), (list, tuple)):
            arguments[key] = data.draw(st.one_of(AXES, st.just(arguments[key])) if key in arguments else AXES)
    change = data.draw(st.sampled_from([*CHANGES, lambda shapes: shapes]))
    try:
        cls.model_validate(arguments)
    except ValidationError:
        return
    assert_runs(cls, replace(example, arguments=arguments, shapes=change(example.shapes)))

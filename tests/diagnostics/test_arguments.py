"""Every argument of every public function that is something else ends in a coded diagnostic."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import graphspec
from graphspec.convert import import_keras
from graphspec.diagnostics import SpecError
from graphspec.diagnostics.arguments import CLASSES, KINDS
from graphspec.train.custom_loop import Metrics
from graphspec.view.summary import Summary
from tests import bundled

SPEC: dict[str, Any] = {
    "inputs": {"x": {"shape": [4]}},
    "nodes": {"y": {"layer": "Dense", "units": 3, "activation": "softmax"}},
    "outputs": {"y": {"loss": "sparse_categorical_crossentropy"}},
    "train": {"optimizer": "adam", "epochs": 1},
}
PROGRAM = graphspec.compile(SPEC)
WIDER = graphspec.compile(SPEC, settings={"nodes.y.units": 5})
STEPPED = graphspec.compile(
    {
        "inputs": {"x": {"shape": ["any", 4]}},
        "nodes": {"y": {"layer": "GRU", "units": 3, "return_sequences": True}},
        "outputs": ["y"],
    }
)
OWN = ("summary", "fold", "encoders", "state", "compute", "reset", "predictions")
"""Methods that take nothing that people choose, or that check it when they are iterated."""
FUNCTIONS: list[Callable[..., Any]] = [
    *(graphspec.compile, graphspec.from_keras, graphspec.from_torch, graphspec.export.export, import_keras),
    graphspec.Run,
    *(
        function
        for cls in (graphspec.Program, graphspec.Run, Summary, Metrics)
        for name, function in inspect.getmembers(cls, inspect.isfunction)
        if not name.startswith("_") and name not in OWN and function.__module__.startswith("graphspec.")
    ),
]
ELSEWHERE = ("self", "data", "inputs", "outputs", "targets", "example_inputs", "encoders", "key", "size")
"""Arguments with many forms, which what reads them checks: at the end."""
X, Y = torch.zeros(2, 4), torch.tensor([0, 1])


def test_every_argument_has_its_kind() -> None:
    arguments = {name for function in FUNCTIONS for name in inspect.signature(function).parameters}
    assert arguments - {*KINDS, *CLASSES, *ELSEWHERE} - {"path"} == set()


@pytest.mark.parametrize("function", FUNCTIONS, ids=lambda function: function.__qualname__)
def test_a_wrong_argument_is_named(function: Callable[..., Any]) -> None:
    parameters = inspect.signature(function).parameters
    if function.__qualname__ in ("BaseProgram.with_batch_size", "BaseProgram.span"):
        return  # which check themselves: below
    for name in parameters:
        if name in ELSEWHERE or (name == "weights" and "Path" not in str(parameters[name].annotation)):
            continue
        for value in (object(), b"x", [1], {1: 2}, float("nan"), "a\0b", torch.zeros(3), nn.Linear(2, 2)):
            fits = (
                (isinstance(value, nn.Module) and name == "module")
                or (isinstance(value, str) and name in ("device", "place"))  # below
                or (isinstance(value, list) and name == "end")
                or (
                    isinstance(value, list | dict | torch.Tensor)
                    and name in ("allow", "names", "callbacks", "spec")
                )
            )
            if fits or (name == "weights" and isinstance(value, dict)) or isinstance(value, Callable):  # type: ignore[arg-type]
                continue
            given = {other: 0 for other, each in parameters.items() if each.default is each.empty}
            ordered = {
                key: {**given, name: value}[key] for key in parameters if key in {**given, name: value}
            }
            first = {name: ordered[name], **{key: each for key, each in ordered.items() if key != name}}
            with pytest.raises(graphspec.SpecError) as error:
                function(**first)
            assert error.value.diagnostics[0].code in ("wrong-type", "out-of-range"), (name, value)


CALLS: dict[str, tuple[Callable[[], Any], str, str]] = {
    "a file is no model of Keras": (lambda: graphspec.from_keras("m.keras"), "wrong-type", "import keras"),
    "nor is a module": (lambda: graphspec.from_keras(nn.Linear(4, 3)), "wrong-type", "from_torch"),
    "a state dict": (lambda: graphspec.from_torch({"a": X}, X), "wrong-type", "state dict"),  # type: ignore[arg-type]
    "a class": (lambda: graphspec.from_torch(nn.Linear, X), "wrong-type", "`Linear(...)`"),  # type: ignore[arg-type]
    "no inputs": (lambda: graphspec.from_torch(nn.Linear(4, 3)), "missing-key", "example_inputs"),  # type: ignore[call-arg]
    "inputs": (lambda: graphspec.from_torch(nn.Linear(4, 3), 4), "wrong-type", "give a tensor"),  # type: ignore[arg-type]
    "a word is no list": (lambda: graphspec.compile(SPEC, allow="torch"), "wrong-type", "['torch']"),
    "a misspelt one": (lambda: PROGRAM.fit(epoch=3), "unknown-key", "`epochs`"),  # type: ignore[call-arg]
    "a setting": (
        lambda: graphspec.compile(SPEC, settings={"nodes.y.units": np.zeros(3)}),
        "wrong-type",
        "settings hold numbers",
    ),
    "a text that is no path": (lambda: graphspec.compile("x" * 5000), "wrong-type", "longer than any name"),
    "half a letter": (lambda: graphspec.Run("\ud800"), "wrong-type", "a character that no name has"),
    "a function in a spec": (
        lambda: graphspec.compile({**SPEC, "nodes": {"y": {"layer": "Dense", "activation": torch.relu}}}),
        "wrong-type",
        "`nodes`.`y`.`activation`",
    ),
    "targets": (lambda: PROGRAM.loss(PROGRAM.module()(X), [0, 1]), "wrong-type", "torch.as_tensor"),
    "an array": (lambda: PROGRAM.loss(PROGRAM.module()(X), Y.numpy()), "wrong-type", "torch.as_tensor"),
    "no target": (lambda: PROGRAM.loss(PROGRAM.module()(X), {1: Y}), "data-column", "targets here: 1"),
    "a class too many": (lambda: PROGRAM.loss(PROGRAM.module()(X), Y + 2), "data-range", "3 classes"),
    "another number": (lambda: PROGRAM.loss(PROGRAM.module()(X), Y[:1]), "data-shape", "different numbers"),
    "an output": (lambda: PROGRAM.loss(X[:, :2] + 0.5, Y), "data-shape", "the shape [2, 2]"),
    "what is none": (lambda: PROGRAM.loss({}, Y), "data-column", "there is no output"),
    "too many": (lambda: PROGRAM.memory(10**30), "out-of-range", "`batch_size`"),
    "a time": (lambda: PROGRAM.memory(np.timedelta64(3, "s")), "wrong-type", "batch_size"),  # type: ignore[arg-type]
    "a folder that is not there": (
        lambda: graphspec.export.export(PROGRAM, "pt2", "missing/m.pt2"), "output-file", "cannot be written",
    ),
    "weights": (lambda: PROGRAM.loss(PROGRAM.module()(X), Y, weights=[1, 2]), "wrong-type", "as_tensor"),
    "an input": (
        lambda: PROGRAM.activations(PROGRAM.module(), X.numpy(), ["y"]), "wrong-type", "as_tensor",
    ),
    "its shape": (lambda: PROGRAM.activations(PROGRAM.module(), X[:, 1:], ["y"]), "data-shape", "[2, 3]"),
    "its name": (lambda: PROGRAM.activations(PROGRAM.module(), {"a": X}, ["y"]), "data-column", "`a`"),
    "none": (lambda: PROGRAM.activations(PROGRAM.module(), [], ["y"]), "data-column", "`x`"),
    "another module": (lambda: PROGRAM.activations(nn.Linear(4, 3), X, ["y"]), "weights-misfit", "other"),
    "outputs of a step": (lambda: PROGRAM.step(3), "wrong-type", "list of names"),  # type: ignore[arg-type]
    "a step's output": (lambda: PROGRAM.step(["z"]), "unknown-name", "one of: y"),
    "no output": (lambda: PROGRAM.step([None]), "wrong-type", "None is among the names"),  # type: ignore[list-item]
    "no input": (lambda: PROGRAM.trackers([None]), "wrong-type", "None is among"),  # type: ignore[list-item]
    "no key": (lambda: graphspec.compile(SPEC, params={None: 2}), "wrong-type", "a key of `params` is None"),  # type: ignore[dict-item]
    "no path": (lambda: PROGRAM.span(None), "wrong-type", "a tuple of names"),  # type: ignore[arg-type]
    "a path of nothing": (lambda: PROGRAM.span((None,)), "wrong-type", "a tuple of names"),  # type: ignore[arg-type]
    "a path in a text": (lambda: PROGRAM.span("nodes"), "wrong-type", "('nodes', "),  # type: ignore[arg-type]
    "many keys": (lambda: PROGRAM.span((), key=np.zeros(3)), "wrong-type", "True or False"),  # type: ignore[arg-type]
    "batches of half": (lambda: PROGRAM.with_batch_size(0.5), "wrong-type", "whole number"),  # type: ignore[arg-type]
    "a proof of another": (lambda: PROGRAM.prove(nn.Linear(2, 2)), "weights-misfit", "`Linear`"),
    "a proof of another size": (lambda: PROGRAM.prove(WIDER.module()), "weights-misfit", "program.module()"),
    "a proof of a step by what has no states": (
        lambda: STEPPED.step().prove(STEPPED.module()), "weights-misfit", "program.module()",
    ),
    "a module of another size": (
        lambda: PROGRAM.activations(WIDER.module(), X, ["y"]), "weights-misfit", "program.module()",
    ),
    "no picture": (lambda: PROGRAM.trackers(["x"]), "unknown-name", "no such names"),
    "one name": (lambda: PROGRAM.activations(PROGRAM.module(), X, "y"), "wrong-type", "['y']"),
    "a state without tensors": (lambda: PROGRAM.module(weights={"a": 1}), "weights-misfit", "state dict"),
    "a format": (lambda: graphspec.export.export(PROGRAM, "h5", "m.h5"), "out-of-range", "'onnx'"),
    "a folder": (lambda: graphspec.export.export(PROGRAM, "pt2", "."), "output-file", "a folder"),
    "masked numbers": (
        lambda: PROGRAM.fit({"x": np.ma.masked_less(np.arange(8.0).reshape(2, 4), 1), "y": [0, 1]}),
        "data-nonfinite",
        "row 0",
    ),
    "masked classes": (
        lambda: PROGRAM.fit({"x": X, "y": np.ma.masked_equal([0, 1], 1)}), "data-gap", "array.filled",
    ),
}  # fmt: skip


@bundled(4, "name", list(CALLS))
def test_what_was_given_instead_is_told(name: str) -> None:
    call, code, told = CALLS[name]
    with pytest.raises(graphspec.SpecError) as error:
        call()
    assert error.value.diagnostics[0].code == code and told in str(error.value), str(error.value)


def test_a_misspelt_name_of_the_package_is_told() -> None:
    with pytest.raises(AttributeError, match="did you mean `compile`"):
        graphspec.complie  # noqa: B018


def test_training_is_called_fit() -> None:
    """`train` is neither a method of a program nor a function of the package."""
    program: Any = PROGRAM
    with pytest.raises(AttributeError, match=r"`program\.fit\(data\)` trains"):
        program.train({"x": 1})
    package: Any = import_module("graphspec.train")
    with pytest.raises(graphspec.SpecError, match=r"a package, not a function\n.*\.fit\(data\)` trains"):
        package(program)


def test_keys_are_names_where_a_mapping_has_names() -> None:
    with pytest.raises(graphspec.SpecError, match="a key of `params` is 1, but must be a name"):
        graphspec.compile(SPEC, params={1: 2})  # type: ignore[dict-item]


def test_a_module_of_a_step_is_proven_from_its_beginning() -> None:
    step = STEPPED.step()
    step.prove(step.module())


ODD: list[Any] = [
    *(None, 1, 1.5, True, "", "x", b"x", float("nan"), object(), nn.Linear(2, 2), np.zeros(3), iter([1])),
    *([], {}, [None], [{}], {1: 2}, {None: [1]}, {"age": object()}, {"age": {1: 2}}, {"age": 10**400}),
    *([{1: 2}, {3: 4}], [{1: "a"}, {2: 3}], {"age": [[1]], "city": [None]}, {"age": 1 + 2j, "city": b"x"}),
    *({"age": [1, 2], "city": ["c"]}, {"age": np.ma.array([1], mask=[True])}, {"age": np.datetime64("2020")}),
    *(
        {"a": None},
        {"y": "x"},
        {"y": torch.zeros(2)},
        [torch.zeros(2)],
        torch.zeros(3, 5),
        X.int(),
        Y.double(),
    ),
]


@pytest.fixture(scope="module")
def encoded(tmp_path_factory: pytest.TempPathFactory) -> graphspec.Run:
    """A run that learned how to read a table."""
    folder = tmp_path_factory.mktemp("encoded")
    rows = "".join(f"{i},c{i % 2},{i % 3}\n" for i in range(12))
    (folder / "t.csv").write_text(f"age,city,y\n{rows}")
    features = {
        "a": {"columns": ["age"], "encode": "number", "scale": "standard"},
        "c": {"column": "city", "encode": "category", "vocabulary": 4},
    }
    inputs = {"a": {"shape": [1]}, "c": {"shape": [], "dtype": "int64"}}
    nodes = {
        "e": {"layer": "Embedding", "from": "c", "input_dim": "$(vocabulary(c))", "output_dim": 2},
        "b": {"merge": "concatenate", "from": ["a", "e"]},
        "y": SPEC["nodes"]["y"],
    }
    spec = {**SPEC, "inputs": inputs, "nodes": nodes, "data": {"train": "t.csv", "features": features}}
    (folder / "s.json").write_text(json.dumps(spec))
    graphspec.compile(folder / "s.json").fit(run_dir=folder / "run")
    return graphspec.Run(folder / "run")


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("value", ODD, ids=lambda value: type(value).__name__)
def test_data_of_any_kind_end_in_a_result_or_a_diagnostic(value: Any, encoded: graphspec.Run) -> None:
    module, program, cpu = PROGRAM.module(), encoded.program, torch.device("cpu")
    attempts: list[Callable[[], Any]] = [
        *(
            lambda: encoded.predict(value),
            lambda: encoded.evaluate(value),
            lambda: encoded.examples(value, cpu),
        ),
        *(lambda: encoded.parts(value, cpu), lambda: encoded.judge(value, cpu)),
        *(lambda: program.activations(program.module(), value, ["y"]), lambda: PROGRAM.step(value)),
        *(lambda: PROGRAM.activations(module, value, ["y"]), lambda: PROGRAM.with_batch_size(value)),
        *(lambda: PROGRAM.loss(value, Y), lambda: PROGRAM.loss(module(X), value)),
        *(lambda: PROGRAM.metrics().update(value, Y), lambda: PROGRAM.metrics().update(module(X), value)),
        lambda: graphspec.from_torch(nn.Linear(2, 2), value),
    ]
    for attempt in attempts:
        with suppress(SpecError):
            attempt()


def test_texts_for_a_run_of_arrays_are_named(tmp_path: Path) -> None:
    data = {"x": np.zeros((8, 4), np.float32), "y": np.zeros(8, np.int64)}
    PROGRAM.fit(data, run_dir=tmp_path / "run")
    with pytest.raises(SpecError, match="`x` of `data` holds text, and the run was trained on arrays"):
        graphspec.Run(tmp_path / "run").predict({"x": ["a", "b"]})

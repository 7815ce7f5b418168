"""What each key means, on its field or in the glossary; and the examples of keys, which are right specs."""

from __future__ import annotations

import re
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, ConfigDict

from graphspec.compiler import check
from graphspec.contract import REGISTRY
from graphspec.diagnostics import Diagnostics
from graphspec.language.docstrings import field_doc, first_sentence
from graphspec.language.glossary import OF_FORMS, SHARED, keys_of, meaning
from graphspec.language.schema import TYPE, Block, Input, Node, Output, Spec
from graphspec.reference.layers import classes, example_of


def test_every_key_has_a_sentence() -> None:
    """A capital letter or a word of the language, and no full stop, which those who show it write."""
    for place, cls in classes():
        for key, _ in keys_of(cls):
            text = meaning(cls, key)
            assert re.fullmatch(r"[A-Z`][^\n]*[^.]", text), f"{key} of {place}: {text!r}"


def owner(cls: type[BaseModel], name: str) -> type[BaseModel]:
    """The highest base of a class, or of the loss that a metric is made from, that has the field."""
    origin = getattr(cls, "fields_of", None)
    if origin is not None and name in origin.model_fields:
        return owner(origin, name)
    having = [base for base in cls.__mro__ if issubclass(base, BaseModel) and base is not BaseModel]
    return [base for base in having if name in base.model_fields][-1]


def test_the_glossary_has_the_words_that_classes_share_and_no_others() -> None:
    """A word of one class, or of those below one, is explained on its field."""
    owners = defaultdict(set)
    for _, cls in classes():
        for key, _ in keys_of(cls):
            if field_doc(cls, key) is None:
                owners[key].add(owner(cls, key))
    assert {word for word, each in owners.items() if len(each) > 1} >= SHARED.keys()
    assert {word for word, each in owners.items() if len(each) == 1 and word in SHARED} == set()


def test_keys_of_forms_are_keys_of_nodes() -> None:
    inputs = {argument.name for cls in REGISTRY["op"].values() for argument in cls.arguments}
    assert (
        OF_FORMS.keys() == {*TYPE, "outputs", "initializer", "data_format", "like", "momentum", "update"}
        and "like" in inputs
    )


class Explained(BaseModel):
    """pydantic reads the docstrings, too, where a class asks for it: when it is made."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    first: int
    """The first. It has more to say,
    on several lines.

    Example: {first: 1,
      second: 2}
    """
    second: int = 2
    third: int = 3
    "Of `third.field`, e.g. 3; one sentence"
    fourth: dict[str, int] = {}  # a comment, and no docstring


class Below(Explained):
    second: int = 4
    """Explained below."""
    third: int = 5


def test_docstrings_are_those_that_pydantic_finds() -> None:
    class Local(Below):
        first: int = 7
        """Explained in a function."""

    for cls in (Explained, Below, Local):
        for key, field in cls.model_fields.items():
            ours, theirs = field_doc(cls, key), field.description
            if theirs is not None:
                assert ours is not None and ours.sentence == first_sentence(theirs), (cls, key)
    assert [field_doc(Local, key) for key in ("first", "second")] == [
        ("Explained in a function", ""),
        ("Explained below", ""),
    ]
    assert field_doc(Explained, "first") == ("The first", "{first: 1, second: 2}")
    assert field_doc(Below, "third") == ("Of `third.field`, e.g. 3; one sentence", "")
    assert field_doc(Explained, "second") is None and field_doc(Explained, "fourth") is None


def test_a_class_without_a_source_says_nothing() -> None:
    space: dict[str, Any] = {"__name__": "nowhere"}
    exec("from pydantic import BaseModel\nclass Typed(BaseModel):\n    a: int\n    'Not read.'\n", space)
    assert field_doc(space["Typed"], "a") is None and meaning(space["Typed"], "a") == ""


ENCODER = "inputs: {x: {shape: [8]}}\nnodes: {y: {layer: Dense, units: 8}}\noutputs: [y]\n"
AROUND: dict[type[BaseModel], str] = {
    Node: """\
params: {drop: true, deep: true}
inputs: {left: {shape: [8]}, steps: {shape: [5, 8]}}
blocks:
  twice: {inputs: [x], nodes: {s: {layer: Dense, units: 8}, skip: {op: relu}}, outputs: [s, skip]}
  residual: {params: {filters: required}, inputs: [x], nodes: {y: {layer: Dense, units: $filters}}}
  stage: {params: {filters: required}, inputs: [x], nodes: {y: {layer: Dense, units: $filters}}}
  layer: {inputs: [x], nodes: {y: {layer: Dense, units: 8}}}
shared: {encoder: {layer: Dense, units: 8}}
nodes:
  noise: {op: relu, from: left}
  log_var: {op: relu, from: left}
  mean: {op: relu, from: left}
  b: {block: twice, from: left}
  above: {op: relu, from: ABOVE}
  a: {op: relu}
  tested: EXAMPLE
outputs: [a]
""",
    Input: """\
params: {extra: true}
inputs: {z: {shape: [8]}, x: EXAMPLE}
nodes: {y: {op: relu, from: x}}
outputs: [y]
""",
    Block: "inputs: {x: {shape: [8]}}\nblocks: {b: EXAMPLE}\nnodes: {y: USE}\noutputs: [y]\n",
    Output: """\
params: {extra: true}
inputs: {x: {shape: [8]}}
nodes: {hidden: {layer: Dense, units: 4}, y: {layer: Dense, units: 1, activation: sigmoid}}
outputs: {y: EXAMPLE}
""",
}
"""What is around an example of a key of each class."""
FILE = {
    "params": "params: {width: 8}",
    "inputs": "inputs: {x: {shape: [8]}}",
    "nodes": "nodes: {a: {layer: Dense, units: 8}, y: {op: relu}}",
    "outputs": "outputs: {y: {loss: mse}}",
}
"""The other sections of a file, by their keys."""
OTHERS = {
    "nodes": {"outputs": "outputs: [a]"},
    "edges": {"nodes": "nodes: {a: {layer: Dense, units: 8}, b: {merge: add}}", "outputs": "outputs: [b]"},
    "shared": {"nodes": "nodes: {y: {call: encoder}}", "inputs": "inputs: {x: {shape: [5, 8]}}"},
    "blocks": {"nodes": "nodes: {y: {block: mlp, n: 8}}"},
    "tune": {"data": "data: {train: a.csv, validation: {split: 0.1}}"},
}
"""Those that the example of a key needs."""


UNUSED = ("unreachable-node", "unused-block", "unused-input", "unused-param", "unused-shared")
"""Codes of what is there for the example of another key."""


def spec_of(cls: type[BaseModel], key: str) -> str:
    example = example_of(cls, key)
    if cls is Spec:
        return "\n".join({**FILE, **OTHERS.get(key, {}), key: example}.values()) + "\n"
    text = AROUND[cls]
    if key == "average_of":  # an entry of `shared`, where all others are nodes
        text = text.replace("  tested: EXAMPLE\n", "").replace("shared: {", "shared: {tested: EXAMPLE, ")
    text = text.replace("EXAMPLE", example)
    use = "{block: b, n: 4}" if "n: required" in example else "{block: b}"
    return text.replace("ABOVE", "steps" if "LSTM" in example else "left").replace("USE", use)


@pytest.mark.parametrize("cls", [Spec, Input, Block, Node, Output])
def test_every_key_of_the_structure_has_an_example_that_check_accepts(
    cls: type[BaseModel], tmp_path: Path
) -> None:
    (tmp_path / "encoder.yaml").write_text(ENCODER)
    presets = "params: {width: 8}\npresets: {small: {width: 4}}\n"
    (tmp_path / "resnet.yaml").write_text(presets + ENCODER)
    (tmp_path / "spec.yaml").touch()
    for key, _ in keys_of(cls):
        assert re.search(rf"\b{key}: ", example_of(cls, key)), key
        text, found = spec_of(cls, key), Diagnostics()
        (tmp_path / "spec.yaml").write_text(text)
        check(tmp_path / "spec.yaml", found, {})
        errors = [each.message for each in found if each.severity == "error" and each.code not in UNUSED]
        assert errors == [], text

"""The JSON Schema of editors: it refuses nothing that `check` accepts, and says what each thing is."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from functools import reduce
from operator import getitem
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from pydantic import BaseModel
from typer.testing import CliRunner

from graphspec.cli.app import app
from graphspec.compiler import check
from graphspec.contract import REGISTRY
from graphspec.contract.registry import Kind
from graphspec.data.config import DataConfig
from graphspec.diagnostics import Diagnostics
from graphspec.language.schema import Block, Input, Output, Spec
from graphspec.reference.json_schema import json_schema
from graphspec.reference.layers import START
from graphspec.source import read
from graphspec.train.config import TrainConfig
from graphspec.tune.config import TuneConfig
from tests import ROOT, bundled
from tests.layers.examples import examples_of
from tests.project.test_readme import PAGES, quotes

SPECS = sorted(ROOT.glob("specs/*.yaml"))
BAD = sorted(ROOT.glob("tests/bad/*.yaml"))
FILES = sorted({*ROOT.glob("tests/*/**/*.yaml")} - {*ROOT.glob("tests/bad/**/*.yaml")})
BLOCKS = [
    quote
    for page in PAGES
    for quote in quotes(page)
    if quote.language == "yaml" and quote.note != "part.yaml"
]
SPEC = "inputs:\n  x: {shape: [8, 8, 3]}\nnodes:\n  a: NODE\noutputs:\n  a: {loss: mse}\n"


def value(text: str) -> Any:
    document = read(text, "spec.yaml", Diagnostics())
    assert document is not None
    return document.value


def errors(spec: Any) -> list[str]:
    """What the schema finds wrong, one line for each error. Where a key has a wrong value, its neighbours
    count as unknown by the letter of the standard; no editor says so.
    """
    validator = Draft202012Validator(json_schema())
    found = [f"{error.json_path}: {error.message[:200]}" for error in validator.iter_errors(spec)]
    return [line for line in found if "Unevaluated" not in line] or found


def accepted(path: Path) -> bool:
    diagnostics = Diagnostics()
    check(path, diagnostics, {})
    return not diagnostics.errors


def test_it_is_a_schema() -> None:
    """With one in sixteen of its definitions; `make parity` looks at all."""
    schema = json_schema()
    some = dict(list(schema["$defs"].items())[::16])
    Draft202012Validator.check_schema({**schema, "$defs": some})


@pytest.mark.parity
def test_the_whole_is_a_schema() -> None:
    Draft202012Validator.check_schema(json_schema())


def test_it_is_small() -> None:
    result = CliRunner().invoke(app, ["schema"])
    assert json.loads(result.stdout) == json_schema()
    assert len(result.stdout.encode()) <= 252 * 1024


NAMED = frozenset(
    ["inputs", "params", "presets", "blocks", "shared", "nodes", "outputs", "features", "search"]
)
"""Where a spec has names of its own."""


def words_of_nodes() -> frozenset[str]:
    """The keys of nodes, but for the arguments of layers."""
    node = json_schema()["$defs"]["node"]
    return frozenset({"wraps"} | {key for _, each in walk(node) for key in each.get("properties", {})})


def key_paths(part: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The paths of keys in a spec, with `*` for a name of its own. A node in a block is as any other."""
    if isinstance(part, list):
        for each in part:
            yield from key_paths(each, path)
    elif path[-2:] in (("nodes", "*"), ("shared", "*")) and isinstance(part, dict):
        yield from (("nodes", "*", key) for key in words_of_nodes() & part.keys())
    elif isinstance(part, dict) and path[-2:] not in (("params", "*"), ("presets", "*")):
        for key, each in part.items():
            inner = (*path, "*" if path[-1:] and path[-1] in NAMED else key)
            yield inner
            yield from key_paths(each, inner)


@pytest.mark.parity
def test_it_accepts_every_key_that_check_accepts() -> None:
    """In the smallest specs that have one; `make parity` looks at all."""
    pages = {f"{quote.page}:{quote.line}": quote.text for quote in BLOCKS}
    files = {str(path): path.read_text(encoding="utf-8") for path in (*SPECS, *FILES)}
    met: set[tuple[str, ...]] = set()
    for name, text in sorted({**pages, **files}.items(), key=lambda case: len(case[1])):
        spec = value(text)
        paths = set(key_paths(spec))
        if paths <= met:
            continue
        if (found := errors(spec)) == []:
            met |= paths
        assert found == [] or (name in files and not accepted(Path(name))), name
    assert len(met) > 170


@pytest.mark.parity
@bundled(16, "path", [*SPECS, *FILES], ids=lambda path: str(path.relative_to(ROOT)))
def test_it_accepts_what_check_accepts(path: Path) -> None:
    found = errors(value(path.read_text(encoding="utf-8")))
    assert found == [] or not accepted(path)


@pytest.mark.parity
@bundled(16, "quote", BLOCKS, ids=lambda quote: f"{quote.page}:{quote.line}")
def test_it_accepts_the_documentation(quote: Any) -> None:
    assert errors(value(quote.text)) == []


def test_it_accepts_the_first_spec() -> None:
    assert errors(value(START)) == []


def plain(value: Any) -> Any:
    return [plain(item) for item in value] if isinstance(value, list | tuple) else value


def nodes_of(kind: Kind, name: str) -> list[dict[str, Any]]:
    """The examples of a layer as nodes; of those that differ in numbers alone the last. Those with the most
    arguments come first.
    """
    nodes: dict[str, dict[str, Any]] = {}
    for example in examples_of(REGISTRY[kind][name]):
        plainly = {
            key: value if isinstance(value, str | dict) else type(value)
            for key, value in example.arguments.items()
        }
        arguments = {key: plain(each) for key, each in example.arguments.items()}
        nodes[str(plainly)] = {kind: name, **arguments, "from": "x"}
    return sorted(nodes.values(), key=len, reverse=True)


@pytest.mark.parametrize("most", [1, pytest.param(99, marks=pytest.mark.parity)])
@pytest.mark.parametrize("kind", ["layer", "merge", pytest.param("op", marks=pytest.mark.parity)])
def test_it_accepts_examples_of_every_layer(kind: Kind, most: int) -> None:
    """The names of the nodes begin with that of their layer."""
    nodes = {
        f"{name}_{number}": node
        for name in REGISTRY[kind]
        for number, node in enumerate(nodes_of(kind, name)[:most])
    }
    assert errors({"inputs": {"x": {"shape": [4]}}, "nodes": nodes, "outputs": ["n"]}) == []


@pytest.mark.parametrize(
    ("node", "count"),
    [
        ("{layer: Conv3, filters: 3, kernel_size: 3}", 1),
        ("{layer: Conv2D, kernel_size: 3}", 1),
        ("{layer: Conv2D, filters: x, kernel_size: 3}", 1),
        ("{layer: Conv2D, filters: 3, kernel_size: 3, paddin: same}", 1),
        ("{op: tak, axis: 1}", 1),
        ("{lay: Dense, units: 3}", 1),
        ("{layer: Dense, units: 3, op: take}", 1),
        ("{layer: Dense, units: $width, activation: $(a if b else c)}", 0),
        ("{layer: $kind, units: 3}", 0),
        ("{layer: Dense, repeat: {units: [1, 2]}}", 0),
    ],
)
def test_a_mistake_is_one_error(node: str, count: int) -> None:
    assert len(errors(value(SPEC.replace("NODE", node)))) == count


@pytest.mark.parametrize(
    ("section", "wrong", "right"),
    [
        ("train", "{epochs: 0}", "{epochs: 1}"),
        ("train", "{epochs: ten}", "{epochs: 1e1}"),
        (
            "train",
            "{optimizer: {name: adam, learning_rate: -1}}",
            "{optimizer: {name: adam, learning_rate: 1}}",
        ),
        (
            "train",
            "{callbacks: {early_stopping: {patience: -1}}}",
            "{callbacks: {early_stopping: {patience: 0}}}",
        ),
        ("train", "{phases: [{epochs: 1, freeze: null}]}", "{phases: [{epochs: 1, schedule: null}]}"),
        ("train", "{steps: [{optimizer: null}]}", "{steps: [{schedule: null}]}"),
        ("data", "{train: a.csv, validation: {split: 20}}", "{train: a.csv, validation: {split: 0.2}}"),
        ("data", "{train: a.csv, test: {split: 0.2}}", "{train: a.csv, test: b.csv}"),
        ("inputs", "{x: {shape: [8], dtype: float}}", "{x: {shape: [8], dtype: float32}}"),
        ("inputs", "{x: {shape: [8], data_format: NCHW}}", "{x: {shape: [8], data_format: channels_first}}"),
    ],
)
def test_a_value_out_of_its_range_is_flagged(section: str, wrong: str, right: str) -> None:
    spec = value(SPEC.replace("NODE", "{layer: Flatten}"))
    for text, count in ((right, 0), (wrong, 1)):
        assert len(errors({**spec, section: value(f"{section}: {text}")[section]})) == count, text


SECTIONS = """\
inputs:
  x: {shape: [8]}
nodes:
  a: {layer: Dense, units: 3}
outputs:
  a: {loss: mse}
train: {epochs: 1}
data: {train: a.csv}
tune: {objective: loss, search: {train.epochs: {int: [1, 2]}}}
"""
BLOCK = "blocks:\n  b: {inputs: [x], nodes: {y: {layer: Dense, units: 3}}}\n"
KEYS: dict[tuple[str, ...], type[BaseModel]] = {
    (): Spec,
    ("inputs", "x"): Input,
    ("outputs", "a"): Output,
    ("blocks", "b"): Block,
    ("train",): TrainConfig,
    ("data",): DataConfig,
    ("tune",): TuneConfig,
}
"""Where the keys of a section are in these specs."""


@pytest.mark.parametrize("path", KEYS, ids=".".join)
def test_null_is_right_where_check_takes_it(path: tuple[str, ...], tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("x,a\n1,2\n", encoding="utf-8")
    file = tmp_path / "spec.yaml"
    inside = BLOCK + SECTIONS.replace("layer: Dense, units: 3", "block: b")
    for name, field in KEYS[path].model_fields.items():
        spec = value(inside if "blocks" in path else SECTIONS)
        reduce(getitem, path, spec)[field.alias or name] = None
        file.write_text(json.dumps(spec), encoding="utf-8")
        assert (errors(spec) == []) == accepted(file), (path, name)


@pytest.mark.parity
def test_it_refuses_what_a_file_alone_can_tell() -> None:
    """Of the wrong specs, those whose mistake is a word, a type or a key that is missing."""
    documents = {path.name: read(path.read_text(encoding="utf-8"), "", Diagnostics()) for path in BAD}
    accepted = {name for name, each in documents.items() if each is not None and errors(each.value) == []}
    assert len({name for name, each in documents.items() if each is not None} - accepted) > 50
    families = ("unknown-layer", "unknown-loss", "unknown-metric", "unknown-optimizer", "unknown-key-top")
    assert [name for name in sorted(accepted) if name.startswith(families)] == []


@pytest.mark.parametrize(
    "loss", ["mse", "MSE", "mean_squared_error", "{name: huber, delta: 2}", "{module: a.B, x: 1}"]
)
def test_every_form_of_a_loss_is_right(loss: str) -> None:
    spec = value(SPEC.replace("NODE", "{layer: Flatten}").replace("loss: mse", f"loss: {loss}"))
    assert errors(spec) == []
    wrong = value(
        SPEC.replace("NODE", "{layer: Flatten}").replace("loss: mse", "loss: {name: huber, delt: 2}")
    )
    assert len(errors(wrong)) == 1


# --- meanings


def walk(schema: Any, path: str = "") -> Iterator[tuple[str, Mapping[str, Any]]]:
    if isinstance(schema, dict):
        yield path, schema
        for key, each in schema.items():
            yield from walk(each, f"{path}/{key}")
    elif isinstance(schema, list):
        for number, each in enumerate(schema):
            yield from walk(each, f"{path}/{number}")


def resolved(schema: Mapping[str, Any]) -> Mapping[str, Any]:
    """The schema with what it refers to; its own words first."""
    while "$ref" in schema:
        name = schema["$ref"].removeprefix("#/$defs/")
        schema = {
            **json_schema()["$defs"][name],
            **{key: each for key, each in schema.items() if key != "$ref"},
        }
    return schema


def test_every_key_has_a_description() -> None:
    bare = {
        f"{path}/{key}"
        for path, schema in walk(json_schema())
        for key, each in schema.get("properties", {}).items()
        if "/if" not in path and isinstance(each, dict) and not resolved(each).get("description")
    }
    assert bare == set()


def test_no_description_is_cut_off() -> None:
    found = (each.get("description") for _, each in walk(json_schema()))
    every = {each for each in found if isinstance(each, str)}
    whole = re.compile(r"[^()…]*(\([^()]*\)[^()…]*)*")
    assert (
        len(every) > 500 and [text for text in every if not whole.fullmatch(text) and "`" not in text] == []
    )
    assert not any("…" in text or text.endswith((",", " of", " the", " a")) for text in every)


def names_of(definition: str) -> list[str]:
    """The names that one of the definitions offers; those with the same description share an entry."""
    every = [resolved(option) for option in json_schema()["$defs"][definition]["anyOf"]]
    options = [option for option in every if "const" in option or "enum" in option]
    assert all(option["description"] for option in options)
    return [name for option in options for name in option.get("enum", [option.get("const")])]


def test_every_name_has_a_description_and_stands_once() -> None:
    for kind in ("layers", "merges", "ops", "losses", "metrics", "optimizers", "schedules"):
        names = names_of(kind)
        assert len(names) == len(set(names)) > 2
    losses = names_of("losses")
    assert "mean_squared_error" in losses and not {"mse", "MSE"} & set(losses)
    for kind in REGISTRY:
        assert set(names_of(f"{kind}s")) == set(REGISTRY[kind])


def test_new_writes_the_schema_and_names_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert CliRunner().invoke(app, ["new", "first"]).exit_code == 0
    first, _ = Path("first.yaml").read_text().split("\n", 1)
    assert first == "# yaml-language-server: $schema=graphspec.schema.json"
    assert json.loads(Path("graphspec.schema.json").read_text()) == json_schema()
    assert CliRunner().invoke(app, ["check", "first.yaml"]).exit_code == 0
    assert CliRunner().invoke(app, ["schema", "-o", "a.json"]).stdout == "wrote a.json\n"
    assert Path("a.json").read_bytes() == Path("graphspec.schema.json").read_bytes()

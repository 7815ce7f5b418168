"""Random graphs compile to modules of the inferred shapes; random damage ends in a diagnostic."""

from __future__ import annotations

import copy
import random
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from hypothesis import given, note, reject
from hypothesis import strategies as st

import graphspec
from graphspec.compiler import check
from graphspec.contract import REGISTRY
from graphspec.contract.layer import Layer, LayerError
from graphspec.contract.wrapper import Wrapper
from graphspec.diagnostics import Diagnostics, SpecError, render
from graphspec.program import Program
from graphspec.settings import validate
from graphspec.tensor import BATCH, Tensor, symbol, value_of
from tests import ROOT, bundled
from tests.layers.examples import examples_of
from tests.random_specs import WITH_ARGUMENTS

SPECS = sorted((ROOT / "specs").glob("*.yaml"))
SECONDS = 2.0  # of processor time, for any text of up to a mebibyte

# --- random graphs

SHAPES: tuple[tuple[tuple[int | str, ...], str], ...] = (
    ((7,), "float32"),
    ((6, 4), "float32"),
    (("length", 4), "float32"),
    ((8, 8, 3), "float32"),
    ((5,), "int64"),
    (("length",), "int64"),
)
UNARY = [
    (kind, name, dict(example.arguments))
    for kind in ("layer", "op")
    for name, cls in REGISTRY[kind].items()
    if not issubclass(cls, Wrapper) and not cls.variadic
    for example in examples_of(cls)
    if len(example.shapes) == 1 and not example.call
]
MERGES = [(name, dict(e.arguments)) for name, cls in REGISTRY["merge"].items() for e in examples_of(cls)]


def plain(value: Any) -> Any:
    """Arguments as YAML has them."""
    if isinstance(value, tuple | list):
        return [plain(item) for item in value]
    return {key: plain(item) for key, item in value.items()} if isinstance(value, dict) else value


def infer(kind: Any, name: str, arguments: dict[str, Any], *inputs: Tensor) -> Tensor | None:
    """What a layer makes of its inputs; None where they do not fit it."""
    cls: type[Layer] = REGISTRY[kind][name]
    required = sum(argument.required for argument in cls.arguments)
    if not cls.variadic and required > len(inputs):
        return None
    padding = () if cls.variadic else (None,) * (len(cls.arguments) - len(inputs))
    try:
        output = validate(cls, plain(arguments), name).infer(*inputs, *padding)
    except LayerError:
        return None
    first = output[0] if isinstance(output, tuple) else output
    small = all(value_of(size, {"length": 40, BATCH: 2}) <= 5_000 for size in first.shape)
    return first if small and first.dtype != "bool" else None


class Writer:
    """Writes a random spec that is legal by construction, with the shape of every node beside it."""

    def __init__(self, seed: int):
        self.random = random.Random(seed)
        self.spec: dict[str, Any] = {"inputs": {}, "nodes": {}, "outputs": {}}
        self.values: dict[str, Tensor] = {}

    def write(self) -> dict[str, Any]:
        draw = self.random
        for number, (shape, dtype) in enumerate(draw.sample(SHAPES, draw.randint(1, 3))):
            name = f"in{number}"
            self.spec["inputs"][name] = {"shape": list(shape), "dtype": dtype}
            sizes = (symbol(size) if isinstance(size, str) else size for size in shape)
            self.values[name] = Tensor((symbol(BATCH), *sizes), dtype)
        self.default()
        for _ in range(draw.randint(1, 9)):
            draw.choice(
                (self.layer, self.layer, self.layer, self.merge, self.repeat, self.block, self.shared)
            )()
        for name in self.spec["inputs"]:  # every input is read, and every node is an output
            self.spec["nodes"][f"read_{name}"] = {"merge": "add", "from": [name, name]}
            self.values[f"read_{name}"] = self.values[name]
        self.spec["outputs"] = {name: {} for name in self.spec["nodes"]}
        return self.spec

    def default(self) -> None:
        """Lets the last input be left out, where another one tells its sizes."""
        *others, last = self.spec["inputs"].values()
        told = {size for other in others for size in other["shape"]}
        if others and all(isinstance(size, int) or size in told for size in last["shape"]):
            last.update(self.random.choice(({}, {"default": 0})))

    def activated(self, kind: Any, name: str, arguments: dict[str, Any]) -> dict[str, Any]:
        """The same arguments, or with an activation that has arguments of its own."""
        words = [word for word in REGISTRY[kind][name].model_fields if word.endswith("activation")]
        if not words or self.random.random() < 0.7:
            return arguments
        return {**arguments, self.random.choice(words): dict(self.random.choice(WITH_ARGUMENTS))}

    def fitting(self) -> Iterator[tuple[str, str, dict[str, Any], str, Tensor]]:
        """Layers with a value that they take and what they make of it, in random order."""
        for kind, name, arguments in self.random.sample(UNARY, len(UNARY)):
            source = self.random.choice(list(self.values))
            computed = self.values[source].is_integer and not source.startswith("in")
            if self.values[source].is_integer and (kind == "op" or computed):
                continue  # a computed integer may be no index of an embedding, and a divisor of zero
            arguments = self.activated(kind, name, arguments)
            output = infer(kind, name, arguments, self.values[source])
            if output is not None:
                yield kind, name, plain(arguments), source, output

    def node(self, node: dict[str, Any], output: Tensor) -> None:
        name = f"n{len(self.spec['nodes'])}"
        self.spec["nodes"][name] = node
        self.values[name] = output

    def layer(self) -> None:
        for kind, name, arguments, source, output in self.fitting():
            self.node({kind: name, **arguments, "from": source}, output)
            return

    def repeat(self) -> None:
        for kind, name, arguments, source, _ in self.fitting():
            times, value = self.random.randint(0, 3), self.values[source]
            outputs = [value]
            for _ in range(times):
                made = infer(kind, name, arguments, outputs[-1])
                if made is None:
                    break
                outputs.append(made)
            if kind == "layer" and len(outputs) == times + 1:
                self.node({kind: name, **arguments, "from": source, "repeat": times}, outputs[-1])
                return

    def shared(self) -> None:
        for kind, name, arguments, source, output in self.fitting():
            if kind == "layer":
                entries = self.spec.setdefault("shared", {})
                key = f"s{len(entries)}"
                entries[key] = {kind: name, **arguments}
                for _ in range(2):
                    self.node({"call": key, "from": source}, output)
                return

    def merge(self) -> None:
        name, arguments = self.random.choice(MERGES)
        sources = [self.random.choice(list(self.values)) for _ in range(self.random.randint(2, 4))]
        output = infer("merge", name, arguments, *(self.values[source] for source in sources))
        if output is not None:
            self.node({"merge": name, **plain(arguments), "from": sources}, output)

    def block(self) -> None:
        """A block of two layers, the second of which may be left out."""
        chosen = next(self.fitting(), None)
        if chosen is None:
            return
        kind, name, arguments, source, output = chosen
        blocks = self.spec.setdefault("blocks", {})
        key = f"b{len(blocks)}"
        blocks[key] = {
            "params": {"deep": False},
            "inputs": ["x"],
            "nodes": {
                "first": {kind: name, **arguments},
                "second": {"merge": "add", "from": ["first", "first"], "when": "$deep"},
            },
        }
        for deep in (True, False):
            self.node({"block": key, "from": source, "deep": deep}, output)


def compiled(text: str) -> Program:
    """The program of a spec. It passes over those with carried masks that do not fit."""
    try:
        return graphspec.compile(text)
    except SpecError as error:
        if all("the mask that its input carries" in found.message for found in error.diagnostics):
            reject()
        raise


@given(st.integers(0, 2**32))
def test_random_graphs_compile(seed: int) -> None:
    writer = Writer(seed)
    text = yaml.safe_dump(writer.write(), sort_keys=False)
    note(text)
    program = compiled(text)
    for name, result in program.outputs.items():
        assert result.tensors == (writer.values[name],)


@given(st.integers(0, 2**32))
def test_inferred_shapes_are_the_real_ones(seed: int) -> None:
    import torch

    writer = Writer(seed)
    text = yaml.safe_dump(writer.write(), sort_keys=False)
    note(text)
    program = compiled(text)
    module = program.module().eval()
    most = program.maximum_sizes
    sizes = {name: min(least + 8, most.get(name, least + 8)) for name, least in program.minimum_sizes.items()}
    with torch.no_grad():
        inputs = program.example_inputs(batch_size=3, sizes=sizes)
        given = {name: value for name, value in inputs.items() if name not in program.defaults}
        try:
            both = [module(**inputs), module(**given)]
        except torch.linalg.LinAlgError:  # of numbers that are not finite, or of a singular matrix
            reject()
    for found in both:
        outputs = found if isinstance(found, dict) else dict.fromkeys(program.outputs, found)
        for name, result in program.outputs.items():
            (tensor,) = result.tensors
            expected = tuple(value_of(size, {**sizes, BATCH: 3}) for size in tensor.shape)
            kind = str(outputs[name].dtype)
            assert (tuple(outputs[name].shape), kind) == (expected, f"torch.{tensor.dtype}")


# --- random damage

BASE = """
name: base
params: {width: 8, depth: 2, deep: true, widths: [4, 8]}
presets: {wide: {width: 16}}
inputs:
  image: {shape: [16, 16, 3]}
  text: {shape: [length], dtype: int64}
  start: {shape: [$width], default: 0}
blocks:
  residual:
    params: {filters: required, project: $(channels(x) != filters)}
    inputs: [x]
    shared: {core: {layer: Conv2D, filters: $filters, kernel_size: 1}}
    nodes:
      conv: {layer: Conv2D, from: x, filters: $filters, kernel_size: 3, padding: same}
      twice: {call: core}
      shortcut: {layer: Conv2D, from: x, filters: $filters, kernel_size: 1, when: $project}
      sum: {merge: add, from: [twice, shortcut]}
    outputs: {x: sum, skip: conv}
shared:
  head: {layer: Dense, units: $width, trainable: false, activation: {name: gelu, approximate: $deep}}
nodes:
  tower: {block: residual, from: image, repeat: {filters: $widths}}
  flat: {layer: GlobalAveragePooling2D}
  skips: {merge: concatenate, from: tower.*.skip}
  pooled: {layer: GlobalAveragePooling2D}
  vectors: {layer: Embedding, from: text, input_dim: 100, output_dim: 8}
  code:
    layer: LSTM
    units: $width
    return_state: true
    recurrent_activation: {name: relu, max_value: 1, negative_slope: 0.1}
    from: {sequences: vectors, initial_state: [start, start]}
  both: {layer: Bidirectional, from: vectors, wraps: {layer: LSTM, units: 3}}
  experts: {layer: Dense, units: $(index + 3), parallel: $depth, from: flat}
  bias: {parameter: [8], initializer: zeros}
  h: {call: head, from: flat}
  s: {merge: add, from: [h, bias, code.state_h]}
  extra: {layer: Dropout, rate: 0.5, when: $deep, else: s}
  all: {merge: concatenate, from: [extra, experts.0, experts.1, pooled, both]}
  probs: {layer: Dense, units: 4, activation: softmax}
outputs:
  probs: {loss: sparse_categorical_crossentropy, metrics: [accuracy]}
train: {optimizer: {name: adam, learning_rate: 1e-3}, epochs: 3}
"""
EDGES = """
inputs: {x: {shape: [4]}}
nodes:
  a: {layer: Dense, units: 8}
  b: {layer: Dense, units: 8}
  both: {merge: add}
edges:
  - x -> a -> both
  - x -> b -> both
outputs: [both]
"""
WORDS = """
params: {depth: 2, scale: 0.5, heads: 2, mix: [0.2, 0.3, 0.5]}
inputs:
  image: {shape: [$(2 ** depth) * height, width * 4, 3]}
  words: {shape: [length], dtype: int64}
  lengths: {shape: [], dtype: int64}
nodes:
  half: {layer: MaxPooling2D, from: image, pool_size: 2, repeat: $depth}
  grown: {layer: UpSampling2D, size: 4}
  both: {compute: "$scale * image + grown ** 2 - sum(square(grown[:, ::-1]), axis=-1, keepdims=true) * $mix"}
  prior: {constant: [[0.2, 0.7, 0.1]], dtype: float32}
  grid: {op: linspace, start: 0, stop: 1, num: 3}
  mixed: {compute: "where((both > 0.5) & ~(grid[:, None] < 1), both / sqrt($(heads * 8)), prior[:, None])"}
  scaled: {op: multiply, from: mixed, x2: [1, 2, 3.5]}
  rows: {layer: Reshape, target_shape: [height, 4, width, -1]}
  places: {op: arange, from: words, axis: 1}
  where: {layer: Embedding, input_dim: 64, output_dim: 8}
  kept: {op: sequence_mask, from: lengths, like: words}
  parts: {op: split, from: where, indices_or_sections: 2, axis: -1}
  code:
    compute: >
      concatenate([parts.part0, parts.part1 @ [[1, 0], [0, 1], [1, 1], [0, 2]]], axis=-1)
      * cast(kept, like=where)[..., None]
outputs: [rows, code]
"""
TEXTS = [BASE, EDGES, WORDS, *(text for text in map(Path.read_text, SPECS) if "model:" not in text)]
"""Specs that need no other file."""

ODD: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 10**17, 10**30, 2.5, 1e308, float("inf"), float("nan"), "", "x",
    "a.b.c", "*",
    "tower.*", "tower.-1", "tower.99999999999", "..", "a.", ".a", "$width", "$", "$$", "${width}",
    "$(", "$(1 / 0)",
    "$(widths[9])", "$(9 ** 9 ** 9)", "$(x.y)", "$index", "$(channels(x))", "$('a' + 1)",
    "required", "null",
    "batch", "index", "logits", "class", "__class__", "\u202e", "é", "a" * 500, [], {}, [[]],
    [None], [1, [2]],
    ["x", "x"], {"x": "x"}, {"name": "adam"}, {"layer": "Dense"}, {"layer": "LSTM", "units": 3},
    {"": 1}, [{}],
    "x -> y", "-> a", "a ->", "probs", "Dense", "Conv2D", "LSTM", "Bidirectional", "add", "model.yaml",
    "16 * height", "height // 2", "0 * n", "x + y", "2 * x", "exp(x", "sum(x, axis=-1)", "x.__class__",
    "__import__('os')", "x[:, 0]", "[1, 2] * x", [1.5, 2], [[1], [2, 3]], [True, 1],
    "../../etc/passwd", "/etc/passwd", ".", "\0", "same", "softmax", "mse",
)  # fmt: skip
KEYS = (
    "from", "when", "else", "repeat", "parallel", "layer", "merge", "block", "model", "call", "op",
    "parameter", "constant", "compute", "like",
    "wraps", "trainable", "weights", "preset", "units", "filters", "inputs", "outputs", "nodes",
    "shared", "edges",
    "params", "blocks", "loss", "metrics", "loss_weight", "target", "shape", "dtype",
    "data_format", "initializer",
    "x", "index", "", "a b", "1", "name", "train", "data", "tune", "axis",
)  # fmt: skip
SNIPPETS = (
    *"{}[]:,&*!|>%@`'\"#-?$() \n\t\\~=<",
    ": ", "- ", "\n  ", "$(", "${", "<<: ", "&a ", "*a ", "!!int ", "---\n", "...\n", "\r\n",
    "\u200b", "\ud800", "{{",
    "0o9", "1e999", "? ", "'", '"', "null", "~", "\x07",
)  # fmt: skip


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The paths of all values inside of a value."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        yield (*path, key)
        yield from places(item, (*path, key))


def at(value: Any, path: tuple[Any, ...]) -> Any:
    for key in path:
        value = value[key]
    return value


def damage(spec: Any, draw: random.Random) -> None:
    """One random change of a document's values or keys, in place."""
    paths = list(places(spec))
    if not paths:
        return
    path = draw.choice(paths)
    parent, key = at(spec, path[:-1]), path[-1]
    how = draw.randrange(7)
    if how == 0:
        del parent[key]
    elif how <= 2:
        parent[key] = copy.deepcopy(draw.choice(ODD))
    elif how == 3:
        parent[key] = copy.deepcopy(at(spec, draw.choice(paths)))
    elif how == 4 and isinstance(parent, dict):
        parent[draw.choice(KEYS)] = copy.deepcopy(draw.choice((*ODD, parent[key])))
    elif how == 5 and isinstance(parent, dict):
        renamed = draw.choice((*KEYS, str(key)[:-1], f"{key}s"))
        items = [(renamed if k == key else k, v) for k, v in parent.items()]
        parent.clear()
        parent.update(items)
    elif isinstance(parent, list):
        parent.insert(draw.randint(0, len(parent)), copy.deepcopy(draw.choice(ODD)))
    else:
        other = draw.choice(paths)
        at(spec, other[:-1])[other[-1]], parent[key] = parent[key], copy.deepcopy(at(spec, other))


def expect_diagnostics(text: str) -> None:
    """What any text must end in: a program, or coded diagnostics that have a place, soon."""
    note(text)
    diagnostics, sources = Diagnostics(), dict[str, str]()
    start = time.process_time()
    program = check(text + "\n", diagnostics, sources)
    assert time.process_time() - start < SECONDS
    assert (program is None) == diagnostics.errors
    lines = (text + "\n").splitlines(keepends=True)
    for diagnostic in diagnostics.sorted():
        shown = render(diagnostic, sources)
        assert diagnostic.span is not None, shown
        assert 1 <= diagnostic.span.line <= len(lines) + 1, shown
        for word in ("object at 0x", "MISSING", "PydanticUndefined", "graphspec.elaborate"):
            assert word not in shown


@given(st.integers(0, 2**32))
def test_damaged_values_end_in_diagnostics(seed: int) -> None:
    draw = random.Random(seed)
    spec = yaml.safe_load(draw.choice(TEXTS))
    for _ in range(draw.choice((1, 1, 1, 2, 4))):
        damage(spec, draw)
    try:
        text = yaml.safe_dump(spec, sort_keys=False, allow_unicode=True)
    except (yaml.YAMLError, RecursionError, ValueError):
        return
    expect_diagnostics(text)


@given(st.integers(0, 2**32))
def test_damaged_text_ends_in_diagnostics(seed: int) -> None:
    draw = random.Random(seed)
    text = draw.choice(TEXTS)
    for _ in range(draw.choice((1, 1, 2, 5))):
        start = draw.randrange(len(text) + 1)
        end = start + draw.choice((0, 0, 1, 2, 8, 40))
        insert = draw.choice((*SNIPPETS, "", text[start : start + draw.randrange(60)]))
        text = text[:start] + insert + text[end:]
    expect_diagnostics(text)


@bundled(16, "text", TEXTS, ids=lambda text: text.strip()[:20])
def test_the_bases_are_legal(text: str) -> None:
    found = Diagnostics()
    check(text, found, {})
    assert [diagnostic.message for diagnostic in found] == []

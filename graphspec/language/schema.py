"""The keys of a spec file, and the plain types of their values.

A value may still be `$name` or `$(...)`; `graphspec.declarations` reads a document by these classes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cached_property
from typing import Any, ClassVar

from pydantic import ConfigDict, Field

from graphspec.diagnostics import delete
from graphspec.settings import Setting

FORMS = ("layer", "merge", "block", "model", "call", "op", "compute", "parameter", "constant", "module")
NODE_KEYS = (
    *("from", "when", "else", "trainable", "weights", "checkpoint"),
    *("repeat", "parallel", "preset", "wraps"),
)
TYPE = ("shape", "dtype")
MADE = (*TYPE, "outputs")
"""What a node says of what its module gives; each call of a shared one may say its own."""
RESERVED = ("index", "logits", "batch")
IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z", re.ASCII)
NAMED_SIZE = re.compile(
    r"\s*(?:(?P<before>\d{1,9})\s*\*\s*)?(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?:\s*\*\s*(?P<behind>\d{1,9}))?\s*",
    re.ASCII,
)
"""A size with a name, and perhaps a factor: `length`, `16 * height`."""
MISSING: Any = object()  # distinguishes a key that is absent from one that is null

REPEATABLE = ("layer", "block", "model", "call", "module")
PLAIN = "a number, a text, a boolean, null or a list of them"


class Input(Setting):
    """A named input. `shape` leaves out the batch axis; its sizes are integers, names, or null. `default` is
    what fills it where it is not given.
    """

    synonyms: ClassVar[Mapping[str, str]] = {
        **dict.fromkeys(("size", "input_shape", "dim", "dims", "input_dim", "features", "input"), "shape"),
        "type": "dtype",
    }
    remedies: ClassVar[Mapping[str, str]] = {
        "batch_size": delete("shapes leave out the batch"),
        "name": "the key of an input is its name",
    }
    phrases: ClassVar[Mapping[str, str]] = {"shape": "shape: [64]"}

    shape: Any
    dtype: Any = "float32"
    data_format: Any = "channels_last"
    default: Any = MISSING
    when: Any = True


class Node(Setting):
    """A node, or an entry of `shared`. What is not a key of every node is an argument of its layer, block,
    model or op.
    """

    model_config = ConfigDict(extra="allow", populate_by_name=False)

    phrases: ClassVar[Mapping[str, str]] = {
        "layer": "layer: Dense, units: 32",
        "merge": "merge: add, from: [a, b]",
        "block": "block: name",
        "model": "model: other.yaml",
        "call": "call: name",
        "op": "op: relu",
        "module": "module: my_layers.Name",
    }

    layer: str = MISSING
    merge: str = MISSING
    block: str = MISSING
    model: str = MISSING
    call: str = MISSING
    op: str = MISSING
    compute: Any = MISSING
    parameter: Any = MISSING
    constant: Any = MISSING
    module: str = MISSING
    source: Any = Field(MISSING, alias="from")
    when: Any = True
    otherwise: Any = Field(MISSING, alias="else")
    trainable: Any = True
    weights: Any = None
    checkpoint: Any = False
    repeat: Any = MISSING
    parallel: Any = MISSING
    preset: Any = None
    wraps: Any = MISSING

    @cached_property
    def forms(self) -> list[str]:
        """The keys that say what it is; exactly one in a legal node."""
        return [form for form in FORMS if getattr(self, form) is not MISSING]

    @property
    def form(self) -> str:
        return self.forms[0]

    @property
    def target(self) -> Any:
        """What its form names: `Conv2D`, `residual`, `other.yaml`; a parameter's shape, a constant's
        values.
        """
        return getattr(self, self.form)

    @property
    def extra(self) -> dict[str, Any]:
        """The arguments that stand beside the node's own keys."""
        return self.model_extra or {}


class Output(Setting):
    """What one output is judged by. `from` is a reference, or a list of them."""

    synonyms: ClassVar[Mapping[str, str]] = {
        "weight": "loss_weight",
        "metric": "metrics",
        "label": "target",
        "source": "from",
        "node": "from",
        "weights": "sample_weight",
        "class_weights": "class_weight",
        "sample_weights": "sample_weight",
    }
    remedies: ClassVar[Mapping[str, str]] = {
        "optimizer": "it belongs to the training: train: {optimizer: adam}",
        "activation": "it belongs to the node of the output",
        "units": "it belongs to the node of the output",
        "layer": "a layer is a node, under `nodes`; an output names it",
        "shape": "the node of the output determines it",
        "name": "the key of an output is its name",
        "from_logits": "delete it, or write it beside the loss's name: loss: {name: ..., from_logits: true}",
        **{
            key: f"it belongs to the loss: loss: {{name: categorical_crossentropy, {key}: ...}}"
            for key in ("label_smoothing", "reduction")
        },
    }

    source: Any = Field(None, alias="from")
    loss: Any = None
    loss_weight: Any = None
    metrics: Any = None
    target: Any = None
    missing: Any = None
    class_weight: Any = None
    sample_weight: Any = None
    threshold: Any = None
    when: Any = True


class Block(Setting):
    """A sub-graph with parameters."""

    phrases: ClassVar[Mapping[str, str]] = {
        "inputs": "inputs: [x]",
        "params": "params: {units: required}",
        "nodes": "nodes: {hidden: {layer: Dense, units: 32}}",
    }
    synonyms: ClassVar[Mapping[str, str]] = {
        "layers": "nodes",
        "input": "inputs",
        "output": "outputs",
        "parameters": "params",
    }

    params: dict[str, Any] = {}
    inputs: Any
    shared: dict[str, Any] = {}
    nodes: dict[str, Any]
    edges: Any = None
    outputs: Any = None


class Spec(Setting):
    """A whole file. The sections stay plain here; `read_file` reads each, so that one mistake does
    not hide another.
    """

    synonyms: ClassVar[Mapping[str, str]] = {
        "layers": "nodes",
        "input": "inputs",
        "output": "outputs",
        "parameters": "params",
        "training": "train",
        "dataset": "data",
        "graph": "nodes",
        "modules": "blocks",
        "connections": "edges",
    }
    phrases: ClassVar[Mapping[str, str]] = {
        "inputs": "inputs: {x: {shape: [64]}}",
        "nodes": "nodes: {y: {layer: Dense, units: 10}}",
        "outputs": "outputs: {y: {loss: mse}}",
    }
    remedies: ClassVar[Mapping[str, str]] = {
        **{
            key: f"it belongs to the training: train: {{{key}: ...}}"
            for key in ("optimizer", "epochs", "batch_size", "seed", "schedule", "callbacks", "precision")
        },
        "learning_rate": "it belongs to the optimizer: train: {optimizer: {name: adam, learning_rate: ...}}",
        "lr": "it belongs to the optimizer: train: {optimizer: {name: adam, learning_rate: ...}}",
        "loss": "a loss belongs to its output: outputs: {name: {loss: ...}}",
        "metrics": "metrics belong to their output: outputs: {name: {metrics: [accuracy]}}",
        "compile": "losses and metrics belong to `outputs`, the optimizer to `train`",
        "fit": "it is called `train`: {epochs: 3, batch_size: 32}",
        "validation": "it belongs to the data: data: {validation: {split: 0.1}}",
        "features": "it belongs to the data: data: {features: {...}}",
        "device": "it belongs to the machine, not to the spec: `graphspec train --device cuda`",
        **dict.fromkeys(
            ("model", "network", "net", "architecture", "spec"),
            "`inputs`, `nodes` and `outputs` are top-level keys",
        ),
        "version": "delete it, or write it as a comment",
        "description": "write it as a comment: `# ...`",
    }

    name: Any = None
    params: Any = None
    presets: Any = None
    inputs: Any
    blocks: Any = None
    shared: Any = None
    nodes: Any
    edges: Any = None
    outputs: Any
    data: Any = None
    train: Any = None
    tune: Any = None


def is_plain(value: Any) -> bool:
    """Whether a param may have this value: no mapping is in it."""
    if isinstance(value, list):
        return all(map(is_plain, value))
    return value is None or isinstance(value, int | float | str)

"""The keys of a spec file, and the plain types of their values.

A value may still be `$name` or `$(...)`; `graphspec.declarations` reads a document by these classes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Any, ClassVar, Literal

from pydantic import ConfigDict, Field

from graphspec.diagnostics import Change, Remedy, become, delete
from graphspec.language.belonging import moved
from graphspec.language.row_settings import RowSettings
from graphspec.settings import Setting, Word, show
from graphspec.tensor import DTYPES

FORMS = (
    *(
        "layer",
        "merge",
        "block",
        "model",
        "call",
        "op",
        "compute",
        "parameter",
        "constant",
        "state",
        "module",
    ),
    "average_of",
)
TYPE = ("shape", "dtype")
MADE = (*TYPE, "outputs")
"""The keys that describe the result of a node's module; each call of a shared one may have its own."""
KINDS_OF_INPUTS = (
    "image",
    "images",
    "tensor",
    "text",
    "sequence",
    "numeric",
    "number",
    "numerical",
    "vector",
    "tabular",
)
"""Keys that other formats have at an input beside its shape."""
RESERVED = ("index", "logits", "batch")
IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z", re.ASCII)
NAMED_SIZE = re.compile(
    r"\s*(?:(?P<before>\d{1,9})\s*\*\s*)?(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?:\s*\*\s*(?P<behind>\d{1,9}))?\s*",
    re.ASCII,
)
"""A size with a name, and perhaps a factor: `length`, `16 * height`."""
MISSING: Any = object()  # distinguishes a key that is absent from one that is null

DRAWN = ("random_normal", "random_uniform")
"""Defaults of inputs that are drawn at each call."""
REPEATABLE = ("layer", "block", "model", "call", "module")
PLAIN = "a number, a string, a boolean, null or a list of them"


@dataclass(frozen=True, slots=True)
class Later:
    """The values of a key that is read after its expressions: of a Python type, or one of the things that the
    language calls `kind` (node, loss, reference); `named`, a mapping with one for each name.
    """

    type: Any = None
    kind: str = ""
    named: bool = False


Flag = Annotated[Any, Later(bool)]
References = Annotated[Any, Later(kind="reference")]
Count = Annotated[Any, Later(Annotated[int, Field(ge=0)] | dict[str, Any])]
Values = Annotated[Any, Later(dict[str, Any])]
Nodes = Annotated[Any, Later(kind="node", named=True)]
Edges = Annotated[Any, Later(list[Annotated[str, Field(pattern="->")]])]


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
        **dict.fromkeys(
            ("feature", "encode", "column", "columns"),
            "`data` says how a column becomes an input: data: {features: {NAME: {encode: ...}}}",
        ),
    }
    phrases: ClassVar[Mapping[str, str]] = {"shape": "shape: [64]"}

    @classmethod
    def meaning(cls, key: str, beside: dict[str, Any]) -> str | None:
        if key in ("type", "kind") and beside[key] in KINDS_OF_INPUTS:
            rest = {name: item for name, item in beside.items() if name != key}
            return become(rest, "delete it: the shape and the dtype say what an input is", around=True)
        return None

    shape: Annotated[Any, Later(list[int | str | None])]
    """Sizes without the batch: integers, names for dynamic sizes, null for any size.

    Example: {shape: [28, 28, 1]}
    """
    dtype: Annotated[Any, Later(Literal[DTYPES])] = "float32"
    """Data type of the elements; by default float32.

    Example: {shape: [16], dtype: int32}
    """
    data_format: Annotated[Any, Later(Literal["channels_last", "channels_first"])] = "channels_last"
    """`channels_last`, or `channels_first` for images as PyTorch has them.

    Example: {shape: [3, 32, 32], data_format: channels_first}
    """
    default: Annotated[Any, Later(float | bool | Literal[DRAWN])] = MISSING
    """Number that replaces the input if it is not given; or random_normal, random_uniform.

    Example: {shape: [8], default: random_normal}
    """
    when: Flag = True
    """If false, the input is left out.

    Example: {shape: [8], when: $extra}
    """


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
        "average_of": "average_of: name",
    }

    layer: str = MISSING
    """A Keras layer with its own weights.

    Example: {layer: Dense, units: 8}
    """
    merge: str = MISSING
    """Several nodes merged into one: add, concatenate and others.

    Example: {merge: add, from: [a, b]}
    """
    block: str = MISSING
    """An instance of a block of this file or of the library, with its params as keys.

    Example: {block: residual, filters: 64}
    """
    model: str = MISSING
    """Another spec file as a layer, with its params or a preset as keys.

    Example: {model: encoder.yaml, weights: encoder.safetensors}
    """
    call: str = MISSING
    """A call of an entry of `shared`.

    Example: {call: encoder, from: left}
    """
    op: str = MISSING
    """A function of keras.ops.

    Example: {op: take, from: a, indices: 0, axis: 1}
    """
    compute: Annotated[Any, Later(str)] = MISSING
    """A formula over nodes: mean + exp(0.5 * log_var) * noise.

    Example: {compute: mean + exp(0.5 * log_var) * noise}
    """
    parameter: Annotated[Any, Later(list[Any])] = MISSING
    """A learned tensor of this shape, the same for every example.

    Example: {parameter: [1, 768], initializer: zeros}
    """
    constant: Annotated[Any, Later(list[Any] | float | bool, "varying")] = MISSING
    """A fixed tensor, numbers or booleans in nested lists; or one number that varies over the training.

    Example: {constant: [0.2, 0.7]}
    """
    state: Annotated[Any, Later(list[Any])] = MISSING
    """A tensor of this shape that each batch of training changes, by the formula `update`.

    Example: {state: [8], update: "mean(log_var, axis=1)"}
    """
    module: Annotated[str, Later(kind="path")] = MISSING
    """A custom nn.Module by its import path, such as my_layers.GatedMix.

    Example: {module: my_layers.GatedMix, shape: [8]}
    """
    average_of: str = MISSING
    """In `shared`, a moving average of the weights of another entry; `momentum` is what a step keeps of it.

    Example: {average_of: encoder, momentum: 0.99}
    """
    source: References = Field(MISSING, alias="from")
    """Its inputs: a node, a list of nodes, or a mapping from the names of its inputs.

    Example: {merge: add, from: [a, b.skip]}
    """
    when: Flag = True
    """If false, the node is left out and its first input replaces it.

    Example: {layer: Dropout, rate: 0.5, when: $drop}
    """
    otherwise: References = Field(MISSING, alias="else")
    """Node that replaces it where `when` is false; null for none.

    Example: {layer: Dense, units: 8, when: $deep, else: a}
    """
    trainable: Flag = True
    """`false` freezes its weights.

    Example: {model: encoder.yaml, trainable: false}
    """
    weights: Annotated[Any, Later(str)] = None
    """A .safetensors file with its initial weights.

    Example: {model: encoder.yaml, weights: encoder.safetensors}
    """
    checkpoint: Flag = False
    """`true`: computed again in the backward pass, and not kept in memory.

    Example: {block: layer, repeat: 12, checkpoint: true}
    """
    repeat: Count = MISSING
    """How many chained instances, each with its own weights; or lists of arguments.

    Example: {block: stage, repeat: {filters: [64, 128]}}
    """
    parallel: Count = MISSING
    """Number of parallel instances, which all read the same inputs.

    Example: {layer: Dense, units: 8, parallel: 4}
    """
    preset: Annotated[Any, Later(str)] = None
    """A preset of the model.

    Example: {model: resnet.yaml, preset: small}
    """
    wraps: Annotated[Any, Later(kind="node")] = MISSING
    """Layer that the wrapper applies.

    Example: {layer: Bidirectional, wraps: {layer: LSTM, units: 8}}
    """

    @property
    def forms(self) -> list[str]:
        """The keys that say what it is; exactly one in a legal node."""
        written = self.model_fields_set
        return [form for form in FORMS if form in written]

    @cached_property
    def form(self) -> str:
        return self.forms[0]

    @property
    def target(self) -> Any:
        """The value of its form: `Conv2D`, `residual`, `other.yaml`; a parameter's shape, a constant's
        values.
        """
        return getattr(self, self.form)

    @property
    def extra(self) -> dict[str, Any]:
        """The arguments that are beside the node's own keys."""
        return self.model_extra or {}


NODE_KEYS = tuple(field.alias or name for name, field in Node.model_fields.items() if name not in FORMS)
"""The keys of nodes that are no form."""


class Returned(Setting):
    """The values that an output returns, and its losses and metrics. `from` is a reference, or a list of
    them.
    """

    source: References = Field(None, alias="from")
    """Node that is returned; by default the node of the same name.

    Example: {from: hidden, loss: mse}
    """
    loss: Annotated[Any, Later(kind="loss")] = None
    """Loss: a name, a mapping with arguments, or a block that computes it of a whole batch.

    Example: {loss: {name: huber, delta: 0.5}}
    """
    metrics: Annotated[Any, Later(list[Any], "metric")] = None
    """Metrics, by name or as mappings with arguments.

    Example: {loss: mse, metrics: [mae, {name: cosine_similarity, axis: -1}]}
    """


OF_A_LOSS = ("label_smoothing", "reduction", "delta", "gamma", "alpha", "ignore_class", "from_logits")
"""Arguments of losses that are written next to them."""


class Output(RowSettings, Returned):
    """The keys of an output. No value is read by their types before the output is elaborated."""

    synonyms: ClassVar[Mapping[str, str]] = {
        "weight": "loss_weight",
        "metric": "metrics",
        "label": "target",
        **dict.fromkeys(("criterion", "loss_fn", "loss_function", "objective"), "loss"),
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
        "from_logits": "delete it, or write it next to the loss's name: loss: {name: ..., from_logits: true}",
        **{
            key: f"it belongs to the loss: loss: {{name: categorical_crossentropy, {key}: ...}}"
            for key in ("label_smoothing", "reduction")
        },
    }

    @classmethod
    def meaning(cls, key: str, beside: dict[str, Any]) -> str | None:
        """Arguments of the loss, next to its name."""
        loss = beside.get("loss")
        if key not in OF_A_LOSS:
            return None
        if not isinstance(loss, str):
            return None
        sparse = loss.startswith("sparse_") and key == "label_smoothing"
        written = show({"name": Word(loss.removeprefix("sparse_") if sparse else loss), key: beside[key]})
        ids = "; it takes one-hot targets, as {encode: category} makes them for it" if sparse else ""
        first = (
            "delete it, or write it next to the loss's name"
            if key == "from_logits"
            else "it belongs to the loss"
        )
        return f"{first}: loss: {written}{ids}"

    when: Flag = True
    """If false, the output is left out.

    Example: {loss: mse, when: $extra}
    """


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
        **dict.fromkeys(("parameters", "args", "arguments", "kwargs"), "params"),
    }

    params: Values = None
    """Params of the block with their defaults; `required` has none.

    Example: {params: {n: required, act: relu}, inputs: [x],
      nodes: {y: {layer: Dense, units: $n, activation: $act}}}
    """
    inputs: Any
    """Names of the inputs; or a mapping, in which null marks an optional input.

    Example: {inputs: {x: required, mask: null}, nodes: {y: {layer: Dense, units: 8, from: x}}}
    """
    shared: Nodes = None
    """Layers that the nodes of the block call, with one set of weights for each instance.

    Example: {inputs: [x], shared: {f: {layer: Dense, units: 8}}, nodes: {a: {call: f}, b: {call: f}}}
    """
    nodes: Nodes
    """Nodes of the block.

    Example: {inputs: [x], nodes: {a: {layer: Dense, units: 8, activation: relu}, b: {op: relu}}}
    """
    edges: Edges = None
    """Connections apart from the nodes, as `a -> b -> c`.

    Example: {inputs: [x], nodes: {a: {layer: Dense, units: 8}, b: {op: relu}}, edges: [x -> a -> b]}
    """
    outputs: Any = None
    """Nodes that the block returns; by default the last one.

    Example: {inputs: [x], nodes: {a: {layer: Dense, units: 8}, b: {op: relu}}, outputs: [a, b]}
    """


class Spec(Setting):
    """A whole file. The sections stay plain here; `read_file` reads each, so that one mistake does
    not hide another.
    """

    synonyms: ClassVar[Mapping[str, str]] = {
        "layers": "nodes",
        "input": "inputs",
        "output": "outputs",
        "parameters": "params",
        **dict.fromkeys(("hyperparameters", "hyperparams", "hparams", "constants", "variables"), "params"),
        "training": "train",
        "fit": "train",
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
        "validation": "it belongs to the data: data: {validation: {split: 0.1}}",
        "features": "it belongs to the data: data: {features: {...}}",
        "device": "it belongs to the machine, not to the spec: `graphspec train --device cuda`",
        **dict.fromkeys(
            ("model", "network", "net", "architecture", "spec"),
            "`inputs`, `nodes` and `outputs` are top-level keys",
        ),
        "version": "the version of the language is `language: 1`; write your own as a comment",
        "description": "write it as a comment: `# ...`",
    }

    @classmethod
    def meaning(cls, key: str, beside: dict[str, Any]) -> str | None:
        if " " in key and beside[key] is None:
            return Remedy(f"a sentence is a comment: write `# {key}`", Change(f"# {key}"))
        inner = beside[key]
        holds_spec = isinstance(inner, dict) and {"inputs", "nodes"} <= inner.keys()
        if holds_spec or (isinstance(inner, dict) and key == "compile"):
            rest = {name: item for name, item in beside.items() if name != key}
            if inner.keys().isdisjoint(rest):
                words = "`inputs`, `nodes` and `outputs` are top-level keys: write what is below it there"
                return become({**rest, **inner}, words if holds_spec else cls.remedies[key], around=True)
        return moved(beside, "", (key,))

    name: Annotated[Any, Later(str)] = None
    """Name of the model; by default the name of the file.

    Example: name: digits
    """
    language: Annotated[Any, Later(Annotated[int, Field(ge=1)])] = None
    """Version of the language that the spec is written in; by default 1.

    Example: language: 1
    """
    params: Values = None
    """Named values, used as `$name` and in `$(...)`; `--set name=value` overrides one.

    Example: params: {width: 64, depth: 3}
    """
    presets: Annotated[Any, Later(dict[str, dict[str, Any]])] = None
    """Named sets of params; `--preset NAME` selects one.

    Example: presets: {large: {width: 256}}
    """
    inputs: Annotated[Any, Later(kind="input", named=True)]
    """Inputs of the model: a shape and a dtype for each name.

    Example: inputs: {image: {shape: [28, 28, 1]}}
    """
    blocks: Annotated[Any, Later(kind="block", named=True)] = None
    """Sub-graphs with params and inputs, used by `block:`; each use has its own weights.

    Example: blocks: {mlp: {params: {n: required}, inputs: [x], nodes: {a: {layer: Dense, units: $n}}}}
    """
    shared: Nodes = None
    """Layers, blocks, models and modules with one set of weights, called by `call:`.

    Example: shared: {encoder: {layer: LSTM, units: 32}}
    """
    nodes: Nodes
    """Graph: one node for each name; without `from` a node reads the node above.

    Example: nodes: {a: {layer: Dense, units: 8}}
    """
    edges: Edges = None
    """Connections apart from the nodes, as `a -> b -> c`; then no node reads the one above.

    Example: edges: [x -> a -> b, x -> b]
    """
    outputs: Any
    """Nodes that the model returns, with their losses and metrics.

    Example: outputs: {y: {loss: mse, metrics: [mae]}}
    """
    data: Any = None
    """Where examples come from: a path, or a mapping.

    Example: data: {train: a.csv, validation: {split: 0.1}}
    """
    train: Any = None
    """How the model is trained.

    Example: train: {optimizer: adam, epochs: 10, batch_size: 32}
    """
    tune: Any = None
    """Search of `graphspec tune`.

    Example: tune: {objective: val_loss, search: {width: {int: [16, 256]}}}
    """
    generate: Any = None
    """How a trained model goes on with a sequence, or what it makes of noise: `graphspec generate`.

    Example: generate: {tokens: {from: next, length: 200, temperature: 0.8}}
    """


def is_plain(value: Any) -> bool:
    """Whether a param may have this value: no mapping is in it."""
    if isinstance(value, list):
        return all(map(is_plain, value))
    return value is None or isinstance(value, int | float | str)

"""The keys of the language that are no layers: a sentence and an example for each."""

from __future__ import annotations

from collections.abc import Mapping

WORDS: Mapping[str, tuple[str, str, str]] = {
    # what a file has
    "name": ("section", "The name of the model.", "name: digits"),
    "params": (
        "section",
        "Numbers, texts and lists that `$name` stands for.",
        "params: {width: 64, depth: 3}",
    ),
    "presets": ("section", "Values of params under a name, for --preset.", "presets: {large: {width: 256}}"),
    "inputs": (
        "section",
        "What the model takes; shapes leave out the batch.",
        "inputs: {image: {shape: [28, 28, 1]}}",
    ),
    "blocks": (
        "section",
        "Sub-graphs with params of their own; each use has fresh weights.",
        "blocks: {mlp: {params: {n: required}, inputs: [x], nodes: {a: {layer: Dense, units: $n}}}}",
    ),
    "shared": (
        "section",
        "Layers that several nodes call, with one set of weights.",
        "shared: {encoder: {layer: LSTM, units: 32}}",
    ),
    "nodes": (
        "section",
        "The graph; each node takes the one above it unless it says `from`.",
        "nodes: {a: {layer: Dense, units: 8}}",
    ),
    "edges": ("section", "Connections apart from nodes.", "edges: [x -> a -> b, x -> b]"),
    "outputs": (
        "section",
        "What the model returns, and what each output is judged by.",
        "outputs: {y: {loss: mse, metrics: [mae]}}",
    ),
    "data": (
        "section",
        "Where examples come from, and how columns become arrays.",
        "data: {train: a.csv, validation: {split: 0.1}}",
    ),
    "train": ("section", "How the model is trained.", "train: {optimizer: adam, epochs: 10, batch_size: 32}"),
    "tune": (
        "section",
        "A search for better params.",
        "tune: {objective: val_loss, search: {width: {int: [16, 256]}}}",
    ),
    # what a node is
    "layer": (
        "form of a node",
        "A layer with weights of its own; its arguments stand beside it.",
        "{layer: Dense, units: 8}",
    ),
    "merge": ("form of a node", "Several tensors become one.", "{merge: add, from: [a, b]}"),
    "op": (
        "form of a node",
        "A function of keras.ops; constants stand beside it.",
        "{op: take, from: a, indices: 0, axis: 1}",
    ),
    "block": ("form of a node", "An instance of a block of this file.", "{block: residual, filters: 64}"),
    "model": (
        "form of a node",
        "An instance of another spec.",
        "{model: encoder.yaml, weights: encoder.safetensors}",
    ),
    "call": ("form of a node", "One more call of something in `shared`.", "{call: encoder, from: left}"),
    "compute": ("form of a node", "A formula over nodes.", "{compute: mean + exp(0.5 * log_var) * noise}"),
    "parameter": (
        "form of a node",
        "A learned tensor, the same for every example.",
        "{parameter: [1, 768], initializer: zeros}",
    ),
    "constant": ("form of a node", "A tensor that never changes.", "{constant: [0.2, 0.7]}"),
    "module": (
        "form of a node",
        "An nn.Module of one's own, imported with --allow.",
        "{module: my_layers.GatedMix, shape: [8]}",
    ),
    # keys of every node
    "from": (
        "key of a node",
        "What it reads: a name, a list, or a mapping from arguments.",
        "{merge: add, from: [a, b.skip]}",
    ),
    "when": (
        "key of a node",
        "Where it is false, the node hands on its first input.",
        "{layer: Dropout, rate: 0.5, when: $drop}",
    ),
    "else": (
        "key of a node",
        "What a node whose `when` is false hands on instead.",
        "{layer: Dense, units: 8, when: $deep, else: a}",
    ),
    "repeat": (
        "key of a node",
        "Instances in a chain: a number, or lists of arguments.",
        "{block: stage, repeat: {filters: [64, 128]}}",
    ),
    "parallel": (
        "key of a node",
        "Instances side by side, read as `name.*` or `name.0`.",
        "{layer: Dense, units: 8, parallel: 4}",
    ),
    "trainable": (
        "key of a node",
        "Whether its weights are trained.",
        "{model: encoder.yaml, trainable: false}",
    ),
    "weights": (
        "key of a node",
        "A .safetensors file that a block or model starts from.",
        "{model: encoder.yaml, weights: encoder.safetensors}",
    ),
    "checkpoint": (
        "key of a node",
        "In training, computes a block again in the backward pass, and keeps less in memory.",
        "{block: layer, repeat: 12, checkpoint: true}",
    ),
    "preset": ("key of a node", "A preset of a model file.", "{model: resnet.yaml, preset: small}"),
    "wraps": (
        "key of a node",
        "What a wrapper is around.",
        "{layer: Bidirectional, wraps: {layer: LSTM, units: 8}}",
    ),
}
"""By the word: what it is, what it means, and how it is written."""

"""The keys of the language besides layers: a sentence and an example for each."""

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
    "presets": ("section", "Named sets of params, for --preset.", "presets: {large: {width: 256}}"),
    "inputs": (
        "section",
        "The inputs of the model; shapes leave out the batch.",
        "inputs: {image: {shape: [28, 28, 1]}}",
    ),
    "blocks": (
        "section",
        "Sub-graphs with params; each use has its own weights.",
        "blocks: {mlp: {params: {n: required}, inputs: [x], nodes: {a: {layer: Dense, units: $n}}}}",
    ),
    "shared": (
        "section",
        "Layers that several nodes call, with one set of weights.",
        "shared: {encoder: {layer: LSTM, units: 32}}",
    ),
    "nodes": (
        "section",
        "The graph; each node reads the one above it unless it has `from`.",
        "nodes: {a: {layer: Dense, units: 8}}",
    ),
    "edges": ("section", "Connections, written apart from the nodes.", "edges: [x -> a -> b, x -> b]"),
    "outputs": (
        "section",
        "What the model returns, with losses and metrics.",
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
        "A layer with its own weights; its arguments are keys of the node.",
        "{layer: Dense, units: 8}",
    ),
    "merge": ("form of a node", "Several tensors become one.", "{merge: add, from: [a, b]}"),
    "op": (
        "form of a node",
        "A function of keras.ops; constants are keys of the node.",
        "{op: take, from: a, indices: 0, axis: 1}",
    ),
    "block": ("form of a node", "An instance of a block of this file.", "{block: residual, filters: 64}"),
    "model": (
        "form of a node",
        "An instance of another spec.",
        "{model: encoder.yaml, weights: encoder.safetensors}",
    ),
    "call": ("form of a node", "A call of an entry of `shared`.", "{call: encoder, from: left}"),
    "compute": ("form of a node", "A formula over nodes.", "{compute: mean + exp(0.5 * log_var) * noise}"),
    "parameter": (
        "form of a node",
        "A learned tensor, the same for every example.",
        "{parameter: [1, 768], initializer: zeros}",
    ),
    "constant": ("form of a node", "A fixed tensor.", "{constant: [0.2, 0.7]}"),
    "module": (
        "form of a node",
        "A custom nn.Module, imported with --allow.",
        "{module: my_layers.GatedMix, shape: [8]}",
    ),
    # keys of every node
    "from": (
        "key of a node",
        "Its inputs: a name, a list, or a mapping by the names of the inputs.",
        "{merge: add, from: [a, b.skip]}",
    ),
    "when": (
        "key of a node",
        "If false, the node is left out and its first input replaces it.",
        "{layer: Dropout, rate: 0.5, when: $drop}",
    ),
    "else": (
        "key of a node",
        "What replaces a node whose `when` is false.",
        "{layer: Dense, units: 8, when: $deep, else: a}",
    ),
    "repeat": (
        "key of a node",
        "Chained instances: a number, or lists of arguments.",
        "{block: stage, repeat: {filters: [64, 128]}}",
    ),
    "parallel": (
        "key of a node",
        "Parallel instances, read as `name.*` or `name.0`.",
        "{layer: Dense, units: 8, parallel: 4}",
    ),
    "trainable": (
        "key of a node",
        "Whether its weights are trained.",
        "{model: encoder.yaml, trainable: false}",
    ),
    "weights": (
        "key of a node",
        "A .safetensors file with the initial weights of a block or model.",
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
        "The layer that a wrapper wraps.",
        "{layer: Bidirectional, wraps: {layer: LSTM, units: 8}}",
    ),
}
"""By the word: what it is, what it means, and how it is written."""

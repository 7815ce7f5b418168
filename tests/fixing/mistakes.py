"""A hundred specs with one mistake each, as people make them: a text of a good spec, and what was written."""

from __future__ import annotations

IMAGES = """\
# Handwritten digits.
params: {width: 32, rate: 0.25}
inputs:
  image: {shape: [28, 28, 1]}
nodes:
  conv1: {layer: Conv2D, filters: $width, kernel_size: 3, strides: 2, padding: same, activation: relu}
  norm:  {layer: BatchNormalization, epsilon: 0.001, momentum: 0.9}  # before the pool
  pool:  {layer: MaxPooling2D, pool_size: [2, 2]}
  conv2: {layer: Conv2D, filters: "$(max(width, 2 * 16))", kernel_size: 3, use_bias: false}
  flat:  {layer: GlobalAveragePooling2D}
  drop:  {layer: Dropout, rate: $rate}
  probs: {layer: Dense, units: 10, activation: softmax, kernel_initializer: he_normal}
outputs:
  probs: {loss: sparse_categorical_crossentropy, metrics: [accuracy]}
train:
  optimizer: {name: adamw, learning_rate: 0.001}
  epochs: 3
  batch_size: 64
"""
TEXTS = """\
inputs:
  text: {shape: [length], dtype: int64}
blocks:
  layer_block:
    params: {heads: 4, dim: required}
    inputs: [x]
    nodes:
      attention: {layer: MultiHeadAttention, from: {query: x, value: x}, num_heads: $heads, key_dim: 16}
      sum:       {merge: add, from: [attention, x]}
      norm:      {layer: LayerNormalization}
      hidden:    {layer: Dense, units: $(4 * dim), activation: gelu}
      back:      {layer: Dense, units: $dim}
      out:       {merge: add, from: [back, norm]}
nodes:
  embedded: {layer: Embedding, input_dim: 1000, output_dim: 64}
  stack:    {block: layer_block, dim: 64, repeat: 2}
  code:     {layer: LSTM, units: 32, return_sequences: true}
  summary:  {op: mean, axis: 1}
  scaled:   {compute: summary * 0.5 + tanh(summary)}
  sentiment: {layer: Dense, units: 1, activation: sigmoid}
outputs:
  sentiment: {loss: binary_crossentropy, metrics: [binary_accuracy]}
train:
  optimizer: adam
  epochs: 2
  callbacks:
    early_stopping: {monitor: loss, patience: 3}
"""

Mistake = tuple[str, str, str]

LAYERS: list[Mistake] = [
    (IMAGES, "layer: Conv2D, filters: $width", "layer: Conv2d, filters: $width"),
    (IMAGES, "layer: Conv2D, filters: $width", "layer: conv2d, filters: $width"),
    (IMAGES, "layer: BatchNormalization", "layer: BatchNorm2d"),
    (IMAGES, "layer: BatchNormalization", "layer: BatchNormalisation"),
    (IMAGES, "layer: MaxPooling2D", "layer: MaxPool2d"),
    (IMAGES, "layer: MaxPooling2D", "layer: MaxPoling2D"),
    (IMAGES, "layer: Dropout", "layer: Dropuot"),
    (IMAGES, "layer: Dense", "layer: Linear"),
    (IMAGES, "layer: Dense", "layer: nn.Linear"),
    (IMAGES, "layer: Dense", "layer: Dens"),
    (TEXTS, "layer: LSTM", "layer: lstm"),
    (TEXTS, "layer: Embedding", "layer: Embeding"),
    (TEXTS, "layer: MultiHeadAttention", "layer: MultiheadAttention"),
    (TEXTS, "layer: LayerNormalization", "layer: LayerNorm"),
    (TEXTS, "{merge: add, from: [attention, x]}", "{merge: ad, from: [attention, x]}"),
    (TEXTS, "op: mean", "op: maen"),
    (TEXTS, "block: layer_block", "block: layer_blok"),
    (TEXTS, "block: layer_block", "block: layerblock"),
]
ARGUMENTS: list[Mistake] = [
    (IMAGES, "filters: $width", "filers: $width"),
    (IMAGES, "filters: $width", "out_channels: $width"),
    (IMAGES, "kernel_size: 3, strides", "kernel: 3, strides"),
    (IMAGES, "kernel_size: 3, strides", "kernal_size: 3, strides"),
    (IMAGES, "strides: 2", "stride: 2"),
    (IMAGES, "activation: relu", "activaton: relu"),
    (IMAGES, "use_bias: false", "bias: false"),
    (IMAGES, "epsilon: 0.001", "eps: 0.001"),
    (IMAGES, "rate: $rate}", "p: $rate}"),
    (IMAGES, "units: 10", "out_features: 10"),
    (IMAGES, "units: 10", "unit: 10"),
    (IMAGES, "pool_size: [2, 2]", "poolsize: [2, 2]"),
    (TEXTS, "num_heads: $heads", "heads: $heads"),
    (TEXTS, "return_sequences: true", "return_sequence: true"),
    (TEXTS, "return_sequences: true", "returnSequences: true"),
    (TEXTS, "output_dim: 64", "embedding_dim: 64"),
    (TEXTS, "dim: 64, repeat: 2", "dim: 64, repeats: 2"),
    (TEXTS, "axis: 1", "dim: 1"),
    (IMAGES, "units: 10", "in_features: 64, units: 10"),
    (TEXTS, "units: 32", "batch_first: true, units: 32"),
]
VALUES: list[Mistake] = [
    (IMAGES, "padding: same", "padding: SAME"),
    (IMAGES, "activation: relu", "activation: ReLU"),
    (IMAGES, "activation: softmax", "activation: sofmax"),
    (IMAGES, "kernel_initializer: he_normal", "kernel_initializer: kaiming_normal"),
    (IMAGES, "kernel_initializer: he_normal", "kernel_initializer: HeNormal"),
    (IMAGES, "use_bias: false", "use_bias: no"),
    (IMAGES, "units: 10", 'units: "10"'),
    (IMAGES, "units: 10", "units: [10]"),
    (IMAGES, "units: 10", "units: 10.0"),
    (IMAGES, "filters: $width", "filters: ${width}"),
    (IMAGES, "filters: $width", "filters: $widht"),
    (IMAGES, '"$(max(width, 2 * 16))"', "$(max(width, 2 * 16))"),
    (IMAGES, '"$(max(width, 2 * 16))"', '"$(max($width, 2 * 16))"'),
    (IMAGES, '"$(max(width, 2 * 16))"', '"$(maxx(width, 2 * 16))"'),
    (IMAGES, "pool_size: [2, 2]", "pool_size: (2, 2)"),
    (IMAGES, "shape: [28, 28, 1]", "shape: (28, 28, 1)"),
    (TEXTS, "input_dim: 1000", "input_dim: 1_000"),
    (TEXTS, "dtype: int64", "dtype: long"),
    (TEXTS, "dtype: int64", "dtype: torch.int64"),
    (TEXTS, "dtype: int64", "dtype: Int64"),
    (TEXTS, "activation: sigmoid", "activation: sigmiod"),
    (TEXTS, "tanh(summary)", "tahn(summary)"),
    (TEXTS, "return_sequences: true", "return_sequences: yes"),
]
NAMES: list[Mistake] = [
    (TEXTS, "from: [attention, x]", "from: [atention, x]"),
    (TEXTS, "from: [back, norm]", "from: [back, nrom]"),
    (TEXTS, "compute: summary * 0.5", "compute: sumary * 0.5"),
    (TEXTS, "{query: x, value: x}", "{query: x, value: $x}"),
    (TEXTS, "{query: x, value: x}", "{querry: x, value: x}"),
    (TEXTS, "units: $dim}", "units: $dimm}"),
    (TEXTS, "  sentiment: {loss", "  sentimant: {loss"),
    (IMAGES, "  probs: {loss", "  prob: {loss"),
]
SECTIONS: list[Mistake] = [
    (IMAGES, "outputs:", "output:"),
    (IMAGES, "nodes:", "layers:"),
    (IMAGES, "params:", "parameters:"),
    (IMAGES, "train:", "training:"),
    (IMAGES, "shape: [28", "input_shape: [28"),
    (IMAGES, "loss: sparse", "los: sparse"),
    (IMAGES, "metrics: [acc", "metric: [acc"),
    (IMAGES, "[accuracy]", "[acuracy]"),
    (IMAGES, "sparse_categorical_crossentropy", "sparse_categorical_cross_entropy"),
    (IMAGES, "learning_rate: 0.001", "lr: 0.001"),
    (IMAGES, "epochs: 3", "num_epochs: 3"),
    (IMAGES, "batch_size: 64", "batchsize: 64"),
    (TEXTS, "early_stopping", "early_stoping"),
    (TEXTS, "monitor: loss", "moniter: loss"),
    (TEXTS, "patience: 3", "patiense: 3"),
    (TEXTS, "optimizer: adam", "optimiser: adam"),
]
YAML: list[Mistake] = [
    (IMAGES, "kernel_size: 3, strides", "kernel_size:3, strides"),
    (IMAGES, "filters: $width, kernel", "filters: $width kernel"),
    (IMAGES, "filters: $width, kernel", "filters: $width,, kernel"),
    (IMAGES, "units: 10, act", "units: 10; act"),
    (IMAGES, "units: 10, act", "units = 10, act"),
    (IMAGES, "  epochs: 3", "  epochs:3"),
    (IMAGES, "  epochs: 3", "\tepochs: 3"),
    (IMAGES, "layer: Dropout, rate: $rate}", "layer: Dropout, rate: $rate"),
    (IMAGES, "pool_size: [2, 2]}", "pool_size: [2, 2]},"),
    (IMAGES, "pool_size: [2, 2]}", "pool_size: [2, 2]};"),
    (IMAGES, "  image: {shape", "image: {shape"),
    (IMAGES, "# before the pool", "// before the pool"),
    (IMAGES, "  pool:  {layer", "  pool  {layer"),
    (IMAGES, "outputs:\n", "outputs\n"),
    (IMAGES, "  flat:  {", "  flat:{"),
    (IMAGES, "epsilon: 0.001", "epsilon: 0.\u200b001"),
]
MISTAKES = [*LAYERS, *ARGUMENTS, *VALUES, *NAMES, *SECTIONS, *YAML]

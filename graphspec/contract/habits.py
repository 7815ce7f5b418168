"""Words that users of Keras, PyTorch and other libraries write, and what to write in a spec instead.

Words that have one replacement are synonyms, and are defined where the replacement is: `also` of a layer,
`synonyms` of a setting. This file has the others, each with a sentence that says what to do.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

_CHAIN = "`nodes` is the chain; write what is used again as a block, under `blocks`"
_INPUT = "declare inputs under `inputs`: {features: {shape: [64]}}"
_DATA = "encode texts in the data: data: {features: {name: {encode: category}}}"
_LOSS = "a loss belongs to an output: outputs: {probs: {loss: ...}}"
_TRANSFORMER = "build it from MultiHeadAttention, LayerNormalization, Dense and {merge: add}, in a block"
_SUM = "write {merge: add, from: [a, b]}"

_RANKS = "write {0}2D for images, {0}1D for sequences"

LAYERS: Mapping[str, str] = {
    **{
        word: _RANKS.format(name)
        for name, words in {
            "Conv": "Conv Convolution",
            "MaxPooling": "MaxPool MaxPooling Pool Pooling",
            "AveragePooling": "AvgPool AvgPooling AveragePool AveragePooling",
            "GlobalAveragePooling": "GlobalAvgPool GlobalAveragePool GlobalAveragePooling GAP",
            "GlobalMaxPooling": "GlobalMaxPool GlobalMaxPooling",
        }.items()
        for word in words.split()
    },
    "ConvTranspose": "write Conv2DTranspose for images, Conv1DTranspose for sequences",
    "Input": _INPUT,
    "InputLayer": _INPUT,
    "Output": "declare outputs under `outputs`: {probs: {loss: ...}}",
    "Sequential": _CHAIN,
    "ModuleList": _CHAIN,
    "Model": "a model is a file: write {model: other.yaml}",
    "Functional": "a model is a file: write {model: other.yaml}",
    "Lambda": "write its computation as an op, such as {op: multiply, x2: 0.5}",
    "Parameter": "write {parameter: [1, 768]}",
    "Block": "write {block: name}, and declare it under `blocks`",
    "Residual": _SUM,
    "SkipConnection": _SUM,
    "Transformer": _TRANSFORMER,
    "TransformerEncoder": _TRANSFORMER,
    "TransformerEncoderLayer": _TRANSFORMER,
    "TransformerDecoderLayer": _TRANSFORMER,
    "PositionalEncoding": "write {layer: PositionEmbedding}",
    "InstanceNormalization": "write {layer: GroupNormalization, groups: -1}",
    "PixelShuffle": "write {op: depth_to_space, block_size: 2}",
    "StringLookup": _DATA,
    "IntegerLookup": _DATA,
    "TextVectorization": _DATA.replace("category", "text"),
    "Hashing": _DATA.replace("category", "hash"),
    **dict.fromkeys(["CrossEntropyLoss", "BCELoss", "BCEWithLogitsLoss", "MSELoss", "NLLLoss"], _LOSS),
}
"""By the name of a layer that there is not."""

ARGUMENTS: Mapping[str, str] = {
    "batch_first": "delete it: the batch is the first axis",
    "inplace": "delete it: activations work in place where possible",
    "num_layers": "each layer is a node: `repeat: 2` makes two",
    "padding_idx": "`mask_zero: true` masks the id 0",
    "padding_mode": "pad in a node before it: {op: pad, mode: reflect, ...}",
    "ceil_mode": "write `padding: same`",
    "input_length": "delete it: lengths are those of the input",
    "batch_size": "delete it: shapes leave out the batch",
    "batch_input_shape": "write the shape of an input under `inputs`, without the batch",
    "batch_shape": "write the shape of an input under `inputs`, without the batch",
    "device": "choose it on the command line: --device cuda",
    "track_running_stats": "delete it: statistics are always kept",
    "elementwise_affine": "use `scale` and `center`",
    "embed_dim": "`key_dim` is the size of one head: embed_dim / num_heads",
    "dtype": "numbers are float32; train: {precision: bf16} computes in bfloat16",
    "loss": _LOSS,
    "metrics": "metrics belong to an output: outputs: {probs: {metrics: [accuracy]}}",
    "in_features": "delete it: the size is that of the input",
    "in_channels": "delete it: the size is that of the input",
    "input_size": "delete it: the size is that of the input",
    "input_shape": "delete it: the size is that of the input",
    "num_features": "delete it: the size is that of the input",
    "weight_decay": "add a penalty, `kernel_regularizer: {name: l2, l2: 0.0001}`, or set it for all weights: "
    "train: {optimizer: {name: adamw, weight_decay: 0.0001}}",
    **dict.fromkeys(
        ("frozen", "freeze", "requires_grad"), "`trainable: false` keeps its weights as they are"
    ),
    **dict.fromkeys(
        ("pretrained", "checkpoint_path"), "write `weights: FILE.safetensors` on a block or a model"
    ),
    **dict.fromkeys(("dropout", "drop", "dropout_rate"), "a node below it: {layer: Dropout, rate: 0.5}"),
    **dict.fromkeys(("batch_norm", "bn", "normalization"), "a node below it: {layer: BatchNormalization}"),
    **dict.fromkeys(("to", "next"), "the node that reads it names it, under `from`; or write `edges`"),
    **dict.fromkeys(("description", "comment"), "write it as a comment: `# ...`"),
    **dict.fromkeys(
        ("lr", "learning_rate"), "another rate for some weights: train: {parameter_groups: [...]}"
    ),
    "normalized_shape": "delete it: the size is that of the input",
}
"""By an argument that no layer takes."""

RECURRENT: Mapping[str, str] = {
    **ARGUMENTS,
    "num_layers": "each layer is a node: `repeat: 2`, with `return_sequences: true`, makes two",
    "bidirectional": "wrap it: {layer: Bidirectional, wraps: {layer: ..., units: ...}}",
}
"""By an argument that no recurrent layer takes."""

NESTS = ("args", "arguments", "config", "kwargs", "options", "parameters", "params", "settings")
"""Keys under which other formats keep the arguments of a layer."""

_MODULE = re.compile(r"(?:[A-Za-z_]\w*\.)*([A-Za-z_]\w*)(?:\(.*\))?")


def bare(name: str) -> str:
    """The class name in `torch.nn.ReLU` and in `Dense(32)`."""
    match = _MODULE.fullmatch(name)
    return match[1] if match is not None else name

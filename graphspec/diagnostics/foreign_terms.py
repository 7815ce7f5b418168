"""Words that users of Keras, PyTorch and other tools write, and what to write here instead: names of layers
and their arguments, of functions, settings and files.

A synonym of one setting or one layer is defined with it: `synonyms` of a setting, `also` of a layer. All
others are here. Specs, the command line, `--set` and `graphspec layers` read the same tables.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from graphspec.diagnostics import Diagnostic, by_word, delete, keys, write_value

T = TypeVar("T")

_CHAIN = "`nodes` is the chain; write what is used again as a block, under `blocks`"
_INPUT = "declare inputs under `inputs`: {features: {shape: [64]}}"
_DATA = "encode texts in the data: data: {features: {name: {encode: category}}}"
_LOSS = "a loss belongs to an output: outputs: {probs: {loss: ...}}"


def _std(name: str, params: str = "") -> str:
    """How a block of the library is used."""
    return f"write {{block: std/{name}{params}}}; `graphspec layers std/{name}` shows it"


_LIBRARY: Mapping[str, tuple[str, str]] = {
    "ASPP": ("aspp", ""),
    "Bottleneck": ("bottleneck", ", filters: 64"),
    "C2f C3 C3k2": ("c2f", ", filters: 64"),
    "ConvBlock ConvBNReLU ConvBN ConvNormAct Conv2dNormActivation BasicConv2d": (
        "conv_norm",
        ", filters: 64",
    ),
    "ConvNeXt ConvNeXtBlock ConvNextBlock": ("convnext", ""),
    "GatedResidualNetwork GRN": ("gated_residual", ""),
    "InvertedResidual MBConv MBConvBlock": ("inverted_residual", ", filters: 64"),
    "MLPMixer MlpMixer MixerBlock MixerLayer": ("mlp_mixer", ", tokens: 64, hidden: 256"),
    "RoPE Rope RotaryPositionalEmbedding": ("rope", ""),
    "SPPF SPP": ("sppf", ", filters: 64"),
    "SqueezeExcite SqueezeExcitation SEBlock SELayer SEModule": ("squeeze_excite", ""),
    "SwiGLU LlamaMLP": ("swiglu", ", hidden: 256"),
    "TCN TemporalBlock": ("tcn", ", filters: 64"),
    "Transformer TransformerEncoder TransformerEncoderLayer TransformerBlock EncoderLayer BertLayer": (
        "transformer",
        ", heads: ...",
    ),
    "TransformerDecoder TransformerDecoderLayer DecoderLayer GPT2Block": (
        "transformer",
        ", heads: ..., causal: true",
    ),
    "PatchEmbed PatchEmbedding ViTPatchEmbeddings": ("vit_patches", ", units: 768"),
}
"""Parts of networks that are blocks of the library: the block, and what it needs."""
_SUM = "write {merge: add, from: [a, b]}"

_PIXELS = "write {op: depth_to_space, block_size: 2}; it has the channels of one pixel next to each other"

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
    "Lambda": "write its computation as a formula, {compute: x * 2}, or as an op",
    "Parameter": "write {parameter: [1, 768]}",
    **dict.fromkeys(
        ("Buffer", "register_buffer", "State", "MovingAverage"),
        'write {state: [32], update: "0.9 * center + 0.1 * mean(code, axis=1)"}, of a node `center`',
    ),
    "Queue": "write {state: [512, 32], initializer: random_normal, "
    'update: "concatenate([code, before], axis=1)[:, :512]"}, of a node `before`',
    "Block": "write {block: name}, and declare it under `blocks`",
    "Residual": _SUM,
    "SkipConnection": _SUM,
    "skip": _SUM,
    **{word: _std(*use) for words, use in _LIBRARY.items() for word in words.split()},
    **{
        f"Bi{name}": f"write {{layer: Bidirectional, wraps: {{layer: {name}, units: ...}}}}"
        for name in ("LSTM", "GRU")
    },
    "PositionalEncoding": "write {layer: PositionEmbedding}",
    **dict.fromkeys(
        ["InstanceNormalization", "InstanceNorm", "InstanceNorm1d", "InstanceNorm2d", "InstanceNorm3d"],
        "write {layer: GroupNormalization, groups: -1}",
    ),
    "ReLU6": "write {layer: ReLU, max_value: 6}, or `activation: relu6` on the layer before",
    "Concat": "write {merge: concatenate, from: [a, b]}",
    "View": "write {layer: Reshape, target_shape: [...]}, without the batch axis",
    **dict.fromkeys(["ReflectionPad1d", "ReflectionPad2d"], "write {op: pad, pad_width: ..., mode: reflect}"),
    **dict.fromkeys(["ReplicationPad1d", "ReplicationPad2d"], "write {op: pad, pad_width: ..., mode: edge}"),
    **dict.fromkeys(["Rescale", "Scale"], "write {layer: Rescaling, scale: 0.00392156862745098}"),
    "Resize": "write {layer: Resizing, height: ..., width: ...}",
    **dict.fromkeys(
        ["StochasticDepth", "DropPath"],
        "write {layer: Dropout, rate: 0.1, noise_shape: [null, 1, 1, 1]}: it drops a whole image",
    ),
    **dict.fromkeys(
        ["BasicBlock", "ResBlock", "ResidualBlock", "ResNetBlock"],
        "write it as a block, under `blocks`, and {block: name} where it is used",
    ),
    **dict.fromkeys(
        ["CBAM", "Highway"],
        "build it from pooling, Dense and {merge: multiply}, in a block",
    ),
    **dict.fromkeys(["PixelShuffle", "pixel_shuffle"], _PIXELS),
    "StringLookup": _DATA,
    "IntegerLookup": _DATA,
    "TextVectorization": _DATA.replace("category", "text"),
    "Hashing": _DATA.replace("category", "hash"),
    **dict.fromkeys(
        ["onehot", "one-hot", "OneHotEncoder", "get_dummies"],
        "a column is {encode: category}, a node {op: one_hot, num_classes: ...}; targets may be class "
        "numbers: losses whose names begin with `sparse` take them",
    ),
    **dict.fromkeys(
        ["SelfAttention", "self-attention"],
        "write {layer: MultiHeadAttention, from: {query: x, value: x}, num_heads: 4, key_dim: 16}",
    ),
    **dict.fromkeys(
        ["csv", "parquet", "jsonl", "DataLoader", "Dataset"], "name the file: data: {train: FILE.csv}"
    ),
    **dict.fromkeys(["CrossEntropyLoss", "BCELoss", "BCEWithLogitsLoss", "MSELoss", "NLLLoss"], _LOSS),
}
"""By the name of a layer that there is not."""

SIZE = delete("the size is that of the input", safe=False)
ARGUMENTS: Mapping[str, str] = {
    "batch_first": delete("the batch is the first axis", only_for="true"),
    "inplace": delete("activations work in place where possible"),
    "num_layers": "each layer is a node: `repeat: 2` makes two",
    "padding_idx": "`mask_zero: true` masks the id 0; convolutions ignore the mask: leave it out before them",
    "times": "write `repeat`: a node of so many of them, one after the other",
    "padding_mode": "pad in a node before it: {op: pad, mode: reflect, ...}",
    "ceil_mode": "write `padding: same`",
    "input_length": delete("lengths are those of the input", safe=False),
    "batch_size": delete("shapes leave out the batch", safe=False),
    "batch_input_shape": "write the shape of an input under `inputs`, without the batch",
    "batch_shape": "write the shape of an input under `inputs`, without the batch",
    "device": "choose it on the command line: --device cuda",
    "training": "leave it out: a training trains, all else infers; `trainable: false` keeps weights and "
    "statistics as they are",
    "track_running_stats": delete("statistics are always kept", only_for="true"),
    **dict.fromkeys(("affine", "elementwise_affine"), keys("scale", "center")),
    "embed_dim": "`key_dim` is the size of one head: embed_dim / num_heads",
    "dtype": "numbers are float32; train: {precision: bf16} computes in bfloat16",
    "loss": _LOSS,
    "metrics": "metrics belong to an output: outputs: {probs: {metrics: [accuracy]}}",
    "in_features": SIZE,
    "in_channels": SIZE,
    "input_size": SIZE,
    "input_shape": SIZE,
    "input_dim": SIZE,
    "num_features": SIZE,
    "num_channels": SIZE,
    "weight_decay": "add a penalty, `kernel_regularizer: {name: l2, l2: 0.0001}`, or set it for all weights: "
    "train: {optimizer: {name: adamw, weight_decay: 0.0001}}",
    **dict.fromkeys(
        ("frozen", "freeze", "requires_grad"), "`trainable: false` keeps its weights as they are"
    ),
    **dict.fromkeys(
        ("pretrained", "checkpoint_path"), "write `weights: FILE.safetensors` on a block or a model"
    ),
    **dict.fromkeys(("dropout", "drop", "dropout_rate"), "a node below it: {layer: Dropout, rate: 0.5}"),
    **dict.fromkeys(("activation", "act"), "a node below it: {layer: Activation, activation: relu}"),
    **dict.fromkeys(("batch_norm", "bn", "normalization"), "a node below it: {layer: BatchNormalization}"),
    **dict.fromkeys(("to", "next"), "the node that reads it names it, under `from`; or write `edges`"),
    **dict.fromkeys(("description", "comment"), "write it as a comment: `# ...`"),
    **dict.fromkeys(
        ("lr", "learning_rate"), "another rate for some weights: train: {parameter_groups: [...]}"
    ),
    "normalized_shape": SIZE,
    **dict.fromkeys(("residual", "skip", "skip_connection"), f"a node below it: {_SUM}"),
    **dict.fromkeys(
        ("share", "shared", "share_weights", "tie", "reuse"),
        "declare the layer under `shared`, and write {call: NAME} wherever it is used",
    ),
}
"""By an argument that no layer takes."""

ARGUMENT_WORDS: Mapping[str, str] = {
    "out_features": "units",
    "hidden_size": "units",
    "out_channels": "filters",
    "stride": "strides",
    "dilation": "dilation_rate",
    "num_embeddings": "input_dim",
    "embedding_dim": "output_dim",
    "p": "rate",
    "eps": "epsilon",
    "bias": "use_bias",
    "kernel": "kernel_size",
    **dict.fromkeys(("neurons", "num_units", "hidden_dim", "output_size"), "units"),
    **dict.fromkeys(("channels", "num_filters", "n_filters"), "filters"),
    **dict.fromkeys(("kernel_size", "pool"), "pool_size"),
    **dict.fromkeys(("prob", "probability", "dropout", "drop", "dropout_rate"), "rate"),
    **dict.fromkeys(("vocab_size", "vocabulary_size", "num_words"), "input_dim"),
    "embed_dim": "output_dim",
    "scale_factor": "size",
    "num_groups": "groups",
    "mode": "interpolation",
    "dim": "axis",
    "dims": "axis",
    "shape": "target_shape",
    "act": "activation",
    **dict.fromkeys(("n_heads", "heads", "nhead", "n_head"), "num_heads"),
    **dict.fromkeys(("d_head", "head_size", "dim_head"), "key_dim"),
}
"""Names of arguments in PyTorch and other libraries, with the names used here."""

RECURRENT: Mapping[str, str] = {
    **ARGUMENTS,
    "num_layers": "each layer is a node: `repeat: 2`, with `return_sequences: true`, makes two",
    "bidirectional": "wrap it: {layer: Bidirectional, wraps: {layer: ..., units: ...}}",
}
"""By an argument that no recurrent layer takes."""

NESTS = frozenset(["args", "arguments", "config", "kwargs", "options", "parameters", "params", "settings"])
"""Keys under which other formats keep the arguments of a layer."""
KEYS_OF_NAMES = ("type", "class_name", "class", "kind", "id")
"""Keys under which other formats have the name of a setting."""

COUNTS = {"repeats": True, "times": True, "num_layers": False, "depth": False, "n": False}
"""Words for `repeat` on a block that has no such param, and whether they can mean nothing else."""

_MODULE = re.compile(r"(?:[A-Za-z_]\w*\.)*([A-Za-z_]\w*)(?:\(.*\))?")


def bare(name: str) -> str:
    """The class name in `torch.nn.ReLU` and in `Dense(32)`."""
    match = _MODULE.fullmatch(name)
    return match[1] if match is not None else name


LOOKALIKES = str.maketrans("\u2010\u2011\u2012\u2013\u2014\u2212\uff1a\uff0c\uff0e", "------:,.")
"""Dashes and full-width signs, and those that they look like."""


def call_of(text: str) -> tuple[str, list[Any], dict[str, Any]] | None:
    """The class, and the arguments by position and by name, of a call such as `nn.Linear(4, out_features=8)`;
    None for other texts.
    """
    try:
        call = ast.parse(text.strip(), mode="eval").body
        if not isinstance(call, ast.Call) or any(item.arg is None for item in call.keywords):
            return None
        named = {str(item.arg): _literal(item.value) for item in call.keywords}
        return bare(ast.unparse(call.func)), [_literal(item) for item in call.args], named
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def _literal(node: ast.expr) -> Any:
    """A plain value: tuples are lists. Raises ValueError for what is none."""
    value = ast.literal_eval(node)
    if isinstance(value, tuple | list):
        value = [*value]
    if not isinstance(value, int | float | str | list | None):
        raise ValueError(f"{value!r} is not plain")
    return value


POSITIONS: Mapping[str, tuple[str, ...]] = {
    word: tuple(names.split())
    for words, names in {
        "Linear": "in_features out_features bias",
        "Conv1d Conv2d Conv3d": "in_channels out_channels kernel_size stride padding dilation groups bias",
        "ConvTranspose1d ConvTranspose2d ConvTranspose3d": "in_channels out_channels kernel_size stride "
        "padding",
        "Embedding": "num_embeddings embedding_dim padding_idx",
        "Dropout Dropout1d Dropout2d Dropout3d": "p",
        "LayerNorm RMSNorm": "normalized_shape eps",
        "BatchNorm1d BatchNorm2d BatchNorm3d": "num_features eps momentum affine",
        "GroupNorm": "num_groups num_channels eps affine",
        "MaxPool1d MaxPool2d MaxPool3d AvgPool1d AvgPool2d AvgPool3d": "kernel_size stride padding",
        "Flatten": "start_dim end_dim",
        "Softmax LogSoftmax": "dim",
        "LSTM GRU": "input_size hidden_size num_layers",
        "LeakyReLU": "negative_slope",
        "MultiheadAttention": "embed_dim num_heads dropout",
        "Upsample": "size scale_factor mode",
    }.items()
    for word in words.split()
}
"""The arguments of PyTorch's modules in their order."""


_KEEPS = re.compile(r"(?:Lazy)?BatchNorm[123]d")
"""PyTorch's layers whose momentum is the share of a new batch, 0.1; here it is that of what was there."""


def as_in_keras(name: str, arguments: dict[str, Any]) -> dict[str, Any]:
    """The arguments of a layer, written as PyTorch counts them, as they are counted here."""
    momentum = arguments.get("momentum")
    if _KEEPS.fullmatch(bare(name)) and isinstance(momentum, int | float) and 0 <= momentum < 0.5:
        return {**arguments, "momentum": round(1 - momentum, 12)}
    return arguments


def by_words(table: Mapping[str, T]) -> dict[str, T]:
    """A row for each word of the keys of a table."""
    return {word: value for words, value in table.items() for word in words.split()}


_OF_A_TABLE = "`graphspec new NAME --data FILE --target COLUMN` writes a spec of a table, with its features"
_OF_A_CLASS = (
    "`graphspec import torch PKG:CLASS --input ...` makes a spec of the module, and `new` a first one"
)
_HF_ARGUMENTS = "a file of training arguments of Hugging Face"
_A_START = "`graphspec new` writes a spec to start from"
FORMATS: tuple[tuple[frozenset[str], str, str], ...] = tuple(
    (frozenset(keys.split()), name, help)
    for keys, name, help in (
        ("input_features output_features", "a config of Ludwig", _OF_A_TABLE),
        (
            "model_type",
            "a config of Hugging Face",
            "`graphspec import huggingface FOLDER -o DIR` reads its folder",
        ),
        (
            "architectures",
            "a config of Hugging Face",
            "`graphspec import huggingface FOLDER -o DIR` reads its folder",
        ),
        ("class_name config", "a model of Keras", "`graphspec import keras FILE -o DIR` makes a spec of it"),
        ("trainer model", "a config of Lightning", _OF_A_CLASS),
        ("class_path", "a config of Lightning", _OF_A_CLASS),
        ("_target_", "a config of Hydra", _OF_A_CLASS),
        ("backbone head", "a model of Ultralytics", _OF_A_CLASS),
        ("pipeline", "a pipeline of another tool", _OF_A_TABLE),
        ("model_name_or_path", _HF_ARGUMENTS, _A_START),
        ("num_train_epochs", _HF_ARGUMENTS, _A_START),
        ("per_device_train_batch_size", _HF_ARGUMENTS, _A_START),
        ("apiVersion kind", "a manifest of Kubernetes", _A_START),
        ("services", "a file of Docker Compose", _A_START),
    )
)
"""Files of other tools: the keys at their top, what they are, and what to do with one."""

_OF_WEIGHTS = "`graphspec weights SPEC --from {0} -o OUT.safetensors` takes its weights over"
_OF_DATA = "`graphspec new NAME --data {0} --target COLUMN` writes a spec of it"
FILES: Mapping[str, tuple[str, str]] = {
    **dict.fromkeys((".csv", ".tsv", ".parquet", ".jsonl", ".npz", ".npy", ".xlsx"), ("data", _OF_DATA)),
    **dict.fromkeys((".pt", ".pth", ".ckpt", ".bin", ".safetensors"), ("weights", _OF_WEIGHTS)),
    **dict.fromkeys((".keras", ".h5"), ("a model of Keras", "`graphspec import keras {0} -o DIR` reads it")),
    ".onnx": ("a model of ONNX", "write the network as a spec: ONNX is what `graphspec build` writes"),
    ".py": ("Python", "`graphspec import torch MODULE:CLASS --input ...` makes a spec of a module in it"),
    ".ipynb": ("a notebook", "`graphspec new` writes a spec to start from"),
}
"""Files that are no specs: what they hold by their suffix, and what to do with one, `{0}`."""


def other_file(path: Path) -> Diagnostic | None:
    """The mistake that a file of data, of weights or of code is given as a spec; None of other files."""
    if path.suffix not in FILES:
        return None
    holds, help = FILES[path.suffix]
    return Diagnostic(
        "not-a-mapping", f"`{path}` holds {holds}: it is not a spec", None, help=help.format(path)
    )


_SIZES = "a formula has no sizes: write the number, or a param, `$width`"
NO_FUNCTIONS: Mapping[str, str] = {
    **dict.fromkeys(
        ("to", "cuda", "cpu", "numpy", "item", "contiguous", "clone", "eval", "train"),
        "leave it out: a formula has the tensor itself, wherever it is",
    ),
    **dict.fromkeys(("float", "long", "int", "bool", "double"), "write `cast(x, dtype=float32)`"),
    **dict.fromkeys(("size", "dim", "len", "numel", "shape"), _SIZES),
    "masked_fill": "write `where(mask, value, x)`",
}
"""Replacements for functions that no op computes."""

SHAPED = {word: ("reshape", "newshape") for word in ("view", "reshape")} | {"permute": ("transpose", "axes")}
"""Methods that take sizes or axes one by one: the function, and the argument that takes them as a list."""
TRANSPOSED = ("T", "mT")
ATTRIBUTES: Mapping[str, str] = {
    **dict.fromkeys(TRANSPOSED, "write `transpose({0}, axes=[0, 2, 1])`: axis 0 is the batch"),
    **dict.fromkeys(("shape", "size", "ndim"), _SIZES),
    **dict.fromkeys(("grad", "data", "device", "dtype"), "write `{0}`: a formula has the tensor itself"),
}
"""Replacements for attributes of tensors in other libraries."""

ENCODINGS: Mapping[str, str] = by_words(
    {
        "zscore z_score z-score standard StandardScaler standardize standardise": "{encode: number, "
        "scale: standard}",
        "minmax min_max min-max MinMaxScaler rescale": "{encode: number, scale: min_max}",
        "robust RobustScaler": "{encode: number, scale: robust}",
        "LabelEncoder label label_encoder OrdinalEncoder ordinal index label-encoding": "{encode: category}",
        "SimpleImputer imputer impute fillna": "{encode: number, fill: mean}",
        "CountVectorizer TfidfVectorizer tfidf tf-idf tokenize bag_of_words": "{encode: text}",
        "log log1p": "{encode: number, transform: log1p}",
        "sqrt": "{encode: number, transform: sqrt}",
        "QuantileTransformer rank": "{encode: number, transform: quantile}",
        "MultiLabelBinarizer multi_label multilabel": "{encode: set}",
    }
)
"""How a feature of `data` is written, by what other libraries call it."""

AUGMENTATIONS: Mapping[str, str] = by_words(
    {
        "horizontal_flip hflip fliplr flip_horizontal": "{layer: RandomFlip, mode: horizontal}",
        "vertical_flip vflip flipud flip_vertical": "{layer: RandomFlip, mode: vertical}",
        "flip mirror": "{layer: RandomFlip}",
        "rotation rotate rotation_range degrees": "{layer: RandomRotation, factor: 0.1}",
        "zoom zoom_range scale affine resized_crop": "{layer: RandomZoom, height_factor: 0.2}",
        "translation translate shift width_shift_range height_shift_range": "{layer: RandomTranslation, "
        "height_factor: 0.1, width_factor: 0.1}",
        "shear shear_range": "{layer: RandomShear, x_factor: 0.2}",
        "perspective": "{layer: RandomPerspective}",
        "brightness brightness_range": "{layer: RandomBrightness, factor: 0.2}",
        "contrast": "{layer: RandomContrast, factor: 0.2}",
        "hue": "{layer: RandomHue, factor: 0.1}",
        "saturation": "{layer: RandomSaturation, factor: 0.3}",
        "color_jitter jitter": "{layer: RandomColorJitter, brightness_factor: 0.2}",
        "grayscale greyscale": "{layer: RandomGrayscale}",
        "invert": "{layer: RandomInvert}",
        "posterize": "{layer: RandomPosterization, factor: 4}",
        "solarize": "{layer: Solarization}",
        "sharpness": "{layer: RandomSharpness, factor: 0.3}",
        "blur gaussian_blur": "{layer: RandomGaussianBlur}",
        "erasing cutout coarse_dropout": "{layer: RandomErasing}",
    }
)
"""An entry of `augment`, by what other libraries call it."""


def augmentation(written: object) -> str:
    """The entry of `augment` that may be meant by a word, or by a mapping whose first key says it:
    `RandomHorizontalFlip`, `horizontal_flip`, {rotation: 10}.
    """
    if isinstance(written, dict):
        written = written.get("layer", next(iter(written), ""))
    word = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", bare(str(written))).lower().replace("-", "_")
    return AUGMENTATIONS.get(word.removeprefix("random_"), AUGMENTATIONS["horizontal_flip"])


NAMES: Mapping[tuple[str, str], str] = {
    **{
        ("encoder", word): "{encode: category}, and a node {op: one_hot, num_classes: ...} for an input"
        for word in ("onehot", "one_hot", "one-hot", "ohe", "OneHotEncoder", "get_dummies")
    },
    ("encoder", "embedding"): "{encode: category}, and a node {layer: Embedding, ...}",
    ("activation", "prelu"): "it has weights of its own: a node below it, {layer: PReLU}",
    ("activation", "logits"): "leave it out: a loss takes logits with {name: ..., from_logits: true}",
    ("activation", "quick_gelu"): "a node below it: {compute: x * sigmoid(1.702 * x)}",
    ("activation", "squared_relu"): "a node below it: {compute: square(relu(x))}",
    **{
        ("activation", word): "a gate is two layers and {merge: multiply}; `glu` halves the axis"
        for word in ("geglu", "swiglu", "reglu")
    },
    **{("loss", word): f"it is a metric: metrics: [{word}]" for word in ("accuracy", "auc", "f1_score")},
    **{("metric", word): "write `auc`" for word in ("roc_auc", "roc_auc_score", "auroc", "AUROC")},
    ("metric", "loss"): "leave it out: every epoch reports the loss",
    **{
        (
            "loss",
            word,
        ): "write `binary_focal_crossentropy` after a sigmoid, `categorical_focal_crossentropy` "
        "after a softmax"
        for word in ("focal", "focal_loss", "FocalLoss")
    },
    ("loss", "acc"): "it is a metric: metrics: [accuracy]",
    ("loss", "rmse"): "`mse` has the same minimum, and `rmse` is a metric: metrics: [rmse]",
    ("loss", "none"): "leave `loss` out",
    (
        "loss",
        "perplexity",
    ): "write `sparse_categorical_crossentropy`; its exponential is a metric: metrics: [perplexity]",
    ("loss", "categorical"): "write `categorical_crossentropy`, or `sparse_...` for class numbers",
    ("metric", "confusion_matrix"): "`graphspec predict` writes what it can be counted from",
    **{
        ("metric", word): "write {name: sparse_top_k_categorical_accuracy, k: 5}"
        for word in ("top5", "top_5", "top_k", "top5_accuracy", "top_5_accuracy", "top_k_accuracy")
    },
    ("metric", "map"): "write {name: auc, curve: PR}: the area below precision over recall",
    ("metric", "mAP"): "write {name: auc, curve: PR}: the area below precision over recall",
    ("schedule", "onecycle"): "write {name: cosine_decay, warmup_steps: ...}",
    ("schedule", "one_cycle"): "write {name: cosine_decay, warmup_steps: ...}",
    ("schedule", "warmup"): "a schedule has `warmup_steps`: {name: cosine_decay, warmup_steps: 100}",
    ("schedule", "constant"): "leave `schedule` out: the rate of the optimizer stays",
    ("optimizer", "momentum"): "write {name: sgd, momentum: 0.9}",
    ("callback", "lr_finder"): "search it: `graphspec tune` varies train.optimizer.learning_rate",
    ("callback", "gradient_clipping"): "it belongs to the optimizer: {name: adam, global_clipnorm: 1.0}",
    ("callback", "ema"): "it belongs to the optimizer: {name: adam, use_ema: true}",
}
"""Names of other libraries for settings of a kind, that are written here in another way."""

VALUE_WORDS: Mapping[str, str] = by_word(
    standard="zscore z_score standardize StandardScaler std",
    min_max="MinMaxScaler minmax_scale 0-1",
    robust="RobustScaler",
    mean="average avg",
    max="highest maximize maximum greater larger higher up",
    min="lowest minimize minimum lower smaller less down",
    balanced="auto inverse weighted",
    zero="zeros",
    ddp="data_parallel",
    fsdp="sharded",
    bilinear="linear",
    tpe="bayes bayesian bayesian_optimization optuna",
    random="random_search",
    grid="grid_search",
    hyperband="asha successive_halving",
)
"""Values of keys, by what other libraries call them; a key takes only some of them."""
_IN_ORDER = "write `fill: median`; only a series has an order: `gaps: fill` of `windows` goes by it"
VALUES: Mapping[tuple[str, str], str] = {
    ("target_shape", "none"): write_value("-1", ": what is left of the sizes"),
    ("batch_size", "auto"): "`graphspec train --batch-size auto` finds the largest that fits",
    **{
        ("fill", word): "write `fill: median`; to leave such rows out, remove them from the file"
        for word in ("drop", "dropna", "remove", "skip", "ignore")
    },
    **{
        ("fill", word): _IN_ORDER
        for word in ("ffill", "bfill", "pad", "forward", "previous", "last", "interpolate", "linear")
    },
    **{
        ("fill", word): "write `fill: median` for numbers, `fill: missing` for a category of its own"
        for word in ("mode", "most_frequent", "unknown")
    },
}
"""Values of keys in other libraries that are written here in another way."""

SCALE_PIXELS = "scale them first: {layer: Rescaling, scale: $(1 / 255)}"
NORMALIZE = "put {layer: Normalization} after the input, or scale the data"
"""Remedy where numbers reach a layer with weights as they are."""

OF_ACTIVATION = "Activation"
"""The layer of an activation alone."""
BOTH_WAYS = ("Bidirectional", ("LSTM", "GRU", "SimpleRNN"))
"""The wrapper that other libraries have as an argument, and the layers of that argument."""

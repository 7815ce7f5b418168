"""Keras' names that specs do not have: other names for the same thing, and refused ones.

Each refused name has the reason and what to write instead. A test compares all public names of Keras with
these and ours.
"""

from __future__ import annotations

ALIASES = {
    **{f"MaxPool{n}D": f"MaxPooling{n}D" for n in (1, 2, 3)},
    **{f"AvgPool{n}D": f"AveragePooling{n}D" for n in (1, 2, 3)},
    **{f"GlobalMaxPool{n}D": f"GlobalMaxPooling{n}D" for n in (1, 2, 3)},
    **{f"GlobalAvgPool{n}D": f"GlobalAveragePooling{n}D" for n in (1, 2, 3)},
    **{f"Convolution{n}D": f"Conv{n}D" for n in (1, 2, 3)},
    **{f"Convolution{n}DTranspose": f"Conv{n}DTranspose" for n in (1, 2, 3)},
    **{f"SeparableConvolution{n}D": f"SeparableConv{n}D" for n in (1, 2)},
    "GroupedQueryAttention": "GroupQueryAttention",
}
"""Keras' other names of layers: a spec may use them."""

_OWN_CODE = ("it is code, which a spec cannot contain", "write `module: my_layers.Name`, a class of your own")
_BASE = ("it is a base class for your own classes", "write `module: my_layers.Name`, a class of your own")
_STRINGS = (
    "it must be adapted to data, outside of the model",
    "encode columns in `data: {features: ...}`: `category`, `hash`, `text`",
)
LAYERS: dict[str, tuple[str, str]] = {
    **dict.fromkeys(("JaxLayer", "FlaxLayer", "TFSMLayer", "TorchModuleWrapper"), _OWN_CODE),
    **dict.fromkeys(("Layer", "Wrapper", "InputSpec"), _BASE),
    "HashedCrossing": _STRINGS,
    "Pipeline": ("nodes without `from` are one", "write the layers as nodes, one below the other"),
    "MaxNumBoundingBoxes": (
        "a spec has tensors, but no bounding boxes",
        "pad the arrays of boxes in the data to one length",
    ),
    **dict.fromkeys(
        ("AugMix", "RandAugment"),
        (
            "it chooses among other augmentations, which differ from example to example",
            "a few in a row, each drawn for itself: `RandomShear`, `RandomHue`, `RandomPosterization`, ...",
        ),
    ),
    **dict.fromkeys(
        ("Equalization", "ContrastLimitedAdaptiveHistogramEqualization"),
        (
            "it counts how often each tone occurs, in Keras in a whole batch at once",
            "{layer: AutoContrast}, or `RandomContrast`; or equalize the images before you train",
        ),
    ),
    "RandomElasticTransform": (
        "it is not yet written for PyTorch",
        "{op: image_elastic_transform}, at each call; {layer: RandomPerspective, scale: 0.3}, in training",
    ),
    **{
        name: (
            "it mixes the examples of a batch and their targets, and a node does not see targets",
            f"leave the node out, and write `data: {{mix: [{{layer: {name}}}]}}`: training batches are mixed",
        )
        for name in ("MixUp", "CutMix")
    },
}
"""Layers that are refused."""

_EXAMPLES = "it treats the batch axis like any other axis"
_FUNCTIONS = ("it takes functions, which a spec cannot contain",)
_COMPLEX = "a spec has no complex numbers: a signal is two tensors, its real and its imaginary part"
_VALUES = "the size of its result depends on values"
_PYTHON = ("it describes a tensor to Python code, and a spec has no Python code", "leave it out")
_CONSTANT = ("its result is a constant", "write its numbers as `constant: [...]`")
OPS: dict[str, tuple[str, str]] = {
    **dict.fromkeys(
        ("cond", "switch"),
        (*_FUNCTIONS, "`op: where` chooses between two tensors, `when:` leaves nodes out"),
    ),
    **dict.fromkeys(
        ("scan", "associative_scan", "while_loop", "fori_loop"),
        (*_FUNCTIONS, "`repeat:` chains a block; recurrent layers and `op: cumsum` go along steps"),
    ),
    **dict.fromkeys(
        ("map", "vectorize", "vectorized_map"),
        (*_FUNCTIONS, "`layer: TimeDistributed` applies a block to each step"),
    ),
    **dict.fromkeys(("custom_gradient", "jvp"), (*_FUNCTIONS, "write `module: my_layers.Name`")),
    **dict.fromkeys(
        (
            "array",
            "convert_to_tensor",
            "convert_to_numpy",
            "copy",
            "is_tensor",
            "dtype",
            "shape",
            "ndim",
            "size",
        ),
        _PYTHON,
    ),
    **dict.fromkeys(
        ("empty", "empty_like"), ("its values are undefined", "`op: zeros` and `op: zeros_like`")
    ),
    **dict.fromkeys(
        (
            *("bartlett", "blackman", "hamming", "hanning", "kaiser", "geomspace", "logspace", "tri"),
            *("identity", "vander", "meshgrid"),
        ),
        _CONSTANT,
    ),
    **dict.fromkeys(
        ("real", "imag", "conj", "conjugate", "view_as_complex", "view_as_real", "isreal"),
        (_COMPLEX, "use the two tensors"),
    ),
    "angle": (_COMPLEX, "the angle is {op: arctan2, from: [imag, real]}"),
    "polar": (_COMPLEX, "the parts are `compute: radius * cos(angle)` and `radius * sin(angle)`"),
    "vstack": (_EXAMPLES, "{merge: concatenate, from: [a, b], axis: 1}"),
    "append": (_EXAMPLES, "{merge: concatenate, from: [a, b], axis: 1}"),
    **dict.fromkeys(
        ("array_split", "hsplit", "vsplit", "dsplit"),
        ("`split` does the same", "{op: split, indices_or_sections: 2, axis: 1}"),
    ),
    "fliplr": ("`flip` does the same", "{op: flip, axis: 1}"),
    "flipud": (_EXAMPLES, "{op: flip, axis: 1} flips each example"),
    "fabs": ("`absolute` does the same", "{op: absolute}"),
    "allclose": (_EXAMPLES, "{op: isclose}, then {op: all, axis: 1}"),
    "argpartition": ("`argsort` does more", "{op: argsort, axis: 1}"),
    "corrcoef": (_EXAMPLES, "{op: layer_normalization} and {op: inner} of each example's rows"),
    "correlate": (_EXAMPLES, "{op: conv} with each example's own kernel"),
    "select": ("`where` does the same", "{op: where}, one inside the other"),
    "unravel_index": (
        "`floor_divide` and `mod` do the same",
        "{op: floor_divide, x2: 4} and {op: mod, x2: 4}",
    ),
    "view": ("it reads bits as another type", "{op: reshape} and {op: cast}"),
    "saturate_cast": (
        "`clip` and `cast` do the same",
        "{op: clip, x_min: 0, x_max: 255}, then {op: cast, dtype: uint8}",
    ),
    "nextafter": ("it has no gradient, and no use in a network", "add a small constant"),
    "nonzero": (_VALUES, "a mask: {op: not_equal, x2: 0}"),
    "unique": (_VALUES, "{op: multi_hot, num_classes: 10} shows which integers occur"),
    **dict.fromkeys(
        ("bincount", "histogram"), (_VALUES, "{op: one_hot, num_classes: 10}, then {op: sum, axis: 1}")
    ),
    "ctc_loss": ("it is a loss", "`loss: ctc` at an output"),
    "ctc_decode": (
        "the lengths of its results depend on values",
        "{op: argmax, axis: -1}, and merge repeats when you read predictions",
    ),
    "psnr": (_EXAMPLES, "`compute: 10 * log10(1 / mean(square(a - b), axis=[1, 2, 3]))`"),
}
"""Functions of keras.ops, and of keras.ops.image with `image_` before, that are refused."""

PER_EXAMPLE = frozenset(
    (
        *("dot", "inner", "outer", "tensordot", "vdot", "kron", "scatter", "scatter_update", "diag"),
        *("diagflat", "segment_sum", "segment_prod", "segment_max", "segment_min", "ravel"),
        "image_map_coordinates",
    )
)
"""Functions that keras.ops has for whole tensors, and a spec for each example of them."""

REFUSED: dict[str, dict[str, tuple[str, str]]] = {"layer": LAYERS, "op": OPS, "merge": {}}
"""By what a node says."""

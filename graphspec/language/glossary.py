"""The meaning of each key of a spec, in a sentence: for a key of one class, the docstring under its field; a
word that several classes share is here.
"""

from __future__ import annotations

from collections.abc import Iterator

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from graphspec.language.docstrings import field_doc


def keys_of(cls: type[BaseModel]) -> Iterator[tuple[str, FieldInfo]]:
    """The keys of a class as a spec writes them, each with its field."""
    return ((field.alias or name, field) for name, field in cls.model_fields.items())


SHARED = {
    # --- layers and ops
    "activation": "Activation function of the output, by name; null: none",
    "recurrent_activation": "Activation function of the gates",
    "activity_regularizer": "A penalty on the output, added to the loss",
    "approximate": "Whether the faster approximation by tanh is used",
    "alpha": "Depth of the curve, which falls to `-alpha`",
    "antialias": "Whether the image is low-pass filtered before downscaling",
    "axis": "Axis; 0 is the batch, -1 the last one",
    "axis1": "First of the two axes",
    "axis2": "Second of the two axes",
    "b": "Width of the bend at 0",
    "center": "Whether a learned offset is added",
    "data_format": "`channels_last` or `channels_first`",
    "depth_multiplier": "Filters for each channel",
    "dilation_rate": "Distance between the elements that the kernel reads",
    "dropout": "Share of the input that is dropped in training",
    "recurrent_dropout": "Share of the state that is dropped in training",
    "dtype": "Data type of the output",
    "epsilon": "A small number that keeps the division finite",
    "factor": "Range: a number, or the lower and the upper bound",
    "height_factor": "Range along the height: a number, or two bounds",
    "width_factor": "Range along the width: a number, or two bounds",
    "fft_length": "Length of the Fourier transform",
    "fill_mode": "How pixels outside of the image are filled",
    "fill_value": "Value of the pixels outside of the image",
    "filters": "Number of output channels",
    "flash_attention": "Keras' switch for a faster kernel; PyTorch chooses by itself",
    "go_backwards": "Whether the sequence is read from its end",
    "height": "Rows of the output",
    "width": "Columns of the output",
    "interpolation": "Interpolation between pixels",
    "invert": "Whether the result is inverted",
    "use_causal_mask": "Whether a position sees only those before it",
    "k": "Which diagonal: 0 is the main one, 1 the one above",
    "keepdims": "Whether reduced axes stay, with size 1",
    "kernel_size": "How many elements the kernel reads along each axis: a number, or one for each",
    "l1": "Weight of the sum of absolute values",
    "l2": "Weight of the sum of squares",
    "max_value": "Largest output value",
    "minval": "Lower bound",
    "maxval": "Upper bound",
    "mean": "Mean of the distribution",
    "momentum": "Share of the previous step that each step adds",
    "negative_slope": "Slope below 0",
    "num_classes": "How many classes there are",
    "output_mode": "Kind of output: integers, one-hot, multi-hot or counts",
    "output_padding": "Elements that are added at the end of each axis",
    "output_shape": "Sizes of the output, without the batch",
    "output_size": "Size of the output: a number, or one for each axis",
    "padding": "`valid` adds none; `same` keeps the size at stride 1; `causal` pads only before",
    "pool_size": "How many elements make one: a number, or one for each axis",
    "rate": "Share of elements that is dropped in training",
    "rcond": "Singular values below this share of the largest count as 0",
    "repeats": "How often elements are repeated",
    "reset_after": "Whether the reset gate comes after the product, as in PyTorch",
    "return_attention_scores": "Whether the attention scores are returned as well",
    "return_sequences": "Whether all steps are returned, or only the last",
    "return_state": "Whether the state is returned as well",
    "scale": "Whether a learned factor is applied",
    "seed": "Null: all random numbers follow from the seed of the run",
    "sequence_length": "Number of elements of each window",
    "sequence_stride": "Steps between windows",
    "shape": "Sizes of the output",
    "size": "Scale along each axis: a number, or one for each",
    "sliding_window": "Number of positions that attention sees backwards",
    "start": "First number",
    "step": "Distance between numbers",
    "stateful": "Whether a batch continues from the state of the previous one",
    "stddev": "Standard deviation",
    "strides": "Stride of the window: a number, or one for each axis",
    "threshold": "Value at which the curve changes",
    "unit_forget_bias": "Whether the bias of the forget gate starts at 1",
    "units": "Number of output features",
    "unroll": "Keras' switch for unrolled loops; nothing changes here",
    "use_bias": "Whether a learned bias is added to the output",
    "use_cudnn": "Keras' switch for cuDNN; PyTorch chooses by itself",
    "use_gate": "Whether a learned gate scales the output",
    "use_scale": "Whether scores have a learned factor",
    "value_range": "The least and the largest value of a pixel",
    "window": "Shape of the window, by name",
    "x1": "A number that replaces the first tensor",
    "x2": "A number that replaces the second tensor",
    "zero_output_for_mask": "Whether masked steps are returned as 0",
    "align_corners": "Whether the corner pixels stay at the corners, as in PyTorch",
    "max_wavelength": "Longest wave, in positions",
    "start_indices": "First index along each axis",
    # --- losses and metrics
    "average": "How classes are averaged: micro, macro, weighted, or null for one value each",
    "class_id": "Class that is measured",
    "distance": "Distance between two vectors",
    "from_logits": "Leave it out: it follows from the activation of the output",
    "gamma": "Exponent that down-weights easy examples",
    "ignore_class": "Class that is ignored",
    "label_smoothing": "Probability that is spread evenly over all classes",
    "margin": "Margin between different examples",
    "separator": "Separator between values",
    "target_class_ids": "Classes that are measured",
    "thresholds": "Probability from which a prediction is positive; a list gives one value for each",
    # --- optimizers and schedules
    "beta_1": "Decay of the mean of gradients",
    "beta_2": "Decay of the mean of squares",
    "decay_rate": "Decay factor of the rate",
    "decay_steps": "Steps over which the rate decays",
    "initial_accumulator_value": "Initial sums of squares",
    "initial_learning_rate": "Initial rate; by default that of the optimizer",
    "learning_rate": "Learning rate",
    "nesterov": "Whether Nesterov momentum is used",
    "rho": "Decay of the mean of squares",
    "staircase": "Whether the rate decays in steps",
    "values": "Values in the order of their ids",
    "warmup_steps": "Steps over which the rate rises",
    "weight_decay": "Share of a weight that each step subtracts, times the learning rate",
    # --- callbacks
    "min_delta": "Smallest change that counts as an improvement",
    "patience": "Epochs without improvement before it acts",
    "run_name": "Name of the run",
    "save_freq": "`epoch`, or after how many steps",
    "verbose": "Whether it prints what it does",
    # --- data
    "fill": "Replacement for a missing value",
    "format": "Format of dates",
    "min_count": "Number of times that a value must occur to have its own id",
    "optimizer": "Optimizer, by name or as a mapping",
    "parameter_groups": "Another learning rate, weight decay or `trainable` for some weights",
    "vocabulary": "Number of ids",
    # --- search
    "log": "Whether the scale is logarithmic",
}
"""Words that mean the same in several classes, none of which inherits them from another."""

OF_FORMS = {
    "initializer": "Initializer of the parameter or the state",
    "update": "Formula of the next value of a state: axis 1 counts the examples of the batch",
    "dtype": "Data type of the output",
    "shape": "Shape of the output, without the batch",
    "outputs": "Outputs: a shape and a dtype for each name",
    "data_format": "`channels_first` passes images in PyTorch's order",
    "like": "A tensor that determines the shape or dtype",
    "momentum": "Share of an average of weights that each step keeps",
}
"""Keys of nodes of one form alone."""

PARTS = {
    "kernel": "kernel",
    "bias": "bias",
    "embeddings": "table of embeddings",
    "recurrent": "recurrent kernel",
    "depthwise": "kernel of each channel",
    "pointwise": "kernel that mixes channels",
    "gamma": "learned factor",
    "beta": "learned shift",
    "alpha": "slopes",
    "moving_mean": "running mean",
    "moving_variance": "running variance",
}
ROLES = {
    "_initializer": "Initializer of the {}",
    "_regularizer": "A penalty on the {}, added to the loss",
    "_constraint": "Constraint on the {} after each step",
}


def meaning(cls: type[BaseModel], key: str) -> str:
    """The meaning of a key of a class; empty where nothing says it."""
    if (doc := field_doc(cls, key)) is not None:
        return doc.sentence
    for role, text in ROLES.items():
        if key.endswith(role) and (part := PARTS.get(key.removesuffix(role))):
            return text.format(part)
    return SHARED.get(key, "")

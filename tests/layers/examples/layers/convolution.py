"""Further examples of `graphspec/layers/convolution.py`."""

from graphspec.contract.layer import Example

MORE = {
    "Conv1D": (
        Example({"filters": 4, "kernel_size": [3], "padding": "same", "activation": "relu"}, ((9, 3),)),
        Example({"filters": 4, "kernel_size": 4, "padding": "same", "use_bias": False}, ((9, 3),)),
        Example({"filters": 4, "kernel_size": 3, "padding": "same", "strides": 2}, ((10, 3),)),
        Example({"filters": 4, "kernel_size": 3, "padding": "same", "strides": 2}, ((9, 3),)),
        Example({"filters": 2, "kernel_size": 2, "padding": "same", "strides": 3}, ((10, 3),)),
        Example({"filters": 4, "kernel_size": 3, "padding": "causal", "dilation_rate": 2}, ((9, 3),)),
        Example({"filters": 4, "kernel_size": 3, "padding": "causal", "strides": 2}, ((10, 3),)),
        Example({"filters": 4, "kernel_size": 3, "padding": "same", "dilation_rate": 3}, ((9, 3),)),
        Example({"filters": 6, "kernel_size": 3, "groups": 3, "activation": "softmax"}, ((9, 3),)),
        Example(
            {"filters": 4, "kernel_size": 3, "data_format": "channels_first", "padding": "same"}, ((3, 9),)
        ),
        Example(
            {"filters": 4, "kernel_size": 3, "kernel_initializer": "he_normal", "bias_initializer": "ones"},
            ((9, 3),),
        ),
    ),
    "Conv2D": (
        Example({"filters": 4, "kernel_size": [3, 5], "padding": "same", "activation": "relu"}, ((7, 6, 3),)),
        Example({"filters": 4, "kernel_size": 1, "padding": "same", "strides": 2}, ((7, 6, 3),)),
        Example({"filters": 4, "kernel_size": 1, "strides": [3, 2]}, ((7, 6, 3),)),
        Example({"filters": 4, "kernel_size": 1, "padding": "same", "strides": 2}, ((5, 6, 16),)),
        Example(
            {"filters": 4, "kernel_size": 3, "padding": "same", "strides": 2, "use_bias": False}, ((8, 6, 3),)
        ),
        Example({"filters": 4, "kernel_size": 3, "padding": "same", "strides": 2}, ((7, 9, 3),)),
        Example({"filters": 4, "kernel_size": 3, "padding": "same", "strides": [2, 1]}, ((8, 5, 3),)),
        Example({"filters": 4, "kernel_size": 7, "padding": "same", "strides": 2}, ((9, 8, 3),)),
        Example({"filters": 4, "kernel_size": [2, 4], "padding": "same"}, ((5, 6, 3),)),
        Example({"filters": 4, "kernel_size": 2, "padding": "same", "strides": 3}, ((7, 9, 3),)),
        Example({"filters": 4, "kernel_size": 3, "strides": [2, 3]}, ((8, 9, 3),)),
        Example({"filters": 4, "kernel_size": 3, "dilation_rate": [2, 1], "padding": "same"}, ((7, 6, 3),)),
        Example({"filters": 4, "kernel_size": 2, "dilation_rate": 2}, ((7, 6, 3),)),
        Example({"filters": 6, "kernel_size": 3, "groups": 3, "activation": "softmax"}, ((5, 6, 3),)),
        Example({"filters": 4, "kernel_size": 2, "activation": {"name": "softmax", "axis": 1}}, ((5, 6, 3),)),
        Example(
            {"filters": 4, "kernel_size": 3, "data_format": "channels_first", "activation": "softmax"},
            ((3, 5, 6),),
        ),
        Example(
            {
                "filters": 4,
                "kernel_size": 3,
                "kernel_initializer": "orthogonal",
                "bias_initializer": "glorot_uniform",
            },
            ((5, 6, 3),),
        ),
    ),
    "Conv3D": (
        Example(
            {"filters": 4, "kernel_size": [3, 1, 5], "padding": "same", "activation": "relu"}, ((5, 4, 6, 3),)
        ),
        Example({"filters": 4, "kernel_size": 3, "padding": "same", "strides": 2}, ((5, 4, 6, 3),)),
        Example({"filters": 4, "kernel_size": 3, "padding": "same", "strides": [2, 1, 3]}, ((6, 4, 7, 3),)),
        Example({"filters": 4, "kernel_size": [2, 3, 4], "padding": "same"}, ((5, 4, 6, 3),)),
        Example(
            {"filters": 4, "kernel_size": 2, "padding": "same", "strides": 3, "use_bias": False},
            ((7, 6, 5, 3),),
        ),
        Example({"filters": 2, "kernel_size": 3, "strides": [1, 2, 3]}, ((3, 5, 9, 3),)),
        Example(
            {"filters": 2, "kernel_size": 3, "dilation_rate": [1, 2, 1], "padding": "same"}, ((3, 5, 4, 3),)
        ),
        Example({"filters": 2, "kernel_size": 2, "dilation_rate": 2}, ((3, 5, 4, 3),)),
        Example({"filters": 6, "kernel_size": 2, "groups": 3, "activation": "softmax"}, ((3, 5, 4, 3),)),
        Example(
            {"filters": 4, "kernel_size": 2, "data_format": "channels_first", "activation": "softmax"},
            ((3, 5, 4, 3),),
        ),
        Example(
            {
                "filters": 4,
                "kernel_size": [3, 2, 2],
                "kernel_initializer": "he_normal",
                "bias_initializer": "glorot_uniform",
            },
            ((3, 5, 4, 3),),
        ),
    ),
}

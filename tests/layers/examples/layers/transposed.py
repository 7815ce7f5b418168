"""Further examples of `graphspec/layers/transposed.py`."""

from graphspec.contract.layer import Example

MORE = {
    "Conv1DTranspose": (
        Example({"filters": 4, "kernel_size": [2], "strides": 3, "activation": "relu"}, ((6, 3),)),
        Example({"filters": 4, "kernel_size": 4, "strides": 2, "padding": "same"}, ((5, 3),)),
        Example({"filters": 4, "kernel_size": 3, "strides": 2, "padding": "same"}, ((6, 3),)),
        Example({"filters": 4, "kernel_size": 3, "padding": "same", "use_bias": False}, ((7, 3),)),
        Example({"filters": 4, "kernel_size": 4, "padding": "same"}, ((7, 3),)),
        Example({"filters": 4, "kernel_size": 2, "strides": 3, "padding": "same"}, ((5, 3),)),
        Example({"filters": 4, "kernel_size": 3, "strides": 2, "output_padding": 1}, ((5, 3),)),
        Example({"filters": 4, "kernel_size": 4, "strides": 3, "output_padding": 0}, ((5, 3),)),
        Example(
            {"filters": 2, "kernel_size": 1, "strides": 3, "padding": "same", "output_padding": 0}, ((4, 3),)
        ),
        Example(
            {"filters": 2, "kernel_size": 1, "strides": 3, "padding": "same", "output_padding": 1}, ((4, 3),)
        ),
        Example(
            {"filters": 2, "kernel_size": 1, "strides": 3, "padding": "same", "output_padding": 2}, ((4, 3),)
        ),
        Example(
            {"filters": 2, "kernel_size": 2, "strides": 3, "padding": "same", "output_padding": 0}, ((4, 3),)
        ),
        Example(
            {"filters": 2, "kernel_size": 2, "strides": 3, "padding": "same", "output_padding": 1}, ((4, 3),)
        ),
        Example(
            {"filters": 2, "kernel_size": 2, "strides": 3, "padding": "same", "output_padding": 2}, ((4, 3),)
        ),
        Example(
            {"filters": 2, "kernel_size": 3, "strides": 3, "padding": "same", "output_padding": 0}, ((4, 3),)
        ),
        Example(
            {"filters": 2, "kernel_size": 3, "strides": 3, "padding": "same", "output_padding": 1}, ((4, 3),)
        ),
        Example(
            {"filters": 2, "kernel_size": 3, "strides": 3, "padding": "same", "output_padding": 2}, ((4, 3),)
        ),
        Example(
            {"filters": 2, "kernel_size": 4, "strides": 3, "padding": "same", "output_padding": 0}, ((4, 3),)
        ),
        Example(
            {"filters": 2, "kernel_size": 4, "strides": 3, "padding": "same", "output_padding": 1}, ((4, 3),)
        ),
        Example(
            {"filters": 2, "kernel_size": 4, "strides": 3, "padding": "same", "output_padding": 2}, ((4, 3),)
        ),
        Example(
            {"filters": 2, "kernel_size": 5, "strides": 3, "padding": "same", "output_padding": 0}, ((4, 3),)
        ),
        Example(
            {"filters": 2, "kernel_size": 5, "strides": 3, "padding": "same", "output_padding": 1}, ((4, 3),)
        ),
        Example(
            {"filters": 2, "kernel_size": 5, "strides": 3, "padding": "same", "output_padding": 2}, ((4, 3),)
        ),
        Example({"filters": 4, "kernel_size": 3, "dilation_rate": 2}, ((6, 3),)),
        Example({"filters": 4, "kernel_size": 2, "dilation_rate": 3, "padding": "same"}, ((6, 3),)),
        Example(
            {"filters": 4, "kernel_size": 3, "data_format": "channels_first", "activation": "softmax"},
            ((3, 6),),
        ),
        Example(
            {"filters": 16, "kernel_size": 5, "kernel_initializer": "he_normal", "bias_initializer": "ones"},
            ((6, 9),),
        ),
    ),
    "Conv2DTranspose": (
        Example({"filters": 4, "kernel_size": 2, "strides": 2, "activation": "relu"}, ((5, 4, 3),)),
        Example({"filters": 4, "kernel_size": 3, "strides": 2, "padding": "same"}, ((5, 4, 3),)),
        Example({"filters": 4, "kernel_size": 4, "strides": 2, "padding": "same"}, ((5, 4, 3),)),
        Example({"filters": 4, "kernel_size": [3, 4], "strides": 2, "padding": "same"}, ((5, 4, 3),)),
        Example({"filters": 4, "kernel_size": [2, 5], "strides": [3, 2], "padding": "same"}, ((4, 5, 3),)),
        Example({"filters": 4, "kernel_size": 3, "padding": "same", "use_bias": False}, ((5, 4, 3),)),
        Example({"filters": 4, "kernel_size": 3, "strides": 2, "output_padding": [1, 0]}, ((4, 5, 3),)),
        Example(
            {"filters": 4, "kernel_size": [3, 4], "strides": 2, "padding": "same", "output_padding": 1},
            ((4, 5, 3),),
        ),
        Example({"filters": 4, "kernel_size": 3, "dilation_rate": [2, 1]}, ((4, 5, 3),)),
        Example({"filters": 4, "kernel_size": [3, 2], "dilation_rate": 3, "padding": "same"}, ((4, 5, 3),)),
        Example({"filters": 4, "kernel_size": 3, "strides": 2, "activation": "softmax"}, ((4, 5, 3),)),
        Example(
            {
                "filters": 4,
                "kernel_size": 3,
                "strides": 2,
                "padding": "same",
                "data_format": "channels_first",
                "activation": "softmax",
            },
            ((3, 5, 4),),
        ),
        Example(
            {
                "filters": 6,
                "kernel_size": [4, 3],
                "kernel_initializer": "orthogonal",
                "bias_initializer": "glorot_uniform",
            },
            ((4, 5, 3),),
        ),
    ),
    "Conv3DTranspose": (
        Example({"filters": 2, "kernel_size": 2, "strides": 2, "activation": "relu"}, ((3, 4, 2, 3),)),
        Example({"filters": 2, "kernel_size": 3, "strides": 2, "padding": "same"}, ((3, 4, 2, 3),)),
        Example(
            {"filters": 2, "kernel_size": [2, 3, 4], "strides": [3, 1, 2], "padding": "same"}, ((3, 4, 2, 3),)
        ),
        Example({"filters": 2, "kernel_size": 3, "padding": "same", "use_bias": False}, ((3, 4, 2, 3),)),
        Example({"filters": 2, "kernel_size": 3, "strides": 2, "output_padding": [1, 0, 1]}, ((2, 4, 3, 3),)),
        Example({"filters": 2, "kernel_size": 2, "dilation_rate": [2, 1, 3]}, ((2, 4, 3, 3),)),
        Example(
            {"filters": 2, "kernel_size": 2, "data_format": "channels_first", "activation": "softmax"},
            ((3, 2, 4, 3),),
        ),
        Example(
            {
                "filters": 4,
                "kernel_size": [3, 2, 2],
                "kernel_initializer": "he_normal",
                "bias_initializer": "ones",
            },
            ((3, 2, 4, 3),),
        ),
    ),
}

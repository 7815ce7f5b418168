"""Further examples of `graphspec/layers/depthwise.py`."""

from graphspec.contract.layer import Example

MORE = {
    "DepthwiseConv1D": (
        Example({"kernel_size": [3], "padding": "same", "activation": "relu"}, ((9, 4),)),
        Example({"kernel_size": 4, "padding": "same", "depth_multiplier": 2}, ((9, 3),)),
        Example({"kernel_size": 3, "padding": "same", "strides": 2, "use_bias": False}, ((10, 3),)),
        Example({"kernel_size": 2, "padding": "same", "strides": 3}, ((10, 3),)),
        Example({"kernel_size": 3, "padding": "same", "strides": 2}, ((9, 3),)),
        Example({"kernel_size": 3, "padding": "same", "dilation_rate": 3}, ((9, 3),)),
        Example({"kernel_size": 3, "depth_multiplier": 3, "activation": "softmax"}, ((9, 2),)),
        Example({"kernel_size": 3, "data_format": "channels_first", "activation": "softmax"}, ((4, 9),)),
        Example(
            {"kernel_size": 9, "depthwise_initializer": "he_normal", "bias_initializer": "ones"}, ((9, 16),)
        ),
    ),
    "DepthwiseConv2D": (
        Example({"kernel_size": [3, 5], "padding": "same", "activation": "relu"}, ((7, 6, 3),)),
        Example({"kernel_size": 3, "padding": "same", "strides": 2, "depth_multiplier": 2}, ((8, 6, 3),)),
        Example({"kernel_size": 3, "padding": "same", "strides": 2, "use_bias": False}, ((7, 9, 3),)),
        Example({"kernel_size": 3, "padding": "same", "strides": [2, 1]}, ((8, 5, 3),)),
        Example({"kernel_size": [2, 4], "padding": "same"}, ((5, 6, 3),)),
        Example({"kernel_size": 3, "strides": [2, 3]}, ((8, 9, 3),)),
        Example({"kernel_size": 3, "dilation_rate": [2, 1], "padding": "same"}, ((7, 6, 3),)),
        Example({"kernel_size": 2, "dilation_rate": 2}, ((7, 6, 3),)),
        Example({"kernel_size": 3, "depth_multiplier": 2, "activation": "softmax"}, ((5, 6, 3),)),
        Example({"kernel_size": 3, "data_format": "channels_first", "activation": "softmax"}, ((3, 5, 6),)),
        Example(
            {
                "kernel_size": 3,
                "depth_multiplier": 2,
                "depthwise_initializer": {"name": "orthogonal", "gain": 2.0},
                "bias_initializer": "glorot_uniform",
            },
            ((5, 6, 7),),
        ),
        Example(
            {"kernel_size": 3, "depth_multiplier": 4, "depthwise_initializer": "he_uniform"}, ((5, 6, 7),)
        ),
        Example(
            {
                "kernel_size": 3,
                "depth_multiplier": 2,
                "depthwise_initializer": {"name": "random_normal", "stddev": 0.2},
            },
            ((5, 6, 7),),
        ),
    ),
    "SeparableConv1D": (
        Example({"filters": 5, "kernel_size": [3], "padding": "same", "activation": "relu"}, ((9, 4),)),
        Example({"filters": 5, "kernel_size": 4, "padding": "same", "depth_multiplier": 2}, ((9, 3),)),
        Example({"filters": 5, "kernel_size": 3, "padding": "same", "strides": 2}, ((10, 3),)),
        Example(
            {"filters": 5, "kernel_size": 3, "padding": "same", "strides": 2, "use_bias": False}, ((9, 3),)
        ),
        Example({"filters": 2, "kernel_size": 3, "padding": "same", "dilation_rate": 3}, ((9, 3),)),
        Example(
            {"filters": 6, "kernel_size": 3, "data_format": "channels_first", "activation": "softmax"},
            ((4, 9),),
        ),
        Example(
            {
                "filters": 12,
                "kernel_size": 5,
                "depthwise_initializer": "he_normal",
                "pointwise_initializer": "lecun_uniform",
                "bias_initializer": "ones",
            },
            ((9, 16),),
        ),
    ),
    "SeparableConv2D": (
        Example({"filters": 5, "kernel_size": [3, 5], "padding": "same", "activation": "relu"}, ((7, 6, 3),)),
        Example(
            {"filters": 5, "kernel_size": 3, "padding": "same", "strides": 2, "depth_multiplier": 2},
            ((8, 6, 3),),
        ),
        Example(
            {"filters": 5, "kernel_size": 3, "padding": "same", "strides": 2, "use_bias": False}, ((7, 9, 3),)
        ),
        Example({"filters": 2, "kernel_size": [2, 4], "padding": "same"}, ((5, 6, 3),)),
        Example({"filters": 4, "kernel_size": 3, "strides": [2, 3]}, ((8, 9, 3),)),
        Example({"filters": 4, "kernel_size": 3, "dilation_rate": [2, 1], "padding": "same"}, ((7, 6, 3),)),
        Example({"filters": 4, "kernel_size": 3, "activation": "softmax"}, ((5, 6, 3),)),
        Example(
            {"filters": 4, "kernel_size": 3, "data_format": "channels_first", "activation": "softmax"},
            ((3, 5, 6),),
        ),
        Example(
            {
                "filters": 10,
                "kernel_size": 3,
                "depth_multiplier": 3,
                "depthwise_initializer": "orthogonal",
                "pointwise_initializer": {"name": "random_normal", "stddev": 0.1},
                "bias_initializer": "glorot_uniform",
            },
            ((5, 6, 7),),
        ),
    ),
}

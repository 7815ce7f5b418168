"""Further examples of `graphspec/ops/windows.py`."""

from graphspec.contract.layer import Example

MORE = {
    "MaxPool": (
        Example({"pool_size": [3, 2], "strides": 2, "padding": "same"}, ((7, 6, 2),)),
        Example({"pool_size": 2, "strides": [1, 2], "data_format": "channels_first"}, ((2, 5, 6),)),
    ),
    "AveragePool": (
        Example({"pool_size": [3, 2], "strides": 2, "padding": "valid"}, ((7, 6, 2),)),
        Example({"pool_size": 2, "data_format": "channels_first"}, ((2, 4, 6),)),
    ),
    "_AdaptivePool": (
        Example({"output_size": [3, 2]}, ((7, 6, 2),)),
        Example({"output_size": 2, "data_format": "channels_first"}, ((2, 5, 6),)),
    ),
    "Conv": (
        Example({"padding": "same", "dilation_rate": 2}, ((6, 7, 4), (3, 2, 2, 6))),
        Example({"padding": "same", "strides": 2}, ((6, 7, 2), (3, 3, 2, 3))),
        Example({"strides": [1, 2], "data_format": "channels_first"}, ((2, 5, 6), (2, 3, 2, 3))),
    ),
    "DepthwiseConv": (
        Example({"padding": "same", "dilation_rate": 2}, ((6, 7, 4), (3, 2, 4, 1))),
        Example({"padding": "same", "strides": 2}, ((6, 6, 2), (3, 3, 2, 3))),
        Example({"data_format": "channels_first"}, ((2, 5, 6), (2, 3, 2, 1))),
    ),
    "SeparableConv": (
        Example({"padding": "same", "strides": 2}, ((6, 7, 2), (3, 3, 2, 1), (1, 1, 2, 3))),
        Example(
            {"padding": "same", "dilation_rate": 2, "data_format": "channels_first"},
            ((2, 5, 6), (2, 3, 2, 2), (1, 1, 4, 3)),
        ),
    ),
    "ConvTranspose": (
        Example({"strides": 2, "padding": "same"}, ((5, 4, 3), (3, 3, 2, 3))),
        Example({"strides": 2, "padding": "same", "output_padding": 1}, ((5, 3), (4, 2, 3))),
        Example({"strides": [2, 1], "data_format": "channels_first"}, ((2, 4, 5), (2, 3, 3, 2))),
        Example({"dilation_rate": 2}, ((4, 2), (3, 3, 2))),
    ),
    "Unfold": (
        Example({"kernel_size": [2, 3], "dilation": 2, "padding": 1, "stride": [2, 1]}, ((2, 6, 7),)),
    ),
    "Fold": (
        Example(
            {"output_size": 6, "kernel_size": [2, 3], "dilation": 2, "padding": 1, "stride": [2, 1]},
            ((12, 12),),
        ),
    ),
}

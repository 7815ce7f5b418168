"""Further examples of `graphspec/ops/filters.py`."""

from graphspec.contract.layer import Example

MORE = {
    "GaussianBlur": (
        Example({"kernel_size": [5, 5], "sigma": [0.5, 2.0], "data_format": "channels_first"}, ((2, 6, 7),)),
    ),
    "SobelEdges": (Example({"data_format": "channels_first"}, ((2, 4, 5),)),),
    "Ssim": (
        Example(
            {"max_val": 2.0, "filter_size": 4, "filter_sigma": 0.8, "data_format": "channels_first"},
            ((2, 6, 5), (2, 6, 5)),
        ),
        Example({"filter_size": 3, "k1": 0.1, "k2": 0.2}, ((6, 5, 1), (6, 5, 1))),
    ),
}

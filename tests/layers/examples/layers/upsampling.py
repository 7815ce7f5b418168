"""Further examples of `graphspec/layers/upsampling.py`."""

from graphspec.contract.layer import Example

MORE = {
    "UpSampling1D": (
        Example({"size": 3}, ((4, 2),)),
        Example({"size": 2}, ((4, 2),), dtype="int32"),
    ),
    "UpSampling2D": (
        Example({"size": 3}, ((3, 4, 2),)),
        Example({"size": [1, 2]}, ((3, 4, 2),)),
        Example({"size": 41}, ((4, 2, 1),)),
        Example({"size": [2, 3], "interpolation": "bilinear"}, ((3, 4, 2),)),
        Example({"size": 2, "interpolation": "bilinear"}, ((1, 4, 2),)),
        Example({"size": [2, 3], "interpolation": "bicubic"}, ((3, 4, 2),)),
        Example({"interpolation": "bicubic", "data_format": "channels_first"}, ((2, 5, 4),)),
        Example({"size": [2, 3], "data_format": "channels_first"}, ((2, 3, 4),)),
        Example({"interpolation": "bilinear", "data_format": "channels_first"}, ((2, 3, 4),)),
    ),
    "UpSampling3D": (
        Example({"size": 3}, ((2, 3, 2, 2),)),
        Example({"size": [1, 2, 3]}, ((2, 3, 4, 2),)),
        Example({"size": [41, 1, 1]}, ((4, 2, 1, 1),)),
        Example({"size": [2, 1, 3], "data_format": "channels_first"}, ((2, 3, 4, 5),)),
    ),
}

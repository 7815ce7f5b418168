"""Further examples of `graphspec/ops/images.py`."""

from graphspec.contract.layer import Example

MORE = {
    "_Colours": (Example({"data_format": "channels_first"}, ((3, 4, 5),)),),
    "CropImages": (
        Example(
            {
                "target_height": 2,
                "bottom_cropping": 1,
                "left_cropping": 1,
                "right_cropping": 0,
                "data_format": "channels_first",
            },
            ((2, 6, 5),),
        ),
    ),
    "PadImages": (
        Example(
            {
                "target_height": 9,
                "bottom_padding": 1,
                "left_padding": 1,
                "right_padding": 0,
                "data_format": "channels_first",
            },
            ((2, 6, 5),),
        ),
    ),
    "ExtractPatches": (
        Example({"size": [2, 3], "strides": [1, 2], "padding": "same"}, ((5, 6, 2),)),
        Example({"size": 3, "strides": 2, "padding": "same"}, ((6, 7, 1),)),
        Example({"size": [3, 2], "data_format": "channels_first"}, ((2, 7, 5),)),
    ),
    "ExtractPatches3D": (
        Example({"size": [2, 3, 1], "strides": [1, 2, 2], "padding": "same"}, ((3, 6, 5, 2),)),
        Example({"size": [3, 2, 2], "strides": 1, "data_format": "channels_first"}, ((2, 4, 5, 3),)),
    ),
    "DepthToSpace": (Example({"block_size": 3, "data_format": "channels_first"}, ((18, 2, 4),)),),
    "SpaceToDepth": (Example({"block_size": 3, "data_format": "channels_first"}, ((2, 3, 6),)),),
    "ImageResize": (
        Example({"size": [3, 7], "interpolation": "nearest"}, ((6, 5, 2),)),
        Example({"size": [3, 7], "interpolation": "bicubic", "antialias": True}, ((6, 5, 2),)),
        Example({"size": [3, 7], "antialias": True}, ((6, 5, 2),)),
        Example({"size": [3, 7], "data_format": "channels_first"}, ((2, 6, 5),)),
    ),
}

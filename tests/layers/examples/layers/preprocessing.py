"""Further examples of `graphspec/layers/preprocessing.py`."""

from graphspec.contract.layer import Example

MORE = {
    "Rescaling": (
        Example({"scale": 2, "offset": -1.0}, ((2, 2, 1),)),
        Example({"scale": [0.5, 2, 1], "offset": [0.0, -1, 1]}, ((2, 4, 3),)),
        Example({"scale": 0.5, "offset": [0.0, -1, 1]}, ((3,),), dtype="uint8", high=9),
    ),
    "Resizing": (
        Example({"height": 3, "width": 7, "interpolation": "nearest"}, ((6, 5, 2),)),
        Example({"height": 3, "width": 7, "interpolation": "bicubic", "antialias": True}, ((6, 5, 2),)),
        Example({"height": 3, "width": 7, "antialias": True}, ((6, 5, 2),)),
        Example({"height": 3, "width": 7, "data_format": "channels_first"}, ((2, 6, 5),)),
        Example({"height": 3, "width": 7, "crop_to_aspect_ratio": True}, ((6, 5, 2),)),
        Example({"height": 6, "width": 3, "crop_to_aspect_ratio": True}, ((6, 5, 2),)),
        Example(
            {"height": 3, "width": 7, "pad_to_aspect_ratio": True, "fill_mode": "constant"}, ((6, 5, 2),)
        ),
        Example({"height": 6, "width": 3, "pad_to_aspect_ratio": True, "fill_value": 0.5}, ((6, 5, 2),)),
    ),
    "CenterCrop": (
        Example({"height": 3, "width": 4, "data_format": "channels_first"}, ((2, 5, 4),)),
        Example({"height": 5, "width": 7}, ((5, 7, 1),)),
        Example({"height": 4, "width": 6}, ((5, 4, 1),)),
        Example({"height": 2, "width": 3}, ((5, 4, 1),), dtype="uint8", high=256),
    ),
}

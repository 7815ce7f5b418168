"""Further examples of `graphspec/layers/augmentation.py`."""

from graphspec.contract.layer import Example

MORE = {
    "RandomFlip": (
        Example({"mode": "horizontal", "seed": None}, ((3, 4, 2),)),
        Example({"mode": "vertical"}, ((3, 4, 1),)),
        Example({"mode": "vertical"}, ((2, 3, 1),), dtype="uint8", high=256),
        Example({"mode": "horizontal", "data_format": "channels_first"}, ((2, 3, 4),)),
    ),
    "RandomRotation": (
        Example({"factor": [0.05, 0.3], "fill_mode": "constant", "fill_value": 2.0}, ((5, 4, 1),)),
        Example({"factor": 0.5, "fill_mode": "nearest", "interpolation": "nearest"}, ((4, 5, 1),)),
        Example({"factor": 0.3, "fill_mode": "wrap", "seed": None}, ((4, 5, 1),)),
        Example({"factor": 0.1, "data_format": "channels_first"}, ((2, 5, 6),)),
        Example({"factor": 0.25}, ((3, 4, 1),), dtype="uint8", high=256),
    ),
    "RandomTranslation": (
        Example({"height_factor": [0.1, 0.4], "width_factor": 0, "fill_mode": "constant"}, ((5, 4, 1),)),
        Example(
            {"height_factor": 0, "width_factor": [-0.5, 1], "fill_mode": "constant", "fill_value": -1.5},
            ((4, 5, 1),),
        ),
        Example({"height_factor": 0.5, "width_factor": 0.5, "fill_mode": "wrap", "seed": None}, ((4, 5, 1),)),
        Example(
            {
                "height_factor": 0.5,
                "width_factor": [0, 0.25],
                "fill_mode": "wrap",
                "interpolation": "nearest",
            },
            ((4, 5, 1),),
        ),
        Example(
            {
                "height_factor": 0.5,
                "width_factor": 0.5,
                "fill_mode": "nearest",
                "data_format": "channels_first",
            },
            ((2, 4, 5),),
        ),
    ),
    "RandomZoom": (
        Example({"height_factor": [0.2, 0.9], "width_factor": [-0.5, 0], "seed": None}, ((5, 4, 1),)),
        Example({"height_factor": 0.9, "fill_mode": "constant", "fill_value": 0.5}, ((4, 5, 1),)),
        Example({"height_factor": 0.9, "width_factor": 0.2, "interpolation": "nearest"}, ((4, 5, 1),)),
        Example({"height_factor": [0.5, 1], "fill_mode": "wrap"}, ((4, 5, 1),)),
        Example(
            {
                "height_factor": 0,
                "width_factor": 0.5,
                "fill_mode": "nearest",
                "data_format": "channels_first",
            },
            ((2, 4, 5),),
        ),
    ),
    "RandomShear": (
        Example({"x_factor": [0.2, 0.7], "fill_mode": "constant", "fill_value": 2.0}, ((5, 4, 1),)),
        Example({"y_factor": 0.6, "fill_mode": "nearest", "interpolation": "nearest"}, ((4, 5, 1),)),
        Example({"x_factor": 0.5, "fill_mode": "wrap", "seed": None}, ((4, 5, 1),)),
        Example({"y_factor": [0.1, 0.3], "data_format": "channels_first"}, ((2, 5, 6),)),
    ),
    "RandomPerspective": (
        Example({"scale": 0.5, "fill_value": 2.0, "seed": None}, ((4, 5, 1),)),
        Example({"factor": [0.8, 1], "interpolation": "nearest"}, ((5, 4, 1),)),
        Example({"scale": 0.3, "data_format": "channels_first"}, ((2, 5, 4),)),
    ),
    "RandomCrop": (
        Example({"height": 2, "width": 2, "seed": None}, ((3, 4, 1),)),
        Example({"height": 3, "width": 2, "data_format": "channels_first"}, ((2, 4, 6),)),
        Example({"height": 3, "width": 4}, ((3, 7, 2),)),
        Example({"height": 4, "width": 6}, ((5, 4, 1),)),
        Example({"height": 2, "width": 2}, ((3, 4, 1),), dtype="uint8", high=256),
    ),
    "RandomBrightness": (Example({"factor": [0.1, 0.5], "value_range": [0, 4], "seed": None}, ((2, 3, 1),)),),
    "RandomContrast": (
        Example({"factor": [0.2, 0.7], "seed": None}, ((2, 3, 1),)),
        Example({"factor": 0.9}, ((2, 3, 1),), dtype="uint8", high=256),
    ),
    "RandomErasing": (
        Example({"factor": [0.9, 1], "scale": [0.2, 0.6], "value_range": [-2, 2]}, ((4, 3, 1),)),
        Example({"factor": 0.6, "scale": 0.5, "fill_value": [-1, 5, 9]}, ((4, 5, 3),)),
        Example({"fill_value": 0, "seed": None, "data_format": "channels_first"}, ((2, 5, 4),)),
        Example({"fill_value": 3}, ((3, 4, 1),), dtype="uint8", high=256),
    ),
}

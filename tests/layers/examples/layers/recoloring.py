"""Further examples of `graphspec/layers/recoloring.py`."""

from graphspec.contract.layer import Example

MORE = {
    "RandomHue": (
        Example({"factor": [0.2, 0.9], "data_format": "channels_first", "seed": None}, ((3, 2, 3),)),
    ),
    **dict.fromkeys(
        ("RandomSaturation", "RandomColorDegeneration", "RandomGrayscale"),
        (Example({"factor": 0.7, "data_format": "channels_first", "seed": None}, ((3, 2, 3),)),),
    ),
    "RandomColorJitter": (
        Example({"contrast_factor": 0.5, "saturation_factor": [0.2, 0.6], "seed": None}, ((3, 2, 3),)),
        Example({"brightness_factor": [0.1, 0.2], "data_format": "channels_last"}, ((2, 3, 3),)),
    ),
    "RandomInvert": (
        Example({"factor": [0.6, 0.9], "data_format": "channels_first", "seed": None}, ((1, 2, 3),)),
    ),
}

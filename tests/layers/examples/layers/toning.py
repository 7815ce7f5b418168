"""Further examples of `graphspec/layers/toning.py`."""

from graphspec.contract.layer import Example

MORE = {
    "RandomPosterization": (
        Example({"factor": [3, 3], "value_range": [-4, 9], "seed": None}, ((2, 3, 1),)),
        Example({"factor": 3, "data_format": "channels_first"}, ((2, 3, 4),)),
    ),
    "Solarization": (
        Example({"threshold_factor": [0.2, 0.5], "value_range": [0, 6], "seed": None}, ((2, 3, 1),)),
    ),
    "AutoContrast": (
        Example({"value_range": [-1, 1]}, ((2, 3, 1),)),
        Example({}, ((3, 4, 2),), dtype="uint8", high=256),
    ),
}

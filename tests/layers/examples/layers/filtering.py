"""Further examples of `graphspec/layers/filtering.py`."""

from graphspec.contract.layer import Example

MORE = {
    "RandomSharpness": (
        Example({"factor": 0.8, "data_format": "channels_first", "seed": None}, ((2, 3, 4),)),
    ),
    "RandomGaussianBlur": (
        Example(
            {"factor": [0.6, 1], "kernel_size": 5, "sigma": [0.5, 1], "value_range": [0, 6]}, ((5, 6, 1),)
        ),
        Example({"sigma": 0.8, "data_format": "channels_first", "seed": None}, ((2, 3, 4),)),
    ),
}

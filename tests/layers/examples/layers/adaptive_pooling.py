"""Further examples of `graphspec/layers/adaptive_pooling.py`."""

from graphspec.contract.layer import Example

MORE = {
    **dict.fromkeys(
        ("AdaptiveAveragePooling1D", "AdaptiveMaxPooling1D"),
        (
            Example({"output_size": [4]}, ((7, 3),)),
            Example({"output_size": 5}, ((3, 2),)),
            Example({"output_size": 2, "data_format": "channels_first"}, ((3, 7),)),
        ),
    ),
    **dict.fromkeys(
        ("AdaptiveAveragePooling2D", "AdaptiveMaxPooling2D"),
        (
            Example({"output_size": [2, 3]}, ((6, 7, 3),)),
            Example({"output_size": 4}, ((3, 9, 2),)),
            Example({"output_size": [3, 2], "data_format": "channels_first"}, ((2, 5, 7),)),
        ),
    ),
    **dict.fromkeys(
        ("AdaptiveAveragePooling3D", "AdaptiveMaxPooling3D"),
        (
            Example({"output_size": [3, 1, 4]}, ((5, 4, 3, 2),)),
            Example({"output_size": [1, 2, 3], "data_format": "channels_first"}, ((2, 3, 4, 5),)),
        ),
    ),
}

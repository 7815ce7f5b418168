"""Further examples of `graphspec/layers/padding.py`."""

from graphspec.contract.layer import Example

MORE = {
    "ZeroPadding1D": (
        Example({"padding": 2}, ((5, 3),)),
        Example({"padding": [0, 3]}, ((5, 3),)),
        Example({"padding": [1, 2], "data_format": "channels_first"}, ((3, 5),)),
        Example({"padding": 1}, ((5, 3),), dtype="int32"),
    ),
    "ZeroPadding2D": (
        Example({"padding": 2}, ((4, 5, 3),)),
        Example({"padding": [0, 3]}, ((4, 5, 3),)),
        Example({"padding": [[0, 1], [2, 3]]}, ((4, 5, 3),)),
        Example({"padding": [[0, 1], [2, 3]], "data_format": "channels_first"}, ((3, 4, 5),)),
    ),
    "ZeroPadding3D": (
        Example({"padding": 2}, ((2, 3, 4, 2),)),
        Example({"padding": [0, 3, 1]}, ((2, 3, 4, 2),)),
        Example({"padding": [[0, 1], [2, 3], [4, 0]]}, ((2, 3, 4, 2),)),
        Example({"padding": [[0, 1], [2, 3], [1, 1]], "data_format": "channels_first"}, ((2, 3, 4, 5),)),
    ),
}

"""Further examples of `graphspec/layers/cropping.py`."""

from graphspec.contract.layer import Example

MORE = {
    "Cropping1D": (
        Example({"cropping": 2}, ((6, 3),)),
        Example({"cropping": [0, 2]}, ((5, 3),)),
        Example({"cropping": [2, 0]}, ((5, 3),)),
        Example({"cropping": 0}, ((5, 3),)),
        Example({"cropping": 1}, ((5, 3),), dtype="int64"),
    ),
    "Cropping2D": (
        Example({"cropping": 1}, ((4, 5, 3),)),
        Example({"cropping": [[0, 1], [1, 3]]}, ((4, 6, 3),)),
        Example({"cropping": [[0, 1], [2, 0]]}, ((4, 6, 3),)),
        Example({"cropping": [[1, 1], [0, 2]], "data_format": "channels_first"}, ((3, 4, 6),)),
    ),
    "Cropping3D": (
        Example({"cropping": 0}, ((4, 3, 5, 2),)),
        Example({"cropping": [1, 0, 2]}, ((4, 3, 5, 2),)),
        Example({"cropping": [[0, 1], [2, 0], [1, 3]]}, ((4, 3, 5, 2),)),
        Example({"cropping": [[1, 1], [0, 2], [0, 0]], "data_format": "channels_first"}, ((2, 4, 3, 5),)),
    ),
}

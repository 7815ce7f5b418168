"""Further examples of `graphspec/layers/feature_normalization.py`."""

from graphspec.contract.layer import Example

MORE = {
    "Normalization": (
        Example({"mean": [1, 2.5, 3], "variance": [1.5, 0.5, 0.25]}, ((4, 3),)),
        Example({"mean": [1, 2], "variance": [4, 9], "axis": 1, "invert": True}, ((2, 3),)),
        Example({"axis": [1, 2], "mean": [[1, 2], [3, 4]], "variance": [[1, 2], [3, 0]]}, ((2, 2, 3),)),
        Example({"axis": None, "mean": 1, "variance": 2, "invert": True}, ((2, 3),), dtype="int32"),
    ),
}

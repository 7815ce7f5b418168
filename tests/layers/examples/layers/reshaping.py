"""Further examples of `graphspec/layers/reshaping.py`."""

from graphspec.contract.layer import Example

MORE = {
    "Flatten": (
        Example({}, ((5,),)),
        Example({}, ((),)),
        Example({"data_format": "channels_first"}, ((2, 3, 4),)),
        Example({"data_format": "channels_first"}, ((5,),)),
    ),
    "Reshape": (
        Example({"target_shape": [-1, 2]}, ((4, 3),)),
        Example({"target_shape": [2, 2, 3]}, ((12,),)),
        Example({"target_shape": [-1, 3]}, ((4, 5, 3),)),
        Example({"target_shape": [4, -1]}, ((4, 5, 3),)),
        Example({"target_shape": [4, -1, 3]}, ((4, 5, 2, 3),)),
        Example({"target_shape": [5, 2, 3]}, ((5, 6),)),
        Example({"target_shape": [5, 2, 3, 7]}, ((5, 6, 7),)),
        Example({"target_shape": [3, 10]}, ((5, 6),)),
        Example({"target_shape": [5, 6]}, ((5, 6),)),
        Example({"target_shape": [1, 5, 6]}, ((5, 6),)),
        Example({"target_shape": []}, ((1, 1),)),
        Example({"target_shape": []}, ((),)),
        Example({"target_shape": [1]}, ((),)),
        Example({"target_shape": [-1, 1]}, ((),)),
    ),
    "Permute": (
        Example({"dims": [3, 1, 2]}, ((2, 3, 4),)),
        Example({"dims": [1]}, ((3,),)),
        Example({"dims": [2, 1]}, ((3, 4),), dtype="int32"),
    ),
    "RepeatVector": (Example({"n": 1}, ((4,),), dtype="int64"),),
    "Identity": (
        Example({}, ((2, 3, 4),)),
        Example({}, ((4,),), dtype="int64"),
    ),
}

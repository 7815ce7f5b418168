"""Further examples of `graphspec/ops/placing.py`."""

from graphspec.contract.layer import Example

MORE = {
    "SliceOperation": (
        Example({"start_indices": [0, 0, 2], "shape": [-1, 3, -1]}, ((3, 5),), dtype="int32"),
    ),
    "SliceUpdate": (Example({"start_indices": [0, 2]}, ((5,), (1,))),),
    "Scatter": (
        Example({"shape": [3, 3]}, ((4, 2), (4,)), dtypes=("int32", "float32"), high=3),
        Example({"shape": [3, 2]}, ((4, 1), (4, 2)), dtypes=("int64", "float32"), high=3),
    ),
    "ScatterUpdate": (Example({}, ((3, 2), (1, 2), (1,)), dtypes=("float32", "int32", "float32"), high=2),),
    "_Segments": (
        Example({"num_segments": 3, "sorted": False}, ((5,), (5,)), dtypes=("float32", "int32"), high=3),
    ),
}

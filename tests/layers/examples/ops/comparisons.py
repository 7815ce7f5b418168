"""Further examples of `graphspec/ops/comparisons.py`."""

from graphspec.contract.layer import Example

MORE = {
    "_Comparison": (
        Example({"x1": 0.5}, ((4,),)),
        Example({"x2": 1}, ((4,),), dtype="int64", high=3),
    ),
    "Isclose": (
        Example({"x1": 0.5, "equal_nan": True}, ((4,),)),
        Example({"x2": 1.0}, ((4,),)),
    ),
    "_Logic": (Example({}, ((3, 4), (3, 1)), dtype="int32"),),
    "LogicalNot": (Example({}, ((3, 4),), dtype="int32"),),
    "Where": (
        Example({"x1": 0.5}, ((3, 1), (3, 4)), dtypes=("bool", "float32")),
        Example({"x2": 0}, ((3, 4), (3, 4)), dtypes=("int32", "float32")),
        Example({"x1": 1, "x2": -1.0}, ((3, 4),), dtype="bool"),
        Example({"x1": [1, 2, 3, 4]}, ((3, 4), (3, 4)), dtypes=("bool", "float32")),
        Example({"x2": [1.5, 2, 3, 4], "x1": 0}, ((3, 4),), dtype="bool"),
    ),
}

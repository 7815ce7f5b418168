"""Further examples of `graphspec/ops/reductions.py`."""

from graphspec.contract.layer import Example

MORE = {
    "_Reduction": (
        Example({"axis": -1, "keepdims": True}, ((3, 4),)),
        Example({"axis": [1, 2]}, ((3, 4, 2),)),
        Example({"axis": 1}, ((3, 4),), dtype="int32", high=9),
    ),
    "_Extreme": (
        Example({"axis": -1, "keepdims": True}, ((3, 4),)),
        Example({"axis": [1, 2]}, ((3, 4, 2),)),
        Example({"axis": 1}, ((3, 4),), dtype="int32", high=9),
        Example({"axis": 1, "initial": 0.5}, ((3, 4),)),
    ),
    "Prod": (
        Example({"axis": -1, "keepdims": True}, ((3, 4),)),
        Example({"axis": [1, 2]}, ((3, 4, 2),)),
        Example({"axis": 1}, ((3, 4),), dtype="int32", high=9),
        Example({"axis": 1, "dtype": "float32"}, ((3, 4),), dtype="int32"),
    ),
    "Norm": (
        Example({"axis": -1, "keepdims": True, "ord": 1}, ((3, 4),)),
        Example({"axis": 2, "ord": 3}, ((3, 4),)),
        Example({"axis": [1, 2]}, ((3, 4, 2),)),
    ),
    "_Whether": (
        Example({"axis": [1, -1], "keepdims": True}, ((3, 4, 2),), dtype="bool"),
        Example({"axis": -1}, ((3, 2),), dtype="int32"),
    ),
    "_AlongOne": (
        Example({"axis": -1, "keepdims": True}, ((3, 4),)),
        Example({"axis": 1}, ((3, 4),), dtype="int32", high=99),
    ),
    "CountNonzero": (
        Example({"axis": -1}, ((3, 4),), dtype="bool"),
        Example({"axis": [1, 2]}, ((3, 4),), dtype="int64"),
    ),
    "Quantile": (
        Example({"axis": -1, "q": 0.5, "keepdims": True, "method": "lower"}, ((3, 4),)),
        Example({"axis": 1, "q": 1}, ((3,),), dtype="int32", high=9),
    ),
    "Percentile": (
        Example({"axis": -1, "q": 12.5, "keepdims": True, "method": "lower"}, ((3, 4),)),
        Example({"axis": 1, "q": 100}, ((3,),), dtype="int32", high=9),
    ),
    "AverageOperation": (
        Example({"axis": -1}, ((3, 4), (3, 4))),
        Example({"axis": 1}, ((4,), (4,))),
    ),
    "Trapezoid": (Example({"dx": 0.5, "axis": 1}, ((3, 4),)),),
}

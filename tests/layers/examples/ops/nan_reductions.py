"""Further examples of `graphspec/ops/nan_reductions.py`."""

from graphspec.contract.layer import Example

MORE = {
    "Nanprod": (
        Example({"axis": -1, "keepdims": True}, ((3, 4),)),
        Example({"axis": [1, 2]}, ((3, 4, 2),)),
        Example({"axis": 1}, ((3, 4),), dtype="int32", high=9),
    ),
}

"""Further examples of `graphspec/ops/cumulative.py`."""

from graphspec.contract.layer import Example

MORE = {
    "_Running": (
        Example({"axis": -1}, ((3, 4),)),
        Example({"axis": 1}, ((3, 4),), dtype="int32", high=9),
        Example({"axis": 1, "dtype": "float32"}, ((3, 4),), dtype="int32"),
    ),
}

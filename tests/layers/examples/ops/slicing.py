"""Further examples of `graphspec/ops/slicing.py`."""

from graphspec.contract.layer import Example

MORE = {
    "GetItem": (
        Example({"key": ":, -1:"}, ((3, 4),)),
        Example({"key": ":, 1:-1, ::2"}, ((4, 5),)),
        Example({"key": "..., 1:3"}, ((3, 4),)),
        Example({"key": ":, None, ..., -2"}, ((2, 3, 4),)),
        Example({"key": ":, :2, 1::2"}, ((3, 4),), dtype="int32"),
        Example({"key": ":, ::-1"}, ((3, 4),)),
        Example({"key": ":, None, 2::-1, ..., -1:-4:-2"}, ((4, 5),)),
    ),
}

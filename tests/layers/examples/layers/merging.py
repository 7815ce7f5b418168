"""Further examples of `graphspec/layers/merging.py`."""

from graphspec.contract.layer import Example

MORE = {
    "Add": (
        Example({}, ((4, 5, 3), (4, 5, 3))),
        Example({}, ((4, 1, 3), (4, 5, 1), (3,))),
        Example({}, ((3, 4), (3, 4)), dtype="int32", high=9),
        Example({}, ((2, 3), (2, 3), (2, 3), (2, 3), (2, 3), (2, 3))),
        Example({}, ((5,),)),
    ),
    "Subtract": (Example({}, ((2, 3, 4), (4,))), Example({}, ((4,), (2, 3, 4)))),
    "Multiply": (
        Example({}, ((4, 5, 3), (4, 5, 3))),
        Example({}, ((4, 1, 3), (4, 5, 1), (3,))),
        Example({}, ((3, 4), (1, 4), (3, 1))),
    ),
    "Average": (
        Example({}, ((4, 1, 3), (4, 5, 1), (3,))),
        Example({}, ((3, 4), (3, 4)), dtype="int32", high=9),
        Example({}, ((2, 3), (2, 3), (2, 3), (2, 3), (2, 3), (2, 3))),
    ),
    **dict.fromkeys(
        ("Maximum", "Minimum"),
        (
            Example({}, ((4, 1, 3), (4, 5, 1), (3,))),
            Example({}, ((3, 4), (3, 4), (3, 4))),
        ),
    ),
    "Concatenate": (
        Example({"axis": 1}, ((2, 3), (5, 3), (1, 3))),
        Example({"axis": -2}, ((4, 2, 3), (4, 5, 3))),
        Example({}, ((4, 4, 2), (4, 4, 3))),
        Example({"axis": 1}, ((2, 3), (2, 3)), dtype="int64", high=9),
    ),
    "Stack": (
        Example({"axis": -1}, ((2, 3), (2, 3), (2, 3))),
        Example({"axis": 2}, ((4, 2, 3),) * 2),
    ),
    "Dot": (
        Example({"axes": -1, "normalize": True}, ((7,), (7,))),
        Example({"axes": [1, 2]}, ((3, 5), (10, 3))),
        Example({"axes": [2, 1], "normalize": True}, ((3, 5), (5, 4))),
        Example({"axes": [1, 2]}, ((4,), (6, 4))),
        Example({"axes": [2, 1]}, ((6, 4), (4,))),
        Example({"axes": [3, 1]}, ((2, 3, 4), (4, 5, 2))),
        Example({"axes": [1, 3]}, ((4, 2, 3), (5, 2, 4))),
    ),
}

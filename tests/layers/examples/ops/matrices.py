"""Further examples of `graphspec/ops/matrices.py`."""

from graphspec.contract.layer import Example

MORE = {
    "Matmul": (
        Example({}, ((2, 3, 4), (2, 4, 5))),
        Example({}, ((2, 3, 4), (1, 4, 5))),
    ),
    "Einsum": (
        Example({"subscripts": "bhqd,bhkd->bhqk"}, ((2, 3, 4), (2, 5, 4))),
        Example({"subscripts": "bij->bj"}, ((3, 4),)),
        Example({"subscripts": "bi,bj,bk->bijk"}, ((2,), (3,), (4,))),
    ),
    "Cross": (Example({"axis": 1}, ((3, 4), (3, 1))),),
    "Diagonal": (
        Example({"axis1": -1, "axis2": 1, "offset": 1}, ((4, 2, 5),)),
        Example({"axis1": 1, "axis2": 2, "offset": -1}, ((3, 4),), dtype="int32"),
    ),
    "Trace": (Example({"axis1": -1, "axis2": 1, "offset": 1}, ((4, 2, 5),)),),
    "_Triangle": (Example({"k": -1}, ((2, 3, 3),)), Example({"k": 1}, ((3, 3),))),
    **dict.fromkeys(("Inv", "Det"), (Example({}, ((2, 4, 4),)),)),
    "Solve": (Example({}, ((2, 3, 3), (2, 3, 1))),),
}

"""Further examples of `graphspec/ops/normalization.py`."""

from graphspec.contract.layer import Example

MORE = {
    "Normalize": (
        Example({"axis": 1, "order": 1}, ((3, 4),)),
        Example({"order": 3, "epsilon": 1e-3}, ((4,),)),
    ),
    "_AlongAxes": (
        Example({"axis": -2, "epsilon": 0.1}, ((3, 4),)),
        Example({"axis": [1, 2]}, ((3, 4),)),
    ),
    "Moments": (Example({"axes": [1, -1], "keepdims": True}, ((3, 4, 2),)),),
    "BatchNormalizationOperation": (
        Example({"axis": 1, "epsilon": 9.0}, ((3, 4, 2), (3,), (3,), (3,), (3,))),
    ),
}

"""Further examples of `graphspec/ops/selection.py`."""

from graphspec.contract.layer import Example

MORE = {
    "Take": (
        Example({"indices": -1, "axis": -1}, ((3, 4),)),
        Example({"indices": [2, 0, 2], "axis": 1}, ((3, 4),)),
        Example({"indices": 1, "axis": 2}, ((3, 4, 2),), dtype="int32", high=9),
        Example({"axis": 1}, ((3, 4), (5,)), dtypes=("float32", "int64"), high=3),
        Example({"axis": -1}, ((3, 4), (2, 5)), dtypes=("float32", "int32"), high=4),
    ),
    "TakeAlongAxis": (Example({"axis": -1}, ((3, 4), (1, 5)), dtypes=("float32", "int32"), high=4),),
    "Diff": (Example({"n": 2, "axis": 1}, ((3, 4),)),),
    "Sort": (Example({"axis": 1}, ((3, 4),)),),
    "Argsort": (Example({"axis": 1}, ((3, 4),), dtype="int32", high=3),),
    "TopK": (Example({"k": 4, "sorted": True}, ((4,),)),),
    "OneHot": (Example({"num_classes": 5, "axis": 1}, ((3, 2),), dtype="int32", high=5),),
    "SplitOperation": (Example({"indices_or_sections": [1, 3], "axis": -1}, ((3, 4),)),),
    "Unstack": (Example({"num": 4, "axis": -1}, ((3, 4),)),),
}

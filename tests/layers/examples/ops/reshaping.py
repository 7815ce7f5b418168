"""Further examples of `graphspec/ops/reshaping.py`."""

from graphspec.contract.layer import Example

MORE = {
    "ReshapeOperation": (Example({"newshape": [-1, 12]}, ((2, 3, 2),)),),
    "BroadcastTo": (Example({"shape": [-1, 5]}, ((1,),)),),
}

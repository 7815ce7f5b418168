"""Further examples of `graphspec/ops/encoding.py`."""

from graphspec.contract.layer import Example

MORE = {
    "MultiHot": (Example({"num_classes": 5}, ((9,),), dtype="int32", high=5),),
}

"""Further examples of `graphspec/ops/searching.py`."""

from graphspec.contract.layer import Example

MORE = {
    "Digitize": (Example({"bins": [0.25]}, ((4,),)),),
    "Searchsorted": (Example({"sorted_sequence": [-0.5, 0.5], "side": "right"}, ((4,),)),),
    "Isin": (
        Example({"x2": [2], "invert": True}, ((4,),), dtype="int64", high=5),
        Example({"x2": [0.5, 1]}, ((4,),)),
    ),
    "InTopK": (Example({"k": 5}, ((), (5,)), dtypes=("int32", "float32"), high=5),),
}

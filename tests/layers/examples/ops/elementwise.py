"""Further examples of `graphspec/ops/elementwise.py`."""

from graphspec.contract.layer import Example

MORE = {
    "_Function": (Example({}, ((4,),), dtype="int32", high=9),),
    "Round": (Example({"decimals": 1}, ((3, 4),)),),
    "NanToNum": (Example({"nan": 1.0, "posinf": 9.0, "neginf": -9.0}, ((3, 4),)),),
    "Clip": (Example({"x_min": 2, "x_max": 5}, ((4,),), dtype="int32", high=9),),
    "ZerosLike": (Example({"dtype": "bool"}, ((3, 4),)),),
    "OnesLike": (Example({"dtype": "int32"}, ((3, 4),)),),
    "FullLike": (
        Example({"fill_value": 2}, ((4,),), dtype="int32", high=9),
        Example({"fill_value": 2, "dtype": "int64"}, ((4,),)),
    ),
    "Cast": (
        Example({"dtype": "int32"}, ((3, 4),)),
        Example({"dtype": "bool"}, ((3, 4),), dtype="int32"),
        Example({}, ((3, 4), (2,)), dtypes=("int32", "float32"), high=9),
    ),
}

"""Further examples of `graphspec/layers/encoding.py`."""

from graphspec.contract.layer import Example

MORE = {
    "CategoryEncoding": (
        Example({"num_tokens": 3}, ((1,),), dtype="int32", high=3),
        Example({"num_tokens": 6, "output_mode": "count"}, ((9,),), dtype="int64", high=6),
        Example({"num_tokens": 6, "output_mode": "count"}, ((9,),), dtype="int32", high=6),
        Example({"num_tokens": 4, "output_mode": "count"}, ((7,), (7,)), dtypes=("int64", "float32"), high=4),
        Example({"num_tokens": 6, "output_mode": "one_hot"}, ((),), dtype="int64", high=6),
        Example({"num_tokens": 6, "output_mode": "one_hot"}, ((1,),), dtype="int64", high=6),
        Example({"num_tokens": 6, "output_mode": "one_hot"}, ((5,),), dtype="int32", high=6),
        Example({"num_tokens": 5, "output_mode": "one_hot"}, ((3, 1),), dtype="uint8", high=5),
        Example({"num_tokens": 5, "output_mode": "one_hot"}, ((2, 3),), dtype="int64", high=5),
    ),
    "Discretization": (
        Example({"bin_boundaries": [0.0], "output_mode": "one_hot"}, ((3,),)),
        Example({"bin_boundaries": [-0.5, 0.5], "output_mode": "one_hot"}, ((1,),)),
        Example({"bin_boundaries": [-0.5, 0.5], "output_mode": "multi_hot"}, ((4,),)),
        Example({"bin_boundaries": [-0.5, 0.5], "output_mode": "count"}, ((4,),)),
    ),
}

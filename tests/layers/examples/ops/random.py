"""Further examples of `graphspec/ops/random.py`."""

from graphspec.contract.layer import Example

MORE = {
    **dict.fromkeys(
        ("RandomNormal", "RandomTruncatedNormal"),
        (Example({"mean": 1.0, "stddev": 0.5, "seed": None}, ((8,),)),),
    ),
    "RandomUniform": (Example({"minval": -1.0, "maxval": 2.0, "seed": None}, ((8,),)),),
    "RandomBinomial": (Example({"counts": 10, "probabilities": 0.25, "seed": None}, ((3, 4),)),),
    "RandomShuffle": (Example({"axis": 2}, ((3, 5),)),),
}

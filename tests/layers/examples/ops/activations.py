"""Further examples of `graphspec/ops/activations.py`."""

from graphspec.contract.layer import Example

MORE = {
    **dict.fromkeys(("Sigmoid", "Relu", "Tanh"), (Example({}, ((4,),), dtype="int32", high=9),)),
    **dict.fromkeys(("Elu", "Celu"), (Example({"alpha": 0.5}, ((3, 4),)),)),
    "LeakyRelu": (Example({"negative_slope": 0.5}, ((3, 4),)),),
    **dict.fromkeys(("SoftShrink", "HardShrink"), (Example({"threshold": 0.2}, ((3, 4),)),)),
    "Gelu": (Example({"approximate": False}, ((3, 4),)),),
    "Squareplus": (Example({"b": 1.0}, ((3, 4),)),),
    "_Along": (Example({"axis": 1}, ((4, 3),)), Example({"axis": -2}, ((2, 4, 3),))),
}

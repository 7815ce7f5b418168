"""Further examples of `graphspec/ops/crossentropies.py`."""

from graphspec.contract.layer import Example

MORE = {
    "BinaryCrossentropyOperation": (Example({"from_logits": True}, ((4,), (4,))),),
    "CategoricalCrossentropyOperation": (Example({"from_logits": True}, ((4,), (4,))),),
    "SparseCategoricalCrossentropyOperation": (Example({}, ((), (5,)), dtypes=("int32", "float32"), high=5),),
}

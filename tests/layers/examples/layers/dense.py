"""Further examples of `graphspec/layers/dense.py`."""

from graphspec.contract.layer import Example

MORE = {
    "Dense": (
        Example({"units": 3, "activation": "relu", "use_bias": False}, ((4, 7),)),
        Example({"units": 6, "activation": "softmax"}, ((2, 3, 4),)),
        Example({"units": 6, "activation": "glu"}, ((4,),)),
        Example({"units": 6, "activation": {"name": "softmax", "axis": 1}}, ((2, 3, 4),)),
        Example({"units": 8, "kernel_initializer": "lecun_normal", "bias_initializer": "ones"}, ((40,),)),
    ),
}

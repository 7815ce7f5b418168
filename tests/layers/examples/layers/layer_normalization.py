"""Further examples of `graphspec/layers/layer_normalization.py`."""

from graphspec.contract.layer import Example

MORE = {
    "LayerNormalization": (
        Example({}, ((4, 3, 5),)),
        Example({"axis": [1, 2, 3]}, ((4, 3, 5),)),
        Example({"axis": [-1, -2]}, ((4, 3, 5),)),
        Example({"axis": 2, "epsilon": 1e-5}, ((4, 5),)),
        Example({"axis": [3, 1], "scale": False}, ((4, 3, 5),)),
        Example({"axis": [1, 3]}, ((4, 3, 5),)),  # Keras fails on torch along axis 1 alone
        Example({"center": False}, ((4, 5),)),
        Example({"scale": False}, ((4, 5),)),
        Example({"scale": False, "center": False}, ((4, 5),)),
        Example({"beta_initializer": "ones", "gamma_initializer": "he_uniform"}, ((40,),)),
        Example({"axis": [1, 2], "gamma_initializer": "lecun_uniform"}, ((30, 5),)),
        Example({"axis": [1, 2, 3], "gamma_initializer": "glorot_normal"}, ((9, 3, 5),)),
    ),
    "RMSNormalization": (
        Example({}, ((4, 3, 5),)),
        Example({"axis": [2, 3], "epsilon": 0.01}, ((4, 3, 5),)),
        Example({"axis": 2}, ((4, 5),)),
    ),
    "UnitNormalization": (
        Example({"axis": 1}, ((4, 3, 5),)),
        Example({"axis": [1, 3]}, ((4, 3, 5),)),
        Example({"axis": -2}, ((4, 5),)),
    ),
    "GroupNormalization": (
        Example({"groups": 2}, ((4, 3, 6),)),
        Example({"groups": 3}, ((4, 6),)),
        Example({"groups": -1}, ((4, 3, 5),)),
        Example({"groups": -1}, ((5,),)),
        Example({"groups": 1, "axis": 1, "epsilon": 1e-5}, ((6, 4, 3),)),
        Example({"groups": 2, "axis": -2}, ((3, 6, 4),)),
        Example({"groups": 2, "axis": 2}, ((3, 6, 4),)),
        Example({"groups": 2, "center": False}, ((4, 3, 6),)),
        Example({"groups": 2, "scale": False}, ((4, 3, 6),)),
        Example({"groups": 2, "scale": False, "center": False}, ((4, 3, 6),)),
        Example({"groups": 2, "beta_initializer": "ones", "gamma_initializer": "he_normal"}, ((3, 6),)),
    ),
}

"""Further examples of `graphspec/layers/wrappers.py`."""

from graphspec.contract.layer import Example

MORE = {
    "TimeDistributed": (
        Example({"wraps": {"layer": "Conv2D", "filters": 2, "kernel_size": 3}}, ((2, 5, 5, 3),)),
        Example({"wraps": {"layer": "BatchNormalization"}}, ((3, 5),)),
        Example({"wraps": {"layer": "BatchNormalization", "momentum": 0.9}}, ((2, 4, 4, 3),)),
        Example({"wraps": {"layer": "Softmax", "axis": 1}}, ((3, 2, 4),)),
        Example(
            {"wraps": {"layer": "Dense", "units": 4, "activation": {"name": "softmax", "axis": 1}}},
            ((3, 2, 5),),
        ),
    ),
    "SpectralNormalization": (
        Example(
            {"wraps": {"layer": "Dense", "units": 4, "activation": "relu", "use_bias": False}}, ((3, 5),)
        ),
        Example(
            {"power_iterations": 3, "wraps": {"layer": "Conv2D", "filters": 2, "kernel_size": 3}},
            ((5, 5, 3),),
        ),
        Example({"wraps": {"layer": "Conv1D", "filters": 4, "kernel_size": 3, "padding": "same"}}, ((6, 3),)),
        Example({"wraps": {"layer": "Conv2DTranspose", "filters": 4, "kernel_size": 2}}, ((3, 4, 2),)),
        Example(
            {"wraps": {"layer": "EinsumDense", "equation": "abc,cd->abd", "output_shape": [None, 4]}},
            ((3, 5),),
        ),
        Example(
            {"wraps": {"layer": "Embedding", "input_dim": 7, "output_dim": 4}}, ((3,),), dtype="int64", high=7
        ),
    ),
}

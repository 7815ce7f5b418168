"""Further examples of `graphspec/layers/regularization.py`."""

from graphspec.contract.layer import Example

MORE = {
    "Dropout": (
        Example({"rate": 0.0, "seed": None}, ((6,),)),
        Example({"rate": 1}, ((6,),)),
        Example({"rate": 0.5, "noise_shape": [None, 1, 500]}, ((4, 500),)),
        Example({"rate": 0.5, "noise_shape": [None, None, 1, 200]}, ((4, 5, 200),)),
    ),
    "AlphaDropout": (
        Example({"rate": 0.5, "seed": None}, ((4, 3, 2),)),
        Example({"rate": 0.5, "noise_shape": [None, 1, 500]}, ((4, 500),)),
        Example({"rate": 0.25, "noise_shape": [None, None, 1, 200]}, ((4, 5, 200),)),
    ),
    "SpatialDropout1D": (
        Example({"rate": 0.5, "seed": None}, ((3, 100),)),
        Example({"rate": 0}, ((3, 4),)),
    ),
    "SpatialDropout2D": (
        Example({"rate": 0.5, "seed": None, "data_format": "channels_first"}, ((90, 2, 3),)),
    ),
    "SpatialDropout3D": (
        Example({"rate": 0.5, "seed": None, "data_format": "channels_first"}, ((90, 2, 3, 2),)),
    ),
    "GaussianNoise": (Example({"stddev": 1, "seed": None}, ((4, 3, 2),)),),
    "GaussianDropout": (Example({"rate": 0.5, "seed": None}, ((4, 3, 2),)),),
    "ActivityRegularization": (Example({"l2": 0.5}, ((5, 3),)),),
}

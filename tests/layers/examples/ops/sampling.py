"""Further examples of `graphspec/ops/sampling.py`."""

from graphspec.contract.layer import Example

MORE = {
    "AffineTransform": (
        Example({"fill_value": 2.0, "data_format": "channels_first"}, ((1, 5, 4), (8,))),
        Example({"fill_mode": "reflect", "interpolation": "nearest"}, ((5, 3, 1), (8,))),
        Example({"fill_mode": "wrap"}, ((3, 4, 1), (8,))),
        Example({"fill_mode": "nearest"}, ((4, 4, 1), (8,))),
    ),
    "PerspectiveTransform": (
        Example(
            {"fill_value": 2.0, "interpolation": "nearest", "data_format": "channels_first"},
            ((1, 5, 4), (4, 2), (4, 2)),
        ),
    ),
    "MapCoordinates": (
        Example({"order": 0, "fill_value": 2.0}, ((5,), (1, 2, 3))),
        Example({"order": 1, "fill_mode": "nearest"}, ((2, 3, 2), (3, 4))),
        Example({"order": 1, "fill_mode": "wrap"}, ((3, 4), (2, 5))),
        Example({"order": 1, "fill_mode": "mirror"}, ((3, 4), (2, 5))),
        Example({"order": 0, "fill_mode": "reflect"}, ((3, 2), (2, 5))),
    ),
    "ScaleAndTranslate": (
        Example(
            {
                "output_shape": [-1, 4, 3],
                "scale": [0.45],
                "translation": [0.2],
                "spatial_dims": [-1],
                "method": "cubic",
                "antialias": False,
            },
            ((4, 6),),
        ),
        Example(
            {
                "output_shape": [-1, 5],
                "scale": [0.7],
                "translation": [-0.4],
                "spatial_dims": [1],
                "method": "bicubic",
            },
            ((8,),),
        ),
        Example(
            {
                "output_shape": [-1, 5],
                "scale": [0.7],
                "translation": [-0.4],
                "spatial_dims": [1],
                "method": "lanczos3",
            },
            ((8,),),
        ),
        Example(
            {
                "output_shape": [-1, 5],
                "scale": [0.7],
                "translation": [-0.4],
                "spatial_dims": [1],
                "method": "lanczos5",
            },
            ((8,),),
        ),
    ),
    "ElasticTransform": (
        Example({"alpha": 3.0, "sigma": 0.4, "fill_mode": "constant", "fill_value": 2.0}, ((4, 4, 1),)),
        Example(
            {"alpha": 3.0, "sigma": 0.4, "interpolation": "nearest", "data_format": "channels_first"},
            ((1, 4, 4),),
        ),
        Example({"alpha": 2.0, "sigma": 0.4, "fill_mode": "wrap", "seed": None}, ((3, 4, 1),)),
    ),
}

"""Further examples of `graphspec/layers/batch_normalization.py`."""

from graphspec.contract.layer import Example

MORE = {
    "BatchNormalization": (
        Example({}, ((4, 5),)),
        Example({}, ((4, 3, 5),)),
        Example({}, ((6, 3),), masks={"mask": (6,)}),
        Example({"axis": 1, "scale": False, "center": False}, ((6, 3),), masks={"mask": (6,)}),
        Example({}, ((4, 3, 5),), masks={"mask": (4, 3)}),
        Example({"axis": 1}, ((4, 3, 5),), masks={"mask": (4, 3)}),
        Example({"axis": 1}, ((5, 3, 4),)),
        Example({"axis": 2}, ((3, 5, 4),)),
        Example({"axis": -2, "epsilon": 1e-5}, ((5, 4),)),
        Example({"momentum": 0.9, "center": False}, ((4, 4, 3),)),
        Example({"scale": False}, ((4, 4, 3),)),
        Example({"scale": False, "center": False}, ((4, 3),)),
        Example(
            {
                "beta_initializer": "ones",
                "gamma_initializer": "he_uniform",
                "moving_mean_initializer": {"name": "constant", "value": 0.5},
                "moving_variance_initializer": {"name": "constant", "value": 2.0},
            },
            ((4, 4, 3),),
        ),
    ),
}

"""Further examples of `graphspec/layers/masking.py`."""

from graphspec.contract.layer import Example

MORE = {
    "Masking": (
        Example({"mask_value": 1.0}, ((5, 3),)),
        Example({"mask_value": 2.0}, ((4, 5, 3),)),
    ),
}

"""Further examples of `graphspec/layers/positions.py`."""

from graphspec.contract.layer import Example

MORE = {
    "SinePositionEncoding": (Example({"max_wavelength": 50}, ((2, 7, 5),)),),
    "RotaryEmbedding": (
        Example({"feature_axis": -1}, ((5, 2, 6),)),
        Example({"max_wavelength": 100, "scaling_factor": 4, "sequence_axis": 2}, ((2, 7, 4),)),
    ),
}

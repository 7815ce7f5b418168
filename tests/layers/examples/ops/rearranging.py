"""Further examples of `graphspec/ops/rearranging.py`."""

from graphspec.contract.layer import Example

MORE = {
    "Transpose": (Example({"axes": [0, -1, 1, 2]}, ((2, 3, 4),)),),
    "ExpandDims": (
        Example({"axis": -1}, ((3, 4),)),
        Example({"axis": [1, -1]}, ((4,),)),
    ),
    "Squeeze": (
        Example({"axis": [1, -1]}, ((1, 4, 1),)),
        Example({}, ((1, 4, 1),)),
    ),
    "Swapaxes": (Example({"axis1": -1, "axis2": 1}, ((2, 3, 4),)),),
    "Moveaxis": (Example({"source": [1, 2], "destination": [3, 1]}, ((2, 3, 4),)),),
    "Flip": (Example({"axis": [1, -1]}, ((3, 4),)),),
    "Roll": (Example({"shift": [1, -2], "axis": [1, -1]}, ((3, 4),)),),
    "Repeat": (Example({"repeats": 3, "axis": -1}, ((3, 4),)),),
    "Tile": (
        Example({"repeats": [2, 3]}, ((3, 4),)),
        Example({"repeats": 2}, ((4,),)),
    ),
    "Pad": (
        Example({"pad_width": [[0, 0], [1, 2], [2, 0]], "mode": "reflect"}, ((3, 4),)),
        Example({"pad_width": [[0, 0], [2, 0], [1, 1], [0, 0]], "mode": "reflect"}, ((3, 4, 2),)),
        Example({"pad_width": [[0, 0], [1, 1]], "constant_values": -1}, ((4,),)),
        Example({"pad_width": [[0, 0], [1, 5], [2, 0]], "mode": "edge"}, ((3, 4),)),
        Example({"pad_width": [[0, 0], [2, 0], [1, 1], [0, 0]], "mode": "edge"}, ((3, 4, 2),)),
        Example({"pad_width": [[0, 0], [1, 1]], "constant_values": 5}, ((4,),), dtype="int32"),
    ),
    "Rot90": (
        Example({"axes": [-1, 1], "k": -2}, ((3, 4, 2),), dtype="int32"),
        Example({"axes": [1, 3], "k": 3}, ((3, 4, 2),)),
    ),
    "ExtractSequences": (Example({"sequence_length": 2, "sequence_stride": 3}, ((3, 8),)),),
    "Ravel": (Example({}, ((2, 3, 4),), dtype="int32"), Example({}, ((3,),))),
    "Diag": (
        Example({"k": -1}, ((3,),)),
        Example({}, ((3, 4),)),
        Example({"k": 1}, ((3, 4),)),
    ),
    "Diagflat": (Example({"k": 2}, ((2, 2),)), Example({"k": 1}, ((),))),
}

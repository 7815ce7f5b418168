"""Further examples of `graphspec/ops/creation.py`."""

from graphspec.contract.layer import Example

MORE = {
    "_Filled": (Example({"shape": [], "dtype": "int32"}, ()),),
    "Full": (Example({"shape": [2], "fill_value": 3, "dtype": "int32"}, ()),),
    "EyeOf": (
        Example({"N": 3, "M": 4, "k": 1, "dtype": "int32"}, ()),
        Example({"N": 3, "k": -1}, ()),
    ),
    "Linspace": (Example({"start": -1.0, "stop": 2, "num": 4, "endpoint": False, "dtype": "float64"}, ()),),
    "Arange": (
        Example({"axis": -1, "start": 2, "step": 3, "dtype": "int32"}, ((3, 4),)),
        Example({"axis": 2, "start": 0.5, "step": -0.25, "dtype": "float32"}, ((3, 4),)),
    ),
    "SequenceMask": (Example({}, ((3,), (6, 2)), dtypes=("int32", "float32"), high=7),),
}

"""Further examples of `graphspec/ops/arithmetic.py`."""

from graphspec.contract.layer import Example

MORE = {
    "_Arithmetic": (
        Example({}, ((3, 4), (3, 1))),
        Example({"x2": 0.5}, ((3, 4),)),
        Example({"x2": [0.5, 1, 2, -3]}, ((3, 4),)),
        Example({"x1": -2.5}, ((4,),)),
        Example({"x1": 3}, ((4,),)),
        Example({"x2": 2}, ((4,),), dtype="int32", high=9),
    ),
    **dict.fromkeys(
        ("Mod", "FloorDivide"),
        (
            Example({}, ((3, 4), (3, 1))),
            Example({"x2": 0.5}, ((3, 4),)),
            Example({"x2": [0.5, 1, 2, -3]}, ((3, 4),)),
            Example({"x1": 7}, ((4,),)),
            Example({"x2": 3}, ((4,),), dtype="int32", high=9),
        ),
    ),
    "Power": (
        Example({"x2": 3.0}, ((3, 4),)),
        Example({"x1": 2.0}, ((4,),)),
        Example({}, ((3,), (3,)), dtype="int32", high=3),
    ),
    "_ExtremeOfTwo": (
        Example({}, ((3, 4), (3, 1))),
        Example({"x2": 0.5}, ((3, 4),)),
        Example({"x2": [0.5, 1, 2, -3]}, ((3, 4),)),
        Example({"x1": 0}, ((4,),)),
    ),
    "DivideNoNan": (
        Example({}, ((3, 4), (3, 1))),
        Example({"x2": 0.5}, ((3, 4),)),
        Example({"x1": 2.0}, ((4,),)),
        Example({}, ((4,), (4,)), dtype="int32", high=3),
    ),
    "_OfTwoFloats": (
        Example({"x1": -1.5}, ((4,),)),
        Example({"x2": 2}, ((4,),)),
    ),
    "Heaviside": (
        Example({}, ((3, 4), (3, 1)), dtype="int32", high=3),
        Example({"x2": 0.5}, ((4,),), dtype="int32", high=3),
        Example({"x2": 1}, ((4,),)),
        Example({"x2": [1, 0, 0.5, 1]}, ((4,),)),
    ),
    "Ldexp": (Example({}, ((3, 4), (3, 1)), dtypes=("float32", "int64"), high=9),),
}

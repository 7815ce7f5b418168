"""Further examples of `graphspec/ops/bitwise.py`."""

from graphspec.contract.layer import Example

MORE = {
    "_Bits": (
        Example({}, ((3,), (3,)), dtypes=("uint8", "int64"), high=99),
        Example({}, ((3,), (3,)), dtype="bool"),
        Example({"y": 5}, ((3, 4),), dtype="int32", high=99),
    ),
    "_Shift": (Example({"y": 2}, ((3, 4),), dtype="int64", high=99),),
    "_Inversion": (
        Example({}, ((3,),), dtype="uint8", high=99),
        Example({}, ((3,),), dtype="bool"),
    ),
    "_Divisors": (
        Example({"x1": 12}, ((3, 4),), dtype="int64", high=99),
        Example({"x2": 12}, ((3, 4),), dtype="int32", high=99),
    ),
}

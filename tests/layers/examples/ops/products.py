"""Further examples of `graphspec/ops/products.py`."""

from graphspec.contract.layer import Example

MORE = {
    "DotOperation": (
        Example({}, ((2, 3), (3,))),
        Example({}, ((3,), (3, 4))),
        Example({}, ((2, 3), (3, 4))),
    ),
    "Inner": (Example({}, ((2, 3), (4, 3))), Example({}, ((3,), (2, 4, 3)))),
    "Outer": (Example({}, ((1,), (2,))),),
    "Tensordot": (
        Example({"axes": 1}, ((2, 3), (3, 5))),
        Example({"axes": [[1, 2], [2, 1]]}, ((3, 4, 2), (4, 3))),
        Example({"axes": [-1, 1]}, ((2, 3), (3, 4))),
    ),
    "Vdot": (Example({}, ((2, 3), (2, 3))),),
    "Kron": (Example({}, ((2, 3), (3, 2))), Example({}, ((2, 2, 3), (1, 3, 2)))),
    "Cdist": (Example({}, ((2, 3, 4), (2, 6, 4))),),
}

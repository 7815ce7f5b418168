"""Further examples of `graphspec/ops/joining.py`."""

from graphspec.contract.layer import Example

MORE = {
    "Hstack": (Example({}, ((3, 2), (1, 2), (2, 2))),),
    "Dstack": (Example({}, ((3, 2), (3, 4))),),
}

"""Further examples of `graphspec/ops/attention.py`."""

from graphspec.contract.layer import Example

MORE = {
    "DotProductAttention": (
        Example({"scale": 0.5}, ((5, 2, 4), (3, 2, 4), (3, 2, 6))),
        Example({"is_causal": True}, ((5, 2, 4), (5, 2, 4), (5, 2, 4))),
        Example({}, ((5, 2, 4), (3, 2, 4), (3, 2, 4), (1, 5, 3))),
    ),
}

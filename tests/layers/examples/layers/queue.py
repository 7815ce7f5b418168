"""Further examples of `graphspec/layers/queue.py`."""

from graphspec.contract.layer import Example

MORE = {
    "Queue": (
        Example({"size": 2, "initializer": "ones"}, ((3, 4),)),
        Example({"size": 3}, ((4, 4, 2),)),
    ),
}

"""Further examples of `graphspec/layers/simple_rnn.py`."""

from graphspec.contract.layer import Example
from tests.layers.examples.masked import MASKED

MORE = {
    "SimpleRNN": (
        Example({"units": 4, "return_sequences": True, "activation": "relu"}, ((6, 3),)),
        Example({"units": 4, "return_state": True, "go_backwards": True}, ((5, 3),)),
        Example({"units": 4, "return_state": True, "return_sequences": True}, ((5, 3), (4,))),
        Example({"units": 3, "use_bias": False}, ((4, 2),)),
        Example({"units": 3, "activation": "softmax", "return_sequences": True}, ((4, 2),)),
        Example({"units": 3, "activation": None, "use_bias": False, "return_state": True}, ((4, 2), (3,))),
        Example(
            {"units": 3, "kernel_initializer": "he_normal", "recurrent_initializer": "glorot_uniform"},
            ((4, 2),),
        ),
        Example({"units": 3, "bias_initializer": {"name": "constant", "value": 0.5}}, ((4, 2),)),
        Example({"units": 3, "dropout": 0.0, "recurrent_dropout": 0.0, "seed": None}, ((4, 2),)),
        Example({"units": 3, "stateful": False, "unroll": True}, ((4, 2),)),
        *MASKED,
    ),
}

"""Further examples of `graphspec/layers/cells.py`."""

from graphspec.contract.layer import Example

MORE = {
    "SimpleRNNCell": (
        Example(
            {
                "units": 4,
                "use_bias": False,
                "activation": "softsign",
                "kernel_initializer": "he_normal",
                "recurrent_initializer": "glorot_uniform",
            },
            ((3,), (4,)),
        ),
        Example(
            {"units": 4, "bias_initializer": "ones", "dropout": 0.0, "recurrent_dropout": 0.0, "seed": None},
            ((3,), (4,)),
        ),
    ),
    "GRUCell": (
        Example(
            {
                "units": 4,
                "use_bias": False,
                "activation": "softsign",
                "kernel_initializer": "he_normal",
                "recurrent_initializer": "glorot_uniform",
            },
            ((3,), (4,)),
        ),
        Example(
            {"units": 4, "bias_initializer": "ones", "dropout": 0.0, "recurrent_dropout": 0.0, "seed": None},
            ((3,), (4,)),
        ),
        Example({"units": 4, "recurrent_activation": "hard_sigmoid", "reset_after": False}, ((3,), (4,))),
    ),
    "LSTMCell": (
        Example(
            {
                "units": 4,
                "use_bias": False,
                "activation": "softsign",
                "kernel_initializer": "he_normal",
                "recurrent_initializer": "glorot_uniform",
            },
            ((3,), (4,), (4,)),
        ),
        Example(
            {"units": 4, "bias_initializer": "ones", "dropout": 0.0, "recurrent_dropout": 0.0, "seed": None},
            ((3,), (4,), (4,)),
        ),
        Example(
            {"units": 4, "recurrent_activation": "hard_sigmoid", "unit_forget_bias": False},
            ((3,), (4,), (4,)),
        ),
    ),
    "RNN": (
        Example({"cell": {"layer": "GRUCell", "units": 4}, "return_sequences": True}, ((5, 3),)),
        Example(
            {"cell": {"layer": "SimpleRNNCell", "units": 4}, "return_state": True, "go_backwards": True},
            ((5, 3), (4,)),
        ),
        Example(
            {"cell": [{"layer": "LSTMCell", "units": 4}, {"layer": "GRUCell", "units": 3}], "unroll": True},
            ((5, 3),),
        ),
        Example(
            {
                "cell": [{"layer": "GRUCell", "units": 4}, {"layer": "LSTMCell", "units": 3}],
                "return_sequences": True,
                "return_state": True,
                "go_backwards": True,
                "stateful": False,
            },
            ((5, 3), (4,), (3,), (3,)),
        ),
        Example(
            {
                "cell": [
                    {"layer": "LSTMCell", "units": 4, "activation": "softsign"},
                    {"layer": "LSTMCell", "units": 3},
                ],
                "return_state": True,
            },
            ((6, 3),),
            masks={"mask": (6,)},
        ),
        Example(
            {
                "cell": [
                    {"layer": "LSTMCell", "units": 4, "activation": "softsign"},
                    {"layer": "LSTMCell", "units": 3},
                ],
                "return_state": True,
                "return_sequences": True,
                "zero_output_for_mask": True,
            },
            ((6, 3),),
            masks={"mask": (6,)},
        ),
    ),
}

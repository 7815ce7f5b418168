"""Further examples of `graphspec/layers/bidirectional.py`."""

from graphspec.contract.layer import Example

MORE = {
    "Bidirectional": (
        Example(
            {
                "wraps": {"layer": "GRU", "units": 4, "return_sequences": True},
                "backward_layer": {
                    "layer": "SimpleRNN",
                    "go_backwards": True,
                    "return_sequences": True,
                    "units": 4,
                },
                "merge_mode": "sum",
            },
            ((5, 3),),
        ),
        Example(
            {
                "wraps": {"layer": "GRU", "units": 4},
                "backward_layer": {
                    "layer": "GRU",
                    "go_backwards": True,
                    "units": 4,
                    "activation": "softsign",
                },
                "merge_mode": "ave",
            },
            ((5, 3),),
            masks={"mask": (5,)},
        ),
        Example(
            {
                "wraps": {"layer": "LSTM", "units": 4, "return_sequences": True},
                "backward_layer": {
                    "layer": "LSTM",
                    "go_backwards": True,
                    "return_sequences": True,
                    "units": 2,
                    "use_bias": False,
                },
                "merge_mode": None,
            },
            ((5, 3),),
            masks={"mask": (5,)},
        ),
        Example({"wraps": {"layer": "LSTM", "units": 4}}, ((6, 3),)),
        Example({"wraps": {"layer": "LSTM", "units": 4, "return_sequences": True}}, ((6, 3),)),
        Example(
            {"wraps": {"layer": "LSTM", "units": 3, "return_sequences": True}, "merge_mode": "sum"}, ((5, 3),)
        ),
        Example({"wraps": {"layer": "LSTM", "units": 3}, "merge_mode": "mul"}, ((5, 3),)),
        Example(
            {"wraps": {"layer": "LSTM", "units": 3, "return_state": True}, "merge_mode": "ave"}, ((5, 3),)
        ),
        Example(
            {"wraps": {"layer": "LSTM", "units": 3, "return_sequences": True}, "merge_mode": None}, ((5, 3),)
        ),
        Example(
            {"wraps": {"layer": "LSTM", "units": 3, "return_state": True}, "merge_mode": None}, ((5, 3),)
        ),
        Example({"wraps": {"layer": "LSTM", "units": 3, "use_bias": False, "activation": "relu"}}, ((5, 3),)),
        Example(
            {
                "wraps": {
                    "layer": "LSTM",
                    "units": 3,
                    "recurrent_activation": "hard_sigmoid",
                    "return_sequences": True,
                    "return_state": True,
                }
            },
            ((5, 3),),
        ),
        Example({"wraps": {"layer": "LSTM", "units": 3, "bias_initializer": "ones"}}, ((5, 3),)),
        Example(
            {
                "wraps": {"layer": "GRU", "units": 3, "return_state": True, "use_bias": False},
                "merge_mode": "concat",
            },
            ((6, 3), (3,), (3,)),
        ),
        Example(
            {
                "wraps": {
                    "layer": "GRU",
                    "units": 3,
                    "return_state": True,
                    "return_sequences": True,
                    "bias_initializer": "ones",
                },
                "merge_mode": "sum",
            },
            ((6, 3),),
        ),
        Example(
            {
                "wraps": {
                    "layer": "GRU",
                    "units": 3,
                    "return_state": True,
                    "return_sequences": True,
                    "reset_after": False,
                },
                "merge_mode": "mul",
            },
            ((6, 3),),
        ),
        Example(
            {
                "wraps": {
                    "layer": "SimpleRNN",
                    "units": 3,
                    "return_state": True,
                    "use_bias": True,
                    "activation": "relu",
                },
                "merge_mode": "concat",
            },
            ((6, 3), (3,), (3,)),
        ),
        Example(
            {
                "wraps": {
                    "layer": "SimpleRNN",
                    "units": 3,
                    "return_state": True,
                    "return_sequences": True,
                    "activation": "softsign",
                },
                "merge_mode": "ave",
            },
            ((6, 3),),
        ),
        Example(
            {"wraps": {"layer": "LSTM", "units": 3, "return_state": True}, "merge_mode": "concat"},
            ((6, 3),),
            masks={"mask": (6,)},
        ),
        Example(
            {
                "wraps": {
                    "layer": "LSTM",
                    "units": 3,
                    "return_state": True,
                    "return_sequences": True,
                    "zero_output_for_mask": False,
                },
                "merge_mode": "concat",
            },
            ((6, 3),),
            masks={"mask": (6,)},
        ),
        Example(
            {
                "wraps": {
                    "layer": "LSTM",
                    "units": 3,
                    "return_state": True,
                    "return_sequences": True,
                    "activation": "softsign",
                },
                "merge_mode": None,
            },
            ((6, 3),),
            masks={"mask": (6,)},
        ),
        Example(
            {"wraps": {"layer": "GRU", "units": 3, "return_state": True}, "merge_mode": "mul"},
            ((6, 3),),
            masks={"mask": (6,)},
        ),
        Example(
            {
                "wraps": {"layer": "GRU", "units": 3, "return_state": True, "return_sequences": True},
                "merge_mode": "sum",
            },
            ((6, 3),),
            masks={"mask": (6,)},
        ),
        Example(
            {
                "wraps": {
                    "layer": "SimpleRNN",
                    "units": 3,
                    "return_state": True,
                    "zero_output_for_mask": True,
                },
                "merge_mode": "ave",
            },
            ((6, 3),),
            masks={"mask": (6,)},
        ),
        Example(
            {
                "wraps": {
                    "layer": "SimpleRNN",
                    "units": 3,
                    "return_state": True,
                    "return_sequences": True,
                    "activation": "relu",
                },
                "merge_mode": None,
            },
            ((6, 3),),
            masks={"mask": (6,)},
        ),
    ),
}

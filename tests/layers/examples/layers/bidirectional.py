"""Further examples of `graphspec/layers/bidirectional.py`."""

from graphspec.contract.layer import Example

MORE = {
    "Bidirectional": (
        *(
            Example(
                {
                    "wraps": {"layer": layer, "units": 4, **options},
                    "backward_layer": {"layer": other, "go_backwards": True, **options, **more},
                    "merge_mode": mode,
                },
                ((5, 3),),
                masks={"mask": (5,)} if with_mask else {},
            )
            for layer, other, mode, options, more, with_mask in (
                ("GRU", "SimpleRNN", "sum", {"return_sequences": True}, {"units": 4}, False),
                ("GRU", "GRU", "ave", {}, {"units": 4, "activation": "softsign"}, True),
                ("LSTM", "LSTM", None, {"return_sequences": True}, {"units": 2, "use_bias": False}, True),
            )
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
        *(
            Example(
                {"wraps": {"layer": layer, "units": 3, "return_state": True, **options}, "merge_mode": mode},
                ((6, 3), *[(3,)] * (4 if layer == "LSTM" else 2) * ("use_bias" in options)),
                masks={"mask": (6,)} if with_mask else {},
            )
            for layer, with_mask, mode, options in (
                ("GRU", False, "concat", {"use_bias": False}),
                ("GRU", False, "sum", {"return_sequences": True, "bias_initializer": "ones"}),
                ("GRU", False, "mul", {"return_sequences": True, "reset_after": False}),
                ("SimpleRNN", False, "concat", {"use_bias": True, "activation": "relu"}),
                ("SimpleRNN", False, "ave", {"return_sequences": True, "activation": "softsign"}),
                ("LSTM", True, "concat", {}),
                ("LSTM", True, "concat", {"return_sequences": True, "zero_output_for_mask": False}),
                ("LSTM", True, None, {"return_sequences": True, "activation": "softsign"}),
                ("GRU", True, "mul", {}),
                ("GRU", True, "sum", {"return_sequences": True}),
                ("SimpleRNN", True, "ave", {"zero_output_for_mask": True}),
                ("SimpleRNN", True, None, {"return_sequences": True, "activation": "relu"}),
            )
        ),
    )
}

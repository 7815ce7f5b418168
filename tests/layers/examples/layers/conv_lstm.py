"""Further examples of `graphspec/layers/conv_lstm.py`."""

from graphspec.contract.layer import Example

MORE = {
    "ConvLSTM1D": (
        Example(
            {
                "filters": 3,
                "kernel_size": 2,
                "padding": "same",
                "return_sequences": True,
                "go_backwards": True,
            },
            ((3, 5, 2),),
        ),
        Example(
            {
                "filters": 3,
                "kernel_size": 3,
                "strides": 2,
                "padding": "same",
                "return_state": True,
                "stateful": False,
            },
            ((3, 5, 2),),
        ),
        Example(
            {"filters": 3, "kernel_size": 2, "return_sequences": True, "return_state": True},
            ((3, 5, 2), (4, 3), (4, 3)),
        ),
        Example(
            {
                "filters": 3,
                "kernel_size": 2,
                "dilation_rate": 2,
                "use_bias": False,
                "activation": "softsign",
                "recurrent_activation": "hard_sigmoid",
                "kernel_initializer": "he_normal",
                "recurrent_initializer": "glorot_uniform",
            },
            ((3, 5, 2),),
        ),
        Example(
            {
                "filters": 3,
                "kernel_size": 2,
                "bias_initializer": "ones",
                "unit_forget_bias": False,
                "seed": None,
            },
            ((3, 5, 2),),
        ),
        Example(
            {"filters": 3, "kernel_size": 2, "data_format": "channels_first", "return_sequences": True},
            ((3, 2, 5),),
        ),
        Example({"filters": 3, "kernel_size": 2, "dropout": 0.0, "recurrent_dropout": 0.0}, ((3, 5, 2),)),
        Example({"filters": 3, "kernel_size": 2, "recurrent_activation": "softmax"}, ((3, 5, 2),)),
    ),
    "ConvLSTM2D": (
        Example(
            {
                "filters": 3,
                "kernel_size": 2,
                "padding": "same",
                "return_sequences": True,
                "go_backwards": True,
            },
            ((3, 5, 4, 2),),
        ),
        Example(
            {
                "filters": 3,
                "kernel_size": 3,
                "strides": 2,
                "padding": "same",
                "return_state": True,
                "stateful": False,
            },
            ((3, 5, 4, 2),),
        ),
        Example(
            {"filters": 3, "kernel_size": 2, "return_sequences": True, "return_state": True},
            ((3, 5, 4, 2), (4, 3, 3), (4, 3, 3)),
        ),
        Example(
            {
                "filters": 3,
                "kernel_size": 2,
                "dilation_rate": 2,
                "use_bias": False,
                "activation": "softsign",
                "recurrent_activation": "hard_sigmoid",
                "kernel_initializer": "he_normal",
                "recurrent_initializer": "glorot_uniform",
            },
            ((3, 5, 4, 2),),
        ),
        Example(
            {
                "filters": 3,
                "kernel_size": 2,
                "bias_initializer": "ones",
                "unit_forget_bias": False,
                "seed": None,
            },
            ((3, 5, 4, 2),),
        ),
        Example(
            {"filters": 3, "kernel_size": 2, "data_format": "channels_first", "return_sequences": True},
            ((3, 2, 5, 4),),
        ),
        Example({"filters": 3, "kernel_size": 2, "dropout": 0.0, "recurrent_dropout": 0.0}, ((3, 5, 4, 2),)),
        Example({"filters": 3, "kernel_size": 2, "recurrent_activation": "softmax"}, ((3, 5, 4, 2),)),
        Example(
            {"filters": 3, "kernel_size": 2, "return_state": True}, ((3, 5, 4, 2),), masks={"mask": (3,)}
        ),
        Example(
            {"filters": 3, "kernel_size": 2, "return_sequences": True}, ((3, 5, 4, 2),), masks={"mask": (3,)}
        ),
    ),
    "ConvLSTM3D": (
        Example(
            {
                "filters": 3,
                "kernel_size": 2,
                "padding": "same",
                "return_sequences": True,
                "go_backwards": True,
            },
            ((3, 4, 3, 3, 2),),
        ),
        Example(
            {
                "filters": 3,
                "kernel_size": 3,
                "strides": 2,
                "padding": "same",
                "return_state": True,
                "stateful": False,
            },
            ((3, 4, 3, 3, 2),),
        ),
        Example(
            {"filters": 3, "kernel_size": 2, "return_sequences": True, "return_state": True},
            ((3, 4, 3, 3, 2), (3, 2, 2, 3), (3, 2, 2, 3)),
        ),
        Example(
            {
                "filters": 3,
                "kernel_size": 2,
                "dilation_rate": 2,
                "use_bias": False,
                "activation": "softsign",
                "recurrent_activation": "hard_sigmoid",
                "kernel_initializer": "he_normal",
                "recurrent_initializer": "glorot_uniform",
            },
            ((3, 4, 3, 3, 2),),
        ),
        Example(
            {
                "filters": 3,
                "kernel_size": 2,
                "bias_initializer": "ones",
                "unit_forget_bias": False,
                "seed": None,
            },
            ((3, 4, 3, 3, 2),),
        ),
        Example(
            {"filters": 3, "kernel_size": 2, "data_format": "channels_first", "return_sequences": True},
            ((3, 2, 4, 3, 3),),
        ),
        Example(
            {"filters": 3, "kernel_size": 2, "dropout": 0.0, "recurrent_dropout": 0.0}, ((3, 4, 3, 3, 2),)
        ),
        Example({"filters": 3, "kernel_size": 2, "recurrent_activation": "softmax"}, ((3, 4, 3, 3, 2),)),
    ),
}

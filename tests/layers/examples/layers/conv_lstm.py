"""Further examples of `graphspec/layers/conv_lstm.py`."""

from graphspec.contract.layer import Example


def _examples(size: tuple[int, ...]) -> tuple[Example, ...]:
    """With sequences of three images of this size, with two channels."""
    rank = len(size)
    shape, plain = (3, *size, 2), {"filters": 3, "kernel_size": 2}
    state = (*(n - 1 for n in size), 3)
    return (
        Example({**plain, "padding": "same", "return_sequences": True, "go_backwards": True}, (shape,)),
        Example(
            {
                **plain,
                "kernel_size": 3,
                "strides": 2,
                "padding": "same",
                "return_state": True,
                "stateful": False,
            },
            (shape,),
        ),
        Example({**plain, "return_sequences": True, "return_state": True}, (shape, state, state)),
        Example(
            {
                **plain,
                "dilation_rate": 2,
                "use_bias": False,
                "activation": "softsign",
                "recurrent_activation": "hard_sigmoid",
                "kernel_initializer": "he_normal",
                "recurrent_initializer": "glorot_uniform",
            },
            (shape,),
        ),
        Example({**plain, "bias_initializer": "ones", "unit_forget_bias": False, "seed": None}, (shape,)),
        Example({**plain, "data_format": "channels_first", "return_sequences": True}, ((3, 2, *size),)),
        Example({**plain, "dropout": 0.0, "recurrent_dropout": 0.0}, (shape,)),
        Example({**plain, "recurrent_activation": "softmax"}, (shape,)),
        *(
            Example({**plain, **options}, (shape,), masks={"mask": (3,)})
            for options in ({"return_state": True}, {"return_sequences": True})
            if rank == 2
        ),
    )


MORE = {
    "ConvLSTM1D": _examples((5,)),
    "ConvLSTM2D": _examples((5, 4)),
    "ConvLSTM3D": _examples((4, 3, 3)),
}

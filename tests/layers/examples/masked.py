"""Examples of recurrent layers with a mask of steps."""

from graphspec.contract.layer import Example

MASKED = tuple(
    Example({"units": 4, **arguments}, shapes, masks={"mask": (6,)})
    for arguments, shapes in (
        ({}, ((6, 3),)),
        ({"return_sequences": True}, ((6, 3),)),
        ({"return_sequences": True, "return_state": True, "go_backwards": True}, ((6, 3),)),
        ({"return_sequences": True, "zero_output_for_mask": True, "use_bias": False}, ((6, 3),)),
        ({"return_state": True, "zero_output_for_mask": True}, ((6, 3),)),
        ({"activation": "softsign", "return_state": True, "return_sequences": True}, ((6, 3),)),
        ({"activation": "softsign", "go_backwards": True, "zero_output_for_mask": True}, ((6, 3),)),
    )
)

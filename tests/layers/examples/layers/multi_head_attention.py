"""Further examples of `graphspec/layers/multi_head_attention.py`."""

from graphspec.contract.layer import Example

MORE = {
    "MultiHeadAttention": (
        Example({"num_heads": 2, "key_dim": 4}, ((6, 8), (6, 8)), call={"use_causal_mask": True}),
        Example({"num_heads": 2, "key_dim": 3, "value_dim": 5, "use_bias": False}, ((6, 8), (5, 7))),
        Example({"num_heads": 3, "key_dim": 2, "output_shape": 4}, ((6, 8), (5, 7), (5, 3))),
        Example({"num_heads": 2, "key_dim": 3, "output_shape": [2, 5]}, ((6, 8), (5, 7))),
        Example(
            {"num_heads": 2, "key_dim": 3, "flash_attention": False},
            ((6, 8), (5, 7)),
            call={"return_attention_scores": True},
        ),
        Example(
            {"num_heads": 2, "key_dim": 3}, ((6, 8), (5, 7)), masks={"query_mask": (6,), "value_mask": (5,)}
        ),
        Example(
            {"num_heads": 2, "key_dim": 3},
            ((6, 8), (5, 7), (5, 3)),
            masks={"query_mask": (6,), "value_mask": (5,), "key_mask": (5,)},
        ),
        Example({"num_heads": 2, "key_dim": 3}, ((6, 8), (5, 7)), masks={"attention_mask": (6, 5)}),
        Example({"num_heads": 2, "key_dim": 3}, ((6, 8), (5, 7)), masks={"attention_mask": (2, 6, 5)}),
        Example(
            {"num_heads": 2, "key_dim": 3},
            ((6, 8), (5, 7)),
            call={"use_causal_mask": True},
            masks={"query_mask": (6,), "value_mask": (5,)},
        ),
        Example(
            {"num_heads": 2, "key_dim": 3},
            ((6, 8), (5, 7)),
            call={"use_causal_mask": True, "return_attention_scores": True},
            masks={"query_mask": (6,), "value_mask": (5,)},
        ),
        Example(
            {"num_heads": 2, "key_dim": 3, "sliding_window": 2},
            ((6, 8), (5, 7)),
            call={"use_causal_mask": True},
        ),
        Example(
            {"num_heads": 2, "key_dim": 3, "use_gate": True, "seed": None},
            ((6, 8), (5, 7)),
            masks={"query_mask": (6,), "value_mask": (5,)},
        ),
        Example(
            {"num_heads": 2, "key_dim": 3, "dropout": 0},
            ((4, 3, 8), (4, 5, 8)),
            call={"return_attention_scores": True},
        ),
        Example({"num_heads": 2, "key_dim": 3, "attention_axes": 2}, ((4, 4, 8), (4, 5, 7))),
        Example(
            {"num_heads": 2, "key_dim": 3, "attention_axes": [-3]},
            ((3, 4, 8), (5, 4, 7)),
            call={"use_causal_mask": True},
        ),
        Example(
            {"num_heads": 2, "key_dim": 3, "attention_axes": [2]},
            ((4, 4, 8), (4, 5, 7)),
            masks={"query_mask": (4, 4), "value_mask": (4, 5)},
        ),
        Example(
            {"num_heads": 2, "key_dim": 3, "attention_axes": 1},
            ((3, 4, 8), (5, 4, 7)),
            call={"use_causal_mask": True, "return_attention_scores": True},
        ),
        Example(
            {"num_heads": 2, "key_dim": 3, "attention_axes": 1, "sliding_window": 2}, ((3, 4, 8), (5, 4, 7))
        ),
        Example(
            {"num_heads": 2, "key_dim": 3}, ((4, 4, 8), (4, 5, 7)), masks={"attention_mask": (4, 4, 4, 5)}
        ),
        Example(
            {"num_heads": 2, "key_dim": 3, "attention_axes": [2]},
            ((4, 4, 8), (4, 5, 7)),
            masks={"attention_mask": (4, 5)},
        ),
        Example({"num_heads": 4, "key_dim": 3, "kernel_initializer": "orthogonal"}, ((6, 8), (6, 8))),
        Example(
            {"num_heads": 4, "key_dim": 6, "bias_initializer": "he_normal", "use_gate": True},
            ((6, 40), (5, 40)),
        ),
        Example(
            {"num_heads": 4, "key_dim": 6, "output_shape": [3, 10], "bias_initializer": "ones"},
            ((6, 40), (5, 40)),
        ),
    ),
    "GroupQueryAttention": (
        Example(
            {"head_dim": 3, "num_query_heads": 4, "num_key_value_heads": 1},
            ((6, 8), (5, 7)),
            call={"use_causal_mask": True},
        ),
        Example(
            {
                "head_dim": 3,
                "num_query_heads": 4,
                "num_key_value_heads": 2,
                "use_bias": False,
                "dropout": 0.0,
                "seed": None,
            },
            ((6, 8), (5, 7), (5, 3)),
        ),
        Example(
            {"head_dim": 3, "num_query_heads": 4, "num_key_value_heads": 2, "use_gate": True},
            ((6, 8), (5, 7)),
            masks={"query_mask": (6,), "value_mask": (5,)},
        ),
        Example(
            {"head_dim": 3, "num_query_heads": 4, "num_key_value_heads": 2},
            ((6, 8), (5, 7), (5, 3)),
            call={"use_causal_mask": True},
            masks={"query_mask": (6,), "value_mask": (5,), "key_mask": (5,)},
        ),
        Example(
            {"head_dim": 3, "num_query_heads": 4, "num_key_value_heads": 2, "sliding_window": 3},
            ((6, 8), (5, 7)),
            masks={"attention_mask": (6, 5)},
        ),
        Example(
            {"head_dim": 3, "num_query_heads": 4, "num_key_value_heads": 2, "flash_attention": None},
            ((6, 8), (5, 7)),
            call={"use_causal_mask": True, "return_attention_scores": True},
            masks={"query_mask": (6,), "value_mask": (5,)},
        ),
        Example(
            {
                "head_dim": 3,
                "num_query_heads": 4,
                "num_key_value_heads": 2,
                "kernel_initializer": "orthogonal",
                "bias_initializer": "glorot_normal",
            },
            ((6, 40), (5, 40)),
        ),
    ),
}

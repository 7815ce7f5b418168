"""Further examples of `graphspec/layers/attention.py`."""

from graphspec.contract.layer import Example

MORE = {
    "Attention": (
        Example({"use_scale": True, "dropout": 0, "seed": None}, ((6, 5), (4, 5))),
        Example(
            {}, ((6, 5), (4, 3), (4, 5)), call={"use_causal_mask": True, "return_attention_scores": True}
        ),
        Example({"use_scale": True}, ((6, 5), (4, 5)), masks={"query_mask": (6,), "value_mask": (4,)}),
        Example(
            {},
            ((6, 5), (4, 3), (4, 5)),
            call={"use_causal_mask": True},
            masks={"query_mask": (6,), "value_mask": (4,)},
        ),
        Example({}, ((6, 5), (4, 5)), call={"return_attention_scores": True}, masks={"value_mask": (4,)}),
        Example({"score_mode": "concat"}, ((6, 5), (4, 5)), masks={"query_mask": (6,)}),
        Example(
            {"score_mode": "concat", "use_scale": True},
            ((6, 5), (4, 3), (4, 5)),
            call={"use_causal_mask": True},
            masks={"query_mask": (6,), "value_mask": (4,)},
        ),
    ),
    "AdditiveAttention": (
        Example({"use_scale": False, "dropout": 0.0, "seed": None}, ((6, 5), (4, 5))),
        Example(
            {},
            ((6, 5), (4, 3), (4, 5)),
            call={"use_causal_mask": True, "return_attention_scores": True},
            masks={"query_mask": (6,), "value_mask": (4,)},
        ),
        Example({}, ((6, 40), (5, 40)), call={"return_attention_scores": True}, masks={"value_mask": (5,)}),
    ),
}

"""Further examples of `graphspec/layers/embedding.py`."""

from graphspec.contract.layer import Example

MORE = {
    "Embedding": (
        Example({"input_dim": 3, "output_dim": 5, "mask_zero": True}, ((6,),), dtype="int32", high=3),
        Example(
            {"input_dim": 30, "output_dim": 5, "embeddings_initializer": "glorot_uniform"},
            ((2, 3),),
            dtype="int64",
            high=30,
        ),
    ),
    "ReversibleEmbedding": (
        Example(
            {"input_dim": 11, "output_dim": 4, "tie_weights": False, "mask_zero": True},
            ((6,),),
            dtype="int32",
            high=11,
        ),
        Example({"input_dim": 11, "output_dim": 4}, ((6, 4),), call={"reverse": True}),
        Example({"input_dim": 11, "output_dim": 4, "logit_soft_cap": 0.5}, ((4,),), call={"reverse": True}),
        Example(
            {"input_dim": 11, "output_dim": 4, "reverse_dtype": "float64"}, ((6, 4),), call={"reverse": True}
        ),
        Example(
            {
                "input_dim": 11,
                "output_dim": 4,
                "tie_weights": False,
                "logit_soft_cap": 2,
                "embeddings_initializer": "he_normal",
            },
            ((3, 2, 4),),
            call={"reverse": True},
        ),
        Example(
            {
                "input_dim": 11,
                "output_dim": 4,
                "tie_weights": False,
                "reverse_dtype": "float64",
                "logit_soft_cap": 2,
            },
            ((6, 4),),
            call={"reverse": True},
        ),
    ),
    "PositionEmbedding": (
        Example({"sequence_length": 30}, ((5, 20),)),
        Example({"sequence_length": 9, "initializer": "he_normal"}, ((2, 5, 8),)),
    ),
}

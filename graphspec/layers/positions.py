"""Positions of sequences as vectors."""

from __future__ import annotations

from graphspec.contract.fields import Positive
from graphspec.contract.helpers import helper
from graphspec.contract.initializers import GlorotUniform, Initializer, need_fillable
from graphspec.contract.input_checks import known_channels, need_float
from graphspec.contract.layer import Code, Construct, Example, Layer, LayerError, Site, Weight
from graphspec.tensor import Dim, Tensor

helper(
    "PositionEmbedding",
    '''
class PositionEmbedding(nn.Module):
    """A learned vector for each position, in the shape of a sequence."""

    def __init__(self, sequence_length: int, features: int):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(sequence_length, features))

    def forward(self, x: Tensor) -> Tensor:
        return self.weight[: x.shape[-2]].expand(x.shape)

    def extra_repr(self) -> str:
        return f"{self.weight.shape[0]}, {self.weight.shape[1]}"
''',
)


class PositionEmbedding(Layer):
    """A learned vector for each of `sequence_length` positions, in the shape of its input, to be added to it.

    Of a shorter sequence it gives the first positions. KerasHub has it, not Keras.
    """

    supports_masking = True

    sequence_length: Positive
    initializer: Initializer = GlorotUniform()

    examples = (
        Example({"sequence_length": 6}, ((6, 4),)),
        Example({"sequence_length": 30}, ((5, 20),)),
        Example({"sequence_length": 9, "initializer": "he_normal"}, ((2, 5, 8),)),
    )

    def infer(self, x: Tensor) -> Tensor:
        need_float(x, layer="PositionEmbedding")
        if x.rank < 3:
            message = f"PositionEmbedding takes `[batch, length, features]`, and gets {x}"
            raise LayerError("wrong-rank", message, inputs=(0,))
        known_channels(x, layer="PositionEmbedding", what="features")
        need_fillable(self, initializer=2)
        length = x.shape[-2]
        if isinstance(length, int) and length > self.sequence_length:
            raise LayerError(
                "out-of-range",
                f"PositionEmbedding knows {self.sequence_length} positions, and {x} has {length}",
                help=f"write `sequence_length: {length}`",
                argument="sequence_length",
                inputs=(0,),
            )
        return x

    def longest(self, x: Tensor) -> tuple[tuple[Dim, int], ...]:
        return ((x.shape[-2], self.sequence_length),)

    def weights(self, x: Tensor) -> tuple[Weight, ...]:
        shape = (self.sequence_length, known_channels(x, layer="PositionEmbedding"))
        return (Weight("weight", shape, "embeddings", initializer=self.initializer.unturned(2)[0]),)

    def code(self, site: Site) -> Code:
        features = known_channels(site.x, layer="PositionEmbedding")
        construct = Construct(
            "PositionEmbedding", {"sequence_length": self.sequence_length, "features": features}
        )
        helpers = ("PositionEmbedding", *self.initializer.unturned(2)[1])
        return Code("{self}({x})", construct, helpers=helpers)

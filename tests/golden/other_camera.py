# Made by graphspec 0.1.0 from the spec other_camera with alike = 0.3. It needs torch
# 2.10 or later.
"""other_camera: image uint8[N, 8, 8, 1], other float32[N, 1]
-> digit float32[N, 10], apart float32[N, 32].
"""

from torch import Tensor, nn
from torch.nn import functional as F


def init_weights(module: nn.Module) -> None:
    """Fills a module's own weights by Keras' initializers."""
    if isinstance(module, (nn.Conv2d, nn.Linear)):
        nn.init.xavier_uniform_(module.weight)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


class OtherCamera(nn.Module):
    def __init__(self, width: int = 32) -> None:
        super().__init__()
        self.convs = nn.ModuleList(
            [nn.Conv2d(1, 32, 3, padding="same"), nn.Conv2d(32, 64, 3, padding="same")]
        )
        self.drop = nn.Dropout(0.3)
        self.code = nn.Linear(1024, width)
        self.digit = nn.Linear(width, 10)
        self.apply(init_weights)

    def forward(
        self, image: Tensor, other: Tensor, *, logits: bool = False
    ) -> dict[str, Tensor]:
        x = (image.to(self.code.weight.dtype) / 16).permute(0, 3, 1, 2)
        for conv in self.convs:
            x = F.relu(conv(x), inplace=True)
        x = F.max_pool2d(x, 2).permute(0, 2, 3, 1).flatten(1)  # [N, 1024]
        x = self.drop(x)  # [N, 1024]
        code = self.code(x).tanh()  # [N, width]
        digit = self.digit(code)  # [N, 10]
        return {
            "digit": digit if logits else digit.softmax(-1),
            "apart": code,
            "apart.1": other,
        }

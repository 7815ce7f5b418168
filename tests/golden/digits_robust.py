# Made by graphspec 0.1.0 from the spec digits_robust. It needs torch 2.10 or later.
"""digits_robust: image uint8[N, 8, 8, 1]
-> digit float32[N, 10], robust float32[N, 10].
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def input_gradient(function: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """The gradient of the sum of a function's values by its input."""
    again = torch.is_grad_enabled()  # it has gradients itself
    with torch.inference_mode(False), torch.enable_grad():
        given = x.clone() if x.is_inference() else x.detach()
        watched = x if x.requires_grad else given.requires_grad_()
        total = function(watched).sum()
        (gradient,) = torch.autograd.grad(total, watched, create_graph=again)
    return gradient


def init_weights(module: nn.Module) -> None:
    """Fills a module's own weights by Keras' initializers."""
    if isinstance(module, (nn.Conv2d, nn.Linear)):
        nn.init.xavier_uniform_(module.weight)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


class Network(nn.Module):
    def __init__(self, in_channels: int) -> None:
        super().__init__()
        self.convs = nn.ModuleList(
            [
                nn.Conv2d(in_channels, 32, 3, padding="same"),
                nn.Conv2d(32, 64, 3, padding="same"),
            ]
        )
        self.scores = nn.Linear(1024, 10)

    def forward(self, x: Tensor, *, logits: bool = False) -> Tensor:
        for conv in self.convs:
            x = F.relu(conv(x), inplace=True)
        x = self.scores(F.max_pool2d(x, 2).permute(0, 2, 3, 1).flatten(1))
        return x if logits else x.softmax(-1)


def error(taken: Tensor, image: Tensor, *, network: Network) -> Tensor:
    return -(taken * (network(image) + 1e-06).log()).sum(1)


class DigitsRobust(nn.Module):
    def __init__(self, strength: float = 0.1) -> None:
        super().__init__()
        self.network = Network(1)
        self.strength = strength
        self.apply(init_weights)

    def forward(self, image: Tensor, *, logits: bool = False) -> dict[str, Tensor]:
        scaled = image.to(next(self.parameters()).dtype) / 16  # [N, 8, 8, 1]
        digit_logits = self.network(scaled.permute(0, 3, 1, 2), logits=True)
        digit = digit_logits.softmax(-1)  # [N, 10]
        x = digit.detach()  # [N, 10]
        x = input_gradient(
            lambda watched: error(x, watched.permute(0, 3, 1, 2), network=self.network),
            scaled,
        )
        x = scaled + self.strength * x.detach().sign()  # [N, 8, 8, 1]
        x = x.clamp(0, 1)  # [N, 8, 8, 1]
        robust = self.network(x.permute(0, 3, 1, 2), logits=logits)  # [N, 10]
        return {"digit": digit_logits if logits else digit, "robust": robust}

# Made by graphspec 0.1.0 from the spec digit_images. It needs torch 2.10 or later.
"""digit_images: image uint8[N, 8, 8, 1] -> digit float32[N, 10]."""

from torch import Tensor, nn
from torch.nn import functional as F


def init_weights(module: nn.Module) -> None:
    """Fills a module's own weights by Keras' initializers."""
    if isinstance(module, (nn.Conv2d, nn.Linear)):
        nn.init.xavier_uniform_(module.weight)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


class DigitImages(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 32, 3, padding="same")
        self.conv2 = nn.Conv2d(32, 64, 3, padding="same")
        self.conv3 = nn.Conv2d(64, 64, 3, padding="same")
        self.drop = nn.Dropout(0.5)
        self.digit = nn.Linear(1024, 10)
        self.apply(init_weights)

    def forward(self, image: Tensor, *, logits: bool = False) -> Tensor:
        x = image.to(self.conv1.weight.dtype) * 0.0039215686  # [N, 8, 8, 1]
        x = F.relu(self.conv1(x.permute(0, 3, 1, 2)), inplace=True)  # [N, 32, 8, 8]
        x = F.max_pool2d(F.relu(self.conv2(x), inplace=True), 2)  # [N, 64, 4, 4]
        x = F.relu(self.conv3(x), inplace=True)  # [N, 64, 4, 4]
        x = self.drop(x.permute(0, 2, 3, 1).flatten(1))  # [N, 1024]
        x = self.digit(x)  # [N, 10]
        return x if logits else x.softmax(-1)

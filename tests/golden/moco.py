# Made by graphspec 0.1.0 from the spec moco. It needs torch 2.10 or later.
"""moco: image uint8[N, 8, 8, 1] -> unlike float32[N], digit float32[N, 10]."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def warp(x: Tensor, theta: Tensor, read: Callable[..., Tensor]) -> Tensor:
    """Applies an affine map to each image of [N, C, H, W].

    A row of `theta` [N, 6] maps positions in the output to positions in the input, all
    of them from -1 to 1. `read` says what is outside.
    """
    grid = F.affine_grid(theta.view(-1, 2, 3), [*x.shape], align_corners=False)
    return read(x, grid, "bilinear", 0.0)


class RandomRotation(nn.Module):
    """Rotates images [N, C, H, W] in training, by a number of turns from `factor`."""

    def __init__(self, factor: tuple[float, float], read: Callable[..., Tensor]):
        super().__init__()
        self.factor = factor
        self.read = read

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return x
        angle = 2 * torch.pi * x.new_empty(x.shape[0]).uniform_(*self.factor)
        cos, sin, zero = angle.cos(), angle.sin(), torch.zeros_like(angle)
        tall = x.shape[2] / x.shape[3]
        theta = torch.stack([cos, -sin * tall, zero, sin / tall, cos, zero], 1)
        return warp(x, theta, self.read)


class RandomTranslation(nn.Module):
    """Moves images [N, C, H, W] in training.

    The share of the height is drawn from `height`, that of the width from `width`.
    """

    def __init__(
        self,
        height: tuple[float, float],
        width: tuple[float, float],
        read: Callable[..., Tensor],
    ):
        super().__init__()
        self.height, self.width = height, width
        self.read = read

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return x
        down = x.new_empty(x.shape[0]).uniform_(*self.height)
        right = x.new_empty(x.shape[0]).uniform_(*self.width)
        one, zero = torch.ones_like(down), torch.zeros_like(down)
        theta = torch.stack([one, zero, -2 * right, zero, one, -2 * down], 1)
        return warp(x, theta, self.read)


class RandomZoom(nn.Module):
    """Zooms images [N, C, H, W] in training: it shows 1 + h of the height of each.

    h is drawn from `height`. Without `width`, it shows as much of the width.
    """

    def __init__(self, height: tuple[float, float], read: Callable[..., Tensor]):
        super().__init__()
        self.height = height
        self.read = read

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return x
        tall = 1 + x.new_empty(x.shape[0]).uniform_(*self.height)
        zero = torch.zeros_like(tall)
        theta = torch.stack([tall, zero, zero, zero, tall, zero], 1)
        return warp(x, theta, self.read)


def in_full(x: Tensor) -> Tensor:
    """Floats of 32 bits or more."""
    return (
        x.to(torch.promote_types(x.dtype, torch.float32))
        if x.is_floating_point()
        else x
    )


class State(nn.Module):
    """A tensor [1, ...] that each batch of training changes."""

    value: Tensor

    def __init__(self, shape: tuple[int, ...]):
        super().__init__()
        self.register_buffer("value", torch.zeros(1, *shape, dtype=None))

    def forward(self) -> Tensor:
        """The value that the batches before have left."""
        return self.value.clone() if self.training else self.value

    def update(
        self, change: Callable[..., Tensor], batch: list[Tensor], *others: Tensor
    ) -> None:
        """In training, the value becomes what `change` makes of it and of a batch."""
        if self.training:
            self.push(change, [x.detach() for x in batch], *others)

    @torch.no_grad()
    def push(
        self, change: Callable[..., Tensor], batch: list[Tensor], *others: Tensor
    ) -> None:
        """Changes the value; `change` gets the batch, [n, ...], as [1, n, ...]."""
        with torch.autocast(self.value.device.type, enabled=False):
            read = [x.unsqueeze(0) for x in batch] + [*others]
            self.value.copy_(change(self.value, *map(in_full, read)))


def filled(x: Tensor, grid: Tensor, mode: str, fill: float) -> Tensor:
    """Images [N, C, H, W] at the places [N, H, W, 2] of a grid; `fill` is outside."""
    return F.grid_sample(x - fill, grid, mode, align_corners=False) + fill


def init_weights(module: nn.Module) -> None:
    """Fills a module's own weights by Keras' initializers."""
    if isinstance(module, (nn.Conv2d, nn.Linear)):
        nn.init.xavier_uniform_(module.weight)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    elif isinstance(module, Moco):
        nn.init.normal_(module.others.value, 0.0, 0.05)
        module.slow.load_state_dict(module.online.state_dict())


class View(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.shifted = RandomTranslation((-0.15, 0.15), (-0.15, 0.15), filled)
        self.turned = RandomRotation((-0.05, 0.05), filled)
        self.zoomed = RandomZoom((-0.15, 0.15), filled)

    def forward(self, image: Tensor) -> Tensor:
        return self.zoomed(self.turned(self.shifted(image)))


class Encoder(nn.Module):
    def __init__(self, in_channels: int, width: int) -> None:
        super().__init__()
        self.convs = nn.ModuleList(
            [
                nn.Conv2d(in_channels, 32, 3, padding="same"),
                nn.Conv2d(32, 64, 3, padding="same"),
            ]
        )
        self.hidden = nn.Linear(1024, 4 * width)
        self.out = nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        for conv in self.convs:
            x = F.relu(conv(x), inplace=True)
        code = F.max_pool2d(x, 2).permute(0, 2, 3, 1).flatten(1)
        x = self.out(F.relu(self.hidden(code), inplace=True))
        return F.normalize(x, dim=-1), code


def update_others(others: Tensor, key: Tensor) -> Tensor:
    return torch.cat([key, others], 1)[:, :512]


class Moco(nn.Module):
    def __init__(self, width: int = 32, temperature: float = 0.2) -> None:
        super().__init__()
        self.online = Encoder(1, width)
        self.slow = Encoder(1, width)
        self.slow.requires_grad_(False)
        self.one = View()
        self.two = View()
        self.others = State((512, width))
        self.digit = nn.Linear(1024, 10)
        self.temperature = temperature
        self.apply(init_weights)

    def forward(self, image: Tensor, *, logits: bool = False) -> dict[str, Tensor]:
        scaled = image.to(self.digit.weight.dtype) / 16  # [N, 8, 8, 1]
        one = self.one(scaled.permute(0, 3, 1, 2))  # [N, 1, 8, 8]
        two = self.two(scaled.permute(0, 3, 1, 2))  # [N, 1, 8, 8]
        query_place, _ = self.online(one)
        key_place, _ = self.slow(two)
        others = self.others()  # [1, 512, 32]
        near = (query_place * key_place).sum(-1, keepdim=True)  # [N, 1]
        x = (query_place.unsqueeze(1) * others).sum(-1)  # [N, 512]
        x = torch.cat([near, x], -1) / self.temperature  # [N, 513]
        unlike = -x.log_softmax(-1)[:, 0]  # [N]
        _, plain_code = self.online(scaled.permute(0, 3, 1, 2))
        digit = self.digit(plain_code.detach())  # [N, 10]
        self.others.update(update_others, [key_place])
        return {"unlike": unlike, "digit": digit if logits else digit.softmax(-1)}

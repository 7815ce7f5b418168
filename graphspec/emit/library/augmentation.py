"""Random changes of images in training."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class RandomBrightness(nn.Module):
    """Adds a share of the value range, drawn from `factor`, to images in training."""

    def __init__(self, factor: tuple[float, float], value_range: tuple[float, float]):
        super().__init__()
        self.factor, self.value_range = factor, value_range

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return x
        low, high = self.value_range
        share = x.new_empty(x.shape[0], 1, 1, 1).uniform_(*self.factor)
        return (x + (high - low) * share).clamp(low, high)


class RandomContrast(nn.Module):
    """Scales the contrast of each channel of [N, C, H, W] in training, by `factor`."""

    def __init__(self, factor: tuple[float, float], value_range: tuple[float, float]):
        super().__init__()
        self.factor, self.value_range = factor, value_range

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return x
        factor = x.new_empty(x.shape[0], 1, 1, 1).uniform_(*self.factor)
        mean = x.mean((2, 3), keepdim=True)
        return (mean + (x - mean) * factor).clamp(*self.value_range)


def fit(x: Tensor, height: int, width: int) -> Tensor:
    """The largest centered window of [N, C, H, W] with this aspect ratio, resized."""
    tall = min(x.shape[2], max(x.shape[3] * height // width, 1))
    wide = min(x.shape[3], max(x.shape[2] * width // height, 1))
    top, left = (x.shape[2] - tall) // 2, (x.shape[3] - wide) // 2
    x = x[:, :, top : top + tall, left : left + wide]
    return F.interpolate(x, (height, width), mode="bilinear")


class RandomCrop(nn.Module):
    """Crops a random window from images [N, C, H, W] in training, the same from all.

    In inference, and if the images are not larger, it resizes the middle of each.
    """

    def __init__(self, height: int, width: int):
        super().__init__()
        self.height, self.width = height, width

    def forward(self, x: Tensor) -> Tensor:
        down, right = x.shape[2] - self.height, x.shape[3] - self.width
        if not self.training or down <= 0 or right <= 0:
            return fit(x, self.height, self.width)
        top = torch.randint(down + 1, (), device=x.device)
        left = torch.randint(right + 1, (), device=x.device)
        rows = top + torch.arange(self.height, device=x.device)
        columns = left + torch.arange(self.width, device=x.device)
        return x[:, :, rows][..., columns]


class RandomErasing(nn.Module):
    """Fills a rectangle of images [N, C, H, W] in training, without `fill` with noise.

    The probability is drawn from `factor`. A side is the square root of a number drawn
    from `scale`, times the side of the image.
    """

    def __init__(
        self,
        factor: tuple[float, float],
        scale: tuple[float, float],
        fill: float | None,
        value_range: tuple[float, float],
    ):
        super().__init__()
        self.factor, self.scale = factor, scale
        self.fill, self.value_range = fill, value_range

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return x
        erased = torch.rand(x.shape[0], 1, 1, 1, device=x.device)
        erased = erased < torch.empty_like(erased).uniform_(*self.factor)
        rows, columns = self.inside(x, x.shape[2]), self.inside(x, x.shape[3])
        if self.fill is None:
            fill = self.value_range[1] * torch.randn_like(x)
        else:
            fill = x.new_tensor(self.fill).view(-1, 1, 1)
        fill = fill.clamp(*self.value_range)
        return torch.where(
            erased & rows[:, None, :, None] & columns[:, None, None], fill, x
        )

    def inside(self, x: Tensor, size: int) -> Tensor:
        """Whether each index of a side is in the rectangle: [N, size]."""
        length = size * x.new_empty(x.shape[0], 1).uniform_(*self.scale).sqrt()
        start = (size - length) * torch.rand_like(length)
        places = torch.arange(size, device=x.device)
        return (start <= places) & (places < start + length)


class RandomFlip(nn.Module):
    """Flips images [N, C, H, W] in training with probability 0.5, along all `dims`."""

    def __init__(self, dims: tuple[int, ...]):
        super().__init__()
        self.dims = dims

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return x
        flipped = torch.rand(x.shape[0], 1, 1, 1, device=x.device) < 0.5
        return torch.where(flipped, x.flip(self.dims), x)


def warp(
    x: Tensor,
    theta: Tensor,
    read: Callable[..., Tensor],
    mode: str = "bilinear",
    fill: float = 0.0,
) -> Tensor:
    """Applies an affine map to each image of [N, C, H, W].

    A row of `theta` [N, 6] maps positions in the output to positions in the input, all
    of them from -1 to 1. `read` says what is outside.
    """
    grid = F.affine_grid(theta.view(-1, 2, 3), [*x.shape], align_corners=False)
    return read(x, grid, mode, fill)


def reflected(x: Tensor, grid: Tensor, mode: str, _: float) -> Tensor:
    """Images [N, C, H, W] at the places [N, H, W, 2] of a grid; mirrors are outside."""
    return F.grid_sample(x, grid, mode, "reflection", align_corners=False)


def nearest(x: Tensor, grid: Tensor, mode: str, _: float) -> Tensor:
    """Images at the places of a grid; what is outside is as the border."""
    return F.grid_sample(x, grid, mode, "border", align_corners=False)


def filled(x: Tensor, grid: Tensor, mode: str, fill: float) -> Tensor:
    """Images [N, C, H, W] at the places [N, H, W, 2] of a grid; `fill` is outside."""
    return F.grid_sample(x - fill, grid, mode, align_corners=False) + fill


def wrapped(x: Tensor, grid: Tensor, mode: str, _: float) -> Tensor:
    """Images [N, C, H, W] at the places [N, H, W, 2] of a grid; the image repeats."""
    size = grid.new_tensor([x.shape[3], x.shape[2]])
    grid = ((grid + 1) * size - 1) / 2 % size * 2 / size - 1
    x = F.pad(x, (0, 1, 0, 1), mode="circular")
    return F.grid_sample(x, grid, mode, align_corners=True)


class RandomPerspective(nn.Module):
    """Changes the perspective of images [N, C, H, W] in training.

    The probability is drawn from `factor`. A corner moves by up to `scale / 2` of its
    distance from the first corner.
    """

    def __init__(
        self,
        factor: tuple[float, float],
        scale: float,
        mode: str = "bilinear",
        fill: float = 0.0,
    ):
        super().__init__()
        self.factor, self.scale, self.mode, self.fill = factor, scale, mode, fill

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return x
        chosen = x.new_empty(x.shape[0], 1, 1, 1).uniform_(*self.factor)
        chosen = torch.rand_like(chosen) < chosen
        height, width = x.shape[2:]
        right, bottom = width - 1.0, height - 1.0
        corners = x.new_tensor([[0, 0], [right, 0], [0, bottom], [right, bottom]])
        moved = x.new_empty(x.shape[0], 4, 2).uniform_(-self.scale / 2, self.scale / 2)
        matrix = homography(corners + corners * moved, corners)
        return torch.where(chosen, project(x, matrix, self.mode, self.fill), x)


def project(x: Tensor, matrix: Tensor, mode: str, fill: float) -> Tensor:
    """Reads images [N, C, H, W] where projective maps [N, 3, 3] send each pixel."""
    height, width = x.shape[2:]
    rows = torch.arange(height, dtype=x.dtype, device=x.device)
    columns = torch.arange(width, dtype=x.dtype, device=x.device)
    columns, rows = torch.meshgrid(columns, rows, indexing="xy")
    places = torch.stack([columns, rows, torch.ones_like(rows)], -1)
    places = places.flatten(0, 1) @ matrix.mT
    places = places[..., :2] / places[..., 2:]
    grid = (2 * places + 1) / x.new_tensor([width, height]) - 1
    grid = grid.view(-1, height, width, 2).expand(x.shape[0], -1, -1, -1)
    return F.grid_sample(x - fill, grid, mode, align_corners=False) + fill


def homography(source: Tensor, target: Tensor) -> Tensor:
    """The projective maps [N, 3, 3] from four points [N, 4, 2] to four others."""
    point = torch.cat([source, torch.ones_like(source[..., :1])], -1)
    zero = torch.zeros_like(point)
    x = torch.cat([point, zero, -target[..., :1] * source], -1)
    y = torch.cat([zero, point, -target[..., 1:] * source], -1)
    wanted = target.expand_as(source).flatten(1)
    solution = torch.linalg.solve(torch.stack([x, y], 2).flatten(1, 2), wanted)
    return F.pad(solution, (0, 1), value=1.0).view(-1, 3, 3)


class RandomRotation(nn.Module):
    """Rotates images [N, C, H, W] in training, by a number of turns from `factor`."""

    def __init__(
        self,
        factor: tuple[float, float],
        read: Callable[..., Tensor],
        mode: str = "bilinear",
        fill: float = 0.0,
    ):
        super().__init__()
        self.factor = factor
        self.read, self.mode, self.fill = read, mode, fill

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return x
        angle = 2 * torch.pi * x.new_empty(x.shape[0]).uniform_(*self.factor)
        cos, sin, zero = angle.cos(), angle.sin(), torch.zeros_like(angle)
        tall = x.shape[2] / x.shape[3]
        theta = torch.stack([cos, -sin * tall, zero, sin / tall, cos, zero], 1)
        return warp(x, theta, self.read, self.mode, self.fill)


class RandomShear(nn.Module):
    """Shears images [N, C, H, W] in training.

    The shear along the width is drawn from `across`, that along the height from `down`.
    Both get the same random sign.
    """

    def __init__(
        self,
        across: tuple[float, float],
        down: tuple[float, float],
        read: Callable[..., Tensor],
        mode: str = "bilinear",
        fill: float = 0.0,
    ):
        super().__init__()
        self.across, self.down = across, down
        self.read, self.mode, self.fill = read, mode, fill

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return x
        height, width = x.shape[2:]
        across = x.new_empty(x.shape[0]).uniform_(*self.across)
        down = x.new_empty(x.shape[0]).uniform_(*self.down)
        flipped = torch.rand_like(down) < 0.5
        across = torch.where(flipped, -across, across) / width
        down = torch.where(flipped, -down, down) / height
        one = torch.ones_like(down)
        rows = [one, across * height, across * (height - 1)]
        rows += [down * width, one, down * (width - 1)]
        theta = torch.stack(rows, 1)
        return warp(x, theta, self.read, self.mode, self.fill)


class RandomTranslation(nn.Module):
    """Moves images [N, C, H, W] in training.

    The share of the height is drawn from `height`, that of the width from `width`.
    """

    def __init__(
        self,
        height: tuple[float, float],
        width: tuple[float, float],
        read: Callable[..., Tensor],
        mode: str = "bilinear",
        fill: float = 0.0,
    ):
        super().__init__()
        self.height, self.width = height, width
        self.read, self.mode, self.fill = read, mode, fill

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return x
        down = x.new_empty(x.shape[0]).uniform_(*self.height)
        right = x.new_empty(x.shape[0]).uniform_(*self.width)
        one, zero = torch.ones_like(down), torch.zeros_like(down)
        theta = torch.stack([one, zero, -2 * right, zero, one, -2 * down], 1)
        return warp(x, theta, self.read, self.mode, self.fill)


class RandomZoom(nn.Module):
    """Zooms images [N, C, H, W] in training: it shows 1 + h of the height of each.

    h is drawn from `height`. Without `width`, it shows as much of the width.
    """

    def __init__(
        self,
        height: tuple[float, float],
        read: Callable[..., Tensor],
        width: tuple[float, float] | None = None,
        mode: str = "bilinear",
        fill: float = 0.0,
    ):
        super().__init__()
        self.height, self.width = height, width
        self.read, self.mode, self.fill = read, mode, fill

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return x
        tall = 1 + x.new_empty(x.shape[0]).uniform_(*self.height)
        wide = tall
        if self.width is not None:
            wide = 1 + x.new_empty(x.shape[0]).uniform_(*self.width)
        zero = torch.zeros_like(tall)
        theta = torch.stack([wide, zero, zero, zero, tall, zero], 1)
        return warp(x, theta, self.read, self.mode, self.fill)

"""Whether two random layers draw alike: at each position, at positions together, at examples together.

Both are called on one example, again and again; what they give is compared by the test of Kolmogorov and
Smirnov: the number at a position; mixes of two next to each other along each axis, of two anywhere, and of
the same in two examples of a batch; mixes of all. Where all mixes are alike, so are the outcomes as a whole.
"""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

Call = Callable[[list[Tensor]], Tensor]

PAIRS = 500  # pairs of examples, all of one batch
CALLS = 300  # batches of one pair, where all examples of a batch share their fate
FEW = 40  # positions, and pairs of each kind
ALPHA = 1e-8  # how likely a difference must be by chance; thousands are looked at


def difference(a: Tensor, b: Tensor) -> str | None:
    """What differs in how two layers draw, given their `outcomes`; None where nothing does."""
    if a.shape[1:] != b.shape[1:]:
        return f"shapes {tuple(a.shape[2:])} and {tuple(b.shape[2:])}"
    generator = torch.Generator().manual_seed(0)
    scale = float(b.abs().max()) or 1.0
    for what, mix in mixes(a.shape[2:], generator):
        x, y = (z.flatten(1) @ mix for z in (a, b))
        x, y = (z + 1e-5 * scale * torch.rand(z.shape, generator=generator) for z in (x, y))  # parts ties
        gaps = largest_gaps(x, y)
        if float(gaps.max()) > limit(len(x), len(y)):
            return f"{what}: distributions are {float(gaps.max()):.2f} apart"
    x, y = (torch.stack([z.flatten(1).mean(1), z.flatten(1).square().mean(1)], 1) for z in (a, b))
    x, y = (z + 1e-5 * scale * torch.rand(z.shape, generator=generator) for z in (x, y))
    gap = float(largest_gaps(x, y).max())
    return f"means and squares: {gap:.2f} apart" if gap > limit(len(x), len(y)) else None


def starts_differ(a: Tensor, b: Tensor) -> str | None:
    """What differs in how a weight starts, given draws of it, [draws, *shape]; None where nothing does.

    Elements are compared as one distribution, and what they are together by the singular values of a matrix.
    """
    if (b == b[:1]).all():
        return None if (a == a[:1]).all() and torch.allclose(a[0], b[0]) else "constants differ"
    x, y = a.flatten(), b.flatten()
    spread, sure = float(y.std()), 8 / min(len(x), len(y)) ** 0.5
    if max(abs(float(x.mean() - y.mean())), abs(float(x.std()) - spread)) > sure * spread:
        return f"mean {x.mean():.3g} and {y.mean():.3g}, deviation {x.std():.3g} and {spread:.3g}"
    if float(largest_gaps(x[:, None], y[:, None])) > limit(len(x), len(y)):
        return "distributions differ"
    if a.dim() > 2:
        x, y = (torch.linalg.svdvals(z.flatten(2)) for z in (a, b))
        allowed = 8 * (x.std(0) + y.std(0)) / len(a) ** 0.5 + 1e-4 * float(y.max())
        if ((x.mean(0) - y.mean(0)).abs() > allowed).any():
            return "singular values differ"
    return None


def outcomes(call: Call, example: list[Tensor], shared: bool = False, pairs: int = PAIRS) -> Tensor:
    """What independent calls make of two equal examples: [outcomes, 2, ...]. `shared`: one draw of several is
    for all examples of a batch.
    """
    y = call([x.expand(2 * pairs, *x.shape[1:]).clone() for x in example]).detach().double()
    if shared or (y == y[:1]).all():
        pair = [x.expand(2, *x.shape[1:]).clone() for x in example]
        y = torch.cat([call(pair).detach().double() for _ in range(min(CALLS, pairs))])
    return y.unflatten(0, (-1, 2))


def mixes(shape: torch.Size, generator: torch.Generator) -> Iterator[tuple[str, Tensor]]:
    """Weights of the elements of two examples, [2 * elements, mixes], each with what it looks at."""
    places = torch.arange(2 * shape.numel()).view(2, *shape)
    some = places.flatten()[torch.randperm(places.numel(), generator=generator)]
    yield "positions", weights(places.numel(), some[:FEW, None], generator)
    for axis in range(places.dim()):
        if places.shape[axis] > 1:
            length = places.shape[axis] - 1
            pairs = torch.stack([places.narrow(axis, start, length).flatten() for start in (0, 1)], 1)
            pairs = pairs[torch.randperm(len(pairs), generator=generator)[:FEW]]
            what = "examples of a batch" if axis == 0 else f"neighbours along axis {axis}"
            yield what, weights(places.numel(), pairs, generator)
    anywhere = torch.stack([some, some[torch.randperm(len(some), generator=generator)]], 1)[:FEW]
    yield "pairs", weights(places.numel(), anywhere, generator)
    yield "all together", torch.randn(places.numel(), FEW // 2, generator=generator, dtype=torch.float64)


def weights(size: int, chosen: Tensor, generator: torch.Generator) -> Tensor:
    """[size, mixes]: random weights of the chosen elements, [mixes, elements], and 0 elsewhere."""
    drawn = (torch.rand(chosen.shape, generator=generator, dtype=torch.float64) + 0.5).T
    drawn[1::2] *= -1
    return torch.zeros(size, len(chosen), dtype=torch.float64).scatter_add(0, chosen.T, drawn)


def largest_gaps(a: Tensor, b: Tensor) -> Tensor:
    """The statistic of Kolmogorov and Smirnov for each column of two samples [n, columns]."""
    steps = torch.cat([torch.full((len(a),), 1 / len(a)), torch.full((len(b),), -1 / len(b))])
    return steps[torch.cat([a, b]).argsort(0)].cumsum(0).abs().amax(0)


def limit(n: int, m: int) -> float:
    """The statistic that chance exceeds with a probability of ALPHA."""
    return float((-torch.tensor(ALPHA / 2).log() / 2 * (n + m) / (n * m)).sqrt())

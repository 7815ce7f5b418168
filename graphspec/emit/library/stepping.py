"""What a module needs to go on from where it was: states that are changed in place."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from graphspec.emit.library.attention import SizedAttention


def begin_states(model: nn.Module, batch: int, longest: int) -> None:
    """Makes new states of zeros, with room for `longest` steps of each of a batch."""
    for module in model.modules():
        own = module.named_buffers(recurse=False)
        empty = {name: buffer.shape for name, buffer in own if 0 in buffer.shape}
        for name, shape in vars(module).setdefault("state_shapes", empty).items():
            sizes = [batch, *(size or longest for size in shape[1:])]
            setattr(module, name, getattr(module, name).new_zeros(sizes))


def keep_states(model: nn.Module, states: dict[str, Tensor]) -> None:
    """Lets states be these, by their paths, for each of a batch."""
    for path, state in states.items():
        parent, _, name = path.rpartition(".")
        owner = model.get_submodule(parent)
        setattr(
            owner, name, state.expand(getattr(owner, name).shape[0], *state.shape[1:])
        )


def kept(buffer: Tensor, new: Tensor, places: Tensor, axis: int) -> Tensor:
    """All steps so far: new ones are written into the buffer, behind `places` steps.

    A compiled graph has the whole buffer instead: what it reads beyond is masked.
    """
    steps, whole = new.shape[axis], torch.compiler.is_compiling()
    spots = [0] if whole else places.tolist()
    first, last = min(spots), max(spots)
    if first == last and not whole:
        buffer.narrow(axis, first, steps).copy_(new)
    else:
        shape = [1] * new.dim()
        shape[0], shape[axis] = places.shape[0], steps
        index = places_of(places, steps).view(shape).expand(new.shape)
        buffer.scatter_(axis, index, new)
    return buffer if whole else buffer.narrow(axis, 0, last + steps)


def places_of(places: Tensor, steps: int) -> Tensor:
    """[N, steps]: the places of new steps, after `places` [N] steps."""
    return places[:, None] + torch.arange(steps, device=places.device)


def places_so_far(room: Tensor, steps: int, places: Tensor) -> Tensor:
    """[1, steps]: the places of all steps so far, as many as `kept` gives."""
    whole = torch.compiler.is_compiling()
    count = room.shape[1] if whole else int(places.max()) + steps
    return torch.arange(count, device=places.device)[None]


def step_triangle(
    x: Tensor,
    places: Tensor,
    k: int = 0,
    upper: bool = False,
    columns: bool = False,
) -> Tensor:
    """A triangle of new rows, or columns, and all columns, or rows, so far."""
    new = places_of(places, x.shape[-1 if columns else -2])
    new = new.view(places.shape[0], *[1] * (x.dim() - 3), *new.shape[1:])
    every = torch.arange(x.shape[-2 if columns else -1], device=x.device)
    rows, where = (
        (every[:, None], new.unsqueeze(-2)) if columns else (new[..., None], every)
    )
    return x.masked_fill((where < rows + k) if upper else (where > rows + k), 0)


def past(places: Tensor, steps: int, keys: int, window: int | None = None) -> Tensor:
    """[N, 1, steps, keys]: true where a key is not behind the place of a new step."""
    rows = places_of(places, steps)[:, None, :, None]
    columns = torch.arange(keys, device=places.device)
    seen = columns <= rows
    return seen if window is None else seen & (columns > rows - window)


def visible(
    places: Tensor,
    steps: int,
    keys: int,
    window: int | None = None,
    mask: Tensor | None = None,
) -> Tensor | None:
    """Which of the keys so far new steps see, [N, 1, steps, keys]; None: all."""
    whole = torch.compiler.is_compiling()
    newest = not whole and steps == 1 and min(places.tolist()) == keys - 1
    if newest and window is None:
        return mask
    seen = past(places, steps, keys, window)
    return seen if mask is None else seen & mask


def attended(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    places: Tensor,
    scale: float | None = None,
    bias: Tensor | None = None,
    mask: Tensor | None = None,
) -> Tensor:
    """Causal attention of new steps [N, steps, heads, size] to all so far."""
    q, k, v = (x.transpose(1, 2) for x in (query, key, value))
    seen = visible(places, q.shape[2], k.shape[2], mask=mask)
    if bias is not None:
        seen = bias if seen is None else bias.where(seen, -torch.inf)
    grouped = q.shape[1] > k.shape[1]
    x = F.scaled_dot_product_attention(q, k, v, seen, scale=scale, enable_gqa=grouped)
    return x.transpose(1, 2)


class StepAttention(SizedAttention):
    """Causal multi-head attention of new steps to all so far."""

    def forward(  # type: ignore[override, unused-ignore]
        self,
        query: Tensor,
        value: Tensor,
        places: Tensor,
        keys: Tensor,
        values: Tensor,
        key: Tensor | None = None,
        window: int | None = None,
        mask: Tensor | None = None,
    ) -> Tensor:
        q = self.split(self.query(query), self.num_heads)
        kv_heads = self.num_kv_heads or self.num_heads
        k = self.split(self.key(value if key is None else key), kv_heads)
        v = self.split(self.value(value), kv_heads)
        k, v = kept(keys, k, places, 2), kept(values, v, places, 2)
        seen = visible(places, q.shape[2], k.shape[2], window, mask)
        grouped = self.num_kv_heads is not None
        x = F.scaled_dot_product_attention(q, k, v, seen, enable_gqa=grouped)
        return self.merge(x, query)


def carried(
    results: tuple[Tensor, ...],
    states: list[Tensor],
    mask: Tensor | None = None,
    last: Tensor | None = None,
) -> Tensor:
    """The first of the results; the others become the states.

    Steps before the first that a mask [N, steps] keeps have the output `last`.
    """
    x, *new = results
    if mask is not None and last is not None:
        seen = (mask.cumsum(1) > 0).view(*mask.shape, *[1] * (x.dim() - 2))
        x = torch.where(seen, x, last[:, None])
        last.copy_(x[:, -1])
    for state, now in zip(states, new, strict=True):
        state.copy_(now)
    return x


def begun(places: Tensor, initial: list[Tensor], states: list[Tensor]) -> list[Tensor]:
    """The states, which are others before the first step."""
    pairs = zip(initial, states, strict=True)
    return [
        torch.where((places == 0).view(-1, *[1] * (state.dim() - 1)), first, state)
        for first, state in pairs
    ]


def window(x: Tensor, state: Tensor, axis: int = 1) -> Tensor:
    """New steps along an axis, behind those before them that the state keeps."""
    x, steps = torch.cat([state, x], axis), state.shape[axis]
    state.copy_(x.narrow(axis, x.shape[axis] - steps, steps))
    return x


def running(
    x: Tensor, axis: int, state: Tensor, places: Tensor, product: bool = False
) -> Tensor:
    """A cumulative sum or product along an axis, from the last one on."""
    if product:
        shape = [-1, *[1] * (x.dim() - 1)]
        x = x.cumprod(axis, dtype=x.dtype) * torch.where(
            (places == 0).view(shape), 1, state
        )
    else:
        x = x.cumsum(axis, dtype=x.dtype) + state
    state.copy_(x.narrow(axis, x.shape[axis] - 1, 1))
    return x


def sine_positions_at(places: Tensor, x: Tensor, max_wavelength: float) -> Tensor:
    """Sines and cosines of the places of new steps, in the shape of x."""
    index = torch.arange(x.shape[-1], device=x.device)
    rates = max_wavelength ** (-2 * (index // 2) / x.shape[-1])
    angles = places_of(places, x.shape[-2]).unsqueeze(-1) * rates
    waves = torch.where(index % 2 == 0, angles.sin(), angles.cos()).to(x.dtype)
    return waves.view(x.shape[0], *[1] * (x.dim() - 3), *x.shape[-2:]).expand(x.shape)


def rotate_positions_at(
    places: Tensor, x: Tensor, axis: int, max_wavelength: float, scale: float = 1.0
) -> Tensor:
    """Rotary embedding of new steps, by their places."""
    half, steps = x.shape[-1] // 2, x.shape[axis]
    rates = max_wavelength ** (-torch.arange(half, device=x.device) / half) / scale
    angles = places_of(places, steps).unsqueeze(-1) * rates
    before, behind = [1] * (axis - 1), [1] * (x.dim() - 2 - axis)
    angles = angles.view(places.shape[0], *before, steps, *behind, half)
    cos, sin = angles.cos().to(x.dtype), angles.sin().to(x.dtype)
    a, b = x.chunk(2, -1)
    return torch.cat((a * cos - b * sin, b * cos + a * sin), -1)

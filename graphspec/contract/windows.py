"""Windows that slide over an image or a sequence: arguments, output sizes, Keras' `same` padding."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, WithJsonSchema
from pydantic_core import PydanticCustomError, PydanticKnownError

from graphspec.contract.input_checks import need_float, need_rank
from graphspec.contract.layer import Layer, LayerError, Leaf, MemoryRule, Site
from graphspec.contract.ranks import OfRank
from graphspec.contract.streaming import Roles, Streaming, frame, skipping, whole
from graphspec.diagnostics import meant
from graphspec.settings import show
from graphspec.tensor import Dim, Tensor, ceil_div

DataFormat = Literal["channels_last", "channels_first"]


AXES = {1: ("length",), 2: ("height", "width"), 3: ("depth", "height", "width")}
"""Names of the axes under a window of each rank."""


def window(rank: int, least: int = 1) -> Any:
    """An argument with an integer of at least `least` for each of `rank` axes, or a single one for all."""
    listed = f"a list of {rank} integers: {', '.join(AXES[rank])}"
    wanted = "an integer" if rank == 1 else f"an integer or {listed}"

    def parse(value: Any) -> tuple[int, ...]:
        sizes = tuple(value) if isinstance(value, (list, tuple)) else (value,) * rank
        if len(sizes) != rank or not all(
            isinstance(size, int) and not isinstance(size, bool) for size in sizes
        ):
            raise PydanticCustomError("window_type", wanted)
        if min(sizes) < least:
            raise PydanticKnownError("greater_than_equal", {"ge": least})
        return sizes

    size = {"type": "integer", "minimum": least}
    several = {"type": "array", "items": size, "minItems": rank, "maxItems": rank}
    return Annotated[tuple[int, ...], BeforeValidator(parse), WithJsonSchema({"anyOf": [size, several]})]


def margin(rank: int, *words: str) -> Any:
    """One of the words for padding, or how much is added at both ends of each axis."""
    count = window(rank, 0)
    parse, schema = count.__metadata__

    def read(value: Any) -> Any:
        return value if isinstance(value, str) else parse.func(value)

    wanted: Any = Literal[("valid", "same", *words)]
    choices = [{"enum": ["valid", "same", *words], "type": "string"}, *schema.json_schema["anyOf"]]
    return Annotated[wanted | tuple[int, ...], BeforeValidator(read), WithJsonSchema({"anyOf": choices})]


Window = Annotated[tuple[int, ...], OfRank(window)]
Added = Annotated[tuple[int, ...], OfRank(lambda rank: window(rank, 0))]
Margin = Annotated[Any, OfRank(margin)]
Window2, CausalMargin1 = window(2), margin(1, "causal")


def short(window: tuple[int, ...]) -> Leaf:
    """A window as people write it: one integer if all axes are equal."""
    return window[0] if len(set(window)) == 1 else window


def spatial(x: Tensor, data_format: DataFormat) -> tuple[Dim, ...]:
    """The sizes of the axes that a window slides over."""
    return x.shape[1:-1] if data_format == "channels_last" else x.shape[2:]


def need_axes(x: Tensor, rank: int, data_format: DataFormat, *, layer: str) -> None:
    """Refuses all ranks but that of a batch of images or sequences."""
    names = ", ".join(AXES[rank])
    shape = f"[{names}, channels]" if data_format == "channels_last" else f"[channels, {names}]"
    need_rank(x, rank + 2, layer=layer, shape=shape)


def channels_moved(name: str, data_format: DataFormat) -> str:
    """The images `name` as PyTorch's functions take them, channels first."""
    return f"{{{name}}}.movedim(-1, 1)" if data_format == "channels_last" else f"{{{name}}}"


def channels_back(call: str, data_format: DataFormat) -> str:
    """The images that a call gives, channels first, with their axes as in the spec."""
    return f"{call}.movedim(1, -1)" if data_format == "channels_last" else call


def same_pads(
    sizes: tuple[Dim, ...], window: tuple[int, ...], strides: tuple[int, ...], dilation: tuple[int, ...]
) -> tuple[tuple[int, int], ...] | None:
    """How many elements Keras' `same` pads before and after each axis; None if that depends on a size that is
    not known.
    """
    pads: list[tuple[int, int]] = []
    for size, width, stride, spacing in zip(sizes, window, strides, dilation, strict=True):
        if isinstance(size, int):
            short = -size % stride
        elif size // stride * stride == size:
            short = 0
        else:
            return None
        total = max(spacing * (width - 1) + 1 - stride + short, 0)
        pads.append((total // 2, total - total // 2))
    return tuple(pads)


def need_spatial(x: Tensor, rank: int, data_format: DataFormat, *, layer: str) -> None:
    """Refuses integers, and all ranks but that of a batch of images or sequences."""
    need_axes(x, rank, data_format, layer=layer)
    need_float(x, layer=layer)


def assemble(x: Tensor, sizes: tuple[Dim, ...], channels: Dim, data_format: DataFormat) -> Tensor:
    """A batch with these sizes and channels."""
    if data_format == "channels_last":
        return x.with_shape(x.shape[0], *sizes, channels)
    return x.with_shape(x.shape[0], channels, *sizes)


def slide(
    x: Tensor,
    sizes: tuple[Dim, ...],
    window: tuple[int, ...],
    strides: tuple[int, ...],
    padding: str,
    dilation: tuple[int, ...] | None = None,
    *,
    layer: str,
    argument: str,
) -> tuple[Dim, ...]:
    """The sizes of the output of a window.

    Raises `LayerError` if the window is larger than a known size without padding.
    """
    left: list[Dim] = []
    for axis, size, width, stride, spacing in zip(
        AXES[len(sizes)], sizes, window, strides, dilation or (1,) * len(sizes), strict=True
    ):
        if padding != "valid":
            left.append(ceil_div(size, stride))
            continue
        span = spacing * (width - 1) + 1
        if isinstance(size, int) and size < span:
            spread = f" (`{argument}` {width} with `dilation_rate` {spacing})" if spacing > 1 else ""
            raise LayerError(
                "window-too-large",
                f"{layer} slides a window of {axis} {span}{spread} over {axis} {size} of {x}",
                help=_channels_first(x)
                or f"write `padding: same` or a smaller `{argument}`, or shrink the input less before",
                argument=argument,
                inputs=(0,),
            )
        left.append((size - span) // stride + 1)
    return tuple(left)


def _channels_first(x: Tensor) -> str | None:
    """The remedy for what is likely an image whose channels come first."""
    _, *sizes = x.shape
    numbers = [size for size in sizes if isinstance(size, int)]
    if len(sizes) != 3 or len(numbers) != 3 or numbers[0] not in (1, 3, 4) or min(numbers[1:]) <= 4:
        return None
    return "where channels come first, write `data_format: channels_first` on the input"


def margin_instead(argument: str, value: object, layer: str) -> str | None:
    """How to pad or crop by any number, by a `layer`.

    It is `ZeroPadding2D` before windows, or `Cropping2D` after a transposed convolution.
    """
    if argument != "padding" or value in ("valid", "same"):
        return None
    if isinstance(value, str):
        if value.lower() == "causal" and layer == "ZeroPadding1D":
            pad = "{layer: ZeroPadding1D, padding: [before, 0]}"
            return f"pad before it: {pad}, where `before` is one less than its window"
        near = next((word for word in ("valid", "same") if word in value.lower()), None)
        return meant(near, value, value.lower() == near) if near is not None else None
    word, place = ("cropping", "after") if layer.startswith("Cropping") else ("padding", "before")
    if layer.endswith("1D") and isinstance(value, list) and len(value) == 1:
        value = value[0]  # one axis has no list of axes
    return f"write `same`, or put {{layer: {layer}, {word}: {show(value)}}} {place} it"


def streamed(
    roles: Roles, data_format: DataFormat, spans: tuple[int, ...], strides: tuple[int, ...], padding: Any
) -> Streaming | None:
    """How windows over a streamed axis go on: those over a step alone, and those over steps that are padded.

    A window spans so many steps besides its first.
    """
    start = 1 if data_format == "channels_last" else 2
    for axis, role in enumerate(roles):
        place = axis - start
        if role is None:
            continue
        if role == "all" or not 0 <= place < len(spans):
            return None
        if strides[place] > 1:
            return skipping(strides[place])
        valid = padding == "valid" or (isinstance(padding, tuple) and padding[place] == 0)
        if (spans[place] and not (valid and role == "padded")) or isinstance(padding, tuple) > valid:
            return whole("reads steps that come later", _zeros_before(place, spans))
    return frame(roles)


def _zeros_before(place: int, spans: tuple[int, ...]) -> str:
    """What lets windows read the past."""
    sides = [[span if axis == place else 0, 0] for axis, span in enumerate(spans)]
    padding = sides[0] if len(spans) == 1 else sides
    zeros = f"{{layer: ZeroPadding{len(spans)}D, padding: {padding}}}"
    return f"let it read zeros and the past: {zeros} before it, and `padding: valid`"


class Spatial(Layer, abstract=True):
    """The base of layers that change the sizes of a sequence or image."""

    memory_layout: ClassVar[MemoryRule] = "any"

    def axes(self, site: Site) -> list[int]:
        """The axes in memory that change."""
        start = 1 if self.layout == "channels_last" else 2
        return [site.axis(axis) for axis in range(start, start + self.rank)]

    def need(self, x: Tensor) -> None:
        """Refuses tensors of another rank."""
        need_axes(x, self.rank, self.layout, layer=self.spec_name)

    def resized(self, x: Tensor, sizes: tuple[Dim, ...]) -> Tensor:
        """The type of the output with these sizes."""
        return assemble(x, sizes, x.shape[-1 if self.layout == "channels_last" else 1], self.layout)

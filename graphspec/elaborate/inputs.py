"""The inputs of a file: the types that they declare, and whether what a model is given fits them."""

from __future__ import annotations

from typing import Any

from graphspec.diagnostics import nearest
from graphspec.elaborate.body import BodyElaborator
from graphspec.elaborate.instance import NodeInstance
from graphspec.elaborate.values import FAILED, NOTHING, Absent, Resolved
from graphspec.graph import Value
from graphspec.objectives.settings import show
from graphspec.schema import MISSING, NAMED_SIZE, Input
from graphspec.tensor import BATCH, DTYPE_WORDS, DTYPES, Dim, Tensor, show_size, symbol, unit_of


def declared_tensor(body: BodyElaborator, name: str, declared: Input) -> Tensor | Absent | None:
    """The type that an input of a file declares; NOTHING where its `when` is false, None after an error.

    Channels are its last axis, wherever the data have them: `given_tensor` is what is passed.
    """
    path = body.path("inputs", name)
    document = body.declared.document
    values = {
        key: body.scope.evaluate(getattr(declared, key), (*path, key))
        for key in ("shape", "dtype", "data_format")
    }
    when = body.scope.flag(declared.when, (*path, "when"))
    if when is None or any(value is FAILED for value in values.values()):
        return None
    if not when:
        return NOTHING
    if values["dtype"] not in DTYPES:
        near = nearest(str(values["dtype"]), DTYPES, DTYPE_WORDS)
        help = f"did you mean `{near}`?" if near else f"one of: {', '.join(DTYPES)}"
        body.error(
            "out-of-range", document.span((*path, "dtype")), f"unknown dtype {show(values['dtype'])}", help
        )
        return None
    if values["data_format"] not in ("channels_last", "channels_first"):
        body.error(
            "out-of-range",
            document.span((*path, "data_format")),
            "`data_format` is channels_last or channels_first",
        )
        return None
    shape = values["shape"]
    if not isinstance(shape, list):
        body.error(
            "wrong-type",
            document.span((*path, "shape")),
            f"a shape is a list of sizes, not {show(shape)}",
            f"write [{show(shape)}]",
        )
        return None
    sizes: list[Dim] = [symbol(BATCH)]
    for position, size in enumerate(shape):
        dim = _size(body, size, (*path, "shape", position))
        if dim is None:
            return None
        sizes.append(dim)
    if values["data_format"] == "channels_first":
        if not 3 <= len(sizes) <= 5:
            help = "data of one to three axes and channels have a data format: [channels, height, width]"
            message = f"an input of {len(shape)} axes has no `data_format`"
            body.error("wrong-rank", document.span((*path, "data_format")), message, help)
            return None
        sizes = [sizes[0], *sizes[2:], sizes[1]]
    return Tensor(tuple(sizes), values["dtype"])


def is_channels_first(body: BodyElaborator, name: str, declared: Input) -> bool:
    """Whether an input, declared without error, comes with channels at axis 1."""
    return (
        body.scope.evaluate(declared.data_format, (*body.path("inputs", name), "data_format"))
        == "channels_first"
    )


def given_tensor(tensor: Tensor) -> Tensor:
    """The type of what is passed for an input whose channels come first."""
    batch, *space, channels = tensor.shape
    return Tensor((batch, channels, *space), tensor.dtype)


def _size(body: BodyElaborator, size: Any, path: Any) -> Dim | None:
    span = body.declared.document.span(path)
    if size is None:
        return symbol(body.context.fresh_size())
    if isinstance(size, int) and not isinstance(size, bool):
        if size > 0:
            return size
        body.error(
            "out-of-range", span, f"a size is a positive integer, not {size}", "null stands for any size"
        )
        return None
    if size in ("None", "none"):
        help = "write null: any size; the batch axis is left out"
        body.error("wrong-type", span, "this is a text in YAML, and would name a size", help)
        return None
    written = NAMED_SIZE.fullmatch(size) if isinstance(size, str) else None
    if written is not None:
        factor, word = int(written["before"] or written["behind"] or 1), written["name"]
        if factor == 0:
            message = f"a size is a multiple of a positive integer, not {show(size)}"
            body.error("out-of-range", span, message, "write such as `16 * height`")
            return None
        if word != BATCH:
            return symbol(word) * factor
        body.error(
            "reserved-name",
            span,
            f"`{BATCH}` is the batch axis, which every shape leaves out",
            "remove it, or give the size another name",
        )
        return None
    help = (
        f"write {int(size)}"
        if isinstance(size, float) and size.is_integer()
        else "an integer, a name such as `length`, a multiple of one such as `16 * height`, or null"
    )
    body.error("wrong-type", span, f"a size is not {show(size)}", help)
    return None


def meets_demands(node: NodeInstance, inner: BodyElaborator, inputs: dict[str, Resolved]) -> bool:
    """Whether what is fed fits the shapes that a model file declares; its named sizes are bound afresh."""
    bindings: dict[str, Dim] = {}
    ok = True
    for name, declared in inner.declared.inputs.items():
        value = inputs[name]
        if declared is None:
            ok = False
            continue
        wanted = declared_tensor(inner, name, declared)
        if wanted is None:
            ok = False
        elif isinstance(wanted, Absent) or not isinstance(value, Value):
            continue
        elif not _fits(wanted, value.tensor, bindings):
            ok = False
            span = node.span_of("from") if node.declared.source is not MISSING else node.span
            help = f"in {inner.declared.file} write null or a param for the sizes of `{name}` that may vary"
            help = _multiples(wanted, value.tensor) or help
            node.error(
                "shapes-differ",
                span,
                f"the input `{name}` of `{inner.declared.title}` is {wanted}, and gets {value.tensor}",
                help,
            )
    return ok


def _multiples(wanted: Tensor, given: Tensor) -> str | None:
    """What to do where a size is no multiple of what a model wants; None where all are."""
    for want, size in zip(wanted.shape[1:], given.shape[1:], strict=False):
        unit = unit_of(want)
        if unit is not None and size // unit[1] * unit[1] != size:
            return f"`{show_size(size)}` is to be a multiple of {unit[1]}: pad, crop or resize before"
    return None


def _fits(wanted: Tensor, given: Tensor, bindings: dict[str, Dim]) -> bool:
    """Whether a tensor is of a type that a model declares; the names of its sizes are bound on the way."""
    if wanted.rank != given.rank or wanted.dtype != given.dtype:
        return False
    for want, size in zip(wanted.shape[1:], given.shape[1:], strict=True):
        if isinstance(want, int):
            if want != size:
                return False
        elif (unit := unit_of(want)) is not None:
            name, factor = unit
            if size // factor * factor != size or bindings.setdefault(name, size // factor) != size // factor:
                return False
    return True

"""The inputs of a file: the types that they declare, and whether what a model is given fits them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from graphspec.contract.buffers import need_held
from graphspec.contract.layer import LayerError
from graphspec.diagnostics import become, by_word, did_you_mean, write_value
from graphspec.elaborate.body import BodyElaborator
from graphspec.elaborate.instance import NodeInstance
from graphspec.elaborate.values import FAILED, NOTHING, Absent, Resolved
from graphspec.graph import Value
from graphspec.language.schema import DRAWN, MISSING, NAMED_SIZE, Input
from graphspec.settings import Word, show, unquoted
from graphspec.settings.remedies import EXAMPLES, remedy_of
from graphspec.source import Path
from graphspec.tensor import BATCH, DTYPE_WORDS, DTYPES, Dim, Limit, Tensor, show_size, symbol, unit_of
from graphspec.traced import numerals


def declared_tensor(body: BodyElaborator, name: str, declared: Input) -> Tensor | Absent | None:
    """The type that an input of a file declares; NOTHING where its `when` is false, None after an error.

    Channels are its last axis, also if they come first in the data: `given_tensor` is the type that is
    passed.
    """
    path = body.path("inputs", name)
    document = body.declared.document
    values = {
        key: body.scope.evaluate(getattr(declared, key), (*path, key))
        for key in ("shape", "dtype", "data_format")
    }
    when = body.scope.flag(declared.when, (*path, "when"))
    if when is False:
        return NOTHING
    sizes = _sizes(body, values["shape"], (*path, "shape"))
    known = when is not None and not any(value is FAILED for value in values.values())
    if values["dtype"] is not FAILED and values["dtype"] not in DTYPES:
        word = str(values["dtype"]).rpartition(".")[2]  # as of `torch.long`
        listed = f"one of: {', '.join(DTYPES)}"
        help = did_you_mean(word, DTYPES, listed, DTYPE_WORDS, str(values["dtype"]))
        if values["dtype"] in ("category", "object", "str", "string", "text"):
            help = f"encode texts as numbers: data: {{features: {{{name}: {{encode: category}}}}}}"
        message, known = f"unknown dtype {show(values['dtype'])}", False
        body.error("out-of-range", document.span((*path, "dtype")), message, help)
    if values["data_format"] not in (FAILED, "channels_last", "channels_first"):
        message, known = "`data_format` is channels_last or channels_first", False
        body.error("out-of-range", document.span((*path, "data_format")), message)
    if sizes is None or not known:
        return None
    if values["data_format"] == "channels_first":
        if not 3 <= len(sizes) <= 5:
            help = "data of one to three axes and channels have a data format: [channels, height, width]"
            message = f"an input of {len(sizes) - 1} axes has no `data_format`"
            body.error("wrong-rank", document.span((*path, "data_format")), message, help)
            return None
        sizes = [sizes[0], *sizes[2:], sizes[1]]
    return Tensor(tuple(sizes), values["dtype"])


def _sizes(body: BodyElaborator, shape: Any, path: Path) -> list[Dim] | None:
    """The sizes of a shape that is written at `path`, after that of the batch; None after an error."""
    if shape is FAILED:
        return None
    if not isinstance(shape, list):
        message = f"a shape is a list of sizes, not {show(shape)}"
        body.error("wrong-type", body.declared.document.span(path), message, _as_shape(shape))
        return None
    dims = [_size(body, size, (*path, position)) for position, size in enumerate(shape)]
    sizes = [symbol(BATCH), *(dim for dim in dims if dim is not None)]
    return sizes if len(sizes) == len(dims) + 1 else None


def _as_shape(written: object) -> str:
    """How `28x28`, (28, 28) and {length: 64} are written as a shape."""
    sizes = list(written.values()) if isinstance(written, dict) else [written]
    if isinstance(written, str):
        sizes = re.findall(r"[A-Za-z_]\w*|\d+", re.sub(r"(?<=\d)[xX](?=\d)", " ", written))
    return write_value(f"[{', '.join(map(unquoted, sizes))}]")


def is_channels_first(body: BodyElaborator, name: str, declared: Input) -> bool:
    """Whether an input, declared without error, comes with channels at axis 1."""
    where = (*body.path("inputs", name), "data_format")
    return bool(body.scope.evaluate(declared.data_format, where) == "channels_first")


def given_tensor(tensor: Tensor) -> Tensor:
    """The type of the value that is passed for an input whose channels come first."""
    batch, *space, channels = tensor.shape
    return Tensor((batch, channels, *space), tensor.dtype)


Defaults = dict[str, int | float | bool | str]
"""The values of inputs that may be left out."""


def declared_defaults(
    body: BodyElaborator, inputs: Mapping[str, Value | None], ranges: Mapping[str, Limit]
) -> Defaults:
    """The defaults of the inputs that may be left out; mistakes are reported. Inputs of the file that have
    mistakes of their own are not among `inputs`.

    Their sizes are those of inputs that must be given, after which they come.
    """
    defaults: Defaults = {}
    known: set[Dim | None] = {symbol(BATCH), None}
    required = [name for name in inputs if _default(body, name) is MISSING]
    complete = body.declared.inputs.keys() <= body.inputs.keys()
    alone = next(iter(inputs), None) if complete and not required else None
    for name in required:
        value = inputs[name]
        known |= {_unit(size) for size in value.tensor.shape} if value is not None else set()
    for position, (name, value) in enumerate(inputs.items()):
        default = _default(body, name)
        if default is MISSING or default is FAILED or value is None:
            continue
        path = (*body.path("inputs", name), "default")
        problem = _default_misfit(default, value.tensor, ranges.get(name))
        unknown = [size for size in map(_unit, value.tensor.shape) if size not in known and complete]
        if problem is None and name == alone:
            problem = (
                "at least one input must be required: it gives the batch size",
                "leave its `default` out",
            )
        elif problem is None and unknown:
            size = str(unknown[0])
            named = "a null size" if size.startswith("?") else f"the size `{size}`"
            message = f"no required input has {named} of `{name}`"
            problem = message, "write a number, or the name of a size of another input"
        elif problem is None and (behind := [each for each in required if each in [*inputs][position:]]):
            problem = (
                f"`{name}` has a default, but `{behind[0]}` after it has none",
                "write inputs with a `default` after the others",
            )
        if problem is not None:
            body.error("default-misfit", body.declared.document.span(path), *problem)
            continue
        defaults[name] = default
    return defaults


def _default(body: BodyElaborator, name: str) -> Any:
    """The default that an input declares, or MISSING."""
    declared = body.declared.inputs[name]
    if declared is None or declared.default is MISSING:
        return MISSING
    return body.scope.evaluate(declared.default, (*body.path("inputs", name), "default"))


def _unit(size: Dim) -> Dim | None:
    """The name in a size, without its factor; None where it is a number."""
    unit = unit_of(size)
    return None if unit is None else symbol(unit[0])


DRAWN_ELSEWHERE = by_word(random_normal="normal randn gaussian noise", random_uniform="uniform rand random")
NUMBERS = by_word(**{"0": "zero zeros none null", "1": "one ones"})
"""Words that people write for what a left-out input is full of."""


def _default_misfit(default: Any, tensor: Tensor, limit: Limit | None) -> tuple[str, str] | None:
    """Why this value cannot fill a tensor, and the remedy."""
    if default in DRAWN:
        if tensor.is_float:
            return None
        return f"`{default}` draws floats, and the input is {tensor.dtype}", "write `dtype: float32`"
    if isinstance(default, bool) or tensor.dtype == "bool":
        fits = isinstance(default, bool) and tensor.dtype == "bool"
        help = "true or false" if tensor.dtype == "bool" else "a number"
    elif tensor.is_float:
        fits, help = isinstance(default, int | float), f"a number, such as 0, or {' or '.join(DRAWN)}"
    else:
        fits, help = isinstance(default, int), "a whole number, such as 0"
    if not fits:
        words = DRAWN if tensor.is_float else ()
        number = NUMBERS.get(default.lower()) if isinstance(default, str) else None
        told = write_value(number) if number is not None else remedy_of("float_type", default)
        told = did_you_mean(default, words, None, DRAWN_ELSEWHERE) or told
        if told is None or told in EXAMPLES.values() or tensor.dtype == "bool":
            told = f"write {help}"
        return f"a default of {tensor.dtype} is not {show(default)}", told
    lowest = min(each for each in limit if each is not None) if isinstance(limit, tuple) else limit
    if lowest is not None and not 0 <= default < lowest:
        return f"its readers take 0 to {lowest - 1}, not {default}", f"write a number below {lowest}"
    try:
        need_held(tensor.dtype, [default], "default")
    except LayerError:
        return f"{tensor.dtype} does not hold {show(default)}", f"write {help}"
    return None


def _size(body: BodyElaborator, size: Any, path: Any) -> Dim | None:
    span = body.declared.document.span(path)
    if size is None:
        return symbol(body.context.fresh_size())
    if isinstance(size, int) and not isinstance(size, bool):
        if size > 0:
            return size
        help = _without(body, path) if size == -1 and path[-1] == 0 else "null means any size"
        body.error("out-of-range", span, f"a size is a positive integer, not {size}", help)
        return None
    if size in ("None", "none"):
        help = write_value("null", ": any size; the batch axis is left out")
        body.error("wrong-type", span, "this is a string in YAML, and would name a size", help)
        return None
    written = NAMED_SIZE.fullmatch(size) if isinstance(size, str) else None
    if written is not None:
        numbers, word = [*numerals(size)], written["name"]
        factor = numbers[0] if written["before"] else numbers[-1] if written["behind"] else 1
        if factor == 0:
            message = f"a size is a multiple of a positive integer, not {show(size)}"
            body.error("out-of-range", span, message, "write, for example, `16 * height`")
            return None
        if word != BATCH:
            return symbol(word) * factor
        body.error(
            "reserved-name",
            span,
            f"`{BATCH}` is the batch axis, which every shape leaves out",
            _without(body, path),
        )
        return None
    help = (
        write_value(str(int(size)))
        if (isinstance(size, float) and size.is_integer()) or (isinstance(size, str) and size.isdecimal())
        else "an integer, a name such as `length`, a multiple of one such as `16 * height`, or null"
    )
    body.error("wrong-type", span, f"a size is not {show(size)}", help)
    return None


def _without(body: BodyElaborator, path: Path) -> str:
    """The remedy for a batch axis in a shape: the sizes after it, where it is the first."""
    words, shape = "remove it, or give the size another name", body.declared.document.value
    for key in path[:-1]:
        shape = shape[key]
    if path[-1] != 0 or not isinstance(shape, list):
        return words
    if shape == [-1]:
        words = "write null: any size; the batch axis is left out"
        return become(None, words, safe=False, drops=True)
    words = f"write {show([Word(unquoted(size)) for size in shape[1:]])}: a shape leaves out the batch axis"
    return become(shape[1:], words, around=True, drops=True)


def meets_demands(node: NodeInstance, inner: BodyElaborator, inputs: dict[str, Resolved]) -> bool:
    """Whether the inputs fit the shapes that a model file declares; its named sizes are bound again."""
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
            typed = wanted.dtype == value.tensor.dtype
            if not typed:
                cast = f"{{op: cast, dtype: {wanted.dtype}, from: ...}}"
                help = f"give it `{cast}`, or declare one `dtype` for both"
            node.error(
                "shapes-differ" if typed else "wrong-dtype",
                span,
                f"the input `{name}` of `{inner.declared.title}` is {wanted}, and gets {value.tensor}",
                help,
            )
    return ok


def _multiples(wanted: Tensor, actual: Tensor) -> str | None:
    """The remedy where a size is not the multiple that a model needs; None if all are."""
    for want, size in zip(wanted.shape[1:], actual.shape[1:], strict=False):
        unit = unit_of(want)
        if unit is not None and size // unit[1] * unit[1] != size:
            return f"`{show_size(size)}` must be a multiple of {unit[1]}: pad, crop or resize before"
    return None


def _fits(wanted: Tensor, actual: Tensor, bindings: dict[str, Dim]) -> bool:
    """Whether a tensor is of a type that a model declares; the names of its sizes are bound on the way."""
    if wanted.rank != actual.rank or wanted.dtype != actual.dtype:
        return False
    for want, size in zip(wanted.shape[1:], actual.shape[1:], strict=True):
        if isinstance(want, int):
            if want != size:
                return False
        elif (unit := unit_of(want)) is not None:
            name, factor = unit
            if size // factor * factor != size or bindings.setdefault(name, size // factor) != size // factor:
                return False
    return True

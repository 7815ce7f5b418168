"""PyTorch modules as specs and weights.

    nn.Module -> recognised parts -> traced graph -> laid values and nodes -> body -> spec -> weights

The same folding and the same text as for Keras' models; proved by running both.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from graphspec.diagnostics import fail
from graphspec.diagnostics.arguments import brief, checked

if TYPE_CHECKING:
    from torch import Tensor, nn

    from graphspec.convert.pytorch.detectors import DetectorParts
    from graphspec.convert.pytorch.result import FromTorch

__all__ = ["convert_module", "from_torch"]


@checked
def from_torch(
    module: nn.Module,
    example_inputs: Tensor | Sequence[Tensor] | Mapping[str, Tensor],
    *,
    dynamic: Mapping[str, Sequence[str | int | None]] | None = None,
    name: str | None = None,
    flat: bool = False,
    check: bool = True,
) -> FromTorch:
    """Converts a module in memory to a spec, and proves that both compute the same.

    `example_inputs` are what `forward` takes, each with the batch first. `dynamic` gives the shape of an
    input, without the batch, with a word for a size that stays open: `{"tokens": ["length"]}`. Raises
    `SpecError` (import-unsupported, import-differs). A detector of torchvision becomes a spec with its loss.
    """
    from dataclasses import replace

    from graphspec.convert.pytorch.kept import uncompiled
    from graphspec.convert.pytorch.proof import prove
    from graphspec.language.naming import snake_case

    with uncompiled(module) as plain:
        detector = _detector(plain, example_inputs)
        if detector is not None:
            name, dynamic = name or snake_case(type(plain).__name__), None
            plain, example_inputs = detector.points, detector.inputs
        inputs = named_inputs(plain, example_inputs)
        imported = convert_module(plain, inputs, dynamic or {}, name, flat)
        imported = replace(imported, proved=prove(imported, plain, inputs)) if check else imported
        return imported if detector is None else detector.finished(imported)


def _detector(module: nn.Module, examples: Any) -> DetectorParts | None:
    """The parts of a detector of torchvision. Raises `SpecError` (import-unsupported)."""
    from graphspec.convert.pytorch.detectors import parts_of
    from graphspec.convert.refusals import Unsupported

    try:
        return parts_of(module, examples)
    except Unsupported as error:
        raise fail("import-unsupported", f"`{type(module).__name__}`: {error.message}", error.help) from error


def named_inputs(module: nn.Module, examples: Any) -> dict[str, Tensor]:
    """The example inputs by the names of `forward`. Raises `SpecError`."""
    import inspect

    from torch import Tensor

    if isinstance(examples, Mapping):
        inputs = dict(examples)
    else:
        if not isinstance(examples, Tensor | Sequence):
            message = f"`example_inputs` is {brief(examples)}, but must be what `forward` takes"
            raise fail("wrong-type", message, "give a tensor, a list of tensors, or a dict of them by name")
        listed = [examples] if isinstance(examples, Tensor) else list(examples)
        words = [p.name for p in inspect.signature(module.forward).parameters.values() if p.kind in (0, 1)]
        if len(words) < len(listed):
            raise fail(
                "import-unsupported",
                f"`forward` takes {len(words)} tensors by name, not {len(listed)}",
                "name its arguments, without *args",
            )
        inputs = dict(zip(words, listed, strict=False))
    for word, tensor in inputs.items():
        if not isinstance(tensor, Tensor) or tensor.dim() < 1:
            raise fail("import-unsupported", f"the example input `{word}` is not a tensor with a batch", None)
    return inputs


def convert_module(
    module: nn.Module,
    inputs: Mapping[str, Tensor],
    dynamic: Mapping[str, Sequence[str | int | None]],
    name: str | None = None,
    flat: bool = False,
) -> FromTorch:
    """The conversion without the proof. Raises `SpecError` (import-unsupported)."""
    from graphspec.convert.pytorch.importing import converted
    from graphspec.convert.refusals import Unsupported
    from graphspec.language.naming import identifier, snake_case

    word = identifier(name or snake_case(type(module).__name__), "model")
    try:
        return converted(module, dict(inputs), dynamic, word, flat)
    except Unsupported as error:
        raise fail("import-unsupported", f"`{type(module).__name__}`: {error.message}", error.help) from error

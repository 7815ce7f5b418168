"""PyTorch modules as specs and weights.

    nn.Module -> recognised parts -> traced graph -> laid values and nodes -> body -> spec -> weights

The same folding and the same text as for Keras' models; proved by running both.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from graphspec.diagnostics import fail

if TYPE_CHECKING:
    from torch import Tensor, nn

    from graphspec.convert.nodes import StoredPlace
    from graphspec.convert.pytorch.proof import Proved
    from graphspec.convert.pytorch.state import Weights
    from graphspec.compiled_spec import Program

__all__ = ["FromTorch", "convert_module", "from_torch"]


@dataclass(frozen=True, slots=True)
class FromTorch:
    """A module as a spec: its YAML, its program, a state dict, and what was proved of both."""

    name: str
    text: str
    program: Program
    weights: dict[str, Tensor]
    places: Mapping[str, StoredPlace]
    held: Weights
    frozen: tuple[str, ...]
    rows: tuple[tuple[str, str, str], ...]  # the module's path, its class, what it became
    notes: tuple[str, ...] = field(default=())
    proved: Proved | None = None

    def save(self, folder: str | Path) -> tuple[Path, Path]:
        """Writes `NAME.yaml` and `NAME.safetensors`; returns both paths."""
        from graphspec.convert.weights import write_weights

        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        spec, target = folder / f"{self.name}.yaml", folder / f"{self.name}.safetensors"
        spec.write_text(self.text, encoding="utf-8")
        write_weights(target, self.weights)
        return spec, target


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
    `SpecError` (import-unsupported, import-differs).
    """
    from dataclasses import replace

    from graphspec.convert.pytorch.proof import prove

    inputs = named_inputs(module, example_inputs)
    imported = convert_module(module, inputs, dynamic or {}, name, flat)
    return replace(imported, proved=prove(imported, module, inputs)) if check else imported


def named_inputs(module: nn.Module, given: Any) -> dict[str, Tensor]:
    """The example inputs by the names of `forward`. Raises `SpecError`."""
    import inspect

    from torch import Tensor

    if isinstance(given, Mapping):
        found = dict(given)
    else:
        listed = [given] if isinstance(given, Tensor) else list(given)
        words = [p.name for p in inspect.signature(module.forward).parameters.values() if p.kind in (0, 1)]
        if len(words) < len(listed):
            raise fail(
                "import-unsupported", f"`forward` takes {len(words)} tensors by name, not {len(listed)}",
                "name its arguments, without *args",
            )
        found = dict(zip(words, listed, strict=False))
    for word, tensor in found.items():
        if not isinstance(tensor, Tensor) or tensor.dim() < 1:
            raise fail("import-unsupported", f"the example input `{word}` is not a tensor with a batch", None)
    return found


def convert_module(
    module: nn.Module,
    inputs: Mapping[str, Tensor],
    dynamic: Mapping[str, Sequence[str | int | None]],
    name: str | None = None,
    flat: bool = False,
) -> FromTorch:
    """The conversion without the proof. Raises `SpecError` (import-unsupported)."""
    from graphspec.convert.nodes import identifier
    from graphspec.convert.pytorch.importing import converted
    from graphspec.convert.config import snake_case
    from graphspec.convert.refusals import Unsupported

    word = identifier(name or snake_case(type(module).__name__), "model")
    try:
        return converted(module, dict(inputs), dynamic, word, flat)
    except Unsupported as error:
        raise fail("import-unsupported", f"`{type(module).__name__}`: {error.message}", error.help) from error

"""Models of Keras as specs and weights.

    FILE -> Archive -> KerasModel -> Body -> document -> YAML text -> Program
                                                                   -> state dict

An archive is read as data: nothing that it names is imported or run. What a spec cannot say ends in a
diagnostic that names the layer and what to write instead.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from graphspec.convert.archive import Archive, open_archive
from graphspec.convert.refusals import refusal

if TYPE_CHECKING:
    from torch import Tensor

    from graphspec.compiler import Program

__all__ = ["Imported", "from_keras", "import_keras"]


@dataclass(frozen=True, slots=True)
class Imported:
    """A model of Keras as a spec: its YAML, the program that it is, and a state dict for its module, None
    where the file holds no weights. `notes` tell what was left out.
    """

    name: str
    text: str
    program: Program
    weights: dict[str, Tensor] | None
    notes: tuple[str, ...] = field(default=())

    def save(self, folder: str | Path) -> tuple[Path, Path | None]:
        """Writes `NAME.yaml`, and `NAME.safetensors` where there are weights; returns both paths."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        spec = folder / f"{self.name}.yaml"
        spec.write_text(self.text, encoding="utf-8")
        if self.weights is None:
            return spec, None
        from graphspec.convert.weights import write_weights

        target = folder / f"{self.name}.safetensors"
        write_weights(target, self.weights)
        return spec, target


def import_keras(path: str | Path, flat: bool = False) -> Imported:
    """The model in a `.keras` archive, in an `.h5` file with a model's config, or in `model.to_json()`.

    `flat` leaves repeated structure unfolded. Raises `SpecError` (import-format, import-unsafe,
    import-unsupported, package-missing).
    """
    with open_archive(Path(path)) as archive:
        return _imported(archive, flat)


def from_keras(model: Any, flat: bool = False) -> Imported:
    """As `import_keras`, for a model that Keras has in memory. Raises `SpecError`."""
    with tempfile.TemporaryDirectory(prefix="graphspec-") as folder:
        path = Path(folder) / f"{model.name}.keras"
        model.save(path)
        return import_keras(path, flat)


def _imported(archive: Archive, flat: bool) -> Imported:
    from graphspec.convert.compiled import settings
    from graphspec.convert.config import read_model
    from graphspec.convert.statistics import fill_statistics
    from graphspec.convert.translate import Translator
    from graphspec.diagnostics import Diagnostics

    notes: list[str] = []
    problems = Diagnostics()
    body = Translator(read_model(archive.config), problems).body()
    problems.raise_if_errors()
    fill_statistics(body, archive.variables, notes)
    chosen = settings(archive.config.get("compile_config"), list(body.outputs), notes)
    text, program = _compiled(body, chosen)
    weights = None
    if archive.variables is not None:
        from graphspec.convert.weights import places, state

        weights = state(program.graph, {place.path: place for place in places(body)}, archive.variables)
    return Imported(archive.name, text, program, weights, tuple(notes))


def _compiled(body: Any, chosen: dict[str, Any]) -> tuple[str, Program]:
    """The text and the program of a body. Sizes that are not known get names of their own, or, where inputs
    meet in a merge, common ones.
    """
    from graphspec.compiler import check
    from graphspec.convert.document import document
    from graphspec.convert.writing import text
    from graphspec.diagnostics import Diagnostics

    first = None
    for common in (False, True):
        written = text(document(body, chosen, common))
        diagnostics, sources = Diagnostics(), dict[str, str]()
        program = check(written, diagnostics, sources)
        if program is not None and not diagnostics.errors:
            return written, program
        first = first or (written, diagnostics.sorted()[0])
    assert first is not None
    written, found = first
    line = written.splitlines()[found.span.line - 1].strip() if found.span is not None else ""
    message = f"the spec that it becomes does not compile: {found.message}"
    raise refusal("import-unsupported", f"{message} (in `{line[:100]}`)", found.help)

"""Models of Keras as specs and weights.

    FILE -> Archive -> KerasModel -> Body -> document -> YAML text -> Program
                                                                   -> state dict

An archive is read as data: nothing that it names is imported or run. What a spec cannot say ends in a
diagnostic that names the layer and what to write instead.
"""

from __future__ import annotations

import os
import re
import tempfile
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from graphspec.convert.archive import Archive, open_archive
from graphspec.convert.refusals import as_keras_writes
from graphspec.diagnostics import fail
from graphspec.diagnostics.arguments import checked
from graphspec.diagnostics.packages import needing
from graphspec.diagnostics.text import line_of

if TYPE_CHECKING:
    from torch import Tensor

    from graphspec.convert.nodes import StoredPlace
    from graphspec.program import Program

__all__ = ["Imported", "from_keras", "import_keras"]


@dataclass(frozen=True, slots=True)
class Imported:
    """A Keras model as a spec: its YAML, its program, and a state dict for its module, None if the file has
    no weights. `places` tells which layer of Keras is at each path of the module, `notes` what was left out.
    """

    name: str
    text: str
    program: Program
    weights: dict[str, Tensor] | None
    places: Mapping[str, StoredPlace]
    notes: tuple[str, ...] = field(default=())

    @checked
    def save(self, folder: str | Path) -> tuple[Path, Path | None]:
        """Writes `NAME.yaml`, and `NAME.safetensors` where there are weights; returns both paths."""
        from graphspec.convert.weights import write_model

        return write_model(Path(folder), self.name, self.text, self.weights)


@checked
def import_keras(path: str | Path, flat: bool = False, allow: Sequence[str] = ()) -> Imported:
    """The model in a `.keras` archive, in an `.h5` file with a model's config, or in `model.to_json()`.

    `flat` leaves repeated structure unfolded. With `allow`, custom layers of these packages are imported, and
    Keras loads the file; without it nothing of the file is run. Raises `SpecError` (import-format,
    import-unsafe, import-unsupported, package-missing).
    """
    with open_archive(Path(path)) as archive:
        if allow:
            from graphspec.convert.custom_layers import classes, loaded

            if any(classes(archive.config)):
                os.environ.setdefault("KERAS_BACKEND", "torch")  # Keras' own is TensorFlow
                with needing("custom layers of Keras", "keras"):
                    import keras  # noqa: F401
                return replace(from_keras(loaded(Path(path), archive.config, allow), flat), name=archive.name)
        return _imported(archive, flat)


@checked
def from_keras(model: Any, flat: bool = False) -> Imported:
    """Converts a Keras model in memory, as `import_keras` does; custom layers become what is inside them.

    Raises `SpecError`.
    """
    from graphspec.convert.tracing.live import has_code, is_own_class, replaced, trains_itself

    name, kind = model.name, type(model)
    notes: list[str] = []
    if is_own_class(kind) and trains_itself(kind):
        notes.append(f"`train_step` and other methods of `{kind.__name__}` are left out: the graph came in")
    settings = _compiled(model, notes)
    if not has_code(model):
        with replaced(model, "get_compile_config", lambda: settings or None):
            return _saved(model, name, flat, notes)
    from graphspec.convert.proof import prove
    from graphspec.convert.tracing.trace import traced

    with traced(model) as trace:
        imported = _saved(trace.model, name, flat, [*notes, *trace.notes], settings)
    uncompared = prove(imported.program, imported.weights or {}, model)
    return replace(imported, notes=(*imported.notes, *uncompared))


def _compiled(model: Any, notes: list[str]) -> dict[str, Any]:
    """The settings of `compile`, empty where Keras cannot write them."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of lambdas, which a note tells
            return model.get_compile_config() or {}
    except (NotImplementedError, TypeError, ValueError) as error:  # Keras' own, of objects without a config
        why = re.sub(r" at 0x[0-9a-f]+", "", line_of(error))
        notes.append(f"settings of `compile` are left out: {why}")
        return {}


def _saved(
    model: Any, name: str, flat: bool, notes: list[str], settings: dict[str, Any] | None = None
) -> Imported:
    """Converts a model as Keras saves it. `settings` are those of `compile` of a model that was traced."""
    with tempfile.TemporaryDirectory(prefix="graphspec-") as folder:
        path = Path(folder) / f"{name}.keras"
        try:
            model.save(path)
        except (NotImplementedError, TypeError, ValueError) as error:  # Keras' own, of what no file holds
            why = line_of(error)
            help = "build the model of what a `.keras` file holds: numbers in place of tensors in calls"
            raise fail("import-unsupported", f"Keras cannot save the model: {why}", help) from error
        with open_archive(path) as archive:
            if settings is not None:
                archive.config["compile_config"] = settings
            imported = _imported(archive, flat, live=True, traced=settings is not None)
    return replace(imported, notes=(*imported.notes, *notes)) if notes else imported


def _imported(archive: Archive, flat: bool, live: bool = False, traced: bool = False) -> Imported:
    from graphspec.convert.compiled import settings
    from graphspec.convert.config import read_model, refuse_foreign
    from graphspec.convert.specs import compiled
    from graphspec.convert.statistics import fill_statistics
    from graphspec.convert.translate import Translator
    from graphspec.diagnostics import Diagnostics

    notes: list[str] = []
    problems = Diagnostics()
    with as_keras_writes():
        translator = Translator(read_model(archive.config), problems, live=live, traced=traced, notes=notes)
        body = translator.body()
        problems.raise_if_errors()
        if not live:
            refuse_foreign({key: value for key, value in archive.config.items() if key != "compile_config"})
        fill_statistics(body, archive.variables, notes)
        chosen = settings(archive.config.get("compile_config"), list(body.outputs), notes)
    if translator.features:
        features = {source.name: feature for source, feature in translator.features.items()}
        chosen = {**chosen, "data": {"features": features}}
    spec = compiled(body, chosen, flat, notes)
    weights = None
    if archive.variables is not None:
        from graphspec.convert.weights import state, unread

        for place in unread(spec.program.graph, spec.places, archive.variables):
            notes.append(f"`{'.'.join(place.stored.path)}` is left out with its weights: nothing reads it")
        weights = state(spec.program.graph, spec.places, archive.variables)
    return Imported(archive.name, spec.text, spec.program, weights, spec.places, tuple(notes))

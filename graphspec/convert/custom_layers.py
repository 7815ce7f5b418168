"""Files of Keras models that name classes of the user's own, imported with permission."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from graphspec import custom
from graphspec.convert.config import foreign
from graphspec.diagnostics import fail
from graphspec.diagnostics.text import line_of


def classes(config: Any) -> Iterator[str]:
    """The paths of the classes in a config that are not Keras'."""
    waiting = [config]
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            if foreign(value) and isinstance(value.get("class_name"), str):
                yield f"{value['module']}.{value['class_name']}"
            waiting += value.values()
        elif isinstance(value, list):
            waiting += value


def loaded(path: Path, config: Any, allow: Sequence[str]) -> Any:
    """The model of a file, with the classes that it names imported from packages of `allow`. Raises
    `SpecError` (module-not-allowed, module-missing, import-unsupported).
    """
    import keras

    wanted = [custom.NamedCode(word, None) for word in dict.fromkeys(classes(config))]
    classes_by_path = custom.bring(wanted, Path(), allow)
    objects = {word.rpartition(".")[2]: cls for word, cls in classes_by_path.items()}
    try:
        with warnings.catch_warnings():  # of layers that have no `build`, which calling them builds
            warnings.simplefilter("ignore")
            return keras.models.load_model(path, custom_objects=objects, compile=False, safe_mode=True)
    except Exception as error:
        why = line_of(error)
        raise fail("import-unsupported", f"Keras cannot load the model with its classes: {why}") from error

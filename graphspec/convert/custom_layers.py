"""Keras models with layers of the user's own classes: their `call` is run on symbolic tensors, so that what
is inside of them is in the graph.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from graphspec import custom
from graphspec.convert.config import foreign
from graphspec.diagnostics import fail
from graphspec.diagnostics.text import line_of

DEEPEST = 8
"""How often classes may be inside one another."""


def is_own(layer: Any) -> bool:
    """Whether a layer's class is not one of Keras."""
    return is_own_class(type(layer))


def is_own_class(kind: type) -> bool:
    """Whether a class is not one of Keras."""
    return kind.__module__.split(".")[0] not in ("keras", "tf_keras", "builtins")


def functional(model: Any) -> Any:
    """A model of a class of its own that is made of `inputs` and `outputs`, as one of Keras."""
    import keras

    if not is_own(model) or (
        not getattr(model, "_functional", None) and not getattr(model, "operations", None)
    ):
        return model
    return keras.Model(model.inputs, model.outputs, name=model.name)


def opened(model: Any) -> Any:
    """The model with the layers inside its custom layers in their place; the same weights. Raises `SpecError`
    (import-unsupported) with the class that cannot be run so.
    """
    import keras

    for _ in range(DEEPEST):
        own = [layer for layer in model.layers if is_own(layer) and not isinstance(layer, keras.Model)]
        if not own:
            return model
        names: set[str] = set()
        failed: list[tuple[Any, Exception]] = []

        def call(layer: Any, *args: Any, names: set[str] = names, failed: Any = failed, **kwargs: Any) -> Any:
            if not is_own(layer) or isinstance(layer, keras.Model):
                return layer(*args, **kwargs)
            try:
                if layer._trainable_variables or layer._non_trainable_variables:
                    raise ValueError("it has weights of its own, without a layer around them")
                _rename(layer, names)
                return layer.call(*args, **kwargs)
            except Exception as error:  # of the user's code
                failed.append((layer, error))
                raise

        try:
            model = keras.models.clone_model(model, clone_function=lambda layer: layer, call_function=call)
        except Exception as error:
            layer, why = failed[0] if failed else (own[0], error)
            said = line_of(why, 160)
            message = (
                f"`{layer.name}` is a custom layer `{type(layer).__name__}`, whose `call` cannot be traced"
            )
            help = "build it of Keras' layers and keras.ops, or write this part of the spec by hand"
            raise fail("import-unsupported", f"{message}: {said}", help) from error
    raise fail("import-unsupported", f"its custom layers are inside one another more than {DEEPEST} times")


def _rename(layer: Any, names: set[str]) -> None:
    """Gives the layers inside a custom layer names of their own, that begin with its name."""
    for inner in layer._flatten_layers(include_self=False, recursive=False):
        word = inner.name if inner.name.startswith(f"{layer.name}_") else f"{layer.name}_{inner.name}"
        while word in names:
            word += "_"
        names.add(word)
        inner.name = word


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
    found = custom.bring(wanted, Path(), allow)
    objects = {word.rpartition(".")[2]: cls for word, cls in found.items()}
    try:
        with warnings.catch_warnings():  # of layers that have no `build`, which calling them builds
            warnings.simplefilter("ignore")
            return keras.models.load_model(path, custom_objects=objects, compile=False, safe_mode=True)
    except Exception as error:
        why = line_of(error)
        raise fail("import-unsupported", f"Keras cannot load the model with its classes: {why}") from error

"""`graphspec train specs/digits.yaml` in Keras, as a whole process: build, fit, validate, save.

It reads the recipe from the spec, which uses Keras' names, so both sides always do the same work. It prints
`{"val_accuracy": ...}` and writes `digits.weights.h5` to the working directory.
"""

import json
import sys
from pathlib import Path

import keras
import numpy as np
import yaml


def stack(spec: dict) -> keras.Model:
    """The model of a spec that is a single stack of layers."""
    ((name, given),) = spec["inputs"].items()
    x = image = keras.Input(given["shape"], dtype=given["dtype"], name=name)
    for name, arguments in spec["nodes"].items():
        make = getattr(keras.layers, arguments.pop("layer"))
        x = make(name=name, **arguments)(x)
    return keras.Model(image, x)


def main(path: Path) -> None:
    spec = yaml.safe_load(path.read_text())
    recipe, optimizer = spec["train"], dict(spec["train"]["optimizer"])
    ((output, result),) = spec["outputs"].items()
    keras.utils.set_random_seed(recipe.get("seed", 0))
    model = stack(spec)
    model.compile(
        optimizer=keras.optimizers.get({"class_name": optimizer.pop("name"), "config": optimizer}),
        loss=result["loss"],
        metrics=result["metrics"],
    )
    arrays = np.load(path.parent / spec["data"]["train"])
    (source,) = spec["inputs"]
    shuffled = np.random.permutation(
        len(arrays[output])
    )  # `fit` holds out the last examples, graphspec random ones
    history = model.fit(
        arrays[source][shuffled],
        arrays[output][shuffled],
        epochs=recipe["epochs"],
        batch_size=recipe["batch_size"],
        validation_split=spec["data"]["validation"]["split"],
        verbose=2,
    )
    model.save_weights("digits.weights.h5")
    print(json.dumps({"val_accuracy": history.history["val_accuracy"][-1]}))


if __name__ == "__main__":
    main(Path(sys.argv[1]))

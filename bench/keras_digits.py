"""What `graphspec train specs/digits.yaml` does, in Keras: build, fit, validate, save; as a whole process.

The recipe is read from the spec, whose words are Keras' own, so that both sides do the same work whatever the
spec says. Prints `{"val_accuracy": ...}`; leaves `digits.weights.h5` in the working directory.
"""

import json
import sys
from pathlib import Path

import keras
import numpy as np
import yaml


def stack(spec: dict) -> keras.Model:
    """The model of a spec that is one stack of layers."""
    ((name, given),) = spec["inputs"].items()
    x = image = keras.Input(given["shape"], dtype=given["dtype"], name=name)
    for name, arguments in spec["nodes"].items():
        make = getattr(keras.layers, arguments.pop("layer"))
        x = make(name=name, **arguments)(x)
    return keras.Model(image, x)


def main(path: Path) -> None:
    spec = yaml.safe_load(path.read_text())
    recipe, optimizer = spec["train"], dict(spec["train"]["optimizer"])
    ((output, judgement),) = spec["outputs"].items()
    keras.utils.set_random_seed(recipe.get("seed", 0))
    model = stack(spec)
    model.compile(
        optimizer=keras.optimizers.get({"class_name": optimizer.pop("name"), "config": optimizer}),
        loss=judgement["loss"],
        metrics=judgement["metrics"],
    )
    arrays = np.load(path.parent / spec["data"]["train"])
    (source,) = spec["inputs"]
    shuffled = np.random.permutation(
        len(arrays[output])
    )  # `fit` holds out the last ones, graphspec random ones
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

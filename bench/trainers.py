"""Trains one subject in one way, as its own process.

python -m bench.trainers WAY SPEC DATA.npz prints the seconds of each epoch as JSON. The data, the batches,
the optimizer (Adam) and the number of epochs are the same in all ways.
"""

import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

Arrays = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Subject:
    """The number of examples per epoch, and the hand-written loss of the twin's outputs and the targets."""

    batch_size: int
    examples: int
    loss: Callable[[Any, Arrays], Any]
    epochs: int = 4


def _classes(output: str) -> Callable[[Any, Arrays], Any]:
    def loss(found: Any, targets: Arrays) -> Any:
        from torch.nn import functional as F

        wanted = targets[output]
        if wanted.is_floating_point():
            return F.cross_entropy(found, wanted)
        return F.cross_entropy(found.flatten(0, -2), wanted.flatten())

    return loss


def _posts(found: Any, targets: Arrays) -> Any:
    from torch.nn import functional as F

    age = F.mse_loss(found["age"], targets["age"])
    income = F.cross_entropy(found["income"], targets["income"])
    gender = F.binary_cross_entropy_with_logits(found["gender"], targets["gender"])
    return 0.025 * age + income + 10 * gender


def _similar(found: Any, targets: Arrays) -> Any:
    from torch.nn import functional as F

    return F.binary_cross_entropy_with_logits(found, targets["similarity"])


SUBJECTS = {
    "dense": Subject(32, 6400, _classes("probs")),
    "posts": Subject(32, 192, _posts),
    "siamese": Subject(32, 640, _similar),
    "gpt": Subject(32, 256, _classes("next")),
    "resnet50": Subject(2, 8, _classes("probs"), epochs=3),
}
COMPILED, ON_JAX, SCANNED = "graphspec --compile on", "Keras on JAX", "JAX, scan of 50 steps"


class Epochs:
    """The seconds of each epoch."""

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self._began = 0.0

    def on_epoch_begin(self, epoch: int, logs: object = None) -> None:
        self._began = time.perf_counter()

    def on_epoch_end(self, epoch: int, logs: object = None) -> None:
        self.seconds.append(time.perf_counter() - self._began)

    def started(self, start: object) -> None:
        """The callback of graphspec before the first step."""
        self.on_epoch_begin(0)

    def progress(self, progress: Any) -> None:
        """The callback of graphspec for progress."""
        if progress.done:
            self.on_epoch_end(progress.epoch)
            self.on_epoch_begin(progress.epoch)


def _program(spec: str) -> Any:
    import graphspec
    from bench.cases import SPECS

    subject = SUBJECTS[spec]
    settings = {
        "train.optimizer": {"name": "adam", "learning_rate": 0.001},
        "train.batch_size": subject.batch_size,
        "train.epochs": subject.epochs,
    }
    named = graphspec.compile(SPECS / f"{spec}.yaml").outputs
    settings |= {f"outputs.{name}.metrics": [] for name, output in named.items() if output.metrics}
    return graphspec.compile(SPECS / f"{spec}.yaml", settings=settings)


def by_graphspec(spec: str, data: Path, compile: Any = "off") -> list[float]:
    from graphspec.train.loop import train

    watch = Epochs()
    with tempfile.TemporaryDirectory() as directory:
        place: dict[str, Any] = {"data": data, "run_dir": Path(directory) / "run", "device": "cpu"}
        told: dict[str, Any] = {"started": watch.started, "progress": watch.progress}
        train(_program(spec), **place, **told, compile=compile, tell=lambda line: None)
    return watch.seconds


def compiled(spec: str, data: Path) -> list[float]:
    return by_graphspec(spec, data, "on")


def _tensors(spec: str, data: Path) -> tuple[list[Any], dict[str, Any]]:
    """Inputs in order, and targets by name."""
    import torch

    from bench.cases import CASES

    with np.load(data) as stored:
        arrays = {name: torch.from_numpy(stored[name]) for name in stored.files}
    names = list(CASES[spec].inputs)
    return [arrays.pop(name) for name in names], arrays


def by_hand(spec: str, data: Path) -> list[float]:
    """A loop written for speed: one gather per epoch, a fused optimizer, no checks."""
    import torch

    from bench.cases import CASES

    subject, watch = SUBJECTS[spec], Epochs()
    inputs, targets = _tensors(spec, data)
    module = CASES[spec].twin().train()
    optimizer = torch.optim.Adam(module.parameters(), fused=True)
    for epoch in range(subject.epochs):
        watch.on_epoch_begin(epoch)
        order, total = torch.randperm(subject.examples), torch.zeros(())
        shuffled = [x[order].split(subject.batch_size) for x in inputs]
        wanted = {name: y[order].split(subject.batch_size) for name, y in targets.items()}
        for step, batch in enumerate(zip(*shuffled, strict=True)):
            loss = subject.loss(module(*batch, logits=True), {name: y[step] for name, y in wanted.items()})
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            total += loss.detach()
        total.item()
        watch.on_epoch_end(epoch)
    return watch.seconds


def by_lightning(spec: str, data: Path) -> list[float]:
    import lightning
    import torch
    from torch.utils.data import DataLoader, TensorDataset

    from bench.cases import CASES

    subject, watch = SUBJECTS[spec], Epochs()
    inputs, targets = _tensors(spec, data)

    class Module(lightning.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.twin = CASES[spec].twin()

        def training_step(self, batch: Any, number: int) -> Any:
            found = self.twin(*batch[: len(inputs)], logits=True)
            return subject.loss(found, dict(zip(targets, batch[len(inputs) :], strict=True)))

        def configure_optimizers(self) -> Any:
            return torch.optim.Adam(self.parameters(), fused=True)

        def on_train_epoch_start(self) -> None:
            watch.on_epoch_begin(self.current_epoch)

        def on_train_epoch_end(self) -> None:
            watch.on_epoch_end(self.current_epoch)

    quiet = dict.fromkeys(
        ("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary"), False
    )
    trainer = lightning.Trainer(max_epochs=subject.epochs, accelerator="cpu", devices=1, **quiet)
    dataset = TensorDataset(*inputs, *targets.values())
    trainer.fit(Module(), DataLoader(dataset, batch_size=subject.batch_size, shuffle=True))
    return watch.seconds


def by_keras(spec: str, data: Path) -> list[float]:
    """Keras' `fit`, on the backend in KERAS_BACKEND."""
    import keras

    from bench.keras_models import functional

    subject, watch, program = SUBJECTS[spec], Epochs(), _program(spec)
    with np.load(data) as stored:
        arrays = {name: stored[name] for name in stored.files}
    model, _ = functional(program)
    judged = program.outputs.values()
    losses = [output.loss.canonical for output in judged]
    weights = [output.loss_weight for output in judged]
    model.compile(optimizer=keras.optimizers.Adam(0.001), loss=losses, loss_weights=weights)
    inputs = {name: arrays[name] for name in program.inputs}
    targets = [arrays[output.target] for output in judged]

    class Watched(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
            watch.on_epoch_begin(epoch)

        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            watch.on_epoch_end(epoch)

    fitting: dict[str, Any] = {"batch_size": subject.batch_size, "epochs": subject.epochs, "verbose": 0}
    model.fit(inputs, targets if len(targets) > 1 else targets[0], callbacks=[Watched()], **fitting)
    return watch.seconds


def by_scan(spec: str, data: Path) -> list[float]:
    """Three dense layers and Adam written in JAX, and as many steps in one call."""
    import jax
    from jax import numpy as jnp

    subject, watch, rows = SUBJECTS[spec], Epochs(), 50
    with np.load(data) as stored:
        inputs, targets = stored["features"], stored["probs"].astype("int32")
    draw = np.random.default_rng(0)
    sizes = zip((64, 32, 32), (32, 32, 10), strict=True)
    begun = [(draw.normal(0, i**-0.5, (i, o)).astype("float32"), np.zeros(o, "float32")) for i, o in sizes]

    def loss(weights: Any, x: Any, y: Any) -> Any:
        for kernel, bias in weights[:-1]:
            x = jax.nn.relu(x @ kernel + bias)
        scores = jax.nn.log_softmax(x @ weights[-1][0] + weights[-1][1])
        return -jnp.take_along_axis(scores, y[:, None], 1).mean()

    def step(state: Any, batch: Any) -> Any:
        weights, mean, square, number = state
        value, gradient = jax.value_and_grad(loss)(weights, *batch)
        mean = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, mean, gradient)
        square = jax.tree.map(lambda s, g: 0.999 * s + 0.001 * g * g, square, gradient)
        rate = 0.001 * jnp.sqrt(1 - 0.999**number) / (1 - 0.9**number)
        moved = jax.tree.map(lambda w, m, s: w - rate * m / (jnp.sqrt(s) + 1e-7), weights, mean, square)
        return (moved, mean, square, number + 1), value

    many = jax.jit(lambda state, x, y: jax.lax.scan(step, state, (x, y)), donate_argnums=0)
    zeros = jax.tree.map(np.zeros_like, begun)
    state, shape = (begun, zeros, zeros, np.float32(1)), (-1, rows, subject.batch_size)
    for epoch in range(subject.epochs):
        watch.on_epoch_begin(epoch)
        order, total = draw.permutation(subject.examples), 0.0
        x, y = (each[order].reshape(*shape, *each.shape[1:]) for each in (inputs, targets))
        for batches in zip(x, y, strict=True):
            state, values = many(state, *batches)
            total += values.sum()
        float(total)
        watch.on_epoch_end(epoch)
    return watch.seconds


WAYS: dict[str, Callable[[str, Path], list[float]]] = {
    "by hand": by_hand,
    "graphspec": by_graphspec,
    COMPILED: compiled,
    "Keras on torch": by_keras,
    ON_JAX: by_keras,
    SCANNED: by_scan,
    "Lightning": by_lightning,
}
NEEDS = {ON_JAX: "jax", SCANNED: "jax", "Lightning": "lightning"}
"""Packages that the extra `bench` has."""
ONLY = {SCANNED: "dense"}
"""Ways that are written for one subject."""


def write_data(spec: str, path: Path) -> None:
    """Random inputs of the case's length, and random targets that the losses accept."""
    import torch

    from bench.cases import CASES
    from graphspec.data.fields import fields

    program, count = _program(spec), SUBJECTS[spec].examples
    generator = torch.Generator().manual_seed(0)
    arrays = {name: make(count, generator) for name, make in CASES[spec].inputs.items()}
    length = next(iter(arrays.values())).shape[1]
    losses = {output.target: output.loss for output in program.outputs.values()}
    for field in fields(program):
        if field.name in arrays:
            continue
        shape = [count, *(size if isinstance(size, int) else length for size in field.tensor.shape[1:])]
        loss = losses[field.name].canonical
        if not field.tensor.is_float:
            assert isinstance(field.high, int | float)
            arrays[field.name] = torch.randint(int(field.high) + 1, shape, generator=generator)
        elif loss == "categorical_crossentropy":
            drawn = torch.randint(shape[-1], shape[:-1], generator=generator)
            arrays[field.name] = torch.nn.functional.one_hot(drawn, shape[-1]).float()
        else:
            arrays[field.name] = torch.rand(shape, generator=generator).round()
    np.savez(path, **{name: array.numpy() for name, array in arrays.items()})  # type: ignore[arg-type]


def main(way: str, spec: str, data: str) -> None:
    if "OMP_NUM_THREADS" in os.environ:
        import torch

        torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    print(json.dumps(WAYS[way](spec, Path(data))))


if __name__ == "__main__":
    main(*sys.argv[1:])

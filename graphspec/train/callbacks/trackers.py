"""Experiment trackers: they log settings, the values of epochs, and the spec."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from graphspec.packages import needing
from graphspec.run_files import SPEC, WANDB
from graphspec.train.callbacks import settings
from graphspec.train.callbacks.base import Callback


class MLflowCallback(Callback):
    """A run of MLflow, on the server or in the store of `tracking_uri`; a resumed run goes on in it."""

    def __init__(self, given: settings.MLflow):
        with needing("the callback `mlflow`", "mlflow"):
            from mlflow import MlflowClient
        self.given = given
        self._client = MlflowClient(given.tracking_uri)
        self._run = ""

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self._begin()
        for name, value in numbers(logs):
            self._client.log_metric(self._run, name, value, step=epoch)

    def on_train_end(self, logs: Any = None) -> None:
        self._begin()
        self._client.log_artifact(self._run, str(self.model.run_dir / SPEC))
        self._client.set_terminated(self._run, "FINISHED")

    def _begin(self) -> None:
        """Makes the run when there is something to write, so that a resumed training finds its own first."""
        if self._run:
            return
        name = self.given.experiment or self.model.program.name
        found = self._client.get_experiment_by_name(name)
        experiment = found.experiment_id if found is not None else self._client.create_experiment(name)
        run = self._client.create_run(experiment, run_name=self.given.run_name or self.model.run_dir.name)
        self._run = run.info.run_id
        for key, value in parameters(self.model.program.training):
            self._client.log_param(self._run, key, value)

    def state_dict(self) -> dict[str, Any]:
        return {"run": self._run}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self._run = state["run"]


class WandBCallback(Callback):
    """A run of Weights & Biases; `mode: offline` writes it into the run directory alone."""

    def __init__(self, given: settings.WandB):
        with needing("the callback `wandb`", "wandb"):
            import wandb
        self.given, self._wandb = given, wandb
        self._id: str | None = None
        self._run: Any = None

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self._begin()
        self._run.log({"epoch": epoch, **dict(numbers(logs))}, step=epoch)

    def close(self) -> None:
        if self._run is not None:
            self._run.finish()

    def _begin(self) -> None:
        if self._run is not None:
            return
        given = self.given
        self.model.run.folder(WANDB)
        self._run = self._wandb.init(
            project=given.project or self.model.program.name,
            entity=given.entity,
            name=given.run_name or self.model.run_dir.name,
            mode=given.mode,
            dir=str(self.model.run_dir),
            id=self._id,
            resume="allow",
            config=dict(parameters(self.model.program.training)),
            settings=self._wandb.Settings(silent=True, console="off"),
        )
        self._id = self._run.id

    def state_dict(self) -> dict[str, Any]:
        return {"id": self._id}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self._id = state["id"]


def numbers(values: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    """The values of an epoch, each of a list under a name of its own."""
    for name, value in values.items():
        if isinstance(value, list):
            yield from ((f"{name}_{index}", item) for index, item in enumerate(value))
        else:
            yield name, value


def parameters(config: Any) -> Iterator[tuple[str, Any]]:
    """The settings of a training by dotted names, but for its callbacks."""

    def flat(prefix: str, value: Any) -> Iterator[tuple[str, Any]]:
        if isinstance(value, dict):
            for key, item in value.items():
                yield from flat(f"{prefix}.{key}" if prefix else key, item)
        elif value is not None:
            yield prefix, value

    return flat("", config.model_dump(exclude={"callbacks"}))

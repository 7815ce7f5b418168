"""Experiment trackers: they log settings, the values of epochs, and the spec."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from graphspec.diagnostics import fail
from graphspec.diagnostics.packages import needing
from graphspec.diagnostics.text import first_line
from graphspec.elaborated import BaseProgram
from graphspec.files.addresses import leaves
from graphspec.files.folder import Folder
from graphspec.files.run_files import SPEC, WANDB
from graphspec.train.callbacks import settings
from graphspec.train.callbacks.base import Callback


def alone(uri: str) -> AbstractContextManager[None]:
    """Waits until no other process of this user and machine is inside with the same store: MLflow makes the
    tables of a new database, and two that do so at once break it.
    """
    digest = hashlib.sha256(f"{os.getcwd()} {uri}".encode()).hexdigest()[:32]
    user = os.getuid() if hasattr(os, "getuid") else ""
    return Folder(Path(tempfile.gettempdir())).alone(f"graphspec-mlflow-{user}-{digest}.lock")


class MLflowCallback(Callback):
    """A run of MLflow, on the server or in the store of `tracking_uri`; a resumed run goes on in it."""

    def __init__(self, config: settings.MLflow):
        with needing("the callback `mlflow`", "mlflow"):
            import mlflow
        self.config = config
        self._uri = uri = config.tracking_uri or mlflow.get_tracking_uri()
        try:
            with alone(uri):
                self._client = mlflow.MlflowClient(uri)
        except Exception as error:  # of MLflow, or of the driver of its database
            message = f"MLflow cannot be reached at `{uri}`: {first_line(error)}"
            raise fail("run-failed", message, "correct `tracking_uri`, or take `mlflow` out") from error
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
        experiment = self._experiment(self.config.experiment or self.model.program.name)
        run = self._client.create_run(experiment, run_name=self.config.run_name or self.model.run_dir.name)
        self._need_inside(run.info.artifact_uri)
        self._run = run.info.run_id
        for key, value in parameters(self.model.program):
            self._client.log_param(self._run, key, value)

    def _need_inside(self, address: str) -> None:
        """Raises `SpecError` where a store in the working directory sends files elsewhere, unasked."""
        if leaves(address) and not leaves(self._uri) and not self.model.program.allow_url:
            message = f"the store `{self._uri}` of MLflow would send files to `{address}`"
            help = "if it is yours, allow it: `--allow-url`; or take another `experiment`"
            raise fail("address-not-allowed", message, help)

    def _experiment(self, name: str) -> str:
        """The id of an experiment, made where there is none, unless another process makes it now."""
        experiment = self._client.get_experiment_by_name(name)
        if experiment is None:
            try:
                return str(self._client.create_experiment(name))
            except Exception:
                experiment = self._client.get_experiment_by_name(name)
                if experiment is None:
                    raise
        return str(experiment.experiment_id)

    def state_dict(self) -> dict[str, Any]:
        return {"run": self._run}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self._run = state["run"]


class WandBCallback(Callback):
    """A run of Weights & Biases; `mode: offline` writes it into the run directory alone."""

    def __init__(self, config: settings.WandB):
        with needing("the callback `wandb`", "wandb"):
            import wandb
        self.config, self._wandb = config, wandb
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
        config = self.config
        self.model.run.folder(WANDB)
        self._run = self._wandb.init(
            project=config.project or self.model.program.name,
            entity=config.entity,
            name=config.run_name or self.model.run_dir.name,
            mode=config.mode,
            dir=str(self.model.run_dir),
            id=self._id,
            resume="allow",
            config=dict(parameters(self.model.program)),
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


def parameters(program: BaseProgram) -> Iterator[tuple[str, Any]]:
    """The params of a spec by their names, and the settings of its training by dotted names, but for its
    callbacks; a param that is called as one of these is `params.NAME`.
    """

    def flat(prefix: str, value: Any) -> Iterator[tuple[str, Any]]:
        if isinstance(value, dict):
            for key, item in value.items():
                yield from flat(f"{prefix}.{key}" if prefix else key, item)
        elif value is not None:
            yield prefix, value

    training_settings = dict(flat("", program.training.model_dump(exclude={"callbacks"})))
    for name, value in program.params.items():
        yield f"params.{name}" if name in training_settings else name, value
    yield from training_settings.items()

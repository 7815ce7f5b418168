"""Keras' callbacks as settings, with its names, arguments and defaults, and `first_gain`. No torch here."""

from __future__ import annotations

import re
import string
from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, field_validator

from graphspec.diagnostics import did_you_mean
from graphspec.expressions import Expression, ExpressionError, parse_value
from graphspec.files.addresses import leaves
from graphspec.files.run_files import BEST, reserved
from graphspec.objectives.history import Direction
from graphspec.settings import Problem, show
from graphspec.train.config.callbacks import CallbackSettings

Count = Annotated[int, Field(ge=1)]
Natural = Annotated[int, Field(ge=0)]
Positive = Annotated[float, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0)]
Frequency = Literal["epoch"] | Count
Verbose = Literal[0, 1]
Text = Annotated[str, Field(min_length=1)]

WEIGHTS = ".safetensors"


class Monitor(CallbackSettings):
    """A callback that monitors a value of the epoch; `mode: auto` takes the direction of that metric."""

    monitor: Text = "val_loss"
    """Value that is monitored, such as val_loss."""
    mode: Literal["auto", "min", "max"] = "auto"
    """Whether a lower or a higher value is better: min, max or auto."""
    verbose: Verbose = 0

    synonyms: ClassVar[Mapping[str, str]] = {"metric": "monitor", "direction": "mode"}

    @property
    def monitored(self) -> str | None:
        return self.monitor

    def down(self, directions: Mapping[str, Direction]) -> bool:
        """Whether a lower value of the monitored metric is better."""
        return self.mode == "min" or (self.mode == "auto" and directions.get(self.monitor) == "down")


class EarlyStopping(Monitor):
    """Ends the training when `monitor` has not improved for `patience` epochs."""

    made_by = "weights:EarlyStoppingCallback"
    steers = True
    ends = True
    name: Literal["early_stopping", "EarlyStopping"] = "early_stopping"
    min_delta: NotNegative = 0.0
    patience: Natural = 0
    baseline: float | None = None
    """Value that must be reached."""
    restore_best_weights: bool = False
    """Whether the best weights are restored at the end."""
    start_from_epoch: Natural = 0
    """Epoch from which it monitors."""
    first_gain: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Share by which an epoch must be better than the first, or the first is the best."""


class ModelCheckpoint(Monitor):
    """Writes weights into the run, after every epoch or so many steps, or only the best.

    `filepath` may hold `{epoch:02d}` and the epoch's values; without it the best are `best.safetensors`.
    Weights are all that is written: the model is the run's `spec.yaml`.
    """

    made_by = "weights:ModelCheckpointCallback"
    steers = True
    name: Literal["model_checkpoint", "ModelCheckpoint"] = "model_checkpoint"
    filepath: Text | None = None
    """File that is written; epoch and metrics may be in its name."""
    save_best_only: bool = False
    """Whether only the best is kept."""
    save_weights_only: bool = False
    """Whether only weights are kept."""
    save_freq: Frequency = "epoch"
    initial_value_threshold: float | None = None
    """Value from which it starts to save."""

    @property
    def monitored(self) -> str | None:
        return self.monitor if self.save_best_only else None

    @property
    def keeps_the_best(self) -> bool:
        """Whether it determines `best.safetensors`."""
        return self.save_best_only and self.filepath in (None, BEST)

    @property
    def pattern(self) -> str:
        return self.filepath or (BEST if self.save_best_only else "epoch-{epoch:03d}.safetensors")

    def path(self, values: Mapping[str, Any]) -> str:
        """The file's path in the run; `epoch` and `batch` count from 1."""
        return self.pattern.format_map(values)

    def misfits(self, config: Any, directions: Mapping[str, Direction]) -> Iterator[Problem]:
        if self.save_best_only and self.save_freq != "epoch":
            message = "the best is known at the end of an epoch, not after so many steps"
            yield Problem("callback-misfit", message, "leave `save_freq` out", ("save_freq",))
        wrong = self.pattern_problem(directions)
        if wrong is not None:
            yield Problem("out-of-range", *wrong, ("filepath",) if self.filepath else ())

    def pattern_problem(self, values: Iterable[str]) -> tuple[str, str | None] | None:
        """The error in `filepath`, and its remedy."""
        pattern = self.pattern
        if not pattern.endswith(WEIGHTS):
            stem = re.sub(r"(\.weights)?\.(keras|h5|hdf5|pt|pth|ckpt)$", "", pattern)
            help = f"write `{stem}{WEIGHTS}`"
            return f"weights are written as `{WEIGHTS}` files, not as `{pattern}`", help
        if reserved(pattern) and not self.keeps_the_best:
            return f"`{pattern}` is outside of the run directory or reserved", "give another relative path"
        known = ["epoch", *values] if self.save_freq == "epoch" else ["epoch", "batch", "loss"]
        try:
            for _, field, form, _ in string.Formatter().parse(pattern):
                if field is not None and field not in known:
                    help = did_you_mean(field, known, f"names here: {', '.join(known)}")
                    return f"`{pattern}` asks for `{field}`, which an epoch does not have", help
                if re.search(r"\d{3}", form or ""):
                    help = "write {epoch:03d} or {val_loss:.3f}"
                    return f"`{pattern}` asks for more digits than the name of a file may have", help
                format(1 if field in ("epoch", "batch") else 1.0, form or "")
        except ValueError as error:
            return f"`{pattern}` is not a valid pattern: {error}", "write {epoch:02d} or {val_loss:.3f}"
        return None


class ReduceLROnPlateau(Monitor):
    """Multiplies the learning rate by `factor` when `monitor` has not improved for `patience` epochs."""

    made_by = "rates:ReduceLROnPlateauCallback"
    steers = True
    sets_rate = True
    name: Literal["reduce_lr_on_plateau", "ReduceLROnPlateau"] = "reduce_lr_on_plateau"
    factor: Annotated[float, Field(gt=0, lt=1)] = 0.1
    """Factor of the learning rate."""
    patience: Natural = 10
    min_delta: NotNegative = 0.0001
    cooldown: Natural = 0
    """Epochs without a change after a change."""
    min_lr: NotNegative = 0.0
    """Lower bound of the learning rate."""


class LearningRateScheduler(CallbackSettings):
    """Sets the learning rate at the start of each epoch: an expression of `epoch`, from 0, and of `lr`, the
    rate so far.
    """

    made_by = "rates:LearningRateSchedulerCallback"
    steers = True
    sets_rate = True
    name: Literal["learning_rate_scheduler", "LearningRateScheduler"] = "learning_rate_scheduler"
    schedule: Text
    """Learning rate of each epoch: an expression of `epoch` and `lr`."""
    verbose: Verbose = 0

    @field_validator("schedule")
    @classmethod
    def _readable(cls, text: str) -> str:
        try:
            parsed = parse_value(f"$({text})")
        except ExpressionError as error:
            raise ValueError(f"`schedule` cannot be read: {error.message}") from None
        if not isinstance(parsed, Expression) or parsed.channels or not parsed.names <= {"epoch", "lr"}:
            raise ValueError(f"`schedule` is an expression of `epoch` and `lr`, not `{text}`")
        return text

    @cached_property
    def expression(self) -> Expression:
        parsed = parse_value(f"$({self.schedule})")
        assert isinstance(parsed, Expression)
        return parsed

    def misfits(self, config: Any, directions: Mapping[str, Direction]) -> Iterator[Problem]:
        parts, begin = config.parts, 0
        try:
            for number, part in enumerate(parts, 1):  # each begins with the rate of its own optimizer
                lr = part.optimizers[0].learning_rate
                end = begin + part.epochs if number < len(parts) else config.epochs
                for epoch in range(begin, min(end, begin + 1000)):
                    lr = self.rate(epoch, lr)
                begin = end
        except ValueError as error:
            yield Problem("out-of-range", str(error), None, ("schedule",))

    def rate(self, epoch: int, lr: float) -> float:
        """The learning rate of an epoch. Raises `ValueError` where the expression gives none."""
        try:
            value = self.expression.evaluate({"epoch": epoch, "lr": lr})
        except ExpressionError as error:
            raise ValueError(f"`schedule` fails at epoch {epoch}: {error.message}") from None
        if isinstance(value, bool) or not isinstance(value, int | float) or value < 0:
            raise ValueError(f"`schedule` gives {show(value)} at epoch {epoch}, which is not a learning rate")
        return float(value)


class TensorBoard(CallbackSettings):
    """Writes scalars, the graph and, every `histogram_freq` epochs, histograms of the weights into
    `tensorboard/` of the run.

    `update_freq` is how often the running loss is written: each epoch, each batch, or every so many.
    """

    made_by = "tensorboard:TensorBoardCallback"
    name: Literal["tensorboard", "TensorBoard", "tensor_board"] = "tensorboard"
    histogram_freq: Natural = 0
    """Epochs between histograms of weights; 0 for none."""
    write_graph: bool = True
    """Whether the graph is written."""
    write_steps_per_second: bool = False
    """Whether the speed is written."""
    update_freq: Literal["epoch", "batch"] | Count = "epoch"
    """`epoch`, `batch`, or after how many steps it writes."""


class CSVLogger(CallbackSettings):
    """Writes a line for each epoch into a table in the run, epochs counted from 0 as in Keras."""

    made_by = "logs:CSVLoggerCallback"
    name: Literal["csv_logger", "CSVLogger"] = "csv_logger"
    filename: Text = "history.csv"
    """Name of the table in the run."""
    separator: Annotated[str, Field(min_length=1, max_length=1)] = ","

    @field_validator("filename")
    @classmethod
    def _inside(cls, name: str) -> str:
        if reserved(name):
            raise ValueError(
                f"`{name}` is outside of the run directory or reserved: give another relative path"
            )
        return name


class TerminateOnNaN(CallbackSettings):
    """Ends the training normally when the loss is NaN or infinite; without this callback that is an error."""

    name: Literal["terminate_on_nan", "TerminateOnNaN"] = "terminate_on_nan"
    raise_error: bool = False
    """Whether the training ends with an error."""


class BackupAndRestore(CallbackSettings):
    """How often a checkpoint for `--resume` is saved: every epoch, or every so many steps.

    Without this callback it is saved by time. `delete_checkpoint` removes it when the training has ended;
    Keras' default is true, and then a run cannot be given more epochs.
    """

    name: Literal["backup_and_restore", "BackupAndRestore"] = "backup_and_restore"
    save_freq: Frequency = "epoch"
    delete_checkpoint: bool = False
    """Whether the checkpoint is deleted after training."""


class SwapEMAWeights(CallbackSettings):
    """Evaluates the moving averages of the weights that an optimizer with `use_ema` keeps.

    `swap_on_epoch` leaves them in the model between the end of an epoch and the start of the next.
    """

    made_by = "weights:SwapEMAWeightsCallback"
    steers = True
    name: Literal["swap_ema_weights", "SwapEMAWeights"] = "swap_ema_weights"
    swap_on_epoch: bool = False
    """Whether validation uses the average of weights."""

    def misfits(self, config: Any, directions: Mapping[str, Direction]) -> Iterator[Problem]:
        if not any(each.use_ema for each in config.optimizers):
            message = f"`{self.name}` swaps averages that the optimizer does not keep"
            help = f"write optimizer: {{name: {config.optimizer.name}, use_ema: true}}"
            yield Problem("callback-misfit", message, help)


class MLflow(CallbackSettings):
    """Writes parameters, the values of each epoch and the spec to MLflow."""

    made_by = "trackers:MLflowCallback"
    name: Literal["mlflow", "MLflow"] = "mlflow"
    tracking_uri: Text | None = None
    """Server's address."""
    experiment: Text | None = None
    """Experiment that holds the run."""
    run_name: Text | None = None

    def addresses(self) -> Iterator[tuple[str, str]]:
        if self.tracking_uri is not None and leaves(self.tracking_uri):
            yield "tracking_uri", self.tracking_uri


class WandB(CallbackSettings):
    """Writes parameters and the values of each epoch to Weights & Biases."""

    made_by = "trackers:WandBCallback"
    name: Literal["wandb", "WandB"] = "wandb"
    project: Text | None = None
    """Project that holds the run."""
    entity: Text | None = None
    """Team or user that owns the run."""
    run_name: Text | None = None
    mode: Literal["online", "offline"] = "online"
    """Whether the run is sent to the server: online or offline."""

    def addresses(self) -> Iterator[tuple[str, str]]:
        if self.entity is not None and self.mode == "online":
            yield "entity", self.entity

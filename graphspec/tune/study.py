"""A study: the trials of one search with their results, stored by Optuna in a file or a database.

Optuna draws the values and judges which trials are hopeless; what a trial is, and when one is lost, is said
here. A trial's number is unique over all machines that share a study, and everything drawn at random follows
from the seed and that number: one job and one seed give the same trials.
"""

from __future__ import annotations

import datetime
import hashlib
import itertools
import json
import random
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import optuna
import optuna.storages.journal
import psutil
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.samplers import BaseSampler, RandomSampler, TPESampler
from optuna.study import Study as OptunaStudy
from optuna.trial import FrozenTrial, Trial, TrialState

from graphspec.diagnostics import Diagnostic, SpecError
from graphspec.tune.config import Choice, FloatRange, IntRange, Range, TuneConfig

Values = dict[str, Any]
State = Literal["running", "complete", "pruned", "failed"]
STATES: Mapping[TrialState, State] = {
    TrialState.RUNNING: "running",
    TrialState.WAITING: "running",
    TrialState.COMPLETE: "complete",
    TrialState.PRUNED: "pruned",
    TrialState.FAIL: "failed",
}
DRIVERS = "for PostgreSQL: pip install 'psycopg[binary]'"
SILENT = 60.0
"""Seconds that a new trial has to say which process runs it."""
ABANDONED, PROCESS, DIGEST = "abandoned", "process", "digest"


@dataclass(frozen=True, slots=True)
class Finished:
    """One trial of a study as it is shown: `value` is the objective's, `reason` why it failed."""

    number: int
    state: State
    value: float | None
    params: Values
    epochs: int
    reason: str | None

    def to_json(self) -> dict[str, Any]:
        entry: dict[str, Any] = {"number": self.number, "state": self.state, "value": self.value}
        entry |= {"params": self.params, "epochs": self.epochs}
        return entry | ({"reason": self.reason} if self.reason is not None else {})


class Study:
    """The trials of a search. `direction` says which way the objective is better."""

    def __init__(
        self,
        name: str,
        storage: str,
        config: TuneConfig,
        direction: Literal["minimize", "maximize"],
        epochs: int,
        seed: int,
        parallel: bool = False,
    ):
        """Opens the study `name` in `storage`, a file's path or a database's URL; begins it if it is new.

        `epochs` is how many a trial runs for, `parallel` whether several trials run at a time. Raises
        `SpecError` (tune-storage, tune-differs).
        """
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self.config, self.direction, self._seed = config, direction, seed
        self._distributions = {key: _distribution(values) for key, values in config.search.items()}
        sampler = _Numbered(config, seed, parallel, self._abandoned_numbers)
        try:
            self._storage = _storage(storage)
            self._study: OptunaStudy = optuna.create_study(
                study_name=name,
                storage=self._storage,
                sampler=sampler,
                pruner=_pruner(config, epochs),
                direction=direction,
                load_if_exists=True,
            )
            self._same_search()
        except SpecError:
            raise
        except ImportError:
            message, help = "the study's storage needs a driver that is not installed", DRIVERS
            raise SpecError([Diagnostic("package-missing", message, None, help=help)]) from None
        except Exception as error:  # of a driver or a server: each has classes of its own
            shown = str(error).strip().splitlines()
            message = f"the study's storage cannot be opened: {shown[0] if shown else type(error).__name__}"
            help = "give a path, or a URL such as postgresql://user@host/database"
            raise SpecError([Diagnostic("tune-storage", message, None, help=help)]) from error

    def close(self) -> None:
        """Lets go of a database's connections."""
        self._storage.remove_session()
        if isinstance(self._storage, optuna.storages.RDBStorage):
            self._storage.engine.dispose()

    def _same_search(self) -> None:
        """A study is of one search: other ranges or another objective begin another."""
        digest = _digest(self.config, self.direction)
        known = self._study.user_attrs.get(DIGEST)
        if known is None:
            self._study.set_user_attr(DIGEST, digest)
        elif known != digest:
            message = f"the study `{self._study.study_name}` was begun with another search or objective"
            help = "give a new `--run-dir` (or another `name`), or put the old `tune` back"
            raise SpecError([Diagnostic("tune-differs", message, None, help=help)])

    # --- trials

    @property
    def limit(self) -> int:
        """How many trials there will be in all: those asked for, and one for each that was lost."""
        trials = self.config.trials
        if self.config.sampler == "grid":
            trials = min(trials, len(_grid(self.config, self._seed)))
        return trials + len(self._abandoned_numbers())

    def ask(self) -> Trial | None:
        """The next trial, or None when there are enough."""
        if len(self._study.get_trials(deepcopy=False)) >= self.limit:
            return None
        trial = self._study.ask(self._distributions)
        if trial.number >= self.limit:  # another machine was faster
            trial.set_user_attr(ABANDONED, "surplus")
            self._study.tell(trial, state=TrialState.FAIL)
            return None
        process = psutil.Process()
        about = {"host": socket.gethostname(), "pid": process.pid, "started": process.create_time()}
        trial.set_user_attr(PROCESS, about)
        return trial

    def values(self, trial: Trial | FrozenTrial) -> Values:
        """What a trial tries, by the keys of `search`."""
        return {key: _plain(self.config.search[key], value) for key, value in trial.params.items()}

    def report(self, trial: Trial, epoch: int, value: float) -> bool:
        """Takes in the objective after an epoch (from 1). Whether the trial should stop: it is hopeless."""
        trial.report(value, epoch)
        return trial.should_prune()

    def complete(self, trial: Trial, value: float) -> None:
        self._study.tell(trial, value)

    def prune(self, trial: Trial) -> None:
        self._study.tell(trial, state=TrialState.PRUNED)

    def fail(self, trial: Trial, reason: str) -> None:
        trial.set_user_attr("reason", reason)
        self._study.tell(trial, state=TrialState.FAIL)

    def give_up(self, trial: Trial) -> None:
        """The search stops before the trial is over: another one takes its place when it goes on."""
        trial.set_user_attr(ABANDONED, "interrupted")
        self._study.tell(trial, state=TrialState.FAIL)

    def close_lost(self) -> list[int]:
        """Closes the trials of processes of this host that are gone, and gives their numbers."""
        lost = []
        for trial in self._study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            if _is_lost(trial):
                self._storage.set_trial_user_attr(trial._trial_id, ABANDONED, "process died")
                self._study.tell(trial.number, state=TrialState.FAIL, skip_if_finished=True)
                lost.append(trial.number)
        return lost

    def _abandoned_numbers(self) -> list[int]:
        trials = self._study.get_trials(deepcopy=False)
        return [trial.number for trial in trials if ABANDONED in trial.user_attrs]

    # --- what they came to

    def finished(self) -> list[Finished]:
        """Every trial that has begun and was not lost, in the order of their numbers."""
        return [
            Finished(
                trial.number,
                STATES[trial.state],
                trial.value if trial.state is TrialState.COMPLETE else _last(trial),
                self.values(trial),
                len(trial.intermediate_values),
                trial.user_attrs.get("reason"),
            )
            for trial in self._study.get_trials(deepcopy=False)
            if ABANDONED not in trial.user_attrs
        ]

    def ranking(self) -> list[Finished]:
        """The complete trials, the best first; of equals the earlier."""
        complete = [trial for trial in self.finished() if trial.state == "complete"]
        sign = 1 if self.direction == "minimize" else -1
        return sorted(complete, key=lambda trial: (sign * (trial.value or 0.0), trial.number))

    def importances(self) -> dict[str, float]:
        """How much of the objective's variance each key explains, by PED-ANOVA; empty with too few trials."""
        if len(self.ranking()) < 4:
            return {}
        evaluator = optuna.importance.PedAnovaImportanceEvaluator()
        try:
            found = optuna.importance.get_param_importances(self._study, evaluator=evaluator)
        except (RuntimeError, ValueError):  # every value the same: nothing explains anything
            return {}
        return {key: float(value) for key, value in found.items()}


def _last(trial: FrozenTrial) -> float | None:
    return trial.intermediate_values[max(trial.intermediate_values)] if trial.intermediate_values else None


def _is_lost(trial: FrozenTrial) -> bool:
    """Whether the process that ran a trial on this host is gone; of other hosts nothing is known."""
    about = trial.user_attrs.get(PROCESS)
    if about is None:  # it died, or is about to say who it is
        begun = trial.datetime_start
        return begun is not None and (datetime.datetime.now() - begun).total_seconds() > SILENT
    if about["host"] != socket.gethostname():
        return False
    try:
        return bool(psutil.Process(about["pid"]).create_time() != about["started"])
    except psutil.NoSuchProcess:
        return True


def _digest(config: TuneConfig, direction: str) -> str:
    """What two runs of one study must agree on."""
    search = {key: _distribution(values)._asdict() for key, values in config.search.items()}
    facts = {"objective": config.objective, "direction": direction, "search": search}
    return hashlib.sha256(json.dumps(facts, sort_keys=True, default=str).encode()).hexdigest()


# --- Optuna's words for ours


def _storage(place: str) -> optuna.storages.BaseStorage:
    if "://" in place:
        scheme, _, rest = place.partition("://")
        driver = "postgresql+psycopg" if scheme in ("postgresql", "postgres") else scheme
        return optuna.storages.RDBStorage(f"{driver}://{rest}")
    backend = optuna.storages.journal.JournalFileBackend(place)
    return optuna.storages.JournalStorage(backend)


def _pruner(config: TuneConfig, epochs: int) -> optuna.pruners.BasePruner:
    if config.pruner == "hyperband" and epochs > 1:
        return optuna.pruners.HyperbandPruner(min_resource=1, max_resource=epochs)
    if config.pruner == "median":
        return optuna.pruners.MedianPruner()
    return optuna.pruners.NopPruner()


def _distribution(values: Range) -> BaseDistribution:
    if isinstance(values, IntRange):
        return IntDistribution(*values.bounds, log=values.log, step=values.step)
    if isinstance(values, FloatRange):
        return FloatDistribution(*values.bounds, log=values.log, step=values.step)
    return CategoricalDistribution([json.dumps(value) for value in values.choice])


def _plain(values: Range, drawn: Any) -> Any:
    """The value itself: choices are kept as JSON text, since Optuna takes no lists."""
    return json.loads(drawn) if isinstance(values, Choice) else drawn


def _grid(config: TuneConfig, seed: int) -> list[Values]:
    """Every combination, in an order that follows from the seed, so that a part of them is a fair sample."""
    keys = list(config.search)
    lists = [config.search[key].grid() or [] for key in keys]
    combinations = [dict(zip(keys, values, strict=True)) for values in itertools.product(*lists)]
    random.Random(seed).shuffle(combinations)
    return combinations


class _Numbered(BaseSampler):
    """Draws a trial's values from the seed and its number, with what the trials before it came to.

    The grid is counted through by number: the trials beyond it repeat those that were lost.
    """

    def __init__(self, config: TuneConfig, seed: int, parallel: bool, lost: Any):
        self._config, self._seed, self._parallel, self._lost = config, seed, parallel, lost
        self._inner: BaseSampler = RandomSampler(seed)
        self._fixed: Values = {}

    def before_trial(self, study: OptunaStudy, trial: FrozenTrial) -> None:
        seed = (self._seed * 0x9E3779B1 + trial.number) % 2**32
        if self._config.sampler == "tpe":
            self._inner = TPESampler(seed=seed, constant_liar=self._parallel)
        elif self._config.sampler == "random":
            self._inner = RandomSampler(seed)
        else:
            grid = _grid(self._config, self._seed)
            number = trial.number
            while number >= len(grid):
                number = self._lost()[number - len(grid)]
            self._fixed = grid[number]

    def infer_relative_search_space(
        self, study: OptunaStudy, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        return self._inner.infer_relative_search_space(study, trial)

    def sample_relative(
        self, study: OptunaStudy, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        return self._inner.sample_relative(study, trial, search_space)

    def sample_independent(
        self, study: OptunaStudy, trial: FrozenTrial, name: str, distribution: BaseDistribution
    ) -> Any:
        if name in self._fixed:
            value = self._fixed[name]
            return json.dumps(value) if isinstance(self._config.search[name], Choice) else value
        return self._inner.sample_independent(study, trial, name, distribution)

    def after_trial(
        self,
        study: OptunaStudy,
        trial: FrozenTrial,
        state: TrialState,
        values: Sequence[float] | None,
    ) -> None:
        self._inner.after_trial(study, trial, state, values)

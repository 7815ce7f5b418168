"""A study: the trials of one search with their results, stored by Optuna in a file or a database.

Optuna samples the values and prunes trials. This module defines what a trial is, and when it is lost. A
trial's number is unique over all machines that share a study, and all random numbers follow from the seed and
that number: with one job and one seed, a search gives the same trials.
"""

from __future__ import annotations

import datetime
import hashlib
import itertools
import json
import math
import random
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.exceptions import ExperimentalWarning
from optuna.samplers import BaseSampler, RandomSampler, TPESampler
from optuna.study import Study as OptunaStudy
from optuna.trial import FrozenTrial, Trial, TrialState
from pydantic import BaseModel, ConfigDict, ValidationError

from graphspec.diagnostics import SpecError, fail
from graphspec.diagnostics.text import first_line
from graphspec.files.owners import OWNER, is_gone, owner
from graphspec.tune.config import Choice, FloatRange, IntRange, Range, TuneConfig
from graphspec.tune.journal import ABANDONED, BEGUN, OTHERS, PROCESS, REASON, Journal, OwnTrials

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
FULL = 5
"""Complete trials before the median pruner stops one: the median of fewer says little."""
DIGEST = "digest"


class TrialProcess(BaseModel):
    """Which process runs a trial, by the name that `files/owners.py` gives it."""

    model_config = ConfigDict(strict=True)
    owner: str


@dataclass(frozen=True, slots=True)
class Finished:
    """One trial of a study for display: `value` is that of the objective, `reason` why it failed."""

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
    """The trials of a search. `direction` is the better direction of the objective."""

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
        """Opens the study `name` in `storage`, a file's path or a database's URL; creates it if it is new.

        `epochs` is the length of a trial, `parallel` whether several trials run at the same time. Raises
        `SpecError` (tune-storage, tune-differs).
        """
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self.config, self.direction, self._seed = config, direction, seed
        self._distributions = {key: _distribution(values) for key, values in config.search.items()}
        self._digest = _digest(config, self._distributions, direction)
        numbered = _Numbered(
            config, self._distributions, seed, parallel, self._abandoned_numbers, self._tried
        )
        try:
            self._storage = _storage(storage, self._distributions, self._digest)
            self._study: OptunaStudy = optuna.create_study(
                study_name=name,
                storage=self._storage,
                sampler=numbered,
                pruner=_pruner(config, epochs),
                direction=direction,
                load_if_exists=True,
            )
            self._same_search()
        except SpecError:
            raise
        except ImportError:
            message, help = "the study's storage needs a driver that is not installed", DRIVERS
            raise fail("package-missing", message, help) from None
        except Exception as error:  # drivers and servers have their own exception classes
            message = f"the study's storage cannot be opened: {first_line(error)}"
            help = "give a path, or a URL such as postgresql://user@host/database"
            raise fail("tune-storage", message, help) from error

    def close(self) -> None:
        """Closes the connections to a database."""
        self._storage.remove_session()
        if isinstance(self._storage, optuna.storages.RDBStorage):
            self._storage.engine.dispose()

    def _same_search(self) -> None:
        """Checks that the study has the same search: other ranges or another objective need a new study."""
        known = self._study.user_attrs.get(DIGEST, self._digest)
        if DIGEST not in self._study.user_attrs:
            self._study.set_user_attr(DIGEST, self._digest)
        if known != self._digest or self._study.direction.name.lower() != self.direction:
            message = f"the study `{self._study.study_name}` was begun with another search or objective"
            help = "give a new `--run-dir` (or another `name`), or put the old `tune` back"
            raise fail("tune-differs", message, help)

    # --- trials

    @property
    def limit(self) -> int:
        """The total number of trials: the requested ones, or as many as there are combinations of values, and
        one for each that was lost.
        """
        trials = int(min(self.config.trials, _combinations(self.config)))
        return trials + len(self._abandoned_numbers())

    def ask(self) -> Trial | None:
        """The next trial, or None when there are enough."""
        if len(self._study.get_trials(deepcopy=False)) >= self.limit:
            return None
        try:
            trial = self._study.ask(self._distributions)
        except ValueError as error:  # a database has trials of the same keys with other values
            name, why = self._study.study_name, first_line(error)
            message = f"the study `{name}` holds trials of another search: {why}"
            raise fail("tune-differs", message, "give a new `name`, or another database") from None
        if trial.number >= self.limit:  # another machine was faster
            trial.set_user_attr(ABANDONED, "surplus")
            self._study.tell(trial, state=TrialState.FAIL)
            return None
        about = TrialProcess(owner=owner())
        if isinstance(self._storage, OwnTrials):
            self._storage.begin(trial._trial_id, about.model_dump())
        else:
            trial.set_user_attr(PROCESS, about.model_dump())
        return trial

    def values(self, trial: Trial | FrozenTrial) -> Values:
        """The values of a trial, by the keys of `search`."""
        return {key: _plain(self.config.search[key], value) for key, value in trial.params.items()}

    def report(self, trial: Trial, epoch: int, value: float) -> bool:
        """Records the objective after an epoch (from 1). Returns whether the trial should be pruned."""
        trial.report(value, epoch)
        return trial.should_prune()

    def complete(self, trial: Trial, value: float) -> None:
        self._end(trial, TrialState.COMPLETE, [value])

    def prune(self, trial: Trial) -> None:
        self._end(trial, TrialState.PRUNED)

    def fail(self, trial: Trial, reason: str) -> None:
        trial.set_user_attr(REASON, reason)
        self._end(trial, TrialState.FAIL)

    def _end(self, trial: Trial, state: TrialState, values: list[float] | None = None) -> None:
        if isinstance(self._storage, OwnTrials):
            self._storage.end(trial._trial_id, state, values)
        self._study.tell(trial, values, state)

    def give_up(self, trial: Trial) -> None:
        """Gives up a trial because the search stops. Another trial replaces it when the search continues."""
        trial.set_user_attr(ABANDONED, "interrupted")
        self._study.tell(trial, state=TrialState.FAIL)

    def close_lost(self, silence: Callable[[int], float] = lambda trial: 0.0) -> list[int]:
        """Closes the trials of processes that have ended, and returns their numbers. `silence` tells for how
        many seconds a trial has written nothing, where its process is one of another machine.
        """
        lost = []
        for trial in self._study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            if _is_lost(trial, silence(trial.number)):
                self._storage.set_trial_user_attr(trial._trial_id, ABANDONED, "process died")
                self._study.tell(trial.number, state=TrialState.FAIL, skip_if_finished=True)
                lost.append(trial.number)
        return lost

    def running(self) -> set[int]:
        """The numbers of the trials that some search is running, another user's, too."""
        if isinstance(self._storage, OwnTrials):
            return self._storage.running(self._study._study_id)
        trials = self._study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
        return {trial.number for trial in trials}

    def _trials(self) -> list[FrozenTrial]:
        """The trials that were not lost, in the order of their numbers."""
        return [trial for trial in self._study.get_trials(deepcopy=False) if self._counts(trial)]

    def _counts(self, trial: FrozenTrial) -> bool:
        """Whether a trial is one of this search, and was not lost."""
        known = all(self._distributions.get(key) == each for key, each in trial.distributions.items())
        whole = trial.params.keys() == self._distributions.keys() or not trial.state.is_finished()
        return ABANDONED not in trial.user_attrs and known and whole

    def others(self) -> int:
        """How many trials there are that this user has not signed on this machine."""
        notes = (trial.user_attrs.get(ABANDONED) for trial in self._study.get_trials(deepcopy=False))
        return sum(note == OTHERS for note in notes)

    def _abandoned_numbers(self) -> list[int]:
        trials = self._study.get_trials(deepcopy=False)
        return [trial.number for trial in trials if not self._counts(trial)]

    def _tried(self, number: int) -> set[str]:
        """The combinations of all trials but this one and those that were lost."""
        return {_as_text(each.params) for each in self._trials() if each.number != number}

    # --- results

    def finished(self) -> list[Finished]:
        """All trials that have started and were not lost, in the order of their numbers."""
        return [
            Finished(
                trial.number,
                STATES[trial.state],
                trial.value if trial.state is TrialState.COMPLETE else _last(trial),
                self.values(trial),
                len(trial.intermediate_values),
                None if (reason := trial.user_attrs.get(REASON)) is None else str(reason),
            )
            for trial in self._trials()
        ]

    def ranking(self) -> list[Finished]:
        """The complete trials, the best first; of equal ones the earlier first."""
        complete = [trial for trial in self.finished() if trial.state == "complete"]
        sign = 1 if self.direction == "minimize" else -1
        return sorted(complete, key=lambda trial: (sign * (trial.value or 0.0), trial.number))

    def importances(self) -> dict[str, float]:
        """How much of the objective each key explains, by PED-ANOVA; empty with too few trials."""
        if len(self.ranking()) < 4:
            return {}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)  # before Optuna 5, to those who choose it
            evaluator = optuna.importance.PedAnovaImportanceEvaluator()
        try:
            scores = optuna.importance.get_param_importances(self._study, evaluator=evaluator)
        except (RuntimeError, ValueError):  # all values are equal: no key explains anything
            return {}
        return {key: float(value) for key, value in scores.items()}


def _last(trial: FrozenTrial) -> float | None:
    return trial.intermediate_values[max(trial.intermediate_values)] if trial.intermediate_values else None


def _is_lost(trial: FrozenTrial, silence: float) -> bool:
    """Whether the process of a trial has ended, which has written nothing for so many seconds."""
    creator = trial.user_attrs.get(BEGUN)
    if PROCESS not in trial.user_attrs:  # it died, or has not registered yet
        begun = trial.datetime_start
        is_old = begun is not None and abs((datetime.datetime.now() - begun).total_seconds()) > SILENT
        return is_old or (creator is not None and _has_ended(creator, silence))
    try:
        return _has_ended(TrialProcess.model_validate(trial.user_attrs[PROCESS]).owner, silence)
    except ValidationError:  # which no search has written
        return True


def _has_ended(name: str, silence: float) -> bool:
    """Whether a process has ended; what is the name of none has."""
    return OWNER.fullmatch(name) is None or is_gone(name, silence)


def _digest(config: TuneConfig, distributions: Mapping[str, BaseDistribution], direction: str) -> str:
    """The settings that runs of one study must agree on."""
    search = {key: values._asdict() for key, values in distributions.items()}
    facts = {"objective": config.objective, "direction": direction, "search": search}
    return hashlib.sha256(json.dumps(facts, sort_keys=True, default=str).encode()).hexdigest()


# --- conversion to Optuna


def _storage(
    place: str, distributions: Mapping[str, BaseDistribution], digest: str
) -> optuna.storages.BaseStorage:
    """A database, whose trials are those of all who share it, or a file with those of this user."""
    if "://" in place:
        scheme, _, rest = place.partition("://")
        driver = "postgresql+psycopg" if scheme in ("postgresql", "postgres") else scheme
        return optuna.storages.RDBStorage(f"{driver}://{rest}")
    return OwnTrials(Journal(Path(place), distributions), f"trial of {digest}")


def _pruner(config: TuneConfig, epochs: int) -> optuna.pruners.BasePruner:
    if config.pruner == "hyperband" and epochs > 1:
        return optuna.pruners.HyperbandPruner(min_resource=1, max_resource=epochs)
    if config.pruner == "median":
        return optuna.pruners.MedianPruner(FULL, n_warmup_steps=epochs // 10)
    return optuna.pruners.NopPruner()


def _distribution(values: Range) -> BaseDistribution:
    if isinstance(values, IntRange):
        return IntDistribution(*values.samples, log=values.log, step=values.step)
    if isinstance(values, FloatRange):
        return FloatDistribution(*values.samples, log=values.log, step=values.step)
    return CategoricalDistribution([json.dumps(value) for value in values.choice])


def _plain(values: Range, drawn: Any) -> Any:
    """The value itself. Choices are stored as JSON text, because Optuna does not accept lists."""
    return json.loads(drawn) if isinstance(values, Choice) else drawn


def _as_text(params: Mapping[str, Any]) -> str:
    return json.dumps(params, sort_keys=True)


def _grid(config: TuneConfig, seed: int) -> list[Values]:
    """All combinations, shuffled by the seed, so that the first ones are a fair sample."""
    keys = list(config.search)
    lists = [config.search[key].grid() or [] for key in keys]
    combinations = [dict(zip(keys, values, strict=True)) for values in itertools.product(*lists)]
    random.Random(seed).shuffle(combinations)
    return combinations


def _combinations(config: TuneConfig) -> float:
    """How many combinations of values there are, as far as they can be listed."""
    lists = [values.grid() for values in config.search.values()]
    return math.prod(math.inf if each is None else len(each) for each in lists)


class _Numbered(BaseSampler):
    """Samples a trial's values from the seed, its number, and the results of earlier trials; none twice.

    A grid is enumerated by number: trials beyond its end repeat those that were lost.
    """

    def __init__(
        self,
        config: TuneConfig,
        distributions: Mapping[str, BaseDistribution],
        seed: int,
        parallel: bool,
        lost: Any,
        tried: Any,
    ):
        self._config, self._seed, self._parallel = config, seed, parallel
        self._distributions = dict(distributions)
        self._lost, self._tried = lost, tried
        self._inner: BaseSampler = RandomSampler(seed)
        self._random = RandomSampler(seed)
        self._fixed: Values = {}

    def before_trial(self, study: OptunaStudy, trial: FrozenTrial) -> None:
        seed = (self._seed * 0x9E3779B1 + trial.number) % 2**32
        self._random = RandomSampler(seed)
        if self._config.sampler == "tpe":
            self._inner = TPESampler(seed=seed, constant_liar=self._parallel)
        elif self._config.sampler == "random":
            self._inner = RandomSampler(seed)
        else:
            grid = _grid(self._config, self._seed)
            number = trial.number
            lost = self._lost()
            while len(grid) <= number < len(grid) + len(lost):
                number = lost[number - len(grid)]
            self._fixed = grid[number % len(grid)]  # of one that is more than enough, any

    def infer_relative_search_space(
        self, study: OptunaStudy, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        return self._distributions

    def sample_relative(
        self, study: OptunaStudy, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        if self._config.sampler == "grid":
            choices = {key for key, values in self._config.search.items() if isinstance(values, Choice)}
            return {key: json.dumps(v) if key in choices else v for key, v in self._fixed.items()}
        tried = self._tried(trial.number)  # in all brackets of Hyperband, of which `study` is one
        drawn = self._drawn(self._inner, study, trial)
        if len(tried) < _combinations(self._config):
            while _as_text(drawn) in tried:
                drawn = self._drawn(self._random, study, trial)
        return drawn

    def _drawn(self, sampler: BaseSampler, study: OptunaStudy, trial: FrozenTrial) -> dict[str, Any]:
        together = sampler.infer_relative_search_space(study, trial)
        drawn = sampler.sample_relative(study, trial, together)
        return {
            name: drawn[name] if name in drawn else sampler.sample_independent(study, trial, name, values)
            for name, values in self._distributions.items()
        }

    def sample_independent(
        self, study: OptunaStudy, trial: FrozenTrial, name: str, distribution: BaseDistribution
    ) -> Any:
        raise NotImplementedError("a trial's values are drawn together")

    def after_trial(
        self,
        study: OptunaStudy,
        trial: FrozenTrial,
        state: TrialState,
        values: Sequence[float] | None,
    ) -> None:
        self._inner.after_trial(study, trial, state, values)

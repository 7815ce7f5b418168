"""The file of a study: Optuna's journal of operations, which anybody may have written.

A line counts if it is one that a search writes, with values that the search can draw. A trial counts if this
user has signed it on this machine: when it began, and again with its result. To all who read the study,
Optuna's samplers and pruners too, any other trial is one that was lost, and that another one replaces.
"""

from __future__ import annotations

import copy
import datetime
import json
import os
from collections.abc import Container, Iterator, Mapping
from io import BufferedReader
from pathlib import Path
from typing import Annotated, Any, Literal

from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
    distribution_to_json,
)
from optuna.storages import JournalStorage
from optuna.storages.journal import BaseJournalBackend
from optuna.trial import FrozenTrial, TrialState, create_trial
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from graphspec.files.folder import Folder
from graphspec.files.owners import owner
from graphspec.files.reading import opened
from graphspec.files.remembered import SIGNATURE, own_record, sealed_record

ABANDONED, BEGUN, PROCESS, RESULT, REASON = "abandoned", "begun", "process", "result", "reason"
"""Keys of a search's notes on a trial: why it was lost, which process created it, which runs it (signed), the
signature of its result, and why it failed.
"""
OTHERS = "another's"
"""Why a trial is lost that this user has not signed on this machine."""
LONGEST = 2**20
"""Bytes of a line."""


def _is_time(text: str) -> str:
    datetime.datetime.fromisoformat(text).astimezone()
    return text


Count = Annotated[int, Field(ge=0, lt=2**31)]
Number = Annotated[float, Field(allow_inf_nan=False)]
Time = Annotated[str, AfterValidator(_is_time)]
Notes = Annotated[dict[str, Any], Field(min_length=1, max_length=1)]


class _Line(BaseModel):
    """An operation. What else a line has is left out."""

    model_config = ConfigDict(strict=True)
    worker_id: str


class NewStudy(_Line):
    op_code: Literal[0]
    study_name: str
    directions: Annotated[list[Literal[1, 2]], Field(min_length=1, max_length=1)]


class StudyNote(_Line):
    op_code: Literal[2]
    study_id: Count
    user_attr: Notes


class StudySetting(_Line):
    op_code: Literal[3]
    study_id: Count
    system_attr: Notes


class NewTrial(_Line):
    op_code: Literal[4]
    study_id: Count
    datetime_start: Time
    user_attrs: dict[Literal["begun"], str] = {}


class Drawn(_Line):
    op_code: Literal[5]
    trial_id: Count
    param_name: str
    param_value_internal: Number
    distribution: str


class Ended(_Line):
    op_code: Literal[6]
    trial_id: Count
    state: Literal[1, 2, 3]
    values: Annotated[list[Number], Field(min_length=1, max_length=1)] | None
    datetime_complete: Time


class Reported(_Line):
    op_code: Literal[7]
    trial_id: Count
    step: Count
    intermediate_value: Number


class TrialNote(_Line):
    op_code: Literal[8]
    trial_id: Count
    user_attr: Notes


class TrialSetting(_Line):
    op_code: Literal[9]
    trial_id: Count
    system_attr: Notes


Operation = (
    NewStudy | StudyNote | StudySetting | NewTrial | Drawn | Ended | Reported | TrialNote | TrialSetting
)
OPERATION: TypeAdapter[Operation] = TypeAdapter(Annotated[Operation, Field(discriminator="op_code")])


NOTHING = {"op_code": 1, "study_id": -1, "worker_id": ""}
"""The operation of a line that is none of a search: it deletes a study that is not there."""


class Journal(BaseJournalBackend):
    """The operations in a file, of a search over these values."""

    def __init__(self, path: Path, distributions: Mapping[str, BaseDistribution]):
        path.parent.stat()  # it is there
        self._path, self._distributions = path, distributions
        self._places = [0]
        """Where each line that was read begins, and the next one."""

    def read_logs(self, log_number_from: int) -> Iterator[dict[str, Any]]:
        """The operations from a number on. What comes after the end of the last line is being written."""
        if not self._path.exists():
            return
        with opened(self._path) as stream:
            first = min(log_number_from, len(self._places) - 1)
            stream.seek(self._places[first])
            for number, (line, size) in enumerate(_lines(stream), first):
                if number == len(self._places) - 1:
                    self._places.append(self._places[number] + size)
                if number >= log_number_from:
                    yield self._read(line)

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        text = "".join(json.dumps(log, separators=(",", ":")) + "\n" for log in logs)
        folder = Folder(self._path.parent)
        with folder.alone(f"{self._path.name}.lock"), folder.appending(self._path.name) as stream:
            stream.write(f"\n{text}" if _is_torn(self._path) else text)
            stream.flush()
            os.fsync(stream.fileno())

    def _read(self, line: bytes) -> dict[str, Any]:
        try:
            operation = OPERATION.validate_json(line)
        except ValidationError:
            return NOTHING
        if isinstance(operation, Drawn) and not self._can_draw(operation):
            return NOTHING
        return operation.model_dump()

    def _can_draw(self, param: Drawn) -> bool:
        """Whether the search draws such a value from such values."""
        values, drawn = self._distributions.get(param.param_name), param.param_value_internal
        if values is None or param.distribution != distribution_to_json(values):
            return False
        if isinstance(values, CategoricalDistribution):
            return drawn in range(len(values.choices))
        assert isinstance(values, IntDistribution | FloatDistribution)
        is_legal = isinstance(values, FloatDistribution) or drawn == int(drawn)
        return is_legal and values.low <= drawn <= values.high


def _is_torn(path: Path) -> bool:
    """Whether the last line has no end: a process was killed while it wrote."""
    with opened(path) as stream:
        size = stream.seek(0, os.SEEK_END)
        stream.seek(max(0, size - 1))
        return stream.read(1) not in (b"", b"\n")


def _lines(stream: BufferedReader) -> Iterator[tuple[bytes, int]]:
    """Each line that has ended, nothing of one that is too long, and its size."""
    while line := stream.readline(LONGEST):
        size, end = len(line), line
        while not end.endswith(b"\n"):
            end = stream.readline(LONGEST)
            if not end:
                return
            size, line = size + len(end), b""
        yield line, size


class OwnTrials(JournalStorage):
    """The studies in a journal, in which trials count that this user has signed, or that this process runs.
    `kind` says of which search they are.
    """

    def __init__(self, journal: Journal, kind: str):
        self._kind = kind
        self._mine, self._ended = set[int](), set[int]()
        """The trials that this process runs, and those that have ended as this user has signed."""
        super().__init__(journal)

    def create_new_trial(self, study_id: int, template_trial: FrozenTrial | None = None) -> int:
        """A trial that says from the first moment who created it: it may be lost before it begins."""
        template = template_trial or create_trial(state=TrialState.RUNNING, user_attrs={BEGUN: owner()})
        return super().create_new_trial(study_id, template)

    def begin(self, trial_id: int, process: Mapping[str, Any]) -> None:
        """Notes which process runs a trial."""
        self._mine.add(trial_id)
        trial = super().get_trial(trial_id)
        record = {**process, "number": trial.number, "params": trial.params}
        self.set_trial_user_attr(trial_id, PROCESS, sealed_record(self._kind, record) or record)

    def end(self, trial_id: int, state: TrialState, values: list[float] | None = None) -> None:
        """Signs what comes of a trial, which is told next."""
        trial = copy.copy(super().get_trial(trial_id))
        trial.state, trial.values = state, values
        sealed = sealed_record(self._kind, _result(trial)) or {SIGNATURE: ""}
        self.set_trial_user_attr(trial_id, RESULT, sealed[SIGNATURE])

    def get_trial(self, trial_id: int) -> FrozenTrial:
        return self._judged(super().get_trial(trial_id))

    def get_all_trials(
        self, study_id: int, deepcopy: bool = True, states: Container[TrialState] | None = None
    ) -> list[FrozenTrial]:
        trials = map(self._judged, super().get_all_trials(study_id, deepcopy))
        return [trial for trial in trials if states is None or trial.state in states]

    def running(self, study_id: int) -> set[int]:
        """The numbers of all trials that run, of whomever."""
        trials = super().get_all_trials(study_id, False, (TrialState.RUNNING,))
        return {trial.number for trial in trials}

    def _judged(self, trial: FrozenTrial) -> FrozenTrial:
        """A trial as it was, if it is this user's; else one that was lost."""
        if trial._trial_id in self._mine | self._ended:
            return trial
        notes = trial.user_attrs
        if not trial.state.is_finished():
            begun = own_record(self._kind, notes.get(PROCESS))
            same = (begun.get("number"), begun.get("params")) == (trial.number, trial.params)
            if same or PROCESS not in notes:  # it has not said yet
                return trial
        elif own_record(self._kind, {**_result(trial), SIGNATURE: notes.get(RESULT)}):
            self._ended.add(trial._trial_id)
            return trial
        lost = copy.copy(trial)
        lost.state, lost.values, lost.intermediate_values = TrialState.FAIL, None, {}
        lost.params, lost.distributions, lost.system_attrs = {}, {}, {}
        lost.user_attrs = {ABANDONED: notes.get(ABANDONED) or OTHERS}
        lost.datetime_complete = trial.datetime_complete or datetime.datetime.now()
        return lost


def _result(trial: FrozenTrial) -> dict[str, Any]:
    """The signed part of a trial that has ended."""
    return {
        "number": trial.number,
        "params": trial.params,
        "state": trial.state.name,
        "values": trial.values if trial.state is TrialState.COMPLETE else None,
        "epochs": {str(step): value for step, value in trial.intermediate_values.items()},
        REASON: trial.user_attrs.get(REASON),
    }

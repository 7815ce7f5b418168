"""A study that anybody may have written: a search reads what one writes, and counts what this user signed."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
import pytest

from graphspec.files.owners import PATIENCE
from graphspec.tune import journal
from graphspec.tune.study import Study
from graphspec.tune.trial import TrialResult, _progress
from tests import one_in
from tests.killing import ended_owner
from tests.tune.test_tune import study, work

TRIALS = 3


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A study with trials that have ended, and one that runs."""
    found = study(tmp_path / "study.log", trials=TRIALS + 1)
    work(found, TRIALS)
    assert found.ask() is not None
    return tmp_path / "study.log"


def lines_of(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text().splitlines()]


def written(file: Path, lines: list[Any]) -> None:
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))


def counted(file: Path) -> list[int]:
    """The numbers of the trials that count once the search has gone on."""
    found = study(file, trials=TRIALS + 1)
    found.close_lost()
    work(found)
    found.importances()
    assert len(found.ranking()) <= TRIALS + 1
    return [trial.number for trial in found.finished()]


def better(lines: list[dict[str, Any]]) -> None:
    """The first result is another one."""
    next(line for line in lines if line["op_code"] == 6)["values"] = [1e9]


def drawn(lines: list[dict[str, Any]]) -> None:
    """The first trial had another value."""
    line = next(line for line in lines if line.get("param_name") == "width")
    line["param_value_internal"] = 17.0 if line["param_value_internal"] != 17 else 18.0


def reported(lines: list[dict[str, Any]]) -> None:
    """The first trial had another epoch."""
    place = next(index for index, line in enumerate(lines) if line["op_code"] == 6)
    lines.insert(place, {"op_code": 7, "worker_id": "x", "trial_id": 0, "step": 1, "intermediate_value": 1.0})


def added(lines: list[dict[str, Any]]) -> None:
    """The second trial again, as one more."""
    lines += [
        {**line, "trial_id": 4} if "trial_id" in line else line for line in lines if line.get("trial_id") == 1
    ]
    place = next(index for index, line in enumerate(lines[-5:], len(lines) - 5) if line.get("trial_id") == 4)
    lines.insert(place, next(line for line in lines if line["op_code"] == 4))


@pytest.mark.parametrize(
    ("forge", "left"), [(better, [1, 2]), (drawn, [1, 2]), (reported, [1, 2]), (added, [0, 1, 2])]
)
def test_a_forged_result_is_made_anew(
    file: Path, forge: Callable[[list[dict[str, Any]]], None], left: list[int]
) -> None:
    lines = lines_of(file)
    forge(lines)
    written(file, lines)
    found = study(file, trials=TRIALS + 1)
    assert [trial.number for trial in found.finished() if trial.state != "running"] == left
    assert found.others() == 1 and all((trial.value or 0) < 1e8 for trial in found.ranking())


def test_trials_of_another_user_or_machine_are_made_anew(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "another"))
    assert counted(file) == [4, 5, 6, 7]
    assert study(file, trials=TRIALS + 1).others() == 4


OTHERS: tuple[Any, ...] = (
    None,
    "x",
    [],
    {},
    -1,
    1e308,
    True,
    float("nan"),
    10**30,
    "\ud800",
    {"a": {"b": 1}},
)


def test_lines_of_any_kind_are_read(file: Path) -> None:
    """Each value of each kind of line is replaced by one of another kind, in turn."""
    lines = lines_of(file)
    first = {line["op_code"]: index for index, line in enumerate(lines)}
    places = [(index, key) for index in first.values() for key in lines[index]]
    for number, (index, key) in enumerate(places):
        wrong = [dict(line) for line in lines]
        wrong[index][key] = OTHERS[number % len(OTHERS)]
        written(file, wrong)
        assert len(counted(file)) <= TRIALS + 2, (index, key)


@pytest.mark.parametrize(
    "process",
    one_in(
        3, [{}, "text", None, {"owner": ended_owner()}, {"owner": "-1"}, {"owner": 1}, {"owner": "9" * 30}]
    ),
)
def test_a_process_of_any_kind_is_lost(file: Path, process: Any) -> None:
    """In a file, and in a database, whose trials are those of all who share it."""
    url = f"sqlite:///{file.parent}/study.db"
    shared = Study("x", url, study(file).config, "maximize", 1, 0)
    trial = shared.ask()
    assert trial is not None
    known = trial.user_attrs[journal.PROCESS]
    trial.set_user_attr(journal.PROCESS, {**known, **process} if process and process != "text" else process)
    assert shared.close_lost() == [0] and shared.finished() == []
    shared.close()
    lines = lines_of(file)
    for line in lines:
        if journal.PROCESS in line.get("user_attr", {}):
            line["user_attr"] = {journal.PROCESS: process}
    written(file, lines)
    assert counted(file) == [0, 1, 2, 4]


def test_a_trial_of_a_search_that_ended_before_the_trial_began_is_lost(file: Path) -> None:
    """It says from the first line on who created it, and nothing says later who runs it."""
    ended = ended_owner()
    lines = [line for line in lines_of(file) if journal.PROCESS not in line.get("user_attr", {})]
    created = [line for line in lines if line["op_code"] == 4]
    assert study(file, trials=TRIALS + 1).close_lost() == [], "this process lives"
    created[-1]["user_attrs"] = {journal.BEGUN: ended}
    written(file, lines)
    assert counted(file) == [0, 1, 2, 4]


def test_a_trial_of_another_machine_is_lost_when_it_has_long_been_silent(tmp_path: Path) -> None:
    """Also where that has the same name, and a process of the same number has ended here."""
    shared = Study("x", f"sqlite:///{tmp_path}/study.db", study(tmp_path / "a.log").config, "maximize", 1, 0)
    trial = shared.ask()
    assert trial is not None
    process, started, place, _ = ended_owner().split("-")
    trial.set_user_attr(journal.PROCESS, {"owner": f"{process}-{started}-{'0' * len(place)}-0"})
    assert shared.close_lost() == [] and shared.close_lost(lambda number: PATIENCE / 2) == []
    assert shared.close_lost(lambda number: 2 * PATIENCE) == [0]
    shared.close()


def test_trials_of_another_search_in_a_database_are_lost(file: Path) -> None:
    url = f"sqlite:///{file.parent}/study.db"
    theirs = optuna.create_study(study_name="x", storage=url, direction="maximize")
    theirs.optimize(lambda trial: trial.suggest_float("momentum", 0, 1), n_trials=2)
    shared = Study("x", url, study(file).config, "maximize", 1, 0)
    assert shared.finished() == [] and len(work(shared, 1)) == 1
    assert [trial.number for trial in shared.finished()] == [2]
    shared.close()


@pytest.mark.parametrize(
    "left", [b'{"op_code": 6, "tri', b"\xff\xfe\n", b"[" * 100_000 + b"\n", b"9" * 3_000_000 + b"\n"]
)
def test_what_a_killed_process_left_of_a_line_is_passed_over(file: Path, left: bytes) -> None:
    with file.open("ab") as stream:
        stream.write(left)
    found = study(file, trials=TRIALS + 2)
    assert len(work(found, 1)) == 1
    assert [trial.number for trial in study(file, trials=TRIALS + 2).finished()] == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(
    ("line", "epoch"),
    [
        ('{"event": "epoch", "epoch": 2, "values": {"a": 1.5, "b": null, "c": [1]}}', 2),
        ('{"event": "epoch", "epoch": 1}', 1),
        ('{"event": "epoch"}', None),
        ('{"event": "epoch", "epoch": "x"}', None),
        ('{"event": "epoch", "epoch": 1, "values": 3}', None),
        ('{"event": "end", "epoch": 1}', None),
        ("[" * 100_000, None),
        ('"epoch"', None),
    ],
)
def test_what_custom_code_prints_is_no_epoch(line: str, epoch: int | None) -> None:
    found = _progress(7, line)
    assert (found and found.epoch) == epoch


def test_what_custom_code_prints_is_no_result() -> None:
    assert TrialResult.read('{"metrics": {"loss": 1}, "ok": true}').metrics == {"loss": 1}
    for text in ("", "{", "[]", '{"metrics": 3}', '{"diagnostics": [{}]}', "[" * 100_000):
        assert TrialResult.read(text) == TrialResult()

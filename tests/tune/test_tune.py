"""Hyperparameter search: what `tune:` says, the study, and what becomes of trials that end in every way."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

import graphspec
from graphspec.cli.app import app
from graphspec.diagnostics import SpecError
from graphspec.objectives import SettingError
from graphspec.tune.config import TuneConfig, parse_tune
from graphspec.tune.launcher import Launcher
from graphspec.tune.search import Search
from graphspec.tune.study import Finished, Study
from graphspec.tune.trial import Command
from tests import ROOT
from tests.processes import Process, Shared

SPACE = {
    "width": {"int": [16, 256], "log": True},
    "depth": {"choice": [2, 4, [8, 1]]},
    "rate": {"float": [1e-5, 0.1], "log": True},
}

# --- settings


def problems(value: Any) -> list[tuple[str, str, Any]]:
    with pytest.raises(SettingError) as caught:
        parse_tune(value)
    return [(p.code, f"{p.message} {p.help or ''}", p.path) for p in caught.value.problems]


def test_a_search_has_defaults() -> None:
    config = parse_tune({"search": SPACE})
    assert (config.objective, config.sampler, config.pruner) == ("val_loss", "tpe", "median")
    assert config.search["width"].samples == (16, 256)
    assert config.search["depth"].samples == (2, 4, [8, 1])


MISTAKES: list[tuple[Any, str, str, tuple[str, ...]]] = [
    ({"int": [9, 2]}, "out-of-range", "smaller number comes first", ()),
    ({"int": [0, 2], "log": True}, "out-of-range", "above 0", ()),
    ({"int": [1, 9], "log": True, "step": 2}, "out-of-range", "exclude each other", ()),
    ({"float": [1]}, "wrong-type", "a list of", ("float",)),
    ({"float": ["1e-5", 1]}, "wrong-type", "a number is written without quotes", ("float", "0")),
    ({"int": [1, 2.5]}, "wrong-type", "an integer", ("int", "1")),
    ({"choice": []}, "wrong-type", "at least 1", ("choice",)),
    ({"choice": [1, 2, 1]}, "out-of-range", "lists 1 twice", ()),
    ({"int": [1, 2], "choice": [1]}, "two-forms", "of one kind", ("choice",)),
    ({"int": [1, 9], "stp": 2}, "unknown-key", "did you mean `step`?", ("stp",)),
    ({"uniform": [0, 1]}, "unknown-key", "did you mean `float`?", ("uniform",)),
    ({}, "no-form", "which values to try", ()),
    ([1, 2], "wrong-type", "{choice: [1, 2]}", ()),
    (3, "wrong-type", "are a mapping", ()),
]


@pytest.mark.parametrize(("value", "code", "words", "path"), MISTAKES)
def test_mistakes_in_a_range(value: Any, code: str, words: str, path: tuple[str, ...]) -> None:
    ((found, text, where),) = problems({"search": {"width": value}})
    assert found == code and words in text
    assert tuple(map(str, where)) == ("search", "width", *path)


def test_all_mistakes_are_told_at_once() -> None:
    found = problems({"trails": 3, "sampler": "tpo", "search": {"a": 1, "b": {"int": [2, 1]}}})
    assert {code for code, _, _ in found} == {"unknown-key", "out-of-range", "wrong-type"} and len(found) == 4


def test_a_grid_needs_steps() -> None:
    ((code, text, where),) = problems({"sampler": "grid", "search": {"rate": SPACE["rate"]}})
    assert code == "out-of-range" and "`step`" in text and where == ("search", "rate")


@pytest.mark.parametrize("value", [None, 3, [], {}, {"search": {}}, {"search": 3}])
def test_a_search_names_what_varies(value: Any) -> None:
    assert problems(value)


# --- the study


def config(**given: Any) -> TuneConfig:
    return parse_tune({"objective": "val_accuracy", "trials": 12, "search": SPACE, **given})


def study(path: Path, seed: int = 7, **given: Any) -> Study:
    return Study("x", str(path), config(**given), "maximize", 3, seed)


def score(values: dict[str, Any]) -> float:
    return -abs(float(values["width"]) - 60)


def work(study: Study, most: int = 1000) -> list[dict[str, Any]]:
    """Runs trials as long as there are some, in no time: what each tried."""
    tried: list[dict[str, Any]] = []
    while len(tried) < most and (trial := study.ask()) is not None:
        values = study.values(trial)
        tried.append(values)
        if any(study.report(trial, epoch, score(values) - 3 + epoch) for epoch in range(1, 4)):
            study.prune(trial)
        else:
            study.complete(trial, score(values))
    return tried


@pytest.mark.parametrize("sampler", ["tpe", "random"])
def test_the_same_seed_gives_the_same_trials(tmp_path: Path, sampler: str) -> None:
    first = work(study(tmp_path / "a.log", sampler=sampler))
    assert first == work(study(tmp_path / "b.log", sampler=sampler)) and len(first) == 12
    assert first != work(study(tmp_path / "c.log", sampler=sampler, seed=8))


def test_a_study_that_is_opened_again_goes_on_with_the_same_trials(tmp_path: Path) -> None:
    whole = work(study(tmp_path / "a.log"))
    parts = [values for _ in range(4) for values in work(study(tmp_path / "b.log"), 3)]
    assert parts == whole and work(study(tmp_path / "b.log")) == []
    assert len(work(study(tmp_path / "b.log", trials=15))) == 3


def test_a_grid_is_tried_once_and_whole(tmp_path: Path) -> None:
    space: dict[str, Any] = {"width": {"int": [16, 64], "step": 16}, "depth": {"choice": [2, [8, 1]]}}
    space["rate"] = {"float": [0.1, 0.7], "step": 0.2}  # 0.1 + 3 * 0.2 rounds to more than 0.7
    tried = work(study(tmp_path / "a.log", sampler="grid", search=space, trials=100))
    rates = (0.1, 0.3, 0.5, 0.7)
    wanted = [
        {"width": w, "depth": d, "rate": r} for w in (16, 32, 48, 64) for d in (2, [8, 1]) for r in rates
    ]
    assert sorted(tried, key=str) == sorted(wanted, key=str)


def test_a_range_ends_where_its_steps_do(tmp_path: Path) -> None:
    """The spec need not accept what no step reaches, and Optuna has nothing to warn of."""
    space: dict[str, Any] = {
        "width": {"int": [16, 60], "step": 16},
        "rate": {"float": [0.1, 0.6], "step": 0.2},
    }
    assert [config(search=space).search[key].samples for key in space] == [(16, 48), (0.1, 0.5)]
    tried = work(study(tmp_path / "a.log", search=space, trials=100))
    assert sorted((each["width"], round(each["rate"], 9)) for each in tried) == [
        (width, rate) for width in (16, 32, 48) for rate in (0.1, 0.3, 0.5)
    ]


@pytest.mark.parametrize(("sampler", "pruner"), [("tpe", "median"), ("random", "hyperband")])
def test_no_combination_is_tried_twice(tmp_path: Path, sampler: str, pruner: str) -> None:
    """One that a lost trial had is tried again."""
    space = {"width": {"int": [58, 61]}, "depth": {"choice": [2, [8, 1]]}}
    given: dict[str, Any] = {"sampler": sampler, "pruner": pruner, "search": space, "trials": 100}
    searching = study(tmp_path / "a.log", **given)
    lost = searching.ask()
    assert lost is not None
    searching.give_up(lost)
    tried = work(searching)
    wanted = [{"width": w, "depth": d} for w in (58, 59, 60, 61) for d in (2, [8, 1])]
    assert sorted(tried, key=str) == sorted(wanted, key=str)
    assert work(study(tmp_path / "a.log", **given)) == []


def test_trials_are_ranked_by_the_direction(tmp_path: Path) -> None:
    found = study(tmp_path / "a.log", pruner="none")
    work(found)
    values = [trial.value for trial in found.ranking() if trial.value is not None]
    assert values == sorted(values, reverse=True) and len(values) == 12
    assert (
        found.ranking()[0].params["width"]
        == max(found.finished(), key=lambda t: t.value or 0).params["width"]
    )


def test_pruned_and_failed_trials_count_and_are_not_ranked(tmp_path: Path) -> None:
    found = study(tmp_path / "a.log", trials=2)
    first, second = found.ask(), found.ask()
    assert first is not None and second is not None
    found.report(first, 1, -3.0)
    found.prune(first)
    found.fail(second, "shapes-differ: no")
    assert [(t.state, t.value, t.reason) for t in found.finished()] == [
        ("pruned", -3.0, None),
        ("failed", None, "shapes-differ: no"),
    ]
    assert found.ranking() == [] and found.ask() is None


def test_the_median_pruner_spares_the_first_tenth_of_the_epochs(tmp_path: Path) -> None:
    found = Study("x", str(tmp_path / "a.log"), config(pruner="median"), "maximize", 30, 0)
    for value in range(5):
        trial = found.ask()
        assert trial is not None
        stopped = [found.report(trial, epoch, float(value)) for epoch in range(1, 31)]
        assert not any(stopped), "there is no median yet"
        found.complete(trial, float(value))
    hopeless, fine = found.ask(), found.ask()
    assert hopeless is not None and fine is not None
    assert [found.report(hopeless, epoch, 1.0) for epoch in (1, 2, 3)] == [False, False, True]
    assert not any(found.report(fine, epoch, 3.0) for epoch in range(1, 31))


@contextmanager
def elsewhere(name: str, path: Path) -> Iterator[Process]:
    """A process that calls a function of this file."""
    code = "import sys, pathlib; from tests.tune import test_tune\n"
    code += "getattr(test_tune, sys.argv[1])(pathlib.Path(sys.argv[2]))"
    process = Process(["-c", code, name, str(path)], {"PYTHONPATH": str(ROOT)})
    with process.stdout, process.stderr:
        yield process


def ask_and_die(path: Path) -> None:
    study(path).ask()


def test_trials_of_a_process_that_died_are_closed_and_made_up_for(tmp_path: Path) -> None:
    path = tmp_path / "a.log"
    with elsewhere("ask_and_die", path) as process:
        process.wait()
    found = study(path)
    alive = found.ask()
    assert found.close_lost() == [0], "the other one belongs to a process that lives"
    assert alive is not None
    found.complete(alive, score(found.values(alive)))
    assert len(work(found)) == 11 and len(found.finished()) == 12


def test_another_search_is_not_mixed_into_a_study(tmp_path: Path) -> None:
    work(study(tmp_path / "a.log"), 1)
    with pytest.raises(SpecError, match="begun with another search"):
        study(tmp_path / "a.log", search={"width": {"int": [1, 2]}})
    with pytest.raises(SpecError, match="begun with another search"):
        study(tmp_path / "a.log", objective="val_loss")


@pytest.mark.parametrize("storage", ["no/such/folder/a.log", "postgresql://127.0.0.1:1/x", "nonsense://x"])
def test_a_storage_that_cannot_be_opened_is_a_diagnostic(tmp_path: Path, storage: str) -> None:
    with pytest.raises(SpecError) as caught:
        Study("x", storage if "://" in storage else str(tmp_path / storage), config(), "maximize", 1, 0)
    assert [d.code for d in caught.value.diagnostics] == ["tune-storage"]


def test_keys_that_matter_are_told(tmp_path: Path) -> None:
    found = study(tmp_path / "a.log", pruner="none", sampler="random", trials=20)
    assert found.importances() == {}
    work(found)
    importances = found.importances()
    assert importances.keys() == SPACE.keys() and max(importances, key=lambda k: importances[k]) == "width"


# --- trials as processes

TRAINER = """
import json, signal, sys, time
values = dict(pair.split("=", 1) for flag, pair in zip(sys.argv, sys.argv[1:]) if flag == "--set")
folder = sys.argv[sys.argv.index("--run-dir") + 1]
width, ways = int(values["width"]), json.loads(values["depth"])
from pathlib import Path
Path(folder).mkdir(parents=True)
Path(folder, "last.safetensors").write_text("weights")
Path(folder, "spec.yaml").write_text("spec")
Path(folder, "environment.json").write_text("{}")
signal.signal(signal.SIGTERM, lambda *a: sys.exit(143))
if ways == "refused":
    print(json.dumps({"ok": False, "diagnostics": [{"code": "shapes-differ", "message": "no"}]}))
    sys.exit(1)
if ways == "killed":
    import os
    os.kill(os.getpid(), signal.SIGKILL)
for epoch in range(1, 4):
    value = None if ways == "nan" else -abs(width - 60) * 3 / epoch
    event = {"event": "epoch", "epoch": epoch, "values": {"val_accuracy": value}}
    print(json.dumps(event), file=sys.stderr, flush=True)
    time.sleep(0.02 if ways != "slow" else 0.2)
print(json.dumps({"metrics": {"val_accuracy": value}}))
"""


class Scripted(Command):
    """Trials that report as `graphspec train` does, at once, from interpreters that start in no time."""

    def arguments(self, values: Mapping[str, Any], run_dir: Path) -> list[str]:
        return [str(self.spec), *super().arguments(values, run_dir)[4:]]

    def launcher(self) -> Launcher:
        return Launcher(self.cores)


def search_in(place: Path, jobs: int = 1, **given: Any) -> Search:
    (place / "trainer.py").write_text(TRAINER)
    return Search(
        study(place / "study.log", **given), Scripted(place / "trainer.py", (), 1), place / "trials", jobs
    )


def run_it(search: Search) -> dict[int, Finished]:
    search.run(lambda: False)
    return {trial.number: trial for trial in search.study.finished()}


def test_trials_that_fail_in_every_way_are_recorded_and_end_nothing(tmp_path: Path) -> None:
    space = {"width": {"choice": [60]}, "depth": {"choice": ["well", "refused", "killed", "nan"]}}
    found = run_it(search_in(tmp_path, jobs=2, sampler="grid", search=space, pruner="none"))
    by_way = {trial.params["depth"]: trial for trial in found.values()}
    assert by_way["well"].state == "complete" and by_way["well"].value == 0
    assert by_way["refused"].reason == "shapes-differ: no"
    assert "SIGKILL" in str(by_way["killed"].reason) and "memory" in str(by_way["killed"].reason)
    assert by_way["nan"].state == "failed" and "came to None" in str(by_way["nan"].reason)


def test_a_search_whose_first_trials_fail_alike_stops_and_goes_on_once_that_is_mended(tmp_path: Path) -> None:
    space = {"width": {"int": [10, 250]}, "depth": {"choice": ["refused"]}}
    search = search_in(tmp_path, sampler="random", search=space, trials=8, pruner="none")
    assert len(run_it(search)) == 3 and search.common_failure == "shapes-differ: no"
    mended = search_in(tmp_path, sampler="random", search=space, trials=8, pruner="none")
    (tmp_path / "trainer.py").write_text(TRAINER.replace('== "refused"', '== "no more"'))
    found = run_it(mended)
    assert [trial.state for trial in found.values()].count("complete") == 5 and mended.common_failure is None


@pytest.mark.parity
def test_hopeless_trials_are_stopped_early_and_only_the_best_keep_their_weights(tmp_path: Path) -> None:
    space = {"width": {"int": [10, 250]}, "depth": {"choice": ["slow"]}}
    search = search_in(tmp_path, sampler="random", search=space, trials=8, pruner="median")
    found = run_it(search)  # one after another: each is compared with trials that are complete as it begins
    states = [trial.state for trial in found.values()]
    assert len(states) == 8 and "pruned" in states and set(states) <= {"complete", "pruned"}
    assert all(trial.epochs < 3 for trial in found.values() if trial.state == "pruned")
    best = search.study.ranking()[0].number
    kept = [path.parent.name for path in tmp_path.glob("trials/*/last.safetensors")]
    assert kept == [f"{best:04d}"]


def a_search(place: Path) -> None:
    space = {"width": {"int": [10, 250]}, "depth": {"choice": ["slow"]}}
    run_it(search_in(place, sampler="random", search=space, trials=4, pruner="none"))


def test_a_search_that_is_killed_and_continued_loses_no_finished_trial(tmp_path: Path) -> None:
    """While the first trial runs, and the third; the study's file is read as it was left."""
    space = {"width": {"int": [10, 250]}, "depth": {"choice": ["slow"]}}
    finished: dict[int, Finished] = {}
    for trials in (1, 3):
        with elsewhere("a_search", tmp_path) as process:
            while len([*tmp_path.glob("trials/*")]) < trials and process.poll() is None:
                time.sleep(0.02)
            process.kill()
            assert process.wait() == -signal.SIGKILL
        now = study(
            tmp_path / "study.log", sampler="random", search=space, trials=4, pruner="none"
        ).finished()
        complete = {trial.number: trial for trial in now if trial.state == "complete"}
        assert finished.items() <= complete.items()
        finished = complete
    found = run_it(search_in(tmp_path, sampler="random", search=space, trials=4, pruner="none"))
    assert finished.items() <= found.items()
    assert [trial.state for trial in found.values()] == ["complete"] * 4


# --- the whole

SPEC = """
params: {width: 4}
inputs: {x: {shape: [2]}}
nodes:
  hidden: {layer: Dense, units: $width, activation: relu}
  y:      {layer: Dense, units: 1}
outputs: {y: {loss: mse}}
data: {train: d.npz, validation: {split: 0.25}}
train: {epochs: 2}
tune:
  trials: 2
  search: {width: {choice: [3, 5]}}
"""


def test_the_command_searches_and_its_best_spec_trains_to_the_same_result(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(Path(graphspec.__file__).parent.parent))
    monkeypatch.setattr(Command, "launcher", lambda command: Shared())
    Path("s.yaml").write_text(SPEC)
    x = np.random.default_rng(0).normal(size=(40, 2)).astype("float32")
    np.savez("d.npz", x=x, y=x.sum(1))
    runner = CliRunner()
    first = runner.invoke(app, ["tune", "s.yaml", "--json", "--progress", "json"])
    found = json.loads(first.stdout)
    events = [json.loads(line) for line in first.stderr.splitlines() if line.startswith("{")]
    assert [e["number"] for e in events if e["event"] == "trial"] == [t["number"] for t in found["trials"]]
    assert {e["event"] for e in events} == {"trial", "epoch"} and found["ok"]
    assert [trial["state"] for trial in found["trials"]] == ["complete", "complete"]
    assert sorted(Path("runs/s-tune").glob("best*")) == [
        Path("runs/s-tune/best.safetensors"),
        Path("runs/s-tune/best.yaml"),
    ]
    again = runner.invoke(app, ["train", "runs/s-tune/best.yaml", "--run-dir", "again", "--json"])
    assert json.loads(again.stdout)["metrics"]["val_loss"] == pytest.approx(found["best"]["value"], rel=1e-5)
    assert json.loads(runner.invoke(app, ["tune", "s.yaml", "--json"]).stdout) == found


@pytest.mark.parametrize(
    ("line", "code", "words"),
    [
        ("widht: {choice: [3]}", "unknown-param", "did you mean `width`?"),
        ("train.epochs: {choice: [a]}", "wrong-type", "`train.epochs` cannot be"),
        ("nodes.hiden.units: {int: [1, 2]}", "unknown-key", "did you mean `hidden`?"),
        ("train.optimizer: {choice: [adamm]}", "unknown-optimizer", "did you mean `adam`?"),
        ("width: {int: [0, 0]}", "out-of-range", "`width` cannot be 0"),
    ],
)
def test_broken_searches_are_told_at_their_place(tmp_path: Path, line: str, code: str, words: str) -> None:
    spec = tmp_path / "s.yaml"
    spec.write_text(
        SPEC.replace("{width: {choice: [3, 5]}}", f"{{{line}}}").replace("data: {train: d.npz,", "data: {")
    )
    result = CliRunner().invoke(app, ["check", str(spec), "--json"])
    (found,) = json.loads(result.stdout)["files"][0]["diagnostics"]
    assert found["code"] == code and words in f"{found['message']} {found['help']}"
    assert found["line"] == 12 and found["column"] == 12


CHOICES = """
params: {width: 64, heads: 4, act: relu}
inputs: {x: {shape: [steps, 8]}}
nodes:
  wide: {layer: Dense, units: $width}
  cut: {layer: Reshape, target_shape: [-1, $heads, "$(width // heads if width % heads == 0 else -5)"]}
  y: {layer: Dense, units: 1, activation: $act}
outputs: {y: {loss: mse}}
train: {optimizer: adam}
tune:
  objective: loss
  search:
    act: {choice: [relu, reluu, tanhh, 3]}
    train.optimizer.learning_rate: {float: [-1, 1]}
    heads: {choice: [1, 7, 5000]}
    width: {int: [60, 70]}
"""


def test_every_value_that_is_never_legal_is_told(tmp_path: Path) -> None:
    """7 heads divide a width between the ends of its range."""
    (tmp_path / "s.yaml").write_text(CHOICES)
    result = CliRunner().invoke(app, ["check", str(tmp_path / "s.yaml"), "--json"])
    found = json.loads(result.stdout)["files"][0]["diagnostics"]
    lines = CHOICES.splitlines()
    places = [lines[each["line"] - 1][each["column"] - 1 : each["end_column"] - 1] for each in found]
    assert places == ["reluu", "tanhh", "3", "-1", "5000"]
    assert '`act` cannot be "reluu"' in found[0]["message"] and "`relu`" in found[0]["help"]


def test_a_spec_without_a_search_is_told(tmp_path: Path) -> None:
    spec = tmp_path / "s.yaml"
    spec.write_text(SPEC.partition("tune:")[0].replace("data: {train: d.npz,", "data: {"))
    result = CliRunner().invoke(app, ["tune", str(spec), "--json"])
    assert json.loads(result.stdout)["diagnostics"][0]["code"] == "nothing-to-tune"

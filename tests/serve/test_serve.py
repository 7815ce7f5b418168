"""Runs behind HTTP: answers are those of `predict`, each row has its own, and nothing harms the server."""

from __future__ import annotations

import asyncio
import gzip
import json
import math
import random
import re
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jsonschema
import numpy as np
import pyarrow as pa
import pytest

from graphspec.diagnostics import SpecError
from graphspec.runs.run import Run
from graphspec.serve.app import Server
from graphspec.serve.batches import QUICK, Batcher
from graphspec.serve.options import ServeOptions
from graphspec.serve.running import listen
from graphspec.serve.served import Served
from tests.processes import ENDLESS, Process
from tests.runs import everything
from tests.serve.serving import ask, expected, get, hostile, in_thread, rows, same

LIMITS = ServeOptions(max_bytes=200_000, max_rows=50, timeout=30)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return everything.train(tmp_path_factory.mktemp("serve"), everything.exported())


@pytest.fixture(scope="module")
def port(run: Run) -> Iterator[int]:
    """A server of the run under two names, the second of what it keeps for onnxruntime."""
    engines = {"first": "torch", "second": "onnxruntime"}
    server = Server({n: Served(n, run.path, ServeOptions([], engine=e)) for n, e in engines.items()}, LIMITS)
    with in_thread(server) as port:
        yield port


def test_the_answers_are_those_of_predict(run: Run, port: int) -> None:
    given = rows(1, 6)
    wanted = [expected(run, row) for row in given]
    assert same(ask(port, given[0])[1], wanted[0])
    for body, path in ((given, "/runs/second/predict"), ({"rows": given}, "/runs/first/predict")):
        status, found = ask(port, body, path)
        assert status == 200 and all(map(same, found["predictions"], wanted))


def test_rows_of_one_shape_have_each_its_own_answer(run: Run, port: int) -> None:
    base = {**rows(1, 1)[0], "amount": 1.0}
    given = [{**base, "amount": 10.0 * number} for number in range(1, 6)]
    wanted = [expected(run, row) for row in given]
    assert not same(wanted[0], wanted[-1])
    status, found = ask(port, given)
    assert status == 200 and all(map(same, found["predictions"], wanted))


def test_a_module_that_fails_is_no_fault_of_the_row(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    served = Served("run", run.path)
    answers, bad = served.answering.answers, rows(3, 2)[1]
    told = expected(run, rows(3, 2)[0])

    def failing(read: Any) -> Any:
        if len(read) > 1 or same(answers(read)[0], expected(run, bad)):
            raise RuntimeError("out of range")
        return answers(read)

    monkeypatch.setattr(served.answering, "answers", failing)
    with in_thread(Server({"run": served}, LIMITS)) as port:
        status, found = ask(port, rows(3, 2))
        assert status == 500 and found["predictions"][1] is None and same(found["predictions"][0], told)
        (mistake,) = found["diagnostics"]
        assert (mistake["row"], mistake["code"]) == (1, "run-failed") and "out of range" in mistake["message"]
        assert ask(port, bad)[0] == 500 and ask(port, rows(3, 2)[0])[0] == 200


def test_a_key_that_a_row_lacks_is_a_missing_value(run: Run, port: int) -> None:
    row = rows(2, 1)[0]
    del row["amount"], row["id"]
    status, found = ask(port, row)
    assert status == 200 and same(found, expected(run, {**row, "amount": None, "id": None}))
    misspelt = {**row, "amuont": 1.0}
    status, found = ask(port, misspelt)
    assert status == 422 and "did you mean" in found["diagnostics"][0]["help"]


def test_good_rows_are_answered_beside_bad_ones(run: Run, port: int) -> None:
    given: list[Any] = rows(3, 4)
    given[1] = {**given[1], "day": "30 March"}
    given[3] = "no row"
    status, found = ask(port, given)
    assert status == 422
    assert [answer is None for answer in found["predictions"]] == [False, True, False, True]
    assert same(found["predictions"][2], expected(run, given[2]))
    day, none = found["diagnostics"]
    assert (day["row"], day["code"], none["row"], none["code"]) == (1, "data-dtype", 3, "data-format")
    assert "row 1, counting from 0" in day["message"] and "30 March" in day["message"]


WRONG: dict[str, tuple[dict[str, Any], str, dict[str, Any]]] = {
    "again": ({"tries": None}, "give a value", {"tries": 3}),
    "number": ({"tries": "three"}, "give a number, as 12.5", {"tries": "12.5"}),
    "range": ({"amount": -7}, "give such a number", {"amount": 7}),
    "date": ({"day": "30 March"}, "write it as 2024-12-31T23:59:58", {"day": "2024-12-31T23:59:58"}),
    "format": ({"when": "2024-12-31"}, "write it as 31.12.2024 23:59", {"when": "31.12.2024 23:59"}),
    "list": ({"sounds": "do re"}, "give a list", {"sounds": ["do", "re"]}),
    "empty": ({"sounds": []}, "give what is not empty", {"sounds": ["do"]}),
    "texts": ({"moods": "calm"}, "give a list of texts", {"moods": ["calm"]}),
    "single": ({"region": ["north"]}, "give a single value", {"region": "north"}),
    "text": ({"title": ["a", "house"]}, "give a text", {"title": "a house"}),
    "length": ({"curve": [1.0, 2.0]}, "give 3 elements", {"curve": [1.0, 2.0, 3.0]}),
    "infinite": ({"size": 1e999}, "give a finite number", {"size": 1.5}),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_a_remedy_is_for_who_sends_rows(run: Run, port: int, wrong: str) -> None:
    """It works, and changes no spec, of which the client knows nothing. `predict` of a file says the same."""
    changed, remedy, right = WRONG[wrong]
    (row,) = rows(7, 1)
    status, found = ask(port, {**row, **changed})
    assert status == 422 and {each["help"] for each in found["diagnostics"]} == {remedy}
    with pytest.raises(SpecError) as error:
        run.predict(pa.Table.from_pylist([{**row, **changed}]))
    assert {each.help for each in error.value.diagnostics} == {remedy}
    assert ask(port, {**row, **right})[0] == 200


@pytest.mark.parametrize("value", [True, [True, False], [1.5, True]])
@pytest.mark.parametrize("path", ["/runs/first/predict", "/runs/second/predict"])
def test_true_is_no_number(run: Run, port: int, path: str, value: Any) -> None:
    """Of a column whose training rows have other ones than 0 and 1; a category is `true`."""
    (row,) = rows(7, 1)
    name = "plain" if isinstance(value, list) else "plain_0"
    kept = {key: cell for key, cell in row.items() if name == "plain_0" or not key.startswith("plain_")}
    status, found = ask(port, {**kept, name: value}, path)
    assert status == 422 and found["diagnostics"][0]["code"] == "data-dtype"
    status, found = ask(port, {**row, "amount": True}, path)
    assert status == 422 and "is not a number" in found["diagnostics"][0]["message"]


def test_names_of_a_row_are_those_of_a_file(run: Run, port: int) -> None:
    """The header of a file has no blanks around names; what reads it may keep them, as pandas does."""
    (row,) = rows(7, 1)
    blank = {f" {name} ": value for name, value in row.items()}
    assert same(ask(port, blank)[1], ask(port, row)[1])


def test_a_compressed_body_is_named(run: Run, port: int) -> None:
    (row,) = rows(7, 1)
    status, found = ask(port, gzip.compress(json.dumps(row).encode()), **{"Content-Encoding": "gzip"})
    assert status == 415 and "encoded as `gzip`" in found["diagnostics"][0]["message"]
    assert ask(port, row, **{"Content-Encoding": "identity"})[0] == 200


def test_hostile_bodies_are_harmless(run: Run, port: int) -> None:
    good, (row,) = 0, rows(4, 1)
    for seed in range(200):
        status, found = ask(port, hostile(seed), "/runs/second/predict" if seed % 2 else "/predict")
        assert status in (200, 400, 413, 422), (seed, found)
        good += status == 200
        if status != 200:
            assert found["diagnostics"][0]["code"] in ("usage", "data-format") or status == 422, seed
    assert good < 60
    assert same(ask(port, row)[1], expected(run, row))


def test_requests_have_limits(port: int) -> None:
    assert ask(port, b" " * 300_000)[0] == 413
    assert ask(port, rows(5, 51))[0] == 413
    assert ask(port, {}, kind="text/plain")[0] == 415
    assert ask(port, b"picture", kind="image/png")[0] == 415
    assert ask(port, {}, "/runs/third/predict")[0] == 404
    assert ask(port, {}, Host="evil.example")[0] == 400
    assert ask(port, rows(5, 1)[0], Host="LOCALHOST")[0] == 200
    assert ask(port, {}, "/runs//predict")[0] == 404
    assert "half of a character" in str(ask(port, b'{"\\ud800": 1}')[1])
    for name in ("first", "second"):
        for half in (b'{"\xed\xa0\x80": 1}', '{"\ud800": 1}'.encode("utf-16-le", "surrogatepass")):
            status, found = ask(port, half, f"/runs/{name}/predict")
            assert status == 400 and "is not text in UTF-8" in str(found)
    assert get(port, "/predict")[0] == 405 and ask(port, {}, "/health")[0] == 405
    assert get(port, "/ready/")[0] == 200 and get(port, "/runs/first/nothing")[0] == 404
    status, found = ask(port, {}, kind="application/x-www-form-urlencoded")  # as curl sends it
    assert status == 415 and "with the header `Content-Type: application/json`" in str(found)
    (told,) = ask(port, b"plain_0,amount\n1,2\n", kind="text/csv")[1]["diagnostics"]
    assert told["message"] == "the body is `text/csv`" and "`graphspec predict RUN --data" in told["help"]


@pytest.mark.parametrize(
    ("body", "path", "told"),
    [
        (b"{'plain_0': 1}", "/predict", "have double quotes"),
        (b"", "/predict", "send rows"),
        (b"3", "/predict", "or a list of these"),
        (b'{"instances": [{"plain_0": 1}]}', "/predict", 'send {"rows": [...]}'),
        (b"{}", "/predictions", "did you mean `/predict`?"),
        (b"{}", "/", "send rows to `/predict` with POST"),
    ],
)
def test_a_body_of_another_form_is_told_its_own(port: int, body: bytes, path: str, told: str) -> None:
    (mistake,) = ask(port, body, path)[1]["diagnostics"]
    assert told in mistake["help"]


def test_a_host_without_an_address_is_told() -> None:
    for host in ("\u00e9" * 80, "a\0b"):
        with pytest.raises(OSError, match="not the name of a machine"):
            listen(host, 0)


def test_what_a_server_says_of_itself(run: Run, port: int) -> None:
    assert ask(port, rows(12, 1)[0])[0] == 200
    assert json.loads(get(port, "/health")[1])["ok"] and json.loads(get(port, "/ready")[1])["ok"]
    assert [each["name"] for each in json.loads(get(port, "/runs")[1])["runs"]] == ["first", "second"]
    status, page = get(port, "/")
    assert status == 200 and "openapi.json" in page and "//" not in page.replace("<!", "")
    assert 'graphspec_requests_total{run="first",status="200"}' in get(port, "/metrics")[1]


def test_metrics_tell_how_rows_differ_from_those_of_training(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("graphspec.serve.drift.A_ROW", 100)
    made = Server({"first": Served("first", run.path)}, LIMITS)
    found = made.runs["first"].reader.encoders
    assert found is not None
    region = found.encoders["kinds"].vocabularies[0].values[0]  # type: ignore[attr-defined]
    draw = random.Random(8)
    plain = [{**everything.row(draw), "region": region} for _ in range(4)]
    odd = [{**plain[0], "region": "nowhere"}, {**plain[1], "region": None}, {**plain[2], "plan": "?"}]
    far = [{**plain[0], "amount": 1e6, "day": "no day"}, {**plain[0], "amount": 1e6}]
    with in_thread(made) as port:
        assert ask(port, plain)[0] == 200
        assert ask(port, [*odd, *far])[0] == 422
        text = get(port, "/metrics")[1]
    for column, state, count in (
        ("region", "known", 6),
        ("region", "unseen", 1),
        ("region", "missing", 1),
        ("plan", "missing", 1),
        ("title", "known", 8),
        ("tries", "known", 8),
    ):
        line = f'graphspec_values_total{{run="first",column="{column}",state="{state}"}} {count}\n'
        assert line in text, line
    curve = found.encoders["facts"].curves[0]  # type: ignore[attr-defined]
    amounts = [row["amount"] for row in [*plain, *odd]] + [1e6]
    shift = np.mean([curve.of_one(value) for value in amounts])
    shown = re.search(r'graphspec_column_shift\{run="first",column="amount"\} (\S+)', text)
    assert shown is not None and float(shown[1]) == pytest.approx(shift)


def test_of_rows_with_many_columns_some_are_counted(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("graphspec.serve.drift.A_ROW", 4)
    counts = Served("first", run.path).drift
    for _ in range(20):
        counts.count(everything.row(random.Random(9)))
    columns = {column for column, _ in counts.values}
    every = math.ceil(len(columns) / 4)
    assert every > 1 and {*counts.values.values()} == {20 // every}


def test_openapi_describes_rows_and_answers(run: Run, port: int) -> None:
    found = json.loads(get(port, "/openapi.json")[1])
    assert {"/predict", "/runs/first/predict", "/runs/second/predict", "/health"} <= found["paths"].keys()
    post = found["paths"]["/predict"]["post"]
    schema = post["requestBody"]["content"]["application/json"]["schema"]["anyOf"][0]
    assert schema["properties"].keys() >= {"amount", "region", "day", "moods", "title", "plain", "id"}
    row = everything.row(random.Random(6))
    row["plain"] = [row.pop("plain_0"), row.pop("plain_1")]
    jsonschema.validate(row, schema)
    for wrong in (
        {**row, "amount": "x"},
        {**row, "curve": [1.0]},
        {k: v for k, v in row.items() if k != "when"},
    ):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(wrong, schema)
    answer = post["responses"]["200"]["content"]["application/json"]["schema"]["anyOf"][0]
    jsonschema.validate(ask(port, row)[1], answer)


def test_nothing_is_lost_while_a_run_is_read_again(run: Run, port: int) -> None:
    given = rows(7, 4)
    wanted = [expected(run, row) for row in given]
    with ThreadPoolExecutor(8) as pool:
        answers = [pool.submit(ask, port, given[i % 4]) for i in range(60)]
        assert ask(port, b"", "/runs/first/reload") == (200, {"reloaded": "first"})
        answers += [pool.submit(ask, port, given[i % 4]) for i in range(60)]
        for index, answer in enumerate(answers):
            status, found = answer.result()
            assert status == 200 and same(found, wanted[index % 4])


@pytest.mark.parametrize(
    ("header", "value"),
    [
        *[("Origin", value) for value in ("https://evil.example", "null", "http://127.0.0.1:1")],
        *[("Sec-Fetch-Site", value) for value in ("cross-site", "same-site")],
        *[("Forwarded", "for=127.0.0.1"), ("Via", "1.1 door"), ("X-Real-IP", "127.0.0.1")],
        *[(f"X-Forwarded-{name}", "127.0.0.1") for name in ("For", "Host", "Proto", "Prefix")],
    ],
)
def test_neither_pages_nor_proxies_have_a_run_read_again(port: int, header: str, value: str) -> None:
    """A page of any site can send a POST without asking first, if it is declared as text."""
    status, found = ask(port, b"", "/reload", "text/plain", **{header: value})
    assert status == 403 and "only from the server's own machine" in str(found)


def test_a_run_that_cannot_be_read_again_stays(tmp_path: Path, run: Run) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    for file in run.path.iterdir():
        if file.is_file():
            (folder / file.name).write_bytes(file.read_bytes())
    server = Server({"a": Served("a", folder)}, LIMITS)
    before = server.runs["a"]
    (folder / "best.safetensors").write_bytes(b"damaged")
    mistakes = asyncio.run(server.read_again("a"))
    assert mistakes and server.runs["a"] is before
    assert isinstance(before.predict([(0, rows(8, 1)[0])])[0], dict)
    server.batcher.close()


@dataclass(eq=False)
class Tenfold:
    """A worker that waits until it may answer, and keeps the sizes of batches and the threads."""

    begun: threading.Event = field(default_factory=threading.Event)
    release: threading.Event = field(default_factory=threading.Event)
    sizes: list[int] = field(default_factory=list)
    threads: set[str] = field(default_factory=set)
    seconds: float = math.inf

    def predict(self, rows: list[Any]) -> list[Any]:
        self.sizes.append(len(rows))
        self.threads.add(threading.current_thread().name)
        self.begun.set()
        self.release.wait()
        return [value * 10 for value in rows]


def test_what_waits_is_computed_together() -> None:
    """While one request is computed others wait, and then go together, at most so many rows at a time."""
    batcher, worker = Batcher(8, 0.0), Tenfold()

    async def all_of_them() -> list[list[Any]]:
        tasks = [asyncio.create_task(batcher.compute(worker, [0]))]
        await asyncio.to_thread(worker.begun.wait)
        tasks += [asyncio.create_task(batcher.compute(worker, [n, n])) for n in range(1, 6)]
        gone = asyncio.create_task(batcher.compute(worker, [9]))
        await asyncio.sleep(0)
        gone.cancel()
        worker.release.set()
        return await asyncio.gather(*tasks)

    assert asyncio.run(all_of_them()) == [[0], *([n * 10, n * 10] for n in range(1, 6))]
    assert worker.sizes == [1, 8, 2]
    batcher.close()


def test_rows_of_each_run_are_computed_by_it() -> None:
    batcher, worker, other = Batcher(8, 0.0), Tenfold(), Tenfold()

    async def all_of_them() -> list[list[Any]]:
        tasks = [asyncio.create_task(batcher.compute(worker, [0]))]
        await asyncio.to_thread(worker.begun.wait)
        asked = [(worker, [1]), (other, [2, 2]), (worker, [3, 3, 3])]
        tasks += [asyncio.create_task(batcher.compute(each, rows)) for each, rows in asked]
        await asyncio.sleep(0)
        for each in (worker, other):
            each.release.set()
        return await asyncio.gather(*tasks)

    assert asyncio.run(all_of_them()) == [[0], [10], [20, 20], [30, 30, 30]]
    assert (worker.sizes, other.sizes) == ([1, 4], [2])
    batcher.close()


def test_what_takes_no_time_is_computed_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """In the loop, and still together with what came with it; what may take long has a thread."""
    batcher, worker, other = Batcher(8, 0.0), Tenfold(), Tenfold()
    for each in (worker, other):
        each.release.set()
    monkeypatch.setattr("graphspec.serve.batches.QUICK", 60.0)

    async def asked() -> list[list[Any]]:
        first = await batcher.compute(worker, [1], light=True)
        assert worker.threads != {threading.current_thread().name}
        worker.threads.clear()
        asked = [(worker, [2]), (other, [3]), (worker, [4, 5])]
        found = await asyncio.gather(*(batcher.compute(w, rows, light=True) for w, rows in asked))
        assert worker.threads == {threading.current_thread().name} != other.threads
        await batcher.compute(worker, [6])
        assert len(worker.threads) == 2
        return [first, *found]

    assert asyncio.run(asked()) == [[10], [20], [30], [40, 50]]
    assert worker.sizes == [1, 3, 1] and other.sizes == [1]
    batcher.close()


def test_quick_rows_do_not_bring_slow_ones_into_the_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither rows that are not answered nor short ones say that the next takes no time; many short do."""
    clock, in_loop, batcher = [0.0], list[bool](), Batcher(8, 0.0)
    now = dict.fromkeys(("perf_counter", "monotonic"), lambda: clock[0])
    monkeypatch.setattr("graphspec.serve.batches.time", SimpleNamespace(**now))

    class Clocked:
        """Rows are the seconds that they take; negative ones are refused."""

        seconds = math.inf

        def predict(self, rows: list[Any]) -> list[Any]:
            in_loop.append(threading.current_thread() is threading.main_thread())
            clock[0] += abs(rows[0])
            return [[] if seconds < 0 else seconds for seconds in rows]

    worker = Clocked()

    async def asked(*rows: float) -> list[bool]:
        in_loop.clear()
        for row in rows:
            await batcher.compute(worker, [row], light=True)
        return in_loop.copy()

    assert asyncio.run(asked(-0.002, -0.001, 1.0, -0.001, *[0.001] * 9, 1.0)) == [False] * 14
    assert asyncio.run(asked(*[0.001] * 60))[-1]
    batcher.close()


def test_a_request_that_is_alone_is_computed_before_others_have_their_turn(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Not one beside others, which go together, nor one that may wait, nor the one after a slow one."""
    clock, took = [0.0], 0.001
    now = dict.fromkeys(("perf_counter", "monotonic"), lambda: clock[0])
    monkeypatch.setattr("graphspec.serve.batches.time", SimpleNamespace(**now))
    batcher, waiting = Batcher(8, 0.0), Batcher(8, 0.001)

    class Ticking:
        seconds = math.inf

        def predict(self, rows: list[Any]) -> list[Any]:
            clock[0] += took
            return rows

    worker = Ticking()

    async def turns(batcher: Batcher, *rows: int, light: bool = True) -> int:
        """How often others have had their turn before all of these rows are answered."""
        count, asked = 0, asyncio.gather(*(batcher.compute(worker, [row], light) for row in rows))
        async with asyncio.timeout(ENDLESS):
            while not asked.done():
                await asyncio.sleep(0)
                count += 1
        assert await asked == [[row] for row in rows]
        return count

    async def all_of_them() -> None:
        nonlocal took
        batcher.open = waiting.open = {"this"}
        first = await turns(batcher, 1)
        at_once = await turns(batcher, 2)
        assert at_once == await turns(batcher, 3) < first
        assert await turns(batcher, 4, light=False) > at_once < await turns(waiting, 4)
        took = 1.0
        assert await turns(batcher, 5) == at_once and worker.seconds == QUICK
        took = 0.001
        assert await turns(batcher, 6) > at_once == await turns(batcher, 7)
        batcher.open, before = {"this", "other"}, batcher.batches
        assert await turns(batcher, 8, 9) > at_once and batcher.batches == before + 1

    asyncio.run(all_of_them())
    batcher.close()
    waiting.close()


def test_what_fails_among_others_fails_alone() -> None:
    class Brittle:
        seconds = math.inf

        def predict(self, rows: list[Any]) -> list[Any]:
            return [1 // row for row in rows]

    batcher, worker = Batcher(8, 0.0), Brittle()

    async def asked() -> list[Any]:
        calls = (batcher.compute(worker, [row]) for row in (1, 0, -1))
        return await asyncio.gather(*calls, return_exceptions=True)

    first, second, third = asyncio.run(asked())
    assert (first, third) == ([1], [-1]) and isinstance(second, ZeroDivisionError)
    batcher.close()


def test_an_error_reaches_those_who_asked() -> None:
    batcher = Batcher(8, 0.0)

    class Broken:
        seconds = math.inf

        def predict(self, rows: list[Any]) -> list[Any]:
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        asyncio.run(batcher.compute(Broken(), [1]))
    batcher.close()


def test_the_command(run: Run) -> None:
    """It begins with what the run keeps, and reads the spec for a row that needs it."""
    process = Process(["-m", "graphspec", "serve", str(run.path), "--port", "0", "--engine", "onnxruntime"])
    try:
        line = process.stdout.readline()
        assert line.startswith("serving run at http://127.0.0.1:"), process.stderr.read()
        row = rows(9, 1)[0]
        assert same(ask(int(line.rpartition(":")[2]), row)[1], expected(run, row))
        process.send_signal(signal.SIGTERM)
        process.wait(30)
        engine, stopping = process.stderr.read().splitlines()
        assert engine.startswith("run: engine: onnxruntime, equal to the module to ")
        assert stopping == "stopping once everything is answered; Ctrl-C again ends at once"
    finally:
        process.kill()
        process.communicate()

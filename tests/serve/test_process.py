"""A server as a process of its own: many ask while it reads other weights, bodies mean harm, signals come."""

from __future__ import annotations

import http.client
import json
import random
import signal
import socket
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest
from safetensors.numpy import load_file, save_file

from graphspec.diagnostics import SpecError
from graphspec.runs.run import Run
from tests.processes import ENDLESS
from tests.runs import everything
from tests.serve.serving import ask, expected, get, hostile, in_process, rows, same

CONNECTIONS = 16


def learn_more(path: Path) -> None:
    """Gives a run other weights."""
    tensors = {name: 1.5 * value for name, value in load_file(path / "best.safetensors").items()}
    save_file(tensors, path / "new.safetensors")
    (path / "new.safetensors").replace(path / "best.safetensors")


def wrong() -> list[dict[str, Any]]:
    """Rows with a mistake each, of different kinds."""
    row = everything.row(random.Random(5))
    without = {name: value for name, value in row.items() if name != "amount"}
    changed: Sequence[Mapping[str, Any]] = (
        {"day": "30 March"},
        {"amount": "many"},
        {"when": None},
        {"sounds": 3},
        {"curve": [1.0, 2.0]},
        {"count": 1.5},
        {"plain_0": 1e60},
    )
    return [{**row, **each} for each in changed] + [{**without, "amuont": 1.0}]


def mistakes(run: Run, row: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What `predict` says of a row that is wrong."""
    with pytest.raises(SpecError) as caught:
        run.predict([dict(row)])
    return [{"row": 0, **each.to_json()} for each in caught.value.diagnostics]


@dataclass
class Asked:
    """What one connection has been told, and whether all had been read again when it asked."""

    number: int
    after: bool
    status: int
    found: Any


class Crowd:
    """Connections that stay open and ask all the time, for good rows and wrong ones in turns."""

    def __init__(self, path: Path, port: int):
        self.path, self.port = path, port
        self.good, self.wrong = rows(6, 12), wrong()
        run = Run(path)
        self.old = [expected(run, row) for row in self.good]
        self.mistakes = [mistakes(run, row) for row in self.wrong]
        self.is_read = threading.Event()

    def ask(self, first: int, goes_on: Callable[[list[Asked]], bool]) -> list[Asked]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=ENDLESS)
        told: list[Asked] = []
        while goes_on(told):
            number, after = first + len(told), self.is_read.is_set()
            one = self.wrong if number % 3 == 2 else self.good
            body = json.dumps(one[number % len(one)]).encode()
            connection.request("POST", "/predict", body, {"Content-Type": "application/json"})
            response = connection.getresponse()
            told.append(Asked(number, after, response.status, json.loads(response.read())))
        connection.close()
        return told

    def read_again(self) -> None:
        learn_more(self.path)
        assert ask(self.port, b"", "/reload")[0] == 200
        self.is_read.set()

    def judge(self, told: Sequence[Asked]) -> None:
        """Each has the answer of the old weights or of the new ones; of the new ones once these are read."""
        run = Run(self.path)
        new = [expected(run, row) for row in self.good]
        assert not any(map(same, self.old, new))
        for each in told:
            if each.number % 3 == 2:
                wanted = self.mistakes[each.number % len(self.wrong)]
                assert (each.status, each.found["diagnostics"]) == (422, wanted)
                continue
            row = each.number % len(self.good)
            assert each.status == 200
            assert same(each.found, new[row]) or (not each.after and same(each.found, self.old[row]))
        assert {each.after for each in told} == {False, True}


@pytest.mark.parity
@pytest.mark.parametrize(("engine", "requests"), [("onnxruntime", 200), ("torch", 1000)])
def test_many_requests_and_other_weights_amid_them(path: Path, engine: str, requests: int) -> None:
    with in_process(str(path), "--engine", engine) as (port, _), ThreadPoolExecutor(CONNECTIONS) as pool:
        crowd = Crowd(path, port)
        share = requests // CONNECTIONS + 1

        def goes_on(told: list[Asked]) -> bool:
            return len(told) < share or not told[-1].after

        asked = [pool.submit(crowd.ask, 100 * index, goes_on) for index in range(CONNECTIONS)]
        crowd.read_again()
        told = [each for one in asked for each in one.result(ENDLESS)]
        assert len(told) >= requests
        crowd.judge(told)


@pytest.mark.parity
@pytest.mark.parametrize("engine", ["torch", "onnxruntime"])
def test_a_minute_of_good_and_wrong_rows_and_other_weights_amid_them(path: Path, engine: str) -> None:
    with (
        in_process(str(path), "--engine", engine) as (port, process),
        ThreadPoolExecutor(CONNECTIONS) as pool,
    ):
        crowd = Crowd(path, port)
        end = time.monotonic() + 60
        asked = [
            pool.submit(crowd.ask, 7 * index, lambda _: time.monotonic() < end)
            for index in range(CONNECTIONS)
        ]
        time.sleep(20)
        before = psutil.Process(process.pid).memory_info().rss
        crowd.read_again()
        crowd.judge([each for one in asked for each in one.result(ENDLESS)])
        assert psutil.Process(process.pid).memory_info().rss < before + 2**29


def test_bodies_that_mean_harm_leave_a_server_as_it_was(path: Path) -> None:
    (row,) = rows(4, 1)
    limits = ("--max-bytes", "200000", "--max-rows", "50")
    with in_process(str(path), *limits) as (port, process):
        for seed in range(3):
            ask(port, hostile(seed))
        memory = psutil.Process(process.pid).memory_info
        before = memory().rss
        for seed in range(200):
            status, found = ask(port, hostile(seed))
            assert status in (200, 400, 413, 422), (seed, found)
            assert status == 200 or found["diagnostics"]
        assert memory().rss < before + 100 * 2**20
        assert get(port, "/health")[0] == get(port, "/ready")[0] == 200
        assert same(ask(port, row)[1], expected(Run(path), row))
        assert process.poll() is None


ODD = (
    b"\x16\x03\x01\x00\x00",
    b"GET /health HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
    b"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: -5\r\n\r\n",
)


def test_what_strangers_send_is_not_written_to_the_terminal(path: Path) -> None:
    """uvicorn would warn of each, and recommend a library for websockets, which nothing here uses."""
    with in_process(str(path)) as (port, process):
        for head in ODD:
            with socket.create_connection(("127.0.0.1", port), timeout=ENDLESS) as connection:
                connection.sendall(head)
                assert connection.recv(65536).startswith(b"HTTP/1.1 ")
        process.send_signal(signal.SIGTERM)
        process.wait()
        (line,) = process.stderr.read().splitlines()
        assert line.startswith("stopping ")


def test_a_server_listens_to_this_machine_alone(path: Path) -> None:
    with in_process(str(path)) as (port, process):
        places = [
            each.laddr for each in psutil.Process(process.pid).net_connections() if each.status == "LISTEN"
        ]
        assert places == [("127.0.0.1", port)]


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="there is no such signal on Windows")
def test_a_signal_has_the_runs_read_again(path: Path) -> None:
    (row,) = rows(8, 1)
    old = expected(Run(path), row)
    with in_process(str(path)) as (port, process):
        assert same(ask(port, row)[1], old)
        learn_more(path)
        new = expected(Run(path), row)
        assert same(ask(port, row)[1], old) and not same(old, new)
        process.send_signal(signal.SIGHUP)
        end = time.monotonic() + ENDLESS
        while same(ask(port, row)[1], old):
            assert time.monotonic() < end
        assert same(ask(port, row)[1], new)
        assert 'graphspec_reloads_total{run="run",outcome="done"} 1' in get(port, "/metrics")[1]


def test_the_mistakes_of_a_row_are_those_of_predict(path: Path, tmp_path: Path) -> None:
    """Of the Python interface, and of a file of rows, where they name the file."""
    run, given = Run(path), wrong()
    with in_process(str(path)) as (port, _):
        status, found = ask(port, given)
    assert status == 422 and found["predictions"] == [None] * len(given)
    file = tmp_path / "rows.jsonl"
    for number, row in enumerate(given):
        told = [each for each in found["diagnostics"] if each["row"] == number]
        assert [(each["code"], each["help"]) for each in told] == [
            (each["code"], each["help"]) for each in mistakes(run, row)
        ]
        file.write_text(json.dumps(row) + "\n")
        with pytest.raises(SpecError) as caught:
            run.predict(file)
        places = {f"`{file}`": "`data`", "line 1": f"row {number}, counting from 0"}
        written = [each.message for each in caught.value.diagnostics]
        for there, here in places.items():
            written = [text.replace(there, here) for text in written]
        assert written == [each["message"] for each in told]

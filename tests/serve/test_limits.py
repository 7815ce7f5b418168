"""What a server takes at once, and for how long; a slow request harms none but itself."""

from __future__ import annotations

import asyncio
import json
import math
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from graphspec.runs.run import Run
from graphspec.serve.app import Server
from graphspec.serve.limits import TOGETHER
from graphspec.serve.options import ServeOptions
from graphspec.serve.served import Served
from tests.runs import everything
from tests.serve.serving import ask, expected, get, in_thread, rows, same

SMALL = 10_000
HEAD = (
    "POST /predict HTTP/1.1\r\nHost: 127.0.0.1\r\n"
    "Content-Type: application/json\r\nContent-Length: {}\r\n\r\n"
)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return everything.train(tmp_path_factory.mktemp("limits"))


@pytest.fixture
def server(run: Run) -> Iterator[tuple[int, Server]]:
    made = Server({"run": Served("run", run.path)}, ServeOptions(max_bytes=SMALL, timeout=30.0))
    with in_thread(made) as port:
        yield port, made


def begun(port: int, body: bytes, length: int) -> socket.socket:
    """A connection that has sent the beginning of a body."""
    connection = socket.create_connection(("127.0.0.1", port), timeout=30)
    connection.sendall(HEAD.format(length).encode() + body)
    return connection


def answered(connection: socket.socket) -> tuple[int, dict[str, str], Any]:
    """The status, the headers and the JSON of the next answer."""
    found = b""
    while b"\r\n\r\n" not in found:
        found += connection.recv(65536)
    head, _, body = found.partition(b"\r\n\r\n")
    status, *lines = head.decode().split("\r\n")
    headers = dict(line.lower().split(": ", 1) for line in lines)
    while len(body) < int(headers["content-length"]):
        body += connection.recv(65536)
    return int(status.split()[1]), headers, json.loads(body)


def until(condition: Any) -> None:
    end = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.005)


def test_others_are_answered_while_bodies_do_not_come(run: Run, server: tuple[int, Server]) -> None:
    """Also when they come in pieces."""
    port, made = server
    (row,) = rows(1, 1)
    body = json.dumps(row).encode()
    with (
        begun(port, b"", 100),
        begun(port, b'{"amount":', 100),
        begun(port, body[:20], len(body)) as slow,
    ):
        until(lambda: made.open.held >= 30)
        assert same(ask(port, row)[1], expected(run, row))
        slow.sendall(body[20:])
        assert same(answered(slow)[2], expected(run, row))
    until(lambda: made.open.held == 0)


def test_a_body_that_does_not_come_ends_with_the_time_of_its_request(server: tuple[int, Server]) -> None:
    port, made = server
    made.limits.timeout = 0.5
    for connection in (begun(port, b"", 100), begun(port, b'{"amount":', 100)):
        with connection:
            status, _, found = answered(connection)
            assert status == 503 and found["diagnostics"][0]["message"] == "no answer within 0.5 seconds"
            assert "--timeout" in found["diagnostics"][0]["help"]
    assert made.open.held == 0 and get(port, "/ready")[0] == 200


def test_what_takes_too_long_to_compute_is_told_over_a_socket(
    server: tuple[int, Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server is not ready then, and lives; once that has ended, it answers again."""
    port, made = server
    release, begun = threading.Event(), threading.Event()
    served, computed = made.runs["run"], Served.predict

    def stuck(one: Served, given: Any) -> Any:
        begun.set()
        release.wait()
        return computed(one, given)

    monkeypatch.setattr(Served, "predict", stuck)
    served.seconds = math.inf  # a thread computes it
    made.limits.timeout = 0.3
    (row,) = rows(2, 1)
    try:
        status, found = ask(port, row)
        assert begun.wait(30) and status == 503 and found["diagnostics"][0]["help"]
        assert get(port, "/health")[0] == 200
        until(lambda: "a batch takes too long" in get(port, "/ready")[1])  # it has begun after its request
        assert get(port, "/ready")[0] == 503
    finally:
        release.set()
    made.limits.timeout = 30.0
    until(lambda: get(port, "/ready")[0] == 200)
    assert ask(port, row)[0] == 200


def test_bodies_are_refused_while_others_fill_the_server(run: Run, server: tuple[int, Server]) -> None:
    port, made = server
    (row,) = rows(3, 1)
    size = SMALL - 1
    waiting = [begun(port, b" " * size, SMALL) for _ in range(TOGETHER)]
    until(lambda: made.open.held == TOGETHER * size)
    with begun(port, json.dumps(row).encode(), len(json.dumps(row))) as connection:
        status, headers, found = answered(connection)
    assert status == 503 and headers["retry-after"] == "1"
    assert found["diagnostics"][0]["help"] == "ask again a second later"
    made.open.held += TOGETHER
    assert get(port, "/ready")[0] == 503 and get(port, "/health")[0] == 200
    made.open.held -= TOGETHER
    for each in waiting:
        each.close()
    until(lambda: made.open.held == 0)
    assert get(port, "/ready")[0] == 200
    assert same(ask(port, row)[1], expected(run, row))


def test_a_body_in_pieces_has_the_limit_of_a_whole_one(server: tuple[int, Server]) -> None:
    port, made = server
    head = HEAD.replace("Content-Length: {}", "Transfer-Encoding: chunked").encode()
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        connection.sendall(head + (b"1000\r\n" + b" " * 0x1000 + b"\r\n") * 4)
        status, _, found = answered(connection)
    assert status == 413 and "--max-bytes" in found["diagnostics"][0]["help"]
    until(lambda: made.open.held == 0)


def test_the_first_row_waits_for_others_where_it_is_told(run: Run) -> None:
    """`--batch-wait`: requests that come one after another are one batch."""
    made = Server({"run": Served("run", run.path)}, ServeOptions(batch_wait=500))
    given = rows(4, 3)

    async def all_of_them() -> list[Any]:
        async def later(row: Any, turns: int) -> Any:
            for _ in range(turns):
                await asyncio.sleep(0)
            return await made.batcher.compute(made.runs["run"], [(0, row)], light=True)

        return await asyncio.gather(*(later(row, 5 * index) for index, row in enumerate(given)))

    found = asyncio.run(all_of_them())
    assert made.batcher.batches == 1
    assert all(same(answer, expected(run, row)) for (answer,), row in zip(found, given, strict=True))
    made.batcher.close()


def test_an_answer_is_sent_in_one_piece_and_a_head_alone_at_once(server: tuple[int, Server]) -> None:
    """The answer to HEAD has no body to wait for, nor has the leave to send one."""
    port, _ = server
    (row,) = rows(5, 1)
    body = json.dumps(row).encode()
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        connection.sendall(b"HEAD /health HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        assert connection.recv(65536).endswith(b"\r\n\r\n")
        connection.sendall(
            HEAD.format(len(body)).replace("\r\n\r\n", "\r\nExpect: 100-continue\r\n\r\n").encode()
        )
        assert connection.recv(65536).startswith(b"HTTP/1.1 100 ")
        connection.sendall(body)
        head, _, text = connection.recv(65536).partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200 ") and json.loads(text)

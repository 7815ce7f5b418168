"""Connections that send too much, or too slowly, or nothing: none keeps others out, and each ends."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from graphspec.cli.app import app
from graphspec.runs.run import Run
from graphspec.serve.app import Server
from graphspec.serve.connections import Connections
from graphspec.serve.counts import ServerCounts
from graphspec.serve.options import ServeOptions
from graphspec.serve.protocol import PIPELINED
from graphspec.serve.served import Served
from tests.runs import everything
from tests.serve.serving import get, in_thread
from tests.serve.test_limits import answered, begun, until

HEAD = b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\n"
POST = b"POST /predict HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
LONG = b"a" * 300_000


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return everything.train(tmp_path_factory.mktemp("connections"))


@pytest.fixture
def server(run: Run) -> Iterator[tuple[int, Server]]:
    made = Server({"run": Served("run", run.path)}, ServeOptions(head_timeout=30.0, idle_timeout=30.0))
    with in_thread(made) as port:
        yield port, made


def sent(port: int, data: bytes) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", port), timeout=5)
    with suppress(OSError):  # it has been closed
        connection.sendall(data)
    return connection


def ended(connection: socket.socket) -> bytes:
    """All that comes until the connection is closed."""
    found = b""
    with suppress(ConnectionResetError):
        while part := connection.recv(65536):
            found += part
    return found


TOO_LONG: dict[str, tuple[bytes, int | None, str]] = {
    "one header": (HEAD + b"x: " + LONG, 431, "head-size"),
    "many headers": (HEAD + b"".join(b"x%d: y\r\n" % number for number in range(9000)), 431, "head-size"),
    "name": (HEAD + LONG, 431, "head-size"),
    "lines": (b"\r\n" * 100_000, 431, "head-size"),
    "target": (b"GET /" + LONG[:5000] + b" HTTP/1.1\r\n", 414, "target-size"),
    "no end": (b"GET /" + LONG, 414, "target-size"),
    "trailers": (POST + b"Transfer-Encoding: chunked\r\n\r\n1\r\n{\r\n0\r\nx: " + LONG, None, "head-size"),
    "chunk": (POST + b"Transfer-Encoding: chunked\r\n\r\n1;" + LONG, None, "head-size"),
    "in turn": ((HEAD + b"\r\n") * (PIPELINED + 2), None, "malformed"),
}


@pytest.mark.parametrize("case", TOO_LONG)
def test_what_is_too_long_is_refused_before_it_is_whole(case: str, server: tuple[int, Server]) -> None:
    data, status, reason = TOO_LONG[case]
    port, made = server
    with sent(port, data) as connection:
        found = ended(connection)
    if status is not None:
        assert found.startswith(b"HTTP/1.1 %d " % status)
        (told,) = json.loads(found.partition(b"\r\n\r\n")[2])["diagnostics"]
        assert told["code"] == "usage" and "start the server with more `--max-" in told["help"]
    until(lambda: not made.connections.open)
    assert made.connections.closed == {reason: 1}


def test_a_head_as_long_as_it_may_be_is_read(server: tuple[int, Server]) -> None:
    port, made = server
    rest = b"x: %s\r\n\r\n"
    head = HEAD + rest % (b"a" * (made.limits.max_head - len(HEAD + rest) + 2))
    assert len(head) == made.limits.max_head
    with sent(port, head * 2 + (HEAD + b"\r\n") * (PIPELINED - 2)) as connection:
        found = b""
        while found.count(b"}") < PIPELINED:
            found += connection.recv(65536)
    assert found.count(b"HTTP/1.1 200 ") == PIPELINED
    path = b"/" + b"a" * (made.limits.max_target - 1)
    with sent(port, b"GET %s HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n" % path) as connection:
        assert answered(connection)[0] == 404


def test_every_wait_has_its_time(server: tuple[int, Server]) -> None:
    """For a head, also one that goes on; for the next request; for the rest of a body that was answered."""
    port, made = server
    made.limits.head_timeout = made.limits.idle_timeout = 0.4
    with sent(port, HEAD) as half, sent(port, b"") as nothing, sent(port, HEAD + b"\r\n") as idle:
        assert answered(idle)[0] == 200
        assert ended(half).startswith(b"HTTP/1.1 408 ") and ended(nothing) == ended(idle) == b""
    refused = HEAD.replace(b"GET /health", b"POST /none") + b"Content-Length: 1000000\r\n\r\n"
    with sent(port, refused) as slow:
        assert answered(slow)[0] == 404
        with pytest.raises(OSError):
            for _ in range(600):
                slow.sendall(b" ")
                time.sleep(0.05)
    assert made.connections.closed == {"head-time": 2, "idle-time": 2} and not made.connections.open


def test_a_client_that_does_not_read_its_answer_ends(server: tuple[int, Server]) -> None:
    """What it leaves unread counts as what the server holds."""
    port, made = server
    made.limits.max_rows = 40_000
    text = json.dumps([3] * 40_000).encode()
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    connection.connect(("127.0.0.1", port))
    with connection:
        connection.sendall(POST + b"Content-Length: %d\r\n\r\n" % len(text) + text)
        until(lambda: made.connections.unread)
        made.limits.timeout = 0.1
        until(lambda: made.connections.closed)
    assert made.connections.closed == {"answer-time": 1}
    until(lambda: not made.connections.unread)


def test_the_one_that_has_waited_longest_makes_room(server: tuple[int, Server]) -> None:
    """So many half heads keep no client out. Those that are answered stay, and one too many is refused."""
    port, made = server
    made.limits.max_connections = 5
    half = [sent(port, HEAD) for _ in range(12)]
    assert get(port, "/health")[0] == get(port, "/ready")[0] == 200
    assert len(made.connections.open) <= 5
    assert [bool(ended(each)) for each in half[:7]] == [False] * 7
    busy = [begun(port, b"", 100) for _ in range(5)]
    until(lambda: made.connections.are_full)
    with sent(port, HEAD + b"\r\n") as connection:
        assert ended(connection).startswith(b"HTTP/1.1 503 ")
    busy.pop().close()
    until(lambda: len(made.connections.open) == 4)
    assert get(port, "/ready")[0] == 503, "it takes the last place itself"
    for each in (*half, *busy):
        each.close()
    until(lambda: not made.connections.open)
    text = get(port, "/metrics")[1]
    assert 'graphspec_connections_closed_total{reason="full"}' in text and "graphspec_connections 1\n" in text


def test_a_client_has_a_part_of_the_connections(server: tuple[int, Server]) -> None:
    port, made = server
    made.limits.max_client_connections = 2
    with sent(port, HEAD) as first, sent(port, HEAD) as second, sent(port, HEAD + b"\r\n") as third:
        assert ended(first) == b"" and answered(third)[0] == 200
        second.sendall(b"\r\n")
        assert answered(second)[0] == 200
    assert made.connections.closed == {"full": 1}


REFUSED: dict[str, tuple[bytes, str]] = {
    "hosts": (HEAD + b"Host: 127.0.0.1\r\n\r\n", "the header `host` twice"),
    "types": (POST + b"Content-Type: text/plain\r\nContent-Length: 2\r\n\r\n{}", "`content-type` twice"),
    "no host": (b"GET /health HTTP/1.1\r\n\r\n", "host"),
    "no http": (b"\x16\x03\x01\x00\x00", "is not HTTP/1.1"),
    "keys": (POST + b'Content-Length: 24\r\n\r\n[{"a": [{"b":1,"b":1}]}]', "the key `b` twice"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_may_mean_two_things_is_refused(case: str, server: tuple[int, Server]) -> None:
    data, words = REFUSED[case]
    with sent(server[0], data) as connection:
        status, _, found = answered(connection)
    assert status == 400 and words in found["diagnostics"][0]["message"]


def test_an_answer_repeats_little_of_a_request(server: tuple[int, Server]) -> None:
    word = b"%1b" + LONG[:3000]
    for path in (b"/" + word, b"/runs/" + word + b"/predict"):
        head = b"POST %s HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 0\r\n\r\n" % path
        with sent(server[0], head) as connection:
            status, _, found = answered(connection)
        message = found["diagnostics"][0]["message"]
        assert status == 404 and message.count("a") < 220 and "\x1b" not in message
    with sent(server[0], HEAD.replace(b"/health", b"/") + b"\r\n") as connection:
        head = connection.recv(65536)
    assert b"frame-ancestors 'none'" in head and b"x-frame-options: DENY" in head


def test_labels_are_escaped() -> None:
    counts = ServerCounts()
    counts.requests['a"} 1\nb\\\udcff', 200] += 1
    text = counts.text(0, Connections(ServeOptions()), {}, {})
    assert 'graphspec_requests_total{run="a\\"} 1\\nb\\\\\\\\udcff",status="200"} 1\n' in text
    assert text.encode()


@pytest.mark.parametrize(
    ("option", "value"),
    [("--timeout", "nan"), ("--head-timeout", "inf"), ("--max-head", "1"), ("--batch-size", "0")],
)
def test_a_limit_is_a_number_in_its_range(option: str, value: str, tmp_path: Path) -> None:
    from typer.testing import CliRunner

    result = CliRunner().invoke(app, ["serve", str(tmp_path), option, value])
    assert result.exit_code == 2 and option in result.output

"""Servers of runs, and what asks them."""

from __future__ import annotations

import http.client
import json
import random
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import pyarrow as pa
import pytest
import uvicorn

from graphspec.runs.run import Run
from graphspec.serve.app import Application, Server
from graphspec.serve.protocol import ClientConnection
from tests.processes import Process
from tests.runs import everything


@contextmanager
def in_thread(server: Server) -> Iterator[int]:
    """The port of a server in this process."""
    listening = socket.create_server(("127.0.0.1", 0))
    app = Application(server, ["127.0.0.1", "localhost"])
    protocol: Any = partial(ClientConnection, server.connections)
    config = uvicorn.Config(app, log_level="warning", log_config=None, ws="none", http=protocol)
    made = uvicorn.Server(config)
    server.batcher.open = made.server_state.tasks
    thread = threading.Thread(target=made.run, kwargs={"sockets": [listening]})
    thread.start()
    try:
        yield listening.getsockname()[1]
    finally:
        made.should_exit = True
        thread.join()


@contextmanager
def in_process(*words: str) -> Iterator[tuple[int, Process]]:
    """The port of `graphspec serve`, and its process."""
    process = Process(["-m", "graphspec", "serve", *words, "--port", "0"])
    try:
        line = process.stdout.readline()
        assert line.startswith("serving "), process.stderr.read()
        yield int(line.rpartition(":")[2]), process
    finally:
        process.kill()
        process.communicate()


def ask(
    port: int, body: Any, path: str = "/predict", kind: str = "application/json", **headers: str
) -> tuple[int, Any]:
    """The status of a POST, and the JSON that comes back."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    text = body if isinstance(body, bytes) else json.dumps(body).encode()
    connection.request("POST", path, text, {"Content-Type": kind, **headers})
    response = connection.getresponse()
    content = response.read()
    connection.close()
    return response.status, json.loads(content) if content.startswith((b"{", b"[")) else content.decode()


def get(port: int, path: str) -> tuple[int, str]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request("GET", path)
    response = connection.getresponse()
    text = response.read().decode()
    connection.close()
    return response.status, text


def rows(seed: int, count: int) -> list[dict[str, Any]]:
    draw = random.Random(seed)
    return [everything.gaps(everything.row(draw), draw) for _ in range(count)]


def expected(run: Run, row: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = run.predict(pa.Table.from_pylist([row])).to_pylist()[0]
    return found


def same(found: dict[str, Any], wanted: dict[str, Any]) -> bool:
    return found.keys() == wanted.keys() and all(
        found[name] == pytest.approx(value, rel=1e-4, abs=1e-6)
        if isinstance(value, float)
        else found[name] == value
        for name, value in wanted.items()
    )


HOSTILE: list[bytes] = [
    b"",
    b"{",
    b"\xff\xfe",
    b"null",
    b"1",
    b'"text"',
    b"[" * 100_000,
    b'{"a":' * 30_000,
    b'{"amount": 1' + b"0" * 100_000 + b"}",
    b'{"amount": NaN}',
    b'{"rows": [[]]}',
    b'{"rows": [{"title": "\\ud800"}]}',
    b'{"\\ud800": 1}',
    b'{"title": "' + b"a " * 90_000 + b'"}',
    b'[{"__proto__": {}}]',
]


def hostile(seed: int) -> bytes:
    """A body that is damaged, or a row with values that belong nowhere."""
    draw = random.Random(seed)
    if draw.random() < 0.3:
        return draw.choice(HOSTILE)
    values: list[Any] = [
        None,
        [],
        {},
        [[]],
        "x" * draw.randint(0, 2000),
        10**30,
        -1e308,
        True,
        "\ud800",
        "../x",
    ]
    row = rows(seed, 1)[0]
    for name in draw.sample(sorted(row), draw.randint(1, 6)):
        row[name] = draw.choice(values)
    text = bytearray(json.dumps(row).encode())
    for _ in range(draw.choice([0, 0, 3])):
        text[draw.randrange(len(text))] = draw.randrange(256)
    return bytes(text)

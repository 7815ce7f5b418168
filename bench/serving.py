"""A run behind HTTP: its first answer after the start of the process, and one row beside the bare module."""

import json
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from bench.cases import SPECS
from bench.measure import Samples, interleave, process
from bench.report import Column, Table, Value, duration
from graphspec.compiler import compile
from graphspec.runs.run import Run
from graphspec.train.loop import train

ENGINES = ("torch", "onnxruntime")
NOTE = """`specs/cars.yaml`, trained: numbers, dates, categories and texts. `start` is from the start of
`graphspec serve` to its first answer, and `of the import` beside `import torch`, or with onnxruntime beside
its import. `one row` is a POST on an open connection and its answer, in turns with the bare module in eager
torch on arrays of that row, and with `Run.predict` of the row in this process; all on this machine. The
client writes bytes to a socket and reads until the answer is whole. Ratios are of the least times: what else
runs on the machine delays two processes that wait for each other more than one."""

COLUMNS = (
    Column("engine", "engine"),
    Column("start", "start", duration),
    Column("of_import", "of the import", "{:.2f}".format),
    Column("module", "module", duration),
    Column("row", "one row", duration),
    Column("of_module", "of the module", "{:.1f}".format),
    Column("predict", "`Run.predict`", "{:.1f}".format),
)
ROW = {
    "displacement": 307,
    "horsepower": 130,
    "weight": 3504,
    "acceleration": 12,
    "year": "1970-01-01",
    "cylinders": 8,
    "name": "chevrolet chevelle malibu",
}


BODY = json.dumps(ROW).encode()
REQUEST = (
    b"POST /predict HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
    b"Content-Length: %d\r\n\r\n%s" % (len(BODY), BODY)
)


def table(directory: Path, budget_seconds: float) -> Table:
    program = compile(SPECS / "cars.yaml")
    train(program, root=SPECS, run_dir=directory / "cars", epochs=1, tell=lambda line: None)
    run = Run(directory / "cars")
    for engine in ENGINES:
        run.predict(ROW, engine=engine)  # which exports it, once
    rows = [_row(run, engine, budget_seconds) for engine in ENGINES]
    return Table("A run behind HTTP", NOTE, COLUMNS, tuple(rows))


def _row(run: Run, engine: str, budget_seconds: float) -> Mapping[str, Value]:
    def first() -> None:
        with _serving(run, engine) as ask:
            ask()

    started = interleave(
        {
            "start": first,
            "import": process((sys.executable, "-c", f"import {engine}")),
        },
        warmup=1,
        budget_seconds=budget_seconds,
        max_rounds=9,
    )
    model = run.model()
    assert model.reader is not None
    arrays = model.reader.read(ROW).arrays
    given = [torch.from_numpy(arrays[name]) for name in run.program.inputs]
    module = run.module()

    def bare() -> object:
        with torch.no_grad():
            return module(*given)

    with _serving(run, engine) as ask:
        asked = interleave(
            {"module": bare, "row": ask, "predict": lambda: run.predict(ROW, engine=engine)},
            warmup=20,
            budget_seconds=budget_seconds,
        )
    base: Samples = asked["module"]
    return {
        "engine": engine,
        "start": started["start"].median,
        "of_import": started["start"].ratio(started["import"]),
        "module": base.minimum,
        "row": asked["row"].minimum,
        "of_module": asked["row"].minimum / base.minimum,
        "predict": asked["predict"].minimum / base.minimum,
    }


@contextmanager
def _serving(run: Run, engine: str) -> Iterator[Callable[[], Any]]:
    """A server as a process of its own, and what asks it for one row."""
    command = [sys.executable, "-m", "graphspec", "serve", str(run.path), "--port", "0", "--engine", engine]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert server.stdout is not None
    try:
        port = int(server.stdout.readline().rpartition(":")[2])
        with socket.create_connection(("127.0.0.1", port)) as connection:
            yield lambda: _asked(connection)
    finally:
        server.terminate()
        server.communicate()


def _asked(connection: socket.socket) -> Any:
    connection.sendall(REQUEST)
    found = b""
    while True:
        found += connection.recv(65536)
        head, end, body = found.partition(b"\r\n\r\n")
        if end and len(body) == int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]):
            assert head.startswith(b"HTTP/1.1 200 "), found
            return json.loads(body)

"""A run behind HTTP: its first answer after the start of the process, and one row beside the bare module."""

import dataclasses
import json
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
import yaml

from bench.cases import SPECS
from bench.engines import SUBJECTS
from bench.measure import Samples, interleave, process
from bench.report import Column, Table, Value, duration
from graphspec.compiler import compile
from graphspec.files.tensors import save
from graphspec.runs.run import Run
from graphspec.train.files import untied
from graphspec.train.loop import train

ENGINES = ("torch", "onnxruntime")
NOTE = """`cars` is `specs/cars.yaml`, trained: numbers, dates, categories and texts; the others are the
models of the section on engines, whose rows are nested lists. `start` is from the start of `graphspec
serve` to its first answer, and `of the import` beside `import torch`, or with onnxruntime beside its
import. `one row` is a POST on an open connection and its answer, in turns with the bare module in eager
torch on arrays of that row, and with `Run.predict` of the row in this process; all on this machine. `by
hand` is the same of a server that reads JSON, calls the module in torch, writes JSON and checks nothing. The
client writes bytes to a socket and reads until the answer is whole. Ratios are of the least times: what
else runs on the machine delays two processes that wait for each other more than one."""

COLUMNS = (
    Column("spec", "spec"),
    Column("engine", "engine"),
    Column("start", "start", duration),
    Column("of_import", "of the import", "{:.2f}".format),
    Column("module", "module", duration),
    Column("row", "one row", duration),
    Column("of_module", "of the module", "{:.1f}".format),
    Column("by_hand", "by hand", "{:.1f}".format),
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


@dataclass(frozen=True)
class Subject:
    """A model that is served, and a row that it is asked for."""

    name: str
    run: Run
    row: Mapping[str, Any]
    weights: str = "best"

    @cached_property
    def request(self) -> bytes:
        body = json.dumps(self.row).encode()
        head = (
            "POST /predict HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(body)}\r\n\r\n"
        )
        return head.encode() + body


def table(directory: Path, budget_seconds: float) -> Table:
    program = compile(SPECS / "cars.yaml")
    train(program, root=SPECS, run_dir=directory / "cars", epochs=1, tell=lambda line: None)
    subjects = [Subject("cars", Run(directory / "cars"), ROW)]
    subjects += [_of_arrays(name, directory) for name in SUBJECTS]
    rows = [_row(subject, engine, budget_seconds) for subject in subjects for engine in ENGINES]
    return Table("A run behind HTTP", NOTE, COLUMNS, tuple(rows))


def _of_arrays(name: str, directory: Path) -> Subject:
    """A spec with weights in a file, and a row of arrays for it."""
    case = dataclasses.replace(SUBJECTS[name], batch_size=1)
    spec, weights = directory / f"{name}.yaml", directory / f"{name}.safetensors"
    document = yaml.safe_load((SPECS / f"{case.spec or name}.yaml").read_text())
    for key, value in case.settings.items():
        document["params"][key.removeprefix("params.")] = value
    spec.write_text(yaml.safe_dump(document, sort_keys=False))
    tensors, _ = untied(case.program(name).module(seed=0).state_dict())
    save(weights, tensors, {})
    row = {key: value[0].tolist() for key, value in case.example().items()}
    return Subject(name, Run(spec, weights), row, str(weights))


def _row(subject: Subject, engine: str, budget_seconds: float) -> Mapping[str, Value]:
    run, row = subject.run, subject.row
    model = run.model()
    assert model.reader is not None
    arrays = model.reader.read(row).arrays
    data = arrays if model.encoders is None else dict(row)
    run.predict(data, engine=engine)  # which exports it, once
    started = _started(subject, engine, budget_seconds) if subject.name == "cars" else {}
    given = [torch.from_numpy(arrays[name]) for name in run.program.inputs]
    module = run.module()

    def bare() -> object:
        with torch.no_grad():
            return module(*given)

    calls: dict[str, Callable[[], object]] = {"module": bare}
    calls["predict"] = lambda: run.predict(data, engine=engine)
    with ExitStack() as servers:
        calls["row"] = servers.enter_context(_serving(subject, engine))
        if model.encoders is None and engine == "torch":
            calls["by hand"] = servers.enter_context(_by_hand(subject))
        asked = interleave(calls, warmup=5, budget_seconds=budget_seconds)
    base: Samples = asked["module"]
    return {
        "spec": subject.name,
        "engine": engine,
        **started,
        "module": base.minimum,
        "row": asked["row"].minimum,
        "of_module": asked["row"].minimum / base.minimum,
        "by_hand": asked["by hand"].minimum / base.minimum if "by hand" in asked else None,
        "predict": asked["predict"].minimum / base.minimum,
    }


def _started(subject: Subject, engine: str, budget_seconds: float) -> Mapping[str, Value]:
    """Until the first answer: how long a server then takes to end is not its start."""
    imports = process((sys.executable, "-c", f"import {engine}"))
    first, ratios = list[float](), list[float]()
    until = time.perf_counter() + budget_seconds
    while len(first) < 5 or (len(first) < 15 and time.perf_counter() < until):
        began = time.perf_counter()
        imports()
        imported = time.perf_counter()
        with _serving(subject, engine) as ask:
            ask()
            first.append(time.perf_counter() - imported)
        ratios.append(first[-1] / (imported - began))
    return {"start": statistics.median(first), "of_import": statistics.median(ratios)}


def _serving(subject: Subject, engine: str) -> AbstractContextManager[Callable[[], Any]]:
    """A server as a process of its own, and what asks it for one row."""
    options = ("--weights", subject.weights, "--port", "0", "--engine", engine)
    return _asking(subject, "graphspec", "serve", str(subject.run.path), *options)


def _by_hand(subject: Subject) -> AbstractContextManager[Callable[[], Any]]:
    """The same of a server by hand."""
    return _asking(subject, "bench.bare_server", str(subject.run.path), subject.weights)


@contextmanager
def _asking(subject: Subject, *command: str) -> Iterator[Callable[[], Any]]:
    words = [sys.executable, "-m", *command]
    server = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert server.stdout is not None
    try:
        port = int(server.stdout.readline().rpartition(":")[2])
        with Client(port) as client:
            yield lambda: client.ask(subject.request)
    finally:
        server.terminate()
        server.communicate()


class Client:
    """An open connection; a new one where the server may have closed it, as nothing was asked for long."""

    IDLE = 3.0

    def __init__(self, port: int):
        self.address = ("127.0.0.1", port)
        self.connection = socket.create_connection(self.address)
        self.asked = time.monotonic()

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *error: object) -> None:
        self.connection.close()

    def ask(self, request: bytes) -> Any:
        if time.monotonic() - self.asked > self.IDLE:
            self.connection.close()
            self.connection = socket.create_connection(self.address)
        found = _asked(self.connection, request)
        self.asked = time.monotonic()
        return found


def _asked(connection: socket.socket, request: bytes) -> Any:
    connection.sendall(request)
    found = b""
    while part := connection.recv(65536):
        found += part
        head, end, body = found.partition(b"\r\n\r\n")
        if end and len(body) == int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]):
            assert head.startswith(b"HTTP/1.1 200 "), found
            return json.loads(body)
    raise RuntimeError("the server has closed the connection")

"""What a server says of itself to other programs: OpenAPI to its validator, counts to Prometheus."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jsonschema
import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator

from graphspec.serve.app import Application, Server
from graphspec.serve.openapi import row_schema
from graphspec.serve.options import ServeOptions
from graphspec.serve.served import Served
from graphspec.tensor import Tensor
from tests.data.test_encoders import BATCH, encoders
from tests.runs import everything
from tests.serve.serving import ask, get, in_thread

LIMITS = ServeOptions(max_bytes=20_000, max_rows=3)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[int, Server]]:
    run = everything.train(tmp_path_factory.mktemp("descriptions"))
    made = Server({name: Served(name, run.path) for name in ("first", "second")}, LIMITS)
    with in_thread(made) as port:
        yield port, made


def plain(seed: int) -> dict[str, Any]:
    row = everything.row(random.Random(seed))
    row["plain"] = [row.pop("plain_0"), row.pop("plain_1")]
    return row


def test_openapi_is_valid_and_names_every_path(server: tuple[int, Server]) -> None:
    port, made = server
    described = json.loads(get(port, "/openapi.json")[1])
    OpenAPIV31SpecValidator(described).validate()
    app = Application(made, None)
    for paths, method in ((app.posts, "post"), (app.gets, "get")):
        for path in paths.keys() - {"/", "/openapi.json", "/generate", "/v1/completions"}:
            assert method in described["paths"][path]
            for name in made.runs if method == "post" else ():
                assert method in described["paths"][f"/runs/{name}{path}"]
    assert not any("generate" in path or "completions" in path for path in described["paths"])


def test_every_answer_is_of_the_form_that_is_described(
    server: tuple[int, Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    port, made = server
    described = json.loads(get(port, "/openapi.json")[1])

    def told(path: str, method: str, status: int, body: Any) -> None:
        content = described["paths"][path][method]["responses"][str(status)]["content"]
        if isinstance(body, str):
            assert "text/plain" in content
            return
        schema = {**content["application/json"]["schema"], "components": described["components"]}
        jsonschema.Draft202012Validator(schema).validate(body)

    row = plain(1)
    bad = {**row, "day": "30 March"}
    answers = [
        (200, ask(port, row)),
        (200, ask(port, [row, row])),
        (400, ask(port, b"{")),
        (400, ask(port, row, Host="evil.example")),
        (413, ask(port, [row] * 4)),
        (415, ask(port, row, kind="text/plain")),
        (422, ask(port, [row, bad])),
    ]
    for wanted, (status, body) in answers:
        assert status == wanted
        told("/predict", "post", status, body)
    monkeypatch.setattr(made.open, "held", made.open.most)
    status, body = ask(port, row)
    assert status == 503
    told("/runs/first/predict", "post", status, body)
    status, text = get(port, "/ready")
    assert status == 503
    told("/ready", "get", status, json.loads(text))
    monkeypatch.undo()
    for path in ("/health", "/ready", "/runs", "/metrics"):
        status, text = get(port, path)
        assert status == 200
        told(path, "get", 200, text if path == "/metrics" else json.loads(text))
    for headers, wanted in (
        ({}, 200),
        ({"Origin": "https://evil.example"}, 403),
        ({"Host": "evil.example"}, 400),
    ):
        status, body = ask(port, b"", "/runs/second/reload", **headers)
        assert status == wanted
        told("/runs/second/reload", "post", status, body)


def test_a_run_that_cannot_be_read_is_described(tmp_path: Path) -> None:
    run = everything.train(tmp_path)
    made = Server({"run": Served("run", run.path)}, LIMITS)
    with in_thread(made) as port:
        described = json.loads(get(port, "/openapi.json")[1])
        (run.path / "spec.yaml").write_text("inputs: {")
        status, body = ask(port, b"", "/reload")
        assert status == 503 and body["diagnostics"][0]["code"] == "yaml-syntax"
        content = described["paths"]["/reload"]["post"]["responses"]["503"]["content"]
        schema = {**content["application/json"]["schema"], "components": described["components"]}
        jsonschema.Draft202012Validator(schema).validate(body)


def test_prometheus_reads_the_counts(server: tuple[int, Server]) -> None:
    parser = pytest.importorskip("prometheus_client.parser")
    port, _ = server

    def counted() -> dict[tuple[str, ...], float]:
        families = parser.text_string_to_metric_families(get(port, "/metrics")[1])
        return {
            (sample.name, *(value for _, value in sorted(sample.labels.items()))): sample.value
            for family in families
            for sample in family.samples
        }

    before = counted()
    row = plain(2)
    assert ask(port, [row, {**row, "day": "30 March"}])[0] == 422
    assert ask(port, row)[0] == 200
    assert ask(port, b"", "/reload")[0] == 200
    after = counted()
    changed = {key: after[key] - before.get(key, 0.0) for key in after if after[key] != before.get(key)}
    assert changed.pop(("graphspec_request_seconds_sum",)) > 0
    buckets = {key[1]: after[key] for key in after if key[0] == "graphspec_request_seconds_bucket"}
    assert [*buckets.values()] == sorted(buckets.values()) and [*buckets][-1] == "+Inf"
    assert buckets["+Inf"] == after["graphspec_request_seconds_count",]
    assert {key: n for key, n in changed.items() if "_bucket" not in key[0]} == {
        ("graphspec_requests_total", "first", "200"): 2,
        ("graphspec_requests_total", "first", "422"): 1,
        ("graphspec_rows_total", "predicted", "first"): 2,
        ("graphspec_rows_total", "refused", "first"): 1,
        ("graphspec_reloads_total", "done", "first"): 1,
        ("graphspec_batches_total",): 2,
        ("graphspec_request_seconds_count",): 2,
    }


def test_each_column_has_its_own_values() -> None:
    feature = {"columns": ["a", "b"], "encode": "category", "unseen": "error"}
    columns = {"a": ["u", "v"], "b": ["p", "q"]}
    made = encoders({"x": Tensor((BATCH, 2), "int64")}, {"x": feature}, columns)
    reader = SimpleNamespace(encoders=made, program=SimpleNamespace(data=None))
    properties = row_schema(SimpleNamespace(reader=reader, history=False))["properties"]  # type: ignore[arg-type]
    assert properties == {name: {"enum": values} for name, values in columns.items()}

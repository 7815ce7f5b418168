"""Texts over HTTP: those of `generate`, in JSON, as events, and for clients of the completions API."""

from __future__ import annotations

import http.client
import json
import socket
import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import product
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest
import torch
from openapi_spec_validator import OpenAPIV31SpecValidator

import graphspec
from graphspec.files.tensors import save
from graphspec.generate.batch import Scorer
from graphspec.runs.run import Run
from graphspec.serve.app import Server
from graphspec.serve.asked import Stops
from graphspec.serve.going import Continuer
from graphspec.serve.options import ServeOptions
from graphspec.serve.served import Served
from tests.serve.serving import ask, get, in_thread
from tests.serve.test_limits import HEAD, until

SAYS = """
inputs: {tokens: {shape: [length], dtype: int64}}
nodes:
  codes: {layer: Embedding, input_dim: 30, output_dim: 8, embeddings_initializer:
    {name: random_normal, stddev: 2.0}}
  read:
    {layer: MultiHeadAttention, from: {query: codes, value: codes}, num_heads: 2, key_dim: 4,
     use_causal_mask: true}
  both: {merge: add, from: [codes, read]}
  next: {layer: Dense, units: 30, kernel_initializer: {name: random_normal, stddev: 2.0}}
outputs: [next]
generate: {tokens: {length: 6, top_k: 9}}
"""
"""A text is numbers of tokens; a sequence has keys and values of 64 bytes for each token."""
STATE = 2 * 8 * 4
TRANSLATES = """
inputs: {words: {shape: [source], dtype: int64}, said: {shape: [length], dtype: int64}}
nodes:
  codes: {layer: Embedding, from: words, input_dim: 30, output_dim: 6}
  memory: {layer: GRU, units: 8, return_sequences: true}
  tokens: {layer: Embedding, from: said, input_dim: 30, output_dim: 8,
    embeddings_initializer: {name: random_normal, stddev: 2.0}}
  read: {layer: MultiHeadAttention, from: {query: tokens, value: memory}, num_heads: 2, key_dim: 4}
  heard: {layer: GRU, units: 8, return_sequences: true}
  next: {layer: Dense, units: 30, kernel_initializer: {name: random_normal, stddev: 2.0}}
outputs: [next]
generate: {said: {length: 6, top_k: 9, begin: 1}}
"""
"""Keys and values of a source are 64 bytes for each of its tokens; a text has a state of 32 bytes."""
SILENT = "inputs: {x: {shape: [3]}}\nnodes: {y: {layer: Dense, units: 2}}\noutputs: [y]\n"


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Run]:
    folder = tmp_path_factory.mktemp("texts")
    texts = {"says": SAYS, "silent": SILENT, "translates": TRANSLATES}
    for name, text in texts.items():
        (folder / f"{name}.yaml").write_text(text)
        module = graphspec.compile(text).module(seed=1)
        save(folder / f"{name}.safetensors", dict(module.state_dict()), {})
    return {n: Run(folder / f"{n}.yaml", folder / f"{n}.safetensors") for n in texts}


@contextmanager
def serving(runs: Mapping[str, Run], **limits: Any) -> Iterator[tuple[int, Server]]:
    folder = Path(runs["says"].path).parent
    options = {n: ServeOptions([], weights=str(folder / f"{n}.safetensors")) for n in runs}
    served = {name: Served(name, run.path, options[name]) for name, run in runs.items()}
    made = Server(served, ServeOptions(**{"timeout": 30.0, **limits}))
    with in_thread(made) as port:
        yield port, made


@pytest.fixture(scope="module")
def server(runs: dict[str, Run]) -> Iterator[tuple[int, Server]]:
    with serving(runs) as made:
        yield made


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """The first token of all texts comes when this is set."""
    release, round = threading.Event(), Continuer._round

    def waiting(*given: Any) -> Any:
        assert release.wait(30)
        return round(*given)

    monkeypatch.setattr(Continuer, "_round", waiting)
    yield release
    release.set()


def events(port: int, path: str, body: Any) -> list[str]:
    """The data of all events of a stream."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    headers = {"Content-Type": "application/json", "Accept": "text/event-stream"}
    connection.request("POST", path, json.dumps(body), headers)
    response = connection.getresponse()
    assert response.status == 200 and response.headers["content-type"] == "text/event-stream"
    parts = response.read().decode().split("\n\n")
    connection.close()
    assert parts.pop() == "" and all(part.startswith("data: ") for part in parts)
    return [part.removeprefix("data: ") for part in parts]


def test_texts_are_those_of_generate(runs: dict[str, Run], server: tuple[int, Server]) -> None:
    port, _ = server
    (text,) = runs["says"].generate(["3 4"], seed=7, length=9)
    status, found = ask(port, {"prompt": "3 4", "seed": 7, "length": 9}, "/generate")
    assert (status, found) == (200, {"text": text, "tokens": 9, "ended": "length"})
    prompts = ["3 4", "3 4", "5", "5"]
    texts = list(runs["says"].generate(prompts))
    status, found = ask(port, {"prompt": ["3 4", "5"], "samples": 2}, "/runs/says/generate")
    assert [each["text"] for each in found["texts"]] == texts and len(set(texts)) == 4
    told = [json.loads(each) for each in events(port, "/generate", {"prompt": ["3 4", "5"], "samples": 2})]
    for number, text in enumerate(texts):
        own = [each for each in told if each["index"] == number]
        assert "".join(each["text"] for each in own) == text and len(own) == 6
        assert [each["ended"] for each in own] == [None] * 5 + ["length"]


def test_a_client_of_the_completions_api(runs: dict[str, Run], server: tuple[int, Server]) -> None:
    port, _ = server
    (text,) = runs["says"].generate(["3 4"], seed=7, length=9, temperature=0.5)
    asked = {"model": "says", "prompt": "3 4", "max_tokens": 9, "temperature": 0.5, "seed": 7}
    status, found = ask(port, asked, "/v1/completions", Authorization="Bearer none")
    assert status == 200 and found["object"] == "text_completion" and found["model"] == "says"
    assert found["choices"] == [{"index": 0, "text": text, "logprobs": None, "finish_reason": "length"}]
    assert found["usage"] == {"prompt_tokens": 2, "completion_tokens": 9, "total_tokens": 11}
    model = json.loads(get(port, "/v1/models")[1])["data"][0]
    assert model["id"] == "says" and json.loads(get(port, "/v1/models/says")[1]) == model
    assert get(port, "/v1/models/silent")[0] == get(port, "/v1/models/other")[0] == 404

    assert ask(port, {**asked, "prompt": [3, 4]}, "/v1/completions")[1]["choices"] == found["choices"]
    more = ask(port, {**asked, "prompt": [[3, 4], [5]], "n": 2, "echo": True}, "/v1/completions")[1]
    assert [each["index"] for each in more["choices"]] == [0, 1, 2, 3]
    assert more["choices"][0]["text"] == f"3 4{text}" and more["usage"]["prompt_tokens"] == 3

    *told, usage, done = events(
        port, "/v1/completions", {**asked, "stream": True, "stream_options": {"include_usage": True}}
    )
    assert done == "[DONE]" and json.loads(usage)["usage"] == found["usage"]
    chunks = [json.loads(each) for each in told]
    assert "".join(each["choices"][0]["text"] for each in chunks) == text
    assert [each["choices"][0]["finish_reason"] for each in chunks] == [None] * 8 + ["length"]
    assert len({each["id"] for each in chunks}) == 1


def test_completions_tell_how_likely_their_tokens_are(
    runs: dict[str, Run], server: tuple[int, Server]
) -> None:
    """Before the temperature and penalties, against the whole text at once."""
    asked = {"model": "says", "prompt": "3 4", "max_tokens": 6, "temperature": 0.5, "seed": 7}
    asked |= {"repetition_penalty": 1.5, "logprobs": 2}
    (choice,) = ask(server[0], asked, "/v1/completions")[1]["choices"]
    told, ids = choice["logprobs"], [int(word) for word in choice["text"].split()]
    with torch.no_grad():
        scores = runs["says"].module("cpu")(torch.tensor([[3, 4, *ids]]))
    logs = scores[0, 1:-1].log_softmax(-1)
    assert [int(word) for word in told["tokens"]] == ids
    own = [float(logs[k, each]) for k, each in enumerate(ids)]
    assert told["token_logprobs"] == pytest.approx(own, abs=1e-4)
    for row, best, own in zip(logs, told["top_logprobs"], told["tokens"], strict=True):
        wanted = {str(int(n)): float(row[n]) for n in row.topk(2).indices} | {own: float(row[int(own)])}
        assert best == pytest.approx(wanted, abs=1e-4)
    assert [choice["text"][place:].split()[0] for place in told["text_offset"]] == told["tokens"]
    *chunks, _ = events(server[0], "/v1/completions", {**asked, "stream": True})
    parts = [json.loads(each)["choices"][0]["logprobs"] for each in chunks]
    assert {key: [each for part in parts for each in part[key]] for key in told} == told


def test_completions_without_a_seed_are_drawn_anew(server: tuple[int, Server]) -> None:
    port, _ = server
    # At this temperature the nine likeliest tokens are alike: two texts are equal once in 9^30.
    asked = {"model": "says", "prompt": "3", "max_tokens": 30, "temperature": 1e6}
    texts = {ask(port, asked, "/v1/completions")[1]["choices"][0]["text"] for _ in range(3)}
    assert len(texts) == 3


def test_a_text_ends_before_what_stops_it(runs: dict[str, Run], server: tuple[int, Server]) -> None:
    port, made = server
    (text,) = runs["says"].generate(["3 4"], seed=7, length=40)
    words = text.split()
    stop = f" {words[5]} {words[6]}"
    asked = {"model": "says", "prompt": "3 4", "max_tokens": 40, "seed": 7, "stop": [stop, "never"]}
    found = ask(port, asked, "/v1/completions")[1]
    (choice,) = found["choices"]
    assert (choice["text"], choice["finish_reason"]) == (text[: text.find(stop)], "stop")
    *told, _ = events(port, "/v1/completions", {**asked, "stream": True})
    assert "".join(json.loads(each)["choices"][0]["text"] for each in told) == choice["text"]
    until(lambda: made.texts.going == {"running": 0, "waiting": 0})


@pytest.mark.parametrize("words", [("aba",), ("ab", "b"), ("aab", "abb"), ()])
def test_stops_against_the_whole_text(words: tuple[str, ...]) -> None:
    for letters in product(["a", "b", ""], repeat=6):
        stops = Stops(words)
        said = "".join(stops.add(each, place == 5) for place, each in enumerate(letters))
        whole = "".join(letters)
        first = min((whole.find(word) for word in words if word in whole), default=len(whole))
        assert said == whole[:first] and stops.found == (first < len(whole))


def test_those_that_come_later_join_those_that_run(
    runs: dict[str, Run], server: tuple[int, Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    """And each says what it says alone, whatever the others ask."""
    port, _ = server
    sizes, begun, release, drawn = list[int](), threading.Event(), threading.Event(), Continuer._round

    def counted(one: Continuer, left: Any, joining: Any, running: Any) -> Any:
        sizes.append(len(running))
        begun.set()
        assert release.wait(30)
        return drawn(one, left, joining, running)

    monkeypatch.setattr(Continuer, "_round", counted)
    asked: list[dict[str, Any]] = [
        {"prompt": "3 4", "length": 30, "seed": 1},
        {"prompt": "5", "length": 9, "temperature": 0.0},
        {"prompt": "7 8 9 10", "length": 12, "temperature": 3.0, "top_k": 30, "repetition_penalty": 1.5},
        {"prompt": "3", "length": 5, "top_p": 0.5, "seed": 1, "end": 4},
    ]
    texts = []
    for each in asked:
        settings = {key: value for key, value in each.items() if key != "prompt"}
        texts += list(runs["says"].generate([each["prompt"]], **settings))
    with ThreadPoolExecutor(len(asked)) as pool:
        first = pool.submit(ask, port, asked[0], "/generate")
        assert begun.wait(30)
        others = [pool.submit(ask, port, each, "/generate") for each in asked[1:]]
        continuer = next(iter(server[1].texts._continuers.values()))
        until(lambda: len(continuer.waiting) == 3)
        release.set()
        found = [each.result()[1]["text"] for each in [first, *others]]
    assert found == texts and max(sizes) == 4 and sizes[0] == 1


def test_a_client_that_leaves_ends_its_text(server: tuple[int, Server]) -> None:
    port, made = server
    made.counts.texts.clear()
    body = json.dumps({"prompt": "3", "length": 4000})
    for accept in ("text/event-stream", "application/json"):
        head = HEAD.format(len(body)).replace("/predict", "/generate").strip()
        with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
            connection.sendall(f"{head}\r\nAccept: {accept}\r\n\r\n{body}".encode())
            if accept == "text/event-stream":
                assert connection.recv(100).startswith(b"HTTP/1.1 200")
            until(lambda: made.texts.going["running"] == 1)
        until(lambda: made.texts.going["running"] == 0)
    assert made.counts.texts == {("says", "left"): 2}
    assert 'graphspec_texts_total{run="says",outcome="left"} 2' in get(port, "/metrics")[1]


def test_texts_wait_for_each_other_and_not_for_ever(runs: dict[str, Run], held: threading.Event) -> None:
    with serving(runs, max_texts=1, max_waiting=1) as (port, made), ThreadPoolExecutor(2) as pool:
        texts = [pool.submit(ask, port, {"prompt": "3"}, "/generate")]
        until(lambda: made.texts.going == {"running": 1, "waiting": 0})
        texts.append(pool.submit(ask, port, {"prompt": "4"}, "/generate"))
        until(lambda: made.texts.going == {"running": 1, "waiting": 1})
        status, found = ask(port, {"prompt": "5"}, "/generate")
        assert status == 503 and found["diagnostics"][0]["help"] == "ask again a second later"
        assert found["diagnostics"][0]["message"].startswith("2 texts go on or wait already")
        status, found = ask(port, {"prompt": ["5", "6", "7"]}, "/generate")
        assert status == 413 and "--max-waiting" in found["diagnostics"][0]["help"]
        held.set()
        assert [each.result()[0] for each in texts] == [200, 200]


def test_a_text_that_does_not_begin_in_time(runs: dict[str, Run], held: threading.Event) -> None:
    with serving(runs, timeout=0.3) as (port, made):
        status, found = ask(port, {"prompt": "3"}, "/generate")
        assert status == 503 and found["diagnostics"][0]["message"] == "no answer within 0.3 seconds"
        held.set()
        until(lambda: made.texts.going == {"running": 0, "waiting": 0})
        made.limits.timeout = 30.0
        assert ask(port, {"prompt": "3"}, "/generate")[0] == 200


def test_the_memory_of_states_is_limited(runs: dict[str, Run]) -> None:
    with serving(runs, max_states=20 * STATE) as (port, _):
        asked = {"prompt": "3 4", "length": 18}
        assert ask(port, asked, "/generate")[0] == 200
        status, found = ask(port, {**asked, "length": 19}, "/generate")
        assert status == 413 and found["diagnostics"][0]["message"].startswith(
            "the states of the text take 1,344"
        )
        status, found = ask(port, {"prompt": ["1", "2", "3", "4"], "length": 9}, "/generate")
        assert status == 200 and [each["tokens"] for each in found["texts"]] == [9] * 4, "two at a time"


def test_texts_of_sources_that_are_read_once(runs: dict[str, Run]) -> None:
    """Their states count by the length of the source; their prompts are its tokens."""
    path = "/runs/translates/generate"
    with serving(runs, max_states=3 * 64 + 32) as (port, _):
        sources = ["3 4 5", "7", "8 9", "7"]
        expected = list(runs["translates"].generate(sources, seed=3))
        status, found = ask(port, {"prompt": sources, "seed": 3}, path)
        assert status == 200 and [each["text"] for each in found["texts"]] == expected
        status, found = ask(port, {"prompt": "3 4 5 6"}, path)
        message = "the states of the text take 288 bytes; at most 224 are held"
        assert status == 413 and found["diagnostics"][0]["message"] == message
        asked = {"model": "translates", "prompt": "3 4 5", "seed": 3, "echo": True}
        status, found = ask(port, asked, "/v1/completions")
        assert found["usage"]["prompt_tokens"] == 3 and found["choices"][0]["text"] == f"3 4 5{expected[0]}"
        for wrong, words in (("", "empty"), ("30", "30 of the prompt"), ("la", "not the number")):
            status, found = ask(port, {"prompt": wrong}, path)
            assert status == 422 and words in found["diagnostics"][0]["message"]


def test_one_text_that_fails_harms_no_other(
    runs: dict[str, Run], server: tuple[int, Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    port, _ = server
    start, next, calls = Scorer.start, Scorer.next, list[int]()

    def starting(one: Scorer, prompts: Any, longest: int) -> Any:
        if any(each.ids == [13] for each in prompts):
            raise RuntimeError("out of luck")
        return start(one, prompts, longest)

    def failing(one: Scorer, stepper: Any, tokens: Any) -> Any:
        calls.append(len(tokens))
        if len(calls) == 3:
            raise RuntimeError("out of range")
        return next(one, stepper, tokens)

    monkeypatch.setattr(Scorer, "start", starting)
    with ThreadPoolExecutor(3) as pool:
        asked = [pool.submit(ask, port, {"prompt": each}, "/generate") for each in ("3", "13", "4")]
        statuses = [each.result() for each in asked]
    assert [status for status, _ in statuses] == [200, 500, 200]
    (told,) = statuses[1][1]["diagnostics"]
    assert told["code"] == "run-failed" and told["message"].endswith("out of luck")
    monkeypatch.setattr(Scorer, "next", failing)
    *said, failure = events(port, "/generate", {"prompt": "3"})
    assert len(said) == 3 and json.loads(failure)["diagnostics"][0]["message"].endswith("out of range")
    calls.clear()
    *said, failure = events(port, "/v1/completions", {"model": "says", "prompt": "3", "stream": True})
    assert len(said) == 3 and json.loads(failure)["error"]["code"] == "run-failed"
    assert ask(port, {"prompt": "3"}, "/generate")[0] == 200


WRONG: dict[str, tuple[Any, int, str, str]] = {
    "no prompt": ({"length": 3}, 422, "missing-key", "prompt"),
    "prompts": ({"prompts": "3"}, 422, "unknown-key", "prompts"),
    "a number": ({"prompt": 3}, 422, "wrong-type", "`prompt` of the request"),
    "none of many": ({"prompt": []}, 422, "prompt-misfit", "no prompt"),
    "an empty one": ({"prompt": ""}, 422, "prompt-misfit", "empty"),
    "an unknown token": ({"prompt": "30"}, 422, "prompt-misfit", "30 of the prompt"),
    "cold": ({"prompt": "3", "temperature": -1}, 422, "out-of-range", "temperature"),
    "too long": ({"prompt": "3", "length": 5000}, 422, "out-of-range", "at most 4,096"),
    "a search": ({"prompt": "3", "beams": 2}, 422, "not-supported", "beams"),
    "another output": ({"prompt": "3", "from": "next"}, 422, "not-supported", "from"),
    "an end that is no token": ({"prompt": "3", "end": 30}, 422, "prompt-misfit", "end"),
    "a list": ([], 422, "wrong-type", "the request"),
    "no JSON": (b"{", 400, "data-format", "not JSON"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_is_wrong_is_told_before_anything_is_computed(case: str, server: tuple[int, Server]) -> None:
    port, made = server
    body, status, code, words = WRONG[case]
    before = sum(made.counts.tokens.values())
    found, told = ask(port, body, "/generate")
    assert found == status and sum(made.counts.tokens.values()) == before
    assert any(each["code"] == code and words in each["message"] for each in told["diagnostics"])


WRONG_COMPLETIONS: dict[str, tuple[dict[str, Any], int, str]] = {
    "another model": ({"model": "other"}, 404, "there is no run `other` here"),
    "a run that makes no texts": ({"model": "silent"}, 404, "makes no texts"),
    "probabilities of more": ({"logprobs": 9}, 422, "logprobs"),
    "those of prompts": ({"logprobs": 3, "echo": True}, 422, "`echo` with `logprobs`"),
    "a penalty": ({"frequency_penalty": 0.5}, 422, "leave out `frequency_penalty`"),
    "the best of": ({"n": 1, "best_of": 3}, 422, "leave out `best_of`"),
    "no tokens": ({"prompt": []}, 422, "no prompt"),
    "what it does not know": ({"max_length": 3}, 422, "max_length"),
}


@pytest.mark.parametrize("case", WRONG_COMPLETIONS)
def test_clients_of_the_completions_api_are_told_in_its_form(case: str, server: tuple[int, Server]) -> None:
    changed, status, words = WRONG_COMPLETIONS[case]
    found, told = ask(server[0], {"model": "says", "prompt": "3", **changed}, "/v1/completions")
    assert found == status and words in told["error"]["message"] and told["error"]["code"]


def test_texts_are_counted_before_they_are_made(
    server: tuple[int, Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    port, made = server
    monkeypatch.setattr(made.texts, "_sequences", None)
    for body in ({"prompt": "3", "samples": 10**12}, {"prompt": ["3"] * 90}):
        status, told = ask(port, body, "/generate")
        assert status == 413 and "texts; at most" in told["diagnostics"][0]["message"]
    assert ask(port, {"model": "says", "prompt": "3", "n": 10**12}, "/v1/completions")[0] == 413


def test_what_asks_for_nothing_may_be_said(server: tuple[int, Server]) -> None:
    idle = {"logprobs": None, "presence_penalty": 0, "frequency_penalty": 0.0, "best_of": 1, "user": "me"}
    asked: dict[str, Any] = {
        "model": "says",
        "prompt": "3",
        "max_tokens": 2,
        "suffix": None,
        "logit_bias": {},
        **idle,
    }
    assert ask(server[0], asked, "/v1/completions")[0] == 200


def test_a_run_that_makes_no_texts_says_why(server: tuple[int, Server]) -> None:
    status, found = ask(server[0], {"prompt": "3"}, "/runs/silent/generate")
    (told,) = found["diagnostics"]
    assert status == 404 and told["code"] == "not-causal" and "no input holds tokens" in told["help"]


def test_texts_are_described(server: tuple[int, Server]) -> None:
    port, _ = server
    described = json.loads(get(port, "/openapi.json")[1])
    OpenAPIV31SpecValidator(described).validate()
    paths = described["paths"]
    assert {"/generate", "/runs/says/generate", "/v1/completions"} <= paths.keys()
    assert "/runs/silent/generate" not in paths

    def fits(value: Any, path: str, status: str | None = None) -> None:
        post = paths[path]["post"]
        part = post["requestBody"] if status is None else post["responses"][status]
        schema = {**part["content"]["application/json"]["schema"], "components": described["components"]}
        jsonschema.Draft202012Validator(schema).validate(value)

    for body in ({"prompt": "3"}, {"prompt": ["3", "4"]}):
        fits(body, "/generate")
        fits(ask(port, body, "/generate")[1], "/generate", "200")
    fits(ask(port, {"prompt": ""}, "/generate")[1], "/generate", "422")
    asked = {"model": "says", "prompt": [3], "stream_options": {"include_usage": True}}
    fits(asked, "/v1/completions")
    fits(ask(port, asked, "/v1/completions")[1], "/v1/completions", "200")
    fits(ask(port, {**asked, "model": "x"}, "/v1/completions")[1], "/v1/completions", "404")


DRAWS = """
inputs:
  image: {shape: [4, 4, 1], dtype: float32}
  time:  {shape: [1, 1, 1], default: random_uniform}
  noise: {shape: [4, 4, 1], default: random_normal}
nodes:
  noisy: {compute: (1 - time) * noise + time * image}
  way:   {layer: Conv2D, from: noisy, filters: 1, kernel_size: 3, padding: same}
outputs: [way]
generate:
  noisy:
    start: random_normal
    repeat: {time: {from: 0, to: 1, steps: 4}}
    next: noisy + (next_time - time) * way
"""


def test_samples_are_made_of_noise(runs: dict[str, Run], tmp_path: Path) -> None:
    (tmp_path / "draws.yaml").write_text(DRAWS)
    weights = Path(runs["says"].path).parent / "draws.safetensors"
    save(weights, dict(graphspec.compile(DRAWS).module(seed=1).state_dict()), {})
    run = Run(tmp_path / "draws.yaml", weights)
    with serving({"draws": run, "says": runs["says"]}, max_rows=9, max_tokens=50) as (port, _):
        status, answer = ask(port, {"samples": 3, "steps": 2, "seed": 5}, "/generate")
        expected = [each.tolist() for each in run.generate(samples=3, steps=2, seed=5)]
        assert status == 200
        np.testing.assert_allclose(answer["samples"], expected, atol=1e-5)
        picture = http.client.HTTPConnection("localhost", port)
        headers = {"content-type": "application/json", "accept": "image/png"}
        picture.request("POST", "/generate", json.dumps({"samples": 2}), headers)
        drawn = picture.getresponse()
        assert drawn.status == 200 and drawn.read().startswith(b"\x89PNG")
        picture.close()
        for body, status, words in (
            ({"samples": 10}, 413, "at most 9"),
            ({"steps": 60}, 413, "at most 50"),
            ({"rows": {"kind": 1}}, 422, "noise alone"),
            ({"prompt": "a"}, 422, "prompt"),
            ({"steps": 0}, 422, "steps"),
        ):
            found, refused = ask(port, body, "/generate")
            assert found == status and words in json.dumps(refused), body
        assert ask(port, {"prompt": "1 2"}, "/runs/says/generate")[0] == 200
        description = json.loads(get(port, "/openapi.json")[1])
    OpenAPIV31SpecValidator(description).validate()
    assert "image/png" in description["paths"]["/generate"]["post"]["responses"]["200"]["content"]

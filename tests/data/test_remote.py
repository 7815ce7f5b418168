"""Data in object storage: Parquet on a local server that speaks S3."""

import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as parquet
import pytest
import torch
from typer.testing import CliRunner

import graphspec
from graphspec.cli.app import app
from graphspec.data import loading, preparing, remote
from graphspec.data import shards as shards_room
from graphspec.diagnostics import SpecError
from graphspec.train.loop import train
from tests import ROOT
from tests.processes import ENDLESS
from tests.train.test_parallel import READS, finished, torchrun

SPEC = """
inputs: {a: {shape: []}, b: {shape: []}}
nodes:
  both: {op: stack, from: [a, b], axis: -1}
  y: {layer: Dense, units: 1}
outputs: {y: {loss: mse}}
train: {optimizer: adam, epochs: 2, batch_size: 8}
data: {train: DATA, features: {a: {encode: number}, b: {encode: number}}}
"""
COMMAND = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p"]


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """The address of a server with nothing in it."""
    if find_spec("moto") is None:
        pytest.skip("moto is not installed: its server stands for S3")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    address = f"http://127.0.0.1:{port}"
    process = subprocess.Popen([*COMMAND, str(port)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        for _ in range(10 * ENDLESS):
            try:
                urllib.request.urlopen(f"{address}/moto-api/", timeout=60).close()
                break
            except (urllib.error.URLError, OSError):
                time.sleep(0.1)
        yield address
    finally:
        process.kill()
        process.wait()


@pytest.fixture
def bucket(server: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Writes shards into a bucket; the environment names the server."""
    for name, value in (
        ("AWS_ENDPOINT_URL", server),
        ("AWS_REGION", "us-east-1"),
        ("AWS_ACCESS_KEY_ID", "test"),
        ("AWS_SECRET_ACCESS_KEY", "test"),
        ("AWS_EC2_METADATA_DISABLED", "true"),
    ):
        monkeypatch.setenv(name, value)
    remote._system.cache_clear()
    _, system = remote.located(Path("s3://shop/x"))
    assert system is not None
    request = urllib.request.Request(f"{server}/shop", method="PUT")
    urllib.request.urlopen(request, timeout=ENDLESS).close()
    for number, part in enumerate(tables()):
        parquet.write_table(part, f"shop/data/part-{number}.parquet", filesystem=system, row_group_size=10)
    with system.open_output_stream("shop/data/readme.txt") as stream:
        stream.write(b"not a table")
    yield "s3://shop/data/part-*.parquet"
    remote._system.cache_clear()


def tables() -> list[pa.Table]:
    source = np.random.default_rng(0)
    found = []
    for _ in range(3):
        a, b = source.normal(size=(2, 25))
        found.append(pa.table({"a": a, "b": b, "y": a + 2 * b}))
    return found


def test_a_training_is_that_on_the_same_files_beside_the_spec(bucket: str, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    for number, part in enumerate(tables()):
        parquet.write_table(part, tmp_path / "data" / f"part-{number}.parquet")
    (tmp_path / "near.yaml").write_text(SPEC.replace("DATA", "data/part-*.parquet"))
    (tmp_path / "far.yaml").write_text(SPEC.replace("DATA", bucket))
    program = graphspec.compile(tmp_path / "near.yaml")
    place: dict[str, Any] = {"root": tmp_path, "device": "cpu", "tell": lambda line: None}
    near = train(program, run_dir=tmp_path / "near", **place)
    named = train(program, data=Path(bucket), run_dir=tmp_path / "named", **place)
    assert named.history == near.history
    about = json.loads((tmp_path / "named" / "environment.json").read_text())
    assert about["data"] == bucket
    command = ["train", str(tmp_path / "far.yaml"), "--run-dir", str(tmp_path / "far"), "--progress", "none"]
    refused = CliRunner().invoke(app, command)
    assert refused.exit_code == 1 and "data-outside" in refused.stderr and "--allow-url" in refused.stderr
    allowed = CliRunner().invoke(app, [*command, "--allow-url", "--json"])
    assert allowed.exit_code == 0, allowed.stderr
    assert json.loads(allowed.stdout)["history"]["loss"] == near.history["loss"]


def test_prepared_data_lie_in_object_storage(bucket: str, tmp_path: Path) -> None:
    """One that is continued makes what is missing; a training reads it as it reads the table."""
    (tmp_path / "far.yaml").write_text(SPEC.replace("DATA", bucket))
    program, store = graphspec.compile(tmp_path / "far.yaml"), Path("s3://shop/set")
    monkey = pytest.MonkeyPatch()
    monkey.setattr(shards_room, "ROWS", 20)
    try:
        done = preparing.prepare(program, store, Path(bucket), workers=1)
        assert done.made == 4
        key, system = remote.located(store / "training-00002.arrow")
        assert system is not None
        system.delete_file(str(key))
        with pytest.raises(SpecError, match=r"training-00002.arrow` is missing"):
            loading.load(program, store, None, torch.device("cpu"))
        assert preparing.prepare(program, store, Path(bucket), workers=1).index == done.index
    finally:
        monkey.undo()
    place: dict[str, Any] = {"device": "cpu", "tell": lambda line: None}
    one = train(program, data=store, run_dir=tmp_path / "one", **place)
    other = train(program, data=Path(bucket), run_dir=tmp_path / "other", **place)
    assert one.history == other.history


@pytest.mark.parity  # of files here: tests/train/test_parallel.py
def test_one_process_of_a_machine_reads(bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "far.yaml").write_text(SPEC.replace("DATA", "here.parquet"))
    (tmp_path / "reads.py").write_text(READS)
    place: dict[str, Any] = {"root": tmp_path, "device": "cpu", "tell": lambda line: None}
    program = graphspec.compile(tmp_path / "far.yaml")
    alone = train(program, data=Path(bucket), run_dir=tmp_path / "alone", **place)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
    done = finished(
        torchrun(2, "reads.py", "train", "far.yaml", "--data", bucket, "--device", "cpu", "--json")
    )
    assert done.returncode == 0, done.stderr
    np.testing.assert_allclose(json.loads(done.stdout)["history"]["loss"], alone.history["loss"], rtol=1e-6)
    assert [path.name for path in tmp_path.glob("read-*")] == ["read-0"]


@pytest.mark.parametrize(
    ("path", "code", "words"),
    [
        ("s3://nowhere/x/part-*.parquet", "data-missing", "nowhere"),
        ("s3://shop/data/part-9.parquet", "data-missing", "there is no `s3://shop/data/part-9.parquet`"),
        ("s3://shop/data/other-*.parquet", "data-empty", "matches no file"),
        ("s3://shop/data/*", "data-format", "`s3://shop/data/readme.txt` is not a Parquet file"),
        ("s3://shop", "data-missing", "names no file"),
    ],
)
def test_what_is_not_there_is_said(bucket: str, path: str, code: str, words: str) -> None:
    with pytest.raises(SpecError) as caught:
        remote.files_at(Path(path))
    assert caught.value.diagnostics[0].code == code
    assert words in str(caught.value)


def test_a_server_that_does_not_answer_is_said(bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    remote._system.cache_clear()
    with pytest.raises(SpecError, match="AWS_ENDPOINT_URL") as caught:
        remote.files_at(Path(bucket))
    assert caught.value.diagnostics[0].code == "data-missing"


def test_a_region_that_cannot_be_asked_for_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a network and a region in the environment."""

    def unreachable(bucket: str) -> str:
        raise OSError(f"When resolving region for bucket '{bucket}': AWS Error NETWORK_CONNECTION")

    for name in (*remote.ENDPOINTS, *remote.REGIONS):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("pyarrow.fs.resolve_s3_region", unreachable)
    remote._system.cache_clear()
    with pytest.raises(SpecError, match="resolving region") as caught:
        remote.files_at(Path("s3://shop/x.parquet"))
    assert caught.value.diagnostics[0].code == "data-missing"


@pytest.mark.parametrize(
    ("reason", "words"),
    [
        ("AWS Error ACCESS_DENIED during HeadObject operation: No response body.", "AWS_ACCESS_KEY_ID"),
        ("AWS Error NO_SUCH_BUCKET during ListObjectsV2 operation", "there is no bucket `shop`"),
        ("AWS Error NETWORK_CONNECTION during HeadBucket operation", "AWS_ENDPOINT_URL"),
    ],
)
def test_each_answer_has_a_remedy(reason: str, words: str) -> None:
    assert words in str(remote.unreadable(Path("s3://shop/x.parquet"), OSError(reason)))


@pytest.mark.parametrize("name", ["novel", "carbon_dioxide"])
def test_a_preparation_into_object_storage_goes_on_where_it_was_killed(
    name: str, bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of texts and of windows: the store is that of a folder, and so are its examples."""
    monkeypatch.setattr(shards_room, "ROWS", 900)
    monkeypatch.setattr(shards_room, "SHARD_BYTES", 2**16)
    program, far = graphspec.compile(ROOT / "specs" / f"{name}.yaml"), Path(f"s3://shop/{name}")
    here = preparing.prepare(program, tmp_path / "here", root=ROOT / "specs", workers=1)
    write, written = shards_room.write, list[str]()

    def stopping(folder: Path, file: str, *about: Any) -> Any:
        written.append(file)
        if len(written) == 2:
            raise KeyboardInterrupt
        return write(folder, file, *about)

    monkeypatch.setattr(shards_room, "write", stopping)
    with pytest.raises(KeyboardInterrupt):
        preparing.prepare(program, far, root=ROOT / "specs", workers=1)
    done = preparing.prepare(program, far, root=ROOT / "specs", workers=1)
    assert 0 < done.made < len(done.index.shards) and done.index == here.index
    device = torch.device("cpu")
    one, other = (loading.load(program, store, None, device).training for store in (far, tmp_path / "here"))
    for mine, theirs in zip(one.batches(64), other.batches(64), strict=True):
        assert all(torch.equal(mine.arrays[key], theirs.arrays[key]) for key in theirs.arrays)

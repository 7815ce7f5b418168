"""What a shell completes, by what is on the line."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from graphspec.cli.app import app
from tests import ROOT


@pytest.mark.parametrize(
    ("line", "there"),
    [
        ("layers De", {"Dense", "DepthwiseConv2D"}),
        ("explain unknown-la", {"unknown-layer"}),
        ("summary resnet50.yaml --preset ", {"resnet101"}),
        ("build resnet50.yaml --set de", {"depths="}),
        ("train resnet50.yaml --set train.e", {"train.epochs="}),
        ("train resnet50.yaml --set train.optimizer.", {"train.optimizer.learning_rate="}),
        ("train resnet50.yaml --set nodes.pro", {"nodes.probs.units="}),
        ("train resnet50.yaml --set outputs.probs.l", {"outputs.probs.loss="}),
        ("train resnet50.yaml --set nothing.", set()),
        ("weights resnet50.yaml --rules gp", {"gpt2"}),
        ("evaluate runs/di", {"runs/digits-1"}),
        ("summary absent.yaml --preset ", set()),
        ("compare ", {"check"}),
        ("import nothing ", {"keras"}),
        ("train resnet50.yaml --device ", {"auto", "cpu", "cuda"}),
        ("train resnet50.yaml --progress j", {"json"}),
        ("train resnet50.yaml --compile o", {"on", "off"}),
        ("schema --of ", {"spec", "check"}),
    ],
)
def test_values_are_completed(
    line: str, there: set[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("resnet50.yaml").write_text((ROOT / "specs" / "resnet50.yaml").read_text())
    Path("runs/digits-1").mkdir(parents=True)
    Path("runs/digits-1/spec.yaml").write_text("")
    words = f"graphspec {line}"
    environment = {
        "_GRAPHSPEC_COMPLETE": "complete_bash",
        "COMP_WORDS": words,
        "COMP_CWORD": str(words.count(" ")),
    }
    done = CliRunner().invoke(app, [], prog_name="graphspec", env=environment)
    found = set(done.output.split())
    assert there <= found and (bool(there) or not found)

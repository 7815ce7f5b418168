"""The trainings that `make bench` compares learn from the same data, each by its own loss."""

from dataclasses import replace
from pathlib import Path

import pytest

from bench import trainers
from tests import one_in


@pytest.mark.parametrize("name", one_in(2, ["dense", "posts", "siamese", "gpt"]))
def test_graphspec_and_the_loop_by_hand_take_the_same_data(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = replace(trainers.SUBJECTS[name], batch_size=2, examples=4, epochs=2)
    monkeypatch.setitem(trainers.SUBJECTS, name, small)
    trainers.write_data(name, tmp_path / "d.npz")
    for way in (trainers.by_graphspec, trainers.by_hand):
        assert len(way(name, tmp_path / "d.npz")) == 2

"""`--device cuda` without a card: see `tests/card.py` for what stands for one."""

from pathlib import Path

import pytest

from tests import one_in, processes
from tests.train import card_cases


@pytest.mark.parametrize("case", one_in(3, [each.__name__ for each in card_cases.CASES]))
def test_a_device_without_a_card(case: str, tmp_path: Path) -> None:
    """Each in a process of its own: the backward pass knows the devices that were there at its first call."""
    code = f"card.install(); card_cases.{case}(Path({str(tmp_path)!r}))"
    names = "from pathlib import Path; from tests import card; from tests.train import card_cases; "
    done = processes.run(["-c", names + code])
    assert done.returncode == 0, done.stderr

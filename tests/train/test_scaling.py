"""The plan of a large training: sharded and checkpointed on the meta device, over a process group of torch's
that pretends.
"""

import json
import subprocess
import sys

import pytest

from tests import ROOT
from tests.processes import ENDLESS

pytestmark = pytest.mark.parity


@pytest.fixture(scope="module")
def plan() -> dict[str, int]:
    command = [sys.executable, "-m", "bench.plan", "--processes", "1024"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=ENDLESS)
    assert done.returncode == 0, done.stderr
    found: dict[str, int] = json.loads(done.stdout)
    return found


def test_every_block_of_the_spec_is_a_unit(plan: dict[str, int]) -> None:
    assert plan["parameters"] == 6_666_792_960
    assert plan["units"] == 33
    vocabulary, context, width = 50257, 4096, 4096
    assert plan["largest_unit"] == vocabulary * width + context * width + 2 * width


def test_a_process_holds_its_part_and_no_more(plan: dict[str, int]) -> None:
    even = plan["parameters"] / 1024
    assert even <= plan["own_parameters"] <= 1.01 * even


def test_the_plan_of_a_checkpoint_covers_it_once(plan: dict[str, int]) -> None:
    """Weights and the two moments of AdamW, float32."""
    assert plan["checkpoint_bytes"] == 3 * 4 * plan["parameters"]
    assert plan["own_checkpoint_bytes"] == 3 * 4 * plan["own_parameters"]

"""The benchmarks compare equal things: the Keras model of a spec gives the outputs of the emitted module."""

import pytest

from bench.cases import CASES
from bench.modules import same_in_keras

pytestmark = pytest.mark.filterwarnings("ignore:Layer .* was passed an input with a mask:UserWarning")


@pytest.mark.parametrize("name", ["dense", "vae", "item_price", "posts", "siamese"])
def test_the_keras_model_of_a_spec_is_the_same_network(name: str) -> None:
    case = CASES[name]
    program = case.program(name)
    same_in_keras(program, program.module(seed=0), case)

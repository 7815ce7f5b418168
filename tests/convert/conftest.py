"""What imports of many small modules share."""

from collections.abc import Iterator

import pytest


@pytest.fixture
def little_repeats() -> Iterator[None]:
    """For modules in which next to nothing repeats: PyTorch's traces keep no shapes for operators that come
    again, which costs a third of a trace. `tests/export` and the zoo trace with what is kept.
    """
    import torch._dynamo.config

    with torch._dynamo.config.patch(fake_tensor_cache_enabled=False):
        yield


@pytest.fixture
def shapes_are_kept(little_repeats: None) -> Iterator[None]:
    """For one test of such a module: it imports as users do."""
    import torch._dynamo.config

    with torch._dynamo.config.patch(fake_tensor_cache_enabled=True):
        yield

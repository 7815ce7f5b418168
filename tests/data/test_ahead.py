"""Items that a thread makes ahead: their order, how many there are at a time, mistakes, and its end."""

from __future__ import annotations

import threading
from collections.abc import Generator

import pytest

from graphspec.data.ahead import ahead


def test_one_item_is_made_while_another_is_used_and_no_more() -> None:
    made, second = list[int](), threading.Event()

    def items() -> Generator[int, None, None]:
        for number in range(4):
            made.append(number)
            if number == 1:
                second.set()
            yield number

    found = ahead(items())
    assert next(found) == 0
    assert second.wait(10) and made == [0, 1]
    assert list(found) == [1, 2, 3] and made == [0, 1, 2, 3]


def test_a_mistake_comes_where_its_item_would_have() -> None:
    def items() -> Generator[int, None, None]:
        yield 1
        raise ValueError("row 2")

    found = ahead(items())
    assert next(found) == 1
    with pytest.raises(ValueError, match="row 2"):
        next(found)


def test_the_thread_ends_with_the_iterator() -> None:
    ended = list[str]()

    def items() -> Generator[int, None, None]:
        try:
            while True:
                yield 1
        finally:
            ended.append(threading.current_thread().name)

    before = threading.active_count()
    found = ahead(items())
    next(found)
    del found
    assert ended == ["graphspec reads ahead"] and threading.active_count() == before

"""Reading ahead: a thread makes the next item of an iterator while the last one is used."""

from __future__ import annotations

import threading
from collections.abc import Generator, Iterator
from queue import SimpleQueue
from typing import Any, TypeVar

T = TypeVar("T")


def ahead(items: Generator[T, None, None]) -> Iterator[T]:
    """The items of a generator, in their order. While one is used, a thread makes the next: two are in
    memory. What the generator raises comes where its item would have.

    The thread ends with the iterator, also where that is closed before its end.
    """
    room, made = threading.Semaphore(1), SimpleQueue[tuple[bool, Any]]()
    over = threading.Event()

    def make() -> None:
        try:
            while True:
                room.acquire()
                if over.is_set():
                    return
                made.put((True, next(items)))
        except StopIteration:
            made.put((False, None))
        except BaseException as error:  # raised where the items are read
            made.put((False, error))
        finally:
            items.close()

    thread = threading.Thread(target=make, name="graphspec reads ahead", daemon=True)
    thread.start()
    try:
        while True:
            there, item = made.get()
            if not there:
                if item is not None:
                    raise item
                return
            room.release()
            yield item
            del item
    finally:
        over.set()
        room.release()
        thread.join()

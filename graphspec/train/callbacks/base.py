"""The interface of callbacks: objects with the methods of Keras' `Callback`, from the spec or custom ones.

class Print(Callback):
    def on_epoch_end(self, epoch, logs):
        print(epoch, logs["loss"], self.model.optimizer.learning_rate)

train(program, callbacks=[Print()])
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from torch import Tensor

from graphspec.train.checkpoint import State, joined

METHODS = (
    *("on_train_begin", "on_train_end", "on_epoch_begin", "on_epoch_end", "on_train_batch_begin"),
    *("on_train_batch_end", "on_test_begin", "on_test_end"),
)


class Callback:
    """A base for callbacks; an object that has some of these methods is one as well.

    `model` is the training under way: its `module`, `optimizer.learning_rate`, `history`, `run_dir`, and
    `stop_training`, which may be set. Epochs and batches count from 0. `logs` of an epoch are its values, of
    a batch the mean `loss` so far. What a callback remembers survives a resume if `state_dict` returns it: a
    dict of tensors and of what JSON can hold, which `load_state_dict` gets back.
    """

    model: Any

    def on_train_begin(self, logs: Any = None) -> None: ...

    def on_train_end(self, logs: Any = None) -> None: ...

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None: ...

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None: ...

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None: ...

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None: ...

    def on_test_begin(self, logs: Any = None) -> None: ...

    def on_test_end(self, logs: Any = None) -> None: ...

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None: ...

    def close(self) -> None:
        """Called at the end of training, however it ended."""


class Callbacks:
    """Several callbacks as one, called in their order, by their names."""

    def __init__(self, items: Iterable[tuple[str, Any]] = ()):
        self.items = dict(items)
        self._methods = {method: list(self._having(method)) for method in METHODS}
        self.watches_batches = bool(
            self._methods["on_train_batch_begin"] or self._methods["on_train_batch_end"]
        )

    def begin(self, training: Any, state: State | None) -> None:
        """Called when the training starts or resumes: sets the `model` of each callback, and restores its
        state.
        """
        for item in self.items.values():
            item.model = training
        self.call("on_train_begin", {})
        if state is not None:
            self._restore(state)

    def call(self, method: str, *arguments: Any) -> None:
        """Calls a method of all callbacks that have it."""
        for bound in self._methods[method]:
            bound(*arguments)

    def state(self) -> State:
        """The states of the callbacks, by name."""
        parts = {}
        for name, item in self.items.items():
            found = item.state_dict() if hasattr(item, "state_dict") else {}
            tensors = {key: value for key, value in found.items() if isinstance(value, Tensor)}
            parts[name] = State(tensors, {key: value for key, value in found.items() if key not in tensors})
        return joined(parts)

    def _restore(self, state: State) -> None:
        """Restores the state of each; a new one starts without state."""
        for name, item in self.items.items():
            part = state.part(name)
            if part.numbers is not None and hasattr(item, "load_state_dict"):
                item.load_state_dict({**part.numbers, **part.tensors})

    def close(self) -> None:
        for item in self.items.values():
            if isinstance(item, Callback):
                item.close()

    def _having(self, method: str) -> Iterable[Callable[..., None]]:
        for item in self.items.values():
            bound = getattr(item, method, None)
            if callable(bound) and getattr(type(item), method, None) is not getattr(Callback, method):
                yield bound

"""The interface of callbacks: objects with the methods of Keras' `Callback`, from the spec or custom ones.

class Print(Callback):
    def on_epoch_end(self, epoch, logs):
        print(epoch, logs["loss"], self.model.optimizer.learning_rate)

train(program, callbacks=[Print()])
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from torch import Tensor, from_numpy

from graphspec.diagnostics import fail
from graphspec.train.checkpoint import State, joined
from graphspec.train.config.callbacks import CALLBACKS
from graphspec.train.stored import need_like, restoring

METHODS = (
    *("on_train_begin", "on_train_end", "on_epoch_begin", "on_epoch_end", "on_train_batch_begin"),
    *("on_train_batch_end", "on_test_begin", "on_test_end"),
)


class Callback:
    """A base for callbacks. Any object with some of these methods is a callback, too.

    `model` is the training under way: its `module`, `optimizer.learning_rate`, `history`, `run_dir`, and
    `stop_training`, which may be set. Epochs and batches count from 0. `logs` of an epoch are its values, of
    a batch the mean `loss` so far. The state of a callback survives a resume if `state_dict` returns it, a
    dict of tensors and JSON values; `load_state_dict` gets it back.
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


class AsModel:
    """A training as callbacks of Keras see it: a model with the attributes that they read and set."""

    def __init__(self, training: Any):
        self._training = training

    @property
    def stop_training(self) -> bool:
        stop: bool = self._training.stop_training
        return stop

    @stop_training.setter
    def stop_training(self, wanted: bool) -> None:
        self._training.stop_training = bool(wanted)

    @property
    def optimizer(self) -> Any:
        return self._training.optimizer

    def get_weights(self) -> list[Any]:
        """Copies of all weights and buffers, in the order of the state dict."""
        return [tensor.detach().cpu().clone().numpy() for tensor in self._training.weights().values()]

    def set_weights(self, weights: Iterable[Any]) -> None:
        names = self._training.weights()
        self._training.spread.load({n: from_numpy(w) for n, w in zip(names, weights, strict=True)})


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
            if callable(tell := getattr(item, "set_params", None)):
                tell({"epochs": training.epochs, "verbose": 0})
            if callable(give := getattr(item, "set_model", None)):
                give(AsModel(training))
            else:
                item.model = training
        self.call("on_train_begin", {})
        if state is not None:
            with restoring(training.run.path):
                self._restore(state)

    def call(self, method: str, *arguments: Any) -> None:
        """Calls a method of all callbacks that have it. Raises `SpecError` for one that asks a training for
        what only a model of Keras has.
        """
        for bound in self._methods[method]:
            try:
                bound(*arguments)
            except AttributeError as error:
                item: Any = getattr(bound, "__self__", None)
                if error.obj is None or error.obj is not getattr(item, "model", None):
                    raise
                name = type(item).__name__
                message = f"the callback `{name}` uses `model.{error.name}`, which a training does not have"
                help = None
                if name in CALLBACKS.members:
                    help = f"write it in the spec: `callbacks: {{{CALLBACKS.members[name].canonical}: {{}}}}`"
                raise fail("callback-misfit", message, help) from error

    def state(self) -> State:
        """The states of the callbacks, by name."""
        parts = {}
        for name, item in self.items.items():
            saved = item.state_dict() if hasattr(item, "state_dict") else {}
            tensors = {key: value for key, value in saved.items() if isinstance(value, Tensor)}
            parts[name] = State(tensors, {key: value for key, value in saved.items() if key not in tensors})
        return joined(parts)

    def _restore(self, state: State) -> None:
        """Restores the state of each; a new one starts without state."""
        for name, item in self.items.items():
            part = state.part(name)
            if part.numbers is not None and hasattr(item, "load_state_dict"):
                item_state = item.state_dict() if isinstance(item, Callback) else {}
                need_like(
                    part.numbers, {k: v for k, v in item_state.items() if not isinstance(v, Tensor)}, name
                )
                item.load_state_dict({**part.numbers, **part.tensors})

    def close(self) -> None:
        for item in self.items.values():
            if isinstance(item, Callback):
                item.close()

    def _having(self, method: str) -> Iterable[Callable[..., None]]:
        for item in self.items.values():
            bound = getattr(item, method, None)
            old = method.replace("train_batch", "batch")  # by which Keras calls the same
            if callable(bound) and not (_is_empty(item, method) and _is_empty(item, old)):
                yield bound


def _is_empty(item: Any, method: str) -> bool:
    """Whether a callback has a method as the base class left it, ours or that of Keras."""
    if method in getattr(item, "__dict__", {}):
        return False
    owner = next((kind for kind in type(item).__mro__ if method in vars(kind)), None)
    keras = owner is not None and owner.__name__ == "Callback" and "keras" in owner.__module__.split(".")
    return owner is None or owner is Callback or keras

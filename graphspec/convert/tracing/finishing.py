"""The graph that a trace leaves, as a model that Keras can save: names, shapes with None for the batch,
arrays without one.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Container, Iterable
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

from graphspec.convert.tracing.live import replaced
from graphspec.convert.tracing.sources import SOURCE
from graphspec.convert.tracing.symbolic import (
    CountsExamples,
    Untraceable,
    is_array,
    is_symbolic,
    nodes_of,
    spelled,
)


@dataclass(frozen=True, slots=True)
class Finishing:
    """The last changes of a trace's graph. `stack` undoes its other changes."""

    batch: int
    words: Iterable[str]  # the names of the outputs
    names: dict[int, str]
    before: Container[int]  # the operations that were there before
    stack: ExitStack
    settled: Callable[[Any], Any]  # an array, without a batch
    constant: Callable[[Any], Any]  # an array as a tensor of the graph
    blame: Callable[[Any], None]

    def finish(self, inputs: Any, outputs: Any) -> None:
        """Puts names, and None for the batch, into the graph."""
        import keras

        tensors = [x for x in keras.tree.flatten(outputs) if x is not None]
        if not tensors or not all(map(is_symbolic, tensors)):
            raise Untraceable("it returns what does not depend on its inputs")
        for x in tensors:
            if x.shape[:1] != (self.batch,):
                self.blame(x)
                raise Untraceable("the first axis of what it returns is not the batch")
        for x in keras.tree.flatten(inputs):
            if type(x._keras_history.operation).__name__ != "InputLayer":
                self.blame(x)
                raise Untraceable("it calls a function of functions, as `cond`, which a spec cannot contain")
        input_ids = {id(x._keras_history.operation) for x in keras.tree.flatten(inputs)}
        nodes = list(nodes_of(tensors, input_ids))
        for node in nodes:
            self.blame(node.outputs[0])
            self._node(node)
        taken: set[str] = {x._keras_history.operation.name for x in keras.tree.flatten(inputs)}
        self._outputs(tensors)
        for operation in {id(node.operation): node.operation for node in reversed(nodes)}.values():
            first = word = self.names.get(id(operation)) or self._named(operation)
            number = 0
            while word in taken:
                number += 1
                word = f"{first}_{number}"
            taken.add(word)
            if word != operation.name:
                self.stack.enter_context(replaced(operation, "name", word))
        for tensor in (*keras.tree.flatten(inputs), *(x for node in nodes for x in node.outputs)):
            tensor._shape = tuple(map(self._size, tensor.shape))
        for tensor in keras.tree.flatten(inputs):
            layer = tensor._keras_history.operation
            layer._batch_shape = (None, *layer._batch_shape[1:])

    def _named(self, operation: Any) -> str:
        """The name of an operation, without the number that Keras gave it in this process."""
        word: str = operation.name
        return word if id(operation) in self.before else re.sub(r"_\d+$", "", word)

    def _size(self, size: int | None) -> int | None:
        """A size in the saved model: None for the batch, -4 for four times the batch."""
        if not size or size % self.batch:
            return size
        return None if size == self.batch else -(size // self.batch)

    def _outputs(self, outputs: list[Any]) -> None:
        """Outputs keep the names of the layers that they came out of."""
        for tensor, word in zip(outputs, self.words, strict=False):
            operation = tensor._keras_history.operation
            if (
                word not in self.names.values()
                and sum(x._keras_history.operation is operation for x in outputs) == 1
            ):
                self.names[id(operation)] = word

    def _node(self, node: Any) -> None:
        """Arrays without a batch, and shapes in which it is -1."""
        import keras

        if type(node.operation).__name__ == SOURCE:
            return
        joined = type(node.operation).__name__ in ("Concatenate", "Stack")

        def settled(value: Any) -> Any:
            if is_array(value):
                array = self.settled(value)
                if joined and array.ndim:
                    return self.constant(array)
                return array
            if type(value) in (int, float) and value and value % self.batch == 0:
                raise CountsExamples("it computes with the number of examples in a batch")
            return value

        arguments = node.arguments
        arguments.args = keras.tree.map_structure(settled, arguments.args)
        arguments.kwargs = keras.tree.map_structure(settled, arguments.kwargs)
        flat = keras.tree.flatten((arguments.args, arguments.kwargs))
        arguments.keras_tensors = [x for x in flat if is_symbolic(x)]
        if isinstance(node.operation, keras.layers.Layer):
            return
        config = dict(node.operation.get_config())
        changed = self._shapes(node, config)
        if changed != config:
            self.stack.enter_context(replaced(node.operation, "get_config", lambda: changed))

    def _shapes(self, node: Any, config: dict[str, Any]) -> dict[str, Any]:
        shape = [-1 if size and size % self.batch == 0 else size for size in node.outputs[0].shape]
        kind = type(node.operation).__name__
        if kind in ("Reshape", "BroadcastTo", "Slice"):
            return {**config, "newshape" if kind == "Reshape" else "shape": shape}

        if kind == "Einsum":
            ranks = [len(x.shape) for x in node.input_tensors]
            return {**config, "subscripts": spelled(config["subscripts"], ranks)}

        def clean(value: Any) -> Any:
            if type(value) is int and value and value % self.batch == 0:
                if kind in ("Tile", "Repeat"):
                    return 1
                raise CountsExamples("it computes with the number of examples in a batch")
            if isinstance(value, (list, tuple)):
                return [clean(item) for item in value]
            return self.settled(value).tolist() if is_array(value) else value

        return {key: clean(value) for key, value in config.items()}

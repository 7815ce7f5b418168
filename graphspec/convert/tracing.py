"""Keras models with code of their own (custom layers, `Lambda`, functions as activations, subclasses of
`keras.Model`) as models of Keras' layers and functions alone: the code is run once, on symbolic tensors.

    Model(x -> Block "block" -> y)    Model(x -> MultiHeadAttention "block_attention" -> Add -> ... -> y)

A batch has `Traced.batch` examples there, a prime number that no size of the model is a multiple of: what is
computed of it is recognized. Where a batch is in the shape of a result, the saved model has None.
"""

from __future__ import annotations

import inspect
import re
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

from graphspec.convert.config import snake_case
from graphspec.convert.live import (
    attribute_of,
    inputs_of,
    is_function,
    is_opaque,
    is_own,
    kept,
    replaced,
    swapped,
)
from graphspec.convert.sources import SOURCE, prime_for, source_layer
from graphspec.diagnostics import SpecError, fail
from graphspec.diagnostics.text import line_of

HELP = "build it of Keras' layers and keras.ops, or write this part of the spec by hand"
ACTIVATED = ("Dense", "EinsumDense", "Conv", "DepthwiseConv", "SeparableConv", "Activation")
"""Layers, by how their names begin, whose activation is the last that they compute."""
DRAWN = {
    "normal": ("mean", "stddev", "dtype", "seed"),
    "truncated_normal": ("mean", "stddev", "dtype", "seed"),
    "uniform": ("minval", "maxval", "dtype", "seed"),
}
"""Functions of keras.random that draw floats of a shape, with their arguments after it."""


class Untraceable(Exception):
    """Raised where code cannot be a graph; the layer that it belongs to is told."""


@dataclass(slots=True)
class Traced:
    """A model of Keras' layers and of sources, the size that batches have in it, and what was left out."""

    model: Any
    batch: int
    notes: list[str] = field(default_factory=list)


@contextmanager
def traced(model: Any) -> Iterator[Traced]:
    """The model without code of its own, with the same weights; on exit its layers are as they were.

    Raises `SpecError` (import-unsupported) with the class that cannot be run so.
    """
    with ExitStack() as stack, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of masks that a custom layer does not pass on, as in the model
        stack.enter_context(kept(model))
        trace = _Trace(model, stack)
        yield trace.run()


class Asked:
    """`training` as a custom layer is given it: false, and known to have been asked."""

    def __init__(self, told: Callable[[], None]):
        self.told = told

    def __bool__(self) -> bool:
        self.told()
        return False


class _Trace:
    def __init__(self, model: Any, stack: ExitStack):
        import keras

        self.model, self.stack = model, stack
        self.batch = prime_for(model)
        self.notes: list[str] = []
        self.owners: list[Any] = []  # the custom layers and models that are run, from the outermost
        self.names: dict[int, str] = {}
        self.known: list[Any] = []  # what the names, and the sources of variables, belong to
        self.sources: dict[int, Any] = {}
        self.seen: list[Any] = []  # tensors, of whose shapes noise is
        self.failed: tuple[Any, BaseException] | None = None
        self.inside = False
        self.call = keras.layers.Layer.__call__

    def run(self) -> Traced:
        import keras

        inputs = inputs_of(self.model, self.batch)
        self.seen += keras.tree.flatten(inputs)
        self.anchor = self.seen[0]
        with ExitStack() as patches:
            self._patch(patches)
            try:
                outputs = self._inline(self.model, (inputs,), {})
                self._finish(inputs, outputs)
            except SpecError:
                raise
            except Exception as error:  # of the user's code
                raise self._refusal(error) from error
        return Traced(keras.Model(inputs, outputs, name=self.model.name), self.batch, self.notes)

    def _refusal(self, error: BaseException) -> SpecError:
        layer, why = self.failed or (self.model, error)
        said = str(why) if isinstance(why, Untraceable) else line_of(why, 160)
        kind = type(layer).__name__
        what = "whose function" if kind == "Lambda" else "whose `call`"
        noun = f"a custom layer `{kind}`" if is_own(layer) else f"a `{kind}`"
        message = f"`{self.names.get(id(layer), layer.name)}` is {noun}, {what} cannot be traced: {said}"
        return fail("import-unsupported", message, HELP)

    # --- what happens while the code runs

    def _patch(self, patches: ExitStack) -> None:
        import keras
        from keras.src import backend
        from keras.src.ops.core import ConvertToTensor
        from keras.src.ops.numpy import Einsum

        def call(layer: Any, *args: Any, **kwargs: Any) -> Any:
            return self._called(layer, args, kwargs)

        patches.enter_context(replaced(keras.layers.Layer, "__call__", call))
        patches.enter_context(replaced(keras.layers.Layer, "add_loss", self._loss))
        patches.enter_context(replaced(keras.KerasTensor, "__getitem__", _picked))
        patches.enter_context(replaced(ConvertToTensor, "symbolic_call", _as_tensor))
        patches.enter_context(replaced(Einsum, "compute_output_spec", _einsum))
        patches.enter_context(replaced(backend.Variable, "assign", self._assigned(backend.Variable.assign)))
        for word, rest in DRAWN.items():
            draw = self._drawing(word, rest, getattr(backend.random, word))
            patches.enter_context(replaced(backend.random, word, draw))

    def _called(self, layer: Any, args: Any, kwargs: Any) -> Any:
        import keras

        if self.inside:
            return self.call(layer, *args, **kwargs)
        kwargs = {key: None if isinstance(value, Asked) else value for key, value in kwargs.items()}
        if is_opaque(layer) or any(map(is_symbolic, keras.tree.flatten([args, kwargs]))) or layer.weights:
            args, kwargs = self._symbolic(layer, args), self._symbolic(layer, kwargs)
        if is_opaque(layer):
            return self._inline(layer, args, kwargs)
        self._name(layer)
        function = getattr(layer, "activation", None)
        if is_function(function) and type(layer).__name__.startswith(ACTIVATED):
            self.stack.enter_context(replaced(layer, "activation", keras.activations.linear))
            self.owners.append(layer)
            outputs = function(self._plain(layer, args, kwargs))
            self.owners.pop()
            return outputs
        return self._plain(layer, args, kwargs)

    def _plain(self, layer: Any, args: Any, kwargs: Any) -> Any:
        """A call of one of Keras' layers, which becomes a node."""
        import keras

        kwargs = {**_masks(layer, args, kwargs), **kwargs}
        self.inside = True
        try:
            outputs = self.call(layer, *args, **kwargs)
        finally:
            self.inside = False
        found = [x for x in keras.tree.flatten(outputs) if is_symbolic(x)]
        if any(None in x.shape for x in found):
            self._sized(layer, args, kwargs, found)
        self.seen += found
        return outputs

    def _sized(self, layer: Any, args: Any, kwargs: Any, outputs: list[Any]) -> None:
        """Sizes that a layer leaves open though its inputs have them all, as EinsumDense does."""
        import keras
        from keras.src import backend

        read = [x for x in keras.tree.flatten([args, kwargs]) if is_symbolic(x)]
        if not any(None in x.shape for x in read):
            found = keras.tree.flatten(backend.compute_output_spec(layer.call, *args, **kwargs))
            for tensor, known in zip(outputs, found, strict=True):
                tensor._shape = tuple(known.shape)

    def _inline(self, layer: Any, args: Any, kwargs: Any) -> Any:
        """A call of a layer that becomes what is inside it. Keras' own `__call__` is run, which sees to masks
        and types, with `call` in the place of the inference of shapes.
        """
        import keras

        self._name(layer)
        histories: list[tuple[Any, Any]] = []
        results: list[Any] = []

        def run(*args: Any, **kwargs: Any) -> Any:
            if "training" in inspect.signature(layer.call).parameters:
                kwargs["training"] = Asked(lambda: self._asked(layer))
            try:
                with swapped(layer, lambda variable, word: self._weight(layer, variable, word)):
                    results[:] = [layer.call(*args, **kwargs)]
            except Exception as error:
                self.failed = self.failed or (layer, error)
                raise
            found = [x for x in keras.tree.flatten(results[0]) if is_symbolic(x)]
            histories[:] = [(x, getattr(x, "_keras_history", None)) for x in found]
            return found

        self.owners.append(layer)
        nodes = len(layer._inbound_nodes)
        try:
            if any(map(is_symbolic, keras.tree.flatten([args, kwargs]))):
                with replaced(layer, "symbolic_call", run):
                    self.call(layer, *args, **kwargs)
            else:
                run(*args, **kwargs)
        except Exception as error:
            self.failed = self.failed or (layer, error)
            raise
        finally:
            self.owners.pop()
        for node in layer._inbound_nodes[nodes:]:
            for tensor in node.input_tensors:
                operation = tensor._keras_history.operation
                if operation is not None and node in operation._outbound_nodes:
                    operation._outbound_nodes.remove(node)
        del layer._inbound_nodes[nodes:]
        for tensor, history in histories:
            tensor._keras_history = history
        self.seen += [x for x, _ in histories]
        return results[0]

    def _asked(self, layer: Any) -> None:
        kind = type(layer).__name__
        note = f"`{self.names[id(layer)]}` (`{kind}`) asks whether it is in training: only what it does elsewhere came in"
        if note not in self.notes:
            self.notes.append(note)

    def _loss(self, loss: Any, *_: Any, **__: Any) -> None:
        owner = self.owners[-1] if self.owners else self.model
        note = f"`add_loss` in `{self.names.get(id(owner), owner.name)}` is left out: add an output with `loss: mean`"
        if note not in self.notes:
            self.notes.append(note)

    def _assigned(self, assign: Any) -> Any:
        def assigned(variable: Any, value: Any) -> Any:
            if not self.inside and self.owners:
                raise Untraceable(f"it assigns to `{variable.path}`, which a graph cannot")
            return assign(variable, value)

        return assigned

    # --- tensors that no layer computes

    def _symbolic(self, layer: Any, value: Any) -> Any:
        """Arrays in the arguments of a layer as tensors of the graph."""
        import keras

        return keras.tree.map_structure(
            lambda x: self._constant(x) if is_array(x) and getattr(x, "ndim", 0) else x, value
        )

    def _constant(self, value: Any) -> Any:
        array = self._settled(value)
        return self._source("constant", array.shape, str(array.dtype), "constant", value=array.tolist())

    def _settled(self, value: Any) -> Any:
        """An array that code computed, without a batch; it must not depend on what is trained."""
        import keras
        import numpy as np

        trained = {id(variable.value): variable.path for variable in self.model.trainable_variables}
        value = value.value if isinstance(value, keras.Variable) else value
        path = next((trained[id(leaf)] for leaf in leaves(value) if id(leaf) in trained), None)
        if path is not None:
            raise Untraceable(f"it computes with `{path}`, which is a weight of another layer")
        array = np.asarray(keras.ops.convert_to_numpy(value))
        if array.ndim and array.shape[0] % self.batch == 0:
            if not (array == array[:1]).all():
                raise Untraceable("it computes other numbers for each example of a batch")
            array = array[:1]
        if array.size == 1 and float(array.reshape(())) == self.batch:
            raise Untraceable("it computes with the number of examples in a batch")
        return array

    def _weight(self, layer: Any, variable: Any, word: str) -> Any:
        """The tensor in the place of a weight that a custom layer adds itself."""
        if id(variable) not in self.sources:
            self.known.append(variable)
            if variable.regularizer is not None:
                self.notes.append(f"the regularizer of `{self.names[id(layer)]}.{word}` is left out")
            shape, dtype = tuple(variable.shape), str(variable.dtype)
            self.sources[id(variable)] = self._source("parameter", shape, dtype, word, variable)
        return self.sources[id(variable)]

    def _source(
        self, kind: str, shape: Any, dtype: str, word: str, variable: Any = None, reads: Any = None, **more: Any
    ) -> Any:
        layer = source_layer()(kind, list(shape), dtype, variable, **more)
        self.known.append(layer)
        prefix = self.names.get(id(self.owners[-1]), "") if self.owners else ""
        self.names[id(layer)] = f"{prefix}_{word}".strip("_")
        return self._plain(layer, (self.anchor if reads is None else reads,), {})

    def _drawing(self, word: str, rest: tuple[str, ...], draw: Any) -> Any:
        def drawn(shape: Any, *args: Any, **kwargs: Any) -> Any:
            if self.inside:
                return draw(shape, *args, **kwargs)
            given = {**dict(zip(rest, args, strict=False)), **kwargs}
            given = {key: given[key] for key in rest[:2] if key in given}
            if any(is_symbolic(value) or is_array(value) for value in given.values()):
                raise Untraceable(f"it draws from `{word}` with tensors as arguments")
            shape = tuple(int(size) for size in shape)
            reads = self._like(shape)
            return self._source(f"random_{word}", shape, "float32", "noise", reads=reads, given=given)

        return drawn

    def _like(self, shape: tuple[int, ...]) -> Any:
        """A tensor of this shape, of whose shape noise is."""
        import numpy as np
        from keras import ops

        found = next((x for x in reversed(self.seen) if tuple(x.shape) == shape and "float" in x.dtype), None)
        if found is not None:
            return found
        if not shape or shape[0] != self.batch:
            return self._constant(np.zeros(shape, "float32"))
        one = ops.cast(self.anchor, "float32")
        if len(one.shape) > 1:
            one = ops.sum(one, axis=list(range(1, len(one.shape))))
        return ops.broadcast_to(ops.reshape(one, (self.batch, *([1] * (len(shape) - 1)))), shape)

    # --- names, and what is left to change in the graph

    def _name(self, layer: Any) -> None:
        """What a layer is called: as it was, or by its attribute of the custom layer around it."""
        if id(layer) in self.names:
            return
        owner = self.owners[-1] if self.owners else None
        word = layer.name
        if owner is not None and re.sub(r"_\d+$", "", word) == snake_case(type(layer).__name__):
            word = attribute_of(owner, layer) or word
        prefix = "" if owner is None or owner is self.model else self.names[id(owner)]
        self.names[id(layer)] = word if word.startswith(prefix) else f"{prefix}_{word}"
        self.known.append(layer)

    def _finish(self, inputs: Any, outputs: Any) -> None:
        """Puts names, and None for the batch, into the graph."""
        import keras

        found = [x for x in keras.tree.flatten(outputs) if x is not None]
        if not found or not all(map(is_symbolic, found)):
            raise Untraceable("it returns what does not depend on its inputs")
        if any(x.shape[:1] != (self.batch,) for x in found):
            raise Untraceable("the first axis of what it returns is not the batch")
        first = {id(x._keras_history.operation) for x in keras.tree.flatten(inputs)}
        nodes = list(_nodes(found, first))
        for node in nodes:
            self._node(node)
        taken: set[str] = {x._keras_history.operation.name for x in keras.tree.flatten(inputs)}
        self._outputs(found)
        for operation in {id(node.operation): node.operation for node in nodes}.values():
            word = self.names.get(id(operation), operation.name)
            number = 2
            while word in taken:
                word, number = f"{self.names.get(id(operation), operation.name)}_{number}", number + 1
            taken.add(word)
            if word != operation.name:
                self.stack.enter_context(replaced(operation, "name", word))
        for tensor in (*keras.tree.flatten(inputs), *(x for node in nodes for x in node.outputs)):
            tensor._shape = tuple(map(self._size, tensor.shape))
        for tensor in keras.tree.flatten(inputs):
            layer = tensor._keras_history.operation
            layer._batch_shape = (None, *layer._batch_shape[1:])

    def _size(self, size: int | None) -> int | None:
        """A size in the saved model: None for the batch, -4 for four times the batch."""
        if not size or size % self.batch:
            return size
        return None if size == self.batch else -(size // self.batch)

    def _outputs(self, outputs: list[Any]) -> None:
        """Outputs keep the names of the layers that they came out of."""
        words = getattr(self.model, "output_names", None) or []
        for tensor, word in zip(outputs, words, strict=False):
            operation = tensor._keras_history.operation
            if word not in self.names.values() and sum(
                x._keras_history.operation is operation for x in outputs
            ) == 1:
                self.names[id(operation)] = word

    def _node(self, node: Any) -> None:
        """Arrays without a batch, and shapes in which it is -1."""
        import keras

        if type(node.operation).__name__ == SOURCE:
            return
        joined = type(node.operation).__name__ in ("Concatenate", "Stack")

        def settled(value: Any) -> Any:
            if is_array(value):
                array = self._settled(value)
                if joined and array.ndim:
                    return self._constant(array)
                return array
            if type(value) in (int, float) and value and value % self.batch == 0:
                raise Untraceable("it computes with the number of examples in a batch")
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

        def clean(value: Any) -> Any:
            if type(value) is int and value and value % self.batch == 0:
                if kind in ("Tile", "Repeat"):
                    return 1
                raise Untraceable("it computes with the number of examples in a batch")
            if isinstance(value, (list, tuple)):
                return [clean(item) for item in value]
            return self._settled(value).tolist() if is_array(value) else value

        return {key: clean(value) for key, value in config.items()}


def _as_tensor(operation: Any, x: Any) -> Any:
    """What `convert_to_tensor` makes of a tensor."""
    import keras

    same = operation.dtype is None or keras.backend.standardize_dtype(operation.dtype) == x.dtype
    return x if same else keras.ops.cast(x, operation.dtype)


def _masks(layer: Any, args: Any, kwargs: Any) -> dict[str, Any]:
    """The masks that Keras hands to a layer beside its tensors, as arguments: a spec carries those alone that
    its own layers make.
    """
    import keras
    from keras.src.backend import get_keras_mask

    try:
        given = layer._call_signature.bind(*args, **kwargs).arguments
    except TypeError:
        return {}
    read = {word: x for word, x in given.items() if any(map(is_symbolic, keras.tree.flatten(x)))}
    read = {word: x for word, x in read.items() if not word.endswith("mask")}
    names = {word: f"{word}_mask" if len(read) > 1 else "mask" for word in read}
    if list(read) == ["query"]:
        names["query"] = "query_mask"
    found = {}
    for word, x in read.items():
        mask = keras.tree.map_structure(get_keras_mask, x)
        if any(item is not None for item in keras.tree.flatten(mask)) and given.get(names[word]) is None:
            if names[word] in layer._call_signature.parameters:
                found[names[word]] = mask
    return found


def _einsum(operation: Any, *tensors: Any) -> Any:
    """The shape of an einsum; Keras' own rule confuses some capital letters."""
    from keras.src import backend

    return backend.compute_output_spec(operation.call, *tensors)


def leaves(value: Any) -> Iterator[Any]:
    """The tensors that a tensor of torch with a gradient was computed of."""
    waiting, done = [getattr(value, "grad_fn", None)], set()
    if waiting == [None]:
        yield value
    while waiting:
        function = waiting.pop()
        if function is None or function in done:
            continue
        done.add(function)
        if hasattr(function, "variable"):
            yield function.variable
        waiting += [before for before, _ in function.next_functions]


def _picked(x: Any, key: Any) -> Any:
    """What an index picks: None alone, too, which Keras knows of tensors with numbers only."""
    import keras

    return keras.ops.get_item(x, (None, Ellipsis) if key is None else key)


def is_symbolic(value: Any) -> bool:
    """Whether a value is a tensor of a graph."""
    import keras

    return isinstance(value, keras.KerasTensor)


def is_array(value: Any) -> bool:
    """Whether a value is a tensor with numbers."""
    import keras
    import numpy as np

    return isinstance(value, (np.ndarray, np.generic, keras.Variable)) or keras.ops.is_tensor(value)


def _nodes(outputs: list[Any], inputs: set[int]) -> Iterator[Any]:
    """The calls that outputs need, each once."""
    done: set[int] = set()
    waiting = list(outputs)
    while waiting:
        operation, index, _ = waiting.pop()._keras_history
        if operation is None or id(operation) in inputs:
            continue
        node = operation._inbound_nodes[index]
        if id(node) not in done:
            done.add(id(node))
            yield node
            waiting += node.input_tensors

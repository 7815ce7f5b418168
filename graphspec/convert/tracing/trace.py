"""Keras models with code of their own (custom layers, `Lambda`, functions as activations, subclasses of
`keras.Model`) as models of Keras' layers and functions alone: the code is run once, on symbolic tensors.

    Model(x -> Block "block" -> y)    Model(x -> MultiHeadAttention "block_attention" -> Add -> ... -> y)

A batch has P examples there, a prime number that no size of the model is a multiple of: what is computed of
it is recognized. Where a batch is in the shape of a result, the saved model has None.
"""

from __future__ import annotations

import inspect
import re
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any

from graphspec.convert.phases import always
from graphspec.convert.tracing.finishing import Finishing
from graphspec.convert.tracing.live import (
    TrainingAsked,
    attribute_of,
    function_of,
    inputs_of,
    is_opaque,
    is_own,
    kept,
    parts_of,
    replaced,
    swapped,
)
from graphspec.convert.tracing.sources import primes_for, source_layer
from graphspec.convert.tracing.symbolic import (
    CountsExamples,
    Untraceable,
    are_indices,
    as_tensor,
    einsum_shape,
    is_array,
    is_symbolic,
    leaves,
    masks_of,
    picked,
)
from graphspec.diagnostics import SpecError, fail
from graphspec.diagnostics.text import line_of
from graphspec.language.naming import snake_case

HELP = "build it of Keras' layers and keras.ops, or write this part of the spec by hand"
ACTIVATED = ("Dense", "EinsumDense", "Conv", "DepthwiseConv", "SeparableConv", "Activation")
"""Layers, by how their names begin, whose activation is the last that they compute."""
DRAWN = {
    "normal": ("mean", "stddev", "dtype", "seed"),
    "truncated_normal": ("mean", "stddev", "dtype", "seed"),
    "uniform": ("minval", "maxval", "dtype", "seed"),
}
"""Functions of keras.random that draw floats of a shape, with their arguments after it."""


@dataclass(slots=True)
class TracedModel:
    """A model of Keras' layers and of sources, and what was left out of it."""

    model: Any
    notes: list[str] = field(default_factory=list)
    owners: dict[str, str] = field(default_factory=dict)  # which layer called an operation, by its name


@contextmanager
def traced(model: Any) -> Iterator[TracedModel]:
    """The model without code of its own, with the same weights; on exit its layers are as they were.

    Raises `SpecError` (import-unsupported) with the class that cannot be run so.
    """
    with ExitStack() as stack, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of masks that a custom layer does not pass on, as in the model
        stack.enter_context(kept(model))
        traced_model = _run(model, stack)
        try:
            yield traced_model
        except SpecError as error:
            raise _with_owners(error, traced_model.owners) from None


def _run(model: Any, stack: ExitStack) -> TracedModel:
    """Runs a model's code: again where inputs turn out to be integers, and once with another number of
    examples, as the user's numbers may be multiples of the first. What the last run changes, `stack` undoes.
    """
    primes, integers = islice(primes_for(model), 2), frozenset[int]()
    batch = next(primes)
    while True:
        with ExitStack() as changes:
            trace = _Trace(model, changes, batch, integers)
            try:
                traced_model = trace.run()
            except SpecError:
                other = next(primes, None) if trace.counts else None
                if other is None:
                    raise
                batch = other
                continue
            if not integers and (integers := trace.integers()):
                continue
            stack.push(changes.pop_all())
            return traced_model


def _with_owners(error: SpecError, owners: dict[str, str]) -> SpecError:
    """An error with the custom layers that called what it names."""
    told = []
    for item in error.diagnostics:
        words = [word for word in re.findall(r"`(\w+)[`:]", item.message) if word in owners]
        notes = tuple(f"`{word}` is called in {owners[word]}" for word in dict.fromkeys(words[:2]))
        told.append(replace(item, notes=(*item.notes, *notes)))
    return SpecError(told)


class _Trace:
    def __init__(self, model: Any, stack: ExitStack, batch: int, integers: frozenset[int]):
        import keras

        self.model, self.stack, self.batch, self.known_integers = model, stack, batch, integers
        self.counts = False  # whether it ended at a number that may be the number of examples
        self.notes: list[str] = []
        self.owners: list[Any] = []  # the custom layers and models that are run, from the outermost
        self.names: dict[int, str] = {}
        self.known: list[Any] = []  # what the names, and the sources of variables, belong to
        self.sources: dict[int, Any] = {}
        self.seen: list[Any] = []  # tensors, of whose shapes noise is
        self.failed: tuple[Any, BaseException | None] | None = None
        self.functions: dict[int, Any] = {}  # which a layer has as its activation
        self.owned: dict[int, Any] = {}  # which layer called an operation
        self.inside = False
        self.call = keras.layers.Layer.__call__

    def run(self) -> TracedModel:
        import keras

        inputs = inputs_of(self.model, self.batch, self.known_integers)
        self.seen += keras.tree.flatten(inputs)
        self.anchor = self.seen[0]
        with ExitStack() as patches:
            self._patch(patches)
            try:
                outputs = self._inline(self.model, (inputs,), {})
                words = getattr(self.model, "output_names", None) or ()
                hooks = (self._settled, self._constant, self._blame)
                before = {id(each) for each in getattr(self.model, "operations", None) or ()}
                finishing = Finishing(self.batch, words, self.names, before, self.stack, *hooks)
                finishing.finish(inputs, outputs)
                model = keras.Model(inputs, outputs, name=self.model.name)
            except SpecError:
                raise
            except Exception as error:  # of the user's code
                raise self._refusal(error) from error
        owners = {operation.name: self._description(owner) for operation, owner in self.owned.values()}
        self.inputs = keras.tree.flatten(inputs)
        self._unread(model)
        return TracedModel(model, self.notes, owners)

    def _unread(self, model: Any) -> None:
        """Notes the weights that train and that no output needs."""
        known = {id(variable) for variable in model.variables} | set(self.sources)
        left = [v.path for v in self.model.trainable_variables if id(v) not in known]
        if left:
            more = f" and {len(left) - 3} more" if len(left) > 3 else ""
            words = ", ".join(f"`{path}`" for path in left[:3])
            self.notes.append(f"weights that no output reads are left out: {words}{more}")

    def integers(self) -> frozenset[int]:
        """The inputs, by their number, that are indices: those of a class that says no types."""
        if getattr(self.model, "_inputs_struct", None) is not None or self.known_integers:
            return frozenset()
        return frozenset(number for number, x in enumerate(self.inputs) if are_indices(x))

    def _description(self, layer: Any) -> str:
        kind = type(layer).__name__
        return (
            f"the {'layer' if is_own(layer) else 'model'} `{self.names.get(id(layer), layer.name)}` ({kind})"
        )

    def _refusal(self, error: BaseException) -> SpecError:
        layer, why = self.failed or (self.model, None)
        self.counts = isinstance(why or error, CountsExamples)
        said = _message(why or error)
        if any(None in x.shape[1:] for x in self.seen):
            said += "; its sizes are open, and with numbers in `keras.Input` more can be traced"
        kind = type(layer).__name__
        what = "whose function" if kind == "Lambda" else "whose `call`"
        noun = f"a custom layer `{kind}`" if is_own(layer) else f"a `{kind}`"
        message = f"`{self.names.get(id(layer), layer.name)}` is {noun}, {what} cannot be traced: {said}"
        return fail("import-unsupported", message, HELP)

    # --- what happens while the code runs

    def _patch(self, patches: ExitStack) -> None:
        import keras
        from keras.src import backend
        from keras.src.ops import operation as operations
        from keras.src.ops.core import ConvertToTensor
        from keras.src.ops.numpy import Einsum

        def call(layer: Any, *args: Any, **kwargs: Any) -> Any:
            return self._called(layer, args, kwargs)

        def node(operation: Any, *args: Any, **kwargs: Any) -> Any:
            if self.owners and not self.inside:
                self.owned.setdefault(id(operation), (operation, self.owners[-1]))
            return original(operation, *args, **kwargs)

        original = operations.Node
        patches.enter_context(replaced(operations, "Node", node))
        patches.enter_context(replaced(keras.layers.Layer, "__call__", call))
        patches.enter_context(replaced(keras.layers.Layer, "add_loss", self._loss))
        patches.enter_context(replaced(keras.KerasTensor, "__getitem__", picked))
        patches.enter_context(replaced(ConvertToTensor, "symbolic_call", as_tensor))
        patches.enter_context(replaced(Einsum, "compute_output_spec", einsum_shape))
        patches.enter_context(replaced(backend.Variable, "assign", self._assigned(backend.Variable.assign)))
        for word, rest in DRAWN.items():
            draw = self._drawing(word, rest, getattr(backend.random, word))
            patches.enter_context(replaced(backend.random, word, draw))

    def _called(self, layer: Any, args: Any, kwargs: Any) -> Any:
        import keras

        if self.inside:
            return self.call(layer, *args, **kwargs)
        self._trains(layer, kwargs.get("training"))
        kwargs = {key: None if isinstance(value, TrainingAsked) else value for key, value in kwargs.items()}
        if is_opaque(layer) or any(map(is_symbolic, keras.tree.flatten([args, kwargs]))) or layer.weights:
            args, kwargs = self._symbolic(layer, args), self._symbolic(layer, kwargs)
        if is_opaque(layer):
            return self._inline(layer, args, kwargs)
        inner = getattr(layer, "layer", None)
        inlined = inner is not None and (is_opaque(inner) or function_of(inner) is not None)
        if type(layer) is keras.layers.TimeDistributed and inlined and is_symbolic(args[0]):
            steps = args[0].shape[:2]
            output = layer.layer(keras.ops.reshape(args[0], (steps[0] * steps[1], *args[0].shape[2:])))
            return keras.ops.reshape(output, (*steps, *output.shape[1:]))
        self._name(layer)
        function = self._function(layer)
        if function is not None:
            self.stack.enter_context(replaced(layer, "activation", keras.activations.linear))
            self.functions[id(layer)] = function
        outputs = self._plain(layer, args, kwargs)
        if id(layer) not in self.functions:
            return outputs
        self.owners.append(layer)
        outputs = self.functions[id(layer)](outputs)
        self.owners.pop()
        return outputs

    def _function(self, layer: Any) -> Any:
        """The function of the user's in which a layer ends."""
        ends = type(layer).__name__.startswith(ACTIVATED) and not hasattr(layer, "cell")  # no ConvLSTM2D
        function = None
        for part in parts_of(layer):
            word = function_of(part)
            if word is not None and part is layer and ends:
                function = getattr(layer, word)
            elif word is not None:
                error = Untraceable(f"its `{word}` is a function, which a spec cannot contain there")
                self.failed = (layer, error)
                raise error
        return function

    def _trains(self, layer: Any, value: Any) -> None:
        """Notes a layer that code calls with one `training` whatever the model does."""
        parameter = inspect.signature(layer.call).parameters.get("training")
        if parameter is None or not isinstance(value, bool):
            return
        filled_in = hasattr(self.owners[-1], "operations") and parameter.default is value  # by Keras
        frozen = type(layer).__name__ == "BatchNormalization" and not layer.trainable
        if not (filled_in or frozen):
            self._name(layer)
            self._note(always(self.names[id(layer)], value))

    def _note(self, note: str) -> None:
        if note not in self.notes:
            self.notes.append(note)

    def _plain(self, layer: Any, args: Any, kwargs: Any) -> Any:
        """A call of one of Keras' layers, which becomes a node."""
        import keras

        kwargs = {**masks_of(layer, args, kwargs), **kwargs}
        self.inside = True
        try:
            outputs = self.call(layer, *args, **kwargs)
        finally:
            self.inside = False
        tensors = [x for x in keras.tree.flatten(outputs) if is_symbolic(x)]
        if any(None in x.shape for x in tensors):
            self._sized(layer, args, kwargs, tensors)
        self.seen += tensors
        return outputs

    def _sized(self, layer: Any, args: Any, kwargs: Any, outputs: list[Any]) -> None:
        """Sizes that a layer leaves open though its inputs have them all, as EinsumDense does."""
        import keras
        from keras.src import backend

        read = [x for x in keras.tree.flatten([args, kwargs]) if is_symbolic(x)]
        if not any(None in x.shape for x in read):
            specs = keras.tree.flatten(backend.compute_output_spec(layer.call, *args, **kwargs))
            for tensor, known in zip(outputs, specs, strict=True):
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
                kwargs["training"] = TrainingAsked(lambda: self._asked(layer))
            try:
                with swapped(layer, lambda variable, word: self._weight(layer, variable, word)):
                    results[:] = [layer.call(*args, **kwargs)]
            except Exception as error:
                self.failed = self.failed or (layer, error)
                raise
            tensors = [x for x in keras.tree.flatten(results[0]) if is_symbolic(x)]
            histories[:] = [(x, getattr(x, "_keras_history", None)) for x in tensors]
            return tensors

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
        self._note(
            f"`{self.names[id(layer)]}` (`{kind}`) computes something else in training, which is left out"
        )

    def _loss(self, loss: Any, *_: Any, **__: Any) -> None:
        owner = self.owners[-1] if self.owners else self.model
        word = self.names.get(id(owner), owner.name)
        self._note(f"`add_loss` in `{word}` is left out: add an output with `loss: mean`")

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
            lambda x: self._constant(x) if is_array(x) and len(x.shape) else x, value
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
                raise CountsExamples("it computes other numbers for each example of a batch")
            array = array[:1]
        if array.size == 1 and float(array.reshape(())) == self.batch:
            raise CountsExamples("it computes with the number of examples in a batch")
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
        self,
        kind: str,
        shape: Any,
        dtype: str,
        word: str,
        variable: Any = None,
        reads: Any = None,
        **more: Any,
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
            arguments = {**dict(zip(rest, args, strict=False)), **kwargs}
            arguments = {key: arguments[key] for key in rest[:2] if key in arguments}
            if any(is_symbolic(value) or is_array(value) for value in arguments.values()):
                raise Untraceable(f"it draws from `{word}` with tensors as arguments")
            shape = tuple(int(size) for size in shape)
            reads = self._like(shape)
            return self._source(f"random_{word}", shape, "float32", "noise", reads=reads, given=arguments)

        return drawn

    def _like(self, shape: tuple[int, ...]) -> Any:
        """A tensor of this shape, of whose shape noise is."""
        import numpy as np
        from keras import ops

        tensor = next(
            (x for x in reversed(self.seen) if tuple(x.shape) == shape and "float" in x.dtype), None
        )
        if tensor is not None:
            return tensor
        if not shape or shape[0] != self.batch:
            return self._constant(np.zeros(shape, "float32"))
        one = ops.cast(self.anchor, "float32")
        if len(one.shape) > 1:
            one = ops.sum(one, axis=list(range(1, len(one.shape))))
        return ops.broadcast_to(ops.reshape(one, (self.batch, *([1] * (len(shape) - 1)))), shape)

    # --- names, and what is left to change in the graph

    def _name(self, layer: Any) -> None:
        """Names a layer: as it was, or by its attribute of the custom layer around it."""
        if id(layer) in self.names:
            return
        owner = self.owners[-1] if self.owners else None
        word = layer.name
        if owner is not None and re.sub(r"_\d+$", "", word) == snake_case(type(layer).__name__):
            made_here = not layer.weights
            word = attribute_of(owner, layer) or (snake_case(type(layer).__name__) if made_here else word)
        prefix = "" if owner is None or owner is self.model else self.names[id(owner)]
        self.names[id(layer)] = word if word.startswith(prefix) else f"{prefix}_{word}"
        self.known.append(layer)

    def _blame(self, tensor: Any) -> None:
        """Makes the layer that called an operation the one that an error names."""
        owner = self.owned.get(id(tensor._keras_history.operation), (None, self.model))[1]
        self.failed = (owner, None)


def _message(error: BaseException) -> str:
    """The message of an error, without the text that Keras writes around it."""
    text = re.sub(
        r"\x1b\[\d+m|Exception encountered when calling .*?\n|Arguments received by [\s\S]*", "", str(error)
    )
    return str(error) if isinstance(error, Untraceable) else line_of(type(error)(text.strip()), 160)

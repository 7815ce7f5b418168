"""A traced graph to nodes: what depends on parameters alone is computed, all else goes to the handlers."""

from __future__ import annotations

import operator
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, fx, nn

from graphspec.convert.nodes import ConvertedInput, ConvertedValue
from graphspec.convert.pytorch import (  # noqa: F401  (they register)
    attention,
    fourier,
    indexing,
    layers,
    pointwise,
    products,
    reducing,
    resizing,
    scattering,
    shaping,
    windows,
)
from graphspec.convert.pytorch.computed import Computed, stopped, tensors_in, variants
from graphspec.convert.pytorch.functions import CREATES, Out, asserts, called_as, handler_of, write
from graphspec.convert.pytorch.layout import Laid
from graphspec.convert.pytorch.parts import shows
from graphspec.convert.pytorch.recurrent_layers import StackedStates
from graphspec.convert.pytorch.sizes import dtype_of, known_number
from graphspec.convert.pytorch.tracing import TracedModule, line_in
from graphspec.convert.pytorch.training import LAYER, averages
from graphspec.convert.pytorch.writer import CallOrigin, Common, Known, NodeWriter
from graphspec.convert.refusals import Unsupported
from graphspec.diagnostics import by_word

IMAGES = frozenset(
    by_word(
        of="conv1d conv2d conv3d conv_transpose1d conv_transpose2d conv_transpose3d batch_norm max_pool1d "
        "max_pool2d avg_pool1d avg_pool2d adaptive_avg_pool2d group_norm instance_norm "
        "upsample_bilinear2d upsample_nearest2d pixel_unshuffle pixel_shuffle max_pool3d avg_pool3d "
        "adaptive_avg_pool1d adaptive_avg_pool3d"
    )
)
"""Functions whose channels are axis 1."""
THROUGH = frozenset(
    by_word(of="add sub mul div pad relu to contiguous cat clone neg sigmoid tanh dropout gelu silu")
)


class Converter:
    """Walks a graph. `values` has what each node of it became."""

    def __init__(self, traced: TracedModule, names: Mapping[Any, str], common: Mapping[str, Common]):
        self.traced = traced
        self.writer = NodeWriter(common=common)
        self.values: dict[fx.Node, Any] = {}
        self.modules = dict(traced.module.named_modules())
        self.names = names  # of sizes that stay open
        self.inputs: list[ConvertedInput] = []
        self.turned: dict[str, int] = {}  # outputs whose batch is another axis of the module's

    def run(self) -> dict[str, Laid]:
        """Converts all nodes; returns the outputs. Raises `Unsupported` with the line of the user's code."""
        self._placeholders()
        self._graph(self.traced.program.graph, self.values)
        outputs: dict[str, Laid] = {}
        for name, node in self.traced.outputs:
            value = self.values.get(node) if isinstance(node, fx.Node) else None
            if isinstance(value, StackedStates):
                value = self._stacked(value, "")
            if not isinstance(value, Laid):
                raise Unsupported(
                    f"its output {name or 'tensor'} does not depend on the inputs",
                    "return tensors of the data",
                )
            self.writer.origin = CallOrigin((), "")
            key = name or f"output_{len(outputs)}"
            if value.batch > 0:  # as the states of stacked layers: [layers, batch, units]
                rest = [i for i in range(len(value.shape)) if i != value.batch]
                self.turned[key] = value.batch
                value = value.permuted((value.batch, *rest))
            outputs[key] = self.writer.natural(value)
        return outputs

    # --- inputs and parameters

    def _placeholders(self) -> None:
        program, signature = self.traced.program, self.traced.program.graph_signature
        state: dict[str, Tensor] = dict(self.traced.module.named_parameters(remove_duplicate=False))
        state |= dict(self.traced.module.named_buffers(remove_duplicate=False))
        first: dict[tuple[Any, ...], str] = {}
        for name, tensor in state.items():
            first.setdefault((tensor.data_ptr(), tuple(tensor.shape), tensor.stride()), name)
        self.writer.trains = {
            name: isinstance(tensor, nn.Parameter) and tensor.requires_grad for name, tensor in state.items()
        }
        self.writer.shapes = {name: tensor.shape for name, tensor in state.items()}
        held = {**signature.inputs_to_parameters, **signature.inputs_to_buffers}
        lifted = signature.inputs_to_lifted_tensor_constants
        users = set(self.traced.inputs)
        for node in program.graph.nodes:
            if node.op != "placeholder":
                continue
            if node.name in held:
                name = held[node.name]
                tensor = (
                    state[name]
                    if name in state
                    else program.state_dict.get(name, program.constants.get(name))
                )
                name = first.get((tensor.data_ptr(), tuple(tensor.shape), tensor.stride()), name)
                names = frozenset([name]) if name in state else frozenset[str]()
                self.values[node] = Known(tensor.detach().clone(), names, _looked_up(name))
            elif node.name in lifted:
                self.values[node] = Known(program.constants[lifted[node.name]].detach().clone())
            elif node.name in users:
                self.values[node] = self._input(node)

    def _input(self, node: fx.Node) -> Laid:
        tensor = node.meta["val"]
        shape = tuple(known_number(size) for size in tensor.shape)
        rank = len(shape)
        first = 3 <= rank <= 5 and tensor.dtype.is_floating_point and _is_image(node)
        named: list[Any] = [size if isinstance(size, int) else self.names.get(size) for size in shape[1:]]
        converted = ConvertedInput(node.name, tuple(named), dtype_of(tensor), channels_first=first)
        self.inputs.append(converted)
        axes = (
            ((0,), (rank - 1,), *((i,) for i in range(1, rank - 1)))
            if first
            else tuple((i,) for i in range(rank))
        )
        sizes = (shape[0], *shape[2:], shape[1]) if first else shape
        if shape[0] not in self.writer.batches:
            self.writer.batches.append(shape[0])
        for j, size in enumerate(sizes):
            if j and not isinstance(size, int):
                self.writer.lengths.setdefault(size, (ConvertedValue(converted), j))
        return Laid(ConvertedValue(converted), sizes, axes, shape, converted.dtype)

    # --- nodes

    def _graph(self, graph: fx.Graph, values: dict[fx.Node, Any]) -> Any:
        for node in graph.nodes:
            if node.op == "call_function":
                self.writer.origin = _origin(node)
                try:
                    values[node] = self._called(node, values)
                except Unsupported as error:
                    raise self._placed(node, error) from error
            elif node.op == "get_attr":
                values[node] = operator.attrgetter(node.target)(graph.owning_module)
                if isinstance(values[node], Tensor):
                    values[node] = Known(values[node].detach().clone())
            elif node.op == "output":
                return _resolved(node.args[0], values)
        return None

    def _placed(self, node: fx.Node, error: Unsupported) -> Unsupported:
        """A refusal with the function and the line of the user's code."""
        where = line_in(node.meta.get("stack_trace") or "")
        path = _path(node)
        at = f" at {where}" if where else ""
        inside = f" in `{path}`" if path else ""
        return Unsupported(f"`{called_as(node)}`{inside}{at}: {error.message}", error.help)

    def _called(self, node: fx.Node, values: dict[fx.Node, Any]) -> Any:
        meta = node.meta.get("val")
        target: Any = node.target
        if target is operator.getitem:
            outputs, index = _resolved(node.args[0], values), node.args[1]
            return None if outputs is None else outputs[index]
        if isinstance(target, torch._ops.HigherOrderOperator):
            return self._inlined(node, values)
        if isinstance(meta, (torch.SymInt, torch.SymFloat, torch.SymBool, int, float, bool)):
            if _unbacked(meta):
                raise Unsupported(
                    "a size or a number depends on the values of tensors", "compute it without data"
                )
            return known_number(meta)
        if not isinstance(target, torch._ops.OpOverload) or asserts(target):
            return None
        arguments = _bound(node, values)
        word = _function(node)
        known = all(isinstance(x, Known) for x in tensors_in(arguments))
        if known or (word in CREATES and isinstance(meta, Tensor)):
            origin = self.writer.origin
            return Computed(
                self.writer, node, meta, values, lambda: self._as_nodes(node, arguments, values, origin)
            ).run(word, arguments)
        return self._handled(node, arguments, values)

    def _as_nodes(
        self, node: fx.Node, arguments: dict[str, Any], values: dict[fx.Node, Any], origin: CallOrigin
    ) -> Any:
        """Writes a value that depends on parameters alone, as nodes."""
        before, self.writer.origin = self.writer.origin, origin
        try:
            return self._handled(node, arguments, values)
        finally:
            self.writer.origin = before

    def _handled(self, node: fx.Node, arguments: dict[str, Any], values: dict[fx.Node, Any]) -> Any:
        """Tries which of the known tensors must be nodes. Raises the first refusal."""
        first: Unsupported | None = None
        word = _function(node).removesuffix("_")
        for variant in variants(self.writer, word, arguments):
            frozen = set(self.writer.frozen)
            try:
                return self._written(node, variant(), values)
            except Unsupported as error:
                apart = any(isinstance(x, Known) and x.apart for x in tensors_in(arguments))
                first = error if apart else first or error  # as weights, such are refused by name
                self.writer.frozen = frozen
        assert first is not None
        raise first

    def _written(self, node: fx.Node, arguments: dict[str, Any], values: dict[fx.Node, Any]) -> Any:
        meta = node.meta.get("val")
        name = _function(node)
        inplace = name.endswith("_") and not name.startswith("_")
        word = name.removesuffix("_") if inplace else name
        first = next(iter(arguments.values()), None)
        if inplace and node.args:
            self._check_inplace(node, first, word)
        if handler_of(word) is None:
            raise Unsupported(
                "it has no counterpart in a spec", "write this part of the model by hand, as {module: ...}"
            )
        arguments = {key: self._stacked(value, word) for key, value in arguments.items()}
        if word in ("select", "squeeze", "cat") and (picked := _of_stacked(word, arguments)) is not None:
            return picked
        try:
            converted = write(self.writer, word, **arguments, out=_out(meta), **self._more(node, word))
        except (AttributeError, TypeError, ValueError, KeyError, IndexError, StopIteration) as error:
            constant = any(isinstance(x, Known) for x in tensors_in(arguments))
            what = "a constant where data is expected" if constant else "arguments that are not understood"
            message = f"it takes {what}"
            raise Unsupported(message, "write this part of the model by hand, as {module: ...}") from error
        if inplace and isinstance(node.args[0], fx.Node):
            values[node.args[0]] = converted
        return converted

    def _more(self, node: fx.Node, word: str) -> dict[str, Any]:
        """Further facts about the calling module, for some handlers."""
        more: dict[str, Any] = {}
        module = self.modules.get(_path(node) or "")
        if word == "batch_norm":
            name = f"{_path(node)}.num_batches_tracked".lstrip(".")
            counter = getattr(module, "num_batches_tracked", None)
            counter = counter if counter is not None else torch.zeros((), dtype=torch.int64)
            more["counter"] = Known(counter.detach().clone(), frozenset(), _looked_up(name))
            more["averages"] = averages(module)
        if word in ("matmul", "bmm"):
            more["then"] = _turned(node)
        if LAYER in node.meta:
            more["layer"] = node.meta[LAYER]
        return more

    @staticmethod
    def _check_inplace(node: fx.Node, first: Any, word: str) -> None:
        source = node.args[0]
        view = isinstance(source, fx.Node) and shows(source)
        if isinstance(first, Known) and view:
            raise Unsupported("it writes data into a tensor made before", "join the parts with torch.cat")
        while isinstance(source, fx.Node) and shows(source):
            source = source.args[0]
            if isinstance(source, fx.Node) and any(
                user.name != node.name and _later(node, user) for user in source.users
            ):
                raise Unsupported("it writes into a part of a tensor", "join the parts with torch.cat")

    def _stacked(self, value: Any, word: str) -> Any:
        """Stacked states as one tensor, where they are not picked apart or passed on."""
        if not isinstance(value, StackedStates) or word in ("select", "squeeze", "lstm", "gru", "rnn_tanh"):
            return value
        return write(self.writer, "stack", tensors=value, out=Out((len(value), *value[0].shape)))

    def _inlined(self, node: fx.Node, values: dict[fx.Node, Any]) -> Any:
        """A graph inside the graph, of `torch.no_grad()`, say."""
        args = list(node.args)
        graphs = [
            (i, values[a])
            for i, a in enumerate(args)
            if isinstance(a, fx.Node) and isinstance(values.get(a), fx.GraphModule)
        ]
        name = str(node.target)
        if len(graphs) != 1 or ("wrap_with" not in name and "checkpoint" not in name):
            raise Unsupported(
                "its control flow depends on the values of tensors", "write it without cond and map"
            )
        place, module = graphs[0]
        operands = [_resolved(a, values) for a in args[place + 1 :]]
        inner: dict[fx.Node, Any] = {}
        holders = [n for n in module.graph.nodes if n.op == "placeholder"]
        inner.update(zip(holders, operands, strict=True))
        outputs = self._graph(module.graph, inner)
        learns = "grad_enabled" not in name or bool(args[0])
        return outputs if learns else stopped(self.writer, outputs)


def _turned(node: fx.Node) -> tuple[int, ...] | None:
    """The order that the only reader of a tensor brings its axes to."""
    if len(node.users) != 1:
        return None
    user = next(iter(node.users))
    arguments: list[Any] = list(user.args[1:])
    rank = len(node.meta["val"].shape)
    if user.op != "call_function" or not all(isinstance(a, (int, list)) for a in arguments):
        return None
    order = list(range(rank))
    if _function(user) in ("transpose", "swapaxes"):
        a, b = (int(i) % rank for i in arguments[:2])
        order[a], order[b] = b, a
    elif _function(user) == "permute":
        order = [i % rank for i in arguments[0]]
    return tuple(order)


def _looked_up(name: str) -> Any:
    return lambda get: get(name)


def _function(node: fx.Node) -> str:
    target = node.target
    if isinstance(target, torch._ops.OpOverload):
        return target._schema.name.partition("::")[2]
    return getattr(target, "__name__", str(target))


def _path(node: fx.Node) -> str | None:
    stack = node.meta.get("nn_module_stack")
    return next(reversed(stack.values()))[0] if stack else None


def _origin(node: fx.Node) -> CallOrigin:
    stack = node.meta.get("nn_module_stack") or {}
    modules = tuple(
        (key, path, str(kind).rpartition(".")[2])
        for key, (path, kind) in stack.items()
        if path and "metadata_hook" not in key
    )
    return CallOrigin(modules, line_in(node.meta.get("stack_trace") or ""))


def _is_image(node: fx.Node) -> bool:
    waiting, seen = [node], {node}
    while waiting:
        here = waiting.pop()
        for user in here.users:
            name = _function(user).removesuffix("_") if user.op == "call_function" else ""
            if name in IMAGES and user.args and (user.args[0] is here):
                return True
            if name in THROUGH and user not in seen:
                seen.add(user)
                waiting.append(user)
    return False


def _later(a: fx.Node, b: fx.Node) -> bool:
    """Whether `b` comes behind `a`."""
    return a < b


def _unbacked(meta: Any) -> bool:
    if not isinstance(meta, (torch.SymInt, torch.SymFloat, torch.SymBool)):
        return False
    return any(str(symbol).startswith("u") for symbol in meta.node.expr.free_symbols)


def _resolved(value: Any, values: Mapping[fx.Node, Any]) -> Any:
    if isinstance(value, fx.Node):
        return values.get(value)
    if isinstance(value, (list, tuple)):
        return [_resolved(item, values) for item in value]
    if isinstance(value, slice):
        return slice(*(_resolved(item, values) for item in (value.start, value.stop, value.step)))
    return known_number(value)


def _bound(node: fx.Node, values: Mapping[fx.Node, Any]) -> dict[str, Any]:
    """The arguments by the names of the function's schema."""
    target: Any = node.target
    arguments: dict[str, Any] = {}
    for place, argument in enumerate(target._schema.arguments):
        if place < len(node.args):
            arguments[argument.name] = _resolved(node.args[place], values)
        elif argument.name in node.kwargs:
            arguments[argument.name] = _resolved(node.kwargs[argument.name], values)
        elif argument.has_default_value():
            arguments[argument.name] = argument.default_value
    arguments.pop("out", None)
    return arguments


def _out(meta: Any) -> Any:
    if isinstance(meta, Tensor):
        return Out(tuple(known_number(size) for size in meta.shape), meta.dtype)
    if isinstance(meta, (list, tuple)):
        return tuple(_out(item) for item in meta)
    return None


def _of_stacked(word: str, arguments: dict[str, Any]) -> Any:
    """One of stacked states, or those of both directions joined."""
    stacked = arguments.get("self")
    if isinstance(stacked, StackedStates):
        if word == "select" and arguments.get("dim", 0) == 0 and isinstance(arguments["index"], int):
            return stacked[arguments["index"]]
        if word == "squeeze" and len(stacked) == 1 and arguments.get("dim") in (0, [0], None):
            return stacked[0]
    return None

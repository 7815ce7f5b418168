"""Finds dropout and noise of a module by tracing it in both modes.

The graph of inference gets them where that of training has them: all later passes see one graph.
"""

from __future__ import annotations

import functools
import operator
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, fx, nn

from graphspec.convert.differences import apart, flat
from graphspec.convert.pytorch.functions import DROPOUTS, argument, depends, put, word_of
from graphspec.convert.pytorch.kept import module_kept
from graphspec.convert.pytorch.noise import Layer, layers_between, random_parts
from graphspec.convert.pytorch.tracing import TracedModule, line_in, quiet, traced
from graphspec.convert.refusals import Unsupported
from graphspec.convert.tracing.live import replaced
from graphspec.diagnostics import by_word
from graphspec.diagnostics.text import first_line

LAYER = "graphspec_layer"
"""In `meta` of a node that training adds: the layer of a spec, and its settings."""
ROUNDING = 1e-6
NORMS = nn.modules.batchnorm._NormBase
AVERAGES = "average the statistics of all batches: those of their layers move by a tenth with each batch"
FIXED = "learn nothing, but normalize by each batch: their layers, with `trainable: false`, as in inference"
MODES = frozenset(by_word(of="training train dropout_p dropout use_input_stats momentum"))
"""Arguments that say what a function does in training."""


@contextmanager
def marked(module: nn.Module) -> Iterator[None]:
    """Makes a node for each result of modules without parameters, of the user's or nn.Identity: modules that
    are alike stay so, whether they drop something or nothing.
    """
    with ExitStack() as changes:
        for each in module.modules():
            last = not any(True for _ in each.children()) and not each._parameters and not each._buffers
            is_torch = type(each).__module__.startswith("torch.nn.") and type(each) is not nn.Identity
            if last and not is_torch and "forward" not in each.__dict__:
                changes.enter_context(replaced(each, "forward", _marking(each.forward)))
        yield


def _marking(forward: Any) -> Any:
    @functools.wraps(forward)
    def marking(*args: Any, **kwargs: Any) -> Any:
        output = forward(*args, **kwargs)
        is_tensor = type(output) is Tensor or isinstance(output, torch._subclasses.FakeTensor)
        return torch.ops.aten.alias(output) if is_tensor and output.is_floating_point() else output

    return marking


# --- two graphs


@dataclass(slots=True)
class Addition:
    """Layers that training adds between a node of the graph of inference and what reads it."""

    source: fx.Node
    layers: list[Layer]
    origin: fx.Node  # in the graph of training
    readers: list[tuple[fx.Node, int]] = field(default_factory=list)  # and which of their arguments reads it


class ModeComparison:
    """Finds the twin of each node of `training`, a graph, in that of inference; `add` writes what is left."""

    def __init__(self, inference: fx.Graph, training: fx.Graph):
        self.inference, self.training = inference, training
        self.twins: dict[fx.Node, fx.Node] = {}
        self.bases: dict[
            fx.Node, fx.Node
        ] = {}  # of what training alone computes: the one tensor that it is of
        self.data: set[fx.Node] = set()
        self.additions: dict[fx.Node, Addition | None] = {}
        self.unknown: list[str] = []
        self.outputs_differ = False
        self.inner: list[ModeComparison] = []
        self.waiting: dict[Any, list[fx.Node]] = defaultdict(list)

    def run(self, data: Mapping[str, bool]) -> None:
        """`data` has the placeholders by their names, and whether they depend on the user's inputs."""
        holders = {node.name: node for node in self.inference.nodes if node.op == "placeholder"}
        for node in self.inference.nodes:
            if node.op == "call_function":
                self.waiting[_key(node, lambda n: n)].append(node)
        for node in self.training.nodes:
            if node.op == "placeholder":
                if node.name in holders:
                    self.twins[node] = holders[node.name]
                if data.get(node.name):
                    self.data.add(node)
            elif node.op == "get_attr":
                self._attribute(node)
            elif node.op == "call_function":
                self._called(node)
            elif node.op == "output":
                self._output(node)

    def _attribute(self, node: fx.Node) -> None:
        same = (n for n in self.inference.nodes if n.op == "get_attr" and n.target == node.target)
        twin = next(same, None)
        if twin is not None:
            self.twins[node] = twin

    def _called(self, node: fx.Node) -> None:
        if depends(node, self.data):
            self.data.add(node)
        key = _key(node, self.twins.get)
        twin = self._taken(key)
        if twin is not None:
            self.twins[node] = twin
            self._modes(node, twin)
            self._graphs(node, twin)
            return
        noisy = [n for n in node.all_input_nodes if n in self.bases]
        if noisy:
            twin = self._taken(_key(node, self._resolved))
            if twin is not None:
                self.twins[node] = twin
                self._modes(node, twin)
                for place, leaf in enumerate(_leaves(node)):
                    if leaf in noisy:
                        self._addition(leaf, twin, place)
                return
        sources = {self.bases.get(n, n) for n in node.all_input_nodes if n in self.data}
        if node in self.data and len(sources) == 1 and (base := sources.pop()) in self.twins:
            self.bases[node] = base

    def _resolved(self, node: fx.Node) -> fx.Node | None:
        """The twin of a node, or of what training alone computes it of."""
        return self.twins.get(self.bases.get(node, node))

    def _taken(self, key: Any) -> fx.Node | None:
        """The next node of inference with this key; the last one again where there are no more."""
        waiting = self.waiting.get(key) if key is not None else None
        if not waiting:
            return None
        return waiting.pop(0) if len(waiting) > 1 else waiting[0]

    def _modes(self, node: fx.Node, twin: fx.Node) -> None:
        """The rate of a dropout in inference's graph as training has it."""
        word = word_of(node)
        if word in DROPOUTS:
            put(twin, "p", argument(node, "p") if argument(node, "train") else 0.0)
        elif word == "scaled_dot_product_attention":
            put(twin, "dropout_p", argument(node, "dropout_p"))

    def _graphs(self, node: fx.Node, twin: fx.Node) -> None:
        """Graphs inside, of checkpoints, say."""
        if not isinstance(node.target, torch._ops.HigherOrderOperator):
            return
        pairs = zip(node.args, twin.args, strict=False)
        for a, b in pairs:
            if isinstance(a, fx.Node) and isinstance(b, fx.Node) and a.op == b.op == "get_attr":
                one, other = (operator.attrgetter(str(n.target))(n.graph.owning_module) for n in (b, a))
                if isinstance(one, fx.GraphModule) and isinstance(other, fx.GraphModule):
                    inner = ModeComparison(one.graph, other.graph)
                    inner.run({n.name: True for n in other.graph.nodes if n.op == "placeholder"})
                    self.inner.append(inner)

    def _output(self, node: fx.Node) -> None:
        end = next(n for n in self.inference.nodes if n.op == "output")
        mine, its = _leaves(end), _leaves(node)
        if len(mine) != len(its):
            self.outputs_differ = True
            return
        for place, (a, b) in enumerate(zip(mine, its, strict=True)):
            if not isinstance(b, fx.Node) or self.twins.get(b) is a:
                continue
            if b in self.bases and self.twins[self.bases[b]] is a:
                self._addition(b, end, place)
            else:
                self._tell(b)

    def _addition(self, node: fx.Node, reader: fx.Node, place: int) -> None:
        """Notes an addition of training, read there: only where the argument in inference is its source."""
        leaves = _leaves(reader)
        if place >= len(leaves) or leaves[place] is not self.twins[self.bases[node]]:
            self.unknown.append(_at(node))
            return
        if node not in self.additions:
            base = self.bases[node]
            layers = layers_between(node, base)
            self.additions[node] = None if layers is None else Addition(self.twins[base], layers, node)
            if layers is None:
                self.unknown.append(_at(node))
        addition = self.additions[node]
        if addition is not None:
            addition.readers.append((reader, place))

    def _tell(self, node: fx.Node) -> None:
        """The first of what an output depends on that inference does not compute."""
        left, first = [node], node
        seen = set[fx.Node]()
        order = {n: k for k, n in enumerate(self.training.nodes)}
        while left:
            here = left.pop()
            if here in seen or here in self.twins or here.op != "call_function":
                continue
            seen.add(here)
            first = min(first, here, key=order.__getitem__)
            left += here.all_input_nodes
        self.unknown.append(_at(first))

    def forget(self) -> None:
        """Tells what could be added."""
        for node, addition in self.additions.items():
            if addition is not None and addition.layers:
                self.unknown.append(_at(node))
        self.additions.clear()
        for inner in self.inner:
            inner.forget()

    def add(self) -> list[str]:
        """Writes the additions into the graph of inference; returns what there is no layer for."""
        kept: dict[str, Layer] = {}
        for addition in self.additions.values():
            if addition is not None:
                self._write(addition, kept)
        for node in list(self.inference.nodes):
            if not _is_mark(node):
                continue
            source = node.args[0]
            alike = next((kind for kind in _kinds(node) if kind in kept), None)
            if alike is not None and LAYER not in source.meta:  # drops nothing, where others of its kind drop
                layer, settings = kept[alike]
                nothing = {key: value if key == "noise" else 0.0 for key, value in settings.items()}
                with self.inference.inserting_before(node):
                    source = self._node(source, (layer, nothing), node)
            node.replace_all_uses_with(source)
            self.inference.erase_node(node)
        return self.unknown + [word for inner in self.inner for word in inner.add()]

    def _write(self, addition: Addition, kept: dict[str, Layer]) -> None:
        last = addition.source
        first = min(reader for reader, _ in addition.readers)
        with self.inference.inserting_before(first):
            for layer in addition.layers:
                last = self._node(last, layer, addition.origin)
        for reader, place in addition.readers:
            _reads(reader, place, last)
            if _is_mark(reader) and len(addition.layers) == 1:
                kept |= dict.fromkeys(_kinds(reader), addition.layers[0])

    def _node(self, source: fx.Node, layer: Layer, origin: fx.Node) -> fx.Node:
        node = self.inference.call_function(torch.ops.aten.dropout.default, (source, 0.0, True))
        node.meta = {
            key: value for key, value in origin.meta.items() if key in ("nn_module_stack", "stack_trace")
        }
        node.meta |= {"val": source.meta["val"], LAYER: layer}
        return node


def _leaves(node: fx.Node) -> list[Any]:
    """The arguments of a node, one after the other."""
    leaves: list[Any] = torch.utils._pytree.tree_leaves((node.args, node.kwargs))
    return leaves


def _reads(node: fx.Node, place: int, value: fx.Node) -> None:
    """Makes a node read another one as one of its arguments: the first, or the second of `x + drop(x)`."""
    leaves, structure = torch.utils._pytree.tree_flatten((node.args, node.kwargs))
    leaves[place] = value
    node.args, node.kwargs = torch.utils._pytree.tree_unflatten(leaves, structure)


def with_training(
    graph: TracedModule,
    module: nn.Module,
    inputs: Mapping[str, Tensor],
    free: Mapping[str, Mapping[int, Any]],
) -> tuple[frozenset[str], list[str]]:
    """Adds to the graph of a module in inference what it does in training alone; returns the paths of the
    parts that are random, and what is not added, in words.
    """
    _check_inference(graph)
    try:
        module.train()
    except Exception as error:  # the user's own
        _without_marks(graph)
        return frozenset(), [f"what it does in training alone is left out: {first_line(error)}"]
    finally:
        module.eval()
    parts, others = random_parts(module, inputs)
    told = [f"what depends on numbers of `{name}` in training is left out" for name in others]
    norms = {path: each for path, each in module.named_modules() if isinstance(each, NORMS)}
    slopes = [path for path, each in module.named_modules() if isinstance(each, nn.RReLU)]
    for found, said in (
        (_still(module), "normalize as in inference: their layers do so with `trainable: false`"),
        ([p for p, each in norms.items() if averages(each)], AVERAGES),
        ([p for p, each in norms.items() if _is_fixed(each)], FIXED),
        (moving_buffers(module, inputs), "change with each batch: the spec keeps them as they are"),
        (slopes, "draw their slopes: the spec has the one of inference"),
    ):
        if found:
            words = ", ".join(f"`{path}`" for path in found[:3]) + (", ..." if len(found) > 3 else "")
            told.append(f"in training, {words} {said}")
    if parts is not None and not parts and not others:
        for node in graph.program.graph.nodes:
            if word_of(node) in DROPOUTS:
                put(node, "p", 0.0)
    if parts is None or parts or others or _differs(module, inputs):
        told += _compared(graph, module, inputs, free, bool(others))
    _without_marks(graph)
    return parts or frozenset(), told


def _without_marks(graph: TracedModule) -> None:
    for node in [node for node in graph.program.graph.nodes if _is_mark(node)]:
        node.replace_all_uses_with(node.args[0])
        graph.program.graph.erase_node(node)


def _check_inference(graph: TracedModule) -> None:
    """Raises `Unsupported` where attention drops values in inference."""
    for part in graph.program.graph_module.modules():
        for node in part.graph.nodes if isinstance(part, fx.GraphModule) else ():
            if word_of(node) == "scaled_dot_product_attention" and argument(node, "dropout_p"):
                raise Unsupported(
                    f"{_at(node)} drops values in inference, too",
                    "give it `dropout_p=self.dropout if self.training else 0.0`",
                )


def _differs(module: nn.Module, inputs: Mapping[str, Tensor]) -> bool:
    """Whether a module that draws no random numbers computes something else in training: not counted what
    normalizations do.
    """
    with quiet(), module_kept(module), torch.no_grad():
        try:
            inference = flat(module(**inputs))
            module.train()
            for each in module.modules():
                each.training &= not isinstance(each, NORMS)
            return not apart(flat(module(**inputs)), inference) <= ROUNDING
        except Exception:  # the user's own: its graph says more
            return True


def moving_buffers(module: nn.Module, inputs: Mapping[str, Tensor]) -> list[str]:
    """The buffers that the module changes in training, without those of normalizations: what it iterates or
    averages itself.
    """
    kept = {path for path, each in module.named_modules() if isinstance(each, NORMS)}
    names = [name for name, _ in module.named_buffers() if name.rpartition(".")[0] not in kept]
    if not names:
        return []
    found = set[str]()
    for scale in (1.0, 1.25):  # iterations that have converged move only from elsewhere
        with quiet(), module_kept(module), torch.no_grad():
            before = {}
            for name in names:
                buffer = module.get_buffer(name)
                before[name] = (buffer.mul_(scale) if buffer.is_floating_point() else buffer).clone()
            try:
                module.train()
                module(**inputs)
            except Exception:  # the user's own: its graph says more
                continue
            found |= {name for name in names if not torch.equal(module.get_buffer(name), before[name])}
    return [name for name in names if name in found]


def averages(module: nn.Module | None) -> bool:
    """Whether a normalization averages the statistics of all batches that it has seen."""
    return isinstance(module, NORMS) and module.track_running_stats and module.momentum is None


def _is_fixed(norm: nn.modules.batchnorm._NormBase) -> bool:
    """Whether none of its parameters is trained."""
    parameters = list(norm.parameters())
    return norm.track_running_stats and bool(parameters) and not any(p.requires_grad for p in parameters)


def _still(module: nn.Module) -> list[str]:
    """The paths of normalizations that train, though the module keeps them in inference mode."""
    module.train()
    paths = [
        path
        for path, each in module.named_modules()
        if isinstance(each, NORMS)
        and not each.training
        and any(parameter.requires_grad for parameter in each.parameters())
    ]
    module.eval()
    return paths


def _compared(
    graph: TracedModule,
    module: nn.Module,
    inputs: Mapping[str, Tensor],
    free: Mapping[str, Mapping[int, Any]],
    once: bool,
) -> list[str]:
    """Compares with the graph of training; returns what of that is left out, in words. Where it is that of
    `once`, and another time another one, nothing is added of it.
    """
    try:
        with module_kept(module):
            module.train()
            other = traced(module, inputs, free)
    except Unsupported as error:
        return [f"what it does in training alone is left out: {error.message}"]
    finally:
        module.eval()
    users = set(other.inputs)
    comparison = ModeComparison(graph.program.graph, other.program.graph)
    holders = [node.name for node in other.program.graph.nodes if node.op == "placeholder"]
    comparison.run({name: name in users for name in holders})
    if once:
        comparison.forget()
    left = dict.fromkeys(comparison.add())
    told = [f"{word} is left out: it runs in training alone, and no layer does it" for word in left]
    if comparison.outputs_differ:
        told.append("in training it returns other outputs than in inference: the spec has those of inference")
    return told


# --- nodes


def _class(node: fx.Node) -> str:
    stack = node.meta.get("nn_module_stack")
    return str(next(reversed(stack.values()))[1]) if stack else ""


def _kinds(node: fx.Node) -> Iterator[str]:
    """The properties of modules that are alike: their class, and their place in a class of the user's."""
    stack = [(path, str(kind)) for path, kind in (node.meta.get("nn_module_stack") or {}).values()]
    users = [(path, kind) for path, kind in stack if not kind.startswith("torch.nn.")]
    if stack and stack[-1] in users:
        yield users.pop()[1]
    if users:
        path, kind = users[-1]
        yield f"{kind}:{stack[-1][0].removeprefix(path)}"


def _is_mark(node: fx.Node) -> bool:
    return node.op == "call_function" and node.target is torch.ops.aten.alias.default


def _at(node: fx.Node) -> str:
    """A function and its line: the last one of a graph inside, of `torch.no_grad()`, say."""
    if node.target is operator.getitem:
        return _at(node.all_input_nodes[0])
    if isinstance(node.target, torch._ops.HigherOrderOperator):
        parts = [n for n in node.all_input_nodes if n.op == "get_attr"]
        graphs = [operator.attrgetter(str(n.target))(node.graph.owning_module) for n in parts]
        calls = [n for g in graphs if isinstance(g, fx.GraphModule) for n in g.graph.nodes]
        calls = [n for n in calls if n.op == "call_function" and n.target is not operator.getitem]
        if calls:
            return _at(calls[-1])
    where = line_in(node.meta.get("stack_trace") or "")
    return f"`{word_of(node) or node.name}`" + (f" at {where}" if where else "")


def _key(node: fx.Node, twin: Any) -> Any:
    """The computation of a node, by the nodes of inference that it reads; None where it reads others."""
    target: Any = node.target
    listed = list(target._schema.arguments) if isinstance(target, torch._ops.OpOverload) else []
    skipped = MODES | {"p"} if word_of(node) in DROPOUTS else MODES
    missing = False

    def frozen(value: Any) -> Any:
        nonlocal missing
        if isinstance(value, fx.Node):
            counterpart = twin(value)
            missing = missing or counterpart is None
            return counterpart
        if isinstance(value, (list, tuple)):
            return tuple(frozen(item) for item in value)
        if isinstance(value, slice):
            return (frozen(value.start), frozen(value.stop), frozen(value.step))
        if isinstance(value, dict):
            return tuple((key, frozen(item)) for key, item in sorted(value.items()))
        return type(value).__name__, str(value)

    names = [each.name for each in listed] + [str(place) for place in range(len(listed), len(node.args))]
    named = dict(zip(names, node.args, strict=False)) | node.kwargs
    usual = {each.name: each.default_value for each in listed if each.has_default_value()}
    arguments = [
        (name, frozen(value))
        for name, value in sorted(named.items())
        if name not in skipped and not (name in usual and _equal(value, usual[name]))
    ]
    return None if missing else (str(target), _class(node), tuple(arguments))


def _equal(value: Any, usual: Any) -> bool:
    return type(value) is type(usual) and bool(value == usual)

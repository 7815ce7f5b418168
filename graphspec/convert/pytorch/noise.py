"""Finds the layers of dropout and noise: functions that ours computes, too, with the same random numbers, on
data of every kind. All else is no layer.
"""

from __future__ import annotations

import operator
import random
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, fx, nn
from torch.utils._python_dispatch import TorchDispatchMode

from graphspec.convert.arguments import shortest
from graphspec.convert.pytorch.functions import DROPOUTS, argument, is_random, of_shape, word_of
from graphspec.convert.pytorch.kept import module_kept, random_kept
from graphspec.convert.pytorch.sizes import hint
from graphspec.convert.pytorch.tracing import quiet
from graphspec.diagnostics import by_word

Layer = tuple[str, dict[str, Any]]
"""A layer of a spec, and its settings."""
NORMAL = frozenset(by_word(of="randn randn_like normal"))
UNIFORM = frozenset(by_word(of="rand rand_like uniform bernoulli"))
STEPS, HALVINGS, PATTERNS = 16, 22, 8
"""Where between 0 and 1 a dropout keeps values: first looks, and how exactly; and how often it is drawn."""
EDGE = 1e-7


def layers_between(node: fx.Node, base: fx.Node) -> list[Layer] | None:
    """The layers that make `node` of `base`, in order; None where there are none that do."""
    if node is base:
        return []
    if node.target is operator.getitem and word_of(node.all_input_nodes[0]) == "native_dropout":
        return layers_between(node.all_input_nodes[0], base) if node.args[1] == 0 else None
    word = word_of(node)
    if word in DROPOUTS and isinstance(node.args[0], fx.Node):
        before = layers_between(node.args[0], base)
        if before is None or not argument(node, "train") or not argument(node, "p"):
            return before
        layer = _DROPS.get(word)
        return None if layer is None else [*before, (layer, {"rate": shortest(argument(node, "p"))})]
    needed = _between(node, base)
    if needed is None:
        return None
    shape = [hint(size) for size in base.meta["val"].shape]
    if [hint(size) for size in node.meta["val"].shape] != shape:
        return None
    try:
        with random_kept(torch.nn.Module()), torch.no_grad():
            return _recognized(needed, node, base, shape)
    except (RuntimeError, TypeError, ValueError, AttributeError):
        return None


_DROPS = {
    "dropout": "Dropout",
    "native_dropout": "Dropout",
    "alpha_dropout": "AlphaDropout",
    "feature_dropout": "SpatialDropout",
}


def _between(target: fx.Node, base: fx.Node) -> list[fx.Node] | None:
    """The nodes that compute one node of another, in order; None where they need more than that."""
    left, needed = [target], set[fx.Node]()
    while left:
        node = left.pop()
        if node is base or node in needed or not isinstance(node.meta.get("val"), Tensor):
            continue
        if node.op != "call_function":
            return None
        needed.add(node)
        if not of_shape(node):
            left += node.all_input_nodes
    return [node for node in target.graph.nodes if node in needed]


@dataclass(frozen=True, slots=True)
class NoiseFunction:
    """The function of nodes: of a tensor, and of the numbers between 0 and 1, or of the normal distribution,
    that their one random function draws.
    """

    needed: list[fx.Node]
    target: fx.Node
    base: fx.Node

    def of(self, x: Tensor, numbers: Tensor | None = None) -> Tensor:
        values: dict[fx.Node, Any] = {self.base: x.clone()}

        def value(node: fx.Node) -> Any:
            known = node.meta["val"]
            if node not in values and isinstance(known, Tensor):  # which gives no more than its shape
                return torch.zeros([hint(size) for size in known.shape], dtype=known.dtype)
            return values[node] if node in values else hint(known)

        for node in self.needed:
            args, kwargs = fx.map_arg((node.args, node.kwargs), value)
            drawn = None if numbers is None or not is_random(node) else _drawn(node, args, kwargs, numbers)
            values[node] = node.target(*args, **kwargs)  # type: ignore[operator]
            if drawn is not None:
                values[node].copy_(drawn)
        result: Tensor = values[self.target]
        return result.double()


def _drawn(node: fx.Node, args: Any, kwargs: Any, numbers: Tensor) -> Tensor:
    """The result of a random function where it draws these numbers."""
    target: Any = node.target
    listed = target._schema.arguments
    arguments = {each.name: each.default_value for each in listed if each.has_default_value()}
    arguments |= dict(zip((each.name for each in listed), args, strict=False)) | kwargs
    match word_of(node):
        case "normal":
            numbers = arguments["mean"] + arguments["std"] * numbers
        case "uniform":
            numbers = arguments["from"] + (arguments["to"] - arguments["from"]) * numbers
        case "bernoulli":
            numbers = (numbers < arguments.get("p", arguments["self"])).double()
    return numbers


def _recognized(
    needed: list[fx.Node], target: fx.Node, base: fx.Node, shape: list[int]
) -> list[Layer] | None:
    torch.manual_seed(0)
    function = NoiseFunction(needed, target, base)
    sample = torch.randn(shape, dtype=torch.float64)
    probes = [sample.abs() + 1, sample, sample * 1e4, sample * 1e-3, sample - 3, torch.zeros_like(sample)]
    sources = [node for node in needed if is_random(node)]
    if not sources:
        return [] if all(_alike(function.of(x), x) for x in probes) else None
    drawn = [hint(size) for size in sources[0].meta["val"].shape]
    if len(sources) > 1 or word_of(sources[0]) not in NORMAL | UNIFORM:
        return None
    if word_of(sources[0]) in UNIFORM:
        return _dropout(function, drawn, probes)
    return _gaussian(function, probes) if drawn == shape else None


def _alike(computed: Tensor, wanted: Tensor) -> bool:
    return computed.shape == wanted.shape and torch.allclose(computed, wanted, rtol=1e-6, atol=1e-7)


def _gaussian(function: NoiseFunction, probes: list[Tensor]) -> list[Layer] | None:
    """Noise that is added, or that values are multiplied by, the same for each value on its own."""
    x = probes[0]
    change = float((function.of(x, torch.ones_like(x)) - x).flatten()[0])
    numbers = [torch.randn_like(x) for _ in probes]
    pairs = list(zip(probes, numbers, strict=True))
    if not change:
        return None
    if all(_alike(function.of(x, z), x + change * z) for x, z in pairs):
        return [("GaussianNoise", {"stddev": shortest(round(abs(change), 6))})]
    change /= float(x.flatten()[0])
    if all(_alike(function.of(x, z), x + change * z * x) for x, z in pairs):
        return [("GaussianDropout", {"rate": shortest(round(change**2 / (1 + change**2), 6))})]
    return None


def _dropout(function: NoiseFunction, drawn: list[int], probes: list[Tensor]) -> list[Layer] | None:
    """Values are zeroed where the numbers drawn are on one side of a threshold; the others are scaled by what
    their share is of all.
    """
    parameters = _threshold(function, drawn, probes[0])
    if parameters is None:
        return None
    threshold, above, scale = parameters
    if scale <= 1 or abs((1 - threshold if above else threshold) - 1 / scale) > 1e-5:
        return None
    bits = torch.rand([PATTERNS, *drawn]) < 0.5
    within = torch.rand([PATTERNS, *drawn], dtype=torch.float64) * 0.9 + 0.05
    numbers = torch.where(bits, threshold + (1 - threshold) * within, threshold * within)
    kept = bits if above else ~bits
    masks = torch.stack([function.of(probes[0], each) != 0 for each in numbers])
    over = [
        axis
        for axis, size in enumerate(masks.shape)
        if axis and size > 1 and bool((masks == masks.narrow(axis, 0, 1)).all())
    ]
    apart = masks
    for axis in over:
        apart = apart.narrow(axis, 0, 1)
    if apart.numel() != kept.numel() or not torch.equal(apart.flatten(), kept.flatten()):
        return None
    for place, x in enumerate(probes):
        if not _alike(function.of(x, numbers[place]), torch.where(masks[place], x * scale, 0.0)):
            return None
    settings: dict[str, Any] = {"rate": shortest(round(1 - 1 / scale, 6))}
    if over:
        # along an axis of one element nothing varies, as in a part of its kind where it has more
        varies = (axis not in over and size > 1 for axis, size in enumerate(masks.shape))
        settings["noise"] = tuple(varies)[1:]
    return [("Dropout", settings)]


def _threshold(function: NoiseFunction, drawn: list[int], x: Tensor) -> tuple[float, bool, float] | None:
    """The number up to which values are zeroed, or from there on; whether those above are kept; and what they
    are multiplied by.
    """
    padded = [1] * (x.dim() - len(drawn)) + drawn
    x = x[tuple(slice(size) for size in padded)]  # noise is the same along the other axes

    def scale(number: float) -> float:
        ratio = function.of(x, torch.full(drawn, number, dtype=torch.float64)) / x
        first = float(ratio.flatten()[0])
        return first if _alike(ratio, torch.full_like(ratio, first)) else float("nan")

    places = [EDGE, *((k + 0.5) / STEPS for k in range(STEPS)), 1 - EDGE]
    scales = [scale(place) for place in places]
    kept = [each != 0 for each in scales]
    changes = [k for k in range(1, len(kept)) if kept[k] != kept[k - 1]]
    factor = max(scales)
    if len(changes) != 1 or not all(abs(s - factor) <= 1e-6 * factor for s in scales if s != 0):
        return None
    low, high = places[changes[0] - 1], places[changes[0]]
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        low, high = (low, middle) if (scale(middle) != 0) == kept[-1] else (middle, high)
    return (low + high) / 2, kept[-1], factor


# --- where a module is random


class _Draws(TorchDispatchMode):
    """Calls `seen` at each function that draws random numbers."""

    def __init__(self, seen: Any):
        super().__init__()
        self.seen = seen

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if torch.Tag.nondeterministic_seeded not in func.tags:
            return func(*args, **(kwargs or {}))
        before = torch.get_rng_state()
        output = func(*args, **(kwargs or {}))
        has_generator = (kwargs or {}).get("generator") is not None
        if has_generator or not torch.equal(before, torch.get_rng_state()):
            self.seen()
        return output


def _states() -> tuple[Any, Any]:
    """Of the generators of Python's `random` and NumPy's."""
    kept: Any = np.random.get_state()
    return random.getstate(), [*kept[1].tolist(), kept[2]]


def random_parts(
    module: nn.Module, inputs: Mapping[str, Tensor]
) -> tuple[frozenset[str] | None, tuple[str, ...]]:
    """The paths of the modules that draw random numbers in training, None where it does not run; and other
    libraries that random numbers come from. Runs it once.
    """
    inside: list[str] = []
    paths: set[str] = set()
    hooks = []
    for path, each in module.named_modules():
        hooks.append(each.register_forward_pre_hook(lambda *_, path=path: inside.append(path)))
        hooks.append(each.register_forward_hook(lambda *_: inside.pop() and None))
    try:
        module.train()
        drawing = _Draws(lambda: paths.add(inside[-1] if inside else ""))
        with quiet(), module_kept(module), torch.no_grad():
            before = _states()
            with drawing:
                module(**inputs)
            after = _states()
    except Exception:  # what the module says of its inputs in training is the module's own
        return None, ()
    finally:
        module.eval()
        for hook in hooks:
            hook.remove()
    names = ("random", "numpy.random")
    return frozenset(paths), tuple(n for n, a, b in zip(names, before, after, strict=True) if a != b)

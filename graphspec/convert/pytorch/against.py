"""A spec against a module that was written by hand: that one's weights in the spec, and what both compute.

It says that two models are one, and no more than that: on random inputs, outputs in inference, and gradients
in training, without what is random in it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from posixpath import commonpath
from typing import Any

import torch
from torch import Tensor, nn

from graphspec.convert.differences import apart, flat
from graphspec.convert.pytorch.asked import module_of
from graphspec.convert.pytorch.kept import module_kept
from graphspec.convert.pytorch.proof import (
    DEEP,
    GRADIENT,
    TOLERANCE,
    total_loss,
    without_noise,
    worst_difference,
)
from graphspec.diagnostics import Diagnostic, SpecError, fail
from graphspec.diagnostics.text import first_line
from graphspec.graph import Op
from graphspec.program import Program
from graphspec.transfer.attention import Lying, lyings
from graphspec.transfer.checkpoints import Checkpoint, StoredCheckpoint
from graphspec.transfer.complaints import complaints
from graphspec.transfer.matching import Plan
from graphspec.transfer.matching import match as matched
from graphspec.transfer.misfits import shown
from graphspec.transfer.moving import Move
from graphspec.transfer.rules import Rules
from graphspec.transfer.targets import targets
from graphspec.weights import layers

BATCHES = (2, 3)


@dataclass(frozen=True, slots=True)
class Equality:
    """The compared parts and their differences, relative to the largest value. `gradients` is None where
    `why` explains it.
    """

    weights: int
    outputs: float
    gradients: float | None
    why: str = ""

    def to_json(self) -> dict[str, Any]:
        shown = {"weights": self.weights, "outputs": self.outputs, "gradients": self.gradients}
        return {**shown, "why": self.why} if self.why else shown


def against(program: Program, module: nn.Module, name: str, rules: Rules | None = None) -> Equality:
    """Compares a program with a module that is called `name`. Raises `SpecError`: weights-misfit, and others
    of a checkpoint, where the weights of one are not those of the other; import-differs where they compute
    something else, at the first node that does.
    """
    pair = _Pair(program, module, name, rules or Rules(), {})
    try:
        return pair.compared()
    except SpecError:
        if not pair.parts_guessed:
            raise
        for lying in pair.other_lyings():
            with suppress(SpecError):
                return _Pair(program, module, name, rules or Rules(), lying).compared()
        raise


def made(target: str, allow: list[str]) -> nn.Module:
    """The result of `module_of`, with the same random weights each time."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return module_of(target, allow)


def digest(module: nn.Module) -> str:
    """A digest of all tensors of a module, with their names."""
    found = hashlib.sha256()
    for key, tensor in sorted(module.state_dict().items()):
        plain = tensor.detach().cpu().contiguous()
        found.update(f"{key} {plain.dtype} {list(plain.shape)}".encode())
        found.update(plain.flatten().view(torch.uint8).numpy().data)
    return found.hexdigest()


class _Pair:
    """The module of a program with the weights of the other one, and that."""

    def __init__(
        self, program: Program, module: nn.Module, name: str, rules: Rules, lying: Mapping[str, Lying]
    ):
        self.program, self.theirs, self.name = program, module, name
        wanted = list(targets(program.graph))
        state, learned = module.state_dict(), dict(module.named_parameters())
        tied = dict(module.named_parameters(remove_duplicate=False)).keys() - learned.keys()
        for left_out in dict.fromkeys((frozenset(tied), frozenset[str]())):
            self.state = {key: tensor for key, tensor in state.items() if key not in left_out}
            self.plan = matched(wanted, self._checkpoint(self.state), rules, proven=lying)
            if self.plan.ok:
                break
        wrong = complaints(self.plan, Path(name), Path(program.name), rules)
        if not self.plan.ok:
            help = _about_biases(self.plan) or (
                "both need the same weights; `--rules FILE` says which are one, where their names differ"
            )
            raise SpecError(replace(each, help=help) for each in wrong if each.severity == "error")
        lacking = [key for key in self.plan.unused if key in learned]  # buffers show in what is computed
        if lacking:
            raise fail("weights-misfit", f"`{name}` has weights that the spec lacks: {shown(lacking, 5)}")
        self.ours = program.module()
        self.ours.load_state_dict({**self.ours.state_dict(), **self.plan.read(self._checkpoint(self.state))})
        self.turned = False
        """Whether the other one takes images with their channels first."""

    @property
    def parts_guessed(self) -> bool:
        """Whether where the query, key and value of a layer lie in one of the other module is a guess."""
        return any(match.how == "order" and match.move.part for match in self.plan.matches.values())

    def other_lyings(self) -> Iterator[dict[str, Lying]]:
        """The other orders of query, key and value within a layer, by path: the same one in all layers."""
        ways = {
            path: lyings(op.layer.heads, op.layer.sizes)  # type: ignore[union-attr]
            for path, op in layers(self.program.graph)
            if hasattr(op.layer, "heads") and hasattr(op.layer, "sizes")
        }
        for place in range(1, max(map(len, ways.values()))):
            yield {path: each[place] for path, each in ways.items() if place < len(each)}

    def _checkpoint(self, tensors: Mapping[str, Tensor]) -> Checkpoint:
        stored = {k: StoredCheckpoint(k, tuple(t.shape), str(t.dtype)) for k, t in self.state.items()}
        return Checkpoint(Path(self.name), stored, tensors.__getitem__, ordered=True)

    def compared(self) -> Equality:
        with module_kept(self.theirs), module_kept(self.ours):
            self.theirs.eval(), self.ours.eval()
            worst = 0.0
            for seed, batch in enumerate(BATCHES):
                inputs = self.program.example_inputs(batch_size=batch, seed=seed)
                with torch.no_grad():
                    ours = flat(self.ours(*inputs.values()))
                    theirs = self._outputs(inputs, ours)
                worst = max(worst, _gap(ours, theirs))
                if not worst <= TOLERANCE:
                    raise SpecError([self._difference(inputs, worst)])
        with module_kept(self.theirs), module_kept(self.ours):
            gradients, why = self._gradients()
        return Equality(len(self.plan.matches), worst, gradients, why)

    def _outputs(self, inputs: Mapping[str, Tensor], ours: list[Tensor]) -> list[Tensor]:
        """The outputs of the other module; it may take images with their channels first."""
        found_by_way: dict[bool, list[Tensor]] = {}
        errors: list[Exception] = []
        for turned in dict.fromkeys((self.turned, False, True)):
            self.turned = turned
            try:
                found = flat(self.theirs(*self._given(inputs)))
            except Exception as failed:  # the user's own code
                errors.append(failed)
                continue
            if _gap(ours, found) <= TOLERANCE:
                return found
            found_by_way[turned] = found
        if not found_by_way:
            shapes = ", ".join(f"{key} {list(value.shape)}" for key, value in inputs.items())
            message = (
                f"`{self.name}` does not run on the inputs of the spec, {shapes}: {first_line(errors[0])}"
            )
            help = "give both the same inputs, in the same order"
            raise fail("import-differs", message, help) from errors[0]
        self.turned, known = next(iter(found_by_way.items()))
        return known

    def _given(self, inputs: Mapping[str, Tensor]) -> list[Tensor]:
        return [x.movedim(-1, 1) if self.turned and x.dim() > 2 else x for x in inputs.values()]

    # --- where they differ

    def _difference(self, inputs: Mapping[str, Tensor], worst: float) -> Diagnostic:
        """Explains outputs that differ: by the first node with weights that does, or those before it."""
        message = f"the outputs of the spec differ from those of `{self.name}` by {worst:.1e} of the largest"
        before: tuple[str, Op] | None = None
        for ours, theirs, op, (read, given) in self._calls(inputs):
            if _gap(read[0], _of_rows(read)) > TOLERANCE:
                nodes = _between(None if before is None else before[1], op)
                names = " or ".join(f"`{each.name}`" for each in nodes) or f"what `{op.name}` reads"
                said = f", or the activation of `{before[0]}`" if before is not None else ""
                where = f"{message}, first at {names}{said}: what `{ours}` reads differs"
                return Diagnostic("import-differs", where, (nodes or [op])[0].span)
            if _gap(given[0], _of_rows(given)) > TOLERANCE:
                where = f"{message}, first at `{op.name}`, which is `{theirs}` there"
                help = self._order_of_parts(ours) or _settings(op, self.theirs, theirs)
                return Diagnostic("import-differs", where, op.span, help=help)
            before = ours, op
        after = f", after `{before[0]}`" if before is not None else ""
        return Diagnostic("import-differs", f"{message}{after}", None)

    def _calls(self, inputs: Mapping[str, Tensor]) -> Iterator[tuple[str, str, Op, Any]]:
        """The layers that have their weights of one module there, in the order of their calls: both paths,
        the op, and what both read and give.
        """
        pairs = self._layers()
        ops = dict(layers(self.program.graph))
        with torch.no_grad(), _recorded(self.ours, pairs) as ours:
            self.ours(*inputs.values())
        with torch.no_grad(), _recorded(self.theirs, set(pairs.values())) as theirs:
            self.theirs(*self._given(inputs))
        for path, (read, given) in ours.items():
            if path in ops and pairs[path] in theirs:
                other_read, other_given = theirs[pairs[path]]
                match = self.plan.matches.get(f"{path}.weight")
                if match is not None and match.move.flat is not None:  # columns in the order of the spec's
                    other_read = [Move(flat=match.move.flat).apply([x]) for x in other_read]
                yield path, pairs[path], ops[path], ((read, other_read), (given, other_given))

    def _layers(self) -> dict[str, str]:
        """The module there that has the weights of each layer and of no other, by the layer's path."""
        sources: dict[str, set[str]] = {}
        owners: dict[str, set[str]] = {}
        for key, found in self.plan.matches.items():
            path, above = self.plan.targets[key].path, {name.rpartition(".")[0] for name in found.sources}
            if found.move.part is not None:  # a layer of several parts computes what ours has inside
                above |= {
                    m.rpartition(".")[0] for m in above if isinstance(self.theirs.get_submodule(m), nn.Linear)
                }
            sources.setdefault(path, set()).update(found.sources)
            owners.setdefault(path, set()).update(above)
        pairs: dict[str, str] = {}
        for path, names in sources.items():
            modules = owners[path]
            module = _common(modules)
            inside = {name for name in self.plan.used if name.startswith(f"{module}.")}
            if len(modules) == 1 or inside == names:
                pairs[path] = module
        return pairs

    def _order_of_parts(self, path: str) -> str:
        """What the layers in a layer were taken to be, where their order alone says so."""
        taken: dict[str, str] = {}
        for key, match in self.plan.matches.items():
            part = key.rpartition(".")[0]
            if part.startswith(f"{path}.") and match.how == "order":
                taken[part.removeprefix(f"{path}.")] = match.sources[0].rpartition(".")[0]
        if not taken:
            return ""
        said = ", ".join(f"`{part}` is in `{module}`" for part, module in taken.items())
        return f"{said}, by their order alone: `--rules FILE` says otherwise, with `split` for parts of one"

    # --- gradients

    def _gradients(self) -> tuple[float | None, str]:
        """The largest difference of a gradient in training mode, or why there is none."""
        inputs = self.program.example_inputs(batch_size=4, seed=7)
        try:
            self.theirs.double(), self.ours.double()
            inputs = {n: x.double() if x.is_floating_point() else x for n, x in inputs.items()}
            with without_noise(frozenset(), self.theirs, self.ours):
                theirs = flat(self.theirs(*self._given(inputs)))
                ours = flat(self.ours(*inputs.values()))
                if not _gap(ours, theirs) <= TOLERANCE * DEEP:
                    return None, "in training the outputs differ: what is random, or normalizes, is another"
                first, second = (
                    total_loss(theirs),
                    total_loss([_like(a, b) for a, b in zip(ours, theirs, strict=True)]),
                )
                if first is None or second is None or not (first.requires_grad and second.requires_grad):
                    return None, "nothing of it is trained"
                first.backward(), second.backward()
        except Exception as error:  # the user's own code
            return None, f"it does not train on such inputs: {first_line(error)[:120]}"
        worst, key = worst_difference(
            self._wanted(), {n: p.grad for n, p in self.ours.named_parameters() if p.grad is not None}
        )
        if not worst <= GRADIENT:
            message = (
                f"the gradient of `{key}` differs from that of `{self.name}` by {worst:.1e} of the largest"
            )
            op = dict(layers(self.program.graph)).get(key.rpartition(".")[0])
            raise fail("import-differs", message, span=None if op is None else op.span)
        return worst, ""

    def _wanted(self) -> dict[str, Tensor]:
        """The gradients of the other one as those of the spec's weights, by the same moves."""
        trained = dict(self.theirs.named_parameters(remove_duplicate=False))
        gradients = {k: torch.zeros_like(t) for k, t in self.theirs.state_dict(keep_vars=True).items()}
        gradients |= {k: p.grad for k, p in trained.items() if p.grad is not None}
        wanted = self.plan.read(self._checkpoint(gradients))
        matches = self.plan.matches
        return {
            key: value / (len(matches[key].sources) if matches[key].move.sum else 1)
            for key, value in wanted.items()
            if all(source in trained and trained[source].requires_grad for source in matches[key].sources)
        }


def _about_biases(plan: Plan) -> str:
    """The remedy where one of both lacks biases that the other has; empty where neither does, or both."""
    lost, left = ([key for key in keys if key.endswith("bias")] for keys in (plan.missing, plan.unused))
    biased: dict[str, set[bool]] = {}
    for key, found in plan.matches.items():
        if not key.endswith("bias"):
            has = any(f"{plan.stored[source].unit}.bias" in plan.stored for source in found.sources)
            biased.setdefault(plan.targets[key].path, set()).add(has)
    for path in dict.fromkeys(plan.targets[key].path for key in plan.missing):
        if biased.get(path) == {True, False} or (left and biased.get(path) == {False}):
            return (
                f"only some parts of what is `{path}` have a bias in the module, and `use_bias` is for all: "
                "write a `Dense` for each part, as `graphspec import torch` does"
            )
    if lost and not left:
        return f"the module has no {shown(lost, 4)}: `use_bias: false` at their layers leaves them out"
    if left and not lost:
        return f"the module has {shown(left, 4)}, and the spec no such: write `use_bias: true` at its layers"
    return ""


@contextmanager
def _recorded(module: nn.Module, paths: Any) -> Iterator[dict[str, tuple[list[Tensor], list[Tensor]]]]:
    """The inputs and outputs of submodules at their first call, by path, in the order in which calls end."""
    found: dict[str, tuple[list[Tensor], list[Tensor]]] = {}

    def keep(path: str, read: Any, given: Any) -> None:
        first = [[x.clone() for x in flat(value)[:1]] for value in (read, given)]
        found.setdefault(path, (first[0], first[1]))

    hooks = [
        each.register_forward_hook(lambda _, read, given, path=path: keep(path, read, given))
        for path, each in module.named_modules()
        if path in paths
    ]
    try:
        yield found
    finally:
        for hook in hooks:
            hook.remove()


def _common(paths: set[str]) -> str:
    """The path of the module that all of these are, or are in."""
    return commonpath([path.replace(".", "/") for path in paths]).replace("/", ".")


def _between(before: Op | None, op: Op) -> list[Op]:
    """The nodes of one body from which a layer reads, back to the one before, the first of them first."""
    nodes: list[Op] = []
    while op.inputs and (came := op.inputs[0].op) not in (None, before) and len(nodes) < 8:
        assert came is not None
        nodes.insert(0, came)
        op = came
    return nodes


def _like(tensor: Tensor, other: Tensor) -> Tensor:
    """A tensor with its channels where the other one has them."""
    ways = [tensor]
    if tensor.dim() > 2:
        ways += [tensor.movedim(-1, 1), tensor.movedim(1, -1)]
    ways = [way for way in ways if way.shape == other.shape]
    return min(ways, key=lambda way: apart([way], [other]), default=tensor)


def _of_rows(both: tuple[list[Tensor], list[Tensor]]) -> list[Tensor]:
    """The values of the other module, for each row of the batch where it computes them once for all."""
    ours, theirs = both
    if len(ours) != len(theirs):
        return theirs
    return [
        b.expand_as(a) if b.shape in (a.shape[1:], (1, *a.shape[1:])) else b
        for a, b in zip(*both, strict=True)
    ]


def _gap(ours: list[Tensor], theirs: list[Tensor]) -> float:
    """The difference of values, wherever each has its channels."""
    if len(ours) != len(theirs):
        return float("inf")
    return apart([_like(a, b) for a, b in zip(ours, theirs, strict=True)], theirs)


def _settings(op: Op, theirs: nn.Module, path: str) -> str:
    """The settings of both layers, for comparison by eye."""
    layer = op.layer
    said = (
        ", ".join(f"{key}: {getattr(layer, key)}" for key in sorted(layer.model_fields_set)) if layer else ""
    )
    return f"compare its settings: {said} here, and {theirs.get_submodule(path)!r} there"[:300]

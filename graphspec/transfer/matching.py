"""Which tensor of a file becomes which weight: by rules, by name, by what PyTorch's modules have otherwise,
and by order and shape where these leave one way only.

Only names and shapes are looked at; shapes are tried on tensors without data.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import torch
from torch import Tensor

from graphspec.language.naming import identifier
from graphspec.transfer.attention import Lying, attention_rules
from graphspec.transfer.checkpoints import Checkpoint, StoredCheckpoint
from graphspec.transfer.misfits import ONES, relation
from graphspec.transfer.moving import Flat, Move, MovedPart, MoveError, channels_first, order_of
from graphspec.transfer.names import Names
from graphspec.transfer.ordering import Ambiguous, by_order, variables
from graphspec.transfer.origins import WeightOrigins
from graphspec.transfer.patterns import Captured, fill, matches_any
from graphspec.transfer.rules import Rule, Rules, load_rules, shipped
from graphspec.transfer.targets import Target
from graphspec.weights import counts_batches
from graphspec.weights.names import attribute

How = Literal["rule", "import", "name", "pytorch", "order", "shape"]


@dataclass(frozen=True, slots=True)
class Match:
    """A weight, the tensors of the file that it comes from, and what is done with them. `rule` is the pattern
    of the rule, if one says so.
    """

    key: str
    sources: tuple[str, ...]
    how: How
    move: Move = field(default_factory=Move)
    rule: Rule | None = None


@dataclass(frozen=True, slots=True)
class Misfit:
    """A weight whose tensor in the file is of another shape, and how that differs; or what else is wrong."""

    key: str
    shape: tuple[int, ...]
    sources: tuple[str, ...]
    made: tuple[int, ...]
    why: str


@dataclass(frozen=True, slots=True)
class AbsentSource:
    """A weight that a rule, the first of those that match, takes from names that the file has not."""

    rule: Rule
    names: tuple[str, ...]


@dataclass(slots=True)
class Plan:
    """The matches, and what remains on both sides. `ours` says that a module of graphspec was saved."""

    targets: dict[str, Target]
    stored: Mapping[str, StoredCheckpoint]
    ours: bool = False
    matches: dict[str, Match] = field(default_factory=dict)
    misfits: dict[str, Misfit] = field(default_factory=dict)
    absent: dict[str, AbsentSource] = field(default_factory=dict)
    ambiguous: list[Ambiguous] = field(default_factory=list)
    fresh: list[str] = field(default_factory=list)
    fixed: list[str] = field(default_factory=list)
    """The weights that are in every checkpoint of an imported module, as they are in none."""
    dropped: list[str] = field(default_factory=list)
    idle: list[Rule] = field(default_factory=list)
    """The user's rules that match no weight; those shipped are for every size of a network."""
    stale: list[str] = field(default_factory=list)
    """The patterns of fresh weights that match none."""
    prefix: str = ""

    @property
    def missing(self) -> list[str]:
        """The weights that nothing fills, in the spec's order."""
        filled = {*self.matches, *self.fresh, *self.fixed}
        return [key for key in self.targets if key not in filled]

    @property
    def used(self) -> set[str]:
        return {source for match in self.matches.values() for source in match.sources}

    @property
    def unused(self) -> list[str]:
        """The tensors of the file that nothing takes, in the file's order."""
        taken = self.used | set(self.dropped)
        return [key for key in self.stored if key not in taken]

    @property
    def ok(self) -> bool:
        """Whether every weight is filled, and no rule or pattern was written in vain."""
        return not (self.missing or self.idle or self.stale)

    def read(self, checkpoint: Checkpoint) -> dict[str, Tensor]:
        """The weights that are matched, as the module holds them: floats in float32."""
        weights = {}
        for key, match in self.matches.items():
            value = match.move.apply([checkpoint.read(source) for source in match.sources])
            weights[key] = (value.float() if value.is_floating_point() else value).contiguous().clone()
        return weights


def match(
    targets: Sequence[Target],
    checkpoint: Checkpoint,
    rules: Rules,
    origins: WeightOrigins | None = None,
    *,
    proven: Mapping[str, Lying] | None = None,
) -> Plan:
    """The plan for a checkpoint, perhaps of a module that was imported, with `origins`. Where outputs are
    compared afterwards, `proven`, the parts of attention are also found by their order, which lie as it says
    of each layer, by its path. Raises `SpecError` (weights-ambiguous) where two sets of names in it would do.
    """
    return Matcher(targets, checkpoint, rules, origins).run(proven)


class Matcher:
    """Fills a plan step by step; later steps do not change earlier matches."""

    def __init__(
        self, targets: Sequence[Target], checkpoint: Checkpoint, rules: Rules, origins: WeightOrigins | None
    ):
        self.checkpoint, self.rules = checkpoint, rules
        self.origins = None if checkpoint.ours else origins
        self.plan = Plan({target.key: target for target in targets}, checkpoint.tensors, checkpoint.ours)
        self.pytorch = load_rules("pytorch").rules
        self.names = Names(checkpoint.tensors, rules.prefix)

    def run(self, proven: Mapping[str, Lying] | None = None) -> Plan:
        plan = self.plan
        plan.fresh = [key for key in plan.targets if matches_any(self.rules.fresh, key)]
        self.names.elect(self._expected(), self.checkpoint.path)
        plan.prefix = self.names.prefix
        drop = self.rules.drop
        plan.dropped = [
            key
            for key in plan.stored
            if counts_batches(key) or matches_any(drop, key) or matches_any(drop, self.names.bare(key))
        ]
        self._by_rules(self.rules.rules, "rule")
        self._by_origins()
        self._by_rules(self.pytorch, "pytorch")
        self._by_names()
        if proven is not None:
            self._by_rules(attention_rules(self._open(), self._left(), proven), "order")
        self._by_order(proven is not None)
        plan.stale = [
            pattern
            for pattern in self.rules.fresh
            if not any(matches_any([pattern], k) for k in plan.targets)
        ]
        if self.rules.file not in shipped():
            written = {rule.to.text: rule for rule in reversed(self.rules.rules)}
            plan.idle = [rule for rule in written.values() if not any(map(rule.to.fits, plan.targets))]
        return plan

    def _open(self) -> list[Target]:
        """The targets that nothing has filled yet."""
        plan = self.plan
        return [
            target
            for key, target in plan.targets.items()
            if not any(
                key in told for told in (plan.matches, plan.fresh, plan.fixed, plan.misfits, plan.absent)
            )
        ]

    def _left(self) -> list[StoredCheckpoint]:
        """The tensors of the file that nothing takes yet."""
        return [self.plan.stored[key] for key in self.plan.unused]

    def _expected(self) -> Iterator[str]:
        """Every name by which the file may call a weight."""
        yield from self.origins.tensors if self.origins is not None else ()
        for target in self.plan.targets.values():
            yield target.key
            yield target.keras_name
            for rule in (*self.rules.rules, *self.pytorch):
                captured = rule.to.match(target.key)
                if captured is not None:
                    yield from (fill(source, captured) for source in rule.origin.source)

    def _by_origins(self) -> None:
        """Matches tensors by the names that the import of the module gave them."""
        if self.origins is None:
            return
        for target in self._open():
            origin = self.origins.weights.get(target.key)
            views = () if origin is None else origin.views
            found = [self.names.find(view.source) for view in views]
            sources = tuple(name for name in found if name is not None)
            shapes = [self.origins.tensors.get(view.source) for view in views]
            if target.key in self.origins.fixed:
                self.plan.fixed.append(target.key)
            elif origin is not None and [self.plan.stored[name].shape for name in sources] == shapes:
                move = Move(
                    views, sum=origin.sum, axis=origin.axis, shape=target.shape, longest=origin.longest
                )
                self._try(target, sources, "import", move)

    def _by_rules(self, rules: Iterable[Rule], how: How) -> None:
        for target in self._open():
            absent: list[tuple[Rule, str]] = []
            for rule in rules:
                captured = rule.to.match(target.key)
                if captured is None:
                    continue
                wanted = [fill(source, captured) for source in rule.origin.source]
                stored = [self.names.find(name) for name in wanted]
                lost = [name for name, key in zip(wanted, stored, strict=True) if key is None]
                absent += [(rule, name) for name in lost]
                if lost or (how == "pytorch" and self._taken(target, wanted)):
                    continue
                sources = tuple(name for name in stored if name is not None)
                keras = all(self.plan.stored[name].number is not None for name in sources)
                self._try(target, sources, how, self._move(target, rule, captured, keras), rule)
                break
            else:
                if absent and how == "rule":
                    names = tuple(dict.fromkeys(name for _, name in absent))
                    self.plan.absent[target.key] = AbsentSource(absent[0][0], names)

    def _taken(self, target: Target, names: Iterable[str]) -> bool:
        """Whether the file's tensors have other weights of their names."""
        return any(name != target.key and name in self.plan.targets for name in names)

    def _move(self, target: Target, rule: Rule, captured: Captured, keras: bool) -> Move | str:
        """The move of a rule for one target, or why it cannot; `keras` is the layout by default."""
        origin, part = rule.origin, None
        if rule.split is not None:
            name, words = rule.split
            start = length = total = 0
            for word in words:
                sibling = self.plan.targets.get(fill(_renamed(rule.to.text, name, word), captured))
                if sibling is None or len(sibling.shape) <= origin.axis:
                    return f"the rule splits it into {', '.join(words)}, and the spec has no such `{word}`"
                size = sibling.shape[origin.axis]
                if word == captured[name]:
                    start, length = total, size
                total += size
            part = MovedPart(start, length, total, origin.axis, origin.groups, origin.head_size)
        elif origin.start:
            size = target.shape[origin.axis]
            part = MovedPart(origin.start, size, origin.start + size, origin.axis, 1)
        layout = origin.layout or ("keras" if keras else "pytorch")
        return Move(
            keras=target.weight if layout == "keras" else None,
            sum=origin.sum,
            axis=origin.axis,
            transpose=origin.transpose,
            permute=origin.permute,
            part=part,
            flat=None if layout == "keras" else self._flat(target, origin.flatten or self.rules.flatten),
        )

    def _flat(self, target: Target, word: str | None) -> Flat | None:
        """How the columns of a Dense after a Flatten are reordered."""
        sizes = target.flattened
        if sizes is None or (word is None and (self.checkpoint.ours or self.checkpoint.channels_last)):
            return None
        axes = order_of(word) if word is not None and len(word) == len(sizes) else channels_first(sizes)
        return Flat(sizes, axes)

    def _by_names(self) -> None:
        for target in self._open():
            source = self.names.find(target.key)
            if source is not None:
                self._try(target, (source,), "name", Move(flat=self._flat(target, self.rules.flatten)))
                continue
            source = self.names.find(target.keras_name)
            if source is not None:
                self._try(target, (source,), "name", Move(keras=target.weight))
        self._by_layers()

    def _by_layers(self) -> None:
        """Layers of a Keras file by their names: their variables come in the order of the layer's weights."""
        listed: dict[str, list[StoredCheckpoint]] = {}
        for stored in self.plan.stored.values():
            if stored.number is not None:
                listed.setdefault(named(stored.path), []).append(stored)
        wanted: dict[str, list[Target]] = {}
        for target in self._open():
            wanted.setdefault(target.path, []).append(target)
        for path, group in wanted.items():
            tensors, owned = listed.get(path, []), variables(group)
            if len(tensors) == len(owned):
                for variable, stored in zip(owned, tensors, strict=True):
                    for target in variable:
                        self._try(target, (stored.key,), "name", Move(keras=target.weight))

    def _by_order(self, apart: bool) -> None:
        pairs, self.plan.ambiguous = by_order(self._open(), self._left(), self.checkpoint.ordered, apart)
        for target, stored, how in pairs:
            keras = stored.number is not None or stored.leaf != target.key.rpartition(".")[2]
            move = Move(keras=target.weight) if keras else Move(flat=self._flat(target, self.rules.flatten))
            self._try(target, (stored.key,), how, move)

    def _try(
        self,
        target: Target,
        sources: tuple[str, ...],
        how: How,
        move: Move | str,
        rule: Rule | None = None,
    ) -> None:
        """Keeps a match where its shape is right, else a misfit."""
        shapes = tuple(self.plan.stored[source].shape for source in sources)
        if isinstance(move, str):
            self.plan.misfits[target.key] = Misfit(target.key, target.shape, sources, shapes[0], move)
            return
        try:
            shape = tuple(move.apply([torch.empty(each, device="meta") for each in shapes]).shape)
            why = relation(shape, target.shape)
            if why == ONES:
                move, why = replace(move, shape=target.shape), ""
        except MoveError as error:
            shape, why = shapes[0], str(error)
        if why:
            self.plan.misfits[target.key] = Misfit(target.key, target.shape, sources, shape, why)
        else:
            self.plan.matches[target.key] = Match(target.key, sources, how, move, rule)


def named(path: str) -> str:
    """The path of a layer by Keras' names as a spec has it."""
    return ".".join(attribute(identifier(step)) for step in path.split("."))


def _renamed(text: str, name: str, word: str) -> str:
    """A pattern with one placeholder filled in, as a template of names."""
    return text.replace(f"{{{name}}}", word)

"""The weights of a run for a spec that changed.

    Run, Program -> pairs of nodes (graphspec.compare) -> ChannelTracker (channels through the new graph)
                 -> WeightPlan of each tensor -> tensors -> Measured

`conv2: {layer: Conv2D, filters: 64}` that became 96, walked through: no rule of the node says what its new
channels are, so the first 64 are the old ones and 32 are fresh. The pooling after it leaves channels in their
places; a Flatten makes [4, 4, 96] 1,536 columns, of which those of fresh channels are known by running it on
the numbers of elements. The Dense that reads them has its old columns there, and 0 in the others: the output
is what it was, and gradients reach the fresh filters from the second step on.

Where a layer takes means over channels, fresh ones would change it: then all channels that are new are copies
of old ones, and what is read of a channel is shared among its copies. Both ways are tried; what keeps the
function is taken, and the difference is measured, never claimed.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from graphspec.diagnostics import SpecError
from graphspec.fold.weights import TOLERANCE
from graphspec.migrate.measuring import Measured, Renumbered, difference, reads
from graphspec.migrate.tracking import ChannelTracker, Growth, Indices, WeightPlan
from graphspec.weights import counts_batches

if TYPE_CHECKING:
    from torch import Tensor

    from graphspec.program import Program
    from graphspec.runs.run import Run
    from graphspec.transfer.rules import Rules

__all__ = ["MigratedWeight", "Migration", "migrate"]

What = Literal["same", "renamed", "widened", "narrowed", "deepened", "rows kept", "rule", "new", "dropped"]


@dataclass(frozen=True, slots=True)
class MigratedWeight:
    """One tensor: what became of it. `key` is that of the new spec, or of the old one where it is dropped."""

    what: What
    key: str
    shape: tuple[int, ...]
    source: str | None = None
    before: tuple[int, ...] | None = None

    def to_json(self) -> dict[str, Any]:
        return {
            "change": self.what,
            "key": self.key,
            "shape": list(self.shape),
            "from": self.source,
            "from_shape": None if self.before is None else list(self.before),
        }


@dataclass(frozen=True, slots=True)
class Migration:
    """The weights for the new spec, what became of each, and what was measured; None where nothing can be."""

    weights: dict[str, Tensor]
    rows: tuple[MigratedWeight, ...]
    measured: Measured | None
    unmeasured: str = ""
    """Why nothing was measured."""
    doubtful: tuple[tuple[str, str], ...] = field(default=())
    """New weights, each with a dropped one of its shape that it might be: a rule would say so."""


def migrate(
    run: Run,
    program: Program,
    rules: Rules | None = None,
    limit: int | None = None,
    data: Path | None = None,
) -> Migration:
    """The weights of a run for a spec that changed. `rules` say where weights come from whose nodes are not
    found; `limit` is on how many rows of each file it is measured; `data` replaces the new spec's, which
    are read where names of classes or ids may have changed. Raises `SpecError`.
    """
    return _Migrator(run, program, rules, limit, data).run_all()


class _Migrator:
    def __init__(self, run: Run, program: Program, rules: Rules | None, limit: int | None, data: Path | None):
        from graphspec.compare.matching import pairs
        from graphspec.compare.outline import outline
        from graphspec.migrate import vocabularies

        self.run, self.program, self.old = run, program, run.program
        self.limit, self.data = limit, data
        self.module = run.module()
        self.state = dict(self.module.state_dict())
        self.known = pairs(outline(self.old), outline(program))
        theirs, ours = self._names()
        self.heads = vocabularies.heads(program, self.old.graph, theirs, ours, self.known)
        self.tables = vocabularies.tables(program, theirs, ours)
        self.numbers = {
            name: vocabularies.by_name(theirs[name], ours[name], len(ours[name]), False)
            for name in theirs
            if name in ours and theirs[name] != ours[name]
        }
        self.rules = self._by_rules(rules)

    def _names(self) -> tuple[Mapping[str, list[Any]], Mapping[str, list[Any]]]:
        """The names of ids in the run, and in the data of the new spec."""
        from graphspec.migrate.vocabularies import names_of

        encoders = self.run.encoders()
        named = self.program.data is not None and (self.program.data.train or self.data) is not None
        if encoders is None or not named:
            return {}, {}
        import torch

        from graphspec.data.loading import load

        root = self.program.folder
        data = load(self.program, self.data, root, torch.device("cpu"))
        return names_of(encoders), names_of(data.encoders)

    def _by_rules(self, rules: Rules | None) -> dict[str, Any]:
        """The weights that rules take from the run's file, by key; None for those that stay as they begin."""
        from graphspec.transfer import transfer

        weights = self.run.weights
        if rules is None or weights is None:
            return {}
        taken = transfer(self.program.graph, weights, rules, (), self._initial())
        chosen = {key: taken.weights[key] for key, match in taken.plan.matches.items() if match.how == "rule"}
        return chosen | dict.fromkeys(taken.plan.fresh)

    def _initial(self) -> dict[str, Tensor]:
        module = self.program.module(seed=self.program.training.seed)
        return dict(module.state_dict())

    def run_all(self) -> Migration:
        tried = []
        for growth in ("fresh", "copied"):
            attempt = self._migrated(growth)
            tried.append((self._apart(*attempt[1:]), attempt))
            if tried[-1][0] <= TOLERANCE:
                break
        _, (plans, weights, tracker) = min(tried, key=lambda each: each[0])
        rows = list(self._rows(plans))
        measured, unmeasured = None, "the run's data do not fit the inputs, sizes or ids of the new spec"
        try:
            measured = self._measured(weights, tracker)
        except SpecError as error:
            if error.diagnostics[0].code != "data-outside":
                raise
            unmeasured = error.diagnostics[0].message
        return Migration(weights, tuple(rows), measured, unmeasured, tuple(self._doubtful(rows)))

    def _migrated(self, growth: Growth) -> tuple[dict[str, WeightPlan], dict[str, Tensor], ChannelTracker]:
        from graphspec.migrate.filling import fill
        from graphspec.migrate.identity import start_as_identities
        from graphspec.migrate.moving import moved
        from graphspec.weights import held_weights

        graph = self.program.graph
        tracker = ChannelTracker(self.old.graph, graph, self.known, growth, self.heads, self.tables, moved)
        plans = tracker.run(graph)
        start_as_identities(tracker, graph)
        epsilons = {each.key: float(getattr(each.layer, "epsilon", 0.0)) for each in held_weights(graph)}
        weights = self._initial()
        for key, plan in plans.items():
            weights[key] = fill(plan, self.state, weights[key], epsilons.get(key, 0.0))
        for key in weights.keys() - plans.keys():  # of custom modules, and counts of batches
            if key in self.state and self.state[key].shape == weights[key].shape:
                weights[key] = self.state[key]
        for key, value in self.rules.items():
            weights[key] = self._initial()[key] if value is None else value
        return plans, weights, tracker

    # --- what it means

    def _apart(self, weights: dict[str, Tensor], tracker: ChannelTracker) -> float:
        """The difference on a few random inputs; infinite where the new spec does not read them."""
        least, most = self.old.minimum_sizes, self.old.maximum_sizes
        wanted = {
            name: max(8, size, least[name])
            for name, size in self.program.minimum_sizes.items()
            if name in least
        }
        sizes = {name: size for name, size in wanted.items() if size <= most.get(name, size)}
        inputs = self.old.example_inputs(4, sizes, 1)
        if not reads(self.program, self._renumbered(None).arrays(inputs), self.program.inputs):
            return float("inf")
        module = self.program.module(weights=weights)
        differences = difference(self.module, module, iter([self._both(inputs)]), self._channels(tracker))
        return differences[0]

    def _both(self, arrays: Mapping[str, Tensor]) -> tuple[list[Tensor | None], list[Tensor | None]]:
        ours = self._renumbered(None).arrays(arrays)
        return [arrays.get(name) for name in self.old.inputs], [
            ours.get(name) for name in self.program.inputs
        ]

    def _renumbered(self, examples: Any) -> Renumbered:
        inputs = {new: old for new, old in zip(self.program.inputs, self.old.inputs, strict=False)}
        names = {new: old for new, old in inputs.items() if new not in self.old.inputs}
        targets = {
            output.target: self.old.outputs[name].target
            for name, output in self.program.outputs.items()
            if name in self.old.outputs and self.old.outputs[name].target != output.target
        }
        return Renumbered(examples, self.numbers, names | targets)

    def _channels(self, tracker: ChannelTracker) -> dict[str, Indices]:
        """The old channels of each output."""
        channels = {}
        for name, value in self.program.graph.outputs.items():
            if value in tracker.maps:
                channels[name] = channels[""] = tracker.maps[value]
        return channels

    def _measured(self, weights: dict[str, Tensor], tracker: ChannelTracker) -> Measured | None:
        """None where the new spec does not read the run's data."""
        import torch

        from graphspec.runs.run import data_parts
        from graphspec.train.custom import bound
        from graphspec.train.loop import evaluate
        from graphspec.train.objective import Objective

        place = torch.device("cpu")
        parts = data_parts(self.run, place, self.limit, self.run.encoders())
        kinds = ("synthetic", "validation") if self.run.files.synthetic else ("validation", "synthetic")
        part = next(name for name in (*kinds, "training") if name in parts)
        examples = parts[part]
        renumbered, size = self._renumbered(examples), self.old.training.batch_size
        if not self._reads(renumbered, self.program.inputs):
            return None
        module = self.program.module(weights=weights)
        pairs: Iterator[Any] = (self._both(batch.arrays) for batch in examples.batches(size))
        apart, count = difference(self.module, module, pairs, self._channels(tracker))
        units = self.run.encoders()
        if not (_has_loss(self.old) and _has_loss(self.program)):
            return Measured(apart, count, part, {}, {})
        objectives = [
            Objective(each.inputs, bound(each, place), place, None, units.units() if units else {})
            for each in (self.old, self.program)
        ]
        outputs = self.program.outputs.values()
        targets = {each.target for each in outputs if each.loss is not None and each.loss.takes_target}
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)  # what is drawn is the same for both
            before = evaluate(objectives[0], self.module, examples, size, "")
            torch.manual_seed(0)
            read = self._reads(renumbered, targets)
            after = evaluate(objectives[1], module, renumbered, size, "") if read else {}
        return Measured(apart, count, part, before, after)

    def _reads(self, examples: Renumbered, names: Collection[str]) -> bool:
        """Whether the new spec reads all examples as its inputs or targets of these names."""
        size = self.old.training.batch_size
        return all(reads(self.program, batch.arrays, names) for batch in examples.batches(size))

    # --- what became of each

    def _rows(self, plans: dict[str, WeightPlan]) -> Iterator[MigratedWeight]:
        used = set()
        for key, plan in plans.items():
            if key in self.rules:
                yield MigratedWeight("new" if self.rules[key] is None else "rule", key, plan.shape)
                continue
            used.add(plan.source)
            before = tuple(self.state[plan.source].shape) if plan.source in self.state else None
            yield MigratedWeight(_what(plan, before), key, plan.shape, plan.source, before)
        for key, value in self.state.items():
            known = key in plans and plans[key].source is not None
            if key not in used and not known and not counts_batches(key):
                yield MigratedWeight("dropped", key, tuple(value.shape))

    def _doubtful(self, rows: list[MigratedWeight]) -> Iterator[tuple[str, str]]:
        gone = [row for row in rows if row.what == "dropped"]
        for row in rows:
            alike = [each for each in gone if each.shape == row.shape and _leaf(each.key) == _leaf(row.key)]
            if row.what == "new" and alike and len(row.shape) > 1:
                yield row.key, alike[0].key


def _has_loss(program: Program) -> bool:
    return any(output.loss is not None for output in program.outputs.values())


def _leaf(key: str) -> str:
    return key.rpartition(".")[2]


def _what(plan: WeightPlan, before: tuple[int, ...] | None) -> What:
    if plan.identity is not None:
        return "deepened"
    if before is None:
        return "new"
    if plan.rows:
        return "rows kept"
    if all(axis.same for axis in plan.axes) and before == plan.shape:
        return "same" if plan.source == plan.key else "renamed"
    return "widened" if sum(plan.shape) >= sum(before) else "narrowed"


def write(path: Path, weights: Mapping[str, Tensor]) -> None:
    """Writes the weights as a `.safetensors` file."""
    from graphspec.convert.weights import write_weights

    write_weights(path, dict(weights))

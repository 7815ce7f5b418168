"""Explains what limits the speed of a training, by some steps of it that leave nothing behind."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from graphspec.data.batches import Batch, Examples, Rebatched, Shuffle
from graphspec.data.loading import Data
from graphspec.data.streamed import Streamed
from graphspec.diagnostics import fail
from graphspec.elaborated import BaseProgram
from graphspec.emit.load import out_of_memory
from graphspec.train import device as devices
from graphspec.train.callbacks.permission import need_permission
from graphspec.train.feeding import Feed, feed
from graphspec.train.loop import read_data
from graphspec.train.options import TrainOptions
from graphspec.train.parallel.world import joined
from graphspec.train.phases import Phase
from graphspec.train.precision import products
from graphspec.train.preparation import compiled, phases, prepare

WARM, TIMED, COUNTED = 3, 10, 3
"""Steps before those that are timed, these, and those whose operations are counted."""
READ = 1.0
"""Seconds for which batches are read alone, at most."""
LARGER = 4
"""So many times as many rows has the larger batch that is tried."""
LEAST = {"reading": 0.1, "changing": 0.1, "updating": 0.2, "launching": 0.2}
"""The shares of a step from which on an edit is proposed."""
PRODUCTS = re.compile(r"^(add|b|badd)?mm$|conv|dot_product|mv$|rnn|lstm|linear")
"""Operations whose time is that of products."""
STEP = ("gradients", "waiting", "updating")
"""The parts of a step that are timed, one after another."""
Clock = Callable[[], float]


@dataclass(frozen=True, slots=True)
class SpeedEdit:
    """What to write, and which share of the time of a row it saves: `measured`, or at most."""

    text: str
    gain: float
    measured: bool

    def __str__(self) -> str:
        how = "measured" if self.measured else "at most; not measured"
        return f"{self.text}: saves {self.gain:.0%} of the time of a row ({how})"


@dataclass(frozen=True, slots=True)
class Speed:
    """Where the time of a step of so many rows goes: seconds by `parts`, with what each is in `PARTS`."""

    name: str
    device: str
    rows: int
    parts: dict[str, float]
    edits: tuple[SpeedEdit, ...]
    unmeasured: tuple[str, ...]

    @property
    def seconds(self) -> float:
        """Those of a step."""
        return sum(self.parts.values())

    @property
    def limit(self) -> str:
        """The part that takes most."""
        return max(self.parts, key=lambda name: self.parts[name])

    def __str__(self) -> str:
        rate = self.rows / max(self.seconds, 1e-9)
        took = f"{self.rows:,} rows in {1e3 * self.seconds:.2f} ms, {rate:,.0f} rows a second"
        lines = [f"{self.name} on {self.device}: {took}"]
        for name, seconds in self.parts.items():
            share = seconds / max(self.seconds, 1e-9)
            lines.append(f"  {name:<10}{1e3 * seconds:>10.2f} ms {share:>5.0%}  {PARTS[name]}")
        lines.append(f"most of it is {self.limit}")
        lines += [f"  {edit}" for edit in self.edits] or ["  no edit of the spec is known to save much"]
        return "\n".join([*lines, f"not measured: {'; '.join(self.unmeasured)}"])

    def to_json(self) -> dict[str, Any]:
        edits = [{"edit": e.text, "gain": e.gain, "measured": e.measured} for e in self.edits]
        about = {"device": self.device, "rows": self.rows, "seconds": self.seconds, "limit": self.limit}
        return {**about, "parts": self.parts, "edits": edits, "unmeasured": list(self.unmeasured)}


PARTS = {
    "reading": "batches from memory or files",
    "changing": "augmentation and mixing of these",
    "launching": "what a step takes however few rows it has",
    "products": "matrix products and convolutions",
    "computing": "compiled graphs",
    "memory": "other operations, which move numbers more than they compute",
    "waiting": "for the device",
    "updating": "the optimizer",
}
"""The parts of a step, and what each is."""


@dataclass(slots=True)
class TimedSteps:
    """Makes steps of a phase, and times their parts by a clock."""

    phase: Phase
    called: Any
    feed: Feed
    seed: int
    clock: Clock = time.perf_counter
    times: dict[str, list[float]] = field(default_factory=dict)

    def steps(self, feed: Feed, count: int) -> dict[str, float]:
        """The parts of the fastest of so many steps, after others, whose batches are full."""
        self.times = {name: [] for name in STEP}
        full = (parts for parts in self.batches(feed) if _is_full(feed, parts))
        for parts in islice(full, WARM + count):
            self._step(feed, parts)
        return {name: min(values[WARM:] or values or [0.0]) for name, values in self.times.items()}

    def batches(self, feed: Feed) -> Iterator[tuple[list[Batch], ...]]:
        return feed.batches(Shuffle(self.seed, 0), 0, 2 * (WARM + TIMED) + feed.steps)

    def _step(self, feed: Feed, parts: tuple[list[Batch], ...]) -> None:
        begin, waiting, updating = self.clock(), 0.0, 0.0
        for update, number in zip(self.phase.turns, feed.read, strict=True):
            with update.alone():
                totals = update.objective.totals(self.called, parts[number])
                for batch in parts[number]:
                    result = update.compiled(update.objective, self.called, batch, totals)
                    read = self.clock()
                    float(result.value)
                    waiting += self.clock() - read
                moved = self.clock()
                update.move()
                updating += self.clock() - moved
        whole = self.clock() - begin
        for name, value in (
            ("gradients", whole - waiting - updating),
            ("waiting", waiting),
            ("updating", updating),
        ):
            self.times[name].append(value)

    def reading(self, feed: Feed) -> float:
        """The seconds in which the batches of a step are read, where nothing else is done."""
        begin, count = self.clock(), 0
        for _ in islice(feed.batches(Shuffle(self.seed, 0), 0, feed.steps), feed.steps):
            count += 1
            if self.clock() - begin > READ:
                break
        return (self.clock() - begin) / max(1, count)

    def products(self) -> float:
        """The share of products in the time of operations."""
        self.times = {name: [] for name in STEP}
        with Operations(self.clock) as found:
            for parts in islice(self.batches(self.feed), COUNTED):
                self._step(self.feed, parts)
        share: float = found.products / max(found.products + found.others, 1e-9)
        return share


class Operations(TorchDispatchMode):
    """Sums the seconds that operations take inside, by a clock; of a CPU, which has done them then."""

    def __init__(self, clock: Clock):
        super().__init__()
        self.clock, self.products, self.others = clock, 0.0, 0.0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        begin = self.clock()
        result = func(*args, **(kwargs or {}))
        seconds = self.clock() - begin
        if PRODUCTS.search(func.overloadpacket.__name__):
            self.products += seconds
        else:
            self.others += seconds
        return result


def explain(program: BaseProgram, **options: Any) -> Speed:
    """What limits the speed of a training of a program with these options, the fields of `TrainOptions`.
    Nothing is written. Raises `SpecError` as a training does, and for several processes.
    """
    given = TrainOptions(**options).checked()
    need_permission(program)
    place = devices.choose(given.device)
    with (
        devices.computing(devices.threads(program)),
        products(program.training.precision),
        joined(place) as world,
    ):
        if not world.alone:
            message = "what limits the speed is explained of one process, and several were started"
            raise fail("not-supported", message, "start it without the launcher")
        program, data = read_data(program, given, place, world)
        parts = prepare(program, data, world, place, given, None, given.weights, looks=False)
        steps = compiled(parts, data, given)
        phase = phases(parts, steps).begin(0)
        called = parts.spread.called.train()
        phase.begin(0)
        stepper = TimedSteps(phase, called, feed(phase.config, data), program.training.seed)
        with steps.watched():
            return speed(program, data, stepper, place, steps.active)


def speed(
    program: BaseProgram,
    data: Data,
    stepper: TimedSteps,
    device: torch.device,
    is_compiled: bool,
) -> Speed:
    """Times the steps of a training. Compiled steps are not compared with smaller and larger ones, which
    would be others.
    """
    size, whole = program.training.batch_size, stepper.feed
    found = stepper.steps(whole, TIMED)
    inner = sized(whole, unchanged=True)
    every, alone = stepper.reading(whole), stepper.reading(inner)
    work = sum(found.values())
    plain = all(a.examples is b.examples for a, b in zip(inner.streams, whole.streams, strict=True))
    changing = 0.0 if plain else max(0.0, every - alone)
    ahead = isinstance(innermost(data.training), Streamed)
    reading = max(0.0, alone - work) if ahead else min(alone, every)
    launching, larger = found["gradients"] if device.type != "cpu" else 0.0, None
    unmeasured = ["validation, callbacks and saves", "communication: this is one process"]
    unmeasured.append("waiting for a GPU" if device.type == "cpu" else "products and memory: a GPU does them")
    small = max(2, size // 8)
    if is_compiled or small >= size:
        why = "steps are compiled" if is_compiled else "the batch is small"
        unmeasured.append(f"launching, and a larger batch: {why}")
    else:
        few = stepper.steps(sized(whole, small), TIMED)["gradients"]
        slope = max(0.0, found["gradients"] - few) / (size - small)
        if device.type == "cpu":
            launching = min(found["gradients"], max(0.0, few - slope * small))
        larger = _larger(stepper, whole, size, data, unmeasured)
    parts = {"reading": reading, "changing": changing, "launching": launching}
    rest = found["gradients"] - launching
    if is_compiled:
        parts["computing"] = rest
    else:
        share = stepper.products() if rest else 0.0
        parts |= {"products": rest * share, "memory": rest * (1 - share)}
    parts |= {name: found[name] for name in STEP[1:]}
    edits = _edits(program, parts, larger, ahead, is_compiled)
    return Speed(program.name, str(device), size, parts, edits, tuple(unmeasured))


def _larger(stepper: TimedSteps, feed: Feed, size: int, data: Data, unmeasured: list[str]) -> float | None:
    """The share of the time of a row, without reading, that a larger batch saves."""
    if len(data.training) < LARGER * size:
        unmeasured.append("a larger batch: there are too few rows")
        return None
    before = sum(stepper.steps(feed, TIMED).values())
    try:
        after = sum(stepper.steps(sized(feed, LARGER * size), TIMED).values())
    except (RuntimeError, MemoryError) as error:
        if not out_of_memory(error):
            raise
        unmeasured.append(f"a larger batch: {LARGER * size} rows do not fit in memory")
        return None
    return 1 - after / (LARGER * max(before, 1e-9))


def _edits(
    program: BaseProgram, parts: dict[str, float], larger: float | None, ahead: bool, is_compiled: bool
) -> tuple[SpeedEdit, ...]:
    """The edits that save something, those that save most first."""
    whole = max(sum(parts.values()), 1e-9)
    share = {name: seconds / whole for name, seconds in parts.items()}
    edits = []
    if ahead and share["reading"] > LEAST["reading"]:
        text = "GRAPHSPEC_MEMORY=..., so that examples stay in memory; of a table `graphspec prepare`"
        edits.append(SpeedEdit(text, share["reading"], measured=False))
    features = program.data.features if program.data is not None else {}
    if share["changing"] > LEAST["changing"]:
        names = [name for name, feature in features.items() if getattr(feature, "augment", None)]
        text = " ".join(f"--set data.features.{name}.augment=[]" for name in names) or "--set data.mix=[]"
        edits.append(SpeedEdit(f"{text}, with less varied data", share["changing"], measured=False))
    work = whole - parts["reading"] - parts["changing"]
    if larger is not None and larger * work / whole > LEAST["reading"]:
        text = f"--set train.batch_size={LARGER * program.training.batch_size}, with another learning rate"
        edits.append(SpeedEdit(text, larger * work / whole, measured=True))
    if not is_compiled and share["launching"] + share.get("memory", 0.0) > LEAST["launching"]:
        text = "--compile on (add it to this command to measure)"
        edits.append(SpeedEdit(text, share["launching"] + share.get("memory", 0.0), measured=False))
    together = program.training.optimizers[0].gradient_accumulation_steps or 1
    if share["updating"] > LEAST["updating"] and together == 1:
        text = "gradient_accumulation_steps: 4 of the optimizer, with fewer updates"
        edits.append(SpeedEdit(text, 0.75 * share["updating"], measured=False))
    return tuple(sorted(edits, key=lambda edit: -edit.gain))


def _is_full(feed: Feed, parts: tuple[list[Batch], ...]) -> bool:
    """Whether no batch of a step is the last one of its examples, with fewer rows; or all are."""
    streams = zip(feed.streams, parts, strict=True)
    return all(
        len(batch) == min(stream.size, len(stream.examples)) for stream, some in streams for batch in some
    )


def sized(feed: Feed, size: int | None = None, unchanged: bool = False) -> Feed:
    """The same with another batch size, or with batches as the files have them."""
    streams = (
        replace(s, size=size or s.size, examples=innermost(s.examples) if unchanged else s.examples)
        for s in feed.streams
    )
    return replace(feed, streams=tuple(streams))


def innermost(examples: Examples) -> Examples:
    """Examples without what changes their batches."""
    while isinstance(examples, Rebatched):
        examples = examples.examples
    return examples

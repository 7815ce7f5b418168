"""The settings of `tune:`: values to vary, objective, sampler and pruner. Imports no Optuna."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, model_validator

from graphspec.diagnostics import akin, become, by_word, meant
from graphspec.settings import Problem, Problems, Setting, show, unfit, validate

Count = Annotated[int, Field(ge=1)]


class IntRange(Setting):
    """Integers from the first to the second, both included; `log` samples on a logarithmic scale."""

    bounds: Annotated[tuple[int, int], Field(alias="int", strict=False)]
    """The least and the largest integer."""
    log: bool = False
    step: Count = 1
    kind: ClassVar = "int"
    phrases: ClassVar = {"int": "int: [1, 8]"}
    notes: ClassVar = {"int": "from the lowest to the highest"}

    @model_validator(mode="after")
    def _ordered(self) -> IntRange:
        _check_range(self.bounds, self.log, "int")
        if self.log and self.step != 1:
            raise ValueError("`log` and `step` exclude each other")
        return self

    @property
    def samples(self) -> tuple[int, int]:
        """Values that the spec must accept: the first and the last one that its steps reach."""
        low, high = self.bounds
        return low, high - (high - low) % self.step

    @property
    def nearby(self) -> list[int]:
        """Values beside which one of another key may be legal: among them is a multiple of every small
        number.
        """
        low, high = self.samples
        return sorted({*range(low, min(high, low + NEARBY * self.step) + 1, self.step), high})

    def grid(self) -> list[int] | None:
        """Every value; None if there are too many to try."""
        low, high = self.samples
        count = (high - low) // self.step + 1
        return list(range(low, high + 1, self.step)) if count <= MOST else None


class FloatRange(Setting):
    """Numbers between the first and the second; `step` takes multiples of it, counted from the first."""

    bounds: Annotated[tuple[float, float], Field(alias="float", strict=False)]
    """The least and the largest number."""
    log: bool = False
    step: Annotated[float, Field(gt=0)] | None = None
    kind: ClassVar = "float"
    phrases: ClassVar = {"float": "float: [0.1, 0.5]"}
    notes: ClassVar = {"float": "from the lowest to the highest"}

    @model_validator(mode="after")
    def _ordered(self) -> FloatRange:
        _check_range(self.bounds, self.log, "float")
        if self.log and self.step is not None:
            raise ValueError("`log` and `step` exclude each other")
        return self

    @property
    def samples(self) -> tuple[float, float]:
        """Its first value and the last, in decimals as Optuna counts them: 0.1 + 3 * 0.2 is 0.7, and in the
        range.
        """
        low, high = self.bounds
        if self.step is None:
            return low, high
        start, end, step = (Decimal(str(each)) for each in (low, high, self.step))
        return low, float(start + (end - start) // step * step)

    @property
    def nearby(self) -> list[float]:
        return list(self.samples)

    def grid(self) -> list[float] | None:
        """Every value; None if there are too many to try."""
        low, high = self.samples
        if self.step is None or (high - low) / self.step >= MOST:
            return None
        start, end, step = (Decimal(str(each)) for each in (low, high, self.step))
        return [float(start + i * step) for i in range(int((end - start) // step) + 1)]


class Choice(Setting):
    """One of the listed values. They may have any type that the key accepts: a number, a text, a list."""

    choice: Annotated[list[Any], Field(min_length=1)]
    """Values to choose from."""
    kind: ClassVar = "choice"

    @model_validator(mode="after")
    def _different(self) -> Choice:
        for index, value in enumerate(self.choice):
            if any(value == other and type(value) is type(other) for other in self.choice[:index]):
                raise ValueError(f"`choice` lists {show(value)} twice")
        return self

    @property
    def samples(self) -> tuple[Any, ...]:
        return tuple(self.choice)

    @property
    def nearby(self) -> list[Any]:
        return list(self.choice)

    def grid(self) -> list[Any] | None:
        return list(self.choice)


Range = IntRange | FloatRange | Choice
KINDS: Mapping[str, type[IntRange] | type[FloatRange] | type[Choice]] = {
    "int": IntRange,
    "float": FloatRange,
    "choice": Choice,
}
SYNONYMS = by_word(
    int="integer range suggest_int intdistribution int_range intuniform",
    float="uniform loguniform log_uniform real suggest_float suggest_uniform floatdistribution float_range",
    choice="choices categorical values options suggest_categorical categoricaldistribution",
)
BOUNDS = (("low", "min", "lower", "from"), ("high", "max", "upper", "to"))
"""Names of other tools for the ends of a range."""
NEARBY = 15
"""Steps from the lower end of a range of integers."""
MOST = 10_000
"""The most values of one key that a grid is made of."""


class TuneConfig(Setting):
    """The settings of a search.

    `objective` is a value that a run reports, such as `val_accuracy`; its direction is that of the metric
    unless `direction` is given. `search` maps each key, as `--set` takes it (a param's name or a dotted
    path), to the values to try.
    """

    objective: Annotated[str, Field(min_length=1)] = "val_loss"
    """Value that is optimized, such as val_accuracy."""
    direction: Literal["minimize", "maximize"] | None = None
    """Minimize or maximize."""
    trials: Count = 20
    """Number of combinations to try; none is tried twice."""
    sampler: Literal["tpe", "random", "grid"] = "tpe"
    """Sampler of combinations: tpe, random or grid."""
    pruner: Literal["median", "hyperband", "none"] = "median"
    """Pruner that stops hopeless trials: median, hyperband or none."""
    search: dict[str, Range]
    """Values to vary: a param, or a dotted path such as train.optimizer.learning_rate."""

    synonyms: ClassVar = by_word(
        objective="metric monitor",
        direction="mode",
        trials="n_trials max_trials num_samples",
        sampler="algorithm",
        pruner="scheduler",
        search="space params parameters hyperparameters vary",
    )
    phrases: ClassVar = {"search": "search: {width: {int: [16, 256]}}"}


def parse_tune(value: object) -> TuneConfig:
    """The `tune:` section of a spec. Raises `SettingError` with all problems."""
    if not isinstance(value, dict):
        raise unfit(
            "wrong-type",
            f"`tune` is a mapping, not {show(value)}",
            "write tune: {search: {width: {int: [16, 256]}}}",
        )
    rest = dict(value)
    problems = Problems()
    search = value.get("search")
    if isinstance(search, list) and (named := _named(search)):
        message = f"`search` is a mapping from keys, not {show(search)}"
        raise unfit("wrong-type", message, become(named, f"write search: {show(named)}"), "search")
    if isinstance(search, dict):
        ranges = rest["search"] = dict[str, Range]()
        for key, item in search.items():
            with problems.under("search", key):
                ranges[key] = parse_range(key, item)
    with problems.under():
        config = validate(TuneConfig, rest, "`tune`")
        problems.collected += _grid_problems(config)
        if not config.search and not problems.collected:
            raise unfit("missing-key", "`search` names no values to vary", EXAMPLE, "search")
    problems.raise_any()
    return config


def _named(search: list[Any]) -> dict[str, Any]:
    """A list of named ranges as a mapping; empty where it is something else."""
    named: dict[str, Any] = {}
    for item in search:
        if not isinstance(item, dict) or not isinstance(item.get("name"), str):
            return {}
        rest = {key: each for key, each in item.items() if key != "name"}
        values = rest.get("values", rest.get("choices"))
        named[item["name"]] = {"choice": values} if isinstance(values, list) else rest
    return named


EXAMPLE = "write `width: {int: [16, 256]}` below it"


def parse_range(key: str, value: object) -> Range:
    """The values of one key of `search`. Raises `SettingError`."""
    if isinstance(value, list):
        words = f"write `{key}: {{choice: {show(value)}}}`, or {{int: [low, high]}} for a range"
        help = become({"choice": value}, words, safe=len(value) != 2)
        raise unfit("wrong-type", f"the values of `{key}` are a mapping, not a list", help)
    if not isinstance(value, dict):
        help = "write {int: [low, high]}, {float: [low, high]} or {choice: [a, b]}"
        raise unfit("wrong-type", f"the values of `{key}` are a mapping, not {show(value)}", help)
    kinds = [kind for kind in KINDS if kind in value]
    if len(kinds) > 1:
        message = f"`{key}` is of one kind, not of {' and '.join(f'`{kind}`' for kind in kinds)}"
        raise unfit("two-forms", message, "keep one of them", kinds[1])
    if not kinds:
        near = next((word for word in value if isinstance(word, str) and word.lower() in SYNONYMS), None)
        if near is not None:
            kind = SYNONYMS[near.lower()]
            help = meant(kind, near, not akin(near, kind))
            if "log" in near.lower() and isinstance(value[near], list):
                help = become(
                    {"float": value[near], "log": True},
                    f"write {{float: {show(value[near])}, log: true}}",
                    around=True,
                )
            raise unfit("unknown-key", f"`{key}` has no `{near}`", help, near)
        help = "write {int: [low, high]}, {float: [low, high]} or {choice: [a, b]}"
        ends = [next((value[word] for word in words if word in value), None) for words in BOUNDS]
        if all(type(end) in (int, float) for end in ends):
            kind = "int" if all(isinstance(end, int) for end in ends) else "float"
            new = {kind: ends, **({"log": True} if value.get("log") is True else {})}
            help = become(new, f"write {show(new)}", around=True)
        raise unfit("no-form", f"`{key}` does not say which values to try", help)
    return validate(KINDS[kinds[0]], value, f"`{key}`")


def _check_range(bounds: tuple[float, float], log: bool, kind: str) -> None:
    low, high = bounds
    if low > high:
        raise ValueError(f"`{kind}` goes from {low} to {high}: the smaller number comes first")
    if log and low <= 0:
        raise ValueError(f"a logarithmic range begins above 0, not at {low}")


def _grid_problems(config: TuneConfig) -> list[Problem]:
    """The keys whose values a grid cannot list."""
    if config.sampler != "grid":
        return []
    return [
        Problem(
            "out-of-range",
            f"`sampler: grid` tries every value, and those of `{key}` are too many to list",
            "give it a `step`, or `choice: [...]`; or take `sampler: tpe`",
            ("search", key),
        )
        for key, values in config.search.items()
        if values.grid() is None
    ]

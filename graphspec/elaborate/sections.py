"""The sections of a file besides its graph: `train`, `data`, `tune` and `generate`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from graphspec.elaborate.body import BodyElaborator
from graphspec.elaborate.values import FAILED
from graphspec.language.belonging import moved
from graphspec.objectives import Problem, SettingError

if TYPE_CHECKING:
    from graphspec.data.config import DataConfig
    from graphspec.generate.config import GenerateSettings
    from graphspec.generate.loop_config import LoopSettings
    from graphspec.train.config import TrainConfig
    from graphspec.tune.config import TuneConfig


@dataclass(frozen=True, slots=True)
class Sections:
    """The sections of a file besides its graph; None for a section that is missing or invalid."""

    train: TrainConfig | None = None
    data: DataConfig | None = None
    tune: TuneConfig | None = None
    generate: dict[str, GenerateSettings] | None = None
    loop: tuple[str, LoopSettings] | None = None


def read_sections(body: BodyElaborator) -> Sections:
    """Those of a file; their errors are reported."""
    parsed: dict[str, Any] = {}
    readers = {"train": _parse_train, "data": _parse_data, "tune": _parse_tune}
    for section, parse in readers.items():
        value = body.scope.evaluate(body.file.sections.get(section), (section,))
        if value is None or value is FAILED:
            continue
        try:
            parsed[section] = parse(value)
        except SettingError as error:
            body.scope.setting_error(SettingError(*_belonging(body, section, error)), (section,))
    return Sections(**parsed, **_generate(body))


def _generate(body: BodyElaborator) -> dict[str, Any]:
    """What `generate` says: of a sequence that goes on, or of a loop, whose formula is read later."""
    written = body.file.sections.get("generate")
    if written is None:
        return {}
    from graphspec.generate.config import parse_generate
    from graphspec.generate.loop_config import is_loop

    formulas = (
        {k: v.get("next") for k, v in written.items() if is_loop(v)} if isinstance(written, dict) else {}
    )
    plain = {**written, **{k: _without_next(written[k]) for k in formulas}} if formulas else written
    value = body.scope.evaluate(plain, ("generate",))
    if value is FAILED:
        return {}
    for name, text in formulas.items():
        value[name] |= {} if text is None else {"next": text}
    try:
        found = parse_generate(value)
    except SettingError as error:
        body.scope.setting_error(SettingError(*_belonging(body, "generate", error)), ("generate",))
        return {}
    return found


def _without_next(written: dict[str, Any]) -> dict[str, Any]:
    return {key: item for key, item in written.items() if key != "next"}


def _belonging(body: BodyElaborator, section: str, error: SettingError) -> Iterator[Problem]:
    """The problems of a section, those of keys that belong elsewhere with this remedy."""
    document = body.declared.document
    for problem in error.problems:
        help = None
        if problem.code == "unknown-key":
            help = moved(document.value, section, problem.path, document.key((section,)))
        yield problem if help is None else replace(problem, help=help)


def _parse_train(value: Any) -> TrainConfig:
    from graphspec.train.config import parse_train  # a spec of an architecture has no such sections

    return parse_train(value)


def _parse_data(value: Any) -> DataConfig:
    from graphspec.data.config import parse_data

    return parse_data(value)


def _parse_tune(value: Any) -> TuneConfig:
    from graphspec.tune.config import parse_tune  # few specs have the section

    return parse_tune(value)

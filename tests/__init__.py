"""Tests: a folder for each room of the package; `gallery` for specs/, `project` for what concerns all."""

import functools
import inspect
import random
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parent.parent
"""The root of the checkout."""


def one_in(count: int, cases: Iterable[Any]) -> list[Any]:
    """Cases that differ little from their neighbours: `make test` runs the first of each `count`, and
    `make parity` the others.
    """
    return [
        pytest.param(
            *(case if isinstance(case, tuple) else (case,)),
            marks=() if number % count == 0 else pytest.mark.parity,
        )
        for number, case in enumerate(cases)
    ]


def seed() -> None:
    """What a test draws without a seed of its own is the same in each run, whichever tests ran before it."""
    random.seed(0)
    if (numpy := sys.modules.get("numpy")) is not None:
        numpy.random.seed(0)
    if (torch := sys.modules.get("torch")) is not None:
        torch.default_generator.manual_seed(0)  # `torch.manual_seed` looks for devices
        if torch.cuda.is_initialized():
            torch.cuda.manual_seed_all(0)


Cases = list[tuple[str, dict[str, Any]]]
"""The name and the arguments of each case of a bundle."""


def bundled(
    count: int, names: str | Sequence[str], cases: Iterable[Any], ids: Any = None
) -> Callable[[Callable[..., None]], Any]:
    """Like `pytest.mark.parametrize`, with so many cases in one test, as pytest takes longer than many
    a case for each test. All are run, and each error names its case.
    """
    wanted = [name.strip() for name in names.split(",")] if isinstance(names, str) else [*names]
    known = None if ids is None or callable(ids) else iter(ids)
    alike: dict[str, tuple[Any, Cases]] = {}  # by their marks
    for case in cases:
        plain = case if len(wanted) > 1 else (case,)
        each = case if isinstance(case, type(pytest.param())) else pytest.param(*plain)
        told = [ids(value) for value in each.values] if callable(ids) else [*map(repr, each.values)]
        name = next(known) if known is not None else each.id or ", ".join(map(str, told))
        _, bundle = alike.setdefault(repr(each.marks), (each.marks, []))
        bundle.append((str(name)[:200], dict(zip(wanted, each.values, strict=True))))
    bundles = [
        pytest.param(
            bundle[start : start + count], id=f"{start}-{min(start + count, len(bundle)) - 1}", marks=marks
        )
        for marks, bundle in alike.values()
        for start in range(0, len(bundle), count)
    ]

    def decorate(test: Callable[..., None]) -> Any:
        parameters = inspect.signature(test).parameters
        taken = ["bundle", *(name for name in parameters if name not in wanted)]
        run = functools.wraps(test)(functools.partial(_all, test))
        kind = inspect.Parameter.KEYWORD_ONLY
        run.__signature__ = inspect.Signature([inspect.Parameter(name, kind) for name in taken])  # type: ignore[attr-defined]
        return pytest.mark.parametrize("bundle", bundles)(run)

    return decorate


def _all(test: Callable[..., None], bundle: Cases, **fixtures: Any) -> None:
    failed: list[BaseException] = []
    skipped: list[BaseException] = []
    for name, arguments in bundle:
        seed()
        try:
            test(**arguments, **fixtures)
        except pytest.skip.Exception as reason:
            skipped.append(reason)
        except (Exception, pytest.fail.Exception) as error:
            error.add_note(f"in the case {name}")
            failed.append(error)
    if failed:
        raise failed[0] if len(failed) == 1 else BaseExceptionGroup(f"{len(failed)} of {len(bundle)}", failed)
    if len(skipped) == len(bundle):
        raise skipped[0]

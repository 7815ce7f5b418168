"""Our dataclasses do what those of the standard library do, and no check compiles one at import."""

from __future__ import annotations

import copy
import dataclasses
import pickle
import subprocess
import sys
from dataclasses import KW_ONLY
from typing import Any, ClassVar

import pytest

from graphspec import records


def make(library: Any) -> dict[str, Any]:
    """The same classes, made by a library."""

    @library.dataclass(frozen=True, slots=True)
    class Point:
        x: int
        y: float = 0.5
        tags: list[str] = library.field(default_factory=list, compare=False)
        hint: int = library.field(default=0, kw_only=True, repr=False)
        origin: ClassVar[int] = 7

    @library.dataclass(frozen=True, slots=True)
    class Point3(Point):
        z: int = library.field(default=3, repr=False)

    @library.dataclass(frozen=True, slots=True, order=True)
    class Ordered:
        line: int
        column: int = 1

    @library.dataclass(slots=True)
    class Plain:
        names: dict[str, int] = library.field(default_factory=dict)
        total: int = library.field(init=False, default=0)

        def __post_init__(self) -> None:
            self.total = sum(self.names.values())

    @library.dataclass(eq=False)
    class Same:
        x: int = 1

        def __repr__(self) -> str:
            return "mine"

    @library.dataclass(frozen=True)
    class Keyed:
        a: int
        _: KW_ONLY
        b: int = 2
        c: int = 3

    @library.dataclass(frozen=True)
    class Empty:
        pass

    return {cls.__name__: cls for cls in (Point, Point3, Ordered, Plain, Same, Keyed, Empty)}


OURS, THEIRS = make(records), make(dataclasses)


@pytest.mark.parametrize(
    ("name", "arguments", "options"),
    [
        ("Point", (1,), {}),
        ("Point", (1, 2.0, ["a"]), {}),
        ("Point", (), {"y": 3.0, "x": 4}),
        ("Point", (), {}),
        ("Point", (1, 2, 3, 4), {}),
        ("Point", (1, 2, 3), {"hint": 4}),
        ("Point", (1,), {"w": 2}),
        ("Point3", (1, 2.0), {"z": 9}),
        ("Ordered", (3,), {}),
        ("Plain", ({"a": 1, "b": 2},), {}),
        ("Plain", (), {"total": 3}),
        ("Same", (), {}),
        ("Keyed", (1,), {"c": 4}),
        ("Keyed", (1, 2), {}),
        ("Empty", (), {}),
    ],
)
def test_an_object_is_made_printed_and_matched_alike(
    name: str, arguments: tuple[Any, ...], options: dict[str, Any]
) -> None:
    def made(library: Any, cls: Any) -> tuple[Any, ...]:
        try:
            one = cls(*arguments, **options)
        except TypeError as error:
            return (str(error).split(".")[-1],)
        return repr(one).split(".")[-1], cls.__match_args__, [field.name for field in library.fields(one)]

    for _ in range(2):  # the first object of a class compiles its `__init__`
        assert made(records, OURS[name]) == made(dataclasses, THEIRS[name])


def test_equality_order_and_hashes_are_alike() -> None:
    for classes in (OURS, THEIRS):
        point, ordered, plain = classes["Point"], classes["Ordered"], classes["Plain"]
        assert point(1, tags=["a"]) == point(1) and hash(point(1, tags=["a"])) == hash(point(1))
        assert point(1) != point(2) and point(1) != classes["Point3"](1) and point(1) != (1, 0.5)
        nan = float("nan")
        assert point(1, nan) == point(1, nan)
        assert sorted([ordered(2), ordered(1, 5), ordered(1, 2)])[0] == ordered(1, 2) < ordered(1, 5)
        assert ordered(1) <= ordered(1) >= ordered(1) and not ordered(1) > ordered(1)
        assert plain() == plain() and plain.__hash__ is None
        assert classes["Same"]() != classes["Same"]() and hash(classes["Same"]()) is not None
        assert classes["Empty"]() == classes["Empty"]()
        with pytest.raises(TypeError):
            assert ordered(1) < 2


def test_changed_copies_are_alike() -> None:
    for classes, library in ((OURS, records), (THEIRS, dataclasses)):
        point, plain = classes["Point3"](1, z=5), classes["Plain"]({"a": 1})
        assert library.replace(point, x=2) == classes["Point3"](2, z=5)
        assert library.replace(plain, names={"b": 4}).total == 4
        with pytest.raises(TypeError, match="wrong"):
            library.replace(point, wrong=1)
    assert records.replace(THEIRS["Point"](1), x=2) == THEIRS["Point"](2)


def test_frozen_objects_refuse_changes() -> None:
    for classes in (OURS, THEIRS):
        for one in (classes["Point"](1), classes["Keyed"](1)):
            first = one.__match_args__[0]
            with pytest.raises(dataclasses.FrozenInstanceError):
                setattr(one, first, 3)
            with pytest.raises(dataclasses.FrozenInstanceError):
                delattr(one, first)
        assert not hasattr(classes["Point"](1), "__dict__")


@records.dataclass(frozen=True, slots=True)
class Stored:
    x: int
    more: tuple[int, ...] = ()


def test_objects_are_copied_and_pickled() -> None:
    one = Stored(1, (2, 3))
    assert pickle.loads(pickle.dumps(one)) == copy.copy(one) == copy.deepcopy(one) == one


def test_an_init_that_is_compiled_stays_with_its_class() -> None:
    """A subclass may be made before its base."""
    classes = make(records)
    assert classes["Point3"](1).z == 3 and classes["Point"](1).y == 0.5
    assert classes["Point3"](1, 2.0).y == 2.0

    class Sub(classes["Point"]):  # type: ignore[misc, valid-type, name-defined]
        pass

    fresh = make(records)["Point"]
    assert Sub(4).x == 4 and type("Other", (fresh,), {})(5).x == 5 and fresh(6).x == 6


def test_a_check_compiles_no_class_of_the_front_half() -> None:
    code = (
        "import dataclasses, sys; made = []; "
        "dataclasses._process_class = lambda cls, *a, _p=dataclasses._process_class, **k: "
        "(made.append(cls.__module__), _p(cls, *a, **k))[1]; "
        "import graphspec; graphspec.compile('specs/resnet50.yaml').summary(); "
        "ours = {name for name in made if name.startswith('graphspec')}; "
        "assert made and ours <= {'graphspec.train.config.groups'}, ours"
    )
    subprocess.run([sys.executable, "-c", code], check=True)

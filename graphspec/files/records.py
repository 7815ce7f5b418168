"""Reads the records of a run by their types: the files of a run may come from anybody.

Unknown keys of a record are left out: a later version may have written them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from graphspec.files.reading import parse_json, read_text
from graphspec.files.run_files import ENVIRONMENT

Count = Annotated[int, Field(ge=0, lt=2**63)]
Whole = Annotated[int, Field(gt=-(2**63), lt=2**63)]
Number = float | Whole
Value = Annotated[float, Field(allow_inf_nan=False)] | Whole | None
EpochValue = Value | list[Value]
"""The values that an epoch has for a name: a number, several, or null for one that is not finite."""
Names = dict[str, str]
T = TypeVar("T")


class StoredRecord(BaseModel):
    """A record in a file of a run."""

    model_config = ConfigDict(strict=True, frozen=True)


class RunEnvironment(StoredRecord):
    """The keys of `environment.json` that are read."""

    root: str | None = None
    """The directory that paths of data are relative to."""
    data: str | None = None
    """The training data that the command line named."""
    weights: str | None = None
    """The file of the weights that the run started from."""
    weights_sha256: str | None = None
    signature: str | None = None
    """Of the first three: whoever signed it wrote them."""
    finished: bool = False
    synthetic: bool = False
    """Whether it learned from synthetic data."""
    replaced: bool = False
    """Whether another run is about to take its place: what else is there is of the old one."""
    best_epoch: Count | None = None
    lengths: dict[str, Annotated[int, Field(gt=0, lt=2**63)]] = {}
    """The usual values of the inputs' named sizes, in the data that it learned from."""
    read: tuple[str, ...] = Field((), strict=False)
    """Further names of its files: those that the spec reads."""
    written: tuple[str, ...] = Field((), strict=False)
    """Those that callbacks write."""


class StoredProgress(StoredRecord):
    """How far a run is in a checkpoint: whole epochs, each with its values."""

    epoch: Count
    seen: Count
    stopped: bool
    history: dict[str, list[Number | list[Number]]]
    seconds: Number
    data: str
    spec: str
    processes: Count = 1
    iterations: Count | None = None
    phase: Count = 0


class StoredNumbers(StoredRecord):
    """The further content of a checkpoint: other names of its tensors, and the parts of a state."""

    tied: Names
    state: dict[str, Any]


class Certificate(StoredRecord):
    """The record of a comparison by `prove`: the text of a spec, and a module by the name of its maker."""

    spec: str
    against: str
    module_sha256: str | None = None
    weights_sha256: str


class ShardIndex(StoredRecord):
    """In which file each tensor is."""

    weight_map: Names


EPOCH = TypeAdapter(dict[str, EpochValue], config=ConfigDict(strict=True))
NAMES = TypeAdapter(Names, config=ConfigDict(strict=True))


def record_of(kind: TypeAdapter[T] | type[T], value: Any) -> T:
    """A value of JSON as a record. Raises `ValueError` where it is none, with the place in it."""
    adapter = kind if isinstance(kind, TypeAdapter) else TypeAdapter(kind)
    try:
        return adapter.validate_python(value)
    except ValidationError as error:
        where = ".".join(str(part) for part in error.errors()[0]["loc"] if isinstance(part, str | int))
        subject = f"`{where[:80]}` is missing, or" if where else "it is"
        raise ValueError(f"{subject} not what a run writes") from None


def environment_of(directory: Path) -> RunEnvironment:
    """`environment.json` in a directory. Raises `OSError`, `ValueError`."""
    return record_of(RunEnvironment, parse_json(read_text(directory / ENVIRONMENT)))

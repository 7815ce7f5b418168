"""Which files a command may write: nothing else decides what may be replaced.

What a command writes replaces no file that it reads, and none of a run or a search, whatever options say; any
other where the command has written it itself, or with `--force`.
"""

from __future__ import annotations

import os
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from graphspec.cli.common import misuse, need_no_device, replacing
from graphspec.files.run_files import CHECKPOINTS, ENVIRONMENT, HISTORY, OF_SEARCH, STUDY, TRIALS, reserved
from graphspec.files.stamps import is_edited
from graphspec.files.whole import sweep
from graphspec.version import MADE_BY

if TYPE_CHECKING:
    from graphspec.elaborated import BaseProgram

Ours = Callable[[Path], bool]
Force = Annotated[
    bool,
    typer.Option("--force", help="Overwrite a file that graphspec did not write, or that was edited since."),
]
PICTURES = ("svg", "png", "pdf", "html", "mmd", "md", "tex")
"""Formats of files that end with a mark."""
OVERWRITES = "--force overwrites it"


def check_output(
    path: Path,
    ours: Ours | None = None,
    force: bool | None = False,
    reads: Iterable[Path | None] = (),
    option: str = "-o",
) -> None:
    """Refuses a file that a command may not write: a folder, a device, what it `reads`, what a run holds; and
    unless by `force` what is not `ours`. Without `ours` nothing is; None is a command without `--force`.
    """
    if path.is_dir():
        raise misuse(option, f"{path} is a directory", f"name a file in it: `{option} {path / 'NAME'}`")
    need_no_device(path)
    sweep([path])
    need_apart(path, reads, option)
    owner = _owner(path)
    if owner is not None:
        raise misuse(option, f"{path} is a file of the {owner}", "name another file")
    if force or not os.path.lexists(path):
        return
    help = "move it" if force is None else OVERWRITES
    if ours is None:
        raise misuse(option, f"{path} exists", help)
    if not os.path.exists(path) or not ours(path):
        raise misuse(option, f"{path} exists and was not written by graphspec", help)
    if _is_changed(path):
        raise misuse(option, f"{path} was edited after graphspec wrote it", "--force overwrites the edits")


def check_folder(path: Path, holds_other: Callable[[Path], bool], option: str = "-o") -> None:
    """Refuses a folder that a command may not fill: a file, what a run or a search is in, one that
    `holds_other` files than the command writes.
    """
    if os.path.lexists(path) and not path.is_dir():
        raise misuse(option, f"{path} is a file", "name a folder")
    owner = next(filter(None, (_owner(path / name) for name in (ENVIRONMENT, STUDY, "engines/x"))), None)
    if owner is not None:
        raise misuse(option, f"{path} is a folder of the {owner}", "name another folder")
    if path.is_dir() and holds_other(path):
        raise misuse(option, f"{path} holds files that graphspec did not write", "name another folder")


def need_apart(path: Path, reads: Iterable[Path | None], option: str = "-o") -> None:
    """Refuses to write a file that is read, or that lies in a folder which is."""
    if not os.path.exists(path):
        return
    from graphspec.files.reading import is_within

    for read in reads:
        if read is None or not os.path.exists(read):
            continue
        if is_within(path, read) if read.is_dir() else path.samefile(read):
            raise misuse(option, f"{path} is also the input", "name another file")


def need_apart_from(program: BaseProgram, path: Path | None, option: str = "-o") -> None:
    """The same of all files that a program is made of."""
    if path is not None and os.path.exists(path):
        need_apart(path, read_by(program), option)


def read_by(program: BaseProgram) -> Iterator[Path]:
    """The spec, and the model files, weights and Python files that it reads."""
    from graphspec import custom
    from graphspec.weights import weight_files

    if program.path is None:
        return
    yield from map(Path, program.sources)
    for _, weights, span in weight_files(program.graph):
        yield (Path(span.file) if span is not None else program.path).parent / weights
    yield from (path for path, _ in custom.files(program))


def need_place(path: Path) -> None:
    """Refuses a file in a folder that is not there."""
    if not path.parent.is_dir():
        raise misuse("-o", f"there is no directory {path.parent}")


def _owner(path: Path) -> str | None:
    """The run or the search to which a file of this name belongs, whether it is there or not."""
    path = Path(os.path.realpath(path.parent)) / path.name
    for folder in path.parents:
        name = path.relative_to(folder).as_posix()
        if any(map(os.path.exists, (folder / ENVIRONMENT, folder / HISTORY, folder / CHECKPOINTS))):
            from graphspec.files.run_folder import READ, WRITTEN, RunFolder
            from graphspec.runs.directory import was_run

            if was_run(folder):
                run = RunFolder(folder)
                if reserved(name) or name in (*run.names(READ), *run.names(WRITTEN)):
                    return f"run {folder}"
        if OF_SEARCH.fullmatch(name) and any(map(os.path.exists, (folder / STUDY, folder / TRIALS))):
            return f"search {folder}"
    return None


def of_format(format: str) -> Ours:
    """Whether a file is one of this format that a command has written, or is empty."""

    def ours(path: Path) -> bool:
        if format == "pt2" and zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                return any(name.endswith("/graphspec.json") for name in archive.namelist())
        with path.open("rb") as stream:
            head = stream.read(2000)
            stream.seek(max(0, stream.seek(0, os.SEEK_END) - 200))
            end = stream.read()
        return not head or _is_marked(format, head, end)

    return ours


def _is_marked(format: str, head: bytes, end: bytes) -> bool:
    if format in PICTURES:
        return MADE_BY.encode() in end
    if format == "onnx":
        return b"graphspec" in head[:64]  # the producer's name
    if format == "safetensors":
        return b'"graphspec"' in head  # metadata, which come first
    if format == "schema":
        return b'"$schema"' in head[:80] and (b'"presets"' in head or b"graphspec check" in head)
    return head.startswith(f"# {MADE_BY} ".encode())


def _is_changed(path: Path) -> bool:
    """Whether somebody has edited a text that has a checksum."""
    with path.open("rb") as stream:
        if stream.read(len(MADE_BY) + 2) != f"# {MADE_BY}".encode():
            return False
    return is_edited(path.read_text(encoding="utf-8", errors="replace"))


def marked(data: bytes, format: str) -> bytes:
    """A picture or a page with graphspec's mark at its end."""
    if format == "png":  # a text chunk before the last, which is empty
        chunk = b"tEXtSoftware\0" + MADE_BY.encode()
        size, check = struct.pack(">I", len(chunk) - 4), struct.pack(">I", zlib.crc32(chunk))
        return data[:-12] + size + chunk + check + data[-12:]
    before, behind = {"mmd": (b"%% ", b""), "pdf": (b"% ", b""), "tex": (b"% ", b"")}.get(
        format, (b"<!-- ", b" -->")
    )
    return data.rstrip(b"\n") + b"\n" + before + MADE_BY.encode() + behind + b"\n"


def write(path: Path, content: str | bytes) -> None:
    """Writes a file completely or not at all."""
    with replacing(path) as temporary:
        temporary.write_bytes(content.encode("utf-8") if isinstance(content, str) else content)

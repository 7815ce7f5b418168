"""Resolves a path of `data:`: a file, shards in a folder or of a pattern, or images. Opens no file."""

from __future__ import annotations

import os
import stat
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from graphspec.data import remote
from graphspec.data.files import READ, format_of, instead
from graphspec.data.in_memory_source import Given
from graphspec.data.mistakes import missing, unreadable
from graphspec.diagnostics import SpecError, fail
from graphspec.files.reading import is_within

IMAGES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp")
"""Endings of the pictures that are read."""
BESIDE = (".txt", ".xml")
"""Endings of files that may lie next to pictures, with the boxes in them."""
LITTER = {"thumbs.db", "desktop.ini"}
"""Files that systems leave in folders of images."""
MAGIC = set("*?[")
STREAMED = f"write what comes through it to a file; graphspec reads {READ}"
"""Remedy for a pipe: files are read several times, and the ending of their name decides their format."""


@dataclass(frozen=True, slots=True)
class Found:
    """The files of one table, in order. `kind` is that of `format_of`, or `images`. If each class of images
    has a folder, `labels` are the names of these folders.
    """

    path: Path
    kind: str
    files: tuple[Path, ...]
    labels: tuple[str, ...] | None = None
    whole: bool = True
    """Whether this is one file, and not shards or images."""
    empty: tuple[str, ...] = ()
    """Folders beside those of the classes that hold no image, and so are none."""
    held: Given | None = None
    """Data in memory, which are in no file."""

    def first(self, count: int) -> Found:
        """The first `count` images of all classes in turn; files of other kinds are as they were."""
        if self.labels is None or len(self.files) <= count:
            return self
        seen: Counter[str] = Counter()
        turns = []
        for index, label in enumerate(self.labels):
            turns.append((seen[label], index))
            seen[label] += 1
        chosen = sorted(index for _, index in sorted(turns)[:count])
        files, labels = tuple(self.files[i] for i in chosen), tuple(self.labels[i] for i in chosen)
        return replace(self, files=files, labels=labels)

    @property
    def by_key(self) -> bool:
        """Whether rows have keys, so that one which a row lacks is a missing value."""
        return self.kind == "lines" or (self.held is not None and self.held.by_key)

    @property
    def remarks(self) -> Iterator[str]:
        """Messages about these files."""
        for name in self.empty:
            yield f"the folder `{name}` in `{self.path}` holds no images, so it is not a class"


def find(path: Path | Given, within: Path | None = None) -> Found:
    """The files at a path, or that match it as a pattern. Links may not lead out of `within`.

    Raises `SpecError`: data-missing, data-format, data-empty, data-outside.
    """
    if isinstance(path, Given):
        return Found(Path(path.name), path.kind, (), held=path)
    if remote.is_remote(path):
        files = remote.files_at(path)
        return Found(path, "parquet", files, whole=files == (path,))
    try:
        if MAGIC & set(path.name) and not path.exists():
            return _shards(path, [p for p in sorted(path.parent.glob(path.name)) if not _hidden(p)], within)
        mode = path.stat().st_mode
        if stat.S_ISDIR(mode):
            return _folder(path, within)
    except FileNotFoundError:
        if str(path) == "-":
            raise fail("data-format", "data are not read from standard input", STREAMED) from None
        raise missing(path) from None
    except OSError as error:
        raise unreadable(path, error) from None
    except ValueError as error:  # a NUL in the name
        raise fail("data-missing", f"`{path}` cannot be a file: {error}") from None
    if not stat.S_ISREG(mode):
        raise fail("data-format", f"`{path}` is neither a file nor a folder", STREAMED)
    if _is_image(path):
        return Found(path.parent, "images", (path,), whole=False)
    kind = format_of(path.name)
    if kind is None:
        raise _unread(path)
    return Found(path, kind, (path,))


def _unread(path: Path) -> SpecError:
    """The error of a file in a format that is not read."""
    message = f"`{path}` has a format that graphspec does not read"
    return fail("data-format", message, instead(path.name))


def _folder(path: Path, within: Path | None) -> Found:
    files: list[Path] = []
    folders: list[Path] = []
    with os.scandir(path) as entries:
        for entry in sorted(entries, key=lambda entry: entry.name):
            if not _hidden(Path(entry.name)):
                (folders if entry.is_dir() else files).append(path / entry.name)
    pictures = [file for file in files if _is_image(file)]
    if not folders and not pictures:
        return _shards(path, files, within)
    if not folders:
        others = [file for file in files if not _is_image(file)]
        _alike(path, pictures[0], [file for file in others if file.suffix.lower() not in BESIDE])
        return Found(path, "images", tuple(_inside(pictures, within)), whole=False)
    if files:
        _disagree(path, folders[0], files[0])
    images: list[Path] = []
    labels: list[str] = []
    empty: list[str] = []
    for folder in _inside(folders, within):
        folder_images = list(_pictures(path, folder, images[0] if images else None))
        images += _inside(folder_images, within)
        labels += [folder.name] * len(folder_images)
        empty += [] if folder_images else [folder.name]
    if not images:
        raise fail(
            "data-empty",
            f"`{path}` holds folders, and no images in them",
            f"images end in {', '.join(IMAGES)}",
        )
    return Found(path, "images", tuple(images), tuple(labels), whole=False, empty=tuple(empty))


def _pictures(path: Path, folder: Path, first: Path | None) -> Iterator[Path]:
    """The images of a class."""
    with os.scandir(folder) as entries:
        for entry in sorted(entries, key=lambda entry: entry.name):
            file = folder / entry.name
            if _hidden(file):
                continue
            if entry.is_dir() or not _is_image(file):
                if first is None:
                    kind = "a folder" if entry.is_dir() else "no image"
                    message = (
                        f"`{path}` holds folders, and `{file.relative_to(path)}` in one of them is {kind}"
                    )
                    help = (
                        f"a folder holds one folder for each class, of images that end in {', '.join(IMAGES)}"
                    )
                    raise fail("data-format", message, help)
                _disagree(path, first, file)
            first = first or file
            yield file


def _shards(path: Path, files: list[Path], within: Path | None) -> Found:
    if not files:
        held = "matches no file" if MAGIC & set(path.name) else "is an empty folder"
        raise fail("data-empty", f"`{path}` {held}", f"graphspec reads {READ}")
    kind = format_of(files[0].name)
    if kind is None:
        raise _unread(files[0])
    _alike(path, files[0], [file for file in files if format_of(file.name) != kind])
    folder = next((file for file in files if not file.is_file()), None)
    if folder is not None:
        raise fail("data-format", f"`{folder}` is not a file")
    return Found(path, kind, tuple(_inside(files, within)), whole=False)


def _alike(path: Path, first: Path, others: list[Path]) -> None:
    if others:
        _disagree(path, first, others[0])


def _disagree(path: Path, first: Path, other: Path) -> None:
    folder = path if path.is_dir() else path.parent
    names = f"`{first.relative_to(folder)}` and `{other.relative_to(folder)}`"
    help = "a folder holds shards of one format, or images; names that begin with _ or . are skipped"
    raise fail("data-format", f"`{path}` holds files of different kinds: {names}", help)


def _inside(files: list[Path], within: Path | None) -> Iterator[Path]:
    for file in files:
        if within is not None and file.is_symlink() and not is_within(file, within):
            message = f"`{file}` is a link that leads out of the directory of the spec"
            raise fail("data-outside", message, "copy the file, or name the folder with `--data`")
        yield file


def _hidden(file: Path) -> bool:
    return file.name[0] in "_." or file.name.lower() in LITTER


def _is_image(file: Path) -> bool:
    return file.suffix.lower() in IMAGES

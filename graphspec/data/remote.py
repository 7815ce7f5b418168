"""Parquet in object storage: `s3://bucket/part-*.parquet`, read through pyarrow's filesystem.

Such a path is a `Path` like any other, `s3:/bucket/part-*.parquet` by its parts. Where the storage is and who
may read it, the environment says, by the names that the tools of AWS have: AWS_ACCESS_KEY_ID and
AWS_SECRET_ACCESS_KEY, AWS_PROFILE, AWS_REGION, AWS_ENDPOINT_URL.
"""

from __future__ import annotations

import os
from fnmatch import fnmatchcase
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from graphspec.diagnostics import SpecError, fail

if TYPE_CHECKING:
    from pyarrow import NativeFile
    from pyarrow.fs import FileSystem

SCHEME = "s3:"
ENDPOINTS = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL")
REGIONS = ("AWS_REGION", "AWS_DEFAULT_REGION")
MAGIC = set("*?[")
TIMEOUT = 10
"""Seconds until a server that does not answer is given up."""


def is_remote(path: Path | str) -> bool:
    """Whether a path of data lies in object storage."""
    return Path(path).parts[:1] == (SCHEME,)


def shown(path: Path) -> str:
    """The path as it is written."""
    return f"{SCHEME}//{'/'.join(path.parts[1:])}" if is_remote(path) else str(path)


def located(path: Path) -> tuple[str | Path, FileSystem | None]:
    """The path that pyarrow opens, and its filesystem; None is the local one."""
    if not is_remote(path):
        return path, None
    return "/".join(path.parts[1:]), _system(path.parts[1])


def files_at(path: Path) -> tuple[Path, ...]:
    """The Parquet files at a path, below it, or that match its last part as a pattern, in the order of their
    names. Raises `SpecError`: data-missing, data-format, data-empty.
    """
    from pyarrow.fs import FileSelector, FileType

    if len(path.parts) < 3:
        raise fail("data-missing", f"`{shown(path)}` names no file", "write s3://BUCKET/FILE.parquet")
    pattern = path.name if MAGIC & set(path.name) else None
    try:
        key, system = located(path.parent if pattern is not None else path)
        assert system is not None
        about = system.get_file_info(str(key))
        if about.type == FileType.NotFound:
            raise fail("data-missing", f"there is no `{shown(path.parent if pattern is not None else path)}`")
        if about.type == FileType.File:
            names = [path.name]
            folder = path.parent
        else:
            folder = path.parent if pattern is not None else path
            infos = system.get_file_info(FileSelector(str(key)))
            names = sorted(info.base_name for info in infos if info.type == FileType.File)
    except OSError as error:
        raise unreadable(path, error) from None
    if pattern is not None:
        names = [name for name in names if fnmatchcase(name, pattern)]
    names = [name for name in names if name[0] not in "_."]
    if not names:
        raise fail("data-empty", f"`{shown(path)}` matches no file")
    other = next((name for name in names if not name.lower().endswith(".parquet")), None)
    if other is not None:
        message = f"`{shown(folder / other)}` is not a Parquet file"
        raise fail(
            "data-format", message, "of object storage .parquet is read, and folders and patterns of it"
        )
    return tuple(folder / name for name in names)


def size_of(path: Path) -> int | None:
    """The bytes of a file, here or in object storage; None where there is none. Raises `SpecError`."""
    key, system = located(path)
    if system is None:
        return path.stat().st_size if os.path.isfile(path) else None
    try:
        about = system.get_file_info(str(key))
    except OSError as error:
        raise unreadable(path, error) from None
    return about.size if about.is_file else None


def opened(path: Path) -> NativeFile:
    """A file to read at any place: one that is here is mapped. Raises `OSError`."""
    import pyarrow as pa

    key, system = located(path)
    return pa.memory_map(str(path)) if system is None else system.open_input_file(str(key))


def put(path: Path, content: Any) -> None:
    """Writes a file whole, here or in object storage. Raises `OSError`."""
    from graphspec.files.whole import replacing

    key, system = located(path)
    if system is None:
        with replacing(path) as temporary:
            temporary.write_bytes(content)
    else:
        with system.open_output_stream(str(key)) as stream:
            stream.write(content)


def unreadable(path: Path, error: OSError) -> SpecError:
    """Explains an answer of object storage, with a remedy."""
    reason, bucket = str(error).strip().splitlines()[0], path.parts[1]
    if "NO_SUCH_BUCKET" in reason or "bucket does not exist" in reason.lower():
        return fail(
            "data-missing", f"there is no bucket `{bucket}`", "look for a misspelling, or another region"
        )
    help = "is AWS_ENDPOINT_URL, or the network, the right one?"
    if any(sign in reason for sign in ("ACCESS_DENIED", "INVALID_ACCESS_KEY", "SIGNATURE", "403")):
        help = "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE, to those who may read it"
    return fail("data-missing", f"`{shown(path)}` cannot be read: {reason}", help)


@lru_cache(maxsize=8)
def _system(bucket: str) -> FileSystem:
    """The filesystem of a bucket. Raises `OSError` where its region cannot be found."""
    from pyarrow.fs import S3FileSystem, resolve_s3_region

    options: dict[str, object] = {"connect_timeout": TIMEOUT, "request_timeout": 6 * TIMEOUT}
    endpoint = next((os.environ[name] for name in ENDPOINTS if os.environ.get(name)), None)
    if endpoint is not None:
        place = urlsplit(endpoint)
        options |= {"scheme": place.scheme, "endpoint_override": place.netloc}
    elif not any(os.environ.get(name) for name in REGIONS):
        options["region"] = resolve_s3_region(bucket)
    return S3FileSystem(**options)

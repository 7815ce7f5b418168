"""Records that this user has signed on this machine; everything else is computed again.

A run directory may come from anybody, with all that was measured, proved and permitted in it. Such a record
is believed only where this user has signed it, and nothing but this file reads one. The key is kept outside
of all runs, in the user's state directory, or in the one for temporary files where that cannot be written.
"""

from __future__ import annotations

import getpass
import hashlib
import hmac
import json
import os
import secrets
import stat
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from graphspec.files.reading import parse_json, read_text

if TYPE_CHECKING:
    from graphspec.files.folder import Folder

SIGNATURE = "signature"
PERMITTED = ("root", "data", "weights")
"""The signed keys of `environment.json`: the places of data, and of the first weights."""
SIZE = 32


def remember(folder: Folder, name: str, record: Mapping[str, Any]) -> None:
    """Writes a record of JSON values, signed for its name. Raises `SpecError` (run-directory)."""
    sealed = sealed_record(name, record)
    if sealed is not None:
        folder.text(name, json.dumps(sealed) + "\n")


def recall(folder: Path, name: str) -> dict[str, Any]:
    """The record that this user has written under a name; nothing where there is none, or another's."""
    try:
        record = parse_json(read_text(folder / name))
    except (OSError, ValueError):
        return {}
    return own_record(name, record)


def sealed_record(kind: str, record: Mapping[str, Any]) -> dict[str, Any] | None:
    """A record with this user's signature, which holds for that kind alone; None where no key can be kept."""
    key = _key() or _make_key()
    return None if key is None else {**record, SIGNATURE: _digest(key, [kind, record])}


def own_record(kind: str, sealed: Any) -> dict[str, Any]:
    """The content of a record that this user has signed as `kind`; empty otherwise."""
    record = dict(sealed) if isinstance(sealed, dict) else {}
    signature = record.pop(SIGNATURE, None)
    return record if _is_own(signature, [kind, record]) else {}


def signed(about: Mapping[str, Any], names: Iterable[str]) -> dict[str, Any]:
    """The record of a run with this user's signature, of a run whose spec reads the data of these names."""
    key = _key() or _make_key()
    return dict(about) if key is None else {**about, SIGNATURE: _digest(key, _permission(about, names))}


def is_signed(about: Mapping[str, Any], names: Iterable[str]) -> bool:
    """Whether this user wrote where the data and the first weights of such a run lie."""
    return _is_own(about.get(SIGNATURE), _permission(about, names))


def _permission(about: Mapping[str, Any], names: Iterable[str]) -> Any:
    return [about.get(name) for name in PERMITTED], list(names)


def _digest(key: bytes, value: Any) -> str:
    return hmac.new(key, json.dumps(value, sort_keys=True).encode(), hashlib.sha256).hexdigest()


def _is_own(signature: Any, value: Any) -> bool:
    """Whether this user has signed a value of JSON so."""
    key = _key()
    if key is None or not isinstance(signature, str):
        return False
    with suppress(RecursionError):  # it was just not too deep to be read
        return hmac.compare_digest(signature.encode("utf-8", "surrogatepass"), _digest(key, value).encode())
    return False


def _places() -> Iterator[Path]:
    """Where the key may be, the best place first."""
    state = os.environ.get("XDG_STATE_HOME", "")
    with suppress(RuntimeError):  # no home
        yield (
            (Path(state) if os.path.isabs(state) else Path.home() / ".local" / "state") / "graphspec" / "key"
        )
    with suppress(OSError, KeyError, ImportError):  # no name
        yield Path(tempfile.gettempdir()) / f"graphspec-{getpass.getuser()}" / "key"


def _key() -> bytes | None:
    """The key; one that others could have written, or can read, is none."""
    for path in _places():
        with suppress(OSError):
            descriptor = os.open(
                path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
            )
            with open(descriptor, "rb") as file:
                about = os.fstat(descriptor)
                mine = not hasattr(os, "getuid") or (
                    about.st_uid == os.getuid() and not about.st_mode & 0o077
                )
                if stat.S_ISREG(about.st_mode) and mine and len(key := file.read(SIZE + 1)) == SIZE:
                    return key
    return None


def _make_key() -> bytes | None:
    """A new key, or that of a process that was faster; None where none can be kept."""
    for path in _places():
        temporary = path.with_name(f"{path.name}.{secrets.token_hex(8)}")
        with suppress(OSError):
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            try:
                with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
                    file.write(secrets.token_bytes(SIZE))
                with suppress(FileExistsError):
                    os.link(temporary, path)
            finally:
                temporary.unlink(missing_ok=True)
            if (key := _key()) is not None:
                return key
    return None

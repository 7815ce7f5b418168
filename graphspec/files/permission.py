"""What a run remembers of the permission that its user gave: where data, and the first weights, lie.

`environment.json` says it, and a run directory may come from anybody: it is believed only where this user has
signed it. The key is kept outside of all runs, in the user's state directory, or in the one for temporary
files where that cannot be written.
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
from typing import Any

SIGNATURE = "signature"
REMEMBERED = ("root", "data", "weights")
"""What is signed of `environment.json`."""
SIZE = 32


def signed(about: Mapping[str, Any], names: Iterable[str]) -> dict[str, Any]:
    """The record of a run with this user's signature, of a run whose spec reads the data of these names."""
    key = _key() or _make_key()
    return {**about, SIGNATURE: _digest(key, about, names)} if key is not None else dict(about)


def is_signed(about: Mapping[str, Any], names: Iterable[str]) -> bool:
    """Whether this user wrote where the data and the first weights of such a run lie."""
    key, signature = _key(), about.get(SIGNATURE)
    return (
        key is not None
        and isinstance(signature, str)
        and hmac.compare_digest(signature.encode(), _digest(key, about, names).encode())
    )


def signature(text: str) -> str | None:
    """This user's signature of a text; None where no key can be kept."""
    key = _key() or _make_key()
    return None if key is None else _of_text(key, text)


def is_own(text: str, signature: str) -> bool:
    """Whether this user has signed a text so."""
    key = _key()
    return key is not None and hmac.compare_digest(signature.encode(), _of_text(key, text).encode())


def _of_text(key: bytes, text: str) -> str:
    return hmac.new(key, b"text\0" + text.encode(), hashlib.sha256).hexdigest()


def _digest(key: bytes, about: Mapping[str, Any], names: Iterable[str]) -> str:
    text = json.dumps([[about.get(name) for name in REMEMBERED], list(names)])
    return hmac.new(key, text.encode(), hashlib.sha256).hexdigest()


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

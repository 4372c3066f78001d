"""Who uses a prepared engine: a shared lock on a file beside its entry, so that no entry goes while it is used.

The lock is flock(2)'s, as a lease is: it ends with the last process that holds the file open, however that ended.
Rounds keep it open too, so that an engine outlasts a gate that was killed until its last round has ended.
"""

from __future__ import annotations

import fcntl
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from perfgate.errors import UsageError

_UNITS = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}


def use(folder: Path) -> int:
    """Use an entry until the descriptor is closed here and in every child that keeps it open."""
    handle = _opened(folder)
    fcntl.flock(handle, fcntl.LOCK_SH)  # an entry is held exclusively only while it is removed
    return handle


@contextmanager
def unused(folder: Path) -> Iterator[bool]:
    """Hold an entry that nobody uses, so that it can be removed; False: somebody does."""
    handle = _opened(folder)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True
    finally:
        os.close(handle)


def _opened(folder: Path) -> int:
    return os.open(f"{folder}.use", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)


def parse_size(option: str, text: str) -> int:
    """Bytes of a size such as '20GB', in decimal units.

    Raises:
        UsageError: it is none.
    """
    found = re.fullmatch(r"(\d{1,12}(?:\.\d{1,6})?)\s*([KMGT]?B)?", text.strip().upper())
    if found is None:
        raise UsageError(f"{option}: found '{text}', expected a size such as 500MB, 20GB or 1.5TB")
    return int(float(found[1]) * _UNITS[found[2] or ""])

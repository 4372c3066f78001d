"""Opening what others name: a file, or a line on what stands there instead. A named pipe would be waited for."""

from __future__ import annotations

import errno
import os
import stat
from io import BufferedReader
from pathlib import Path

_KINDS = {
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


def open_plain(path: Path) -> BufferedReader:
    """A regular file, or a link to one, for reading.

    Raises:
        OSError: it cannot be read, or is something else; its strerror says what.
    """
    check_plain(path, path.stat().st_mode)  # before opening: that alone may do something to a device
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)  # it may have become a pipe just now
    try:
        check_plain(path, os.fstat(handle).st_mode)
    except OSError:
        os.close(handle)
        raise
    return os.fdopen(handle, "rb")


def read_up_to(path: Path, most_bytes: int) -> bytes:
    """The bytes of a regular file; of a longer one `most_bytes` + 1, for the caller to refuse.

    Raises:
        OSError: as `open_plain`.
    """
    with open_plain(path) as file:
        return file.read(most_bytes + 1)


def check_plain(path: Path, mode: int) -> None:
    """Raises OSError unless the mode is a regular file's; its strerror says what is there instead."""
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if not stat.S_ISREG(mode):
        kind = _KINDS.get(stat.S_IFMT(mode), "something else")
        raise OSError(errno.EINVAL, f"it is {kind}, expected a file", str(path))

"""Masking secrets in logs that nobody writes any more: by value and by form, as in what is shown of them."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from perfgate.engines.redaction import without

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

_PIECE = 1 << 20  # characters that are looked at together: a log may have 50 MB
_NEAR = 1 << 16  # longer than any secret: how far around a cut in a long line is looked for one
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL


def scrub(log: Path, secrets: Sequence[str]) -> None:
    """Mask these values, and what its form gives away, in a log; one without any is not touched.

    It is replaced as a whole, and stays as it is where somebody writes it meanwhile.
    """
    with suppress(FileNotFoundError):
        try:
            if _tells(log, secrets):
                _replace(log, secrets)
        except OSError:  # a full or read-only disk: the log stays as it is, for our user alone
            log.chmod(0o600)


def _tells(log: Path, secrets: Sequence[str]) -> bool:
    with _opened(log) as file:
        return any(without(piece, secrets) != piece for piece in _pieces(file, secrets))


def _replace(log: Path, secrets: Sequence[str]) -> None:
    """By a file of a name that the next one to scrub this log takes again: whoever is killed leaves none for good."""
    fresh = log.with_name(f".{log.name}.scrubbed")
    fresh.unlink(missing_ok=True)
    try:
        before = log.stat()  # first: what is written from here on keeps the log from being replaced
        with _opened(log) as file, _opened(fresh, _NEW) as out:
            out.writelines(without(piece, secrets) for piece in _pieces(file, secrets))
        if _state(log.stat()) == _state(before):
            fresh.replace(log)
    finally:
        fresh.unlink(missing_ok=True)


def _state(found: os.stat_result) -> tuple[int, int, int]:
    return found.st_ino, found.st_size, found.st_mtime_ns


def _opened(path: Path, flags: int = os.O_RDONLY) -> TextIO:
    """As text from which the same bytes come back, whatever they are; what we make is for our user alone."""
    handle = os.open(path, flags, 0o600)
    buffered = io.BufferedWriter(io.FileIO(handle, "w")) if flags & os.O_CREAT else io.BufferedReader(_AsItWas(handle))
    return io.TextIOWrapper(buffered, encoding="utf-8", errors="surrogateescape", newline="")


class _AsItWas(io.FileIO):
    """A file up to its length when it was opened: one that grows as fast as it is read would have no end."""

    def __init__(self, handle: int) -> None:
        super().__init__(handle, "r")
        self._left = os.fstat(handle).st_size

    def readinto(self, buffer: WriteableBuffer) -> int:
        count = super().readinto(memoryview(buffer)[: self._left]) or 0
        self._left -= count
        return count


def _pieces(file: TextIO, secrets: Sequence[str]) -> Iterator[str]:
    """A text in pieces of whole lines; a line that is longer than a piece is cut where no secret stands."""
    held = ""
    while block := file.read(_PIECE):
        held += block
        end = max(held.rfind("\n"), held.rfind("\r")) + 1
        if not end and len(held) > 2 * _NEAR:
            end = _cut(held, secrets)
        yield held[:end]
        held = held[end:]
    yield held


def _cut(text: str, secrets: Sequence[str]) -> int:
    """Where a text is masked the same in two parts as in one; its end where that is nowhere."""
    for at in range(len(text) - _NEAR, _NEAR, -_NEAR // 16):
        left, right = text[at - _NEAR : at], text[at : at + _NEAR]
        if without(left, secrets) + without(right, secrets) == without(left + right, secrets):
            return at
    return len(text)

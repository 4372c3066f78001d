"""The run journal: every finished round at once on disk, so that a killed run resumes."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Generic, TypeVar

from perfgate.errors import RecordError, StorageError
from perfgate.record import Round, decode, encode, read_bounded, write_atomic

JOURNAL_SCHEMA = 1

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Header:
    """What a ledger's records belong to. They are taken up again only if all of it is the same."""

    suite: str
    started: str
    fingerprint: str  # specs, workloads, versions, device, planted regressions
    schema: int = JOURNAL_SCHEMA


class Ledger(Generic[T]):
    """An append-only file of one header line and one line per record of a kind."""

    def __init__(self, path: Path, kind: type[T]) -> None:
        self.path = path
        self._kind = kind

    def resume(self, header: Header) -> tuple[Header, list[T]]:
        """The header and records of an interrupted run of the same kind; else a new, empty file."""
        found = self.read()
        if found and replace(found[0], started=header.started) == header:
            return found
        write_atomic(self.path, encode(header) + b"\n")
        return header, []

    def append(self, done: T) -> None:
        """Add a record; it is on disk when this returns.

        Raises:
            StorageError: it cannot be written; nothing of it is left, so that the next one is read.
        """
        try:
            size = self.path.stat().st_size
            with self.path.open("ab", buffering=0) as file:
                self._append(file.fileno(), encode(done) + b"\n", size)
        except OSError as exc:
            raise StorageError.of(exc, self.path) from exc

    @staticmethod
    def _append(handle: int, line: bytes, size: int) -> None:
        try:
            while line:
                line = line[os.write(handle, line) :]
            os.fsync(handle)
        except OSError:
            os.ftruncate(handle, size)
            raise

    def close(self) -> None:
        """The run is reported: nothing is left to resume."""
        self.path.unlink(missing_ok=True)

    def read(self) -> tuple[Header, list[T]] | None:
        """Header and whole records; what a crash left half-written, and all after it, is cut off.

        Raises:
            RecordError: it cannot be read, or is larger than any of ours.
        """
        if not self.path.exists():
            return None
        lines = read_bounded(self.path).split(b"\n")
        if len(lines) < 2:  # noqa: PLR2004 - a whole header ends in a newline
            return None
        try:
            header = decode(lines[0], Header, self.path)
        except RecordError:
            return None
        good, records = len(lines[0]) + 1, list[T]()
        for line in lines[1:-1]:  # a whole line ends in a newline: what follows the last one is not whole
            try:
                records.append(decode(line, self._kind, self.path))
            except RecordError:
                break
            good += len(line) + 1
        if good < self.path.stat().st_size:
            os.truncate(self.path, good)
        return header, records


class Journal(Ledger[Round]):
    """The rounds of the run under way."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, Round)

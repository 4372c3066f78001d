"""The run journal: every finished round at once on disk, so that a killed run resumes."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Generic, TypeVar

from perfgate.errors import RecordError, StorageError
from perfgate.record import Round, decode, encode, read_bounded, write_atomic

JOURNAL_SCHEMA = 2
MOST_AGE_H = 24  # since the last round of a gate that may be gone on with

T = TypeVar("T")


def _silent(_: str) -> None: ...


@dataclass(frozen=True, slots=True)
class Header:
    """What a ledger's records belong to. They are taken up again only if all of it is the same."""

    suite: str
    started: str
    fingerprint: str  # specs, workloads, versions, device, planted regressions
    schema: int = JOURNAL_SCHEMA
    commit: str = ""
    changes: str = ""  # a digest of what is not committed
    devices: tuple[str, ...] = ()  # the very ones: other GPUs of the same kind are others

    def why_not(self, now: Header) -> str:
        """Why records that belong to this are not of the run that begins now; empty where they are."""
        if self.schema != now.schema:
            return "another version of perfgate began it"
        if self.commit != now.commit:
            return f"measured at commit {self.commit or 'unknown'}, this is {now.commit or 'unknown'}"
        if self.changes != now.changes:
            return f"measured with other uncommitted changes of {self.commit} than there are now"
        if self.devices != now.devices:
            return f"measured on {', '.join(self.devices)}, this is {', '.join(now.devices)}"
        same = replace(self, started=now.started) == now
        return "" if same else "its cases, engines, versions or settings are others"


class Ledger(Generic[T]):
    """An append-only file of one header line and one line per record of a kind.

    most_age_s: since its last line was written, above which it is too old to be gone on with.
    """

    def __init__(self, path: Path, kind: type[T], most_age_s: float = math.inf) -> None:
        self.path = path
        self._kind, self._most_age_s = kind, most_age_s

    def resume(self, header: Header, tell: Callable[[str], None] = _silent) -> tuple[Header, list[T]]:
        """The header and records of an interrupted run of the same kind; else a new, empty file.

        tell: is told in one line why records that are there are not taken up.
        """
        found = self.read()
        why = (found[0].why_not(header) or self._too_old()) if found else ""
        if found and not why:
            return found
        if found and found[1]:
            tell(f"the interrupted run of {found[0].started} is not gone on with: {why}; measuring anew")
        write_atomic(self.path, encode(header) + b"\n")
        return header, []

    def _too_old(self) -> str:
        age_s = abs(time.time() - self.path.stat().st_mtime)  # a time to come is no better
        if age_s <= self._most_age_s:
            return ""
        return f"its last round is {age_s / 3600:.0f} h old, more than {self._most_age_s / 3600:.0f} h"

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
        there = self.path.stat()
        if good < there.st_size:
            os.truncate(self.path, good)
            os.utime(self.path, ns=(there.st_atime_ns, there.st_mtime_ns))  # it is as old as it was
        return header, records


class Journal(Ledger[Round]):
    """The rounds of the run under way."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, Round, most_age_s=MOST_AGE_H * 3600)

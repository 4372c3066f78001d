"""The errors a user can meet, as one short tree.

PerfgateError
├── UsageError      the request cannot be carried out as written (exit code 4)
│   ├── SuiteError      faults in a suite file, all of them at once
│   ├── RecordError     a file of ours that cannot be read: damaged, or another schema
│   ├── BaselineError   a baseline that does not fit: other device, other suite
│   ├── ModelError      a checkpoint or text that is missing or damaged
│   └── StorageError    a folder that cannot be written: full, read-only or somebody else's
├── CacheError      an engine cache entry that fails its digest
├── EngineError     a backend could not prepare or load an engine
└── RoundError      a measuring process crashed, hung or answered nonsense
"""

from __future__ import annotations

import errno
from collections.abc import Sequence
from dataclasses import dataclass

from perfgate.fault_kinds import ProcessFault
from perfgate.printable import printable, printable_lines


class PerfgateError(Exception):
    """Root of everything perfgate raises on purpose; its text is one clear line, without control codes.

    kind: what ended a process, where that is known.
    """

    def __init__(self, text: str = "", kind: ProcessFault | None = None) -> None:
        super().__init__(printable_lines(text))
        self.kind = kind


class UsageError(PerfgateError):
    """The request cannot be carried out as written."""


class RecordError(UsageError):
    """A file written by perfgate is damaged or of another schema."""


class BaselineError(UsageError):
    """A baseline does not fit this device or suite."""


class ModelError(UsageError):
    """A checkpoint or a text that a suite names is missing or damaged."""


class StorageError(UsageError):
    """A file cannot be written: the disk is full, the folder read-only or somebody else's."""

    @staticmethod
    def of(exc: OSError, path: object = None) -> StorageError:
        """One line on what could not be written, and what to do; what is whole on the disk stays so."""
        where = path or exc.filename or "a file"
        return StorageError(f"{where} cannot be written: {exc.strerror}; {_STORAGE.get(exc.errno or 0, _OTHERWISE)}")

    @staticmethod
    def is_of(exc: OSError) -> bool:
        """Whether an error is of this kind: a place that is full, read-only or not ours."""
        return exc.errno in _STORAGE


_ROOM = "make room (perfgate cache prune --max-bytes 20GB), then run again: finished rounds are kept"
_OTHERWISE = "then run again: finished rounds are kept"
_PLACE = "name a folder that you may write to (--state, --out; of pytest --perfgate-state, --perfgate-out)"
_STORAGE = {
    errno.ENOSPC: _ROOM, errno.EDQUOT: _ROOM, errno.EFBIG: _ROOM,
    errno.EROFS: _PLACE, errno.EACCES: _PLACE, errno.EPERM: _PLACE, errno.ENOTDIR: _PLACE,
}  # fmt: skip


class CacheError(PerfgateError):
    """An engine cache entry fails its digest or cannot be read."""


class EngineError(PerfgateError):
    """A backend could not prepare, load or run an engine."""


class RoundError(PerfgateError):
    """A measuring process crashed, hung or answered nonsense."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One mistake in a file: where it stands and what would be right."""

    where: str  # "suite.yaml:12 engines.fp32.precision"
    what: str  # "'fp31' is not allowed; ... did you mean 'fp32'?"

    def __str__(self) -> str:
        return printable(f"{self.where}: {self.what}")


class SuiteError(UsageError):
    """Every fault of a suite file, one line each."""

    def __init__(self, faults: Sequence[Fault]) -> None:
        self.faults = tuple(faults)
        count = f"{len(self.faults)} fault" + ("s" if len(self.faults) != 1 else "")
        super().__init__("\n  ".join([f"the suite has {count}:", *map(str, self.faults)]))

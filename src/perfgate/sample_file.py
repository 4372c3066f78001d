"""Samples of a gate's rounds on disk while nobody reads them, so that a long gate's memory does not grow by them."""

from __future__ import annotations

import os
import tempfile
import weakref
from array import array
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from perfgate.errors import StorageError
from perfgate.floats import Floats
from perfgate.record import CaseRound, Round

_BYTES = 8  # of a number


class SampleFile:
    """A file without a name: its room is free again when nobody reads it any more, however the process ends."""

    def __init__(self, folder: Path) -> None:
        """The folder is made, and the file in it, for the first round."""
        self._folder, self._size = folder, 0

    def put_away(self, done: Round) -> Round:
        """The same round, its samples in the file; in memory, as they were, where the disk does not take them."""
        try:
            return replace(done, cases=tuple(map(self._put_away, done.cases)))
        except OSError:
            return done

    def _put_away(self, case: CaseRound) -> CaseRound:
        return replace(case, samples={name: self._stored(values) for name, values in case.samples.items()})

    def _stored(self, values: Floats) -> Floats:
        data, begin = memoryview(bytes(values)), self._size
        while data:
            written = os.pwrite(self._handle, data, self._size)
            self._size, data = self._size + written, data[written:]
        return Floats.stored(_Place(self, begin, len(values)))

    @cached_property
    def _handle(self) -> int:
        self._folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=self._folder) as file:
            handle = os.dup(file.fileno())
        weakref.finalize(self, os.close, handle)
        return handle

    def read(self, begin: int, count: int) -> array[float]:
        """So many numbers from a byte on.

        Raises:
            StorageError: the disk does not give them back.
        """
        found = array("d", bytes(_BYTES * count))
        try:
            is_whole = os.preadv(self._handle, [found], begin) == _BYTES * count
        except OSError:
            is_whole = False
        if not is_whole:
            what = f"samples of a round cannot be read back from the disk of {self._folder}"
            raise StorageError(f"{what}; when it is in order, run again: finished rounds are kept")
        return found


@dataclass(frozen=True, slots=True)
class _Place:
    """Where numbers lie."""

    file: SampleFile
    begin: int
    count: int

    def __len__(self) -> int:
        return self.count

    def read(self) -> array[float]:
        return self.file.read(self.begin, self.count)

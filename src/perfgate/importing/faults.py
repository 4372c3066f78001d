"""What is wrong with imported files, all of it at once."""

from __future__ import annotations

from collections.abc import Sequence

from perfgate.errors import Fault, UsageError
from perfgate.record import printable

_SHOWN = 40  # faults that are listed; the others are counted


class ImportedFileError(UsageError):
    """Every fault of the files to import, one line each."""

    def __init__(self, faults: Sequence[Fault]) -> None:
        self.faults = tuple(faults)
        if len(faults) == 1:
            super().__init__(f"not imported: {faults[0]}")
            return
        shown = [f"not imported, {len(faults)} faults:", *map(str, self.faults[:_SHOWN])]
        if len(faults) > _SHOWN:
            shown.append(f"and {len(faults) - _SHOWN} more")
        super().__init__("\n  ".join(shown))


class Faults:
    """The faults found so far, over all files."""

    def __init__(self) -> None:
        self.found: list[Fault] = []

    def add(self, where: str, found: str, expected: str) -> None:
        """One line: `where` is file and place."""
        self.found.append(Fault(printable(where)[:300], f"found {printable(found)[:80]}, expected {expected}"))

    def stop(self) -> None:
        """Go on only without faults.

        Raises:
            ImportedFileError: with every fault found so far.
        """
        if self.found:
            raise ImportedFileError(self.found)

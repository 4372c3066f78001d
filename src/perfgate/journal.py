"""The run journal: every finished round at once on disk, so that a killed run resumes."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path

from perfgate.errors import RecordError
from perfgate.record import Round, decode, encode

JOURNAL_SCHEMA = 1


@dataclass(frozen=True, slots=True)
class Header:
    """What a journal's rounds belong to. Rounds are taken up again only if all of it is the same."""

    suite: str
    started: str
    fingerprint: str  # specs, workloads, versions, device, planted regressions
    schema: int = JOURNAL_SCHEMA


class Journal:
    """An append-only file of one header line and one line per round."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def resume(self, header: Header) -> tuple[Header, list[Round]]:
        """The header and rounds of an interrupted run of the same kind; else a new, empty journal."""
        found = self._read()
        if found and replace(found[0], started=header.started) == header:
            return found
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.path.write_bytes(encode(header) + b"\n")
        return header, []

    def append(self, done: Round) -> None:
        """Add a round; it is on disk when this returns."""
        with self.path.open("ab") as file:
            file.write(encode(done) + b"\n")
            file.flush()
            os.fsync(file.fileno())

    def close(self) -> None:
        """The run is reported: nothing is left to resume."""
        self.path.unlink(missing_ok=True)

    def _read(self) -> tuple[Header, list[Round]] | None:
        """Header and whole rounds; what a crash left half-written, and all after it, is cut off."""
        if not self.path.exists():
            return None
        lines = self.path.read_bytes().split(b"\n")
        if len(lines) < 2:  # noqa: PLR2004 - a whole header ends in a newline
            return None
        try:
            header = decode(lines[0], Header, self.path)
        except RecordError:
            return None
        good, rounds = len(lines[0]) + 1, []
        for line in lines[1:-1]:  # a whole line ends in a newline: what follows the last one is not whole
            try:
                rounds.append(decode(line, Round, self.path))
            except RecordError:
                break
            good += len(line) + 1
        os.truncate(self.path, good)
        return header, rounds

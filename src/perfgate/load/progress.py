"""How far a load run has come, told from outside: the client's process is not asked, only its files are looked at."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from perfgate.load.rawfile import BLOCK, MAGIC, Kind

_TAIL_BYTES = 1024  # usage stands in the last event or the one before
_TOKENS = re.compile(rb'"completion_tokens":\s*(\d+)')


@dataclass(frozen=True, slots=True)
class Progress:
    """Requests that have ended, of all; finished ones reach the files up to half a second after their end.

    in_flight: None in an open loop, where the files do not tell it. tokens: of the requests that ended, by the
    server's usage; None where it told none. elapsed_s: since the client's process was started. is_over: nothing more
    comes, and what came is being decoded.
    """

    done: int
    total: int
    in_flight: int | None
    tokens: int | None
    elapsed_s: float
    is_over: bool = False

    @property
    def left_s(self) -> float | None:
        """How long the rest takes if it goes on as it went."""
        return self.elapsed_s / self.done * (self.total - self.done) if self.done else None

    @property
    def tokens_per_s(self) -> float | None:
        return None if self.tokens is None else self.tokens / self.elapsed_s


class RawTail:
    """Raw files that are being written, read on from where the last look stopped: headers, and ends of responses."""

    def __init__(self, paths: Sequence[Path]) -> None:
        self._at = dict.fromkeys(paths, len(MAGIC))
        self._ended = set[Path]()
        self.done = 0
        self.tokens: int | None = None

    @property
    def is_over(self) -> bool:
        return len(self._ended) == len(self._at)

    def look(self) -> None:
        for path in self._at:
            if path.exists():
                self._look(path)

    def _look(self, path: Path) -> None:
        with path.open("rb", buffering=0) as file:
            size = os.fstat(file.fileno()).st_size
            while len(header := os.pread(file.fileno(), BLOCK.size, self._at[path])) == BLOCK.size:
                kind, length = BLOCK.unpack(header)
                end = self._at[path] + BLOCK.size + length
                if end > size:
                    return
                self._at[path] = end
                if kind == Kind.RESPONSE:
                    kept = min(length, _TAIL_BYTES)
                    self._count(os.pread(file.fileno(), kept, end - kept))
                elif kind == Kind.END:
                    self._ended.add(path)

    def _count(self, tail: bytes) -> None:
        self.done += 1
        if told := _TOKENS.findall(tail):
            self.tokens = (self.tokens or 0) + int(told[-1])


class Watcher:
    """Looks at a run's raw files and tells how far it has come."""

    def __init__(
        self, paths: Sequence[Path], total: int, concurrency: int | None, tell: Callable[[Progress], None]
    ) -> None:
        """concurrency: None in an open loop."""
        self._tail, self._total, self._concurrency, self._tell = RawTail(paths), total, concurrency, tell
        self._begin = time.monotonic()

    def look(self) -> None:
        tail = self._tail
        tail.look()
        left = self._total - tail.done
        in_flight = None if self._concurrency is None else min(self._concurrency, left)
        elapsed_s = time.monotonic() - self._begin
        self._tell(Progress(tail.done, self._total, in_flight, tail.tokens, elapsed_s, tail.is_over))


def count_responses(path: Path) -> int:
    """Finished requests of a run, also of one under way."""
    tail = RawTail([path])
    tail.look()
    return tail.done

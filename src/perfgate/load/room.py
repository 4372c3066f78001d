"""What a run has kept so far, against its bounds: so that a server that floods fills neither memory nor disk."""

from __future__ import annotations

from collections.abc import Sequence
from heapq import nlargest

from perfgate.load.bounds import READ_COST, Bounds
from perfgate.load.connection import Connection
from perfgate.load.rawfile import Read

LARGE_READ = 4 << 10  # no token's event is so large: only behind such a read a response is weighed at once
_WORDS_BYTES = 512  # of a response that is not kept


def size_of(reads: Sequence[Read]) -> int:
    return sum([len(data) for _, data, _ in reads]) + READ_COST * len(reads)


class Room:
    """What a run holds in memory and has written, and how much of it it may.

    answers: of each request, in the order of sending (`answer_bytes`); most_in_flight: of them at a time.
    """

    __slots__ = ("_answers", "_bounds", "_most", "_most_held", "_most_written", "held", "why_full", "written")

    def __init__(self, bounds: Bounds, answers: Sequence[int], most_in_flight: int) -> None:
        self._bounds, self._answers = bounds, answers
        self._most = [bounds.of_response(one) for one in answers]
        self._most_held = bounds.of_run(nlargest(most_in_flight, answers))
        self._most_written = bounds.of_run(answers)
        self.held = self.written = 0
        self.why_full = ""  # the run's one line where it has no room left

    def weigh(self, conn: Connection) -> bool:
        """Count what came since the last look; whether the response is larger than it may be."""
        assert conn.index is not None
        size = size_of(conn.reads[conn.counted :])
        conn.counted = len(conn.reads)
        conn.bytes += size
        self.held += size
        if self.held > self._most_held:
            self._fill(self._most_held, "in memory")
        return conn.bytes > self._most[conn.index]

    def cut(self, conn: Connection) -> None:
        """Let go of a response but for its first words, which tell what it was."""
        self.held -= conn.bytes
        conn.reads[:] = [(at, data[:_WORDS_BYTES], stamp) for at, data, stamp in conn.reads[:1]]
        conn.bytes = conn.counted = 0
        self.weigh(conn)

    def is_flood(self, conn: Connection) -> bool:
        """Whether a response that was not to go on is larger than a real server's would be in the end."""
        assert conn.index is not None
        return conn.bytes > self._bounds.when_given_up(self._answers[conn.index])

    def write(self, size: int) -> bool:
        """A response leaves memory; whether there is room for it on disk."""
        self.held -= size
        if self.written + size > self._most_written:
            self._fill(self._most_written, "on disk")
            return False
        self.written += size
        return True

    def words(self, index: int) -> str:
        """What was expected of a response that is not kept."""
        if self.why_full:
            return "the run has no room left"
        return f"expected at most {self._most[index]:,} for the tokens asked for"

    def _fill(self, most: int, where: str) -> None:
        self.why_full = self.why_full or (
            f"the server sent more than {most / 1e6:,.0f} MB, the most that is kept {where} for the tokens asked for; "
            "look at what it answers, or ask for fewer requests a run"
        )

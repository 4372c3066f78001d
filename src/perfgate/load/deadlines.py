"""What has become of a request that says nothing: ended unseen, overdue, or still within its time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from perfgate.load.connection import Connection, State
from perfgate.load.rawfile import Outcome
from perfgate.load.target import Target
from perfgate.load.wire import Progress, progress

_QUIET_NS = 200_000_000  # a response that says nothing for so long is looked at
_NS = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Deadlines:
    """The deadlines of a target's requests. has_token: whether received bytes of a stream hold a token.

    Until the first token only the first-token deadline counts: a server may answer with its head at once and queue
    the request for long.
    """

    target: Target
    has_token: Callable[[bytes], bool]

    def of(self, conn: Connection, now_ns: int) -> Outcome | None:
        """How the request of a connection ended, or None while it may go on."""
        if conn.state is State.OPENING:
            is_late = now_ns - conn.since_ns > self.target.timeouts.connect_s * _NS
            return Outcome.CONNECT_DEADLINE if is_late else None
        quiet_ns = now_ns - conn.reads[-1][0] if conn.reads else 0
        overdue = self._overdue(conn, now_ns - conn.sent_ns, quiet_ns)
        if overdue is None and quiet_ns <= _QUIET_NS:
            return None
        ended = _ended_unseen(conn)
        return overdue if ended is None else ended

    def _overdue(self, conn: Connection, since_ns: int, quiet_ns: int) -> Outcome | None:
        limits = self.target.timeouts
        if self.target.stream and since_ns > limits.first_token_s * _NS and not self._token_came(conn):
            return Outcome.FIRST_TOKEN_DEADLINE
        if quiet_ns > limits.idle_s * _NS and self._token_came(conn):
            return Outcome.IDLE_DEADLINE
        return Outcome.TOTAL_DEADLINE if since_ns > limits.total_s * _NS else None

    def _token_came(self, conn: Connection) -> bool:
        if not conn.has_token and conn.looked != len(conn.reads):
            conn.looked = len(conn.reads)
            conn.has_token = bool(conn.reads) and (not self.target.stream or self.has_token(conn.received))
        return conn.has_token


def _ended_unseen(conn: Connection) -> Outcome | None:
    """What came is looked at once: its end may stand where the loop did not look for it."""
    if conn.checked == len(conn.reads):
        return None
    conn.checked = len(conn.reads)
    return {Progress.WHOLE: Outcome.ENDED, Progress.BROKEN: Outcome.BROKEN}.get(progress(conn.received))

"""What has become of a request that says nothing: ended unseen, overdue, or still within its time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from perfgate.load.connection import Connection, State
from perfgate.load.rawfile import Outcome
from perfgate.load.target import Target
from perfgate.load.wire import Progress, progress

_QUIET_NS = 500_000_000
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
        limits = self.target.timeouts
        if conn.state is State.OPENING:
            return Outcome.CONNECT_DEADLINE if now_ns - conn.since_ns > limits.connect_s * _NS else None
        if (ended := self._ended_unseen(conn, now_ns)) is not None:
            return ended
        if self._is_oversized(conn):
            return Outcome.OVERSIZED
        since_ns = now_ns - conn.sent_ns
        if self.target.stream and since_ns > limits.first_token_s * _NS and not self._token_came(conn):
            return Outcome.FIRST_TOKEN_DEADLINE
        quiet_ns = now_ns - conn.reads[-1][0] if conn.reads else 0
        if quiet_ns > limits.idle_s * _NS and self._token_came(conn):
            return Outcome.IDLE_DEADLINE
        return Outcome.TOTAL_DEADLINE if since_ns > limits.total_s * _NS else None

    def _token_came(self, conn: Connection) -> bool:
        if not conn.has_token and conn.looked != len(conn.reads):
            conn.looked = len(conn.reads)
            conn.has_token = bool(conn.reads) and (not self.target.stream or self.has_token(conn.received))
        return conn.has_token

    @staticmethod
    def _ended_unseen(conn: Connection, now_ns: int) -> Outcome | None:
        """A response that became quiet is looked at once: its end may stand where the loop did not look."""
        if not conn.reads or conn.checked == len(conn.reads) or now_ns - conn.reads[-1][0] < _QUIET_NS:
            return None
        conn.checked = len(conn.reads)
        return {Progress.WHOLE: Outcome.ENDED, Progress.BROKEN: Outcome.BROKEN}.get(progress(conn.received))

    def _is_oversized(self, conn: Connection) -> bool:
        conn.bytes += sum(len(data) for _, data, _ in conn.reads[conn.counted :])
        conn.counted = len(conn.reads)
        return conn.bytes > self.target.most_response_bytes

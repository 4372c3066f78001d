"""The timed loop: sends when it is due, stamps what comes, and decodes nothing."""

from __future__ import annotations

import gc
import select
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace

from perfgate.load.alarm import Alarm
from perfgate.load.clock import Offset, take_offset
from perfgate.load.connection import ANCILLARY_BYTES, READ_BYTES, Connection, State
from perfgate.load.deadlines import Deadlines
from perfgate.load.pool import Pool
from perfgate.load.rawfile import LoopEnd, Outcome, RawFile, RawResponse, Read, Timing
from perfgate.load.room import LARGE_READ, Room

_BATCH = 512
_SPIN_NS = 120_000  # an alarm may ring so late; the rest is spun
_CALM_NS = 1_000_000  # nothing is written where a request is due so soon
_SWEEP_NS = 100_000_000
_UNWRITTEN_NS = 500_000_000  # a finished response waits no longer for a calm moment to be written
_SPARE = 32  # connections kept open beyond those in use, where the concurrency is not limited
_LAST_LOOK_S = 0.005
_NEVER_NS = 1 << 62
_BUSY = State.BUSY

_UNREACHED = frozenset(
    {
        Outcome.REFUSED,
        Outcome.CONNECT_DEADLINE,
        Outcome.FIRST_TOKEN_DEADLINE,
        Outcome.IDLE_DEADLINE,
        Outcome.TOTAL_DEADLINE,
    }
)


@dataclass(frozen=True, slots=True)
class Schedule:
    """Requests as they go over the wire, in the order of sending; due_ns counts from the start (None: closed loop).

    answer_bytes: of each, the largest answer to be expected (`bounds.answer_bytes`).
    """

    requests: Sequence[bytes]
    due_ns: Sequence[int | None]
    answer_bytes: Sequence[int]
    concurrency: int | None

    @property
    def most_in_flight(self) -> int:
        return min(self.concurrency or len(self.requests), len(self.requests))

    @property
    def first_connections(self) -> int:
        """How many to open before the clock starts."""
        return self.most_in_flight if self.concurrency else min(2 * _SPARE, len(self.requests))


@dataclass(frozen=True, slots=True)
class _Done:
    """A request that ended, as it waits to be written."""

    index: int
    outcome: Outcome
    connection: tuple[int, int]
    timing: Timing
    reads: Sequence[Read]
    exc: OSError | None
    size: int = 0  # as `room.size_of` has it

    def raw(self) -> RawResponse:
        return RawResponse.of(self.index, self.outcome, self.connection, self.timing, self.reads, self.exc)


class Loop:
    """One run of a schedule over an open pool."""

    def __init__(self, schedule: Schedule, pool: Pool, deadlines: Deadlines, raw: RawFile) -> None:
        self._schedule, self._pool, self._deadlines, self._raw = schedule, pool, deadlines, raw
        self._limit, self._count = schedule.most_in_flight, len(schedule.requests)
        self._next, self._in_flight, self._left = 0, 0, self._count
        self._room = Room(deadlines.target.bounds, schedule.answer_bytes, self._limit)
        self._freed = deque[int]()
        self._pending = deque[_Done]()
        self._offsets = list[Offset]()
        self._is_starting, self._is_sweep_due = False, False
        self._unreached, self._gave_up, self._turns = 0, "", 0
        self._start_ns, self._wake_ns = 0, 0
        self._poll, self._conns = pool.epoll.poll, pool.connections
        self._alarm, self._sweeper = Alarm(), Alarm()
        for alarm in (self._alarm, self._sweeper):
            pool.epoll.register(alarm.fd, select.EPOLLIN)

    def run(self, start_ns: int, *, is_real_time: bool = False, nice: int = 0) -> LoopEnd:
        """Carry out the schedule from a monotonic time on; all of it is on disk when this returns."""
        self._start_ns = start_ns
        gc.disable()
        try:
            _wait_until(start_ns)
            cpu_ns = time.process_time_ns()
            self._carry_out()
            ended_ns, cpu_ns = time.monotonic_ns(), time.process_time_ns() - cpu_ns
        finally:
            gc.enable()
            self._alarm.close()
            self._sweeper.close()
        end = LoopEnd(start_ns, ended_ns, cpu_ns, self._turns, self._pool.opened, self._gave_up, is_real_time, nice)
        self._write_rest(end)
        return end

    def _carry_out(self) -> None:
        self._freed.extend([self._start_ns] * (self._schedule.concurrency or 0))
        self._start_due(time.monotonic_ns())
        self._sweep(time.monotonic_ns())
        while self._left:
            self._turn()
        for fd, _ in self._pool.epoll.poll(_LAST_LOOK_S, _BATCH):  # bytes that came behind a response's end
            if (conn := self._pool.connections.get(fd)) is not None:
                self._attend(conn)

    def _turn(self) -> None:
        """One question to epoll and all that it answers."""
        self._turns += 1
        is_calm = self._wake_ns == _NEVER_NS and not self._pending  # nearly always, while streams run
        found = self._poll(None if is_calm else self._patience_s(), _BATCH)
        if not found and self._pending:
            self._write(1)
        for fd, _ in found:
            conn = self._conns.get(fd)
            if conn is None:
                self._rang(fd)
            elif conn.state is _BUSY:
                self._read(conn)
            else:
                self._attend(conn)
        if self._wake_ns != _NEVER_NS and (now := time.monotonic_ns()) >= self._wake_ns:
            self._start_due(now)
        if self._is_sweep_due:  # after all reads: what has come is not overdue
            self._sweep(time.monotonic_ns())

    def _rang(self, fd: int) -> None:
        """A descriptor that is no connection's: an alarm, or one that was closed within this turn."""
        self._alarm.clear(fd)
        self._is_sweep_due |= self._sweeper.clear(fd)

    def _read(self, conn: Connection) -> None:
        """The hot path: take what came, stamp it, and see whether it ended the response."""
        receive, keep, ends = conn.recvmsg, conn.append, conn.feed  # as locals: a call through a slot is looked up
        try:
            data, stamp, _, _ = receive(READ_BYTES, ANCILLARY_BYTES)
        except BlockingIOError:
            return
        except OSError as exc:
            self._lost(conn, exc)
            return
        now = time.monotonic_ns()
        if not data:
            self._lost(conn)
            return
        keep((now, data, stamp))
        if len(data) >= LARGE_READ and self._overflows(conn, now):
            return
        if ends(data):
            self._ended(conn, now)
        if now >= self._wake_ns:
            self._start_due(now)

    def _overflows(self, conn: Connection, now: int) -> bool:
        """Whether a response is larger than it may be, or the run than what is kept of it; it has ended then."""
        if self._room.weigh(conn):
            self._finish(conn, Outcome.OVERSIZED, now)
        elif self._room.why_full:
            self._give_up(self._room.why_full, now, Outcome.OVERSIZED)
        return conn.index is None

    def _patience_s(self) -> float | None:
        """How long epoll may wait: not at all where something is due at once or waits to be written, else for ever."""
        until_due = self._wake_ns - time.monotonic_ns()
        if until_due <= _SPIN_NS:
            return 0.0
        if self._wake_ns != _NEVER_NS:
            self._alarm.set(self._wake_ns - _SPIN_NS)
        return 0.0 if self._pending and until_due > _CALM_NS else None

    def _start_due(self, now: int) -> None:
        """Send all that is due and has a slot. Not entered twice: a request may end while it is started."""
        if self._is_starting:
            return
        self._is_starting = True
        dues = self._schedule.due_ns
        while self._next < self._count and self._in_flight < self._limit and not self._gave_up:
            due = dues[self._next]
            due_ns = now if due is None else self._start_ns + due
            if due_ns > now:
                break
            self._start(self._next, due_ns)
            now = time.monotonic_ns()
        self._is_starting = False
        self._wake_ns = self._next_due_ns()

    def _next_due_ns(self) -> int:
        if self._next == self._count or self._in_flight >= self._limit:
            return _NEVER_NS
        return self._start_ns + (self._schedule.due_ns[self._next] or 0)

    def _start(self, index: int, due_ns: int) -> None:
        freed_ns = self._freed.popleft() if self._freed else 0
        self._next, self._in_flight = index + 1, self._in_flight + 1
        self._begin(index, due_ns, freed_ns)

    def _begin(self, index: int, due_ns: int, freed_ns: int) -> None:
        try:
            conn = self._pool.take()
        except OSError as exc:
            timing = Timing(due_ns, freed_ns, 0, 0, time.monotonic_ns())
            self._done(_Done(index, Outcome.REFUSED, (self._pool.opened, 0), timing, (), exc))
            return
        conn.take_up(index, due_ns, freed_ns)
        if conn.state is State.IDLE:
            self._send(conn)

    def _send(self, conn: Connection) -> None:
        assert conn.index is not None
        conn.state, conn.uses = State.BUSY, conn.uses + 1
        conn.unsent = memoryview(self._schedule.requests[conn.index])
        conn.sent_ns = time.monotonic_ns()
        if self._schedule.due_ns[conn.index] is None and not conn.opening_ns:
            conn.due_ns = conn.sent_ns  # in a closed loop a request is due when it is sent
        self._send_on(conn)

    def _send_on(self, conn: Connection) -> None:
        assert conn.unsent is not None
        try:
            conn.unsent = conn.unsent[conn.send(conn.unsent) :]
        except BlockingIOError:
            pass  # the socket's buffer is full: epoll tells when it is not
        except OSError as exc:
            self._lost(conn, exc)
            return
        state = State.SENDING if conn.unsent else State.BUSY
        if state is not conn.state:
            conn.state = state
            self._pool.watch(conn)

    def _attend(self, conn: Connection) -> None:
        """A connection in any state but the hot one."""
        match conn.state:
            case State.OPENING:
                self._open_on(conn)
            case State.IDLE:
                if self._pool.hear(conn) and conn.last_index is not None:
                    self._raw.stray(conn.last_index)
            case _:
                self._send_on(conn)
                if conn.index is not None:
                    self._read(conn)

    def _open_on(self, conn: Connection) -> None:
        try:
            self._pool.advance(conn)
        except OSError as exc:
            if conn.index is not None:  # else the pool dropped it
                self._finish(conn, Outcome.REFUSED, time.monotonic_ns(), exc)
            return
        if conn.state is State.IDLE and conn.index is not None:
            self._send(conn)

    def _ended(self, conn: Connection, now: int) -> None:
        if not conn.finder.is_broken:
            self._finish(conn, Outcome.ENDED, now)
        elif conn.last_index is None or not conn.drop_stray():
            self._finish(conn, Outcome.BROKEN, now)
        else:
            self._raw.stray(conn.last_index)
            if conn.reads and conn.feed(conn.reads[0][1]):
                self._finish(conn, Outcome.BROKEN if conn.finder.is_broken else Outcome.ENDED, now)

    def _lost(self, conn: Connection, exc: OSError | None = None) -> None:
        """The connection is gone: the end of a body that has no other, a response cut off, or nothing begun yet."""
        if conn.never_arrived:
            self._send_again(conn)
        elif exc is None and conn.finder.ends_by_close:
            self._finish(conn, Outcome.ENDED, time.monotonic_ns())
        else:
            self._finish(conn, Outcome.CLOSED if exc is None else Outcome.RESET, time.monotonic_ns(), exc)

    def _send_again(self, conn: Connection) -> None:
        """Over another connection, with the times that the request had."""
        index, due_ns, freed_ns = conn.index, conn.due_ns, conn.freed_ns
        assert index is not None
        self._pool.drop(conn)
        self._begin(index, due_ns, freed_ns)

    def _finish(self, conn: Connection, outcome: Outcome, now: int, exc: OSError | None = None) -> None:
        assert conn.index is not None
        is_oversized = self._room.weigh(conn) or outcome is Outcome.OVERSIZED
        if is_oversized or (outcome is Outcome.GAVE_UP and self._room.is_flood(conn)):
            outcome, exc = Outcome.OVERSIZED, OSError(self._room.words(conn.index))
            self._room.cut(conn)
        timing = Timing(conn.due_ns, conn.freed_ns, conn.opening_ns, conn.sent_ns, now)
        done = _Done(conn.index, outcome, (conn.number, conn.uses), timing, conn.reads, exc, conn.bytes)
        head, conn.last_index = conn.finder.head, conn.index
        conn.sum_sent += len(self._schedule.requests[conn.index])
        is_kept = outcome is Outcome.ENDED and not conn.unsent and not conn.finder.ends_by_close
        conn.clear()
        if is_kept and head is not None and head.keeps_alive:
            self._pool.give_back(conn)
        else:
            self._pool.drop(conn)
        self._done(done)

    def _done(self, done: _Done) -> None:
        self._pending.append(done)
        self._in_flight, self._left = self._in_flight - 1, self._left - 1
        if self._schedule.concurrency:
            self._freed.append(done.timing.ended_ns)
        if done.outcome is Outcome.ENDED:
            self._unreached = 0
        self._unreached += done.outcome in _UNREACHED
        self._start_due(done.timing.ended_ns)

    def _sweep(self, now: int) -> None:
        """What has to be done now and then: clocks, deadlines, spare connections, old responses to disk."""
        self._is_sweep_due = False
        self._sweeper.set(now + _SWEEP_NS)
        self._offsets.append(take_offset())
        for conn in tuple(self._pool.connections.values()):
            self._look_at(conn, now)
        limits = self._deadlines.target.timeouts
        if now - self._start_ns > limits.run_s * 1e9:
            self._give_up(f"the run took more than {limits.run_s:g} s", now)
        if self._unreached >= limits.give_up_after:
            self._give_up(f"{self._unreached} requests in a row met a deadline or no server", now)
        if self._room.why_full:
            self._give_up(self._room.why_full, now, Outcome.OVERSIZED)
        if self._schedule.concurrency is None:
            self._pool.spare(min(_SPARE, self._count - self._next))
        while self._pending and now - self._pending[0].timing.ended_ns > _UNWRITTEN_NS:
            self._write(1)

    def _look_at(self, conn: Connection, now: int) -> None:
        """End a request that is overdue or too large, and a connection that does not open."""
        if conn.state is State.IDLE or (conn.index is not None and self._overflows(conn, now)):
            return
        if (outcome := self._deadlines.of(conn, now)) is None:
            return
        if conn.index is not None:
            self._finish(conn, outcome, now)
        elif conn.fd in self._pool.connections:  # not closed by what an earlier one's end led to
            self._pool.drop(conn)

    def _give_up(self, why: str, now: int, outcome: Outcome = Outcome.GAVE_UP) -> None:
        if self._gave_up:
            return
        self._gave_up = why
        for conn in tuple(self._pool.connections.values()):
            if conn.index is not None:
                self._finish(conn, outcome, now)
        for index in range(self._next, self._count):
            due = self._schedule.due_ns[index]
            timing = Timing(0 if due is None else self._start_ns + due, 0, 0, 0, now)
            self._pending.append(_Done(index, Outcome.NOT_SENT, (0, 0), timing, (), None))
        self._next, self._left = self._count, 0

    def _write(self, most: int) -> None:
        """Put finished responses and the clock offsets before them on disk."""
        if self._offsets:
            self._raw.offsets(self._offsets)
            self._offsets.clear()
        for _ in range(min(most, len(self._pending))):
            done = self._pending.popleft()
            if not self._room.write(done.size):
                done = replace(done, outcome=Outcome.OVERSIZED, reads=(), exc=OSError(self._room.words(done.index)))
            self._raw.response(done.raw())

    def _write_rest(self, end: LoopEnd) -> None:
        self._offsets.append(take_offset())
        self._write(len(self._pending))
        self._raw.end(end)


def _wait_until(at_ns: int) -> None:
    while (left := at_ns - time.monotonic_ns()) > 0:
        if left > _CALM_NS:
            time.sleep((left - _CALM_NS) / 1e9)

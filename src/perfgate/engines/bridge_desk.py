"""The engine's side of a bridge: requests that wait, which of them run next, and what is told of those that run."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from perfgate.engines.base import Engine, LiveEngine, Request, TokenEvent
from perfgate.engines.bridge_ask import Limits, RefusalError, check_length
from perfgate.engines.bridge_line import EngineEnd, Frame, Kind, Wanted, packed, packed_tokens, request_of
from perfgate.errors import EngineError

MOST_DELAYS = 20

Encode = Callable[[str], list[int]]


@dataclass(frozen=True, slots=True)
class Waiting:
    """A request that waits. came_ns: monotonic, when the HTTP side had all of it."""

    request: Request
    came_ns: int

    @property
    def lengths(self) -> tuple[int, int]:
        """What requests of one static batch share."""
        return len(self.request.prompt), self.request.output_len


def next_batch(waiting: Sequence[Waiting], most: int) -> list[Waiting]:
    """The oldest request and those of its lengths, in the order in which they came, `most` at most."""
    same = (one for one in waiting if one.lengths == waiting[0].lengths)
    return [one for one, _ in zip(same, range(most), strict=False)]


def patience_s(waiting: Sequence[Waiting], idle_ns: int, now_ns: int, queue_delay_s: float) -> float:
    """How long an idle engine still waits for more requests: `queue_delay_s` after the last one came.

    The oldest waits `MOST_DELAYS` times as long at most; what it waited while the engine was busy does not count.
    So the requests of a closed loop, which all come again when their batch has ended, make one batch again.
    """
    last, first = (max(one.came_ns, idle_ns) for one in (waiting[-1], waiting[0]))
    return min(last / 1e9 + queue_delay_s, first / 1e9 + MOST_DELAYS * queue_delay_s) - now_ns / 1e9


class Desk:
    """Takes requests off the line and tells what they got."""

    def __init__(self, line: EngineEnd, encode: Encode, limits: Limits) -> None:
        self._line, self._encode, self._limits = line, encode, limits
        self._waiting = deque[Waiting]()
        self._told, self._gone = list[bytes](), list[int]()

    @property
    def is_open(self) -> bool:
        """Whether requests may still come."""
        return self._line.is_open

    def join(self, places: int, *, is_idle: bool) -> Sequence[Request] | None:
        """The source of a live engine: what waits, as far as there are places."""
        self.flush()
        self._take(None if is_idle and not self._waiting else 0)
        if not self.is_open:
            return None
        return [self._waiting.popleft().request for _ in range(min(places, len(self._waiting)))]

    def left(self) -> Sequence[int]:
        """Those whose clients are gone."""
        gone, self._gone = self._gone, []
        return gone

    def batch(self, most: int, queue_delay_s: float) -> list[Request]:
        """The next static batch; waits for one. It is not full only if no further request came for long enough.

        Empty: no more will come.
        """
        idle_ns = time.monotonic_ns()
        self._take(0 if self._waiting else None)
        while self.is_open:
            left_s = None
            if self._waiting:
                batch = next_batch(self._waiting, most)
                left_s = patience_s(self._waiting, idle_ns, time.monotonic_ns(), queue_delay_s)
                if len(batch) == most or left_s <= 0:
                    return self._chosen(batch)
            self._take(left_s)
        return []

    def _chosen(self, batch: Sequence[Waiting]) -> list[Request]:
        self._gone.clear()  # a batch that runs is not changed
        chosen = {one.request.id for one in batch}
        self._waiting = deque(one for one in self._waiting if one.request.id not in chosen)
        return [one.request for one in batch]

    def tell(self, event: TokenEvent) -> None:
        """Keep what a request got until `flush`; a step's events leave together."""
        if event.tokens:
            self._told.append(packed_tokens(event.request, event.tokens))

    @property
    def untold(self) -> int:
        """Events that wait for `flush`."""
        return len(self._told)

    def flush(self) -> None:
        """Send what was told."""
        if self._told:
            self._line.send(self._told)
            self._told.clear()

    def _take(self, timeout_s: float | None) -> None:
        for frame in self._line.receive(timeout_s):
            if frame.kind is Kind.GONE:
                self._waiting = deque(one for one in self._waiting if one.request.id != frame.request)
                self._gone.append(frame.request)
            else:
                self._queue(request_of(frame))

    def _queue(self, wanted: Wanted) -> None:
        prompt = wanted.prompt
        if isinstance(prompt, str):
            prompt = tuple(self._encode(prompt))
            try:
                check_length(len(prompt), wanted.output_len, self._limits)
            except RefusalError as exc:
                self._line.send([packed(Frame(Kind.REFUSED, wanted.id, 0, str(exc).encode()))])
                return
            self._line.send([packed(Frame(Kind.PROMPT, wanted.id, len(prompt)))])
        self._waiting.append(Waiting(Request(wanted.id, prompt, wanted.output_len), wanted.came_ns))


def live(engine: Engine) -> LiveEngine:
    """The engine as one that takes requests while others run.

    Raises:
        EngineError: it does not.
    """
    if not isinstance(engine, LiveEngine):
        raise EngineError("the backend batches in flight only what is known before: it cannot be served so")
    return engine


def run_live(engine: LiveEngine, desk: Desk, most: int) -> None:
    """Serve an engine that batches in flight until the line ends.

    Raises:
        EngineError: a step failed.
    """
    _tell_all(engine.generate_live(desk, most), desk, most + 1)  # flushed by the next step's `join`


def run_static(engine: Engine, desk: Desk, most: int, queue_delay_s: float) -> None:
    """Serve an engine batch by batch until the line ends.

    Raises:
        EngineError: a batch failed.
    """
    while batch := desk.batch(most, queue_delay_s):
        _tell_all(engine.generate(batch, len(batch)), desk, len(batch))
        desk.flush()


def _tell_all(events: Iterator[TokenEvent], desk: Desk, most: int) -> None:
    """Tell events, at the latest when there are `most` of them or when those of another moment come."""
    last_ns = 0
    for event in events:
        if event.time_ns != last_ns:
            desk.flush()
            last_ns = event.time_ns
        desk.tell(event)
        if desk.untold >= most:
            desk.flush()
        if not desk.is_open:
            return

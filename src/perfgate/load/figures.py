"""The figures of a load run, from its request records: latencies, throughput, failures, and what was reached."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from perfgate.load.request import RequestRecord, TokenSource
from perfgate.load.spread import Spread, spread
from perfgate.load.window import Window, mean_in_flight, most_in_flight, steady_window

_MS = 1_000_000


@dataclass(frozen=True, slots=True)
class Latencies:
    """Latencies of requests; each failed request counts as one infinitely late sample of each.

    ttft: from due to the first event that brought a token. ttft_from_send: the same from send().
    itl: between events that brought tokens, of one request, all requests pooled.
    itl_per_token: each such gap shared among the tokens of the event that ended it, one sample a token;
    None where the server does not tell how many tokens an event held.
    tpot: (E2EL - TTFT) / (tokens - 1) of a request with two tokens or more (as `benchmark_serving` has it).
    e2el: from due to the last event that brought a token. stream_end: from due to the last byte of the response.
    """

    ttft: Spread
    ttft_from_send: Spread
    itl: Spread
    itl_per_token: Spread | None
    tpot: Spread
    e2el: Spread
    e2el_from_send: Spread
    stream_end: Spread


@dataclass(frozen=True, slots=True)
class Throughput:
    """What came over a stretch of time. Tokens of failed requests stand apart, and are in no rate.

    output_tokens: None where the server does not tell how many came.
    """

    seconds: float
    succeeded: int
    requests_per_s: float
    input_tokens: int
    output_tokens: int | None
    output_tokens_per_s: float | None
    failed_tokens: int


@dataclass(frozen=True, slots=True)
class Reached:
    """The load that was asked for, and the load that was. Rates are in requests a second."""

    concurrency_asked: int | None
    concurrency_mean: float  # in flight, over the steady window, or the whole run where there is none
    concurrency_most: int
    rate_asked: float | None
    rate_sent: float | None


@dataclass(frozen=True, slots=True)
class Figures:
    """Everything that is told of a load run; warm-up requests are in none of it but `reached`.

    steady: latencies of the requests sent within `window`, steady_throughput: tokens that came within it.
    sources: how many requests had their tokens counted from what. stalls: gaps above `stall_s` after which the
    stream went on: they are no failures, and are counted here.
    """

    requests: int
    failures: Mapping[str, int]
    latencies: Latencies
    throughput: Throughput
    window: Window | None
    steady: Latencies | None
    steady_throughput: Throughput | None
    reached: Reached
    sources: Mapping[str, int]
    tokens_per_event: float | None
    stalls: int
    stalled_requests: int
    stall_s: float

    @property
    def failed(self) -> int:
        return sum(self.failures.values())

    @property
    def failed_share(self) -> float:
        return self.failed / self.requests if self.requests else 1.0


def figures(records: Sequence[RequestRecord], concurrency: int | None, stall_s: float = 1.0) -> Figures:
    """Figures of a run. concurrency: as asked, None where it had no limit."""
    counted = [one for one in records if not one.is_warmup]
    window = steady_window(records, concurrency)
    within = [one for one in counted if window and window.holds(one.sent_ns)]
    stalls = [sum(gap > stall_s * 1e9 for gap in one.token_gaps_ns) for one in counted]
    return Figures(
        requests=len(counted),
        failures=dict(sorted(Counter(str(one.fault.kind) for one in counted if one.fault).items())),
        latencies=latencies(counted),
        throughput=_whole(counted),
        window=window,
        steady=latencies(within) if window and within else None,
        steady_throughput=_within(records, window) if window else None,
        reached=_reached(records, counted, concurrency, window),
        sources=dict(sorted(Counter(str(one.source) for one in counted).items())),
        tokens_per_event=_tokens_per_event(counted),
        stalls=sum(stalls),
        stalled_requests=sum(map(bool, stalls)),
        stall_s=stall_s,
    )


def latencies(records: Sequence[RequestRecord]) -> Latencies:
    """Latencies of these requests. A response that was not streamed has no first token and no gaps to time."""
    good = [one for one in records if one.fault is None]
    streamed = [one for one in good if one.is_stream]
    failed = len(records) - len(good)
    return Latencies(
        ttft=spread(_since_due(streamed, "first_token_ns"), failed),
        ttft_from_send=spread(_since_sent(streamed, "first_token_ns"), failed),
        itl=spread([gap for one in streamed for gap in one.token_gaps_ns], failed),
        itl_per_token=_per_token(streamed, failed),
        tpot=spread([tpot for one in streamed if (tpot := one.tpot_ns) is not None], failed),
        e2el=spread(_since_due(good, "last_token_ns"), failed),
        e2el_from_send=spread(_since_sent(good, "last_token_ns"), failed),
        stream_end=spread(_since_due(good, "ended_ns"), failed),
    )


def _since_due(records: Iterable[RequestRecord], moment: str) -> list[int]:
    return [at - one.due_ns for one in records if (at := getattr(one, moment)) is not None]


def _since_sent(records: Iterable[RequestRecord], moment: str) -> list[int]:
    return [at - one.sent_ns for one in records if (at := getattr(one, moment)) is not None and one.sent_ns is not None]


def _per_token(records: Sequence[RequestRecord], failed: int) -> Spread | None:
    if not all(one.tokens_per_event_are_known for one in records):
        return None
    return spread((gap for one in records for gap in one.gaps_per_token_ns), failed)


def _whole(counted: Sequence[RequestRecord]) -> Throughput:
    """From the first send to the end of the last response."""
    sent = [one.sent_ns for one in counted if one.sent_ns is not None]
    seconds = (max(one.ended_ns for one in counted) - min(sent)) / 1e9 if sent else 0.0
    good = [one for one in counted if one.fault is None]
    tokens = [one.output_tokens for one in good]
    output = None if None in tokens else sum(one or 0 for one in tokens)
    failed = sum(one.output_tokens or 0 for one in counted if one.fault)
    return _throughput(seconds, good, output, failed)


def _within(records: Sequence[RequestRecord], window: Window) -> Throughput:
    """Tokens that came within the window, also of requests sent before it; requests that ended within it."""
    good = [one for one in records if one.fault is None]
    tokens = [_tokens_within(one, window) for one in good]
    output = None if None in tokens else round(sum(one or 0 for one in tokens))
    failed = round(sum(_tokens_within(one, window) or 0 for one in records if one.fault))
    return _throughput(window.seconds, [one for one in good if window.holds(one.ended_ns)], output, failed)


def _tokens_within(one: RequestRecord, window: Window) -> float | None:
    """Where only the sum is known, each event is taken to hold an equal share of it."""
    if one.output_tokens is None:
        return None
    whole = sum(one.event_tokens)
    inside = sum(count for at, count in zip(one.event_ns, one.event_tokens, strict=True) if window.holds(at))
    return inside * one.output_tokens / whole if whole else 0.0


def _throughput(seconds: float, good: Sequence[RequestRecord], output: int | None, failed_tokens: int) -> Throughput:
    per_s = 1 / seconds if seconds > 0 else 0.0
    given = sum(one.usage.input_tokens if one.usage.input_tokens is not None else one.input_asked for one in good)
    rate = None if output is None else output * per_s
    return Throughput(seconds, len(good), len(good) * per_s, given, output, rate, failed_tokens)


def _reached(
    records: Sequence[RequestRecord], counted: Sequence[RequestRecord], concurrency: int | None, window: Window | None
) -> Reached:
    sent = [one.sent_ns for one in counted if one.sent_ns is not None]
    whole = Window(min(sent), max(one.ended_ns for one in counted)) if sent else Window(0, 0)
    is_open = any(one.is_scheduled for one in counted)
    return Reached(
        concurrency,
        mean_in_flight(records, window or whole),
        most_in_flight(records),
        _rate([one.due_ns for one in counted]) if is_open else None,
        _rate(sent) if is_open else None,
    )


def _rate(moments_ns: Sequence[int]) -> float | None:
    """Events a second, over the intervals between them."""
    span = max(moments_ns) - min(moments_ns) if moments_ns else 0
    return (len(moments_ns) - 1) / span * 1e9 if span else None


def _tokens_per_event(counted: Sequence[RequestRecord]) -> float | None:
    """Mean tokens of an event that brought any; None where nothing tells."""
    good = [one for one in counted if one.fault is None and one.is_stream and one.output_tokens]
    events = sum(len(one.token_ns) for one in good)
    told = all(one.source is not TokenSource.TEXT_CHUNKS for one in good)
    return sum(one.output_tokens or 0 for one in good) / events if events and told else None

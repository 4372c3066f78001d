from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from perfgate.load.figures import figures, latencies
from perfgate.load.request import FaultKind, RequestFault, RequestRecord, TokenSource, Usage
from perfgate.load.spread import percentile, spread
from perfgate.load.window import Window, mean_in_flight, most_in_flight, steady_window

MS = 1_000_000
DEAD = RequestFault(FaultKind.RESET, "gone")


def record(index: int = 0, sent_ms: float = 0, tokens: int = 3, **more: Any) -> RequestRecord:
    """Due at once, first token 50 ms after send, then one every 10 ms; the stream ends 5 ms after the last."""
    sent = int(sent_ms * MS)
    events = tuple(sent + (50 + 10 * at) * MS for at in range(tokens))
    plain = RequestRecord(
        index, False, 7, tokens, sent, sent, 0, sent, events[-1] + 5 * MS, sent + 40 * MS, events, (1,) * tokens,
        200, "length", Usage(7, tokens), TokenSource.CONTINUOUS_USAGE, tokens,
    )  # fmt: skip
    return replace(plain, **more)


def failed(index: int = 0, **more: Any) -> RequestRecord:
    return record(index, fault=DEAD, **more)


def test_each_latency_is_as_it_is_defined() -> None:
    late = record(due_ns=-20 * MS, ready_ns=-20 * MS, is_scheduled=True)

    found = latencies([late])

    assert found.ttft.mean_s == pytest.approx(0.070)
    assert found.ttft_from_send.mean_s == pytest.approx(0.050)
    assert found.itl.mean_s == pytest.approx(0.010)
    assert found.tpot.mean_s == pytest.approx(0.010)
    assert found.e2el.mean_s == pytest.approx(0.090)
    assert found.e2el_from_send.mean_s == pytest.approx(0.070)
    assert found.stream_end.mean_s == pytest.approx(0.095)


def test_events_of_several_tokens_are_gaps_of_events_and_shares_for_tokens() -> None:
    one = record(tokens=3, event_tokens=(4, 4, 2), output_tokens=10)

    found = latencies([one])

    assert found.itl.count == 2
    assert found.itl_per_token is not None
    assert found.itl_per_token.count == 6
    assert found.itl_per_token.mean_s == pytest.approx(0.020 / 6)
    assert found.tpot.mean_s == pytest.approx(0.020 / 9)
    assert figures([one], 1).tokens_per_event == pytest.approx(10 / 3)


@pytest.mark.parametrize("source", [TokenSource.TEXT_CHUNKS, TokenSource.USAGE_TOTAL])
def test_no_gap_is_shared_among_tokens_that_nobody_counted(source: TokenSource) -> None:
    assert latencies([record(source=source, output_tokens=9)]).itl_per_token is None


def test_text_chunks_give_no_token_rate_and_no_tpot() -> None:
    one = record(source=TokenSource.TEXT_CHUNKS, output_tokens=None)

    found = figures([one], 1)

    assert found.throughput.output_tokens_per_s is None
    assert found.latencies.tpot.count == 0
    assert found.tokens_per_event is None


def test_events_without_tokens_are_neither_first_nor_last() -> None:
    one = record(event_ns=(10 * MS, 50 * MS, 60 * MS, 300 * MS), event_tokens=(0, 1, 1, 0), output_tokens=2)

    found = latencies([one])

    assert found.ttft.mean_s == pytest.approx(0.050)
    assert found.e2el.mean_s == pytest.approx(0.060)
    assert found.itl.count == 1


def test_a_plain_answer_has_no_first_token() -> None:
    found = latencies([record(is_stream=False, event_ns=(80 * MS,), event_tokens=(3,), output_tokens=3)])

    assert (found.ttft.count, found.itl.count, found.tpot.count) == (0, 0, 0)
    assert found.e2el.mean_s == pytest.approx(0.080)


@given(st.lists(st.integers(0, 10**10), min_size=1, max_size=40), st.integers(0, 100))
def test_a_percentile_is_numpys_where_nothing_failed(samples: list[int], percent: int) -> None:
    assert percentile(sorted(samples), 0, percent) == pytest.approx(float(np.percentile(samples, percent)))


@given(st.lists(st.integers(0, 10**10), min_size=1, max_size=40), st.data(), st.integers(0, 100))
def test_a_percentile_never_improves_because_requests_failed(
    samples: list[int], data: st.DataObject, percent: int
) -> None:
    lost = data.draw(st.integers(0, len(samples)))
    kept = sorted(samples)[: len(samples) - lost] if data.draw(st.booleans()) else sorted(samples)[lost:]

    before, after = percentile(sorted(samples), 0, percent), percentile(kept, lost, percent)

    assert before is not None
    assert after is None or after >= before - 1e-6 * before


def test_a_failed_request_is_infinitely_late_everywhere() -> None:
    found = latencies([*(record(at) for at in range(9)), failed(9)])

    for one in (found.ttft, found.e2el, found.tpot, found.stream_end):
        assert (one.count, one.failed, one.max_s, one.p99_s) == (9, 1, None, None)
    assert found.ttft.p50_s == pytest.approx(0.050)
    assert (found.itl.count, found.itl.failed) == (18, 1)


def test_tokens_of_failed_requests_are_told_apart() -> None:
    found = figures([record(0), failed(1, output_tokens=2), record(2, is_warmup=True)], 2)

    assert (found.requests, found.failed, found.failed_share) == (2, 1, 0.5)
    assert found.failures == {"reset": 1}
    assert (found.throughput.succeeded, found.throughput.output_tokens, found.throughput.failed_tokens) == (1, 3, 2)
    assert found.throughput.output_tokens_per_s == pytest.approx(3 / 0.075)


def test_the_steady_window_begins_when_every_slot_has_been_used_once_and_ends_with_the_last_send() -> None:
    records = [record(at, sent_ms=80 * (at // 2) + 10 * (at % 2)) for at in range(8)]

    window = steady_window(records, 2)

    assert window == Window(85 * MS, 250 * MS)
    assert mean_in_flight(records, window) == pytest.approx(2 * 75 / 80, abs=0.05)
    assert most_in_flight(records) == 2


def test_throughput_of_the_window_is_of_the_tokens_that_came_in_it() -> None:
    records = [record(at, sent_ms=75 * at) for at in range(5)]

    found = figures(records, 1)

    assert found.window == Window(75 * MS, 300 * MS)
    assert found.steady_throughput is not None
    assert found.steady_throughput.output_tokens == 9
    assert found.steady_throughput.output_tokens_per_s == pytest.approx(9 / 0.225)
    assert found.steady is not None
    assert found.steady.ttft.count == 3


def test_a_run_that_is_all_ramp_has_no_steady_window() -> None:
    found = figures([record(at, sent_ms=at) for at in range(4)], 4)

    assert found.window is None
    assert found.steady is None


def test_the_rate_that_was_sent_stands_beside_the_one_that_was_asked() -> None:
    records = [record(at, sent_ms=12 * at, due_ns=10 * at * MS, is_scheduled=True) for at in range(11)]

    reached = figures(records, None).reached

    assert reached.rate_asked == pytest.approx(100)
    assert reached.rate_sent == pytest.approx(100 / 1.2)


def test_nothing_at_all_is_no_figure() -> None:
    found = figures([record(0, sent_ns=None, event_ns=(), event_tokens=(), output_tokens=0, fault=DEAD)], 4)

    assert found.latencies.ttft.p50_s is None
    assert found.throughput.requests_per_s == 0
    assert found.reached.concurrency_most == 0
    assert spread([]).count == 0

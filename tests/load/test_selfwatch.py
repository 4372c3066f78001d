from __future__ import annotations

from dataclasses import replace

import pytest

from perfgate.load.decode import Reading
from perfgate.load.rawfile import LoopEnd
from perfgate.load.request import RequestRecord, TokenSource
from perfgate.load.selfwatch import SelfWatch, self_watch

MS = 1_000_000
END = LoopEnd(0, 1000 * MS, 300 * MS, 100, 4)
PROMPT = Reading((20_000,) * 100, 100, 100, 0)
SLOW = Reading((8 * MS,) * 100, 100, 100, 6, (8 * MS,) * 6)
UNSTAMPED = Reading((), 100, 100, 0)


def requests(late_ms: float = 0.0) -> list[RequestRecord]:
    """Eight requests in two slots, 100 ms each, an event every 10 ms."""
    out = []
    for at in range(8):
        sent = (at // 2) * 100 * MS
        events = tuple(sent + 10 * MS * step for step in range(1, 10))
        one = RequestRecord(at, False, 1, 9, sent, sent - int(late_ms * MS), 0, sent, sent + 100 * MS, sent, events)
        out.append(replace(one, event_tokens=(1,) * 9, source=TokenSource.TOKEN_IDS, output_tokens=9))
    return out


def watch(reading: Reading = PROMPT, late_ms: float = 0.0, end: LoopEnd = END) -> SelfWatch:
    return self_watch(requests(late_ms), [reading] * 8, [end], 2)


def test_a_client_in_time_was_not_the_limit() -> None:
    found = watch()

    assert found.limits == ()
    assert found.lag.p99_s == pytest.approx(20e-6)
    assert found.cpu_share == pytest.approx(0.3)
    assert (found.merged_share, found.stamped_share) == (0, 1)


def test_late_reads_that_merged_events_make_the_client_the_limit() -> None:
    (limit,) = watch(SLOW).limits

    assert "8.00 ms late (p99)" in limit
    assert "6.0 % of reads held several" in limit


def test_late_reads_that_merged_nothing_are_no_limit() -> None:
    assert watch(replace(SLOW, merged=0, merged_lags_ns=())).limits == ()


def test_events_that_the_server_sent_together_are_no_limit() -> None:
    assert watch(replace(PROMPT, merged=80, merged_lags_ns=(20_000,) * 80)).limits == ()


def test_a_core_that_is_full_while_reads_hold_several_events_is_the_limit() -> None:
    """Saturated, all reads are alike: nothing tells the client's merging from the server's but the core."""
    full = replace(PROMPT, merged=80, merged_lags_ns=(20_000,) * 80)

    assert "99 % of its core, and 80.0 % of reads" in watch(full, end=replace(END, cpu_ns=990 * MS)).limits[0]


def test_late_sends_make_the_client_the_limit() -> None:
    found = watch(late_ms=3)

    assert "3.00 ms late on average" in found.limits[0]
    assert found.lateness.count == 6  # the burst that opens the loop is told by itself


def test_a_busy_client_without_kernel_stamps_was_the_limit() -> None:
    busy = replace(END, cpu_ns=950 * MS)

    assert "95 % of its core" in watch(UNSTAMPED, end=busy).limits[0]
    assert watch(UNSTAMPED).limits == ()
    assert watch(PROMPT, end=busy).limits == ()


def test_what_it_could_hold_follows_from_its_speed() -> None:
    """800 reads in 1 s at 30 % of a core: 1,867 a second at 70 %, 18 streams of one event in 10 ms."""
    assert watch().holds == 18

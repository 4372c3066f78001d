"""Percentiles of ITL that the client itself may have moved are named, and no others: runs with known truth."""

from __future__ import annotations

import random
from dataclasses import dataclass, replace
from itertools import groupby, pairwise

import pytest
from test_load_figures import failed, record

from perfgate.load.decode import Reading
from perfgate.load.doubts import Doubt, doubts, merged_by_client
from perfgate.load.request import RequestRecord
from perfgate.load.spread import percentile

MS = 1_000_000
PROMPT_NS = 50_000
GAP_S = 0.010


@dataclass
class Run:
    """200 streams of 64 events each."""

    records: list[RequestRecord]
    readings: list[Reading]
    true_gaps: list[int]

    def told(self, percent: float) -> float:
        return percentile(sorted(gap for one in self.records for gap in one.token_gaps_ns), 0, percent) or 0

    def true(self, percent: float) -> float:
        return percentile(sorted(self.true_gaps), 0, percent) or 0

    def doubts(self) -> tuple[Doubt, ...]:
        return doubts(self.records, merged_by_client(self.readings, GAP_S))


def run(*, stall_ms: float = 0.0, stalled: float = 0.0, slow: float = 0.0, pairs: float = 0.0, seed: int = 1) -> Run:
    """Events 10 ms apart. stalled: share of time in which the client stands still, for stall_ms each.

    slow: share of gaps in which the server takes 16 ms. pairs: share of events that it sends with the one before.
    """
    draw = random.Random(seed)  # noqa: S311 - a simulation
    made = Run([], [], [])
    for index in range(200):
        moments = _sent(draw, slow, pairs)
        made.true_gaps += [after - before for before, after in pairwise(moments)]
        reads = [list(events) for _, events in groupby(moments, lambda at: _read_at(at, stall_ms * MS, stalled))]
        stamps = [events[-1] for events in reads for _ in events]
        lags = [int(_read_at(events[-1], stall_ms * MS, stalled)) - events[-1] for events in reads]
        merged = [lag for lag, events in zip(lags, reads, strict=True) if len(events) > 1]
        made.records.append(record(index, tokens=64, event_ns=tuple(stamps), event_tokens=(1,) * 64))
        made.readings.append(Reading(tuple(lags), len(reads), len(reads), len(merged), tuple(merged)))
    return made


def _sent(draw: random.Random, slow: float, pairs: float) -> list[int]:
    at, out = draw.randrange(int(1e9)), list[int]()
    for _ in range(64):
        at += 0 if draw.random() < pairs else int((16 if draw.random() < slow else 10) * MS * draw.gauss(1, 0.002))
        out.append(at)
    return out


def _read_at(at: int, stall_ns: float, stalled: float) -> float:
    """When the loop reads what came then: promptly, or when its stall is over."""
    if not stalled:
        return at + PROMPT_NS
    period = stall_ns / stalled
    into = at % period
    return at - into + stall_ns + PROMPT_NS if into < stall_ns else at + PROMPT_NS


def test_a_prompt_client_leaves_no_doubt() -> None:
    found = run(slow=0.006)

    assert found.told(99) == found.true(99)
    assert found.doubts() == ()


def test_stalls_that_merge_too_little_to_move_a_percentile_leave_no_doubt() -> None:
    found = run(stall_ms=12, stalled=0.01)

    assert merged_by_client(found.readings, GAP_S) > 0
    assert found.told(99) == pytest.approx(found.true(99), rel=0.01)
    assert found.doubts() == ()


def test_half_a_percent_of_merged_reads_are_told_where_they_moved_p99() -> None:
    """The server's own tail of 0.7 % and the client's 0.5 % together pass the 1 % that p99 leaves."""
    found = run(stall_ms=12, stalled=0.03, slow=0.007)

    merged = merged_by_client(found.readings, GAP_S)
    (doubt,) = found.doubts()
    assert merged / len(found.true_gaps) < 0.01
    assert found.told(99) > 1.3 * found.true(99)
    assert doubt.figure == "itl_p99"
    assert doubt.least_s * 1e9 == pytest.approx(found.true(99), rel=0.02)
    assert doubt.told_s * 1e9 == pytest.approx(found.told(99))
    assert doubt.words.startswith("ITL p99 may be as low as 10.")


def test_those_percentiles_are_in_doubt_that_moved() -> None:
    found = run(stall_ms=18, stalled=0.2)

    moved = [f"itl_p{percent}" for percent in (50, 90, 95, 99) if found.told(percent) > 1.02 * found.true(percent)]
    assert moved == ["itl_p95", "itl_p99"]
    assert [one.figure for one in found.doubts()] == moved


@pytest.mark.parametrize("stalled", [0.0, 0.02])
def test_events_that_the_server_sends_together_are_its_own(stalled: float) -> None:
    found = run(pairs=0.4, stall_ms=8, stalled=stalled)

    assert sum(one.merged for one in found.readings) > 2000
    assert merged_by_client(found.readings, GAP_S) < 40


def test_reads_late_by_half_a_gap_are_the_clients_whatever_the_server_does() -> None:
    reading = Reading((8 * MS,) * 100, 100, 100, 30, (8 * MS,) * 30)

    assert merged_by_client([reading], GAP_S) == 30
    assert merged_by_client([replace(reading, merged=0, merged_lags_ns=())], GAP_S) == 0
    assert merged_by_client([reading], None) == 0


def test_reads_that_are_all_a_little_late_are_weighed_against_the_prompter_half() -> None:
    """512 streams at once: each burst takes milliseconds to read, and holds two events of each stream."""
    lags = tuple(at * 40_000 for at in range(100))

    assert merged_by_client([Reading(lags, 100, 100, 100, lags)] * 100, 0.020) == 0
    assert merged_by_client([Reading(lags, 100, 100, 20, lags[80:])] * 100, 0.020) == 2000


def test_failures_and_warm_up_stand_apart() -> None:
    found = run(stall_ms=12, stalled=0.03, slow=0.007)
    merged = merged_by_client(found.readings, GAP_S)

    many = [failed(at) for at in range(200)]
    assert doubts([*found.records, *many], merged) == ()  # p99 is infinite: nothing that came moves it
    assert doubts([replace(one, is_warmup=True) for one in found.records], merged) == ()
    assert doubts([], 3) == ()

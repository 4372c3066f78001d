"""A server that floods: fills neither memory nor disk, and does not outlast the run."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from fake_server import FakeServer, Manner
from running import QUICK, asks, load, one, target

from perfgate.load.ask import LoadPlan
from perfgate.load.bounds import Bounds
from perfgate.load.job import LoadResult
from perfgate.load.request import FaultKind
from perfgate.load.room import Room

ENDLESS = Bounds(response_bytes=1 << 40, most_response_bytes=1 << 40, run_bytes=1 << 40)
FLOOD = Manner(always="flood")


def _kinds(result: LoadResult) -> Counter[FaultKind | None]:
    return Counter(one.fault.kind if one.fault else None for one in result.records)


def _kept(folder: Path) -> int:
    return (folder / "load.raw").stat().st_size


def test_a_flood_is_oversized_and_not_kept_and_costs_no_other_request(tmp_path: Path) -> None:
    with FakeServer(Manner(faults={1: "flood", 4: "flood"})) as server:
        result = load(target(server), LoadPlan(asks(8), 2), tmp_path)

    assert _kinds(result) == {FaultKind.OVERSIZED: 2, None: 6}
    assert _kept(tmp_path) < 50_000
    assert result.gave_up == ""
    found = next(one.fault.found for one in result.records if one.fault)
    assert found == "more bytes came than are kept (expected at most 1,082,112 for the tokens asked for)"


def test_a_response_that_ends_in_order_is_oversized_too(tmp_path: Path) -> None:
    with FakeServer(Manner(faults={0: "oversized"})) as server:
        bounds = Bounds(response_bytes=100_000)
        result = load(target(server, bounds=bounds), LoadPlan(asks(2), 1), tmp_path)

    assert _kinds(result) == {FaultKind.OVERSIZED: 1, None: 1}
    assert _kept(tmp_path) < 20_000


def test_a_flood_in_small_reads_is_seen(tmp_path: Path) -> None:
    """By the sweep: no single read is large."""
    with FakeServer(Manner(always="drip")) as server:
        record = one(server, tmp_path, bounds=Bounds(response_bytes=1), timeouts=replace(QUICK, total_s=20))

    assert record.fault
    assert record.fault.kind is FaultKind.OVERSIZED


def test_a_run_that_would_fill_memory_is_given_up_and_says_so(tmp_path: Path) -> None:
    with FakeServer(FLOOD) as server:
        bounds = replace(ENDLESS, run_bytes=2_000_000)
        result = load(target(server, bounds=bounds), LoadPlan(asks(6), 3), tmp_path)

    assert _kinds(result) == {FaultKind.OVERSIZED: 3, FaultKind.NOT_SENT: 3}
    assert result.gave_up.startswith("the server sent more than 2 MB, the most that is kept in memory")
    assert _kept(tmp_path) < 20_000


def test_a_run_that_would_fill_the_disk_is_given_up(tmp_path: Path) -> None:
    """Each response is within its own bound."""
    with FakeServer(Manner(always="oversized")) as server:
        bounds = replace(ENDLESS, run_bytes=1_000_000)
        result = load(target(server, bounds=bounds), LoadPlan(asks(40), 1), tmp_path)

    kinds = _kinds(result)
    assert result.gave_up.startswith("the server sent more than 2 MB, the most that is kept")
    assert kinds[None] >= 1
    assert kinds[FaultKind.OVERSIZED] >= 1
    assert kinds[FaultKind.NOT_SENT] > 20
    assert _kept(tmp_path) < 2_000_000


def test_what_is_written_has_left_memory_and_is_counted_on_disk() -> None:
    room = Room(Bounds(run_bytes=1000), (50, 50), 1)
    room.held = 1200

    assert room.write(1100)
    assert (room.held, room.written, room.why_full) == (100, 1100, "")
    assert not room.write(101)
    assert "kept on disk" in room.why_full


@pytest.mark.parametrize("cut_bytes", [1, 1 << 40])
def test_a_run_ends_at_its_time_while_a_server_floods(tmp_path: Path, cut_bytes: int) -> None:
    """What came until then is not decoded where no real server sends so much."""
    with FakeServer(FLOOD) as server:
        where = target(server, bounds=replace(ENDLESS, cut_bytes=cut_bytes), timeouts=replace(QUICK, run_s=0.05))
        result = load(where, LoadPlan(asks(3), 2), tmp_path)

    ended = FaultKind.OVERSIZED if cut_bytes == 1 else FaultKind.GAVE_UP
    assert _kinds(result) == {ended: 2, FaultKind.NOT_SENT: 1}
    assert result.gave_up == "the run took more than 0.05 s"
    assert (_kept(tmp_path) < 20_000) is (cut_bytes == 1)
    assert all(len(one.event_ns) <= 1032 for one in result.records)


def test_no_more_events_are_read_than_the_tokens_asked_for_can_need(tmp_path: Path) -> None:
    with FakeServer(Manner(tokens=1100)) as server:
        record = one(server, tmp_path)

    assert record.fault
    assert record.fault.kind is FaultKind.OVERSIZED
    assert record.fault.found == "more than 1032 events, the most that are read for the tokens asked for"

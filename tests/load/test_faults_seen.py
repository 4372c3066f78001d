"""Each way in which a server can fail a request has one class, and nothing is invented or awaited for ever."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fake_server import FakeServer, Manner
from running import QUICK, asks, load, one, target

from perfgate.load.answers import answer
from perfgate.load.ask import LoadPlan
from perfgate.load.bounds import Bounds
from perfgate.load.decode import count_tokens
from perfgate.load.figures import figures
from perfgate.load.request import FaultKind, TokenSource
from perfgate.load.target import Route, Target

STREAM_FAULTS = [
    ("status", FaultKind.HTTP_STATUS, 0),
    ("too many", FaultKind.HTTP_STATUS, 0),
    ("no http", FaultKind.NOT_HTTP, 0),
    ("close at once", FaultKind.DROPPED, 0),
    ("reset", FaultKind.RESET, 2),
    ("close", FaultKind.DROPPED, 2),
    ("close in event", FaultKind.DROPPED, 2),
    ("malformed", FaultKind.MALFORMED, 4),
    ("not a field", FaultKind.MALFORMED, 4),
    ("wrong shape", FaultKind.MALFORMED, 4),
    ("bad chunk", FaultKind.MALFORMED, 2),
    ("error event", FaultKind.ERROR_EVENT, 4),
    ("error object", FaultKind.ERROR_EVENT, 4),
    ("error type", FaultKind.ERROR_EVENT, 4),
    ("cut short", FaultKind.CUT_SHORT, 2),
    ("no finish", FaultKind.CUT_SHORT, 4),
    ("null finish", FaultKind.CUT_SHORT, 4),
    ("empty", FaultKind.EMPTY, 0),
    ("nothing", FaultKind.EMPTY, 0),
    ("no text", FaultKind.EMPTY, 0),
    ("usage zero", FaultKind.WRONG_COUNT, 0),
    ("abort", FaultKind.CUT_SHORT, 4),
    ("few", FaultKind.WRONG_COUNT, 3),
    ("many", FaultKind.WRONG_COUNT, 5),
    ("usage lies", FaultKind.WRONG_COUNT, 4),
    ("done twice", FaultKind.AFTER_END, 4),
    ("stray", FaultKind.AFTER_END, 4),
    ("stray later", FaultKind.AFTER_END, 4),
    ("plain answer", FaultKind.WRONG_TYPE, 0),
    ("page", FaultKind.WRONG_TYPE, 0),
    ("hang", FaultKind.STALLED, 2),
    ("silent", FaultKind.FIRST_TOKEN_DEADLINE, 0),
    ("head only", FaultKind.FIRST_TOKEN_DEADLINE, 0),
    ("drip", FaultKind.TOTAL_DEADLINE, None),
]


@pytest.mark.parametrize(("fault", "kind", "tokens"), STREAM_FAULTS, ids=[name for name, *_ in STREAM_FAULTS])
@pytest.mark.parametrize("route", list(Route), ids=["completions", "chat"])
def test_a_fault_of_a_stream_has_its_class_and_no_invented_tokens(
    tmp_path: Path, route: Route, fault: str, kind: FaultKind, tokens: int | None
) -> None:
    with FakeServer(Manner(faults={0: fault})) as server:
        bad, good = load(target(server, route), LoadPlan(asks(2), 1), tmp_path).records

    assert bad.fault is not None
    assert bad.fault.kind is kind, bad.fault
    assert tokens is None or bad.output_tokens == tokens
    assert good.fault is None, good.fault
    assert good.output_tokens == 4


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        ("status", FaultKind.HTTP_STATUS),
        ("malformed", FaultKind.MALFORMED),
        ("empty", FaultKind.EMPTY),
        ("no text", FaultKind.EMPTY),
        ("usage zero", FaultKind.WRONG_COUNT),
        ("few", FaultKind.WRONG_COUNT),
        ("length lies", FaultKind.DROPPED),
        ("page", FaultKind.WRONG_TYPE),
        ("silent", FaultKind.TOTAL_DEADLINE),
    ],
)
def test_a_fault_of_a_plain_answer_has_its_class(tmp_path: Path, fault: str, kind: FaultKind) -> None:
    with FakeServer(Manner(always=fault)) as server:
        record = one(server, tmp_path, stream=False)

    assert record.fault
    assert record.fault.kind is kind, record.fault


@pytest.mark.parametrize("fixed", [True, False])
@pytest.mark.parametrize(
    ("fault", "kind", "words"),
    [
        ("no text", FaultKind.EMPTY, "though usage says 4: neither text nor token ids came"),
        ("usage zero", FaultKind.WRONG_COUNT, "text came, the server's usage says 0 tokens"),
    ],
)
def test_usage_at_the_end_neither_makes_tokens_nor_takes_them_away(
    tmp_path: Path, fault: str, kind: FaultKind, words: str, *, fixed: bool
) -> None:
    ask = asks(1)[0]
    plan = LoadPlan((replace(ask, body={**ask.body, "ignore_eos": fixed}),), 1)
    with FakeServer(Manner(with_continuous=False, always=fault)) as server:
        (record,) = load(target(server), plan, tmp_path).records

    assert record.fault
    assert (record.fault.kind, record.output_tokens) == (kind, 0)
    assert words in record.fault.found


def test_token_ids_without_text_are_tokens() -> None:
    """A model that emits special tokens alone: the detokeniser leaves them out."""
    event = b'{"choices": [{"text": "", "token_ids": [%d]}]}'

    counts, source = count_tokens([answer(event % at) for at in range(3)])

    assert (counts, source) == ([1, 1, 1], TokenSource.TOKEN_IDS)


@pytest.mark.parametrize(
    ("manner", "kind"),
    [
        (Manner(framing="close", faults={0: "close"}), FaultKind.CUT_SHORT),  # closing is how such a body ends
        (Manner(framing="close", faults={0: "reset"}), FaultKind.RESET),
        (Manner(piece_bytes=7, faults={0: "close"}), FaultKind.DROPPED),
        (Manner(piece_bytes=7, faults={0: "error event"}), FaultKind.ERROR_EVENT),
    ],
)
def test_the_class_does_not_hang_on_how_a_body_is_framed_or_cut(
    tmp_path: Path, manner: Manner, kind: FaultKind
) -> None:
    with FakeServer(manner) as server:
        bad, good = load(target(server), LoadPlan(asks(2), 1), tmp_path).records

    assert bad.fault
    assert (bad.fault.kind, good.fault) == (kind, None)


@pytest.mark.parametrize(
    ("fault", "more"),
    [("oversized", {"most_event_bytes": 100_000}), ("endless line", {"bounds": Bounds(most_response_bytes=1_000_000)})],
)
def test_a_line_beyond_the_limit_is_oversized(tmp_path: Path, fault: str, more: dict[str, Any]) -> None:
    with FakeServer(Manner(always=fault)) as server:
        record = one(server, tmp_path, **more)

    assert record.fault
    assert record.fault.kind is FaultKind.OVERSIZED


def test_a_connection_that_the_server_closes_between_requests_costs_no_request(tmp_path: Path) -> None:
    with FakeServer(Manner(faults={1: "cut short", 4: "cut short"})) as server:
        result = load(target(server), LoadPlan(asks(8), 1), tmp_path)

    assert [one.fault.kind if one.fault else None for one in result.records].count(FaultKind.CUT_SHORT) == 2
    assert sum(one.fault is None for one in result.records) == 6
    assert len(server.served) == 8


def test_no_server_is_refused(tmp_path: Path) -> None:
    with FakeServer(Manner()) as server:
        gone = target(server)
    records = load(gone, LoadPlan(asks(5), 2), tmp_path).records

    assert [one.fault.kind for one in records if one.fault] == [FaultKind.REFUSED] * 5
    assert all(one.sent_ns is None and one.output_tokens == 0 for one in records)


def test_a_stream_that_goes_on_after_a_stall_is_a_success_with_an_event(tmp_path: Path) -> None:
    with FakeServer(Manner(faults={1: "stall"}, stall_s=0.2)) as server:
        result = load(target(server), LoadPlan(asks(3), 1), tmp_path)
    told = figures(result.records, 1, stall_s=0.15)

    assert told.failed == 0
    assert (told.stalls, told.stalled_requests) == (1, 1)


@pytest.mark.parametrize(
    "manner", [Manner(with_done=False), Manner(faults={0: "no done"}), Manner(faults={0: "trailer"})]
)
def test_usage_without_done_and_trailers_are_successes(tmp_path: Path, manner: Manner) -> None:
    with FakeServer(manner) as server:
        assert one(server, tmp_path).fault is None


def test_neither_done_nor_usage_is_cut_short(tmp_path: Path) -> None:
    with FakeServer(Manner(with_done=False, with_usage=False, with_continuous=False)) as server:
        record = one(server, tmp_path)

    assert record.fault
    assert record.fault.kind is FaultKind.CUT_SHORT
    assert record.source is TokenSource.TEXT_CHUNKS
    assert record.output_tokens is None


def test_a_server_that_hangs_for_all_ends_the_run_early(tmp_path: Path) -> None:
    quick = type(QUICK)(first_token_s=0.2, give_up_after=4)
    with FakeServer(Manner(always="silent")) as server:
        result = load(Target(server.url, timeouts=quick), LoadPlan(asks(40), 4), tmp_path)

    kinds = [one.fault.kind for one in result.records if one.fault]
    assert "4 requests in a row" in result.gave_up
    assert len(kinds) == 40
    assert kinds.count(FaultKind.FIRST_TOKEN_DEADLINE) == 4
    assert kinds.count(FaultKind.NOT_SENT) >= 32


def test_a_mix_of_faults_is_counted_by_class(tmp_path: Path) -> None:
    faults = {4 * at: fault for at, fault in enumerate(["reset", "error event", "cut short", "empty", "malformed"])}
    with FakeServer(Manner(faults=faults)) as server:
        result = load(target(server), LoadPlan(asks(20), 4), tmp_path)
    told = figures(result.records, 4)

    assert told.failures == {"cut short": 1, "empty output": 1, "error event": 1, "malformed": 1, "reset": 1}
    assert told.throughput.succeeded == 15
    assert told.throughput.output_tokens == 60
    assert told.throughput.failed_tokens == 12

from __future__ import annotations

import signal
import subprocess
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from fake_server import FakeServer, Manner, wait_for
from running import asks, load, one, target

from perfgate.load.ask import LoadPlan
from perfgate.load.job import Job, LoadResult
from perfgate.load.request import TokenSource
from perfgate.load.target import Route, Timeouts
from perfgate.process import HERE
from perfgate.record import decode, encode, write_atomic


@pytest.mark.parametrize("route", list(Route))
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
@pytest.mark.parametrize("framing", ["chunked", "close", "length"])
@pytest.mark.parametrize("piece_bytes", [None, 7])
def test_a_stream_is_read_however_it_is_cut(
    tmp_path: Path, route: Route, newline: str, framing: str, piece_bytes: int | None
) -> None:
    with FakeServer(Manner(newline=newline, framing=framing, piece_bytes=piece_bytes)) as server:
        record = one(server, tmp_path, tokens=3, route=route)

    assert record.fault is None, record.fault
    assert (record.output_tokens, record.usage.input_tokens, record.finish_reason) == (3, 7, "length")
    assert [count for count in record.event_tokens if count] == [1, 1, 1]


@pytest.mark.parametrize("route", list(Route))
@pytest.mark.parametrize("piece_bytes", [None, 5])
def test_a_plain_answer_has_an_end_and_a_count_but_no_first_token_of_its_own(
    tmp_path: Path, route: Route, piece_bytes: int | None
) -> None:
    with FakeServer(Manner(piece_bytes=piece_bytes)) as server:
        record = one(server, tmp_path, route=route, stream=False)

    assert record.fault is None, record.fault
    assert record.output_tokens == 4
    assert not record.is_stream
    assert record.last_token_ns == record.ended_ns


def test_tokens_are_stamped_after_they_were_sent_and_before_the_next(tmp_path: Path) -> None:
    with FakeServer(Manner(ttft_s=0.02, itl_s=0.02)) as server:
        record = one(server, tmp_path, route=Route.CHAT)

    sends = server.served[0].sends_ns
    assert len(record.token_ns) == len(sends) == 4
    assert all(sent <= came for sent, came in zip(sends, record.token_ns, strict=True))
    assert all(came < sent for (came, sent) in zip(record.token_ns, sends[1:], strict=False))
    assert record.sent_ns is not None
    assert record.first_byte_ns is not None
    assert record.due_ns <= record.sent_ns < record.first_byte_ns < record.token_ns[0]
    assert record.token_ns[-1] <= record.ended_ns


def test_the_role_chunk_is_no_token(tmp_path: Path) -> None:
    with FakeServer(Manner(ttft_s=0.1)) as server:
        record = one(server, tmp_path, route=Route.CHAT)

    assert record.event_tokens[0] == 0
    assert record.first_token_ns == record.event_ns[1]


@pytest.mark.parametrize(
    ("manner", "more", "source", "known"),
    [
        (Manner(), {}, TokenSource.CONTINUOUS_USAGE, True),
        (Manner(with_continuous=False), {"return_token_ids": True}, TokenSource.TOKEN_IDS, True),
        (Manner(with_continuous=False), {}, TokenSource.USAGE_TOTAL, False),
        (Manner(with_continuous=False, with_usage=False), {}, TokenSource.TEXT_CHUNKS, False),
    ],
)
def test_tokens_of_events_are_counted_where_the_server_tells(
    tmp_path: Path,
    manner: Manner,
    more: dict[str, Any],
    source: TokenSource,
    known: bool,  # noqa: FBT001
) -> None:
    manner.per_event = 3
    with FakeServer(manner) as server:
        record = one(server, tmp_path, tokens=8, **more)

    assert record.fault is None, record.fault
    assert record.source is source
    assert [count for count in record.event_tokens if count] == ([3, 3, 2] if known else [1, 1, 1])
    assert record.output_tokens == (None if source is TokenSource.TEXT_CHUNKS else 8)
    assert record.tokens_per_event_are_known is known


def test_a_closed_loop_holds_its_concurrency_on_as_many_connections(tmp_path: Path) -> None:
    with FakeServer(Manner(itl_s=0.005)) as server:
        result = load(target(server), LoadPlan(asks(40), 8), tmp_path)

    assert [one.fault for one in result.records] == [None] * 40
    assert server.most_in_flight == 8
    assert server.connections == 8
    assert [one.index for one in result.records] == list(range(40))


def test_a_server_that_closes_each_connection_gets_a_new_one_each_time(tmp_path: Path) -> None:
    with FakeServer(Manner(keep_alive=False)) as server:
        result = load(target(server), LoadPlan(asks(12), 3), tmp_path)

    assert [one.fault for one in result.records] == [None] * 12
    assert server.connections >= 12
    assert sum(one.opening_ns > 0 for one in result.records) == 9


def test_an_open_loop_sends_at_its_times_whatever_the_server_does(tmp_path: Path) -> None:
    due = [0.01 * at for at in range(30)]
    with FakeServer(Manner(ttft_s=0.2)) as server:
        result = load(target(server), LoadPlan(asks(30, due_s=due), None), tmp_path)

    assert [one.fault for one in result.records] == [None] * 30
    assert all(one.sent_ns is not None and one.sent_ns >= one.due_ns for one in result.records)
    assert [after.due_ns - before.due_ns for before, after in pairwise(result.records)] == [10_000_000] * 29
    assert server.most_in_flight > 5


def test_an_open_loop_with_a_limit_counts_waiting_for_a_slot_as_latency(tmp_path: Path) -> None:
    due = [0.0] * 6
    with FakeServer(Manner(ttft_s=0.05)) as server:
        result = load(target(server), LoadPlan(asks(6, due_s=due), 2), tmp_path)

    waits = sorted(one.sent_ns - one.due_ns for one in result.records if one.sent_ns is not None)
    assert server.most_in_flight == 2
    assert waits[-1] > 80_000_000
    assert all(one.ready_ns > one.due_ns for one in result.records[2:])


def test_requests_are_sent_in_the_order_of_their_due_times(tmp_path: Path) -> None:
    with FakeServer(Manner()) as server:
        result = load(target(server), LoadPlan(asks(3, due_s=[0.1, 0.0, 0.05]), None), tmp_path)

    assert [served.body["prompt"][-1] for served in server.served] == [1, 2, 0]
    assert [one.index for one in result.records] == [0, 1, 2]


def test_a_body_larger_than_the_socket_holds_is_sent_whole(tmp_path: Path) -> None:
    (ask,) = asks(1)
    large = type(ask)({**ask.body, "prompt": list(range(1_000_000))}, 1_000_000, 4)
    with FakeServer(Manner()) as server:
        (record,) = load(target(server, timeouts=Timeouts()), LoadPlan((large,), 1), tmp_path).records

    assert record.fault is None, record.fault
    assert len(server.served[0].body["prompt"]) == 1_000_000


def test_warm_up_is_sent_first_and_marked(tmp_path: Path) -> None:
    with FakeServer(Manner()) as server:
        result = load(target(server), LoadPlan(asks(6), 2, warmup=2), tmp_path)

    assert [one.is_warmup for one in result.records] == [True, True, False, False, False, False]


def test_the_request_says_what_was_asked_and_carries_the_token(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAKE_TOKEN", "s3cret")
    with FakeServer(Manner()) as server:
        one(server, tmp_path, token_env="FAKE_TOKEN", headers={"X-Team": "perf"})  # noqa: S106 - a variable's name

    served = server.served[0]
    assert served.headers["authorization"] == "Bearer s3cret"
    assert served.headers["x-team"] == "perf"
    assert served.body["stream_options"] == {"include_usage": True, "continuous_usage_stats": True}
    assert not any(b"s3cret" in path.read_bytes() for path in tmp_path.iterdir())


def test_a_client_that_stood_still_reads_what_came_before_it_calls_anything_overdue(tmp_path: Path) -> None:
    """Stopped for longer than every deadline while whole answers arrive: all are there when it goes on."""
    with FakeServer(Manner(ttft_s=0.3)) as server:
        job = Job.of(target(server), LoadPlan(asks(6), 6), tmp_path / "load.raw")
        write_atomic(tmp_path / "job.json", encode(job))
        command = HERE.command("perfgate.load.process", [str(tmp_path / "job.json"), str(tmp_path / "result.json")])
        with subprocess.Popen(command, env=HERE.variables) as client:
            assert wait_for(lambda: len(server.served) == 6)
            client.send_signal(signal.SIGSTOP)
            time.sleep(1.7)
            client.send_signal(signal.SIGCONT)
            assert client.wait(10) == 0

    result = decode((tmp_path / "result.json").read_bytes(), LoadResult, "result")
    assert [one.fault for one in result.records] == [None] * 6

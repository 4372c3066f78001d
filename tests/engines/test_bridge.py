"""Engines served by the bridge: real processes, the real client, and clients that misbehave."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from perfgate.case import Batching, EngineSpec
from perfgate.engines.bridge import serve_engine
from perfgate.engines.openai import Server
from perfgate.engines.supervisor import descendants
from perfgate.errors import EngineError
from perfgate.load.ask import Ask, LoadPlan
from perfgate.load.client import run_load
from perfgate.load.job import LoadResult
from perfgate.load.request import FaultKind, RequestRecord, TokenSource
from perfgate.load.shapes import Arrivals, Rate, at_rate
from perfgate.load.target import Target
from perfgate.plant import Plant
from perfgate.process_tree import process_of

TESTS = Path(__file__).parents[1]
Serve = Callable[..., AbstractContextManager[Server]]


def spec_of(folder: Path, batching: Batching, **args: Any) -> EngineSpec:
    (folder / "weights.bin").write_text("weights")
    more = {"step_us": 1000, "sleep": True, **args}
    return EngineSpec(
        "fake", folder, "fake_engine:FakeBackend", batching=batching, max_batch_size=4, engine_args=tuple(more.items())
    )


@pytest.fixture
def served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Serve:
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(TESTS), *filter(None, [os.environ.get("PYTHONPATH")])]))

    def start(
        batching: Batching = Batching.INFLIGHT, queue_delay_s: float = 0.005, **args: Any
    ) -> AbstractContextManager[Server]:
        spec = spec_of(tmp_path, batching, **args)
        return serve_engine(spec, tmp_path, Plant(), tmp_path, queue_delay_s=queue_delay_s)

    return start


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that batches in flight, for tests that leave it as it was."""
    folder = tmp_path_factory.mktemp("bridge")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join([str(TESTS), *filter(None, [os.environ.get("PYTHONPATH")])]))
        with serve_engine(spec_of(folder, Batching.INFLIGHT), folder, Plant(), folder) as one:
            yield one


def asks(count: int, tokens: int = 8, length: int = 3) -> tuple[Ask, ...]:
    body = {"model": "fake", "prompt": [1] * length, "max_tokens": tokens, "ignore_eos": True, "temperature": 0.0}
    return tuple(Ask(body, length, tokens) for _ in range(count))


def load(server: Server, plan: LoadPlan, folder: Path, **target: Any) -> LoadResult:
    return run_load(Target(server.url, **target), plan, folder)


def most_in_flight(records: tuple[RequestRecord, ...]) -> int:
    """The most requests between their first and their last event at one time."""
    moves = [(one.event_ns[0], 1) for one in records] + [(one.event_ns[-1], -1) for one in records]
    most = now = 0
    for _, move in sorted(moves):
        now += move
        most = max(most, now)
    return most


# ------------------------------------------------------------------ who can reach it


def _listening_addresses() -> set[str]:
    """Where we and all that we started listen, by the kernel's tables (hexadecimal address and port)."""
    mine = [os.getpid(), *descendants(os.getpid())]
    links = [link for pid in mine for link in Path(f"/proc/{pid}/fd").glob("*")]
    sockets = set()
    for link in links:
        with contextlib.suppress(OSError):
            sockets.add(str(link.readlink()))
    rows = [row.split() for table in ("tcp", "tcp6") for row in Path(f"/proc/net/{table}").read_text().splitlines()[1:]]
    return {row[1] for row in rows if row[3] == "0A" and f"socket:[{row[9]}]" in sockets}


def test_it_listens_on_loopback_alone(server: Server) -> None:
    port = int(server.url.rstrip("/").rpartition(":")[2])

    found = _listening_addresses()

    assert f"0100007F:{port:04X}" in found
    assert {address.partition(":")[0] for address in found} == {"0100007F"}


# ------------------------------------------------------------------ loads


@pytest.mark.parametrize("batching", Batching)
def test_a_closed_load_gets_all_its_tokens_one_by_one(served: Serve, tmp_path: Path, batching: Batching) -> None:
    with served(batching, queue_delay_s=5.0) as server:
        result = load(server, LoadPlan(asks(40, tokens=32), concurrency=4), tmp_path)

    assert [one.fault for one in result.records] == [None] * 40
    assert {one.source for one in result.records} == {TokenSource.CONTINUOUS_USAGE}
    assert {one.event_tokens for one in result.records} == {(1,) * 32 + (0,)}
    assert {(one.usage.input_tokens, one.usage.output_tokens) for one in result.records} == {(3, 32)}
    assert most_in_flight(result.records) == 4


def test_in_flight_no_more_run_than_the_engine_has_places(server: Server, tmp_path: Path) -> None:
    result = load(server, LoadPlan(asks(32), concurrency=16), tmp_path)

    assert all(one.fault is None for one in result.records)
    assert most_in_flight(result.records) <= 5  # 4; one ends and the next begins in the same step


def test_in_flight_a_short_request_passes_a_long_one(server: Server, tmp_path: Path) -> None:
    result = load(server, LoadPlan((*asks(1, tokens=200), *asks(3, tokens=2)), concurrency=2), tmp_path)

    long, *short = sorted(result.records, key=lambda one: one.output_asked, reverse=True)
    assert all(one.event_ns[0] < long.event_ns[-1] for one in short)


def test_an_open_load_and_answers_that_are_not_streamed(server: Server, tmp_path: Path) -> None:
    plan = at_rate(asks(20), Rate.steady(200, Arrivals.POISSON), seed=1)

    for stream in (True, False):
        result = load(server, plan, tmp_path, stream=stream)
        assert [(one.fault, one.output_tokens) for one in result.records] == [(None, 8)] * 20


def test_static_batches_are_full_and_of_one_length(served: Serve, tmp_path: Path) -> None:
    log = tmp_path / "runs"
    mixed = tuple(one for pair in zip(asks(8), asks(8, length=5), strict=True) for one in pair)
    with served(Batching.STATIC, queue_delay_s=5.0, run_log=str(log)) as server:
        result = load(server, LoadPlan(mixed, concurrency=16), tmp_path)

    assert all(one.fault is None for one in result.records)
    batches = [line.split() for line in log.read_text().splitlines()]
    assert [len(batch) for batch in batches] == [4] * 4
    assert sorted(int(name) for batch in batches for name in batch) == list(range(1, 17))


def test_the_requests_of_a_closed_loop_make_one_batch_again(served: Serve, tmp_path: Path) -> None:
    """Though there is room for more, so that no batch is full."""
    log = tmp_path / "runs"
    with served(Batching.STATIC, queue_delay_s=0.2, run_log=str(log)) as server:
        load(server, LoadPlan(asks(12), concurrency=3), tmp_path)

    assert [len(line.split()) for line in log.read_text().splitlines()] == [3] * 4


def test_a_static_batch_starts_and_ends_together(served: Serve, tmp_path: Path) -> None:
    with served(Batching.STATIC, queue_delay_s=5.0, step_us=20_000) as server:
        result = load(server, LoadPlan(asks(8), concurrency=8), tmp_path)

    begins = sorted(one.event_ns[0] for one in result.records)
    ends = sorted(one.event_ns[-1] for one in result.records)
    assert begins[3] < ends[0] < begins[4]  # two batches, the second one behind the first


def test_a_lone_request_waits_no_longer_than_the_queue_delay(served: Serve) -> None:
    with served(Batching.STATIC, queue_delay_s=0.001) as server:
        assert complete(server, max_tokens=2)["usage"]["completion_tokens"] == 2


def test_a_child_that_does_not_look_into_its_folder_starts_servers_that_do_not(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from perfgate.case import EngineSpec\n"
        "from perfgate.engines.bridge import launch; from perfgate.engines.bridge_job import Job\n"
        "folder = Path(sys.argv[1]); print(*launch(Job(EngineSpec('e', folder), folder, 1), folder).argv[1:4])"
    )

    def started(*flags: str) -> str:
        return subprocess.check_output([sys.executable, *flags, "-c", code, str(tmp_path)], text=True).strip()

    assert started() == f"-m perfgate.engines.bridge_server {tmp_path / 'e.bridge.json'}"
    assert started("-P") == "-P -m perfgate.engines.bridge_server"


# ------------------------------------------------------------------ one request


@contextlib.contextmanager
def connected(server: Server) -> Iterator[http.client.HTTPConnection]:
    connection = http.client.HTTPConnection("127.0.0.1", int(server.url.rpartition(":")[2]), timeout=5)
    try:
        yield connection
    finally:
        connection.close()


def ask(connection: http.client.HTTPConnection, **keys: Any) -> http.client.HTTPResponse:
    body = {"model": "fake", "prompt": [1, 2, 3], "max_tokens": 3, **keys}
    connection.request("POST", "/v1/completions", json.dumps(body))
    return connection.getresponse()


def complete(server: Server, **keys: Any) -> Any:
    with connected(server) as connection:
        return json.loads(ask(connection, **keys).read())


def events_of(data: bytes) -> list[Any]:
    lines = [line.removeprefix(b"data: ") for line in data.split(b"\n\n")[:-1]]
    return [line if line == b"[DONE]" else json.loads(line) for line in lines]


def test_a_stream_without_options_is_what_vllm_writes(server: Server) -> None:
    with connected(server) as connection:
        answer = ask(connection, stream=True)
        events = events_of(answer.read())

    assert answer.getheader("Content-Type") == "text/event-stream; charset=utf-8"
    assert events[-1] == b"[DONE]"
    assert {(one["object"], one["model"], one["id"]) for one in events[:-1]} == {
        ("text_completion", "fake", events[0]["id"])
    }
    assert [one["choices"][0]["finish_reason"] for one in events[:-1]] == [None, None, "length"]
    assert not any("usage" in one for one in events[:-1])


def test_usage_comes_as_it_was_asked_for(server: Server) -> None:
    def totals(**options: bool) -> list[int | None]:
        with connected(server) as connection:
            events = events_of(ask(connection, stream=True, stream_options=options).read())[:-1]
        return [one["usage"]["completion_tokens"] if "usage" in one else None for one in events]

    assert totals(include_usage=True) == [None, None, None, 3]
    assert totals(include_usage=True, continuous_usage_stats=True) == [1, 2, 3, 3]


def test_a_text_is_encoded_by_the_engine(server: Server) -> None:
    answer = complete(server, prompt="sieben!")

    assert answer["usage"] == {"prompt_tokens": 7, "total_tokens": 10, "completion_tokens": 3}
    assert answer["choices"][0]["finish_reason"] == "length"


def test_a_text_that_is_too_long_is_refused_by_the_engine(server: Server) -> None:
    assert "more than the engine's max_seq_len" in complete(server, prompt="x" * 1024)["error"]["message"]


def test_what_the_server_tells_of_itself(server: Server) -> None:
    facts = server.facts

    assert facts.model == "fake"
    assert facts.models == ("fake",)
    assert facts.answers["/server_info"]["versions"] == {"fake": "1.0"}
    assert facts.answers["/server_info"]["notes"] == {"pace": "sleeping"}
    assert 0 < facts.answers["/server_info"]["http_side"]["cpu_s"] < 60
    assert facts.answers["/v1/models"]["data"][0]["max_model_len"] == 1024


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "words"),
    [
        ("POST", "/v1/completions", b"{", 400, "not a request of /v1/completions"),
        ("POST", "/v1/completions", b'{"prompt": [1], "ignore_eos": false}', 400, "ignore_eos: found false"),
        ("POST", "/v1/completions", b'{"prompt": [1], "temperature": 1}', 400, "temperature: found 1"),
        ("POST", "/v1/completions", b'{"prompt": [1], "model": "x"}', 404, "no model 'x' here, only 'fake'"),
        ("POST", "/v1/chat/completions", b'{"messages": []}', 404, "no chat here"),
        ("GET", "/v1/completions", b"", 405, "only POST is taken"),
        ("POST", "/health", b"", 405, "only GET is taken"),
        ("GET", "/nowhere", b"", 404, "no route /nowhere"),
    ],
)
def test_what_cannot_be_done_is_an_error_of_openais_shape(
    server: Server, method: str, path: str, body: bytes, status: int, words: str
) -> None:
    with connected(server) as connection:
        connection.request(method, path, body, {"Content-Length": str(len(body))})
        answer = connection.getresponse()
        error = json.loads(answer.read())["error"]

        assert (answer.status, error["code"]) == (status, status)
        assert words in error["message"]
        assert error["type"] == "invalid_request_error"
        assert ask(connection).status == 200  # the connection goes on


# ------------------------------------------------------------------ bytes


def raw(server: Server) -> socket.socket:
    return socket.create_connection(("127.0.0.1", int(server.url.rpartition(":")[2])), timeout=5)


def posted(**keys: Any) -> bytes:
    body = json.dumps({"prompt": [1, 2, 3], "max_tokens": 3, **keys}).encode()
    return b"POST /v1/completions HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)


def read_all(client: socket.socket) -> bytes:
    out = b""
    while data := client.recv(1 << 16):
        out += data
    return out


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n", 400),
        (b"GET / HTTP/1.0\r\n\r\n", 505),
        (b"POST /v1/completions HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 411),
        (b"POST /v1/completions HTTP/1.1\r\nContent-Length: 9999999999\r\n\r\n" + b"x" * 100_000, 413),
        (b"GET / HTTP/1.1\r\nX: " + b"x" * 100_000, 431),
    ],
)
def test_what_is_no_request_is_answered_and_the_connection_closed(server: Server, data: bytes, status: int) -> None:
    with raw(server) as client:
        client.sendall(data)
        answer = read_all(client)

    assert answer.startswith(b"HTTP/1.1 %d " % status)
    assert b"Connection: close\r\n" in answer
    assert complete(server)["usage"]["completion_tokens"] == 3


@settings(max_examples=60)
@given(data=st.data())
def test_no_damage_to_a_request_stops_the_server(server: Server, data: st.DataObject) -> None:
    request = bytearray(posted(stream=True, max_tokens=2))
    for at in data.draw(st.lists(st.integers(0, len(request) - 1), min_size=1, max_size=4)):
        request[at] = data.draw(st.integers(0, 255))
    with raw(server) as client:
        client.sendall(request)
        client.shutdown(socket.SHUT_WR)
        with contextlib.suppress(ConnectionResetError):
            assert read_all(client)[:9] in {b"HTTP/1.1 ", b""}

    assert complete(server)["usage"]["completion_tokens"] == 3


def test_requests_behind_each_other_are_answered_in_order(server: Server) -> None:
    with raw(server) as client:
        client.sendall(
            posted(stream=True) + posted(max_tokens=2) + b"GET /health HTTP/1.1\r\nConnection: close\r\n\r\n"
        )
        answer = read_all(client)

    assert answer.count(b"HTTP/1.1 200 OK") == 3
    assert answer.index(b"[DONE]") < answer.index(b'"completion_tokens": 2') < answer.index(b'"status": "ok"')


def test_a_large_body_is_asked_for_and_taken(server: Server) -> None:
    head, _, body = posted(user="x" * 3_000_000).partition(b"\r\n\r\n")
    with raw(server) as client:
        client.sendall(head + b"\r\nExpect: 100-continue\r\n\r\n")
        assert client.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        client.sendall(body)
        assert client.recv(1 << 16).startswith(b"HTTP/1.1 200 OK")


@pytest.mark.parametrize("after", ["at once", "a token"])
def test_clients_that_leave_do_not_disturb_others(server: Server, tmp_path: Path, after: str) -> None:
    for _ in range(6):
        with raw(server) as client:
            client.sendall(posted(max_tokens=100, stream=True))
            if after == "a token":
                assert b'"text":"."' in client.recv(1 << 16)

    result = load(server, LoadPlan(asks(12), concurrency=4), tmp_path)

    assert [(one.fault, one.output_tokens) for one in result.records] == [(None, 8)] * 12
    server.check()


def test_in_flight_a_client_that_leaves_makes_room(served: Serve) -> None:
    with served(step_us=10_000) as server:
        with contextlib.ExitStack() as stack:
            for client in [stack.enter_context(raw(server)) for _ in range(4)]:
                client.sendall(posted(max_tokens=1000, stream=True))
                assert client.recv(1 << 16)

        begin = time.monotonic()
        assert complete(server)["usage"]["completion_tokens"] == 3
        assert time.monotonic() - begin < 5  # all 1000 steps would take 10 s


def test_a_static_batch_outlives_one_of_its_clients(served: Serve) -> None:
    with served(Batching.STATIC, queue_delay_s=0.3) as server, raw(server) as stays:
        with raw(server) as leaves:
            stays.sendall(posted(max_tokens=20))
            leaves.sendall(posted(max_tokens=20, stream=True))
            assert leaves.recv(1 << 16)
        assert b'"completion_tokens": 20' in stays.recv(1 << 16)


# ------------------------------------------------------------------ the engine fails


@pytest.mark.parametrize("batching", Batching)
def test_an_engine_that_fails_ends_its_streams_with_its_words_and_then_itself(
    served: Serve, tmp_path: Path, batching: Batching
) -> None:
    with served(batching, fail_step=10) as server:
        result = load(server, LoadPlan(asks(4, tokens=40), concurrency=4), tmp_path)

        kinds = Counter(one.fault.kind for one in result.records if one.fault)
        assert kinds[FaultKind.ERROR_EVENT] >= 1  # others may not have had a token yet
        assert kinds.total() == 4
        assert any("told to fail at step 10" in str(one.fault) for one in result.records)
        assert all((one.output_tokens or 0) < 10 for one in result.records)
        await_end(server)
        with pytest.raises(EngineError, match="perfgate: told to fail at step 10"):
            server.check()


def test_before_the_first_token_a_failure_is_a_status(served: Serve) -> None:
    with served(fail_step=1) as server, connected(server) as connection:
        answer = ask(connection, stream=True)

        assert answer.status == 500
        assert json.loads(answer.read())["error"] == {
            "message": "told to fail at step 1", "type": "server_error", "param": None, "code": 500
        }  # fmt: skip


def test_an_engine_that_crashes_lets_no_client_wait(served: Serve) -> None:
    with served(Batching.STATIC, fail="crash") as server, raw(server) as client:
        client.sendall(posted())
        with contextlib.suppress(ConnectionResetError):  # the HTTP side may be ended before it has answered
            assert client.recv(1 << 16)[:13] in {b"HTTP/1.1 500 ", b""}
        await_end(server)
        with pytest.raises(EngineError, match="the server ended while it was in use"):
            server.check()


def test_an_engine_that_cannot_be_loaded_says_why(served: Serve) -> None:
    with pytest.raises(EngineError, match="perfgate: told to fail at 'load'"), served(fail="load"):
        pass


def await_end(server: Server, within_s: float = 5.0) -> None:
    deadline = time.monotonic() + within_s
    with contextlib.suppress(EngineError):
        while time.monotonic() < deadline:
            server.check()
            time.sleep(0.02)


# ------------------------------------------------------------------ processes


def children(pid: int) -> list[int]:
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def is_alive(pid: int) -> bool:
    found = process_of(pid)
    return found is not None and found.lives


def gone_within(pids: list[int], within_s: float = 5.0) -> bool:
    deadline = time.monotonic() + within_s
    while any(map(is_alive, pids)) and time.monotonic() < deadline:
        time.sleep(0.02)
    return not any(map(is_alive, pids))


def test_stopping_leaves_no_process_and_takes_no_patience(served: Serve) -> None:
    with served() as server:
        assert server.pid is not None
        pids = [server.pid, *children(server.pid)]
        with raw(server) as client:
            client.sendall(posted(max_tokens=900, stream=True))
            assert client.recv(100)
            begin = time.monotonic()

    assert len(pids) == 2
    assert not any(map(is_alive, pids))
    assert time.monotonic() - begin < 10  # SIGINT sufficed: SIGTERM comes after 20 s


def test_each_process_ends_when_the_other_is_killed(served: Serve) -> None:
    for victim in (0, 1):
        with served() as server:
            assert server.pid is not None
            pids = [server.pid, *children(server.pid)]
            os.kill(pids[victim], signal.SIGKILL)

            assert gone_within(pids)


def test_a_planted_slowdown_is_in_the_figures(tmp_path: Path, served: Serve) -> None:
    del served
    spec = spec_of(tmp_path, Batching.INFLIGHT, step_us=10_000)
    with serve_engine(spec, tmp_path, Plant(decode=2.0), tmp_path) as server:
        (record,) = load(server, LoadPlan(asks(1), 1), tmp_path).records

    gaps = sorted(later - earlier for earlier, later in pairwise(record.event_ns[:-1]))
    assert gaps[len(gaps) // 2] > 15_000_000

"""How far a run has come: told from its raw files, while it goes on."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from fake_server import FakeServer, Manner
from running import asks, target

from perfgate.load.ask import LoadPlan
from perfgate.load.client import run_load
from perfgate.load.progress import Progress, RawTail, Watcher
from perfgate.load.rawfile import LoopEnd, Outcome, RawFile, RawResponse, Timing

USAGE = b'data: {"usage": {"completion_tokens": 3}}\n\ndata: {"usage":{"completion_tokens":17}}\n\ndata: [DONE]\n\n'
WHOLE = RawResponse(0, Outcome.ENDED, 0, 1, 1, Timing(1, 0, 0, 1, 9), "", (5,), bytes(16), (len(USAGE),), USAGE)
REFUSED = RawResponse(1, Outcome.REFUSED, 111, 1, 0, Timing(1, 0, 0, 0, 9), "refused")
END = LoopEnd(1, 9, 5, 3, 2)


def test_each_look_reads_on_from_the_last(tmp_path: Path) -> None:
    paths = [tmp_path / "a.raw", tmp_path / "b.raw"]
    tail = RawTail(paths)
    tail.look()
    assert (tail.done, tail.tokens, tail.is_over) == (0, None, False)

    first, second = [RawFile(path) for path in paths]
    first.response(REFUSED)
    tail.look()
    assert (tail.done, tail.tokens) == (1, None)

    second.response(WHOLE)
    first.response(WHOLE)
    first.end(END)
    tail.look()
    tail.look()
    assert (tail.done, tail.tokens, tail.is_over) == (3, 34, False)

    second.end(END)
    tail.look()
    assert (tail.done, tail.is_over) == (3, True)
    first.close()
    second.close()


def test_a_block_counts_when_it_is_whole(tmp_path: Path) -> None:
    raw = RawFile(tmp_path / "a.raw")
    raw.response(replace(WHOLE, data=USAGE + bytes(5000)))  # usage is looked for in the end only
    raw.close()
    whole = (tmp_path / "a.raw").read_bytes()
    tail = RawTail([tmp_path / "b.raw"])
    for size in (5, 18, len(whole) - 1):
        (tmp_path / "b.raw").write_bytes(whole[:size])
        tail.look()
        assert tail.done == 0
    (tmp_path / "b.raw").write_bytes(whole)
    tail.look()

    assert (tail.done, tail.tokens) == (1, None)


@pytest.mark.parametrize(("concurrency", "in_flight"), [(4, 2), (1, 1), (None, None)])
def test_in_flight_is_told_of_closed_loops(tmp_path: Path, concurrency: int | None, in_flight: int | None) -> None:
    raw = RawFile(tmp_path / "a.raw")
    raw.response(WHOLE)
    raw.close()
    told = list[Progress]()

    Watcher([tmp_path / "a.raw"], 3, concurrency, told.append).look()

    assert [(one.done, one.total, one.in_flight, one.tokens) for one in told] == [(1, 3, in_flight, 17)]


def test_the_rest_is_taken_to_go_on_as_it_went() -> None:
    now = Progress(done=10, total=40, in_flight=4, tokens=500, elapsed_s=5.0)

    assert (now.left_s, now.tokens_per_s) == (15.0, 100.0)
    assert replace(now, done=0).left_s is None
    assert replace(now, tokens=None).tokens_per_s is None


def test_a_run_tells_how_far_it_has_come(tmp_path: Path) -> None:
    told = list[Progress]()
    (tmp_path / "load.raw").write_bytes(b"left by an earlier run")

    with FakeServer(Manner(itl_s=0.02)) as server:
        result = run_load(target(server), LoadPlan(asks(24), 1), tmp_path, on_progress=told.append)

    assert len(result.records) == 24
    assert told
    assert all(0 <= one.done <= 24 and one.total == 24 and one.elapsed_s >= 0.9 for one in told)
    assert [one.done for one in told] == sorted(one.done for one in told)

"""Which requests run next, and how they come over the line."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass
from unittest import mock

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perfgate.engines.base import Engine, Request, TokenEvent
from perfgate.engines.bridge_ask import Limits
from perfgate.engines.bridge_desk import Desk, Waiting, live, next_batch, patience_s
from perfgate.engines.bridge_line import (
    EngineEnd,
    Frame,
    Kind,
    Unpacker,
    Wanted,
    line_pair,
    packed,
    request_frame,
    request_of,
)
from perfgate.errors import EngineError

LIMITS = Limits("m", most_tokens=100)
FRAMES = st.builds(
    Frame, st.sampled_from(Kind), st.integers(0, 2**32 - 1), st.integers(0, 2**64 - 1), st.binary(max_size=40)
)


@given(st.lists(FRAMES), st.lists(st.integers(1, 50)))
def test_frames_come_out_as_they_went_in_however_they_are_cut(frames: list[Frame], sizes: list[int]) -> None:
    data, unpacker, found = b"".join(map(packed, frames)), Unpacker(), list[Frame]()
    for size in [*sizes, len(data)]:
        found += unpacker.feed(data[:size])
        data = data[size:]

    assert found == frames


@given(st.text() | st.lists(st.integers(0, 2**32 - 1)).map(tuple))
def test_requests_come_out_as_they_went_in(prompt: str | tuple[int, ...]) -> None:
    wanted = Wanted(7, 123_456_789_012, 16, prompt)

    assert request_of(request_frame(wanted)) == wanted


@given(st.lists(st.tuples(st.integers(1, 3), st.integers(1, 2)), min_size=1), st.integers(1, 5))
def test_a_batch_is_the_oldest_and_its_like_in_order(lengths: list[tuple[int, int]], most: int) -> None:
    waiting = [Waiting(Request(at, (0,) * length, tokens), at) for at, (length, tokens) in enumerate(lengths)]

    batch = next_batch(waiting, most)

    like = [one for one in waiting if one.lengths == waiting[0].lengths]
    assert batch == like[:most]


@dataclass
class Line:
    """A desk and the HTTP side's end of its line."""

    desk: Desk
    front: socket.socket

    def send(self, request: int, length: int = 3, tokens: int = 4, ago_s: float = 0.0) -> None:
        came_ns = time.monotonic_ns() - int(ago_s * 1e9)
        self.front.sendall(packed(request_frame(Wanted(request, came_ns, tokens, (1,) * length))))

    def heard(self) -> list[Frame]:
        return list(Unpacker().feed(self.front.recv(1 << 16)))


@pytest.fixture
def line() -> Iterator[Line]:
    ours, theirs = line_pair()
    with ours, theirs:
        theirs.settimeout(2)
        yield Line(Desk(EngineEnd(ours), lambda text: list(text.encode()), LIMITS), theirs)


def ids(requests: list[Request]) -> list[int]:
    return [request.id for request in requests]


def test_a_full_batch_goes_at_once_and_others_keep_their_place(line: Line) -> None:
    for request, length in ((1, 3), (2, 5), (3, 3), (4, 5), (5, 3)):
        line.send(request, length)

    assert ids(line.desk.batch(2, queue_delay_s=60)) == [1, 3]
    assert ids(line.desk.batch(2, queue_delay_s=60)) == [2, 4]
    assert ids(line.desk.batch(1, queue_delay_s=60)) == [5]


def test_a_batch_that_is_not_full_goes_when_no_more_has_come(line: Line) -> None:
    begin = time.monotonic()
    line.send(1, ago_s=10)
    line.send(2)

    assert ids(line.desk.batch(8, queue_delay_s=0.05)) == [1, 2]
    assert time.monotonic() - begin >= 0.05


@pytest.mark.parametrize(
    ("came_ms", "idle_ms", "now_ms", "left_ms"),
    [
        ([100], 0, 100, 5),  # a lone one
        ([100, 103], 0, 104, 4),  # the last one counts
        ([100, 103], 120, 120, 5),  # what was waited while the engine was busy does not
        ([100, *range(104, 220, 4)], 0, 199, 1),  # but the oldest does not wait for ever
        ([100], 0, 130, -25),
    ],
)
def test_an_idle_engine_waits_for_the_last_one_and_not_for_ever(
    came_ms: list[int], idle_ms: int, now_ms: int, left_ms: int
) -> None:
    waiting = [Waiting(Request(at, (1,), 1), ms * 1_000_000) for at, ms in enumerate(came_ms)]

    assert patience_s(waiting, idle_ms * 1_000_000, now_ms * 1_000_000, 0.005) == pytest.approx(left_ms / 1e3)


def test_requests_of_clients_that_are_gone_do_not_run(line: Line) -> None:
    line.send(1, ago_s=10)
    line.send(2, ago_s=10)
    line.front.sendall(packed(Frame(Kind.GONE, 1)))

    assert ids(line.desk.batch(8, queue_delay_s=0.01)) == [2]


def test_in_flight_the_engine_is_told_once_whose_clients_are_gone(line: Line) -> None:
    line.send(1)
    assert ids(list(line.desk.join(2, is_idle=True) or [])) == [1]
    line.front.sendall(packed(Frame(Kind.GONE, 1)))
    assert line.desk.join(1, is_idle=False) == []

    assert line.desk.left() == [1]
    assert line.desk.left() == []


def test_an_engine_that_takes_no_live_requests_is_refused_in_words() -> None:
    engine: Engine = mock.Mock(spec=["encode", "generate", "score", "stats"])

    with pytest.raises(EngineError, match="it cannot be served so"):
        live(engine)


def test_nothing_more_comes_when_the_other_side_ends(line: Line) -> None:
    line.front.close()

    assert line.desk.batch(8, queue_delay_s=1) == []
    assert line.desk.join(8, is_idle=True) is None


def test_in_flight_as_many_join_as_there_are_places(line: Line) -> None:
    for request in (1, 2, 3):
        line.send(request, request)

    assert ids(list(line.desk.join(2, is_idle=True) or [])) == [1, 2]
    assert line.desk.join(0, is_idle=False) == []
    assert ids(list(line.desk.join(2, is_idle=False) or [])) == [3]
    assert line.desk.join(2, is_idle=False) == []


def test_what_was_told_leaves_when_the_engine_asks_for_more(line: Line) -> None:
    line.desk.tell(TokenEvent(1, 5, 0))
    line.desk.tell(TokenEvent(1, 6, 1))
    line.desk.tell(TokenEvent(2, 6, 3))
    line.desk.join(1, is_idle=False)

    assert line.heard() == [Frame(Kind.TOKENS, 1, 1), Frame(Kind.TOKENS, 2, 3)]


def test_texts_are_encoded_and_measured(line: Line) -> None:
    for request, text in ((1, "four"), (2, "x" * 97), (3, "")):
        line.front.sendall(packed(request_frame(Wanted(request, 0, 4, text))))

    assert [one.prompt for one in line.desk.batch(8, queue_delay_s=1)] == [tuple(b"four")]
    told = line.heard()
    assert told[0] == Frame(Kind.PROMPT, 1, 4)
    assert [one.kind for one in told[1:]] == [Kind.REFUSED, Kind.REFUSED]
    assert b"max_seq_len, 100" in told[1].data
    assert b"found no token" in told[2].data

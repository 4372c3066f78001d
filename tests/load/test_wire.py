from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perfgate.load.ends import EndFinder
from perfgate.load.wire import (
    NO_FIELD,
    Framing,
    Progress,
    WireError,
    events,
    parse_body,
    parse_head,
    progress,
)

OK = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"
TEXT = st.text(st.characters(exclude_characters="\r\n", exclude_categories=["Cs"]), max_size=12)
NEWLINES = st.sampled_from(["\n", "\r\n", "\r"])


def chunked(pieces: list[bytes]) -> bytes:
    return CHUNKED + b"".join(b"%x\r\n%b\r\n" % (len(one), one) for one in pieces if one) + b"0\r\n\r\n"


def cut(data: bytes, at: list[int]) -> list[bytes]:
    edges = sorted({0, len(data), *(place % (len(data) + 1) for place in at)})
    return [data[one:two] for one, two in itertools.pairwise(edges)]


@given(
    st.lists(
        st.sampled_from(
            [b"data: a\n\n", b"data: b", b"data:c\n\n", b"\n", b"\n\n", b"data: ", b"x", b"\r\n", b": y\n\n"]
        )
    )
)
def test_events_are_the_same_whether_or_not_all_are_plain_lines(parts: list[bytes]) -> None:
    """What stands behind a comment is read by the general way."""
    body = b"".join(parts)

    behind = [(end - 5, kind, data) for end, kind, data in events(b": x\n\n" + body)]

    assert list(events(body)) == behind


@given(st.lists(TEXT, min_size=1, max_size=6), NEWLINES)
def test_events_come_back_with_any_line_end(texts: list[str], newline: str) -> None:
    body = "".join(f"data: {text}{newline}{newline}" for text in texts).encode()

    found = list(events(body))

    assert [data.decode() for _, _, data in found] == texts
    assert found[-1][0] == len(body)


@given(st.lists(TEXT, min_size=1, max_size=6), st.lists(st.integers(0, 1000), max_size=8), NEWLINES)
def test_chunks_cut_anywhere_give_the_same_events(texts: list[str], places: list[int], newline: str) -> None:
    body = "".join(f"data: {text}{newline}{newline}" for text in texts).encode()
    raw = chunked(cut(body, places))
    head = parse_head(raw)
    assert head

    parsed = parse_body(raw, head)

    assert parsed.data == body
    assert parsed.is_whole
    assert parsed.size == len(raw)
    assert [data.decode() for _, _, data in events(parsed.data)] == texts


@given(st.lists(st.binary(min_size=1, max_size=9), min_size=1, max_size=6), st.data())
def test_the_offset_of_a_body_byte_is_where_it_was_received(pieces: list[bytes], data: st.DataObject) -> None:
    raw = chunked(pieces)
    head = parse_head(raw)
    assert head
    body = parse_body(raw, head)
    end = data.draw(st.integers(1, len(body.data)))

    (size,) = body.raw_offsets([end])

    shorter = parse_body(raw[:size], head)

    assert shorter.data == body.data[:end]
    assert len(parse_body(raw[: size - 1], head).data) == end - 1


@given(st.lists(TEXT, max_size=4), st.lists(st.integers(0, 1000), max_size=12), st.integers(0, 1))
def test_reads_cut_anywhere_end_where_the_response_ends(texts: list[str], places: list[int], by_length: int) -> None:
    body = "".join(f"data: {{{text}}}\n\n" for text in texts).encode()
    raw = OK + b"Content-Length: %d\r\n\r\n%b" % (len(body), body) if by_length else chunked([body])
    finder = EndFinder()

    answers = [finder.feed(read) for read in cut(raw, places)]

    assert answers == [False] * (len(answers) - 1) + [True]


@given(st.lists(st.integers(0, 1000), max_size=12))
def test_an_end_by_closing_is_left_to_closing(places: list[int]) -> None:
    finder = EndFinder()

    answers = [finder.feed(read) for read in cut(OK + b"\r\ndata: x\n\n0\r\n\r\n", places)]

    assert not any(answers)
    assert finder.ends_by_close


@given(st.binary(max_size=60))
def test_no_bytes_bring_the_parser_down(noise: bytes) -> None:
    for data in (noise, OK + noise, CHUNKED + noise, CHUNKED + b"4\r\nabcd\r\n" + noise):
        assert progress(data) in Progress
        EndFinder().feed(data)
        list(events(noise))


@given(st.binary(max_size=40), st.lists(st.integers(0, 1000), max_size=4))
def test_a_response_is_whole_only_when_all_of_it_is_there(body: bytes, places: list[int]) -> None:
    raw = chunked(cut(body, places))

    assert progress(raw) is Progress.WHOLE
    assert all(progress(raw[:size]) is Progress.OPEN for size in range(len(raw)))


def test_comments_ids_and_retries_are_no_events() -> None:
    assert list(events(b": ping\n\nid: 7\nretry: 10\n\ndata: x\n\n")) == [(34, b"", b"x")]


def test_lines_of_data_are_joined_and_the_type_is_told() -> None:
    assert list(events(b"event: error\ndata: a\ndata:b\n\n")) == [(29, b"error", b"a\nb")]


def test_a_line_that_is_no_field_is_told() -> None:
    assert list(events(b"data: a\n\ngarbage\n\n")) == [(9, b"", b"a"), (18, NO_FIELD, b"garbage")]


def test_what_no_blank_line_ends_is_no_event_but_done() -> None:
    assert list(events(b"data: a\n\ndata: b\n")) == [(9, b"", b"a")]
    assert list(events(b"data: a\n\ndata: [DONE]")) == [(9, b"", b"a"), (21, b"", b"[DONE]")]


def test_a_byte_order_mark_is_passed_over() -> None:
    assert [data for _, _, data in events(b"\xef\xbb\xbfdata: a\n\n")] == [b"a"]


def test_interim_responses_are_passed_over() -> None:
    head = parse_head(b"HTTP/1.1 100 Continue\r\n\r\n" + CHUNKED)

    assert head
    assert head.status == 200
    assert head.framing is Framing.CHUNKED


@pytest.mark.parametrize(
    ("lines", "kept"),
    [
        (b"HTTP/1.1 200 OK\r\n\r\n", True),
        (b"HTTP/1.1 200 OK\r\nConnection: Close\r\n\r\n", False),
        (b"HTTP/1.0 200 OK\r\n\r\n", False),
        (b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\n\r\n", True),
    ],
)
def test_the_head_says_whether_the_connection_goes_on(lines: bytes, kept: bool) -> None:  # noqa: FBT001
    head = parse_head(lines)

    assert head
    assert head.keeps_alive is kept


def test_no_content_has_no_body() -> None:
    head = parse_head(b"HTTP/1.1 204 No Content\r\n\r\n")

    assert head
    assert parse_body(b"HTTP/1.1 204 No Content\r\n\r\n", head).is_whole


@pytest.mark.parametrize(
    "data",
    [
        b"SSH-2.0-OpenSSH\r\n",
        b"HTTP/2 200\r\n\r\n",
        b"HTTP/1.1 2000 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1e3\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"x" * 70_000,
    ],
)
def test_what_is_no_response_is_an_error(data: bytes) -> None:
    with pytest.raises(WireError):
        parse_head(data)
    finder = EndFinder()
    assert finder.feed(data)
    assert finder.is_broken


@pytest.mark.parametrize(
    "mark", [b"zz\r\n", b"-1\r\nabc", b"\r\n\r\n", b"x" * 300, b"3\r\nabcd\r\n", b"0x4\r\nabcd\r\n"]
)
def test_chunks_that_are_none_are_told(mark: bytes) -> None:
    assert progress(CHUNKED + b"4\r\nabcd\r\n" + mark) is Progress.BROKEN


def test_trailers_and_chunk_extensions_belong_to_the_response() -> None:
    assert progress(CHUNKED + b"4;name=value\r\nabcd\r\n0\r\nX-Trailer: yes\r\n\r\n") is Progress.WHOLE

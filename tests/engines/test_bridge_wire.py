"""Requests of HTTP/1.1 out of bytes."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perfgate.engines.bridge_ask import RefusalError
from perfgate.engines.bridge_wire import MOST_HEAD, Reader, Request

POST = b"POST /v1/completions?x=1 HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nabcde"
GET = b"GET /health HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"


def all_of(reader: Reader) -> list[Request]:
    out = []
    while (one := reader.next()) is not None:
        out.append(one)
    return out


@given(st.lists(st.integers(1, 40), max_size=60))
def test_requests_are_the_same_however_the_bytes_come(sizes: list[int]) -> None:
    data, reader, found = POST + b"\r\n" + GET + POST, Reader(), list[Request]()
    for size in [*sizes, len(data)]:
        reader.feed(data[:size])
        data = data[size:]
        found += all_of(reader)

    assert [(one.head.method, one.head.path, one.body) for one in found] == [
        ("POST", "/v1/completions", b"abcde"),
        ("GET", "/health", b""),
        ("POST", "/v1/completions", b"abcde"),
    ]
    assert [one.head.keeps_alive for one in found] == [True, False, True]
    assert reader.waiting == 0


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"nonsense\r\n\r\n", 400),
        (b"GET /\xff HTTP/1.1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\n\n", 400),
        (b"GET / HTTP/1.0\r\n\r\n", 505),
        (b"GET / HTTP/2.0\r\n\r\n", 505),
        (b"GET / HTTP/1.1\r\nno header\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\n folded: yes\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\na: b\nc: d\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\n\r\n", 411),
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n", 411),
        (b"POST / HTTP/1.1\r\nContent-Length: -1\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nContent-Length: 1e3\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nContent-Length: 99999999999\r\n\r\n", 413),
        (b"GET / HTTP/1.1\r\na: " + b"x" * MOST_HEAD, 431),
    ],
)
def test_what_is_no_request_is_refused_with_a_status(data: bytes, status: int) -> None:
    reader = Reader()
    reader.feed(data)

    with pytest.raises(RefusalError) as caught:
        reader.next()

    assert caught.value.status == status


@given(st.binary(max_size=300))
def test_any_bytes_are_a_request_or_none_yet_or_refused(data: bytes) -> None:
    reader = Reader()
    reader.feed(data)

    with suppress(RefusalError):
        found = reader.next()
        assert found is None or found.head.path.startswith("/")


def test_a_client_that_asks_before_it_sends_is_told_to_go_on_once() -> None:
    reader = Reader()
    reader.feed(POST.replace(b"Host: a", b"Expect: 100-continue")[:-5])

    assert reader.next() is None
    assert reader.is_awaited
    reader.feed(b"abcde")
    assert [one.body for one in all_of(reader)] == [b"abcde"]

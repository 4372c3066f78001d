"""HTTP/1.1 responses and server-sent events out of recorded bytes: pure, after the run."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from itertools import accumulate, pairwise, repeat

from perfgate.errors import PerfgateError

MOST_HEAD_BYTES = 64 << 10
_CHUNK_LINE_BYTES = 256
_STATUS = re.compile(rb"HTTP/1\.([01]) ([1-5]\d\d)(?: [^\r\n]*)?")
_CHUNK_SIZE = re.compile(rb"([0-9A-Fa-f]{1,15})[ \t]*(?:;[^\r\n]*)?\r\n")
_CHUNK_SIZE_BEGUN = re.compile(rb"(?:[0-9A-Fa-f]{1,15}[ \t]*(?:;[^\r\n]*)?\r?)?")
# A blank line, in any of the three line ends of the HTML standard, section 9.2.6
_EOL = rb"(?:\r\n|\n|\r(?!\n))"
_BLANK = re.compile(_EOL + _EOL)
_NO_BODY = (204, 304)
_BOM = b"\xef\xbb\xbf"
_PASSED_OVER = (b"", b"id", b"retry")  # a comment's name is empty
NO_FIELD = b"\n"  # no event's type can be this


class WireError(PerfgateError):
    """Bytes that are no HTTP/1.1 response."""


class Framing(Enum):
    """How a response says where its body ends."""

    CHUNKED = "chunked"
    LENGTH = "length"
    CLOSE = "close"


@dataclass(frozen=True, slots=True)
class Head:
    """Status line and headers; size: bytes up to the body, interim responses included."""

    status: int
    headers: Mapping[str, str]  # names in lower case
    size: int
    minor: int  # of HTTP/1.x

    @property
    def framing(self) -> Framing:
        if self.status in _NO_BODY:
            return Framing.LENGTH
        if "chunked" in self.headers.get("transfer-encoding", "").lower():
            return Framing.CHUNKED
        return Framing.LENGTH if "content-length" in self.headers else Framing.CLOSE

    @property
    def length(self) -> int:
        """Bytes of the body where the framing is by length."""
        return 0 if self.status in _NO_BODY else int(self.headers["content-length"])

    @property
    def keeps_alive(self) -> bool:
        words = self.headers.get("connection", "").lower()
        return "close" not in words and (self.minor == 1 or "keep-alive" in words)


@dataclass(frozen=True, slots=True)
class Body:
    """A decoded body, and which received byte ended each of its pieces.

    data: the body without chunk marks. ends, raw_ends: for each piece, the offset behind its last byte in
    `data` and in the received bytes. size: received bytes of the response; what follows them is not part of it.
    """

    data: bytes
    ends: tuple[int, ...]
    raw_ends: tuple[int, ...]
    size: int
    is_whole: bool
    fault: str | None = None

    def raw_offsets(self, ends: Iterable[int]) -> list[int]:
        """For ascending offsets in the body: how many received bytes had to be there for so much of it."""
        out, piece = list[int](), 0
        for end in ends:
            while self.ends[piece] < end:
                piece += 1
            out.append(self.raw_ends[piece] - self.ends[piece] + end)
        return out


def parse_head(data: bytes) -> Head | None:
    """Status line and headers of a response; None while they are not whole. 1xx responses are passed over.

    Raises:
        WireError: no HTTP/1.1 response, or a head above 64 KiB.
    """
    start = 0
    while True:
        end = data.find(b"\r\n\r\n", start)
        if (len(data) if end < 0 else end) - start > MOST_HEAD_BYTES:
            raise WireError(f"the response's head is longer than {MOST_HEAD_BYTES} bytes")
        if end < 0:
            if not b"HTTP/1.".startswith(data[start : start + 7]):
                raise WireError(f"no HTTP/1 response: it begins {data[start : start + 40]!r}")
            return None
        head = _head(data[start:end], end + 4)
        if head.status >= 200:  # noqa: PLR2004 - final responses
            return head
        start = end + 4


def parse_body(data: bytes, head: Head) -> Body:
    """The body that follows a head, as far as it was received."""
    match head.framing:
        case Framing.CHUNKED:
            return _chunked(data, head.size)
        case Framing.LENGTH:
            body = data[head.size : head.size + head.length]
            return _plain(body, head, is_whole=len(body) == head.length)
        case Framing.CLOSE:
            return _plain(data[head.size :], head, is_whole=True)


class Progress(Enum):
    """How far a response has come."""

    OPEN = "open"  # more is awaited, or only closing the connection will end it
    WHOLE = "whole"
    BROKEN = "broken"  # no HTTP/1.1: its end cannot be found


def progress(data: bytes) -> Progress:
    """How far the response has come that these bytes begin."""
    try:
        head = parse_head(data)
    except WireError:
        return Progress.BROKEN
    if head is None or head.framing is Framing.CLOSE:
        return Progress.OPEN
    body = parse_body(data, head)
    if body.fault:
        return Progress.BROKEN
    return Progress.WHOLE if body.is_whole else Progress.OPEN


def events(body: bytes) -> Iterator[tuple[int, bytes, bytes]]:
    """Server-sent events as (end, type, data): `end` is the offset behind the blank line that ended the event.

    Comments and events without data are passed over, several data lines are joined with newlines. A line that is
    no field of the standard makes an event of type NO_FIELD, with that line. What no blank line ends is not an
    event, but for a closing `data: [DONE]`.
    """
    return _events_of_lines(body) if _are_lines(body) else _any_events(body)


def _are_lines(body: bytes) -> bool:
    """Whether each event is one `data: ` line, as nearly always."""
    return (
        body.startswith(b"data: ")
        and body.endswith(b"\n\n")
        and body.count(b"\n") == 2 * body.count(b"\n\ndata: ") + 2
        and b"\r" not in body
    )


def _events_of_lines(body: bytes) -> Iterator[tuple[int, bytes, bytes]]:
    data = body[len(b"data: ") : -len(b"\n\n")].split(b"\n\ndata: ")
    return zip(accumulate([len(one) + len(b"data: \n\n") for one in data]), repeat(b""), data)


def _any_events(body: bytes) -> Iterator[tuple[int, bytes, bytes]]:
    end = 0
    for block, end in _blocks(body):
        if (event := _event(block)) is not None:
            yield end, *event
    rest = _event(body[end:])
    if rest is not None and rest[1] == b"[DONE]":
        yield len(body), *rest


def _blocks(body: bytes) -> list[tuple[bytes, int]]:
    """Each run of lines that a blank line ends, and the offset behind that line."""
    if b"\r" in body:
        edges = [(match.start(), match.end()) for match in _BLANK.finditer(body)]
        return [(body[begin:stop], end) for (_, begin), (stop, end) in pairwise([(0, 0), *edges])]
    blocks = body.split(b"\n\n")
    blocks.pop()
    return list(zip(blocks, accumulate([len(block) + 2 for block in blocks]), strict=True))


def _event(block: bytes) -> tuple[bytes, bytes] | None:
    kind, data = b"", list[bytes]()
    for line in block.removeprefix(_BOM).splitlines():
        name, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if name == b"data":
            data.append(value)
        elif name == b"event":
            kind = value
        elif name not in _PASSED_OVER:
            return NO_FIELD, line
    return (kind, b"\n".join(data)) if data else None


def _head(block: bytes, size: int) -> Head:
    first, *lines = block.split(b"\r\n")
    found = _STATUS.fullmatch(first)
    if not found:
        raise WireError(f"no HTTP/1 response: it begins {first[:40]!r}")
    headers: dict[str, str] = {}
    for line in lines:
        name, colon, value = line.decode("latin-1").partition(":")
        if not colon or not name or name != name.strip():
            raise WireError(f"a header that is none: {line[:80]!r}")
        headers[name.lower()] = value.strip()
    length = headers.get("content-length", "0")
    if not (length.isascii() and length.isdecimal() and len(length) < 16):  # noqa: PLR2004
        raise WireError(f"content-length: found {length[:40]!r}, expected a number")
    return Head(int(found[2]), headers, size, int(found[1]))


def _plain(body: bytes, head: Head, *, is_whole: bool) -> Body:
    size = head.size + len(body)
    return Body(body, (len(body),), (size,), size, is_whole)


def _chunked(data: bytes, start: int) -> Body:
    pieces, raw_ends, at, find_size = list[bytes](), list[int](), start, _CHUNK_SIZE.match
    while found := find_size(data, at):
        begin = found.end()
        stop = begin + int(found[1], 16)
        at = stop + 2
        if data[stop:at] != b"\r\n" or stop == begin:  # torn, or the last
            break
        pieces.append(data[begin:stop])
        raw_ends.append(stop)
    else:
        return _pieces(pieces, raw_ends, *_no_size(data, at))
    if stop == begin:
        end = data.find(b"\r\n\r\n", begin - 2)  # behind the trailers, if any
        return _pieces(pieces, raw_ends, len(data) if end < 0 else end + 4, is_whole=end >= 0)
    if begin < len(data):
        pieces.append(data[begin:stop])
        raw_ends.append(min(stop, len(data)))
    if len(data) < at:
        return _pieces(pieces, raw_ends, len(data))
    behind = f"a chunk of {stop - begin} bytes is followed by {data[stop : stop + 20]!r}, not a new line"
    return _pieces(pieces, raw_ends, stop, behind)


def _pieces(
    pieces: Sequence[bytes], raw_ends: Sequence[int], size: int, fault: str | None = None, *, is_whole: bool = False
) -> Body:
    return Body(b"".join(pieces), tuple(accumulate(map(len, pieces))), tuple(raw_ends), size, is_whole, fault)


def _no_size(data: bytes, at: int) -> tuple[int, str | None]:
    """How many bytes belong to the body where no size of a chunk stands, and what stands there instead."""
    mark = data[at : at + _CHUNK_LINE_BYTES]
    if _CHUNK_SIZE_BEGUN.fullmatch(mark) and len(mark) < _CHUNK_LINE_BYTES:
        return len(data), None
    return at, _bad_chunk(mark)


def _bad_chunk(mark: bytes) -> str:
    return f"the size of a chunk is {mark[:40]!r}, expected a hexadecimal number"

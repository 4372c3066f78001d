"""HTTP/1.1 requests out of received bytes, with bounds: pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus

from perfgate.engines.bridge_ask import RefusalError

MOST_HEAD = 64 << 10
MOST_BODY = 64 << 20  # a prompt of a million token ids takes 7 MB
_LINE = re.compile(rb"([A-Z]+) (/[!-~]*) HTTP/([0-9]\.[0-9])")
_NAME = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110, section 5.6.2
_LENGTH = re.compile(r"[0-9]{1,15}")


@dataclass(frozen=True, slots=True)
class Head:
    """A request's line and headers (names in lower case); body: bytes that follow."""

    method: str
    path: str  # without the query
    headers: Mapping[str, str]
    body: int

    @property
    def keeps_alive(self) -> bool:
        return "close" not in self.headers.get("connection", "").lower()

    @property
    def is_awaiting(self) -> bool:
        """Whether the client wants to hear '100 Continue' before it sends the body."""
        return self.headers.get("expect", "").lower() == "100-continue"


@dataclass(frozen=True, slots=True)
class Request:
    head: Head
    body: bytes


class Reader:
    """Requests of one connection."""

    def __init__(self) -> None:
        self._data = bytearray()
        self._head: Head | None = None
        self.is_awaited = False  # '100 Continue' has to be sent now

    def feed(self, data: bytes) -> None:
        self._data += data

    @property
    def waiting(self) -> int:
        """Bytes that are not part of a request yet."""
        return len(self._data)

    def next(self) -> Request | None:
        """The next request, None while it is not whole.

        Raises:
            RefusalError: it is none, or too large; what follows on the connection cannot be understood.
        """
        if self._head is None:
            self._head = self._read_head()
        if self._head is None or len(self._data) < self._head.body:
            return None
        head, self._head = self._head, None
        body = bytes(self._data[: head.body])
        del self._data[: head.body]
        return Request(head, body)

    def _read_head(self) -> Head | None:
        while self._data.startswith(b"\r\n"):  # RFC 9112, section 2.2: empty lines before a request
            del self._data[:2]
        end = self._data.find(b"\r\n\r\n")
        if (len(self._data) if end < 0 else end) > MOST_HEAD:
            raise RefusalError(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, f"the head is longer than {MOST_HEAD} bytes")
        if end < 0:
            if b"\n\n" in self._data:
                raise RefusalError(HTTPStatus.BAD_REQUEST, "lines of the head must end in CR LF")
            return None
        head = parse_head(bytes(self._data[:end]))
        del self._data[: end + 4]
        self.is_awaited = head.is_awaiting and len(self._data) < head.body
        return head


def parse_head(block: bytes) -> Head:
    """A request's line and headers, without the blank line.

    Raises:
        RefusalError: it is no head of HTTP/1.1, or its body is not announced by a length of a size that is taken.
    """
    first, *lines = block.split(b"\r\n")
    found = _LINE.fullmatch(first)
    if not found:
        raise RefusalError(HTTPStatus.BAD_REQUEST, f"no request line of HTTP/1.1: {first[:40]!r}")
    if found[3] != b"1.1":
        raise RefusalError(HTTPStatus.HTTP_VERSION_NOT_SUPPORTED, f"HTTP/{found[3].decode()} is not spoken, only 1.1")
    headers = dict[str, str]()
    for line in lines:
        name, value = _header(line)
        if name == "content-length" and headers.get(name, value) != value:
            raise RefusalError(HTTPStatus.BAD_REQUEST, "found two lengths of the body")
        headers[name] = value
    path = found[2].decode().partition("?")[0]
    return Head(found[1].decode(), path, headers, _length(found[1], headers))


def _header(line: bytes) -> tuple[str, str]:
    name, colon, value = line.partition(b":")
    if not colon or not _NAME.fullmatch(name) or b"\n" in value or b"\r" in value or b"\0" in value:
        raise RefusalError(HTTPStatus.BAD_REQUEST, f"a header that is none: {line[:40]!r}")
    return name.decode().lower(), value.decode("latin-1").strip()


def _length(method: bytes, headers: Mapping[str, str]) -> int:
    if "transfer-encoding" in headers:
        raise RefusalError(HTTPStatus.LENGTH_REQUIRED, "bodies in chunks are not taken: send Content-Length")
    length = headers.get("content-length")
    if length is None:
        if method == b"POST":
            raise RefusalError(HTTPStatus.LENGTH_REQUIRED, "a POST without Content-Length")
        return 0
    if not _LENGTH.fullmatch(length):
        raise RefusalError(HTTPStatus.BAD_REQUEST, f"Content-Length: found {length[:40]!r}, expected a number")
    if int(length) > MOST_BODY:
        raise RefusalError(
            HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"a body of {length} bytes, at most {MOST_BODY} are taken"
        )
    return int(length)

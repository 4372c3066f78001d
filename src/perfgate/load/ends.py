"""Tell where a response ends while it is read, at the price of one comparison a read."""

from __future__ import annotations

from perfgate.load.wire import Framing, Head, WireError, parse_head

_LAST_CHUNK = b"\r\n0\r\n\r\n"
_KEPT = len(_LAST_CHUNK) - 1


class EndFinder:
    """Fed with each read of one response; answers whether that read ended it.

    A chunked body is taken to end where a read ends with its last chunk's bytes: no event or JSON text ends a line
    so. What this cannot see (trailers, bytes behind the end in the same read) is seen by `wire.progress`, which
    the loop asks about a connection that has become quiet.
    """

    __slots__ = ("_last", "_left", "framing", "head", "is_broken")

    def __init__(self) -> None:
        self.framing: Framing | None = None
        self.head: Head | None = None
        self.is_broken = False  # what came is no HTTP/1 response: nothing can tell its end
        self._last = b""
        self._left = 0

    @property
    def ends_by_close(self) -> bool:
        """Whether closing the connection is how this response ends."""
        return self.framing is Framing.CLOSE

    def feed(self, data: bytes) -> bool:
        if self.framing is Framing.CHUNKED:
            if len(data) <= _KEPT:  # the mark may be split over reads
                data = self._last[-_KEPT:] + data
            self._last = data
            return data.endswith(_LAST_CHUNK)
        if self.framing is Framing.LENGTH:
            self._left -= len(data)
            return self._left <= 0
        return self.framing is None and self._feed_head(data)

    def _feed_head(self, data: bytes) -> bool:
        data = self._last = self._last + data
        try:
            head = parse_head(data)
        except WireError:
            self.is_broken = True
            return True
        if head is None:
            return False
        self.head, self.framing = head, head.framing
        if self.framing is Framing.CHUNKED:
            self._last = b""
            return self.feed(data[head.size - 2 :])  # an empty body's mark begins with the head's last newline
        if self.framing is Framing.LENGTH:
            self._left = head.length
            return self.feed(data[head.size :])
        return False

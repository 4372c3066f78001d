"""What the two processes of a bridge say to each other: frames over a socket pair.

A frame is a kind, the id of a request, a number and so many bytes as `size` says. The HTTP side never waits
for the engine, which reads only between its steps; the engine writes once a step, and never reads twice.
"""

from __future__ import annotations

import select
import socket
import struct
from array import array
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from enum import IntEnum

_HEAD = struct.Struct("<BIQI")
_READ = 1 << 20
BUFFER = 4 << 20  # asked for on both ends: one step of a large batch is never more


class Kind(IntEnum):
    """What a frame says. To the engine: IDS, TEXT, GONE; from it all others."""

    IDS = 1  # a request: number is when it came (monotonic ns), the rest output length and prompt
    TEXT = 2
    GONE = 3  # the client of a request is gone
    PROMPT = 4  # number: tokens of a prompt that came as a text
    TOKENS = 5  # number: tokens that a request got
    REFUSED = 6  # the request cannot be run: why
    FAILED = 7  # the engine cannot go on: why; it ends after this
    READY = 8  # the engine is loaded: what it says of itself, as JSON


@dataclass(frozen=True, slots=True)
class Frame:
    kind: Kind
    request: int = 0
    number: int = 0
    data: bytes = b""


@dataclass(frozen=True, slots=True)
class Wanted:
    """A request on its way to the engine. came_ns: monotonic, when all of it had been received."""

    id: int
    came_ns: int
    output_len: int
    prompt: tuple[int, ...] | str


def packed(frame: Frame) -> bytes:
    """A frame as bytes."""
    return _HEAD.pack(frame.kind, frame.request, frame.number, len(frame.data)) + frame.data


def packed_tokens(request: int, tokens: int) -> bytes:
    """A TOKENS frame: one for each request at each step, hence without a record of its own."""
    return _HEAD.pack(Kind.TOKENS, request, tokens, 0)


class Unpacker:
    """Frames out of a stream of bytes."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> Iterator[Frame]:
        """The frames that are whole now."""
        data, at = self._rest + data, 0
        while len(data) - at >= _HEAD.size:
            kind, request, number, size = _HEAD.unpack_from(data, at)
            end = at + _HEAD.size + size
            if end > len(data):
                break
            yield Frame(Kind(kind), request, number, data[at + _HEAD.size : end])
            at = end
        self._rest = data[at:]


def request_frame(wanted: Wanted) -> Frame:
    """A request as a frame."""
    is_text = isinstance(wanted.prompt, str)
    prompt = wanted.prompt.encode() if isinstance(wanted.prompt, str) else array("I", wanted.prompt).tobytes()
    data = struct.pack("<I", wanted.output_len) + prompt
    return Frame(Kind.TEXT if is_text else Kind.IDS, wanted.id, wanted.came_ns, data)


def request_of(frame: Frame) -> Wanted:
    """The opposite of `request_frame`."""
    (output_len,) = struct.unpack_from("<I", frame.data)
    if frame.kind is Kind.TEXT:
        return Wanted(frame.request, frame.number, output_len, frame.data[4:].decode())
    return Wanted(frame.request, frame.number, output_len, tuple(array("I", frame.data[4:])))


def line_pair() -> tuple[socket.socket, socket.socket]:
    """Both ends of a line, with room for what the other end has not read yet."""
    ends = socket.socketpair()
    for end in ends:
        end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, BUFFER)  # the system may give less
    return ends


class EngineEnd:
    """The engine's end of the line."""

    def __init__(self, end: socket.socket) -> None:
        self._end, self._unpacker, self._is_open = end, Unpacker(), True

    @property
    def is_open(self) -> bool:
        """Whether the HTTP side is still there."""
        return self._is_open

    def receive(self, timeout_s: float | None) -> list[Frame]:
        """What has come: waits for something at most so long; 0 does not wait, None has no limit."""
        if not self._is_open or not _is_readable(self._end, timeout_s):
            return []
        frames = list[Frame]()
        with suppress(BlockingIOError):
            while self._is_open:
                data = self._end.recv(_READ, socket.MSG_DONTWAIT)
                self._is_open = bool(data)
                frames += self._unpacker.feed(data)
        return frames

    def send(self, pieces: Sequence[bytes]) -> None:
        """All of it, at once; the HTTP side's end is seen by `is_open`."""
        try:
            self._end.sendall(b"".join(pieces))
        except OSError:
            self._is_open = False

    def close(self) -> None:
        self._end.close()


def _is_readable(end: socket.socket, timeout_s: float | None) -> bool:
    return bool(select.select([end], [], [], timeout_s)[0])  # takes microseconds, where poll takes milliseconds

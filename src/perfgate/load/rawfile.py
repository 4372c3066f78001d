"""The raw record of a load run: one append-only file of whole blocks, readable also after a crash.

File: the magic line, then blocks of (kind: 1 byte, length: 4 bytes, payload). What a killed run left half-written
stands at the end, and is not read. The bytes of a response are kept as they came, with the stamps of each read.
"""

from __future__ import annotations

import os
import struct
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import IntEnum
from itertools import pairwise
from pathlib import Path
from typing import TypeAlias

import msgspec

from perfgate.errors import RecordError
from perfgate.load.clock import Offset, in_order
from perfgate.plain_file import open_plain

MAGIC = b"perfgate load 1\n"
BLOCK = struct.Struct("<BI")
_RESPONSE = struct.Struct("<IHhIIqqqqqHI")
_NO_STAMP = bytes(16)

Read: TypeAlias = tuple[int, bytes, Sequence[tuple[int, int, bytes]]]  # loop's stamp ns, bytes, ancillary data


class Kind(IntEnum):
    RESPONSE = 1
    OFFSETS = 2
    STRAY = 3
    END = 4


class Outcome(IntEnum):
    """How a request ended, as far as the loop can see."""

    ENDED = 0  # the response came to its end
    CLOSED = 1  # the server closed the connection
    RESET = 2
    REFUSED = 3  # no connection
    CONNECT_DEADLINE = 4
    FIRST_TOKEN_DEADLINE = 5
    IDLE_DEADLINE = 6
    TOTAL_DEADLINE = 7
    GAVE_UP = 8  # in flight when the run was given up
    NOT_SENT = 9  # its turn had not come then
    BROKEN = 10  # what came is no HTTP/1 response
    OVERSIZED = 11


@dataclass(frozen=True, slots=True)
class Timing:
    """When the loop did what for one request, monotonic ns; 0: it did not.

    due: when it was to be sent (closed loop: when its slot took it up). freed: when its slot became free.
    opening: how long its own connection took to open, where it did not find one open.
    """

    due_ns: int
    freed_ns: int
    opening_ns: int
    sent_ns: int
    ended_ns: int


@dataclass(frozen=True, slots=True)
class RawResponse:
    """What came for one request. index: of its ask in the plan; uses: requests that its connection carried."""

    index: int
    outcome: Outcome
    errno: int
    connection: int
    uses: int
    timing: Timing
    note: str = ""  # the system's words where something failed
    loop_ns: tuple[int, ...] = ()  # one stamp a read
    kernel: bytes = b""  # one C timespec a read, CLOCK_REALTIME; zeros where there is none
    sizes: tuple[int, ...] = ()  # bytes of each read
    data: bytes = b""

    @staticmethod
    def of(
        index: int,
        outcome: Outcome,
        connection: tuple[int, int],
        timing: Timing,
        reads: Sequence[Read],
        exc: OSError | None,
    ) -> RawResponse:
        """From a connection's (number, uses) and its reads as the loop keeps them."""
        return RawResponse(
            index,
            outcome,
            (exc.errno or 0) if exc else 0,
            *connection,
            timing,
            str(exc)[:200] if exc else "",
            tuple([at for at, _, _ in reads]),
            b"".join([stamp[0][2] if stamp else _NO_STAMP for _, _, stamp in reads]),
            tuple([len(data) for _, data, _ in reads]),
            b"".join([data for _, data, _ in reads]),
        )

    def pack(self) -> bytes:
        note, timing = self.note.encode(), self.timing
        return b"".join(
            (
                _RESPONSE.pack(
                    self.index,
                    self.outcome,
                    self.errno,
                    self.connection,
                    self.uses,
                    timing.due_ns,
                    timing.freed_ns,
                    timing.opening_ns,
                    timing.sent_ns,
                    timing.ended_ns,
                    len(note),
                    len(self.sizes),
                ),
                note,
                array("q", self.loop_ns).tobytes(),
                self.kernel,
                array("I", self.sizes).tobytes(),
                self.data,
            )
        )

    @staticmethod
    def unpack(block: bytes) -> RawResponse:
        index, outcome, errno, connection, uses, *timing, note, reads = _RESPONSE.unpack_from(block)
        ends = [_RESPONSE.size]
        for size in (note, 8 * reads, 16 * reads, 4 * reads):
            ends.append(ends[-1] + size)
        words, loop, kernel, sizes = (block[one:two] for one, two in pairwise(ends))
        if ends[-1] > len(block) or sum(array("I", sizes)) != len(block) - ends[-1]:
            raise ValueError("its reads do not add up to its bytes")
        return RawResponse(
            index,
            Outcome(outcome),
            errno,
            connection,
            uses,
            Timing(*timing),
            words.decode(errors="replace"),
            tuple(array("q", loop)),
            kernel,
            tuple(array("I", sizes)),
            block[ends[-1] :],
        )


@dataclass(frozen=True, slots=True)
class LoopEnd:
    """What the loop knows of itself when all is over: times in monotonic ns, CPU time of its process in ns."""

    started_ns: int
    ended_ns: int
    cpu_ns: int
    turns: int  # how often it asked epoll
    connections: int  # how many it opened
    gave_up: str = ""  # why the run was ended before its time
    is_real_time: bool = False  # the loop ran in the real-time class
    nice: int = 0  # the nice value that it ran with


@dataclass(frozen=True, slots=True)
class RawRun:
    """All whole blocks of a raw file. end: None where the run was killed.

    strays: indices of requests whose connection received more after the response had ended.
    """

    responses: tuple[RawResponse, ...]
    offsets: tuple[Offset, ...]
    strays: frozenset[int]
    end: LoopEnd | None


class RawFile:
    """A raw file that is written: each block in one write, so that a crash tears the last one at most."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND | os.O_CLOEXEC, 0o644)
        self._write(MAGIC)

    def response(self, response: RawResponse) -> None:
        self._block(Kind.RESPONSE, response.pack())

    def offsets(self, offsets: Sequence[Offset]) -> None:
        self._block(Kind.OFFSETS, array("q", [n for one in offsets for n in (one.at_ns, one.offset_ns)]).tobytes())

    def stray(self, index: int) -> None:
        self._block(Kind.STRAY, struct.pack("<I", index))

    def end(self, end: LoopEnd) -> None:
        self._block(Kind.END, msgspec.json.encode(end))

    def close(self) -> None:
        os.close(self._fd)

    def _block(self, kind: Kind, payload: bytes) -> None:
        self._write(BLOCK.pack(kind, len(payload)) + payload)

    def _write(self, data: bytes) -> None:
        while data:
            data = data[os.write(self._fd, data) :]


def read_raw(path: Path) -> RawRun:
    """Everything whole in a raw file.

    Raises:
        RecordError: it is no raw file, or a block in it is damaged.
    """
    responses, offsets, strays, end = list[RawResponse](), list[Offset](), set[int](), None
    for kind, payload in _blocks(path):
        try:
            match Kind(kind):
                case Kind.RESPONSE:
                    responses.append(RawResponse.unpack(payload))
                case Kind.OFFSETS:
                    numbers = array("q", payload)
                    offsets += [Offset(at, by) for at, by in zip(numbers[::2], numbers[1::2], strict=True)]
                case Kind.STRAY:
                    strays.add(*struct.unpack("<I", payload))
                case Kind.END:
                    end = msgspec.json.decode(payload, type=LoopEnd)
        except (ValueError, struct.error, msgspec.MsgspecError) as exc:
            raise RecordError(f"{path}: a block of kind {kind} is damaged ({exc}); run the load again") from exc
    return RawRun(tuple(responses), in_order(offsets), frozenset(strays), end)


def _blocks(path: Path) -> Iterator[tuple[int, bytes]]:
    with open_plain(path) as file:
        size = os.fstat(file.fileno()).st_size
        magic = file.read(len(MAGIC))
        if magic != MAGIC:
            if MAGIC.startswith(magic):
                return
            raise RecordError(f"{path}: no raw record of a load run: it begins {magic!r}; name another file")
        while len(header := file.read(BLOCK.size)) == BLOCK.size:
            kind, length = BLOCK.unpack(header)
            if size < file.tell() + length:
                return
            yield kind, file.read(length)

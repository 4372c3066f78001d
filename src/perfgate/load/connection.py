"""Connections of the loop: opened in steps that never wait, then ready to send and to be read."""

from __future__ import annotations

import contextlib
import errno
import platform
import select
import socket
import ssl
import struct
import time
from collections.abc import Callable, Generator
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

from perfgate.errors import UsageError
from perfgate.load.ends import EndFinder
from perfgate.load.rawfile import Read
from perfgate.load.target import Target
from perfgate.load.tls import Received, Tls, Want, receive

READ_BYTES = 16 << 10
ANCILLARY_BYTES = 64  # room for one stamp

# <asm-generic/socket.h>; Python names no constant. The same number on these machines only.
_SO_TIMESTAMPNS = 35
_STAMPING = ("x86_64", "aarch64", "riscv64")
_PROXY_ANSWER_BYTES = 16 << 10
_EVENTS = (b"data:", b"event:", b":")
_BYTES_ACKED, _TCP_INFO_BYTES = 120, 128  # of struct tcp_info, <linux/tcp.h>


class State(IntEnum):
    """What a connection is at; BUSY is the hot one, and false."""

    BUSY = 0  # a response is awaited or read
    OPENING = 1
    IDLE = 2
    SENDING = 3  # a request that did not fit into the socket's buffer


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where connections are made to, looked up once: nothing is resolved while the clock runs."""

    family: int
    address: Any  # as socket.connect takes it
    host: str
    tunnel: bytes = b""  # the CONNECT request, where a proxy stands between
    tls: ssl.SSLContext | None = None


def endpoint(target: Target) -> Endpoint:
    """Look up the target's host (or its proxy), and take the first of its addresses that answers.

    Raises:
        UsageError: the name has no address, or the certificates cannot be read.
    """
    address = target.address
    tunnel = b""
    host, port = address.host, address.port
    if proxy := target.proxy_address:
        host, port = proxy
        tunnel = f"CONNECT {address.authority} HTTP/1.1\r\nHost: {address.authority}\r\n\r\n".encode()
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        tls = _context(target.ca_file) if address.is_tls else None
    except OSError as exc:
        raise UsageError(
            f"url: cannot look up {host!r} or read its certificates: {exc}; check url and ca_file"
        ) from exc
    family, where = _answering([(one[0], one[4]) for one in found], target.timeouts.connect_s)
    return Endpoint(family, where, address.host, tunnel, tls)


class Connection:
    """One connection and the request that it carries.

    `recvmsg`, `send`, `append` and `feed` are bound methods: the hot loop calls them without looking further.
    """

    __slots__ = (
        "append", "bytes", "checked", "counted", "due_ns", "feed", "finder", "freed_ns", "has_token", "index",
        "last_index", "looked", "number", "opening_ns", "reads", "recvmsg", "send", "sent_ns", "since_ns", "sock",
        "state", "steps", "sum_sent", "unsent", "uses", "wants",
    )  # fmt: skip

    def __init__(self, number: int, where: Endpoint) -> None:
        """Begin to connect.

        Raises:
            OSError: no descriptor is left, or the connection fails at once.
        """
        self.number, self.uses, self.state, self.sum_sent = number, 0, State.OPENING, 0
        self.index: int | None = None
        self.last_index: int | None = None
        self.unsent: memoryview | None = None
        self.since_ns, self.opening_ns, self.sent_ns = time.monotonic_ns(), 0, 0
        self.clear()
        self.sock = sock = socket.socket(where.family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
        self.recvmsg: Callable[[int, int], Received] = sock.recvmsg
        self.send: Callable[[bytes | memoryview], int] = sock.send
        try:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            ask_for_stamps(sock)
            with contextlib.suppress(BlockingIOError):  # it goes on by itself
                sock.connect(where.address)
        except OSError:
            sock.close()
            raise
        self.steps = self._open(where)
        self.wants = next(self.steps)

    @property
    def fd(self) -> int:
        return self.sock.fileno()

    @property
    def received(self) -> bytes:
        """All bytes that came for the request so far."""
        return b"".join([data for _, data, _ in self.reads])

    @property
    def mask(self) -> int:
        """What epoll is to look for."""
        if self.state is State.OPENING:
            return select.EPOLLOUT if self.wants is Want.WRITE else select.EPOLLIN
        return select.EPOLLIN | (select.EPOLLOUT if self.state is State.SENDING else 0)

    def take_up(self, index: int, due_ns: int, freed_ns: int) -> None:
        self.index, self.due_ns, self.freed_ns, self.sent_ns, self.opening_ns = index, due_ns, freed_ns, 0, 0

    @property
    def never_arrived(self) -> bool:
        """Whether the request cannot have reached the server: it had closed a connection that was used before.

        The server's system has acknowledged nothing of it; then it may be sent again (RFC 9112, section 9.3.1).
        """
        if self.uses < 2 or self.reads or self.recvmsg != self.sock.recvmsg:  # noqa: PLR2004 - TLS counts otherwise
            return False
        info = self.sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TCP_INFO_BYTES)
        if len(info) < _TCP_INFO_BYTES:
            return False
        return bool(struct.unpack_from("Q", info, _BYTES_ACKED)[0] <= self.sum_sent + 1)  # 1: it may count the SYN

    def drop_stray(self) -> bool:
        """Take away what came before this response's status line, where it belongs to the response before.

        Whether there was any: events, or something with a status line behind it, on a connection used before.
        """
        data = self.received
        begin = data.find(b"HTTP/1.")
        if self.uses < 2 or (begin < 0 and not data.startswith(_EVENTS)):  # noqa: PLR2004
            return False
        at, _, stamp = self.reads[-1]
        self.reads.clear()
        self.finder = EndFinder()
        self.feed = self.finder.feed
        if begin >= 0:
            self.append((at, data[begin:], stamp))
        return True

    def clear(self) -> None:
        """Forget the request that was carried."""
        self.reads = list[Read]()
        self.append = self.reads.append
        self.finder = EndFinder()
        self.feed = self.finder.feed
        self.index, self.has_token = None, False
        self.bytes = self.counted = self.checked = self.looked = 0  # of these reads: what deadlines know

    def advance(self) -> bool:
        """The next step of opening; whether it was the last.

        Raises:
            OSError: the connection, the tunnel or the handshake failed.
        """
        try:
            self.wants = next(self.steps)
        except StopIteration:
            self.opening_ns, self.state = time.monotonic_ns() - self.since_ns, State.IDLE
            return True
        return False

    def _open(self, where: Endpoint) -> Generator[Want, None, None]:
        while True:
            yield Want.WRITE
            if code := self.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
                raise OSError(code, f"connect: {errno.errorcode.get(code, code)}")
            if _is_connected(self.sock):
                break
        if where.tunnel:
            yield from _tunnel(self.sock, where.tunnel)
        if where.tls:
            tls = Tls(self.sock, where.tls, where.host)
            yield from tls.handshake()
            self.recvmsg, self.send = tls.recvmsg, tls.send


def ask_for_stamps(sock: socket.socket) -> bool:
    """Have the kernel stamp what arrives; False where this machine has no such option."""
    if platform.system() != "Linux" or platform.machine() not in _STAMPING:
        return False
    try:
        sock.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
    except OSError:
        return False
    return True


def _tunnel(sock: socket.socket, request: bytes) -> Generator[Want, None, None]:
    sock.send(request)  # a first packet: it fits
    answer = b""
    while b"\r\n\r\n" not in answer:
        piece = yield from receive(sock, _PROXY_ANSWER_BYTES)
        answer += piece
        if not piece or len(answer) > _PROXY_ANSWER_BYTES:
            raise ConnectionRefusedError(errno.ECONNREFUSED, f"the proxy answered {answer[:60]!r} and no more")
    if answer.split(b" ", 2)[1:2] != [b"200"]:
        raise ConnectionRefusedError(errno.ECONNREFUSED, f"the proxy opens no tunnel: {answer[:60]!r}")


def _is_connected(sock: socket.socket) -> bool:
    try:
        sock.getpeername()
    except OSError:
        return False
    return True


def _context(ca_file: str | None) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=ca_file)
    context.set_alpn_protocols(["http/1.1"])
    return context


def _answering(addresses: list[tuple[int, Any]], timeout_s: float) -> tuple[int, Any]:
    """The first address that takes a connection; where none or only one is there, the first."""
    for family, where in addresses if len(addresses) > 1 else []:
        with socket.socket(family, socket.SOCK_STREAM) as sock:
            sock.settimeout(timeout_s)
            if sock.connect_ex(where) == 0:
                return family, where
    return addresses[0]


def stamps_are_there() -> bool:
    """Whether this machine's kernel stamps what arrives."""
    with socket.socket() as sock:
        return ask_for_stamps(sock)

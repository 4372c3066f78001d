"""TLS beneath the loop: reads keep their kernel stamps, the bytes come out decrypted."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Generator
from enum import Enum
from typing import Any

_READ = 64 << 10
Received = tuple[bytes, list[Any], int, Any]


class Want(Enum):
    """What an opening connection waits for."""

    READ = "read"
    WRITE = "write"


class Tls:
    """One TLS session over a non-blocking socket, through memory: nothing here waits.

    `recvmsg` and `send` stand in for those of the socket.
    """

    __slots__ = ("_in", "_out", "_session", "_sock", "_unsent")

    def __init__(self, sock: socket.socket, context: ssl.SSLContext, host: str) -> None:
        self._sock = sock
        self._in, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._session = context.wrap_bio(self._in, self._out, server_hostname=host)
        self._unsent = b""

    def handshake(self) -> Generator[Want, None, None]:
        """Steps of the handshake, each saying what to wait for.

        Raises:
            OSError: it failed (ssl.SSLError is one), or the server went away.
        """
        while True:
            try:
                self._session.do_handshake()
            except ssl.SSLWantReadError:
                yield from self._flush()
                self._take((yield from receive(self._sock, _READ)))
            else:
                yield from self._flush()
                return

    def recvmsg(self, size: int, ancillary: int) -> Received:
        """As of a socket, but plain: raises BlockingIOError where the bytes that came hold no data yet."""
        sealed, stamps, flags, address = self._sock.recvmsg(size, ancillary)
        if not sealed:
            return sealed, stamps, flags, address
        self._in.write(sealed)
        plain = self._plain()
        if plain is None:
            return b"", stamps, flags, address
        if not plain:
            raise BlockingIOError
        return plain, stamps, flags, address

    def send(self, data: bytes | memoryview) -> int:
        """As of a socket: how many bytes of data were taken. All sealed bytes of a call are sent before new ones."""
        if not self._unsent:
            self._session.write(data)
            self._unsent = self._out.read()
        taken = len(data)
        try:
            self._unsent = self._unsent[self._sock.send(self._unsent) :]
        except BlockingIOError:
            return 0
        return taken if not self._unsent else 0

    def _plain(self) -> bytes | None:
        """All data that can be opened now; None: the server closed the session."""
        pieces = list[bytes]()
        while True:
            try:
                piece = self._session.read(_READ)
            except ssl.SSLWantReadError:
                return b"".join(pieces)
            except ssl.SSLZeroReturnError:
                piece = b""
            if not piece:
                return b"".join(pieces) or None
            pieces.append(piece)

    def _take(self, sealed: bytes) -> None:
        if not sealed:
            raise ConnectionResetError("the server closed the connection within the TLS handshake")
        self._in.write(sealed)

    def _flush(self) -> Generator[Want, None, None]:
        sealed = self._out.read()
        while sealed:
            try:
                sealed = sealed[self._sock.send(sealed) :]
            except BlockingIOError:
                yield Want.WRITE


def receive(sock: socket.socket, size: int) -> Generator[Want, None, bytes]:
    """Wait for bytes; empty where the other side closed."""
    while True:
        yield Want.READ
        try:
            return sock.recv(size)
        except BlockingIOError:  # woken without cause
            continue

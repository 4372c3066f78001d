"""One client's connection: its requests one after the other, each answered before the next is looked at."""

from __future__ import annotations

import asyncio
from http import HTTPStatus
from typing import Protocol, cast

from perfgate.engines.bridge_answer import error, whole
from perfgate.engines.bridge_ask import RefusalError
from perfgate.engines.bridge_wire import Reader, Request

_LINGER_S = 2.0  # for a client that is still sending what was refused: closing at once would reset the answer
_PAUSE = 1 << 20  # bytes of later requests that are kept while one is being answered


class Office(Protocol):
    """Who answers requests."""

    def answer(self, request: Request, connection: Connection) -> bytes | None:
        """The answer, or None: it will be sent by `Connection.send` and ended by `Connection.done`.

        Raises:
            RefusalError: the answer is an error.
        """
        ...

    def opened(self, connection: Connection) -> None:
        """A client has come."""
        ...

    def gone(self, connection: Connection) -> None:
        """The client is gone, perhaps while its request was being answered."""
        ...


class Connection(asyncio.Protocol):
    """HTTP/1.1 with keep-alive."""

    def __init__(self, office: Office) -> None:
        self._office, self._reader = office, Reader()
        self._transport: asyncio.Transport | None = None
        self._is_answering = self._is_refused = False
        self._keeps_alive = True

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._office.opened(self)

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        self._transport = None
        self._office.gone(self)

    @property
    def unsent(self) -> int:
        """Bytes that the system has not taken yet."""
        return self._transport.get_write_buffer_size() if self._transport else 0

    def data_received(self, data: bytes) -> None:
        if self._is_refused or self._transport is None:
            return
        self._reader.feed(data)
        self._go_on()
        if self._is_answering and self._reader.waiting > _PAUSE:
            self._transport.pause_reading()

    def send(self, data: bytes) -> None:
        """A piece of the answer; to a client that is gone, nothing."""
        if self._transport is not None and data:
            self._transport.write(data)

    def done(self) -> None:
        """The answer is whole: the next request, if there is one."""
        self._is_answering = False
        if self._transport is None:
            return
        if not self._keeps_alive:
            self._transport.close()
            return
        self._transport.resume_reading()
        self._go_on()

    def _go_on(self) -> None:
        while not self._is_answering and self._transport is not None and not self._transport.is_closing():
            try:
                request = self._reader.next()
            except RefusalError as exc:
                self._refuse(exc)
                return
            if self._reader.is_awaited:
                self._reader.is_awaited = False
                self.send(b"HTTP/1.1 100 Continue\r\n\r\n")
            if request is None:
                return
            self._begin(request)

    def _begin(self, request: Request) -> None:
        self._is_answering, self._keeps_alive = True, request.head.keeps_alive
        try:
            data = self._office.answer(request, self)
        except RefusalError as exc:
            data = whole(exc.status, error(exc.status, str(exc)))
        if data is None:
            return
        self.send(data)
        self._is_answering = False
        if not self._keeps_alive and self._transport is not None:
            self._transport.close()

    def _refuse(self, exc: RefusalError) -> None:
        """Answer what is no request, and hear no more of this client."""
        assert self._transport is not None
        self._is_refused = True
        self._transport.write(whole(exc.status, error(exc.status, str(exc)), is_last=True))
        self._transport.write_eof()
        asyncio.get_running_loop().call_later(_LINGER_S, self._transport.close)


def not_found(path: str) -> RefusalError:
    """The refusal of a route that is not there."""
    return RefusalError(HTTPStatus.NOT_FOUND, f"no route {path[:80]}")

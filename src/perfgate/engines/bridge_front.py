"""The HTTP side of a bridge, in a process of its own: it shares no interpreter lock with the engine.

Run as `python -m perfgate.engines.bridge_front JOB LINE LISTENER` by the engine's process; LINE and LISTENER are
file descriptors. It ends when the engine's process does.
"""

from __future__ import annotations

import asyncio
import gc
import itertools
import json
import resource
import signal
import socket
import sys
import time
from dataclasses import dataclass, field, replace
from http import HTTPStatus
from pathlib import Path
from typing import Any, cast

from perfgate.engines.bridge_answer import Named, Stream, Whole, whole
from perfgate.engines.bridge_ask import Limits, RefusalError, completion
from perfgate.engines.bridge_http import Connection, not_found
from perfgate.engines.bridge_job import Job
from perfgate.engines.bridge_line import Frame, Kind, Unpacker, Wanted, packed, request_frame
from perfgate.engines.bridge_wire import Request
from perfgate.record import decode

COMPLETIONS = "/v1/completions"
_GETS = ("/health", "/version", "/v1/models", "/server_info")
_FLUSH_S = 2.0  # for last answers, once the engine has ended
_POLL_S = 0.01


@dataclass(slots=True)
class _Answering:
    """A request that the engine has."""

    connection: Connection
    answer: Stream | Whole


@dataclass(slots=True)
class _State:
    """What is known of the engine. fault: why it cannot go on."""

    is_ready: bool = False
    fault: str = ""
    facts: dict[str, Any] = field(default_factory=dict)


class Front(asyncio.Protocol):
    """All requests that the engine has, and the line to it."""

    def __init__(self, limits: Limits) -> None:
        self._limits, self._unpacker, self._state = limits, Unpacker(), _State()
        self._ids, self._open = itertools.count(1), dict[int, _Answering]()
        self._line: asyncio.Transport | None = None
        self.connections = set[Connection]()
        self._started_s, self._begin_s = int(time.time()), time.monotonic()
        self.ended = asyncio.get_running_loop().create_future()

    # -------------------------------------------------------------- the engine's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._line = cast("asyncio.Transport", transport)

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        self._line = None
        self._fail(self._state.fault or "the engine's process has ended")
        self.ended.set_result(None)

    def data_received(self, data: bytes) -> None:
        for frame in self._unpacker.feed(data):
            if frame.kind is Kind.TOKENS:
                self._tokens(frame)
            else:
                self._hear(frame)

    def _tokens(self, frame: Frame) -> None:
        one = self._open.get(frame.request)
        if one is None:  # its client is gone
            return
        one.connection.send(one.answer.tokens(frame.number))
        if one.answer.is_done:
            del self._open[frame.request]
            one.connection.done()

    def _hear(self, frame: Frame) -> None:
        match frame.kind:
            case Kind.READY:
                facts = json.loads(frame.data)
                self._limits = replace(self._limits, vocabulary=facts.pop("vocabulary"))
                self._state.is_ready, self._state.facts = True, facts
                gc.collect()
                gc.freeze()
            case Kind.PROMPT if one := self._open.get(frame.request):
                one.answer.prompt_tokens = frame.number
            case Kind.REFUSED:
                self._give_up(frame.request, HTTPStatus.BAD_REQUEST, frame.data.decode())
            case Kind.FAILED:
                self._fail(frame.data.decode())

    def _fail(self, why: str) -> None:
        self._state.fault = why
        for request in list(self._open):
            self._give_up(request, HTTPStatus.INTERNAL_SERVER_ERROR, why)

    def _give_up(self, request: int, status: HTTPStatus, why: str) -> None:
        if one := self._open.pop(request, None):
            one.connection.send(one.answer.failed(status, why))
            one.connection.done()

    def _tell(self, frame: Frame) -> None:
        if self._line is not None:
            self._line.write(packed(frame))

    # -------------------------------------------------------------- the clients' side

    def answer(self, request: Request, connection: Connection) -> bytes | None:
        path = request.head.path
        if path in _GETS:
            _allow(request, "GET")
            return self._told(path)
        if path == COMPLETIONS:
            _allow(request, "POST")
            self._complete(request.body, connection)
            return None
        if path == "/v1/chat/completions":
            raise RefusalError(
                HTTPStatus.NOT_FOUND, f"no chat here: the engine has no chat template; use {COMPLETIONS}"
            )
        raise not_found(path)

    def opened(self, connection: Connection) -> None:
        self.connections.add(connection)

    def gone(self, connection: Connection) -> None:
        self.connections.discard(connection)
        for request, one in list(self._open.items()):
            if one.connection is connection:
                del self._open[request]
                self._tell(Frame(Kind.GONE, request))

    def _complete(self, body: bytes, connection: Connection) -> None:
        self._check_ready()
        came_ns = time.monotonic_ns()
        asked = completion(body, self._limits)
        number = next(self._ids)
        named = Named(number, int(time.time()), self._limits.model)
        answer = Stream(named, asked) if asked.stream else Whole(named, asked)
        self._open[number] = _Answering(connection, answer)
        self._tell(request_frame(Wanted(number, came_ns, asked.max_tokens, asked.prompt)))

    def _check_ready(self) -> None:
        if self._state.fault:
            raise RefusalError(HTTPStatus.SERVICE_UNAVAILABLE, f"the engine has failed: {self._state.fault}")
        if not self._state.is_ready:
            raise RefusalError(HTTPStatus.SERVICE_UNAVAILABLE, "the engine is being loaded: ask /health")

    def _told(self, path: str) -> bytes:
        if path == "/v1/models":
            model = {"id": self._limits.model, "object": "model", "created": self._started_s, "owned_by": "perfgate"}
            model["max_model_len"] = self._limits.most_tokens
            return whole(HTTPStatus.OK, {"object": "list", "data": [model]})
        self._check_ready()
        match path:
            case "/health":
                return whole(HTTPStatus.OK, {"status": "ok"})
            case "/version":
                return whole(HTTPStatus.OK, {"version": self._state.facts["version"]})
            case _:
                used = {"cpu_s": time.process_time(), "up_s": time.monotonic() - self._begin_s}
                return whole(HTTPStatus.OK, {**self._state.facts, "http_side": used})


def _allow(request: Request, method: str) -> None:
    if request.head.method != method:
        raise RefusalError(
            HTTPStatus.METHOD_NOT_ALLOWED, f"{request.head.method} {request.head.path}: only {method} is taken"
        )


async def serve(limits: Limits, line: socket.socket, listener: socket.socket) -> None:
    """Answer requests until the engine's end of the line is closed."""
    loop = asyncio.get_running_loop()
    front = Front(limits)
    await loop.create_connection(lambda: front, sock=line)
    server = await loop.create_server(lambda: Connection(front), sock=listener, backlog=4096)
    await front.ended
    server.close()
    await _flushed(front.connections)


async def _flushed(connections: set[Connection]) -> None:
    """Let the last answers leave."""
    deadline = time.monotonic() + _FLUSH_S
    while time.monotonic() < deadline and any(connection.unsent for connection in connections):  # noqa: ASYNC110
        await asyncio.sleep(_POLL_S)


def limits_of(job: Job) -> Limits:
    """What requests may ask of a job's engine."""
    engine = job.engine
    most_prompt = engine.max_num_tokens if job.is_live and not engine.chunked_prefill else None
    return Limits(engine.name, engine.max_seq_len, most_prompt)


def main(job_path: str, line: str, listener: str) -> int:
    """Serve a job's engine over HTTP."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the engine's process hears it, and its end is ours
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    job = decode(Path(job_path).read_bytes(), Job, job_path)
    ends = (socket.socket(fileno=int(line)), socket.socket(fileno=int(listener)))
    asyncio.run(serve(limits_of(job), *ends))
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))

"""A server on loopback that speaks both OpenAI routes, logs when it sends, and fails as it is told to."""

from __future__ import annotations

import contextlib
import json
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Self

RESET = struct.pack("ii", 1, 0)
BAD_LINES = {
    "malformed": 'data: {"choices": [{"text": "x"',
    "not a field": "garbage without sense",
    "wrong shape": 'data: {"choices": 7}',
    "error event": 'data: {"error": {"message": "out of memory", "code": 500}}',
    "error object": 'data: {"object": "error", "message": "out of memory", "code": 500}',
    "error type": 'event: error\ndata: {"detail": "gone"}',
}


@dataclass
class Manner:
    """How the server answers. faults: by request number (from 0), what goes wrong with it, after `after` tokens."""

    tokens: int | None = None  # None: as many as the request asks for
    ttft_s: float = 0.0
    itl_s: float = 0.0
    faults: dict[int, str] = field(default_factory=dict)
    after: int = 2
    per_event: int = 1
    newline: str = "\n"
    framing: str = "chunked"  # or "close", or "length" (the whole stream at once)
    piece_bytes: int | None = None  # send in pieces of this size
    keep_alive: bool = True
    with_continuous: bool = True  # where asked for
    with_usage: bool = True  # where asked for
    with_done: bool = True
    with_role: bool = True
    stall_s: float = 0.4
    always: str | None = None  # a fault of every request


@dataclass
class Served:
    """What the server knows of one request."""

    number: int
    connection: int
    path: str
    body: dict[str, Any]
    headers: dict[str, str]
    sends_ns: list[int] = field(default_factory=list)  # one a token event


class _EndedError(Exception):
    """This connection is over."""


class FakeServer:
    """A thread for each connection; `with FakeServer(Manner()) as server: ... server.url`."""

    def __init__(self, manner: Manner, tls: ssl.SSLContext | None = None) -> None:
        self.manner, self.served, self.connections = manner, list[Served](), 0
        self._tls, self._lock, self._open = tls, threading.Lock(), list[socket.socket]()
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=512)
        self.port = self._listener.getsockname()[1]
        self.url = f"{'https' if tls else 'http'}://127.0.0.1:{self.port}"
        self.in_flight = self.most_in_flight = 0

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        _stop_listening(self._listener)
        for sock in self._open:
            sock.close()

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._open.append(sock)
            self.connections += 1
            threading.Thread(target=self._serve, args=(sock, self.connections), daemon=True).start()

    def _serve(self, sock: socket.socket, connection: int) -> None:
        try:
            if self._tls:
                sock = self._tls.wrap_socket(sock, server_side=True)
            with sock, sock.makefile("rb") as lines:
                while (one := self._request(lines, connection)) is not None:
                    with self._lock:
                        self.in_flight += 1
                        self.most_in_flight = max(self.most_in_flight, self.in_flight)
                    try:
                        _Answer(sock, self.manner, one).give()
                    finally:
                        with self._lock:
                            self.in_flight -= 1
                    if not self.manner.keep_alive:
                        return
        except (OSError, ValueError, _EndedError):
            return

    def _request(self, lines: Any, connection: int) -> Served | None:
        first = lines.readline().split()
        if not first:
            return None
        headers: dict[str, str] = {}
        while line := lines.readline().strip():
            name, _, value = line.decode().partition(":")
            headers[name.lower()] = value.strip()
        body = json.loads(lines.read(int(headers["content-length"])))
        with self._lock:
            one = Served(len(self.served), connection, first[1].decode(), body, headers)
            self.served.append(one)
        return one


class _Answer:
    def __init__(self, sock: socket.socket, manner: Manner, one: Served) -> None:
        self.sock, self.manner, self.one = sock, manner, one
        self.has_struck = False
        self.is_chat = one.path.endswith("/chat/completions")
        self.fault = manner.always or manner.faults.get(one.number, "")
        self.options = one.body.get("stream_options") or {}
        wanted = one.body.get("max_tokens", 4) if manner.tokens is None else manner.tokens
        self.tokens = {"empty": 0, "few": wanted - 1, "many": wanted + 1}.get(self.fault, wanted)

    def give(self) -> None:
        early = getattr(self, f"_{self.fault.replace(' ', '_')}_at_once", None)
        if early is not None:
            early()
        elif not self.one.body.get("stream"):
            self._whole()
        elif self.manner.framing == "length":
            body = b"".join(event for event, _ in self._events())
            self._send(self._head(f"Content-Length: {len(body)}") + body)
        else:
            self._stream()

    def _stream(self) -> None:
        is_chunked = self.manner.framing == "chunked"
        self._send(self._head("Transfer-Encoding: chunked" if is_chunked else "Connection: close"))
        for event, is_token in self._events():
            if is_token:
                self.one.sends_ns.append(time.monotonic_ns())
            self._send(self._chunk(event) if is_chunked else event)
        if not is_chunked:
            raise _EndedError
        self._send(b"0\r\nX-Trailer: yes\r\n\r\n" if self.fault == "trailer" else b"0\r\n\r\n")
        if self.fault.startswith("stray"):
            time.sleep(0.05 if self.fault == "stray later" else 0)
            self._send(b"data: [DONE]\n\n")

    def _events(self) -> Iterator[tuple[bytes, bool]]:
        """Each event with whether it holds tokens; faults strike in between."""
        if self.is_chat and self.manner.with_role:
            yield self._event(self._choice("", None), 0), False
        time.sleep(self.manner.ttft_s)
        sent = 0
        while sent < self.tokens:
            if sent >= self.manner.after and not self.has_struck:
                self.has_struck = True
                yield from self._strike(sent)
            held = min(self.tokens - sent, self.manner.per_event)
            sent += held
            yield self._event(self._choice("" if self.fault == "no text" else "é" * held, None), sent), True
            if sent < self.tokens:
                time.sleep(self.manner.itl_s)
        if self.fault == "no finish":
            return
        finish = "length" if sent >= self.one.body.get("max_tokens", 4) else "stop"
        finish = "abort" if self.fault == "abort" else finish
        yield self._event(self._choice("", None if self.fault == "null finish" else finish), sent), False
        if self.options.get("include_usage") and self.manner.with_usage:
            told = sent + 40 if self.fault == "usage lies" else sent
            yield self._event([], told, force_usage=True), False
        if self.manner.with_done and self.fault != "no done":
            yield self._line("data: [DONE]"), False
        if self.fault == "done twice":
            yield self._line("data: [DONE]"), False

    def _strike(self, sent: int) -> Iterator[tuple[bytes, bool]]:  # noqa: C901 - a list of faults
        match self.fault:
            case "reset":
                self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
                raise _EndedError
            case "close":
                raise _EndedError
            case "close in event":
                self._send(self._chunk(self._event(self._choice("x", None), sent))[:-20])
                raise _EndedError
            case fault if fault in BAD_LINES:
                yield self._line(BAD_LINES[fault]), False
            case "cut short":
                self._send(b"0\r\n\r\n")
                raise _EndedError
            case "stall":
                time.sleep(self.manner.stall_s)
            case "hang" | "hang after role":
                time.sleep(30)
            case "oversized":
                yield self._line(f'data: {{"choices": [{{"text": "{"x" * 300_000}"}}]}}'), True
            case "endless line":
                for _ in range(3000):
                    self._send(self._chunk(b"x" * 8000))
                time.sleep(30)
            case "bad chunk":
                self._send(b"zz\r\nnothing\r\n")
                time.sleep(30)

    def _choice(self, text: str, finish: str | None) -> list[dict[str, Any]]:
        part = {"delta": {"content": text}} if self.is_chat else {"text": text}
        ids = {"token_ids": list(range(len(text)))} if self.one.body.get("return_token_ids") else {}
        return [{"index": 0, **part, **ids, "finish_reason": finish}]

    def _event(self, choices: list[dict[str, Any]], sent: int, *, force_usage: bool = False) -> bytes:
        record: dict[str, Any] = {"id": "x", "choices": choices}
        if force_usage or (self.options.get("continuous_usage_stats") and self.manner.with_continuous):
            record["usage"] = self._usage(sent)
        return self._line(f"data: {json.dumps(record, ensure_ascii=False)}")

    def _usage(self, sent: int) -> dict[str, int]:
        told = 0 if self.fault == "usage zero" else sent
        return {"prompt_tokens": 7, "completion_tokens": told, "total_tokens": told + 7}

    def _line(self, text: str) -> bytes:
        return (
            (f": a comment\n{text}\n\n" if self.manner.newline != "\n" else f"{text}\n\n")
            .replace("\n", self.manner.newline)
            .encode()
        )

    def _chunk(self, data: bytes) -> bytes:
        return b"%x\r\n%b\r\n" % (len(data), data)

    def _head(self, framing: str, status: str = "200 OK", kind: str = "text/event-stream; charset=utf-8") -> bytes:
        closing = "" if self.manner.keep_alive or "close" in framing else "Connection: close\r\n"
        return f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\n{framing}\r\n{closing}\r\n".encode()

    def _whole(self, status: str = "200 OK", kind: str = "application/json", cut: int = 0) -> None:
        time.sleep(self.manner.ttft_s)
        text = "" if self.fault == "no text" else "é" * self.tokens
        part = {"message": {"content": text}} if self.is_chat else {"text": text}
        record = {"choices": [{**part, "finish_reason": "length"}], "usage": self._usage(self.tokens)}
        body = b"{" if self.fault == "malformed" else json.dumps(record).encode()
        self._send(self._head(f"Content-Length: {len(body) + cut}", status, kind) + body)
        if cut:
            raise _EndedError

    def _send(self, data: bytes) -> None:
        size = self.manner.piece_bytes or max(1, len(data))
        for at in range(0, len(data), size):
            self.sock.sendall(data[at : at + size])
            if self.manner.piece_bytes:
                time.sleep(0.0003)

    def _status_at_once(self, status: str = "500 Internal Server Error") -> None:
        body = b'{"error": "the engine died"}'
        self._send(self._head(f"Content-Length: {len(body)}", status, "application/json") + body)

    def _too_many_at_once(self) -> None:
        self._status_at_once("429 Too Many Requests")

    def _no_http_at_once(self) -> None:
        self._send(b"SSH-2.0-OpenSSH_9.2\r\n")
        raise _EndedError

    def _silent_at_once(self) -> None:
        time.sleep(30)

    def _head_only_at_once(self) -> None:
        self._send(self._head("Transfer-Encoding: chunked"))
        time.sleep(30)

    def _close_at_once_at_once(self) -> None:
        raise _EndedError

    def _page_at_once(self) -> None:
        self._whole(kind="text/html")

    def _plain_answer_at_once(self) -> None:
        self._whole()

    def _length_lies_at_once(self) -> None:
        self._whole(cut=50)

    def _nothing_at_once(self) -> None:
        self._send(self._head("Content-Length: 0"))

    def _flood_at_once(self) -> None:
        """Well-formed events until the client closes."""
        self._send(self._head("Transfer-Encoding: chunked"))
        block = self._chunk(self._event(self._choice("x", None), 1)) * 300
        while True:
            self._send(block)

    def _drip_at_once(self) -> None:
        """Never idle, never done."""
        self._send(self._head("Transfer-Encoding: chunked"))
        for sent in range(1, 3000):
            self._send(self._chunk(self._event(self._choice("x", None), sent)))
            time.sleep(0.01)


def completion_bodies(count: int, tokens: int = 4) -> list[dict[str, Any]]:
    return [{"model": "m", "prompt": [1, 2, at], "max_tokens": tokens, "ignore_eos": True} for at in range(count)]


def wait_for(claim: Callable[[], bool], timeout_s: float = 5.0) -> bool:
    deadline = time.monotonic() + timeout_s
    while not claim() and time.monotonic() < deadline:
        time.sleep(0.01)
    return claim()


class FakeProxy:
    """A CONNECT proxy on loopback; `refuses`: it opens no tunnel."""

    def __init__(self, *, refuses: bool = False) -> None:
        self.refuses, self.asked = refuses, list[bytes]()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        _stop_listening(self._listener)

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(sock,), daemon=True).start()

    def _serve(self, sock: socket.socket) -> None:
        with sock, contextlib.suppress(OSError):
            line = sock.recv(4096).split(b"\r\n")[0]
            self.asked.append(line)
            if self.refuses:
                sock.sendall(b"HTTP/1.1 403 Forbidden\r\n\r\n")
                return
            host, port = line.split()[1].decode().split(":")
            with socket.create_connection((host, int(port))) as far:
                sock.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
                threading.Thread(target=_pump, args=(sock, far), daemon=True).start()
                _pump(far, sock)


def _stop_listening(listener: socket.socket) -> None:
    """Closing alone leaves a thread in accept(), which takes one more connection."""
    with listener, contextlib.suppress(OSError):
        listener.shutdown(socket.SHUT_RDWR)


def _pump(source: socket.socket, sink: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            sink.sendall(data)
        sink.shutdown(socket.SHUT_WR)

"""Answers of /v1/completions as bytes: server-sent events as vLLM writes them, or one JSON.

The engines tell how many tokens came, not which: each token's text is one `PLACEHOLDER`.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from perfgate.engines.bridge_ask import Completion

PLACEHOLDER = "."
_END = b"0\r\n\r\n"
_DONE = b"data: [DONE]\n\n"


def head(status: HTTPStatus, kind: str, framing: str, *, is_last: bool = False) -> bytes:
    """A response's head; is_last: the connection is closed behind it."""
    closing = "Connection: close\r\n" if is_last else ""
    return f"HTTP/1.1 {status.value} {status.phrase}\r\nContent-Type: {kind}\r\n{framing}\r\n{closing}\r\n".encode()


def whole(status: HTTPStatus, answer: Any, *, is_last: bool = False) -> bytes:
    """A response that is one JSON."""
    body = json.dumps(answer).encode()
    return head(status, "application/json", f"Content-Length: {len(body)}", is_last=is_last) + body


def error(status: HTTPStatus, message: str) -> dict[str, Any]:
    """An error as OpenAI's routes have it."""
    kind = "invalid_request_error" if status < HTTPStatus.INTERNAL_SERVER_ERROR else "server_error"
    return {"error": {"message": message, "type": kind, "param": None, "code": status.value}}


def chunk(data: bytes) -> bytes:
    """A chunk of a chunked body."""
    return b"%x\r\n%b\r\n" % (len(data), data)


@dataclass(frozen=True, slots=True)
class Named:
    """What every event of an answer begins with."""

    id: int
    created_s: int
    model: str

    @property
    def start(self) -> str:
        """The beginning of the JSON, which all events share."""
        return (
            f'{{"id":"cmpl-{self.id}","object":"text_completion","created":{self.created_s},'
            f'"model":{json.dumps(self.model)},"choices":['
        )


class Stream:
    """The pieces of one streamed answer, in order."""

    def __init__(self, named: Named, asked: Completion) -> None:
        self._asked, self._got = asked, 0
        self.prompt_tokens = len(asked.prompt)  # of a text: set when the engine tells
        self._start = f"data: {named.start}"
        self._is_begun = False

    def tokens(self, count: int) -> bytes:
        """What to send when so many more tokens came; with the last one, the end of the answer."""
        self._got += count
        is_last = self._got >= self._asked.max_tokens
        finish = '"length"' if is_last else "null"
        choice = f'{{"index":0,"text":"{PLACEHOLDER * count}","logprobs":null,"finish_reason":{finish}}}'
        data = self._opening() + chunk(self._event(choice, has_usage=self._asked.continuous_usage))
        if not is_last:
            return data
        if self._asked.include_usage:
            data += chunk(self._event("", has_usage=True))
        return data + chunk(_DONE) + _END

    @property
    def is_done(self) -> bool:
        return self._got >= self._asked.max_tokens

    def failed(self, status: HTTPStatus, message: str) -> bytes:
        """An error event and the end; before the first token an answer with that status."""
        if not self._is_begun:
            return whole(status, error(status, message))
        return chunk(b"data: " + json.dumps(error(status, message)).encode() + b"\n\n") + chunk(_DONE) + _END

    def _opening(self) -> bytes:
        if self._is_begun:
            return b""
        self._is_begun = True
        return head(HTTPStatus.OK, "text/event-stream; charset=utf-8", "Transfer-Encoding: chunked")

    def _event(self, choices: str, *, has_usage: bool) -> bytes:
        prompt, got = self.prompt_tokens, self._got
        counts = f'"prompt_tokens":{prompt},"total_tokens":{prompt + got},"completion_tokens":{got}'
        told = f',"usage":{{{counts}}}' if has_usage else ""
        return f"{self._start}{choices}]{told}}}\n\n".encode()


class Whole:
    """An answer that is not streamed: one JSON behind the last token."""

    def __init__(self, named: Named, asked: Completion) -> None:
        self._named, self._asked, self._got = named, asked, 0
        self.prompt_tokens = len(asked.prompt)  # of a text: set when the engine tells

    def tokens(self, count: int) -> bytes:
        """Nothing, until the last token came."""
        self._got += count
        if not self.is_done:
            return b""
        choice = {"index": 0, "text": PLACEHOLDER * self._got, "logprobs": None, "finish_reason": "length"}
        answer = {**json.loads(f"{self._named.start}]}}"), "choices": [choice]}
        prompt, got = self.prompt_tokens, self._got
        usage = {"prompt_tokens": prompt, "total_tokens": prompt + got, "completion_tokens": got}
        return whole(HTTPStatus.OK, answer | {"usage": usage})

    @property
    def is_done(self) -> bool:
        return self._got >= self._asked.max_tokens

    def failed(self, status: HTTPStatus, message: str) -> bytes:
        """The error in place of the answer."""
        return whole(status, error(status, message))

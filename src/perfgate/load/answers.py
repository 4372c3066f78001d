"""What the events of the two OpenAI routes say: text, tokens, usage, finish, errors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec


class _Usage(msgspec.Struct, gc=False):
    prompt_tokens: int | None = None
    completion_tokens: int | None = None


class _Text(msgspec.Struct, gc=False):
    """A delta or a message of the chat route."""

    content: Any = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    tool_calls: Any = None

    @property
    def words(self) -> str:
        return "".join(one for one in (self.reasoning_content, self.reasoning, self.content) if isinstance(one, str))

    def __bool__(self) -> bool:
        return bool(self.content or self.reasoning_content or self.reasoning or self.tool_calls)


class _Choice(msgspec.Struct, gc=False):
    text: str | None = None
    delta: _Text | None = None
    message: _Text | None = None
    finish_reason: str | None = None
    token_ids: list[int] | None = None

    @property
    def has_text(self) -> bool:
        return bool(self.text or self.delta or self.message)

    @property
    def words(self) -> str:
        told = self.delta or self.message
        return (self.text or "") + (told.words if told else "")


class Answer(msgspec.Struct, gc=False):
    """One event, or a whole response that is not streamed."""

    choices: list[_Choice] = []
    usage: _Usage | None = None
    error: Any = None
    object: str | None = None
    message: str | None = None

    @property
    def has_text(self) -> bool:
        return self.choices[0].has_text if len(self.choices) == 1 else any(one.has_text for one in self.choices)

    @property
    def text(self) -> str:
        """What it adds to the text of all choices."""
        return "".join(one.words for one in self.choices)

    @property
    def token_ids(self) -> int | None:
        """How many token ids it lists; None: it lists none at all, not even an empty list."""
        if len(self.choices) == 1 and self.choices[0].token_ids is None:  # nearly always: told without a list
            return None
        lists = [choice.token_ids for choice in self.choices if choice.token_ids is not None]
        return sum(map(len, lists)) if lists else None

    @property
    def finish_reason(self) -> str | None:
        return next((choice.finish_reason for choice in self.choices if choice.finish_reason), None)

    @property
    def error_words(self) -> str | None:
        """What the server says went wrong: an `error` member, or an object of that kind (older vLLM, TensorRT-LLM)."""
        if self.error:
            return str(self.error)[:200]
        return (self.message or "without a message")[:200] if self.object == "error" else None


# What parsing raises where an event's data is no JSON, not of these routes' shape, or nested without end.
NO_ANSWER = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)

# Parses an event's data; raises NO_ANSWER.
answer: Callable[[bytes], Answer] = msgspec.json.Decoder(Answer).decode

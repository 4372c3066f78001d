"""How much a server may answer: bytes of one response and of a whole run, by what was asked for."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from perfgate.errors import UsageError

READ_COST = 512  # of each read beside its bytes: tuples, stamps and ancillary data in CPython

_TOKEN_BYTES = 2 << 10  # a token's event has 150 to 500 bytes, with READ_COST at most 1 KiB
_LOGPROB_BYTES = 256  # an alternative of a token with its bytes as numbers is 60 to 130
_PROMPT_BYTES = 64  # an id or the text of a prompt's token, where the server sends the prompt back
_LOGPROBS = ("logprobs", "top_logprobs", "prompt_logprobs")
_EVENTS, _EVENTS_A_TOKEN = 1024, 2


@dataclass(frozen=True, slots=True)
class Bounds:
    """Bytes that come on top of what the largest answers take (`answer_bytes`); sizes count READ_COST a read.

    response_bytes: for one response, of 4 times its answer. most_response_bytes: never more, whatever was asked for.
    run_bytes: for all responses together, of 2 times their answers, once in memory and once on disk.
    cut_bytes: for a response in flight when the run is given up, of its answer: decoding it must not take long.
    """

    response_bytes: int = 1 << 20
    most_response_bytes: int = 256 << 20
    run_bytes: int = 256 << 20
    cut_bytes: int = 64 << 10

    def __post_init__(self) -> None:
        for name in ("response_bytes", "most_response_bytes", "run_bytes", "cut_bytes"):
            if not getattr(self, name) > 0:
                raise UsageError(f"bounds.{name}: found {getattr(self, name)}, expected more than 0; leave it out")

    def of_response(self, answer: int) -> int:
        return min(self.response_bytes + 4 * answer, self.most_response_bytes)

    def of_run(self, answers: Iterable[int]) -> int:
        return self.run_bytes + 2 * sum(answers)

    def when_given_up(self, answer: int) -> int:
        return min(self.cut_bytes + answer, self.of_response(answer))


def answer_bytes(body: Mapping[str, Any], input_tokens: int, output_tokens: int) -> int:
    """The largest answer that a server can be expected to give to a request's body, in bytes."""
    logprobs = _LOGPROB_BYTES * max(_count(body.get(name)) for name in _LOGPROBS)
    return output_tokens * (_TOKEN_BYTES + logprobs) + input_tokens * (_PROMPT_BYTES + logprobs)


def most_events(output_tokens: int) -> int:
    """More events than any server needs for so many tokens."""
    return _EVENTS + _EVENTS_A_TOKEN * output_tokens


def _count(value: object) -> int:
    """How many alternatives an option asks for: `true` is one."""
    return int(value) if isinstance(value, int) and value > 0 else 0

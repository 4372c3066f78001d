"""What is known of one request after the run: when what came, how many tokens, and what was wrong."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise

from perfgate.load.sameness import Sameness


class TokenSource(StrEnum):
    """Where token counts are from. Text chunks are not tokens: a detokeniser holds text back."""

    CONTINUOUS_USAGE = "continuous usage"  # the server counts up in each event
    TOKEN_IDS = "token ids"  # each event lists its tokens
    USAGE_TOTAL = "usage total"  # only the sum is known; an event may hold any number
    TEXT_CHUNKS = "text chunks (not tokens)"  # not even the sum is known
    NOTHING = "nothing"  # nothing came


class FaultKind(StrEnum):
    """Why a request is no success; each has exactly one, the one that explains most."""

    REFUSED = "refused"  # no connection
    CONNECT_DEADLINE = "connect deadline"
    RESET = "reset"
    DROPPED = "dropped"  # closed by the server before the response's end
    HTTP_STATUS = "http status"
    NOT_HTTP = "not http"
    WRONG_TYPE = "wrong content type"
    MALFORMED = "malformed"
    OVERSIZED = "oversized"
    ERROR_EVENT = "error event"
    CUT_SHORT = "cut short"  # ended in order, but without finish reason, or with neither [DONE] nor usage
    AFTER_END = "data after the end"
    EMPTY = "empty output"
    WRONG_COUNT = "wrong token count"
    STALLED = "stalled"  # idle deadline
    FIRST_TOKEN_DEADLINE = "first token deadline"
    TOTAL_DEADLINE = "total deadline"
    GAVE_UP = "run given up"  # in flight then
    NOT_SENT = "not sent"  # the run was given up before its turn


@dataclass(frozen=True, slots=True)
class RequestFault:
    """What was wrong with a request: its class, and what was found in words."""

    kind: FaultKind
    found: str


@dataclass(frozen=True, slots=True)
class Usage:
    """Token counts as the server reported them last; None: it did not."""

    input_tokens: int | None = None
    output_tokens: int | None = None


@dataclass(frozen=True, slots=True)
class RequestRecord:
    """One request. Times are CLOCK_MONOTONIC ns; None: did not happen.

    due_ns: when it was to be sent (closed loop: when it was sent, or when a connection was begun for it).
    ready_ns: from when the client could have sent it: due, and a slot free. opening_ns: how long a connection opened
    for it took. event_ns, event_tokens: each event with data, but [DONE], and the tokens it brought by the source.
    With source 'text chunks' an event that brought text counts 1, which is not a number of tokens; with 'usage total'
    likewise, unless there were as many as the server says.
    output_tokens: how many came; None where the server does not tell and nothing else does.
    """

    index: int
    is_warmup: bool
    input_asked: int
    output_asked: int
    due_ns: int
    ready_ns: int
    opening_ns: int
    sent_ns: int | None
    ended_ns: int  # end of stream: the last byte of the response, or when it was given up
    first_byte_ns: int | None = None
    event_ns: tuple[int, ...] = ()
    event_tokens: tuple[int, ...] = ()
    status: int | None = None
    finish_reason: str | None = None
    usage: Usage = Usage()
    source: TokenSource = TokenSource.NOTHING
    output_tokens: int | None = None
    is_stream: bool = True
    fault: RequestFault | None = None
    connection: int = 0
    is_scheduled: bool = False  # due at a time of its own (open loop)
    sameness: Sameness | None = None  # of what came; None: nothing did

    @property
    def token_ns(self) -> tuple[int, ...]:
        """When events came that brought tokens."""
        return tuple(at for at, count in zip(self.event_ns, self.event_tokens, strict=True) if count)

    @property
    def token_gaps_ns(self) -> list[int]:
        """Times between events that brought tokens."""
        return [after - before for before, after in pairwise(self.token_ns)]

    @property
    def gaps_per_token_ns(self) -> list[float]:
        """Each such time shared among the tokens of the event that ended it, one a token."""
        counts = [count for count in self.event_tokens if count][1:]
        return [gap / n for gap, n in zip(self.token_gaps_ns, counts, strict=True) for _ in range(n)]

    @property
    def tpot_ns(self) -> float | None:
        """Time per token after the first; None with fewer than two, or where their number is not known."""
        first, last, count = self.first_token_ns, self.last_token_ns, self.output_tokens
        if first is None or last is None or count is None or count < 2:  # noqa: PLR2004 - the first token is TTFT's
            return None
        return (last - first) / (count - 1)

    @property
    def first_token_ns(self) -> int | None:
        return next((at for at, count in zip(self.event_ns, self.event_tokens, strict=True) if count), None)

    @property
    def last_token_ns(self) -> int | None:
        return next((at for at, count in zip(self.event_ns[::-1], self.event_tokens[::-1], strict=True) if count), None)

    @property
    def tokens_per_event_are_known(self) -> bool:
        """Whether `event_tokens` are numbers of tokens."""
        if self.source is TokenSource.USAGE_TOTAL:
            return sum(self.event_tokens) == self.output_tokens
        return self.source in {TokenSource.CONTINUOUS_USAGE, TokenSource.TOKEN_IDS}

"""Say of each request whether it is a success, and if not, which one fault explains it best."""

from __future__ import annotations

from dataclasses import dataclass

from perfgate.load.rawfile import Outcome
from perfgate.load.request import FaultKind, RequestFault

_BY_OUTCOME = {
    Outcome.REFUSED: (FaultKind.REFUSED, "no connection"),
    Outcome.CONNECT_DEADLINE: (FaultKind.CONNECT_DEADLINE, "the connection did not open in time"),
    Outcome.NOT_SENT: (FaultKind.NOT_SENT, "the run was given up before its turn"),
    Outcome.GAVE_UP: (FaultKind.GAVE_UP, "in flight when the run was given up"),
    Outcome.FIRST_TOKEN_DEADLINE: (FaultKind.FIRST_TOKEN_DEADLINE, "no token came in time"),
    Outcome.IDLE_DEADLINE: (FaultKind.STALLED, "nothing more came"),
    Outcome.TOTAL_DEADLINE: (FaultKind.TOTAL_DEADLINE, "not ended in time"),
    Outcome.OVERSIZED: (FaultKind.OVERSIZED, "more bytes came than are kept"),
    Outcome.RESET: (FaultKind.RESET, "the connection was reset"),
    Outcome.CLOSED: (FaultKind.DROPPED, "the server closed the connection before the response ended"),
}

_GIVEN_UP = frozenset({"abort", "cancelled", "error", "timeout"})  # finish reasons of vLLM and TensorRT-LLM


@dataclass(frozen=True, slots=True)
class Seen:
    """What is known of a response, as far as its success goes. Texts are None where there is nothing to tell."""

    outcome: Outcome = Outcome.ENDED
    note: str = ""
    status: int | None = None
    content_type: str = ""
    wanted_type: str = ""
    is_body_whole: bool = False
    is_done: bool = False  # [DONE] came
    is_stray: bool = False  # something came behind the end
    not_http: str | None = None
    bad_framing: str | None = None  # chunks that are none: where the response ends is unknown
    malformed: str | None = None
    oversized: str | None = None
    error: str | None = None
    words: str = ""  # the body's beginning
    finish_reason: str | None = None
    has_usage: bool = False
    has_tokens: bool = False
    output_tokens: int | None = None
    counted: int | None = None  # from ids or continuous usage
    usage_tokens: int | None = None
    asked: int = 0
    is_count_fixed: bool = False


def fault_of(seen: Seen) -> RequestFault | None:
    """The fault of a request; None: a success.

    A success has status 200 and the type of body that was asked for, all of it well-formed, tokens, a finish reason,
    [DONE] or usage, nothing behind the end, and the number of tokens that was asked for where that was fixed.
    What the server itself says (status, error event) explains more than what followed from it.
    """
    for check in (_by_server, _by_outcome, _by_form, _by_end, _by_count):
        if (fault := check(seen)) is not None:
            return fault
    return None


def _by_server(seen: Seen) -> RequestFault | None:
    if seen.status is not None and seen.status != 200:  # noqa: PLR2004
        return RequestFault(FaultKind.HTTP_STATUS, f"{seen.status}: {seen.words}")
    if seen.error is not None:
        return RequestFault(FaultKind.ERROR_EVENT, seen.error)
    return None


def _by_outcome(seen: Seen) -> RequestFault | None:
    if seen.not_http is not None:
        return RequestFault(FaultKind.NOT_HTTP, seen.not_http)
    if seen.bad_framing is not None:
        return RequestFault(FaultKind.MALFORMED, seen.bad_framing)
    if seen.outcome not in _BY_OUTCOME:
        return None
    kind, words = _BY_OUTCOME[seen.outcome]
    return RequestFault(kind, f"{words} ({seen.note})" if seen.note else words)


def _by_form(seen: Seen) -> RequestFault | None:
    if seen.oversized is not None:
        return RequestFault(FaultKind.OVERSIZED, seen.oversized)
    if seen.malformed is not None:
        return RequestFault(FaultKind.MALFORMED, seen.malformed)
    if seen.content_type != seen.wanted_type and (seen.content_type or seen.words):
        return RequestFault(
            FaultKind.WRONG_TYPE, f"found {seen.content_type or 'no content type'!r}, expected {seen.wanted_type!r}"
        )
    if not seen.is_body_whole:
        return RequestFault(FaultKind.MALFORMED, "the mark of a response's end stood within its body")
    return None


def _by_end(seen: Seen) -> RequestFault | None:
    if not seen.has_tokens:
        told = f", though usage says {seen.usage_tokens}: neither text nor token ids came" if seen.usage_tokens else ""
        return RequestFault(FaultKind.EMPTY, f"the response ended in order without a token{told}")
    if seen.finish_reason in _GIVEN_UP:
        return RequestFault(FaultKind.CUT_SHORT, f"the server gave it up: finish_reason {seen.finish_reason!r}")
    missing = [] if seen.finish_reason else ["finish_reason"]
    if not (seen.is_done or seen.has_usage):
        missing.append("[DONE] or usage")
    if missing:
        return RequestFault(FaultKind.CUT_SHORT, f"ended without {' and without '.join(missing)}")
    if seen.is_stray:
        return RequestFault(FaultKind.AFTER_END, "more came behind the response's end")
    return None


def _by_count(seen: Seen) -> RequestFault | None:
    if seen.usage_tokens == 0:
        return RequestFault(FaultKind.WRONG_COUNT, "text came, the server's usage says 0 tokens")
    told = [count for count in (seen.counted, seen.usage_tokens) if count is not None]
    if len(set(told)) > 1:
        return RequestFault(FaultKind.WRONG_COUNT, f"{told[0]} tokens came, the server's usage says {told[1]}")
    if seen.output_tokens is None or (seen.output_tokens == seen.asked and seen.is_count_fixed):
        return None
    if seen.is_count_fixed or seen.output_tokens > seen.asked:
        return RequestFault(FaultKind.WRONG_COUNT, f"{seen.output_tokens} tokens came, {seen.asked} were asked for")
    return None

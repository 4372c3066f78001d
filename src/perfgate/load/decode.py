"""Raw responses to request records, after the run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from perfgate.load import wire
from perfgate.load.answers import NO_ANSWER, Answer, answer
from perfgate.load.bounds import most_events
from perfgate.load.clock import Offset, stamps
from perfgate.load.faults import Seen, fault_of
from perfgate.load.rawfile import Outcome, RawResponse
from perfgate.load.request import RequestRecord, TokenSource, Usage
from perfgate.load.sameness import sameness

_DONE = b"[DONE]"


@dataclass(frozen=True, slots=True)
class Asked:
    """What decoding has to know of an ask."""

    input_tokens: int
    output_tokens: int
    is_count_fixed: bool  # ignore_eos was set: exactly so many tokens have to come
    is_scheduled: bool  # due at a time of its own, not when a slot is free
    is_warmup: bool = False


@dataclass(frozen=True, slots=True)
class Reading:
    """What the reads of one response tell of the client itself.

    lags_ns: how long after the kernel's stamp the loop's own came, of each read that has both; all_reads: how many
    there were. reads: those that ended events with tokens; merged: those among them that ended several, with their
    lags where they have one.
    """

    lags_ns: tuple[int, ...] = ()
    all_reads: int = 0
    reads: int = 0
    merged: int = 0
    merged_lags_ns: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Decoded:
    record: RequestRecord
    reading: Reading


@dataclass(frozen=True, slots=True)
class _Limits:
    """How much of a stream is read: events, and bytes of each."""

    events: int
    event_bytes: int


@dataclass(frozen=True, slots=True)
class _Body:
    """What a response holds, times aside: each event's end in received bytes, and what it said."""

    seen: Seen
    ends: tuple[int, ...] = ()
    answers: tuple[Answer, ...] = ()


def decode(
    raw: RawResponse, asked: Asked, offsets: Sequence[Offset], *, is_stream: bool, is_stray: bool, most_event_bytes: int
) -> Decoded:
    """Everything that one raw response tells. is_stray: bytes came behind its end, in a read of their own."""
    at = stamps(raw.loop_ns, raw.kernel, offsets)
    limits = _Limits(most_events(asked.output_tokens), most_event_bytes)
    body = _body(raw, limits, is_stream=is_stream)
    reads = _read_of(body.ends, raw.sizes)
    tokens, source = count_tokens(body.answers)
    usage = _usage(body.answers)
    output = _output_tokens(tokens, source, usage)
    seen = replace(
        body.seen,
        outcome=raw.outcome,
        note=raw.note,
        is_stray=body.seen.is_stray or is_stray,
        asked=asked.output_tokens,
        is_count_fixed=asked.is_count_fixed,
        has_usage=usage.output_tokens is not None,
        usage_tokens=usage.output_tokens,
        has_tokens=any(tokens),
        output_tokens=output,
        counted=sum(tokens) if source in {TokenSource.CONTINUOUS_USAGE, TokenSource.TOKEN_IDS} else None,
        finish_reason=next((one.finish_reason for one in reversed(body.answers) if one.finish_reason), None),
    )
    timing = raw.timing
    record = RequestRecord(
        raw.index,
        asked.is_warmup,
        asked.input_tokens,
        asked.output_tokens,
        timing.due_ns,
        max(timing.due_ns, timing.freed_ns) if asked.is_scheduled else timing.freed_ns,
        timing.opening_ns,
        timing.sent_ns or None,
        at.at_ns[-1] if at.at_ns and raw.outcome is Outcome.ENDED else timing.ended_ns,
        at.at_ns[0] if at.at_ns else None,
        tuple([at.at_ns[read] for read in reads]),
        tuple(tokens),
        seen.status,
        seen.finish_reason,
        usage,
        source,
        output,
        is_stream,
        fault_of(seen),
        raw.connection,
        asked.is_scheduled,
        sameness(body.answers),
    )
    lags = [own - kernel for own, kernel in zip(raw.loop_ns, at.at_ns, strict=True)]  # 0: no stamp of the kernel
    bearers = [read for read, count in zip(reads, tokens, strict=True) if count]
    several = {one for one, other in pairwise(bearers) if one == other}
    late = tuple(filter(None, [lags[read] for read in several]))
    return Decoded(record, Reading(tuple(filter(None, lags)), len(lags), len(set(bearers)), len(several), late))


def has_token(data: bytes) -> bool:
    """Whether the received bytes of a stream hold a token yet, or an error that stands in its place."""
    try:
        head = wire.parse_head(data)
    except wire.WireError:
        return False
    if head is None:
        return False
    for _, _, event in wire.events(wire.parse_body(data, head).data):
        try:
            one = answer(event)
        except NO_ANSWER:
            continue
        if one.has_text or one.token_ids or one.error_words or (one.usage and one.usage.completion_tokens):
            return True
    return False


def count_tokens(answers: Sequence[Answer]) -> tuple[list[int], TokenSource]:
    """Tokens of each event, by the best source that the events offer.

    Only text and token ids show that tokens came: usage alone, or text whose usage stays 0, counts nothing.
    """
    if not answers:
        return [], TokenSource.NOTHING
    ids = [one.token_ids for one in answers]
    if any(ids):
        return [one or 0 for one in ids], TokenSource.TOKEN_IDS
    totals = [one.usage.completion_tokens if one.usage else None for one in answers]
    texts = [one.has_text for one in answers]
    told = [total is not None for total, has_text in zip(totals, texts, strict=True) if has_text]
    if told and all(told) and any(totals):
        return _steps(answers, totals), TokenSource.CONTINUOUS_USAGE
    is_told = any(total is not None for total in totals)
    return [int(one) for one in texts], TokenSource.USAGE_TOTAL if is_told else TokenSource.TEXT_CHUNKS


def _steps(answers: Sequence[Answer], totals: Sequence[int | None]) -> list[int]:
    """What each event added to the total.

    An event without choices brings no token: what it adds belongs to the last event that did not tell its total,
    and where there is none, to nothing.
    """
    out, last, untold = [0] * len(answers), 0, None
    for at, (one, total) in enumerate(zip(answers, totals, strict=True)):
        if total is None:
            untold = at if one.choices else untold
            continue
        bearer = at if one.choices else untold
        if bearer is not None and total > last:
            out[bearer], last = total - last, total
        untold = None
    return out


def _usage(answers: Sequence[Answer]) -> Usage:
    last = next((one.usage for one in reversed(answers) if one.usage), None)
    return Usage(last.prompt_tokens, last.completion_tokens) if last else Usage()


def _output_tokens(tokens: Sequence[int], source: TokenSource, usage: Usage) -> int | None:
    """How many tokens came: as counted from events, else as the server says; never as asked."""
    match source:
        case TokenSource.NOTHING:
            return 0
        case TokenSource.USAGE_TOTAL:
            return usage.output_tokens if any(tokens) else 0
        case TokenSource.TEXT_CHUNKS:
            return None if any(tokens) else 0
        case _:
            return sum(tokens)


def _body(raw: RawResponse, limits: _Limits, *, is_stream: bool) -> _Body:
    if not raw.data:
        return _Body(Seen())
    try:
        head = wire.parse_head(raw.data)
    except wire.WireError as exc:
        return _Body(Seen(not_http=str(exc)))
    if head is None:
        return _Body(Seen())
    body = wire.parse_body(raw.data, head)
    kind = head.headers.get("content-type", "").partition(";")[0].strip().lower()
    seen = Seen(
        status=head.status,
        content_type=kind,
        wanted_type="text/event-stream" if is_stream else "application/json",
        is_body_whole=body.is_whole,
        is_stray=body.is_whole and len(raw.data) > body.size,
        bad_framing=body.fault,
        words=body.data[:200].decode(errors="replace"),
    )
    if head.status != 200 or kind != seen.wanted_type:  # noqa: PLR2004 - anything else holds no answer of ours
        return _Body(seen)
    if not is_stream:
        return _whole(seen, body)
    return _stream(seen, body, limits)


def _whole(seen: Seen, body: wire.Body) -> _Body:
    if not body.is_whole or not body.data:
        return _Body(seen)
    try:
        one = answer(body.data)
    except NO_ANSWER as exc:
        return _Body(replace(seen, malformed=f"the answer is not of this route: {exc}"))
    seen = replace(seen, error=one.error_words, is_done=True)
    return _Body(seen, tuple(body.raw_offsets([len(body.data)])), (one,))


def _stream(seen: Seen, body: wire.Body, limits: _Limits) -> _Body:
    """All events up to [DONE]; a malformed one is passed over, and told."""
    ends, answers, done = list[int](), list[Answer](), False
    malformed, error, oversized, behind = None, None, None, False
    for count, (end, kind, data) in enumerate(wire.events(body.data)):
        if count == limits.events:
            oversized = f"more than {count} events, the most that are read for the tokens asked for"
            break
        if done:
            behind = True
        elif data == _DONE:
            done = True
        elif len(data) > limits.event_bytes:
            oversized = f"an event of {len(data)} bytes, expected at most {limits.event_bytes}"
        else:
            try:
                one = answer(data)
            except NO_ANSWER as exc:
                malformed = malformed or f"event {len(answers) + 1} is malformed ({exc}): {data[:60]!r}"
                continue
            if error is None and (one.error or one.object == "error" or kind == b"error"):
                error = one.error_words or (data[:200].decode(errors="replace") if kind == b"error" else None)
            ends.append(end)
            answers.append(one)
    seen = replace(
        seen, is_done=done, malformed=malformed, error=error, oversized=oversized, is_stray=seen.is_stray or behind
    )
    return _Body(seen, tuple(body.raw_offsets(ends)), tuple(answers))


def _read_of(ends: Sequence[int], sizes: Sequence[int]) -> list[int]:
    """For each event, by the offset of its end, the read that brought it."""
    out, read, received = list[int](), -1, 0
    for end in ends:
        while received < end:
            read += 1
            received += sizes[read]
        out.append(read)
    return out

"""What `perfgate serve-bench` is asked for: its options, and the load plans that follow from them.

Nothing is sent here. Plans are made one level after the other, so that only one is in memory.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from perfgate.errors import UsageError
from perfgate.load.ask import Ask, LoadPlan
from perfgate.load.lengths import Lengths, parse_lengths
from perfgate.load.prompts import SharedPrefix, asks, asks_of_trace
from perfgate.load.prompts import Wish as PromptWish
from perfgate.load.requests_file import RecordsAs
from perfgate.load.shapes import Arrivals, Count, Rate, at_rate, closed, replay
from perfgate.load.target import Route
from perfgate.load.trace import MILLISECONDS, MOONCAKE_BLOCK, faster, read_trace
from perfgate.load.vocabulary import Vocabulary, read_tokenizer, vocabulary_of
from perfgate.schema import parse_duration
from perfgate.serve_bench_options import TIMEOUTS

ROUTES = {"completions": Route.COMPLETIONS, "chat": Route.CHAT}


@dataclass(frozen=True, slots=True)
class Wish:
    """What a serving benchmark is asked for.

    levels: concurrencies, one plan each; empty: an open loop without a limit. rate: None: closed loops.
    timeouts: by name with the unit (first_token_s), only those that were given; token_env: the name of a
    variable that holds the server's key.
    """

    url: str
    prompts: PromptWish
    input_lengths: Lengths
    output_lengths: Lengths
    out: Path
    levels: tuple[int, ...] = ()
    rate: Rate | None = None
    requests: Count = field(default_factory=lambda: Count(10, is_per_slot=True))
    warmup: Count = field(default_factory=lambda: Count(1, is_per_slot=True))
    trace: tuple[Ask, ...] = ()
    is_streaming: bool = True
    returns_token_ids: bool = False
    timeouts: Mapping[str, float] = field(default_factory=dict)
    token_env: str | None = None
    records: RecordsAs = RecordsAs.JSONL
    is_real_time: bool = False
    proxy: str | None = None
    shards: int = 1


@dataclass(frozen=True, slots=True)
class Level:
    """One run of a benchmark and the stem of its file names."""

    name: str  # "concurrency_16", "rate_10"
    plan: LoadPlan


def wish_of(args: argparse.Namespace) -> Wish:
    """The options as a wish; files that they name are read.

    Raises:
        UsageError: an option is wrong, or two do not go together; a histogram, trace or checkpoint cannot be read.
    """
    _refuse(args)
    prompts = _prompts(args)
    levels = _levels(args.concurrency)
    return Wish(
        url=args.url,
        prompts=prompts,
        input_lengths=parse_lengths(args.isl),
        output_lengths=parse_lengths(args.osl),
        out=args.out,
        levels=levels,
        rate=_rate(args.request_rate, Arrivals(args.arrivals)),
        requests=Count.parse(args.num_prompts or "10x"),
        warmup=Count.parse(args.warmup or ("1x" if levels else "0")),
        trace=_trace(args, prompts) if args.trace else (),
        is_streaming=not args.non_streaming,
        returns_token_ids=args.token_ids,
        timeouts=_timeouts(args),
        token_env=args.token_env,
        records=RecordsAs(args.records),
        is_real_time=args.real_time,
        proxy=args.proxy,
        shards=_shards(args.shards),
    )


def _shards(count: int) -> int:
    if count < 1:
        raise UsageError(f"--shards: found {count}, expected 1 or more client processes")
    return count


def plans(wish: Wish) -> Iterator[Level]:
    """The runs, in the order of their concurrencies; each has prompts of its own seed, so that no cache helps the next.

    Raises:
        UsageError: a count, a length or a rate cannot be.
    """
    for number, level in enumerate(wish.levels or (None,)):
        yield Level(_name(wish, level), _plan(wish, level, number))


def _plan(wish: Wish, concurrency: int | None, number: int) -> LoadPlan:
    warmup = wish.warmup.of(concurrency)
    if wish.trace:
        return replay(wish.trace, warmup, concurrency)
    seed = wish.prompts.seed + number
    prompts = replace(wish.prompts, seed=seed)
    made = asks(prompts, wish.requests.of(concurrency) + warmup, wish.input_lengths, wish.output_lengths)
    if wish.rate:
        return at_rate(made, wish.rate, seed, warmup, concurrency)
    assert concurrency is not None
    return closed(made, concurrency, warmup)


def _name(wish: Wish, concurrency: int | None) -> str:
    rate = wish.rate
    words = ["trace"] if wish.trace else []
    if rate:
        words.append(
            f"rate_{rate.start_per_s:g}" + (f"_{rate.end_per_s:g}" if rate.end_per_s != rate.start_per_s else "")
        )
    if concurrency is not None:
        words.append(f"concurrency_{concurrency}")
    return "_".join(words)


# ------------------------------------------------------------------ options


def _refuse(args: argparse.Namespace) -> None:
    reasons = {
        "give --concurrency, --request-rate or --trace: one of them says when requests are sent": not (
            args.concurrency or args.request_rate or args.trace
        ),
        "--trace has its own times: leave --request-rate out (--trace-speed makes it faster)": bool(
            args.trace and args.request_rate
        ),
        "--trace has its own requests: leave --num-prompts out": bool(args.trace and args.num_prompts),
        "--random-ids: the chat route takes text: leave it out, or say --endpoint completions": bool(
            args.random_ids and args.endpoint == "chat"
        ),
        "prompts of text need --tokenizer DIR; or send token ids: --random-ids": not args.random_ids
        and _checkpoint(args) is None,
        "--random-ids needs a vocabulary: --tokenizer DIR or --vocab-size N": bool(args.random_ids)
        and _checkpoint(args) is None
        and args.vocab_size is None,
        "--vocab-size: expected 1 or more": args.vocab_size is not None and args.vocab_size < 1,
        "--seed: expected 0 or more": args.seed < 0,
    }
    for reason, is_so in reasons.items():
        if is_so:
            raise UsageError(reason)


def _checkpoint(args: argparse.Namespace) -> Path | None:
    """The folder with the tokenizer: as given, or the model where that is a folder here."""
    own = Path(args.model)
    return args.tokenizer or (own if (own / "tokenizer.json").is_file() else None)


def _prompts(args: argparse.Namespace) -> PromptWish:
    checkpoint = _checkpoint(args)
    vocabulary = vocabulary_of(checkpoint) if checkpoint else Vocabulary(args.vocab_size)
    return PromptWish(
        model=args.model,
        vocabulary=Vocabulary(args.vocab_size) if args.vocab_size else vocabulary,
        route=ROUTES[args.endpoint],
        tokenizer=None if args.random_ids or checkpoint is None else read_tokenizer(checkpoint),
        prefix=_prefix(args.prefix) if args.prefix else None,
        ignore_eos=args.ignore_eos,
        seed=args.seed,
        extra=_extra(args.extra_body) if args.extra_body else {},
    )


def _levels(text: str | None) -> tuple[int, ...]:
    try:
        levels = tuple(int(word) for word in text.split(",")) if text else ()
    except ValueError:
        levels = (0,)
    if any(level < 1 for level in levels) or len(set(levels)) < len(levels):
        raise UsageError(f"--concurrency: found '{text}', expected different numbers of 1 or more, such as 16,64,128")
    return levels


def _rate(text: str | None, arrivals: Arrivals) -> Rate | None:
    if not text:
        return None
    try:
        first, *more = [float(word) for word in text.split(":")]
    except ValueError:
        first, more = 0.0, []
    if not first > 0 or len(more) > 1 or not all(last > 0 for last in more):
        raise UsageError(
            f"--request-rate: found '{text}', expected requests/s above 0: 10, 2.5, inf, or 5:50 for a ramp"
        )
    return Rate(first, more[0] if more else first, arrivals)


def _prefix(text: str) -> SharedPrefix:
    try:
        groups, tokens, *share = text.split(":")
        (part,) = share or ["1"]
        return SharedPrefix(int(groups), int(tokens), float(part))
    except ValueError as exc:
        raise UsageError(
            f"--prefix: found '{text}', expected GROUPS:TOKENS or GROUPS:TOKENS:SHARE, such as 4:256:0.5"
        ) from exc


def _extra(text: str) -> dict[str, Any]:
    try:
        plain = json.loads(text)
    except (ValueError, RecursionError):
        plain = None
    if not isinstance(plain, dict):
        raise UsageError(f"--extra-body: found '{text[:60]}', expected a JSON object")
    return plain


def _trace(args: argparse.Namespace, prompts: PromptWish) -> tuple[Ask, ...]:
    entries = read_trace(args.trace, MILLISECONDS if args.trace_unit == "ms" else 1.0, MOONCAKE_BLOCK)
    return asks_of_trace(prompts, faster(entries, args.trace_speed), MOONCAKE_BLOCK)


def _timeouts(args: argparse.Namespace) -> dict[str, float]:
    out = {}
    for name in TIMEOUTS:
        key = name.replace("-", "_")
        text = getattr(args, f"timeout_{key}")
        seconds = parse_duration(text) if text else None
        if text and not seconds:
            raise UsageError(f"--timeout-{name}: found '{text}', expected a duration such as 90s or 4min")
        if seconds:
            out[f"{key}_s"] = seconds
    return out

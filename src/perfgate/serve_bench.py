"""A serving benchmark: one load run after the other, each with its files, and a table of all."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from perfgate.load.bench_json import Asked, as_benchmark_serving
from perfgate.load.client import run_load
from perfgate.load.figures import Figures, figures
from perfgate.load.progress import Progress
from perfgate.load.requests_file import Writer, requests_writer
from perfgate.load.spread import Spread
from perfgate.load.target import Target, Timeouts
from perfgate.load.validity import why_invalid
from perfgate.record import now, write_atomic
from perfgate.serve_bench_wish import Level, Wish, plans

Tell = Callable[[str], None]
Watch = Callable[[str, Progress], None]

_COLUMNS = (
    ("run", 18), ("ok", 7), ("failed", 6), ("req/s", 8), ("tok/s", 9),
    ("TTFT mean", 10), ("TTFT p99", 9), ("TPOT mean", 10), ("ITL p99", 8), ("E2EL mean", 10), ("E2EL p99", 9),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Measured:
    """One run of the benchmark: its figures, why they must not be judged (nothing: they may be), and single doubts."""

    name: str
    figures: Figures
    invalid: tuple[str, ...]
    doubts: tuple[str, ...] = ()


def serve_bench(wish: Wish, tell: Tell, watch: Watch | None = None) -> Iterator[Measured]:
    """Run every level of a wish, one after the other; each leaves NAME.json and its requests in the wish's folder.

    watch: told once a second how far the run of that name has come.

    Raises:
        UsageError: the wish cannot be carried out.
        RoundError: the client crashed; what it had measured is in its raw file.
    """
    keep = requests_writer(wish.records)
    wish.out.mkdir(parents=True, exist_ok=True)
    for level in plans(wish):
        yield _measure(wish, level, keep, tell, watch)


def target_of(wish: Wish) -> Target:
    """The server that a wish names."""
    given: Mapping[str, Any] = wish.timeouts
    return Target(
        wish.url,
        wish.prompts.route,
        stream=wish.is_streaming,
        return_token_ids=wish.returns_token_ids,
        timeouts=Timeouts(**given),
        token_env=wish.token_env,
        proxy=wish.proxy,
    )


def _measure(wish: Wish, level: Level, keep: Writer, tell: Tell, watch: Watch | None) -> Measured:
    plan, date = level.plan, now()
    tell(f"{level.name}: {len(plan.asks)} requests, {plan.warmup} of them warm-up")
    on_progress = partial(watch, level.name) if watch else None
    result = run_load(
        target_of(wish),
        plan,
        wish.out,
        level.name,
        shards=wish.shards,
        is_real_time=wish.is_real_time,
        on_progress=on_progress,
    )
    found = figures(result.records, plan.concurrency)
    invalid = why_invalid(found, result.watch, result.gave_up)
    asked = Asked(wish.prompts.model, wish.url, plan.concurrency, wish.rate.mean_per_s if wish.rate else None, date)
    keep(wish.out / level.name, result.records)
    plain = as_benchmark_serving(asked, found, result, invalid)
    write_atomic(wish.out / f"{level.name}.json", json.dumps(plain, indent=1, allow_nan=False).encode() + b"\n")
    return Measured(level.name, found, invalid, tuple(one.words for one in result.watch.doubts))


def table(runs: Sequence[Measured]) -> Iterator[str]:
    """Lines for people; latencies in milliseconds, a dash where failures made a percentile infinite."""
    yield "  ".join(f"{title:>{width}}" for title, width in _COLUMNS) + "   (ms)"
    for run in runs:
        yield "  ".join(f"{cell:>{width}}" for cell, (_, width) in zip(_cells(run), _COLUMNS, strict=True))
        yield from (f"  invalid: {reason}" for reason in run.invalid)
        yield from (f"  in doubt: {reason}" for reason in run.doubts)


def _cells(run: Measured) -> list[str]:
    of, whole = run.figures.latencies, run.figures.throughput
    rate = "-" if whole.output_tokens_per_s is None else f"{whole.output_tokens_per_s:,.0f}"
    return [
        run.name, str(whole.succeeded), str(run.figures.failed), f"{whole.requests_per_s:.2f}", rate,
        _ms(of.ttft, "mean_s"), _ms(of.ttft, "p99_s"), _ms(of.tpot, "mean_s"), _ms(of.itl, "p99_s"),
        _ms(of.e2el, "mean_s"), _ms(of.e2el, "p99_s"),
    ]  # fmt: skip


def _ms(spread: Spread, name: str) -> str:
    seconds: float | None = getattr(spread, name)
    return "-" if seconds is None else f"{1e3 * seconds:.2f}"

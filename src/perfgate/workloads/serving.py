"""A load on a running server: TTFT, TPOT, ITL, E2EL, throughput and goodput, by the client in its own process.

Definitions are those of `perfgate.load.figures`, over all requests but warm-up: TTFT and E2EL count from when the
request was due, TPOT is (last - first token event) / (tokens - 1), ITL is a gap between token events shared among the
tokens of the event that ended it, one sample a token. Throughput is over the load run, from the first send that counts
to the end of the last response. A failed request is one infinitely late sample of each latency.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import pairwise
from pathlib import Path

from perfgate.case import Case, EngineSpec, PromptKind, ServingRoute, ServingTimeouts, ServingWork, Slo
from perfgate.engines.openai import Server
from perfgate.errors import EngineError, PerfgateError
from perfgate.load.ask import Ask, LoadPlan
from perfgate.load.client import run_load
from perfgate.load.figures import figures
from perfgate.load.job import LoadResult
from perfgate.load.lengths import parse_lengths
from perfgate.load.prompts import SharedPrefix, Wish, asks
from perfgate.load.request import RequestRecord
from perfgate.load.shapes import Arrivals, Rate, at_rate, closed
from perfgate.load.spread import percentile
from perfgate.load.target import Route, Target, Timeouts
from perfgate.load.validity import why_invalid
from perfgate.load.vocabulary import read_tokenizer, vocabulary_of
from perfgate.metrics import needed_samples, trimmed_mean
from perfgate.process_tree import tree_cpu_s
from perfgate.record import CaseRound, Host, encode, printable, write_atomic
from perfgate.telemetry import Counters, host_between, read_counters

MOST_RUNS = 2  # load runs of a round, between which the sides of a pair take turns
_FEWEST_PER_SLOT = 8  # requests per stream in each run: with fewer, filling and draining would be much of it
_FEWEST = 100  # requests in each run of an open loop
_SUMMARIES = {"p10": 10.0, "p50": 50.0, "p90": 90.0, "p95": 95.0, "p99": 99.0}
_ROUTES = {ServingRoute.COMPLETIONS: Route.COMPLETIONS, ServingRoute.CHAT: Route.CHAT}


def runs_of(work: ServingWork) -> int:
    """In how many load runs a round measures a workload: two, each with its own warm-up, or one of few requests."""
    fewest = work.concurrency * _FEWEST_PER_SLOT if work.concurrency else _FEWEST
    return MOST_RUNS if work.requests >= MOST_RUNS * fewest else 1


def plans_of(work: ServingWork, wish: Wish) -> tuple[LoadPlan, ...]:
    """The load runs of a round: the requests of one seed, dealt out; each run's first ones are its warm-up.

    Raises:
        UsageError: a length or a prefix cannot be.
    """
    runs, warmup = runs_of(work), work.warmup_requests
    made = asks(wish, work.requests + runs * warmup, parse_lengths(work.isl), parse_lengths(work.osl))
    ends = [(number * work.requests) // runs + number * warmup for number in range(runs + 1)]
    return tuple(_plan(work, made[begin:end], work.seed + at) for at, (begin, end) in enumerate(pairwise(ends)))


def _plan(work: ServingWork, made: Sequence[Ask], seed: int) -> LoadPlan:
    if work.request_rate is None:
        assert work.concurrency is not None
        return closed(made, work.concurrency, work.warmup_requests)
    arrivals = Arrivals(work.arrivals or Arrivals.POISSON)
    return at_rate(made, Rate.steady(work.request_rate, arrivals), seed, work.warmup_requests)


def wish_of(work: ServingWork, spec: EngineSpec, model: str) -> Wish:
    """What the requests look like, with the vocabulary of the engine's checkpoint.

    Raises:
        ModelError: the checkpoint does not tell its vocabulary.
        UsageError: texts are asked for, and the package that makes them is not installed.
    """
    return Wish(
        model=model,
        vocabulary=vocabulary_of(spec.model),
        route=_ROUTES[work.route],
        tokenizer=read_tokenizer(spec.model) if work.prompts is PromptKind.TEXT else None,
        prefix=SharedPrefix(**asdict(work.prefix)) if work.prefix else None,
        ignore_eos=work.ignore_eos,
        seed=work.seed,
    )


def target_of(server: Server, work: ServingWork) -> Target:
    """The server as the client asks it."""
    told = asdict(work.timeouts or ServingTimeouts())
    timeouts = Timeouts(**{name: seconds for name, seconds in told.items() if seconds is not None})
    return Target(server.url, _ROUTES[work.route], timeouts=timeouts, token_env=server.token_env)


class ServingRun:
    """A serving workload on a running server, measured in `runs` load runs.

    Job, raw record, log and result of each stay in the folder; so do the requests, one a line.
    """

    def __init__(self, server: Server, case: Case, work: ServingWork, folder: Path) -> None:
        """Make all requests.

        Raises:
            PerfgateError: the requests cannot be made, or the server does not tell its model's name.
        """
        if server.facts.model is None:
            raise EngineError(
                f"the server at {server.url} does not tell its model's name, by which requests ask for it"
            )
        self._server, self._case, self._work, self._folder = server, case, work, folder
        self._plans = plans_of(work, wish_of(work, case.engine, server.facts.model))
        self._results: list[LoadResult] = []
        self._faults: list[str] = []

    @property
    def runs(self) -> int:
        return len(self._plans)

    def measure(self, run: int) -> Host:
        """Carry out one load run; what goes wrong is kept as a fault of the case."""
        name = self._work.name if self.runs == 1 else f"{self._work.name}-{run + 1}"
        before = _counters()
        try:
            target, plan = target_of(self._server, self._work), self._plans[run]
            result = run_load(target, plan, self._folder, name, is_real_time=True)
            write_atomic(
                self._folder / f"{name}.requests.jsonl", b"".join(encode(one) + b"\n" for one in result.records)
            )
            self._results.append(result)
            self._server.check()
        except PerfgateError as exc:
            self._faults.append(printable(str(exc)))
        return host_between(before, _counters()) if self._server.pid else Host()

    def summarise(self) -> CaseRound:
        """The round's values and samples, or why there are none."""
        concurrency = self._plans[0].concurrency
        invalid = [
            reason
            for one in self._results
            for reason in why_invalid(figures(one.records, concurrency), one.watch, one.gave_up)
        ]
        faults = tuple(dict.fromkeys([*self._faults, *map(printable, invalid)]))
        if faults:
            return CaseRound(self._case.id, {}, faults=faults)
        return summarise(self._case.id, [one.records for one in self._results], self._work.slo)


def _counters() -> Counters:
    """The client and a server that we started are our own, not other programs."""
    return replace(read_counters(), own_cpu_s=tree_cpu_s(os.getpid()))


# ------------------------------------------------------------------ figures


@dataclass(frozen=True, slots=True)
class Samples:
    """Latencies in seconds of the requests that succeeded; `failed` more are infinitely late.

    tpot, itl: None where the server does not tell how many tokens came, or how many an event held.
    """

    ttft: tuple[float, ...]
    tpot: tuple[float, ...] | None
    itl: tuple[float, ...] | None
    e2el: tuple[float, ...]
    failed: int


def samples_of(records: Sequence[RequestRecord]) -> Samples:
    """The latencies of streamed requests, without warm-up."""
    good = [one for one in records if one.fault is None]
    counted = all(one.output_tokens is not None for one in good)
    known = all(one.tokens_per_event_are_known for one in good)
    return Samples(
        ttft=_since_due(good, lambda one: one.first_token_ns),
        tpot=tuple(tpot for one in good if (tpot := _tpot_s(one)) is not None) if counted else None,
        itl=tuple(gap for one in good for gap in _itl_s(one)) if known else None,
        e2el=_since_due(good, lambda one: one.last_token_ns),
        failed=len(records) - len(good),
    )


def summarise(case_id: str, runs: Sequence[Sequence[RequestRecord]], slo: Slo | None) -> CaseRound:
    """Values of load runs together: their samples pooled, their counts over their seconds."""
    counted = [[one for one in run if not one.is_warmup] for run in runs]
    pooled = [one for run in counted for one in run]
    found = samples_of(pooled)
    stems = {"ttft": found.ttft, "tpot": found.tpot, "itl": found.itl, "e2el": found.e2el}
    values = {
        name: value
        for stem, sample in stems.items()
        if sample
        for name, value in _summaries(stem, sample, found.failed).items()
    }
    kept = {stem: sample for stem, sample in stems.items() if sample and stem != "itl"}  # one a token: on disk
    return CaseRound(case_id, values | _rates(counted, slo), kept)


def _summaries(stem: str, sample: Sequence[float], failed: int) -> dict[str, float]:
    """Mean and those percentiles that the number of samples carries; what failures make infinite is left out."""
    ordered, count = sorted(sample), len(sample) + failed
    late = [*ordered, *[math.inf] * failed]
    found: dict[str, float | None] = {f"{stem}_mean": sum(late) / count, f"{stem}_tmean": trimmed_mean(late)}
    for name, percent in _SUMMARIES.items():
        if count >= needed_samples(f"{stem}_{name}"):
            found[f"{stem}_{name}"] = percentile(ordered, failed, percent)
    return {name: value for name, value in found.items() if value is not None and math.isfinite(value)}


def _rates(runs: Sequence[Sequence[RequestRecord]], slo: Slo | None) -> dict[str, float]:
    """Counts of requests that succeeded, over the seconds of all runs."""
    whole = [figures(run, None).throughput for run in runs]
    seconds = sum(one.seconds for one in whole)
    out = {"requests_per_s": sum(one.succeeded for one in whole) / seconds}
    tokens = [one.output_tokens for one in whole if one.output_tokens is not None]
    if len(tokens) == len(whole):
        out["output_tokens"] = float(sum(tokens))
        out["output_tokens_per_s"] = sum(tokens) / seconds
        out["total_tokens_per_s"] = (sum(tokens) + sum(one.input_tokens for one in whole)) / seconds
    if slo is not None:
        out["goodput_per_s"] = sum(is_good(one, slo) for run in runs for one in run) / seconds
    return out


def is_good(one: RequestRecord, slo: Slo) -> bool:
    """Whether a request succeeded within the SLO; a time that is not known keeps to no bound."""
    if one.fault is not None:
        return False
    ttft, e2el = (_since_due([one], moment) for moment in (lambda r: r.first_token_ns, lambda r: r.last_token_ns))
    tpot = 0.0 if one.output_tokens == 1 else _tpot_s(one)
    held = ((slo.ttft_s, ttft[0] if ttft else None), (slo.tpot_s, tpot), (slo.e2el_s, e2el[0] if e2el else None))
    return all(bound is None or (time is not None and time <= bound) for bound, time in held)


def _since_due(records: Sequence[RequestRecord], moment: Callable[[RequestRecord], int | None]) -> tuple[float, ...]:
    return tuple((at - one.due_ns) / 1e9 for one in records if (at := moment(one)) is not None)


def _tpot_s(one: RequestRecord) -> float | None:
    first, last, count = one.first_token_ns, one.last_token_ns, one.output_tokens
    if first is None or last is None or count is None or count < 2:  # noqa: PLR2004 - the first token is TTFT's
        return None
    return (last - first) / (count - 1) / 1e9


def _itl_s(one: RequestRecord) -> Iterator[float]:
    counts = [count for count in one.event_tokens if count]
    for (before, after), count in zip(pairwise(one.token_ns), counts[1:], strict=True):
        yield from [(after - before) / count / 1e9] * count

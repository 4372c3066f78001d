"""A load on a running server, by the client in a process of its own (figures: `serving_figures`)."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from itertools import pairwise
from pathlib import Path

from perfgate.case import Case, EngineSpec, PromptKind, ServingRoute, ServingTimeouts, ServingWork
from perfgate.engines.openai import Server
from perfgate.errors import EngineError, PerfgateError
from perfgate.gpu.sample import Region
from perfgate.heartbeat import beat
from perfgate.load.ask import Ask, LoadPlan
from perfgate.load.client import run_load
from perfgate.load.figures import figures
from perfgate.load.job import LoadResult
from perfgate.load.lengths import parse_lengths
from perfgate.load.progress import Progress
from perfgate.load.prompts import SharedPrefix, Wish, asks
from perfgate.load.request import RequestRecord
from perfgate.load.shapes import Arrivals, Rate, at_rate, closed
from perfgate.load.target import Route, Target, Timeouts
from perfgate.load.validity import why_invalid
from perfgate.load.vocabulary import read_tokenizer, vocabulary_of
from perfgate.process_tree import tree_cpu_s
from perfgate.record import CaseRound, Host, encode, printable, write_atomic
from perfgate.telemetry import Counters, host_between, read_counters
from perfgate.workloads.output import Look, look_at_answers
from perfgate.workloads.serving_figures import summarise

MOST_RUNS = 2  # load runs of a round, between which the sides of a pair take turns
_FEWEST_PER_SLOT = 8  # requests per stream in each run: with fewer, filling and draining would be much of it
_FEWEST = 100  # requests in each run of an open loop
_END_S, _POLL_S = 2.0, 0.05  # for the end of a server that failed requests to be seen
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
    return Target(
        server.url,
        _ROUTES[work.route],
        timeouts=timeouts,
        token_env=server.token_env,
        return_token_ids=server.facts.returns_token_ids,
    )


class ServingRun:
    """A serving workload on a running server, measured in `runs` load runs.

    Job, raw record, log and result of each stay in the folder; so do the requests, one a line.
    """

    def __init__(self, server: Server, case: Case, work: ServingWork, folder: Path, cpus: Sequence[int] = ()) -> None:
        """Make all requests. cpus: cores kept for the client; empty: those of this process.

        Raises:
            PerfgateError: the requests cannot be made, or the server does not tell its model's name.
        """
        if server.facts.model is None:
            raise EngineError(
                f"the server at {server.url} does not tell its model's name, by which requests ask for it"
            )
        self._server, self._case, self._work, self._folder, self._cpus = server, case, work, folder, cpus
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
            what = f"measuring {self._case.id}, run {run + 1} of {self.runs}"
            tell = _beats(what, is_ours=self._server.pid is not None)
            result = run_load(
                target, plan, self._folder, name, cpus=self._cpus[:1], is_real_time=True, on_progress=tell
            )
            write_atomic(
                self._folder / f"{name}.requests.jsonl", b"".join(encode(one) + b"\n" for one in result.records)
            )
            self._results.append(result)
            self._check_server(has_failures=any(one.fault for one in result.records))
        except PerfgateError as exc:
            self._faults.append(printable(str(exc)))
        return host_between(before, _counters()) if self._server.pid else Host()

    def _check_server(self, *, has_failures: bool) -> None:
        """See that the server still runs; after failures its end, which may be just now, is waited for a moment."""
        until = time.monotonic() + (_END_S if has_failures else 0.0)
        self._server.check()
        while time.monotonic() < until:
            time.sleep(_POLL_S)
            self._server.check()

    def summarise(self) -> CaseRound:
        """The round's values and samples, without figures that the client may have moved; or why there are none.

        Nothing but the reason where what came is no answer: a broken engine is not fast.
        """
        look = self._look()
        if look.broken:
            return CaseRound(self._case.id, {}, broken=look.broken)
        concurrency = self._plans[0].concurrency
        invalid = [
            reason
            for one in self._results
            for reason in why_invalid(figures(one.records, concurrency), one.watch, one.gave_up)
        ]
        faults = tuple(dict.fromkeys([*self._faults, *map(printable, invalid)]))
        if faults:
            return CaseRound(self._case.id, {}, faults=faults)
        doubted = {doubt.figure for one in self._results for doubt in one.watch.doubts}
        runs = [one.records for one in self._results]
        made = summarise(self._case.id, runs, self._work.slo, doubted)
        regions = tuple(region for run in runs if (region := timed(run)) is not None)
        return replace(made, regions=regions, unchecked=look.unchecked)

    def _look(self) -> Look:
        """Whether what came is an answer at all."""
        records = [one for run in self._results for one in run.records if not one.is_warmup]
        special = vocabulary_of(self._case.engine.model).reserved if self._work.ignore_eos else ()
        return look_at_answers(records, self._case.engine, special)


def timed(records: Sequence[RequestRecord]) -> Region | None:
    """From the first send that counts to the end of the last response: what throughput is over."""
    counted = [one for one in records if not one.is_warmup and one.sent_ns is not None]
    if not counted:
        return None
    begin_ns = min(one.sent_ns for one in counted if one.sent_ns is not None)
    return Region(begin_ns / 1e9, max(one.ended_ns for one in counted) / 1e9)


def _beats(what: str, *, is_ours: bool) -> Callable[[Progress], None]:
    """A heartbeat for each look at which more requests have ended.

    At every look where the server is not ours: nothing here shows its work, and the client has timeouts of its own.
    """
    seen = -1

    def tell(progress: Progress) -> None:
        nonlocal seen
        if progress.done != seen or not is_ours:
            seen = progress.done
            beat(f"{what}, {progress.done} of {progress.total} requests")

    return tell


def _counters() -> Counters:
    """The client and a server that we started are our own, not other programs."""
    return replace(read_counters(), own_cpu_s=tree_cpu_s(os.getpid()))

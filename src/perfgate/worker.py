"""The measuring process: one round of one engine, from a job file to a result file.

Run as `python -m perfgate.worker JOB RESULT`; prints only to its log.
"""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import assert_never

from perfgate.case import BuildWork, Case, EngineSpec, LatencyWork, PerplexityWork
from perfgate.engines import backend
from perfgate.engines.base import Engine, Plant
from perfgate.errors import PerfgateError
from perfgate.record import CaseRound, Round, Side, decode, encode, write_atomic
from perfgate.telemetry import host_between, peak_memory_bytes, read_counters
from perfgate.workloads.latency import measure_latency
from perfgate.workloads.perplexity import measure_perplexity


@dataclass(frozen=True, slots=True)
class Job:
    """What one round has to do. Times out by itself after `timeout_s`, also when its parent is gone."""

    engine: EngineSpec
    prepared: Path
    side: Side
    index: int
    timeout_s: float
    build: tuple[BuildWork, ...] = ()
    latency: tuple[LatencyWork, ...] = ()
    perplexity: tuple[PerplexityWork, ...] = ()
    plant: Plant = field(default_factory=Plant)
    values: dict[str, float] = field(default_factory=dict)  # known from preparing: build_s, engine_bytes


def main(job_path: str, result_path: str) -> int:
    """Carry out a job; a failure that we foresee becomes a round with a fault."""
    job = decode(Path(job_path).read_bytes(), Job, job_path)
    signal.setitimer(signal.ITIMER_REAL, job.timeout_s)  # the default action of SIGALRM ends the process
    started, begin = datetime.now(UTC).isoformat(timespec="seconds"), time.perf_counter()
    try:
        result = _run(job, started, begin)
    except PerfgateError as exc:
        result = Round(job.engine.name, job.side, job.index, started, time.perf_counter() - begin, (), fault=str(exc))
    write_atomic(Path(result_path), encode(result))
    return 0


def _run(job: Job, started: str, begin: float) -> Round:
    loader = backend(job.engine.backend)
    loader.versions()  # imports the engine's library: not part of loading the engine
    load_begin = time.perf_counter()
    with loader.load(job.engine, job.prepared, job.plant) as engine:
        load_s = time.perf_counter() - load_begin
        before = read_counters()
        cases = list(_measure(job, engine))
        host = host_between(before, read_counters())
        cases += [_built(job, work, load_s) for work in job.build]
    return Round(job.engine.name, job.side, job.index, started, time.perf_counter() - begin, tuple(cases), host)


def _measure(job: Job, engine: Engine) -> Iterator[CaseRound]:
    for work in (*job.latency, *job.perplexity):
        case = Case(job.engine, work)
        match work:
            case LatencyWork():
                yield measure_latency(engine, case, work)
            case PerplexityWork():
                yield measure_perplexity(engine, case, work)
            case _:
                assert_never(work)


def _built(job: Job, work: BuildWork, load_s: float) -> CaseRound:
    values = job.values | {"load_s": load_s, "peak_memory_bytes": float(peak_memory_bytes())}
    return CaseRound(Case(job.engine, work).id, values)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))

"""The measuring process: one round of one engine, from a job file to a result file.

Run as `python -m perfgate.worker JOB RESULT`; prints only to its log.
"""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from perfgate.case import BuildWork, Case, EngineSpec, LatencyWork, PerplexityWork, ServingWork, TasksWork
from perfgate.engines import SERVED, backend
from perfgate.engines.base import Engine, EngineStats
from perfgate.engines.redaction import told
from perfgate.errors import EngineError, PerfgateError
from perfgate.heartbeat import beat
from perfgate.pinning import nodes_of, pin
from perfgate.plant import Plant
from perfgate.record import CaseRound, Host, Round, Side, decode, encode, now, printable, write_atomic
from perfgate.telemetry import peak_memory_bytes
from perfgate.turns import turn_from_parent
from perfgate.workloads.distributions import Alike
from perfgate.workloads.latency import LatencyRun
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
    cpus: tuple[int, ...] = ()  # cores to be pinned to before the engine's library is imported; empty: all
    serving: tuple[ServingWork, ...] = ()
    client_cpus: tuple[int, ...] = ()  # cores kept for the clients of servers; empty: those of the round
    folder: Path = Path()  # for the files of servers and of loads on them
    alike: dict[str, Alike] = field(default_factory=dict)  # by workload: which distributions to keep or compare with
    tasks: tuple[TasksWork, ...] = ()
    untold: dict[str, str] = field(default_factory=dict)  # metrics of the build that are left out, and why

    def built(self, work: BuildWork, values: dict[str, float]) -> CaseRound:
        """A round of the build: what is known from preparing and these values, but what is to be left untold."""
        told = {name: value for name, value in (self.values | values).items() if name not in self.untold}
        return CaseRound(Case(self.engine, work).id, told, untold=self.untold)

    @property
    def needs_server(self) -> bool:
        return bool(self.serving) or self.engine.backend == SERVED

    @property
    def needs_engine(self) -> bool:
        """Whether the engine is loaded into this process."""
        only_serves = bool(self.serving) and not (self.build or self.latency or self.perplexity or self.tasks)
        return self.engine.backend != SERVED and not only_serves


NOTES = "the engine says it ran with: "  # how a line of the log begins
BLOCKS = 8  # each latency workload is measured in so many turns, spread over the round


def main(job_path: str, result_path: str) -> int:
    """Carry out a job; a failure that we foresee becomes a round with a fault."""
    job = decode(Path(job_path).read_bytes(), Job, job_path)
    signal.setitimer(signal.ITIMER_REAL, job.timeout_s)  # the default action of SIGALRM ends the process
    started, begin = now(), time.perf_counter()
    try:
        cpus = pin(job.cpus) if job.cpus else ()
        cases, hosts = _measure(job) if job.needs_engine else ((), [])
        if job.needs_server:  # the engine is closed by now: a GPU never holds both
            from perfgate.serving_round import measure_served

            served, more = measure_served(job, has_measured=bool(cases))
            cases, hosts = cases + served, hosts + more
        clients = job.client_cpus if job.serving else ()
        host = replace(_mean(hosts), cpus=cpus, client_cpus=clients, numa_nodes=nodes_of(cpus))
        fault = None
    except PerfgateError as exc:
        cases, host, fault = (), Host(), printable(told(str(exc)))
    seconds = time.perf_counter() - begin
    write_atomic(
        Path(result_path), encode(Round(job.engine.name, job.side, job.index, started, seconds, cases, host, fault))
    )
    return 0


def _measure(job: Job) -> tuple[tuple[CaseRound, ...], list[Host]]:
    """What is asked of an engine in this process."""
    with ExitStack() as stack:
        with turn_from_parent():
            beat("loading the engine")
            begin = time.perf_counter()
            spec = job.plant.on(job.engine)
            folder = job.prepared.absolute()  # tasks have a working folder of their own, and engines read late
            engine = stack.enter_context(backend(spec.backend).load(spec, folder, job.plant))
            load_s = time.perf_counter() - begin
            runs = [_warmed_up(engine, Case(job.engine, work), work) for work in job.latency]
        seen = [_in_turn(run, block) for block in range(BLOCKS) for run in runs]
        beat("summing up")
        peak_bytes = peak_memory_bytes()  # what follows may hold a profiler's trace
        _measure_steps(runs)
        cases = [run.summarise() for run in runs]
        cases += [_built(job, work, load_s, peak_bytes, engine.stats()) for work in job.build]
        for text in job.perplexity:
            with turn_from_parent():
                alike = job.alike.get(text.name)
                cases.append(
                    _scored(case := Case(job.engine, text), partial(measure_perplexity, engine, case, text, alike))
                )
        for tasks in job.tasks:
            from perfgate.workloads.tasks import measure_tasks

            with turn_from_parent():
                cases.append(_scored(case := Case(job.engine, tasks), partial(measure_tasks, engine, case, tasks)))
        _log(engine.stats())
        beat("ending the engine")
    return tuple(cases), [host for host in seen if host is not None]


def _warmed_up(engine: Engine, case: Case, work: LatencyWork) -> LatencyRun:
    beat(f"warming up for {case.id}")
    return LatencyRun(engine, case, work)


def _in_turn(run: LatencyRun, block: int) -> Host | None:
    with turn_from_parent():
        beat(f"measuring {run.case_id}, {run.progress}")
        return run.measure(block, BLOCKS)


def _measure_steps(runs: Sequence[LatencyRun]) -> None:
    """Device times of each case where the engine tells them, when nothing is timed any more."""
    for run in runs:
        if run.has_steps:
            with turn_from_parent():
                beat(f"measuring steps on the device, {run.case_id}")
                reason = run.measure_steps()
            if reason:
                sys.stdout.write(f"{run.case_id}: no device times: {reason}\n")


def _scored(case: Case, measure: Callable[[], CaseRound]) -> CaseRound:
    """Scores of texts or tasks; an engine that cannot score loses this case alone, not what was timed before."""
    try:
        return measure()
    except EngineError as exc:
        return CaseRound(case.id, {}, faults=(printable(told(str(exc))),))


def _mean(hosts: Sequence[Host]) -> Host:
    if not hosts:
        return Host()
    return Host(
        sum(host.foreign_cpu_share for host in hosts) / len(hosts),
        sum(host.steal_share for host in hosts) / len(hosts),
        hosts[-1].clock_mhz,
    )


def _built(job: Job, work: BuildWork, load_s: float, peak_bytes: int, stats: EngineStats) -> CaseRound:
    values = {"load_s": load_s, "peak_memory_bytes": float(peak_bytes)}
    if stats.peak_gpu_bytes is not None:
        values["peak_gpu_memory_bytes"] = float(stats.peak_gpu_bytes)
    return job.built(work, values)


def _log(stats: EngineStats) -> None:
    """What the engine says it ran with, as a line of the log."""
    told = {**stats.notes, "kv_blocks": stats.kv_blocks, "peak_gpu_bytes": stats.peak_gpu_bytes}
    shown = "; ".join(f"{name} {value}" for name, value in told.items() if value is not None)
    sys.stdout.write(f"{NOTES}{shown}\n")


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))

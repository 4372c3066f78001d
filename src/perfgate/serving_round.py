"""The part of a round that has a server: it is started, measured under each load, and ended.

What the worker knows of turns holds here too: each load run is one, and so are the server's start and its end.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, NoReturn

from perfgate.case import BuildWork, Case, ServingWork
from perfgate.engines import SERVED
from perfgate.engines.carrying import serving
from perfgate.engines.openai import Server
from perfgate.errors import PerfgateError
from perfgate.heartbeat import beat
from perfgate.process_tree import tree_peak_bytes
from perfgate.record import CaseRound, Host, printable
from perfgate.turns import turn_from_parent
from perfgate.workloads.serving import MOST_RUNS, ServingRun

if TYPE_CHECKING:
    from perfgate.worker import Job

_TERMINATED = 143


def measure_served(job: Job, *, has_measured: bool) -> tuple[tuple[CaseRound, ...], list[Host]]:
    """Every serving workload of a job, and the build where the server is all that there is.

    has_measured: the round has figures already; a server that does not start is then a fault of its own cases alone.

    Raises:
        PerfgateError: the server did not start, and nothing else was measured.
    """
    builds = job.build if job.engine.backend == SERVED else ()
    works: tuple[BuildWork | ServingWork, ...] = (*builds, *job.serving)
    with _ended_in_order(), ExitStack() as stack:
        try:
            with turn_from_parent():
                beat("starting the server")
                server = stack.enter_context(serving(job.engine, job.prepared, job.plant, job.folder))
                runs, unmade = _prepared(job, server)
        except PerfgateError as exc:
            if not has_measured:
                raise
            return tuple(_faulted(job, work, exc) for work in works), []
        hosts = [_in_turn(run, number) for number in range(MOST_RUNS) for run in runs if number < run.runs]
        with turn_from_parent():  # summing up and ending a server would disturb the other side too
            beat("summing up and ending the server")
            cases = [*unmade, *(run.summarise() for run in runs), *(_built(job, work, server) for work in builds)]
            stack.close()
    return tuple(cases), hosts


def _prepared(job: Job, server: Server) -> tuple[list[ServingRun], list[CaseRound]]:
    """The loads, with all their requests made, and the cases of which none could be made."""
    runs, unmade = list[ServingRun](), list[CaseRound]()
    for work in job.serving:
        try:
            runs.append(ServingRun(server, Case(job.engine, work), work, job.folder, job.client_cpus))
        except PerfgateError as exc:
            unmade.append(_faulted(job, work, exc))
    return runs, unmade


def _in_turn(run: ServingRun, number: int) -> Host:
    with turn_from_parent():
        return run.measure(number)


def _faulted(job: Job, work: BuildWork | ServingWork, exc: PerfgateError) -> CaseRound:
    return CaseRound(Case(job.engine, work).id, {}, faults=(printable(str(exc)),))


def _built(job: Job, work: BuildWork, server: Server) -> CaseRound:
    """What starting a server took: seconds to readiness, and the memory of all its processes at their peaks."""
    name = Case(job.engine, work).id
    if server.pid is None or server.facts.ready_s is None:
        return CaseRound(name, {}, faults=("the server ran already: there is no start of it to measure",))
    memory = float(tree_peak_bytes(server.pid))
    return job.built(work, {"load_s": server.facts.ready_s, "peak_memory_bytes": memory})


@contextmanager
def _ended_in_order() -> Iterator[None]:
    """Let the polite signal and the round's own limit end the client and the server before this process ends."""
    kept = {sign: signal.signal(sign, _leave) for sign in (signal.SIGTERM, signal.SIGALRM)}
    try:
        yield
    finally:
        for sign, handler in kept.items():
            signal.signal(sign, handler)


def _leave(*_: object) -> NoReturn:
    raise SystemExit(_TERMINATED)

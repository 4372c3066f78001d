"""Put a load on a server from a process of its own, and get its result."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from perfgate.errors import RoundError
from perfgate.load.ask import LoadPlan
from perfgate.load.job import Job, LoadResult
from perfgate.load.process import summarise
from perfgate.load.progress import Progress, Watcher
from perfgate.load.target import Target
from perfgate.process import Files, Glance, run_module
from perfgate.record import decode, encode, write_atomic

_GLANCE_S = 1.0
_BESIDE_S = 300.0  # start, opening of connections, decoding: beside the run's own limit


def run_load(
    target: Target,
    plan: LoadPlan,
    folder: Path,
    name: str = "load",
    *,
    shards: int = 1,
    cpus: Sequence[int] = (),
    is_real_time: bool = False,
    on_progress: Callable[[Progress], None] | None = None,
) -> LoadResult:
    """Send a plan to a target; job, log, raw record and result stay in the folder under that name.

    on_progress: told once a second how far the run has come.

    Raises:
        UsageError: the plan or the target cannot be as written.
        RoundError: the client crashed or did not end; its raw record holds what was measured (`recover`).
    """
    files = Files.of(folder, name)
    target.request_head()  # a missing token is told here, not in a log
    job = Job.of(target, plan, folder / f"{name}.raw", shards, cpus)
    job = replace(job, is_real_time=is_real_time)
    write_atomic(files.job, encode(job))
    for raw in job.raws:
        raw.unlink(missing_ok=True)
    glance = None if on_progress is None else Glance(_GLANCE_S, _watcher(job, on_progress).look)
    limit_s = target.timeouts.run_s + _BESIDE_S
    ended = run_module("perfgate.load.process", files.args, limit_s, files.log, glance=glance)
    if ended.code or not files.result.exists():
        raise RoundError(f"the client ended with code {ended.code}: {ended.last_words}; its log is {files.log}")
    return decode(files.result.read_bytes(), LoadResult, files.result)


def recover(job_path: Path) -> LoadResult:
    """What a killed client had measured: all requests that had ended and reached its raw record.

    Raises:
        RecordError: the job or a raw file is damaged.
        OSError: one is not there.
    """
    job = decode(job_path.read_bytes(), Job, job_path)
    return summarise(job.split() if job.shards > 1 else [job], job.concurrency)


def _watcher(job: Job, tell: Callable[[Progress], None]) -> Watcher:
    is_open = any(ask.asked.is_scheduled for ask in job.asks)
    return Watcher(job.raws, len(job.asks), None if is_open else job.concurrency, tell)

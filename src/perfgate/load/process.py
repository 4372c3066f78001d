"""The client in a process of its own: a job file to a result file.

Run as `python -m perfgate.load.process JOB RESULT`; prints only to its log. With `--together` standard input is a
socket: it says 'ready' there, waits for the common start of all shards (monotonic ns), and leaves decoding to the
process that started it.
"""

from __future__ import annotations

import gc
import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path

from perfgate.load.connection import endpoint, stamps_are_there
from perfgate.load.deadlines import Deadlines
from perfgate.load.decode import Decoded, decode, has_token
from perfgate.load.job import Job, LoadResult
from perfgate.load.loop import Loop
from perfgate.load.pool import Pool
from perfgate.load.priority import ahead, real_time
from perfgate.load.rawfile import LoopEnd, RawFile, RawRun, read_raw
from perfgate.load.selfwatch import self_watch
from perfgate.pinning import pin
from perfgate.record import decode as decode_record
from perfgate.record import encode, write_atomic

_LEAD_NS = 1_000_000


def main(job_path: str, result_path: str, *options: str) -> int:
    """Carry out a job, alone or as one of several shards."""
    job = decode_record(Path(job_path).read_bytes(), Job, job_path)
    if "--together" in options:
        send(job, _common_start)
        return 0
    if job.shards > 1:
        from perfgate.load.shards import send_in_shards

        jobs = send_in_shards(job, Path(result_path))
    else:
        send(job, _own_start)
        jobs = (job,)
    write_atomic(Path(result_path), encode(summarise(jobs, job.concurrency)))
    return 0


def send(job: Job, start: Callable[[], int]) -> None:
    """Send the load and keep what comes in the raw file. start: called when all is ready, tells when to begin."""
    if job.cpus:
        pin(job.cpus)
    schedule, target = job.schedule(), job.target
    pool, raw = Pool(endpoint(target), target.timeouts.connect_s), RawFile(job.raw)
    try:
        loop = Loop(schedule, pool, Deadlines(target, has_token), raw)
        pool.open(schedule.first_connections)
        gc.collect()
        gc.freeze()  # nothing of all this is looked at again
        with ahead() as nice, real_time(is_wished=job.is_real_time) as is_real_time:
            loop.run(start(), is_real_time=is_real_time, nice=nice)
    finally:
        raw.close()
        pool.close()


def summarise(jobs: Sequence[Job], concurrency: int | None) -> LoadResult:
    """What the raw files of the shards of one load say. Requests that a killed shard did not end are absent."""
    runs = [(job, read_raw(job.raw)) for job in jobs]
    decoded = sorted(chain.from_iterable(_decode(job, run) for job, run in runs), key=lambda one: one.record.index)
    records = tuple(one.record for one in decoded)
    ends = tuple(run.end for _, run in runs if run.end is not None)
    return LoadResult(
        records,
        self_watch(records, [one.reading for one in decoded], ends, concurrency),
        ends,
        _path(jobs[0], ends),
        "; ".join(dict.fromkeys(end.gave_up for end in ends if end.gave_up)),
        tuple(job.raw for job in jobs),
    )


def _decode(job: Job, run: RawRun) -> list[Decoded]:
    out = list[Decoded]()
    for raw in run.responses:
        ask = job.asks[raw.index]
        one = decode(
            replace(raw, index=ask.index),
            ask.asked,
            run.offsets,
            is_stream=job.target.stream,
            is_stray=raw.index in run.strays,
            most_event_bytes=job.target.most_event_bytes,
        )
        out.append(one)
    return out


def _path(job: Job, ends: Sequence[LoopEnd]) -> str:
    words = ["epoll", "kernel stamps" if stamps_are_there() else "own stamps"]
    words += ["TLS"] if job.target.address.is_tls else []
    words += ["tunnel"] if job.target.proxy else []
    if ends and all(end.is_real_time for end in ends):
        words.append("real-time class")
    elif nice := max((end.nice for end in ends), default=0):
        words.append(f"nice {nice}")
    return ", ".join(words)


def _own_start() -> int:
    return time.monotonic_ns() + _LEAD_NS


def _common_start() -> int:
    from perfgate.load.shards import READY

    os.write(sys.stdin.fileno(), READY)
    return int(sys.stdin.readline())


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))

"""GPUs watched while rounds run: the sampling process is started and ended, and its file read."""

from __future__ import annotations

import os
import socket
import subprocess
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

from perfgate.errors import RecordError
from perfgate.gpu.facts import Gpu
from perfgate.gpu.sample import PERIOD_S, Line, Region, Samples
from perfgate.gpu.sampler import SamplerJob
from perfgate.gpu.seen import GpuSeen, seen
from perfgate.process import Child, start_module
from perfgate.record import decode, encode, read_bounded, write_atomic
from perfgate.stopping import breakable, unbroken

_START_S = 20.0  # for Python, NVML and the first tick: a round does not begin before
_END_S = 5.0


@dataclass(slots=True)
class Watch:
    """The sampling of some GPUs; `samples` are there once the watch is over."""

    samples: Samples

    def seen(self, begin_s: float, end_s: float) -> tuple[GpuSeen, ...]:
        return seen(self.samples, [Region(begin_s, end_s)])


@contextmanager
def watching(
    folder: Path,
    name: str,
    gpus: Sequence[Gpu],
    cpus: Sequence[int] = (),
    lock_mhz: int | None = None,
    period_s: float = PERIOD_S,
) -> Iterator[Watch]:
    """Sample GPUs for the body's time; without GPUs nothing is done. Job, samples and log lie in the folder.

    cpus: cores that sampling keeps to; empty: any. lock_mhz: SM clock to be asked for meanwhile.
    """
    watch = Watch(Samples(tuple(gpu.uuid for gpu in gpus), period_s))
    if not gpus:
        yield watch
        return
    path = folder / f"{name}.gpu.jsonl"
    path.unlink(missing_ok=True)
    job = SamplerJob(watch.samples.uuids, period_s, os.getpid(), tuple(cpus), lock_mhz)
    write_atomic(folder / f"{name}.gpu.job.json", encode(job))
    ours, theirs = socket.socketpair()
    with ours, unbroken():
        with theirs:
            args = [str(folder / f"{name}.gpu.job.json"), str(path)]
            child = start_module("perfgate.gpu.sampler", args, folder / f"{name}.gpu.log", theirs)
        try:
            with breakable():
                _await_first(child, path)
            yield watch
        finally:
            ours.close()
            _end(child)
            watch.samples = _with_clocks(read_samples(path, watch.samples.uuids, period_s), lock_mhz)


def _with_clocks(samples: Samples, lock_mhz: int | None) -> Samples:
    """Where the sampling process was killed, clocks that it had locked may be so still."""
    if samples.sampling is not None or lock_mhz is None or samples.fault is None:
        return samples
    return replace(samples, fault=f"{samples.fault}; clocks may still be locked (nvidia-smi -rgc puts them back)")


def _await_first(child: Child, path: Path) -> None:
    """Wait for the first tick: processes that are there before the round begins are another's."""
    until = time.monotonic() + _START_S
    while child.process.poll() is None and time.monotonic() < until:
        with suppress(OSError):
            if b'"tick":{' in path.read_bytes():
                return
        time.sleep(0.005)


def _end(child: Child) -> None:
    with suppress(subprocess.TimeoutExpired):
        child.process.wait(_END_S)
    child.end()


def read_samples(path: Path, uuids: tuple[str, ...], period_s: float) -> Samples:
    """The samples of a file, in order; a last line that is not whole is left out."""
    try:
        lines = list(_lines(read_bounded(path).split(b"\n")[:-1], path))
    except RecordError as exc:
        return Samples(uuids, period_s, fault=f"no samples of the GPU: {exc}")
    ticks = tuple(line.tick for line in lines if line.tick is not None)
    return Samples(
        uuids,
        period_s,
        ticks,
        sampling := next((line.sampling for line in lines if line.sampling is not None), None),
        next((line.lock_fault for line in lines if line.lock_fault is not None), None),
        next((line.fault for line in lines if line.fault is not None), None) or _lack(ticks, sampling),
    )


def _lack(ticks: Sequence[object], sampling: object) -> str | None:
    """What is not there though nothing was said; the last thing that a sampler writes is what it cost."""
    if not ticks:
        return "the sampling process wrote nothing"
    return None if sampling else "the sampling process was killed: the GPUs' figures of this round are not told"


def _lines(raw: Iterable[bytes], path: Path) -> Iterable[Line]:
    return (decode(line, Line, path) for line in raw)

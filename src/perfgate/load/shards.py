"""Several client processes with one common start, for loads that one core cannot carry."""

from __future__ import annotations

import socket
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from perfgate.errors import RoundError
from perfgate.load.job import Job
from perfgate.process import Child, Ended, Files, ended_after, start_module
from perfgate.record import encode, write_atomic

_START_UP_S = 60.0
_LEAD_NS = 20_000_000  # for the start to reach all of them
_AFTER_S = 120.0  # decoding and writing, after the run's own limit
READY = b"ready\n"


@dataclass(frozen=True, slots=True)
class _Shard:
    """A client process, and our end of the line on which it says that it is ready and hears when to begin."""

    child: Child
    line: socket.socket

    def end(self, most_s: float) -> None:
        self.line.close()
        self.child.end(most_s)


def send_in_shards(job: Job, result: Path) -> tuple[Job, ...]:
    """Run each shard in a process of its own, files beside `result`; returns their jobs, whose raw files are whole.

    Raises:
        RoundError: a shard failed to start, crashed, or did not end in time.
    """
    parts, shards = job.split(), list[_Shard]()
    with ended_after(shards):
        for at, part in enumerate(parts):
            shards.append(_start(part, _shard_files(result, at)))
        deadline = time.monotonic() + _START_UP_S + job.target.timeouts.connect_s
        for shard in shards:
            _await_ready(shard, deadline)
        start = f"{time.monotonic_ns() + _LEAD_NS}\n".encode()
        for shard in shards:
            shard.line.sendall(start)
        _await_all([shard.child for shard in shards], job.target.timeouts.run_s + _AFTER_S)
    return parts


def _shard_files(result: Path, at: int) -> Files:
    return Files.of(result.parent, f"{result.name.removesuffix('.result.json')}-{at}")


def _start(part: Job, files: Files) -> _Shard:
    write_atomic(files.job, encode(part))
    line, theirs = socket.socketpair()
    with theirs:
        return _Shard(start_module("perfgate.load.process", [*files.args, "--together"], files.log, theirs), line)


def _await_ready(shard: _Shard, deadline: float) -> None:
    try:
        shard.line.settimeout(max(0.001, deadline - time.monotonic()))
        if shard.line.recv(len(READY)) == READY:
            return
    except (TimeoutError, ConnectionError):
        pass
    log = shard.child.log
    raise RoundError(f"a shard of the client did not get ready: {Ended(-1, log).last_words}; its log is {log}")


def _await_all(shards: Sequence[Child], timeout_s: float) -> None:
    deadline = time.monotonic() + timeout_s
    for shard in shards:
        log = shard.log
        try:
            code = shard.process.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired as exc:
            raise RoundError(f"a shard of the client did not end within {timeout_s:.0f} s; its log is {log}") from exc
        if code:
            raise RoundError(f"a shard of the client ended with code {code}: {Ended(code, log).last_words}; see {log}")

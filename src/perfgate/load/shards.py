"""Several client processes with one common start, for loads that one core cannot carry."""

from __future__ import annotations

import selectors
import subprocess
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from perfgate.errors import RoundError
from perfgate.load.job import Job
from perfgate.process import HERE, Ended, Files, kill_group
from perfgate.record import encode, write_atomic

_START_UP_S = 60.0
_LEAD_NS = 20_000_000  # for the start to reach all of them
_AFTER_S = 120.0  # decoding and writing, after the run's own limit


def send_in_shards(job: Job, result: Path) -> tuple[Job, ...]:
    """Run each shard in a process of its own, files beside `result`; returns their jobs, whose raw files are whole.

    Raises:
        RoundError: a shard failed to start, crashed, or did not end in time.
    """
    parts = job.split()
    with ExitStack() as stack:
        shards = [_start(part, _shard_files(result, at), stack) for at, part in enumerate(parts)]
        deadline = time.monotonic() + _START_UP_S + job.target.timeouts.connect_s
        for at, shard in enumerate(shards):
            _await_ready(shard, _shard_files(result, at).log, deadline)
        start = f"{time.monotonic_ns() + _LEAD_NS}\n".encode()
        for shard in shards:
            assert shard.stdin is not None
            shard.stdin.write(start)
            shard.stdin.close()
        _await_all(shards, result, job.target.timeouts.run_s + _AFTER_S)
    return parts


def _shard_files(result: Path, at: int) -> Files:
    return Files.of(result.parent, f"{result.name.removesuffix('.result.json')}-{at}")


def _start(part: Job, files: Files, stack: ExitStack) -> subprocess.Popen[bytes]:
    write_atomic(files.job, encode(part))
    log = stack.enter_context(files.log.open("wb"))
    shard = subprocess.Popen(  # noqa: S603 - this Python and a module of ours
        HERE.command("perfgate.load.process", [*files.args, "--together"]),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=log,
        bufsize=0,
        start_new_session=True,
        env=HERE.variables,
    )
    stack.enter_context(shard)
    stack.callback(kill_group, shard)
    return shard


def _await_ready(shard: subprocess.Popen[bytes], log: Path, deadline: float) -> None:
    assert shard.stdout is not None
    with selectors.DefaultSelector() as selector:
        selector.register(shard.stdout, selectors.EVENT_READ)
        came = selector.select(max(0.0, deadline - time.monotonic()))
    if not came or shard.stdout.read(6) != b"ready\n":
        raise RoundError(f"a shard of the client did not get ready: {Ended(-1, log).last_words}; its log is {log}")


def _await_all(shards: Sequence[subprocess.Popen[bytes]], result: Path, timeout_s: float) -> None:
    deadline = time.monotonic() + timeout_s
    for at, shard in enumerate(shards):
        log = _shard_files(result, at).log
        try:
            code = shard.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired as exc:
            raise RoundError(f"a shard of the client did not end within {timeout_s:.0f} s; its log is {log}") from exc
        if code:
            raise RoundError(f"a shard of the client ended with code {code}: {Ended(code, log).last_words}; see {log}")

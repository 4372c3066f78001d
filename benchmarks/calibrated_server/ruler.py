"""Build and run the calibrated server, and read what it knows: when each token was really sent."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

SOURCE = Path(__file__).with_name("server.c")
CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "perfgate"


@dataclass(frozen=True, slots=True)
class Truth:
    """One request as the server saw it, CLOCK_MONOTONIC ns. late_ns: summed lateness of its sends."""

    seed: int
    arrival_ns: int
    late_ns: int
    token_ns: tuple[int, ...]

    @property
    def ttft_ns(self) -> int:
        return self.token_ns[0] - self.arrival_ns

    @property
    def e2el_ns(self) -> int:
        return self.token_ns[-1] - self.arrival_ns

    @property
    def itl_ns(self) -> list[int]:
        return [after - before for before, after in pairwise(self.token_ns)]


class Ruler:
    """A running server; its truth is there once `truth` was asked for, which stops it."""

    def __init__(self, process: subprocess.Popen[str], log: Path) -> None:
        self._process, self._log = process, log
        assert process.stdout is not None
        self.url = f"http://127.0.0.1:{int(process.stdout.readline())}"

    def truth(self) -> list[Truth]:
        """All requests, in the order of their arrival."""
        self._process.send_signal(signal.SIGTERM)
        if self._process.wait(30):
            raise RuntimeError(f"the calibrated server ended with code {self._process.returncode}")
        numbers = (list(map(int, line.split())) for line in self._log.read_text().splitlines())
        return [Truth(seed, arrival, late, tuple(tokens)) for seed, arrival, late, *tokens in numbers]


def build() -> Path:
    """The server's program, compiled once for each version of its source."""
    name = f"calibrated-server-{hashlib.sha256(SOURCE.read_bytes()).hexdigest()[:16]}"
    program = CACHE / name
    if not program.exists():
        CACHE.mkdir(parents=True, exist_ok=True)
        fresh = CACHE / f"{name}.{os.getpid()}"
        subprocess.run(["cc", "-O2", "-Wall", "-Wextra", "-Werror", "-o", str(fresh), str(SOURCE)], check=True)  # noqa: S607
        fresh.replace(program)
    return program


@contextmanager
def ruler(ttft_ms: float, itl_ms: float, cpu: int | None = None, *, is_real_time: bool = False) -> Iterator[Ruler]:
    """A server that answers with these times, on a core of its own where one is named."""
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "truth.txt"
        command = [str(build()), str(round(ttft_ms * 1000)), str(round(itl_ms * 1000)), str(log)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            try:
                if cpu is not None:
                    os.sched_setaffinity(process.pid, {cpu})
                if is_real_time:
                    os.sched_setscheduler(process.pid, os.SCHED_FIFO, os.sched_param(10))
                yield Ruler(process, log)
            finally:
                if process.poll() is None:
                    process.kill()

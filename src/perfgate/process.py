"""Child processes with a group, a deadline and a log of their own."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from perfgate.errors import RoundError
from perfgate.record import printable

_GRACE_S = 3.0


@dataclass(frozen=True, slots=True)
class Files:
    """The files of a child process: its job, what it answers, and its log."""

    job: Path
    result: Path
    log: Path

    @staticmethod
    def of(folder: Path, name: str) -> Files:
        """The files of that name, without an earlier answer."""
        files = Files(*(folder / f"{name}.{end}" for end in ("job.json", "result.json", "log")))
        files.result.unlink(missing_ok=True)
        return files

    @property
    def args(self) -> tuple[str, str]:
        return str(self.job), str(self.result)


@dataclass(frozen=True, slots=True)
class Ended:
    """How a child ended: its exit code (negative: signal)."""

    code: int
    log: Path

    @property
    def last_words(self) -> str:
        """The last non-empty line of the log."""
        lines = self.log.read_text(errors="replace").strip().splitlines() if self.log.exists() else []
        return printable(lines[-1][:300]) if lines else "(the log is empty)"


def run_module(module: str, args: Sequence[str], timeout_s: float, log: Path) -> Ended:
    """Run `python -m module args` in its own process group until it ends.

    Raises:
        RoundError: it did not end in time; the whole group was killed.
    """
    child = start_module(module, args, log)
    try:
        return Ended(child.wait(timeout_s), log)
    except subprocess.TimeoutExpired as exc:
        raise RoundError(f"{module} did not end within {timeout_s:.0f} s and was killed; its log is {log}") from exc
    finally:
        kill_group(child)


def start_module(
    module: str, args: Sequence[str], log: Path, stdin: socket.socket | None = None
) -> subprocess.Popen[bytes]:
    """Start `python -m module args` as the leader of a process group; output goes to the log."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as out:
        return subprocess.Popen(  # noqa: S603 - our own interpreter and module
            [sys.executable, "-m", module, *args],
            stdin=stdin.fileno() if stdin else subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            start_new_session=True,
            env={**os.environ, "PYTHONPATH": _import_path()},
        )


def kill_group(child: subprocess.Popen[bytes]) -> None:
    """End a child and everything that it started: first politely, then not."""
    for sign in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(child.pid, sign)
        except ProcessLookupError:
            return
        deadline = time.monotonic() + _GRACE_S
        while child.poll() is None and time.monotonic() < deadline:
            time.sleep(0.01)


def _import_path() -> str:
    """The child imports perfgate from where we did, also when it is not installed."""
    here = str(Path(__file__).resolve().parent.parent)
    return os.pathsep.join(dict.fromkeys([here, *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]))

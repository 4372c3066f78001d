"""Child processes with a group, a deadline and a log of their own."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from perfgate.errors import RoundError
from perfgate.record import printable

GRACE_S = 3.0


@dataclass(frozen=True, slots=True)
class Interpreter:
    """The Python that a child runs in.

    import_path: all that is searched before the Python's own packages, our folder of perfgate first;
    empty: where we import from ourselves. With a path of its own the child does not look into the
    folder it was started in, whose modules may be of another commit.
    """

    python: Path
    import_path: tuple[str, ...] = ()

    def command(self, module: str, args: Sequence[str]) -> list[str]:
        return [str(self.python), *(["-P"] if self.import_path else []), "-m", module, *args]

    @property
    def variables(self) -> Mapping[str, str]:
        return {**os.environ, "PYTHONPATH": os.pathsep.join(self.import_path or own_import_path())}


HERE = Interpreter(Path(sys.executable))


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


@dataclass(frozen=True, slots=True)
class Glance:
    """What is done every so often while a child runs."""

    every_s: float
    look: Callable[[], None]


def run_module(
    module: str,
    args: Sequence[str],
    timeout_s: float,
    log: Path,
    interpreter: Interpreter = HERE,
    glance: Glance | None = None,
    kept_open: tuple[int, ...] = (),
) -> Ended:
    """Run `python -m module args` in its own process group until it ends.

    Raises:
        RoundError: it did not end in time; the whole group was killed.
    """
    return run(module, interpreter.command(module, args), timeout_s, log, interpreter.variables, glance, kept_open)


def run(
    name: str,
    command: Sequence[str],
    timeout_s: float,
    log: Path,
    variables: Mapping[str, str],
    glance: Glance | None = None,
    kept_open: tuple[int, ...] = (),
) -> Ended:
    """Run a command in its own process group until it ends; output goes to the log.

    Raises:
        RoundError: it did not end in time; the whole group was killed.
    """
    child = _start(command, log, variables, kept_open=kept_open)
    try:
        return Ended(_wait(child, timeout_s, glance), log)
    except subprocess.TimeoutExpired as exc:
        raise RoundError(f"{name} did not end within {timeout_s:.0f} s and was killed; its log is {log}") from exc
    finally:
        kill_group(child)


def _wait(child: subprocess.Popen[bytes], timeout_s: float, glance: Glance | None) -> int:
    deadline = time.monotonic() + timeout_s
    while glance is not None and time.monotonic() + glance.every_s < deadline:
        with contextlib.suppress(subprocess.TimeoutExpired):
            return child.wait(glance.every_s)
        glance.look()
    return child.wait(max(0.0, deadline - time.monotonic()))


def start_module(
    module: str,
    args: Sequence[str],
    log: Path,
    stdin: socket.socket | None = None,
    interpreter: Interpreter = HERE,
    kept_open: tuple[int, ...] = (),
) -> subprocess.Popen[bytes]:
    """Start `python -m module args` as the leader of a process group; output goes to the log.

    kept_open: descriptors that the child holds as long as it lives (`perfgate.leases`).
    """
    return _start(interpreter.command(module, args), log, interpreter.variables, stdin, kept_open)


def _start(
    command: Sequence[str],
    log: Path,
    variables: Mapping[str, str],
    stdin: socket.socket | None = None,
    kept_open: tuple[int, ...] = (),
) -> subprocess.Popen[bytes]:
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as out:
        return subprocess.Popen(  # noqa: S603 - a Python interpreter and a module
            list(command),
            stdin=stdin.fileno() if stdin else subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            start_new_session=True,
            pass_fds=kept_open,
            env=variables,
        )


def kill_group(child: subprocess.Popen[bytes], grace_s: float = GRACE_S) -> None:
    """End a child and everything that it started: first politely, after so many seconds not."""
    for sign in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(child.pid, sign)
        except ProcessLookupError:
            return
        deadline = time.monotonic() + grace_s
        while child.poll() is None and time.monotonic() < deadline:
            time.sleep(0.01)


def own_import_path() -> tuple[str, ...]:
    """The child imports perfgate from where we did, also when it is not installed."""
    here = str(Path(__file__).resolve().parent.parent)
    return tuple(dict.fromkeys([here, *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]))

"""Child processes with a group, a deadline, a log and a mark of their own."""

from __future__ import annotations

import contextlib
import math
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from perfgate.engines.kept import log_tail
from perfgate.engines.redaction import secrets_in, told
from perfgate.engines.scrubbing import scrub
from perfgate.errors import RoundError
from perfgate.fault_kinds import ProcessFault
from perfgate.heartbeat import VARIABLE as HEARTBEAT
from perfgate.heartbeat import last_beat, path_beside
from perfgate.keeper import LOG_BYTES, Charge
from perfgate.keeping import kept, release
from perfgate.reaping import VARIABLE as MARK
from perfgate.reaping import below, new_mark, reap
from perfgate.record import printable
from perfgate.stall import Watch
from perfgate.stopping import HURRY_S, Stopped, breakable, unbroken

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
        lines = log_tail(self.log, 1, secrets_in((), os.environ))
        return lines[-1][:300] if lines else "(the log is empty)"

    @property
    def state(self) -> str:
        """What it said last of how far it was."""
        return told(last_beat(path_beside(self.log)).state)


@dataclass(frozen=True, slots=True)
class Glance:
    """What is done every so often while a child runs."""

    every_s: float
    look: Callable[[], None]


@dataclass(frozen=True, slots=True)
class Child:
    """A running child, the mark that all it starts will carry, its log, and how long it is given to end in order.

    secrets: values that its log is without, once it has ended.
    """

    process: subprocess.Popen[bytes]
    mark: str
    log: Path
    grace_s: float
    secrets: tuple[str, ...] = field(repr=False)

    def watch(self, stall_s: float) -> Watch:
        """A look at whether it makes progress."""
        return Watch(self.process.pid, path_beside(self.log), stall_s)

    def end(self, most_s: float = math.inf) -> None:
        """End it and everything that it started, whatever group or session that is in; what had to be is in the log.

        Its log is without the secrets of its command and environment then. most_s: how long to be patient at most,
        where its grace is longer.
        """
        grace_s = min(self.grace_s, most_s)
        known = below(self.process.pid)
        kill_group(self.process, grace_s)
        if killed := reap(self.mark, known, grace_s):
            with contextlib.suppress(OSError), self.log.open("a") as log:
                log.write(f"perfgate: killed what outlived the process: {'; '.join(map(printable, killed))}\n")
        scrub(self.log, self.secrets)
        release(self.mark)


def run_module(
    module: str,
    args: Sequence[str],
    timeout_s: float,
    log: Path,
    interpreter: Interpreter = HERE,
    glance: Glance | None = None,
    stall_s: float = math.inf,
    kept_open: tuple[int, ...] = (),
) -> Ended:
    """Run `python -m module args` in its own process group until it ends.

    Raises:
        RoundError: it did not end in time, or made no progress for `stall_s`; it was killed with all it started.
    """
    command = interpreter.command(module, args)
    return run(module, command, timeout_s, log, interpreter.variables, glance, stall_s, kept_open)


def run(
    name: str,
    command: Sequence[str],
    timeout_s: float,
    log: Path,
    variables: Mapping[str, str],
    glance: Glance | None = None,
    stall_s: float = math.inf,
    kept_open: tuple[int, ...] = (),
) -> Ended:
    """Run a command in its own process group until it ends; output goes to the log.

    Raises:
        RoundError: it did not end in time, or made no progress for `stall_s`; it was killed with all it started.
    """
    children: list[Child] = []
    with ended_after(children):
        children.append(child := start(command, log, variables, kept_open=kept_open))
        watch = child.watch(stall_s)
        looks = [one for one in (glance, Glance(watch.every_s, watch.look)) if one and math.isfinite(one.every_s)]
        try:
            with breakable():
                return Ended(_wait(child.process, timeout_s, looks), log)
        except subprocess.TimeoutExpired as exc:
            what = f"{name} did not end within {timeout_s:.0f} s and was killed while '{watch.state}'; its log is {log}"
            raise RoundError(what, ProcessFault.DEADLINE) from exc
        except RoundError as exc:
            raise RoundError(f"{name}: {exc}; its log is {log}", exc.kind) from exc


class Endable(Protocol):
    """A child, or what stands for one."""

    def end(self, most_s: float) -> None:
        """End it with all that it started; most_s: how long to be patient at most."""


@contextlib.contextmanager
def ended_after(children: Sequence[Endable]) -> Iterator[None]:
    """End the children that there are after the body, in a hurry where a signal ended it.

    children: grows in the body, where signals end nothing but what is `breakable`.
    """
    patience_s = math.inf
    with unbroken():
        try:
            yield
        except Stopped:
            patience_s = HURRY_S
            raise
        finally:
            for child in children:
                child.end(patience_s)


def _wait(child: subprocess.Popen[bytes], timeout_s: float, looks: Sequence[Glance]) -> int:
    deadline = time.monotonic() + timeout_s
    due = {look: time.monotonic() + look.every_s for look in looks}
    while due and min(due.values()) < deadline:
        look = min(due, key=due.__getitem__)
        with contextlib.suppress(subprocess.TimeoutExpired):
            return child.wait(max(0.0, due[look] - time.monotonic()))
        look.look()
        due[look] = time.monotonic() + look.every_s
    return child.wait(max(0.0, deadline - time.monotonic()))


def start_module(
    module: str,
    args: Sequence[str],
    log: Path,
    stdin: socket.socket | None = None,
    interpreter: Interpreter = HERE,
    kept_open: tuple[int, ...] = (),
    grace_s: float = GRACE_S,
) -> Child:
    """Start `python -m module args` as the leader of a process group; output goes to the log.

    kept_open: descriptors that the child holds as long as it lives (`perfgate.leases`).
    """
    return start(interpreter.command(module, args), log, interpreter.variables, stdin, kept_open, grace_s)


def start(
    command: Sequence[str],
    log: Path,
    variables: Mapping[str, str],
    stdin: socket.socket | None = None,
    kept_open: tuple[int, ...] = (),
    grace_s: float = GRACE_S,
    log_bytes: int = LOG_BYTES,
) -> Child:
    """Start a command as the leader of a process group, marked, with a file for its heartbeat beside its log.

    It does not outlive us, and its log is kept short and without secrets (`perfgate.keeper`).
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    state, mark, secrets = path_beside(log), new_mark(), secrets_in(command, variables)
    state.unlink(missing_ok=True)
    log.write_bytes(b"")
    with (
        kept(Charge(mark, grace_s, log.absolute(), log_bytes, secrets), kept_open) as tell_pid,
        log.open("ab") as out,
    ):  # so that it can be cut
        process = subprocess.Popen(  # noqa: S603 - a Python interpreter and a module
            list(command),
            stdin=stdin.fileno() if stdin else subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            start_new_session=True,
            pass_fds=kept_open,
            env={**variables, MARK: mark, HEARTBEAT: str(state)},
        )
        tell_pid(process.pid)
    return Child(process, mark, log, grace_s, secrets)


def kill_group(child: subprocess.Popen[bytes], grace_s: float = GRACE_S) -> None:
    """End a child and its process group: first politely, after so many seconds not."""
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

"""The processes of a server: how it is started, how it ends, and what its log says."""

from __future__ import annotations

import collections
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from perfgate.engines import supervisor
from perfgate.engines.redaction import masked_argv, secrets_in, without
from perfgate.engines.scrubbing import scrub
from perfgate.errors import EngineError, UsageError
from perfgate.keeper import Charge
from perfgate.keeping import kept, release
from perfgate.reaping import VARIABLE as MARK
from perfgate.reaping import new_mark
from perfgate.record import printable

LOOPBACK = "127.0.0.1"
_TAIL_LINES = 20
_TAIL_BYTES = 65536
_STOP_MARGIN_S = 30.0  # over what the server is given to end: killing, draining, saying so


@dataclass(frozen=True, slots=True)
class Routes:
    """Where a server tells of itself. health: the first of these that the server has decides."""

    health: tuple[str, ...] = ("/health", "/v1/models")
    facts: tuple[str, ...] = ("/version", "/v1/models", "/server_info")


@dataclass(frozen=True, slots=True)
class Launch:
    """How to start a server: an argument list, never a shell. It must listen on 127.0.0.1 at `port`.

    files: written before the start (a configuration that argv names); variables: over our environment;
    notes: what a reader of the figures should know; model: the name by which requests ask for the model,
    where it is not the first of /v1/models; returns_token_ids: it lists the ids of each event's tokens where asked.
    """

    argv: tuple[str, ...]
    port: int
    routes: Routes = Routes()
    files: Mapping[Path, str] = field(default_factory=dict)
    variables: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    model: str | None = None
    returns_token_ids: bool = False

    @property
    def environment(self) -> dict[str, str]:
        return {**os.environ, **self.variables}


@dataclass(frozen=True, slots=True)
class Patience:
    """How long things are waited for. Stopping sends SIGINT, after interrupt_s SIGTERM, after terminate_s SIGKILL."""

    ready_s: float = 1800.0  # large models load, compile and capture graphs for many minutes
    poll_s: float = 0.2
    progress_s: float = 5.0
    interrupt_s: float = 20.0
    terminate_s: float = 10.0
    log_bytes: int = 50_000_000


def free_port() -> int:
    """A port of the loopback interface that nobody listens on now; the server should be started at once."""
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        return int(probe.getsockname()[1])


class Kept:
    """A server's processes, kept by a supervisor that ends them when we end, however that happens."""

    def __init__(self, launch: Launch, log: Path, patience: Patience, held: tuple[int, ...] = ()) -> None:
        """held: descriptors that stay open until the last of the processes is gone, also where we are killed."""
        _refuse(launch)
        self._argv, self._log, self._patience = launch.argv, log, patience
        self.secrets = secrets_in(launch.argv, launch.environment)
        log.parent.mkdir(parents=True, exist_ok=True)
        for path, text in launch.files.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        self._mark, self._last_words = new_mark(), dict[str, Any]()
        given_s = patience.interrupt_s + patience.terminate_s + _STOP_MARGIN_S
        # Without its pid: the supervisor ends the server in order, so the keeper waits, and masks what they wrote.
        with kept(Charge(self._mark, given_s, log.absolute(), patience.log_bytes, self.secrets), held):
            self.begin = time.monotonic()
            self._process = _start_supervisor({**launch.environment, MARK: self._mark})
            self.pid = self._started(launch)

    @property
    def has_ended(self) -> bool:
        return self._process.poll() is not None

    def error(self, what: str) -> EngineError:
        """What went wrong, with the command and the end of the log."""
        command = without(" ".join(masked_argv(self._argv)), self.secrets)
        shown = "".join(f"\n    {line}" for line in self.tail()) or "\n    (the log is empty)"
        return EngineError(f"{what}\n  command  {command}\n  log      {self._log}, which ends:{shown}")

    def ended(self) -> EngineError:
        """The error of a server that ended by itself before it was ready."""
        code = self._end().get("code")
        how = f"was killed by signal {-code}" if isinstance(code, int) and code < 0 else f"ended with code {code}"
        return self.error(f"the server {how} after {time.monotonic() - self.begin:.1f} s, before it was ready")

    def tail(self, lines: int = _TAIL_LINES) -> list[str]:
        """The last lines of the log, without secrets and control codes."""
        return log_tail(self._log, lines, self.secrets)

    def stop(self) -> None:
        """End the server and everything it started; does nothing where that is done.

        Raises:
            EngineError: processes live on.
        """
        self._release()
        given_s = self._patience.interrupt_s + self._patience.terminate_s + _STOP_MARGIN_S
        try:
            self._process.wait(given_s)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        words = self._end()
        self._close()
        if not words:  # the supervisor was killed, perhaps by us, and with it the server's main process
            _kill_group(self.pid)
        for part in supervisor.parts(self._log):
            scrub(part, self.secrets)
        release(self._mark)
        alive = [pid for pid in words.get("left", []) if Path(f"/proc/{pid}").exists()]
        if alive:
            raise EngineError(f"the server's processes {alive} cannot be ended: end them before the next round")

    def _started(self, launch: Launch) -> int:
        job = {
            "argv": launch.argv,
            "log": str(self._log),
            "log_bytes": self._patience.log_bytes,
            "interrupt_s": self._patience.interrupt_s,
            "terminate_s": self._patience.terminate_s,
        }
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with suppress(BrokenPipeError):  # then its first line says why
            self._process.stdin.write(json.dumps(job).encode() + b"\n")
            self._process.stdin.flush()
        first = self._process.stdout.readline()
        try:
            return int(json.loads(first)["pid"])
        except (ValueError, KeyError) as exc:
            self._close()
            self._process.wait()
            why = printable(first.decode("utf-8", "replace"))
            raise EngineError(f"'{launch.argv[0]}' cannot be started: {why}") from exc

    def _release(self) -> None:
        """Close the supervisor's input, at which it ends the server."""
        if self._process.stdin:
            with suppress(OSError):
                self._process.stdin.close()

    def _close(self) -> None:
        self._release()
        if self._process.stdout:
            self._process.stdout.close()

    def _end(self) -> dict[str, Any]:
        """The supervisor's last words, once it has ended."""
        if not self._last_words and self.has_ended and self._process.stdout and not self._process.stdout.closed:
            with suppress(ValueError, IndexError):
                self._last_words = json.loads(self._process.stdout.read().splitlines()[-1])
        return self._last_words


def _refuse(launch: Launch) -> None:
    if not launch.argv or not shutil.which(launch.argv[0], path=launch.environment.get("PATH")):
        name = launch.argv[0] if launch.argv else ""
        raise UsageError(f"the server's program '{name}' is not found: install it, or give its path")
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, launch.port))
        except OSError as exc:
            raise UsageError(f"port {launch.port} of {LOOPBACK} is taken ({exc.strerror}): give another one") from exc


def _start_supervisor(variables: Mapping[str, str]) -> subprocess.Popen[bytes]:
    """In a session of its own: Ctrl-C reaches us, and we end the server in order."""
    return subprocess.Popen(  # noqa: S603 - our own file, in our Python
        [sys.executable, "-I", "-S", supervisor.__file__],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
        env=dict(variables),
    )


def _kill_group(pid: int) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)


def log_tail(log: Path, lines: int, secrets: tuple[str, ...] = ()) -> list[str]:
    """The last lines of a bounded log (see `supervisor.BoundedLog`), without secrets and control codes."""
    last: collections.deque[str] = collections.deque(maxlen=lines)
    for part in supervisor.parts(log):
        with suppress(FileNotFoundError), part.open("rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - _TAIL_BYTES))
            last.extend(line for line in file.read().decode("utf-8", "replace").splitlines() if line.strip())
    return [printable(without(line, secrets))[:500] for line in last]

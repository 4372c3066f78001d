"""Our child processes as forks of the tests' process: a round in a tenth of a second, which is else Python's start."""

from __future__ import annotations

import gc
import importlib
import os
import signal
import subprocess
import sys
import time
import traceback
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import IO, Any

import pytest

import fake_engine  # noqa: F401 - loaded before, not by each fork
from perfgate import builder, process, worker  # noqa: F401 - likewise

FORKED = ("perfgate.builder", "perfgate.worker")


class Fork:
    """As much of `subprocess.Popen` as rounds need; of `python -m MODULE ARGUMENTS`, without that start."""

    def __init__(
        self, command: Sequence[str], stdin: int, stdout: IO[bytes], env: Mapping[str, str], pass_fds: Sequence[int]
    ) -> None:
        """Go on in two processes, of which one ends with the module."""
        self.args, self.returncode = command, None
        with warnings.catch_warnings():
            warnings.simplefilter(
                "ignore", DeprecationWarning
            )  # threads of pytest-xdist hold nothing that is used here
            self.pid = os.fork()
        if not self.pid:
            _be(list(command), stdin, stdout.fileno(), env, pass_fds)

    returncode: int | None

    def poll(self) -> int | None:
        """The exit code, negative for a signal, or None while it runs."""
        if self.returncode is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            self.returncode = os.waitstatus_to_exitcode(status) if pid else None
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """The same at its end.

        Raises:
            subprocess.TimeoutExpired: it runs for longer.
        """
        until = time.monotonic() + (3600 if timeout is None else timeout)
        while self.poll() is None:
            if time.monotonic() > until:
                raise subprocess.TimeoutExpired(list(self.args), timeout or 0)
            time.sleep(0.002)
        assert self.returncode is not None
        return self.returncode


def _be(command: list[str], stdin: int, log: int, env: Mapping[str, str], pass_fds: Sequence[int]) -> None:
    """Never returns: whatever happens, what pytest would do at its end is not done here."""
    code = 70
    try:
        gc.freeze()  # a round collects garbage before each block: not that of all tests
        os.setsid()
        for sign in (signal.SIGINT, signal.SIGTERM, signal.SIGALRM):
            signal.signal(sign, signal.SIG_DFL)
        os.dup2(os.open(os.devnull, os.O_RDONLY) if stdin == subprocess.DEVNULL else stdin, 0)
        os.dup2(log, 1)
        os.dup2(log, 2)
        _close_all_but({0, 1, 2, *pass_fds})
        sys.stdout, sys.stderr = (os.fdopen(to, "w", closefd=False) for to in (1, 2))
        os.environ.clear()
        os.environ.update(env)
        at = command.index("-m")
        code = importlib.import_module(command[at + 1]).main(*command[at + 2 :])
    except BaseException:  # noqa: BLE001 - the boundary of a process
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _close_all_but(kept: set[int]) -> None:
    for name in Path("/proc/self/fd").iterdir() if Path("/proc/self/fd").exists() else ():
        if int(name.name) not in kept:
            try:
                os.close(int(name.name))
            except OSError:
                continue  # that of the listing itself


def fork_rounds(patch: pytest.MonkeyPatch) -> None:
    """Let builds and rounds be forks, where the platform has /proc; all else is started as ever."""
    started = subprocess.Popen

    def start(command: list[str], **given: Any) -> Any:
        if command[0] != sys.executable or not set(FORKED) & set(command) or sys.platform != "linux":
            return started(command, **given)
        return Fork(command, given["stdin"], given["stdout"], given["env"], given["pass_fds"])

    ours = SimpleNamespace(**(vars(subprocess) | {"Popen": start}))
    patch.setattr(process, "subprocess", ours)

"""`perfgate_engine`: engines that tests build for figures of their own."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from perfgate.case import EngineSpec
from perfgate.engines.cache import Found
from perfgate.errors import RoundError, UsageError
from perfgate.guest import Answer, GuestJob
from perfgate.process import Files, run_module
from perfgate.record import decode, encode, write_atomic

if TYPE_CHECKING:
    from perfgate.own_session import OwnSession


@dataclass(frozen=True, slots=True)
class OwnEngine:
    """A prepared engine; nothing of it is loaded into the process of the tests.

    spec: what it was made from. found: where it lies in the engine cache, its size, versions and phases of building.
    """

    spec: EngineSpec
    found: Found
    session: OwnSession

    @property
    def name(self) -> str:
        return self.spec.name

    def run(self, function: Callable[..., Any], *args: Any) -> Any:
        """Call `function(engine, *args)` in a fresh process with the engine loaded; returns what it returns.

        engine is a `perfgate.engines.base.Engine`. Arguments and result are what JSON holds: numbers, texts, lists
        and dictionaries. The device is leased meanwhile.

        Raises:
            UsageError: the function does not stand at the top of a file.
            RoundError: the process failed or took too long; its log is named.
        """
        session = self.session
        with session.lease() as leases:
            session.use(self)
            return _carry_out(self._job(function, args), session.work_files(self.name), leases)

    def _job(self, function: Callable[..., Any], args: tuple[Any, ...]) -> GuestJob:
        session = self.session
        return GuestJob(
            self.spec, self.found.folder, _file_of(function), function.__qualname__, args,
            tuple(path for path in sys.path if path), session.gate.round_timeout_s, session.options.plant,
            session.gate.cpus,
        )  # fmt: skip


def _file_of(function: Callable[..., Any]) -> Path:
    name = getattr(function, "__qualname__", "")
    file = inspect.getsourcefile(function) if inspect.isfunction(function) else None
    if file is None or "<" in name:  # "<locals>", "<lambda>"
        raise UsageError(
            f"{name or function!r} runs in a process of its own, which finds it by file and name: define it with def "
            "at the top of the file, not inside a test"
        )
    return Path(file).resolve()


def _carry_out(job: GuestJob, files: Files, leases: tuple[int, ...]) -> Any:
    try:
        write_atomic(files.job, encode(job))
    except NotImplementedError as exc:
        raise UsageError(f"arguments of {job.function} go through JSON: {exc}") from exc
    ended = run_module("perfgate.guest", files.args, job.timeout_s + 10, files.log, kept_open=leases)
    if ended.code != 0 or not files.result.exists():
        raise RoundError(
            f"{job.function} ended with code {ended.code} in its process: {ended.last_words} (log: {ended.log})"
        )
    answer = decode(files.result.read_bytes(), Answer, files.result)
    if answer.fault is not None:
        raise RoundError(f"{job.function}: {answer.fault}")
    return answer.value

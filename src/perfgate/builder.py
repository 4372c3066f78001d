"""The preparing process: one engine from its spec into the cache, so that pytest never loads an engine library.

Run as `python -m perfgate.builder JOB RESULT`.
"""

from __future__ import annotations

import os
import sys
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

from perfgate.aftermath import Scene
from perfgate.case import EngineSpec
from perfgate.device import Device
from perfgate.engines import backend
from perfgate.engines.cache import MANIFEST, EngineCache, Found
from perfgate.engines.cache_use import use
from perfgate.engines.redaction import told
from perfgate.errors import EngineError, PerfgateError, RoundError, UsageError
from perfgate.heartbeat import STALL_S
from perfgate.process import HERE, Files, Interpreter, run_module
from perfgate.record import decode, encode, now, write_atomic
from perfgate.stopping import breakable

TIMEOUT_S = 4 * 3600.0
_TRIES = 3


@dataclass(frozen=True, slots=True)
class BuildJob:
    """An engine that is wanted in the cache; `fresh` builds it also if it is there.

    The key depends on what is installed, so that an engine of another Python is looked up by that Python.
    """

    engine: EngineSpec
    device: Device
    cache: Path
    fresh: bool = False
    interpreter: Interpreter = HERE
    stall_s: float = STALL_S  # without any progress, after which it is ended


@dataclass(frozen=True, slots=True)
class InUse:
    """A prepared engine, and the descriptor by which its rounds use it."""

    found: Found
    handle: int


@dataclass(frozen=True, slots=True)
class Built:
    """The engine, or why there is none and whether that is the user's mistake."""

    found: Found | None = None
    fault: str = ""
    is_usage: bool = False


def prepare(job: BuildJob, folder: Path, kept_open: tuple[int, ...] = ()) -> Found:
    """An engine from the cache, else prepared in a child process, which holds the descriptors `kept_open` meanwhile.

    Raises:
        UsageError: the spec or its checkpoint cannot be used.
        EngineError: the build failed.
    """
    if job.interpreter != HERE:
        return _build(job, folder, kept_open)
    try:
        with breakable():  # another process may be building it, and weights are read as a whole
            found = None if job.fresh else _cache(job).lookup(job.engine, job.device, backend(job.engine.backend))
    except UsageError as exc:
        raise UsageError(f"engine '{job.engine.name}': {exc}") from exc
    return found or _build(job, folder, kept_open)


def prepare_for_use(job: BuildJob, folder: Path, stack: ExitStack, kept_open: tuple[int, ...] = ()) -> InUse:
    """The same, used until the stack is left: meanwhile nobody removes the engine.

    Raises:
        UsageError, EngineError: see `prepare`; also where the engine went again and again before it could be used.
    """
    for _ in range(_TRIES):
        found = prepare(job, folder, kept_open)
        if (used := in_use(found, stack)) is not None:
            return used
        job = replace(job, fresh=False)
    raise EngineError(f"engine '{job.engine.name}': {job.cache} is being pruned again and again")


def in_use(found: Found, stack: ExitStack) -> InUse | None:
    """An engine used until the stack is left; None where it was removed meanwhile."""
    handle = use(found.folder)
    stack.callback(os.close, handle)
    return InUse(found, handle) if (found.folder / MANIFEST).exists() else None


def _build(job: BuildJob, folder: Path, kept_open: tuple[int, ...]) -> Found:
    files, scene = Files.of(folder, f"prepare-{job.engine.name}"), Scene.now()
    write_atomic(files.job, encode(job))
    try:
        ended = run_module(
            "perfgate.builder", files.args, TIMEOUT_S, files.log, job.interpreter, stall_s=job.stall_s,
            kept_open=kept_open,
        )  # fmt: skip
    except RoundError as exc:
        raise EngineError(str(exc), exc.kind) from exc
    if ended.code != 0 or not files.result.exists():
        found = scene.diagnose(ended.code, [files.log])
        what = f"preparing '{job.engine.name}' ended with code {ended.code} while '{ended.state}'"
        raise EngineError(f"{what}: {found or ended.last_words} (log: {ended.log})", found.kind if found else None)
    built = decode(files.result.read_bytes(), Built, files.result)
    if built.found is None:
        found = None if built.is_usage else scene.diagnose(0, [files.log], built.fault)
        why, kind = (found.beside(built.fault), found.kind) if found else (built.fault, None)
        raise (UsageError if built.is_usage else EngineError)(f"engine '{job.engine.name}': {why}", kind)
    return replace(built.found, interpreter=job.interpreter)


def _cache(job: BuildJob) -> EngineCache:
    return EngineCache(job.cache, now)


def main(job_path: str, result_path: str) -> int:
    """Carry out a job and write what came of it."""
    job = decode(Path(job_path).read_bytes(), BuildJob, job_path)
    try:
        built = Built(_cache(job).get(job.engine, job.device, backend(job.engine.backend), fresh=job.fresh))
    except PerfgateError as exc:
        built = Built(fault=told(str(exc)), is_usage=isinstance(exc, UsageError))
    write_atomic(Path(result_path), encode(built))
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))

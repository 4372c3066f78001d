"""The process that runs a function of a test's with an engine loaded, in a fresh process as every round is one.

Run as `python -m perfgate.guest JOB RESULT`.
"""

from __future__ import annotations

import importlib.util
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from perfgate.case import EngineSpec
from perfgate.engines import backend
from perfgate.errors import PerfgateError, UsageError
from perfgate.pinning import pin
from perfgate.plant import Plant
from perfgate.record import decode, encode, printable, write_atomic


@dataclass(frozen=True, slots=True)
class GuestJob:
    """A function by its file and name, its arguments as JSON has them, and the engine that it gets first."""

    engine: EngineSpec
    prepared: Path
    file: Path
    function: str
    args: tuple[Any, ...]
    import_path: tuple[str, ...]
    timeout_s: float
    plant: Plant
    cpus: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Answer:
    """What the function returned, or why it did not."""

    value: Any = None
    fault: str | None = None


def main(job_path: str, result_path: str) -> int:
    """Carry out a job; what the function raises ends this process with a traceback in its log."""
    job = decode(Path(job_path).read_bytes(), GuestJob, job_path)
    signal.setitimer(signal.ITIMER_REAL, job.timeout_s)  # ends this process, also when its parent is gone
    try:
        if job.cpus:
            pin(job.cpus)
        function = _function(job)
        with backend(job.engine.backend).load(job.plant.on(job.engine), job.prepared, job.plant) as engine:
            answer = Answer(function(engine, *job.args))
    except PerfgateError as exc:
        answer = Answer(fault=printable(str(exc)))
    write_atomic(Path(result_path), encode(answer))
    return 0


def _function(job: GuestJob) -> Callable[..., Any]:
    sys.path[:0] = [name for name in job.import_path if name not in sys.path]
    spec = importlib.util.spec_from_file_location("perfgate_guest_code", job.file)
    if spec is None or spec.loader is None:
        raise UsageError(f"{job.file} cannot be imported")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    found: Any = module
    for name in job.function.split("."):
        found = getattr(found, name)
    function: Callable[..., Any] = found
    return function


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))

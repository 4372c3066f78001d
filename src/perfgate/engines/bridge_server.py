"""The engine's process of a bridge: loads a prepared engine and serves it over HTTP on 127.0.0.1.

Run as `python -m perfgate.engines.bridge_server JOB`; ends at SIGINT, with code 1 when the engine fails.
"""

from __future__ import annotations

import gc
import json
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

from perfgate import __version__
from perfgate.engines import backend
from perfgate.engines.base import Backend, Engine, first_line
from perfgate.engines.bridge_desk import Desk, live, run_live, run_static
from perfgate.engines.bridge_front import limits_of
from perfgate.engines.bridge_job import Job
from perfgate.engines.bridge_line import EngineEnd, Frame, Kind, line_pair, packed
from perfgate.engines.kept import LOOPBACK
from perfgate.errors import EngineError, PerfgateError
from perfgate.pinning import pin
from perfgate.record import decode, printable
from perfgate.workloads.output import vocabulary_size

_BACKLOG = 4096
_FRONT_END_S = 5.0  # for the HTTP side's last answers


Ending = Callable[[float], Any]  # waits so many seconds for the end of the HTTP side
StartFront = Callable[[Path, socket.socket, socket.socket], Ending]  # of a job's path, its end of the line, the port


def start_process(job_path: Path, line: socket.socket, listener: socket.socket) -> Ending:
    """The HTTP side in a process of its own: in ours it and the engine would wait for each other's lock."""
    fds = (line.fileno(), listener.fileno())
    safe = ["-P"] if sys.flags.safe_path else []  # as we were started ourselves
    words = [sys.executable, *safe, "-m", "perfgate.engines.bridge_front", str(job_path), *map(str, fds)]
    with line:
        return subprocess.Popen(words, pass_fds=fds, stdin=subprocess.DEVNULL).wait  # noqa: S603 - our own module


def main(job_path: str, start_front: StartFront = start_process) -> int:
    """Serve a job's engine until SIGINT; a failure that we foresee is one line and code 1."""
    try:
        _serve(Path(job_path), start_front)
    except KeyboardInterrupt:
        return 0
    except PerfgateError as exc:
        _say(f"perfgate: {printable(str(exc))}")
        return 1
    return 0


def _serve(job_path: Path, start_front: StartFront) -> None:
    job = decode(job_path.read_bytes(), Job, job_path)
    with _front(job, job_path, start_front) as line:
        if job.cpus:
            pin(job.cpus)
        try:
            _run(job, line)
        except Exception as exc:  # whatever it is, clients are told before we end
            line.send([packed(Frame(Kind.FAILED, data=printable(first_line(exc)).encode()))])
            raise
    raise EngineError("the HTTP side has ended")


def _run(job: Job, line: EngineEnd) -> None:
    ours, begin = backend(job.engine.backend), time.monotonic()
    _say(f"loading {job.engine.name} with {ours.name}")
    with ours.load(job.plant.on(job.engine), job.prepared, job.plant) as engine:
        vocabulary = vocabulary_size(job.engine.model)
        desk = Desk(line, engine.encode, replace(limits_of(job), vocabulary=vocabulary))
        run = _runner(job, engine, desk)
        gc.collect()
        gc.freeze()  # what loading left is not looked at again
        _say(f"loaded in {time.monotonic() - begin:.1f} s; batching: {job.engine.batching}")
        facts = {**_facts(job, ours, engine), "vocabulary": vocabulary}
        line.send([packed(Frame(Kind.READY, data=json.dumps(facts).encode()))])
        run()


def _runner(job: Job, engine: Engine, desk: Desk) -> Callable[[], None]:
    most = job.engine.max_batch_size
    if job.is_live:
        return partial(run_live, live(engine), desk, most)
    return partial(run_static, engine, desk, most, job.queue_delay_s)


@contextmanager
def _front(job: Job, job_path: Path, start: StartFront) -> Iterator[EngineEnd]:
    """The HTTP side, started before the engine is loaded, so that /health answers from the beginning."""
    ours, theirs = line_pair()
    with socket.create_server((LOOPBACK, job.port), backlog=_BACKLOG) as listener:
        end = start(job_path, theirs, listener)
    line = EngineEnd(ours)
    try:
        yield line
    finally:
        line.close()
        with suppress(subprocess.TimeoutExpired):
            end(_FRONT_END_S)


def _facts(job: Job, ours: Backend, engine: Engine) -> Mapping[str, Any]:
    """What /server_info and /version tell."""
    spec = {name: str(value) for name, value in asdict(job.engine).items() if name != "model"}
    notes = dict(engine.stats().notes)
    more = {} if job.is_live else {"queue_delay_ms": job.queue_delay_s * 1000}
    return {"version": __version__, "versions": dict(ours.versions()), "engine": spec, "notes": notes, **more}


def _say(line: str) -> None:
    """A line into the log."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))

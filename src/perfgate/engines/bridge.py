"""A server of our own around an engine that has none, so that every backend is measured by the same client."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from perfgate.case import EngineSpec
from perfgate.engines.bridge_job import QUEUE_DELAY_S, Job
from perfgate.engines.kept import Launch, Patience, Routes, free_port
from perfgate.engines.openai import Progress, Server, serve
from perfgate.plant import Plant
from perfgate.process import HERE, Interpreter
from perfgate.record import encode_pretty, write_atomic

_ROUTES = Routes(health=("/health",))
_NOTES = (
    "served by perfgate's own bridge: its HTTP, JSON and queue are in the figures; texts are placeholders",
    "outputs are greedy and have exactly max_tokens tokens, whether a request says ignore_eos or not",
)


@contextmanager
def serve_engine(
    spec: EngineSpec,
    prepared: Path,
    plant: Plant,
    folder: Path,
    *,
    port: int | None = None,
    queue_delay_s: float = QUEUE_DELAY_S,
    cpus: tuple[int, ...] = (),
    interpreter: Interpreter = HERE,
    patience: Patience | None = None,
    held: tuple[int, ...] = (),
    tell: Callable[[Progress], None] = lambda _: None,
) -> Iterator[Server]:
    """Load a prepared engine in a process of its own and serve it; leaving ends that. Job and log lie in the folder.

    Requests ask for the model by the spec's name (`server.facts.model`). cpus: cores of the engine; empty: all.
    held: descriptors that stay open as long as anything of it runs.

    Raises:
        UsageError: the port is taken.
        EngineError: the engine cannot be loaded, with the end of the log.
    """
    job = Job(spec, prepared, port or free_port(), plant, queue_delay_s, cpus)
    log = folder / f"{spec.name}.server.log"
    with serve(launch(job, folder, interpreter), log, patience or Patience(), tell, held) as server:
        yield server


def launch(job: Job, folder: Path, interpreter: Interpreter = HERE) -> Launch:
    """How the server of a job is started; writes the job into the folder."""
    path = folder / f"{job.engine.name}.bridge.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, encode_pretty(job))
    python, *words = interpreter.command("perfgate.engines.bridge_server", [str(path)])
    safe = ["-P"] if sys.flags.safe_path and "-P" not in words else []  # our folder may hold modules of another commit
    return Launch(
        (python, *safe, *words),
        job.port,
        _ROUTES,
        variables={"PYTHONPATH": interpreter.variables["PYTHONPATH"]},
        notes=_NOTES,
        model=job.engine.name,
    )

"""A backend with a server of its own: `serving_engine:ServingBackend` in a suite, with tests/ on the import path.

Its server is tests/serving_server.py; `engine_args` that begin with `server_` are its options (server_step_ms: 2).
Everything else is the fake engine's, so that one round can load an engine and then serve.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fake_engine import FakeBackend, FakeEngine
from perfgate.case import EngineSpec, WorkKind
from perfgate.engines.kept import Launch, free_port
from perfgate.engines.openai import Server, serve
from perfgate.errors import EngineError
from perfgate.plant import Plant

LOADED = "loaded"  # stands in the prepared folder while an engine of it is loaded
SERVER = Path(__file__).parent / "serving_server.py"
SHORT = {"config.json": '{"vocab_size": 64}', "tokenizer.json": '{"added_tokens": [{"id": 0, "special": true}]}'}


class ServingBackend(FakeBackend):
    """The fake backend, and a server."""

    kinds = frozenset(WorkKind)

    @contextmanager
    def load(self, spec: EngineSpec, prepared: Path, plant: Plant) -> Iterator[FakeEngine]:
        with super().load(spec, prepared, plant) as engine:
            (prepared / LOADED).touch()
            yield engine
        (prepared / LOADED).unlink()

    @contextmanager
    def serve(self, spec: EngineSpec, prepared: Path, plant: Plant, folder: Path) -> Iterator[Server]:
        if (prepared / LOADED).exists():
            raise EngineError("an engine is loaded still: a GPU would hold both")
        args = {key.removeprefix("server_"): value for key, value in spec.engine_args if key.startswith("server_")}
        args["step_ms"] = float(args.get("step_ms", 2.0)) * plant.decode
        words = [word for key, value in args.items() for word in (f"--{key.replace('_', '-')}", str(value))]
        port = free_port()
        launch = Launch((sys.executable, str(SERVER), str(port), *words), port)
        with serve(launch, folder / "server.log") as server:
            yield server


def write_checkpoint(folder: Path) -> Path:
    """A checkpoint that tells its vocabulary, and nothing else."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in SHORT.items():
        (folder / name).write_text(text)
    (folder / "weights").write_bytes(b"weights")
    return folder

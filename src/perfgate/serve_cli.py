"""The command `perfgate serve`: an engine of a suite behind HTTP, until Ctrl-C or SIGTERM."""

from __future__ import annotations

import argparse
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING

from perfgate.suite_default import default_suite

if TYPE_CHECKING:
    from perfgate.case import EngineSpec
    from perfgate.engines.openai import Progress

_POLL_S = 0.5


def add_serve(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    parser.add_argument("engine", help="name of an engine in the suite")
    parser.add_argument("--suite", type=Path, default=default_suite(), help="suite file (default: %(default)s)")
    parser.add_argument("--port", type=int, default=8000, help="port of 127.0.0.1")
    parser.add_argument("--state", type=Path, default=Path(".perfgate"), help="engine cache and logs")
    parser.set_defaults(command=_serve)


def _serve(args: argparse.Namespace) -> int:
    """Exit code 1 where the engine ends by itself."""
    from perfgate.builder import BuildJob, prepare
    from perfgate.device import find_device
    from perfgate.engines.bridge import serve_engine
    from perfgate.plant import Plant
    from perfgate.terminal import PlainScreen

    screen, folder = PlainScreen(), args.state / "serve"
    spec, device = _engine(args.suite, args.engine), find_device()
    screen.write_line(f"preparing {spec.name}")
    found = prepare(BuildJob(spec, device, args.state / "engines"), folder)

    def tell(progress: Progress) -> None:
        screen.write_line(f"{progress.elapsed_s:.0f} s: {progress.last_line}")

    signal.signal(signal.SIGTERM, signal.default_int_handler)  # ends it as Ctrl-C does
    try:
        with serve_engine(spec, found.folder, Plant(), folder, port=args.port, tell=tell) as server:
            screen.write_line(f"{spec.name} at {server.url}, log in {folder}; Ctrl-C ends it")
            while True:
                server.check()
                time.sleep(_POLL_S)
    except KeyboardInterrupt:
        return 0


def _engine(suite: Path, name: str) -> EngineSpec:
    from perfgate.device import find_device
    from perfgate.engines import backend
    from perfgate.errors import UsageError
    from perfgate.suite import load_suite

    engines = {spec.name: spec for spec in load_suite(suite).engines}
    if name not in engines:
        raise UsageError(f"there is no engine '{name}' in {suite}, only {', '.join(engines)}")
    spec = engines[name]
    support = backend(spec.backend).support(spec, find_device())
    if support.reason:
        raise UsageError(f"engine '{name}': {support.reason}")
    return spec

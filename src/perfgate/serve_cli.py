"""The command `perfgate serve`: an engine of a suite behind HTTP, until Ctrl-C or SIGTERM."""

from __future__ import annotations

import argparse
import signal
import time
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from perfgate.suite_default import default_suite

if TYPE_CHECKING:
    from perfgate.builder import InUse
    from perfgate.case import EngineSpec
    from perfgate.engines.openai import Progress

_POLL_S = 0.5


def add_serve(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    parser.add_argument("engine", help="name of an engine in the suite")
    parser.add_argument("--suite", type=Path, default=default_suite(), help="suite file (default: %(default)s)")
    parser.add_argument("--port", type=int, default=8000, help="port of 127.0.0.1")
    parser.add_argument("--state", type=Path, default=Path(".perfgate"), help="engine cache and logs")
    parser.add_argument(
        "--lease-wait", metavar="TIME", default="1h", help="how long to wait where others measure: 0s, 10min, 2h"
    )
    parser.set_defaults(command=_serve)


def _serve(args: argparse.Namespace) -> int:
    """Exit code 1 where the engine ends by itself. Meanwhile the device is leased: gates beside it wait."""
    from perfgate.builder import BuildJob, prepare_for_use
    from perfgate.device import find_device
    from perfgate.leases import Wait, leased, places
    from perfgate.plan import parse_budget
    from perfgate.terminal import PlainScreen

    screen, most_s = PlainScreen(), parse_budget("--lease-wait", args.lease_wait)
    spec, device = _engine(args.suite, args.engine), find_device()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # ends it as Ctrl-C does
    with suppress(KeyboardInterrupt), ExitStack() as stack:
        wait = Wait(most_s or 0.0, screen.write_line, "--lease-wait")
        leases = stack.enter_context(leased(places(device, [spec]), wait))
        screen.write_line(f"preparing {spec.name}")
        job = BuildJob(spec, device, args.state / "engines")
        used = prepare_for_use(job, args.state / "serve", stack, leases)
        _serve_used(args, spec, used, (used.handle, *leases))
    return 0


def _serve_used(args: argparse.Namespace, spec: EngineSpec, used: InUse, held: tuple[int, ...]) -> NoReturn:
    """Until a signal, or the engine's own end."""
    from perfgate.engines.bridge import serve_engine
    from perfgate.plant import Plant
    from perfgate.terminal import PlainScreen

    screen, folder = PlainScreen(), args.state / "serve"

    def tell(progress: Progress) -> None:
        screen.write_line(f"{progress.elapsed_s:.0f} s: {progress.last_line}")

    with serve_engine(spec, used.found.folder, Plant(), folder, port=args.port, held=held, tell=tell) as server:
        screen.write_line(f"{spec.name} at {server.url}, log in {folder}; Ctrl-C ends it")
        while True:
            server.check()
            time.sleep(_POLL_S)


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

"""The command `perfgate calibrate`."""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path
from typing import Any

from perfgate.suite_default import default_suite

EXIT_OK, EXIT_STOPPED = 0, 1


def add_calibrate(commands: Any) -> None:
    """Add the command to the command line's subparsers."""
    parser = commands.add_parser("calibrate", help="learn the noise of this machine: what it can detect, and how fast")
    parser.set_defaults(command=_calibrate)
    parser.add_argument("--suite", type=Path, default=default_suite(), help="suite file (default: %(default)s)")
    parser.add_argument("--engines", nargs="+", default=[], metavar="NAME", help="only these (default: all)")
    parser.add_argument("--workloads", nargs="+", default=[], metavar="NAME", help="only these (default: all)")
    parser.add_argument("--rounds", type=int, default=6, metavar="N", help="pairs of rounds per engine (default: 6)")
    parser.add_argument("--sessions", type=int, default=1, metavar="K", help="sessions of as many pairs (default: 1)")
    parser.add_argument("--pause", metavar="TIME", help="wait between sessions: 90s, 10min, 2h")
    parser.add_argument("--budget", metavar="TIME", help="time for measuring: 90s, 10min, 2h (default: no limit)")
    parser.add_argument(
        "--levers", default="pin,samples,warmup", help="what to try: pin, samples, warmup, or none (default: all)"
    )
    parser.add_argument("--cpus", metavar="LIST", help="cores for 'pin', such as 2-5,8 (default: chosen)")
    parser.add_argument("--state", type=Path, default=Path(".perfgate"), help="engines, history, noise models, logs")
    parser.add_argument("--out", type=Path, default=Path("perfgate-out"), help="folder for reports")


def _calibrate(args: argparse.Namespace) -> int:
    from perfgate.calibrate import calibrate
    from perfgate.calibration import save_noise, write_calibration
    from perfgate.calibration_page import text, write_markdown
    from perfgate.stopping import stop_by_signals
    from perfgate.suite import load_suite
    from perfgate.terminal import Terminal

    suite = load_suite(args.suite)
    with stop_by_signals() as stop:
        with Terminal.on_stdout() as terminal:
            found = calibrate(suite, _wish(args), args.state, terminal, stop)
        print(text(found, suite.gate, shutil.get_terminal_size((120, 24)).columns))
        model = "none, of a calibration that was stopped" if found.stopped else save_noise(found, args.state)
        paths = [write_calibration(found, args.out), write_markdown(found, suite.gate, args.out)]
        print(f"\nreports: {args.out}/ ({', '.join(path.name for path in paths)}); noise model: {model}")
    return EXIT_STOPPED if found.stopped else EXIT_OK


def _wish(args: argparse.Namespace) -> Any:
    from perfgate.calibrate_wish import Wish
    from perfgate.errors import UsageError
    from perfgate.pinning import parse_cpus
    from perfgate.plan import parse_budget

    levers = () if args.levers == "none" else tuple(filter(None, args.levers.split(",")))
    cpus = parse_cpus(args.cpus) if args.cpus else ()
    if cpus is None:
        raise UsageError(f"--cpus: found '{args.cpus}', expected a list of cores such as 0-3,8")
    return Wish(
        engines=tuple(args.engines),
        workloads=tuple(args.workloads),
        pairs=args.rounds,
        sessions=args.sessions,
        pause_s=parse_budget("--pause", args.pause) or 0.0,
        budget_s=parse_budget("--budget", args.budget),
        levers=levers,
        cpus=cpus,
    )

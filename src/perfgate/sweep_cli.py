"""The command `perfgate sweep`."""

from __future__ import annotations

import argparse
import os
import sys
from contextlib import ExitStack
from pathlib import Path

EXIT_OK, EXIT_FAILED = 0, 1
_MORE = """\
exit code 0: everything that can run here was measured; 1: something failed, nothing could be measured, or a signal
stopped it; 4: a mistake in the suite or the options. A sweep that was stopped or killed goes on where it was when the
same command is given again; so does one with failures, which are then tried again.
"""


def add_sweep(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    parser.set_defaults(command=_sweep)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = _MORE
    parser.add_argument("--suite", type=Path, default=Path("fixtures/suites/tradeoffs.yaml"), help="suite with a sweep")
    parser.add_argument("--only", nargs="+", default=[], metavar="NAME", help="only these configurations")
    parser.add_argument("--rounds", type=int, metavar="N", help="rounds a configuration (default: the suite's)")
    parser.add_argument(
        "--plan", action="store_true", help="list configurations, skips and estimated time; run nothing"
    )
    parser.add_argument("--fresh", action="store_true", help="forget what an interrupted sweep measured")
    parser.add_argument("--state", type=Path, default=Path(".perfgate"), help="journal, logs, engines under way")
    parser.add_argument("--out", type=Path, default=Path("perfgate-out"), help="folder for reports")


def _sweep(args: argparse.Namespace) -> int:
    from perfgate.report.tradeoff_text import show
    from perfgate.report.tradeoffs import write_tradeoffs
    from perfgate.rounds_option import checked_rounds
    from perfgate.stopping import stop_by_signals
    from perfgate.suite import load_suite
    from perfgate.sweep_plan import SweepWish, plan_sweep, sweep_plan_lines
    from perfgate.sweep_run import close_sweep, run_sweep
    from perfgate.terminal import PlainScreen, Terminal, is_live
    from perfgate.tradeoffs import weigh

    rounds = checked_rounds(args.rounds)
    screen, wish = PlainScreen(), SweepWish(args.state, rounds, tuple(args.only), fresh=args.fresh)
    plan = plan_sweep(load_suite(args.suite), wish)
    if args.plan:
        screen.write_line("\n".join(sweep_plan_lines(plan)))
        return EXIT_OK
    with ExitStack() as held, stop_by_signals() as stop:
        with Terminal.on_stdout() as progress:
            swept = run_sweep(plan, wish, progress, held, stop)
        found = weigh(swept)
        paths = write_tradeoffs(found, plan.sweep, args.out, screen.write_line)
        close_sweep(swept, wish)  # once the files are there: a sweep may have taken hours
    show(found, screen.write_line, is_live=is_live(sys.stdout, os.environ))
    screen.write_line(f"\nreports: {args.out}/ ({', '.join(path.name for path in paths)})")
    return EXIT_FAILED if found.is_bad else EXIT_OK

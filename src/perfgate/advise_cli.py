"""The command `perfgate advise [RUN ...] --goal GOAL`."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from perfgate.suite_default import default_suite

if TYPE_CHECKING:
    from perfgate.advising.advice import Wish

EXIT_OK = 0
GOALS = ("latency", "throughput", "memory", "long-context", "cost")
_MORE = """\
RUN: run.json, a baseline file, or tradeoffs.json of a sweep, all of one device. Without any: the newest run in the
state folder, with earlier ones and the history for cases that it lacks, and tradeoffs.json in the folder for reports.
"""


def add_advise(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    parser.set_defaults(command=_advise)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = _MORE
    parser.add_argument("runs", type=Path, nargs="*", metavar="RUN", help="what was measured")
    parser.add_argument("--goal", required=True, choices=GOALS, help="what you want most")
    parser.add_argument(
        "--suite", type=Path, default=default_suite(), help="the runs' suite file (default: %(default)s)"
    )
    parser.add_argument("--case", action="append", default=[], metavar="GLOB", help="these cases alone; repeatable")
    parser.add_argument("--workload", action="append", default=[], metavar="GLOB", help="these workloads alone")
    parser.add_argument("--max-loss", metavar="SHARE", help="of perplexity, such as 1%% (default: as the suite allows)")
    parser.add_argument("--price", metavar="PRICE", help="of a device's hour, such as 2.50/h: for the goal cost")
    parser.add_argument("--ceilings", type=Path, action="append", default=[], metavar="FILE",
                        help="limits of a device as `perfgate roofline` keeps them, for runs without")  # fmt: skip
    parser.add_argument("--json", action="store_true", help="print advice.json instead of the table")
    parser.add_argument("--state", type=Path, default=Path(".perfgate"), help="where runs and history are kept")
    parser.add_argument("--out", type=Path, default=Path("perfgate-out"), help="folder for advice.json and advice.md")


def _advise(args: argparse.Namespace) -> int:
    """Exit code 0 whatever the advice: it gates nothing."""
    import os
    import sys

    from perfgate.advising.advise import advise
    from perfgate.advising.files import gather
    from perfgate.record import encode_pretty
    from perfgate.report.advice import show, write_advice
    from perfgate.terminal import PlainScreen, is_live

    wish = _wish(args)
    advice = advise(gather(args.runs, args.suite, args.state, args.out, args.ceilings), wish)
    paths = write_advice(advice, args.out)
    screen = PlainScreen()
    if args.json:
        screen.write_line(encode_pretty(advice).decode().rstrip())
        return EXIT_OK
    show(advice, screen.write_line, is_live=is_live(sys.stdout, os.environ))
    screen.write_line(f"\nreports: {args.out}/ ({', '.join(path.name for path in paths)})")
    return EXIT_OK


def _wish(args: argparse.Namespace) -> Wish:
    from perfgate.advising.advice import Wish
    from perfgate.advising.goals import Goal
    from perfgate.advising.price import parse_price
    from perfgate.errors import UsageError
    from perfgate.schema import parse_fraction

    loss = None if args.max_loss is None else parse_fraction(args.max_loss)
    if args.max_loss is not None and loss is None:
        raise UsageError(f"--max-loss: found '{args.max_loss}', expected a share of perplexity such as 1% or 0.01")
    return Wish(Goal(args.goal), loss, parse_price(args.price), tuple(args.case), tuple(args.workload))

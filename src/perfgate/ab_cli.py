"""The command `perfgate ab A B`."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

from perfgate.formats_cli import add_formats, formats_of
from perfgate.suite_default import default_suite

_SIDES = """\
a side is [ENGINE][@PIN[,PIN...]], PIN is PACKAGE==VERSION or commit:REVISION:
  int8                                 the suite's engine, as it is here
  int8@openvino==2026.3.0              with that version, installed into an environment of its own
  int8@commit:HEAD~3                   suite, checkpoint and Python code of a commit
  @commit:v1.2                         the other side's engine; every common engine where both leave it out
"""

EXIT_RED = 1
Show = Callable[[argparse.Namespace, object, object], int]


def add_ab(parser: argparse.ArgumentParser, show: Show) -> None:
    """Arguments of the command; `show` prints a judged run and writes its reports."""
    parser.set_defaults(command=lambda args: _ab(args, show), verbose=True)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = _SIDES
    parser.add_argument("a", metavar="A", help="taken as the baseline")
    parser.add_argument("b", metavar="B", help="taken as the candidate")
    parser.add_argument("--suite", type=Path, default=default_suite(), help="suite file (default: %(default)s)")
    parser.add_argument(
        "--workloads", nargs="+", default=[], metavar="NAME", help="only these (default: all in common)"
    )
    parser.add_argument("--rounds", type=int, help="exactly this many pairs of rounds per engine")
    parser.add_argument("--budget", help="time for measuring: 90s, 4min, 2h (default: the suite's)")
    parser.add_argument("--state", type=Path, default=Path(".perfgate"), help="engines, environments, worktrees, logs")
    parser.add_argument("--out", type=Path, default=Path("perfgate-out"), help="folder for reports")
    add_formats(parser)
    parser.add_argument(
        "--fail",
        action="store_true",
        help="exit code 1 where B is a regression or was not measured; of one that was stopped always",
    )


def _ab(args: argparse.Namespace, show: Show) -> int:
    from perfgate.ab import ab_gate, is_bad, run_ab
    from perfgate.contenders import contender, match, parse_wishes
    from perfgate.environments import EnvironmentStore
    from perfgate.plan import parse_budget
    from perfgate.record import now
    from perfgate.stopping import ANEW, Stopped, stop_by_signals
    from perfgate.suite import load_suite
    from perfgate.terminal import Terminal

    formats_of(args)  # a wrong one, too, is told before anything is measured
    wishes, budget_s = parse_wishes(args.a, args.b), parse_budget("--budget", args.budget)
    ab_gate(load_suite(args.suite).gate, args.rounds, budget_s)  # a wrong option is told before anything is installed
    store = EnvironmentStore(args.state / "environments", now)
    terminal = Terminal.on_stdout()
    a, b = (contender(wish, args.suite, args.state, store) for wish in wishes)
    gate = ab_gate(b.suite.gate, args.rounds, budget_s)
    with stop_by_signals() as stop:
        try:
            run, comparison = run_ab(a, b, match(a, b, args.workloads), gate, args.state, terminal, stop)
        except Stopped:
            terminal.end()
            terminal.note(stop.why(0, ANEW))
            return EXIT_RED
        terminal.end()
        show(args, run, comparison)
    return int(bool(comparison.stopped) or (args.fail and is_bad(comparison)))

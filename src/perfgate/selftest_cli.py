"""The command `perfgate selftest`."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from perfgate.errors import UsageError
from perfgate.rounds_option import checked_rounds
from perfgate.suite_default import default_suite

if TYPE_CHECKING:
    from perfgate.case import Case
    from perfgate.selftest import Planted, What
    from perfgate.suite import Suite

EXIT_OK, EXIT_RED = 0, 1
MOST_PERCENT = 1000.0


def add_selftest(commands: Any) -> None:
    """Add the command to the command line's subparsers."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "selftest", help="plant known slowdowns and quality losses, and count how many the gate finds"
    )
    parser.set_defaults(command=_selftest)
    parser.add_argument("--suite", type=Path, default=default_suite(), help="suite file (default: %(default)s)")
    parser.add_argument("--gates", type=int, default=5, metavar="N", help="gates of each kind (default 5)")
    parser.add_argument("--decode", default="2,3,5,10", metavar="%,%", help="slowdowns of decoding, in per cent")
    parser.add_argument("--perplexity", default="1", metavar="%,%", help="losses of quality, in per cent")
    parser.add_argument("--engines", default="", metavar="A,B", help="only these engines")
    parser.add_argument("--workloads", default="", metavar="X,Y", help="only these workloads")
    parser.add_argument("--budget", help="time of each gate: 90s, 4min, 2h (default: the suite's)")
    parser.add_argument("--rounds", type=int, help="exactly this many rounds per engine and side in each gate")
    parser.add_argument("--baselines", type=Path, default=Path("baselines"), help="folder of reviewed baselines")
    parser.add_argument("--state", type=Path, default=Path(".perfgate"), help="its selftest/ folder is used")
    parser.add_argument("--out", type=Path, default=Path("perfgate-out"), help="folder for selftest.jsonl, .json, .md")
    parser.add_argument("--fresh", action="store_true", help="start anew, do not go on with an earlier self-test")
    parser.add_argument("--strict", action="store_true", help="exit code 1 on a false alarm or a gross miss")


def _selftest(args: argparse.Namespace) -> int:
    from perfgate.plan import parse_budget
    from perfgate.selftest import What, faults
    from perfgate.selftest_report import render_text
    from perfgate.selftest_run import Wish, run_selftest, sensible
    from perfgate.stopping import ended_by_signals, goes_on
    from perfgate.suite import load_suite
    from perfgate.terminal import Terminal

    _refuse_below_one(args)
    asked = (*_sizes("--decode", args.decode, What.DECODE), *_sizes("--perplexity", args.perplexity, What.PERPLEXITY))
    budget_s = parse_budget("--budget", args.budget)
    suite = load_suite(args.suite)
    cases = _selected(suite, _names(args.engines), _names(args.workloads))
    planted = sensible(asked, cases, suite.gate)
    terminal = Terminal.on_stdout()
    for one in (one for one in asked if one not in planted):
        terminal.note(f"no selected case has a gated metric that shows {one.label}: not planted")
    wish = Wish(
        suite, cases, planted, args.gates, args.baselines, args.state, args.out, args.rounds, budget_s, args.fresh
    )
    then = f"gates that are done, if any, stand in {args.out}/selftest.md; {goes_on(args.fresh)}"
    with ended_by_signals(then) as stop, terminal:
        report = run_selftest(wish, terminal, stop)
    wrong = faults(report.tallies)
    terminal.lines(["", *render_text(report).splitlines(), *(f"WRONG: {one}" for one in wrong)])
    terminal.lines([f"reports: {args.out}/ (selftest.json, selftest.md, selftest.jsonl)"])
    return EXIT_RED if args.strict and wrong else EXIT_OK


def _refuse_below_one(args: argparse.Namespace) -> None:
    checked_rounds(args.rounds)
    if args.gates < 1:
        raise UsageError(f"--gates: found {args.gates}, expected a whole number from 1")


def _sizes(option: str, text: str, what: What) -> list[Planted]:
    """'2,3.5' as planted sizes, each once; none where the text is empty."""
    from perfgate.selftest import Planted

    sizes = []
    for word in _names(text):
        percent = float(word) if word.replace(".", "", 1).isdecimal() and word.isascii() else 0.0
        if not 0 < percent <= MOST_PERCENT:
            raise UsageError(f"{option}: found '{word}', expected per cent above 0, up to {MOST_PERCENT:.0f}: 2,3,5,10")
        sizes.append(Planted(what, round(percent / 100, 9)))
    return list(dict.fromkeys(sizes))


def _names(text: str) -> list[str]:
    return [word.strip() for word in text.split(",") if word.strip()]


def _selected(suite: Suite, engines: Sequence[str], workloads: Sequence[str]) -> tuple[Case, ...]:
    from perfgate.schema import nearest

    known_engines = [spec.name for spec in suite.engines]
    known_workloads = list(dict.fromkeys(case.work.name for case in suite.cases))
    for what, names, known in (("engine", engines, known_engines), ("workload", workloads, known_workloads)):
        for name in (name for name in names if name not in known):
            raise UsageError(f"no {what} '{name}' in {suite.source}; there: {', '.join(known)}{nearest(name, known)}")
    chosen = [case for case in suite.cases if case.engine.name in (engines or known_engines)]
    cases = tuple(case for case in chosen if case.work.name in (workloads or known_workloads))
    if not cases:
        raise UsageError(f"{suite.source} asks none of these engines for these workloads; see `perfgate plan`")
    return cases

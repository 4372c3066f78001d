"""The command `perfgate tune`."""

from __future__ import annotations

import argparse
from contextlib import ExitStack
from pathlib import Path

from perfgate.suite_default import default_suite

EXIT_OK, EXIT_FAILED = 0, 1
_GOALS = ("latency", "throughput", "long-context", "memory")  # of `perfgate.tune_goal`, which loads more than we need
_MORE = """\
exit code 0: the search came to its end, or to that of its budget; 1: nothing could be measured, or it was stopped;
4: a mistake in the suite or the options. A search that was stopped or killed goes on where it was when the same command
is given again; so does one whose budget was spent, with a larger one.
"""


def add_tune(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    parser.set_defaults(command=_tune)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = _MORE
    parser.add_argument("--suite", type=Path, default=default_suite(), help="suite file (default: %(default)s)")
    parser.add_argument("--engine", required=True, metavar="NAME", help="the engine of the suite to begin with")
    parser.add_argument("--goal", required=True, choices=_GOALS, help="what is to get better")
    parser.add_argument("--budget", default="30min", metavar="TIME", help="time for building and measuring (30min)")
    parser.add_argument(
        "--max-loss", default="1%", metavar="SHARE", help="loss of perplexity that is allowed in all (1%%)"
    )
    parser.add_argument("--plan", action="store_true", help="list which steps apply and why not; run nothing")
    parser.add_argument("--fresh", action="store_true", help="forget what an interrupted search measured")
    parser.add_argument("--state", type=Path, default=Path(".perfgate"), help="journal, logs, engine cache")
    parser.add_argument(
        "--out", type=Path, default=Path("perfgate-out"), help="folder for tuning.json, .md, tuned.yaml"
    )


def _tune(args: argparse.Namespace) -> int:
    from perfgate.errors import UsageError
    from perfgate.plan import parse_budget
    from perfgate.report.tuned import tuned_lines, write_tuned
    from perfgate.schema import parse_fraction
    from perfgate.stopping import stop_by_signals
    from perfgate.suite import load_suite
    from perfgate.terminal import PlainScreen, Terminal
    from perfgate.tune_goal import Goal
    from perfgate.tune_plan import TuneWish, plan_tune, tune_plan_lines
    from perfgate.tune_run import close_tune, run_tune

    budget_s, max_loss = parse_budget("--budget", args.budget), parse_fraction(args.max_loss.strip())
    if not budget_s:
        raise UsageError(f"--budget: found '{args.budget}', expected some time, such as 30min")
    if max_loss is None:
        raise UsageError(f"--max-loss: found '{args.max_loss}', expected a share such as 1% or 0.01")
    wish = TuneWish(args.state, args.engine, Goal(args.goal), budget_s, max_loss, fresh=args.fresh)
    suite, screen = load_suite(args.suite), PlainScreen()
    plan = plan_tune(suite, wish)
    if args.plan:
        screen.write_line("\n".join(tune_plan_lines(plan, wish)))
        return EXIT_OK
    with ExitStack() as held:
        with stop_by_signals() as stop:
            with Terminal.on_stdout() as progress:
                found = run_tune(plan, wish, progress, held, stop)
            paths = write_tuned(found, suite, args.out)
        close_tune(found, plan, wish)  # once the files are there
    screen.write_line("\n".join(["", *tuned_lines(found)]))
    screen.write_line(f"\nreports: {args.out}/ ({', '.join(path.name for path in paths)})")
    return EXIT_FAILED if found.is_in_vain or found.stopped else EXIT_OK

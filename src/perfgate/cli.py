"""The command line: each command is a few calls of the library."""

from __future__ import annotations

import argparse
import io
import json
import os
import shutil
import sys
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import perfgate
from perfgate.ab_cli import add_ab
from perfgate.advise_cli import add_advise
from perfgate.baseline_cli import add_baseline
from perfgate.calibrate_cli import add_calibrate
from perfgate.claims_cli import add_claims
from perfgate.compare_cli import add_compare
from perfgate.doctor_cli import add_doctor
from perfgate.errors import PerfgateError, StorageError, UsageError
from perfgate.explain_cli import add_explain, explain_command
from perfgate.formats_cli import add_formats, formats_of
from perfgate.history_cli import add_history
from perfgate.import_cli import add_import
from perfgate.init_cli import add_init
from perfgate.json_schemas import json_schema
from perfgate.json_schemas import names as schema_names
from perfgate.quantise_cli import add_quantize
from perfgate.roofline_cli import add_roofline
from perfgate.rounds_option import checked_rounds
from perfgate.selftest_cli import add_selftest
from perfgate.serve_bench_cli import add_serve_bench
from perfgate.serve_cli import add_serve
from perfgate.suite_default import default_suite
from perfgate.sweep_cli import add_sweep
from perfgate.techniques_cli import add_techniques
from perfgate.tune_cli import add_tune
from perfgate.versus_cli import add_versus
from perfgate.workflow_lines import inert_streams, is_asked

if TYPE_CHECKING:
    from perfgate.engines.cache import Pruned
    from perfgate.report import Behind
    from perfgate.suite import Suite

EXIT_OK, EXIT_RED, EXIT_USAGE = 0, 1, 4


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; a mistake of the user's is one line and exit code 4, as pytest has it."""
    _say_all()
    with inert_streams():
        return _main(argv)


def _main(argv: Sequence[str] | None) -> int:
    args = _parser().parse_args(argv)
    try:
        command: Callable[[argparse.Namespace], int] = args.command
        return command(args)
    except BrokenPipeError:  # `perfgate explain ... | head`: who reads has had enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_OK
    except UsageError as exc:
        print(f"perfgate: {exc}", file=sys.stderr)
        return EXIT_USAGE
    except PerfgateError as exc:
        print(f"perfgate: {exc}", file=sys.stderr)
        return EXIT_RED
    except OSError as exc:
        if not StorageError.is_of(exc):
            raise
        print(f"perfgate: {StorageError.of(exc)}", file=sys.stderr)
        return EXIT_USAGE


def _say_all() -> None:
    """Let streams of a narrow encoding spell what they lack, as pytest does: an exit code of 1 is for red gates."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="perfgate", description=perfgate.__doc__)
    parser.add_argument("--version", action="version", version=perfgate.__version__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    plan = commands.add_parser("plan", help="list cases, skips and estimated time; run nothing")
    _add_gate(plan, _plan)
    plan.add_argument(
        "--capabilities", nargs="?", const="text", choices=["text", "markdown"],
        help="list instead which backend has which technique on which device",
    )  # fmt: skip
    plan.add_argument("--budget", metavar="TIME", help="say which cases are worth so much time: 90s, 30min, 2h")
    plan.add_argument("--cases", action="store_true", help="with --budget: print a suite's `cases:` section for them")
    run = commands.add_parser("run", help="measure and judge a suite without pytest")
    _add_gate(run, _run)
    run.add_argument(
        "--inject",
        action="append",
        default=[],
        metavar="WHAT=RATIO",
        help="plant decode=1.25, perplexity=1.05, graphs=off",
    )
    run.add_argument("--rounds", type=int, help="exactly this many rounds per engine and side")
    run.add_argument("--budget", help="time for the whole gate: 90s, 4min, 2h")
    run.add_argument("--rebuild-baseline", action="store_true", help="install what a baseline's engine was made with")
    _add_thorough(run)
    add_formats(run)
    add_ab(commands.add_parser("ab", help="measure A against B now: engines, package versions or commits"), _show)
    for name, function, text in (
        ("judge", _judge, "judge a saved run again; writes comparison files beside it"),
        ("report", _judge, "the same as judge: reports are made from verdicts, and verdicts from the run"),
    ):
        one = commands.add_parser(name, help=text)
        _add_gate(one, function)
        _add_thorough(one)
        add_formats(one)
        one.add_argument("run", type=Path, help="run.json")
    explain = commands.add_parser("explain", help="why a case of a run has its verdict: the numbers behind it")
    _add_gate(explain, explain_command)
    _add_thorough(explain)
    add_explain(explain)
    compare = commands.add_parser("compare", help="judge run B against A, a run or a baseline")
    add_compare(compare, _add_gate, lambda args, run, judged, behind: _show(args, run, judged, behind=behind))
    _add_thorough(compare)
    add_baseline(commands.add_parser("baseline", help="show, diff, accept or prune reviewed baselines"), _add_gate)
    cache = commands.add_parser("cache", help="list prepared engines, say why one would be built, or remove them")
    _add_gate(cache, _cache)
    cache.add_argument("action", choices=["list", "why", "clear", "prune"])
    cache.add_argument("--max-bytes", metavar="SIZE", help="what prune leaves at most: 500MB, 20GB, 1.5TB")
    add_history(commands)
    add_init(commands.add_parser("init", help="begin a gate in a repository: suite, test, workflow; then plan it"))
    add_import(commands.add_parser("import", help="make runs or baselines of results that other programs measured"))
    add_calibrate(commands)
    add_doctor(commands.add_parser("doctor", help="say what of this machine is unfit for measuring, and what to type"))
    add_roofline(commands.add_parser("roofline", help="the device's measured limits, and how near a run came to them"))
    add_selftest(commands)
    add_serve_bench(commands.add_parser("serve-bench", help="put a load on an OpenAI-compatible server and measure it"))
    add_serve(commands.add_parser("serve", help="serve an engine of a suite over HTTP, to put a load on it"))
    add_sweep(commands.add_parser("sweep", help="measure a product of build options: what each costs and gives"))
    add_tune(commands.add_parser("tune", help="search for a better engine, step by step, within a budget"))
    add_quantize(commands.add_parser("quantize", help="quantise a checkpoint, measure it, and accept or adjust"))
    add_versus(commands.add_parser("versus", help="compare load results of backends: a picture, ratios, intervals"))
    _add_findings(commands)
    _add_schema(commands.add_parser("schema", help="print the JSON Schema of a kind of file"))
    return parser


def _add_schema(schema: argparse.ArgumentParser) -> None:
    schema.add_argument("kind", nargs="?", default="suite", choices=schema_names(), help="default: suite, for editors")
    schema.set_defaults(command=_schema)


def _add_findings(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """What measured runs say beside verdicts."""
    add_claims(commands.add_parser("claims", help="whether rules of thumb of the field hold on what a run measured"))
    add_techniques(commands.add_parser("techniques", help="a page of what techniques cost and give, as measured"))
    add_advise(commands.add_parser("advise", help="what to do next for a goal: techniques ranked by measured evidence"))


def _add_gate(parser: argparse.ArgumentParser, command: Callable[[argparse.Namespace], int]) -> None:
    parser.set_defaults(command=command)
    parser.add_argument("--suite", type=Path, default=default_suite(), help="suite file (default: %(default)s)")
    parser.add_argument("--baselines", type=Path, default=Path("baselines"), help="folder of reviewed baselines")
    parser.add_argument("--waivers", type=Path, help="file of waivers (default: waivers.yaml among the baselines)")
    parser.add_argument("--state", type=Path, default=Path(".perfgate"), help="engine cache, journal, local baselines")
    parser.add_argument("--out", type=Path, default=Path("perfgate-out"), help="folder for reports")
    parser.add_argument("--policy", choices=["ci", "local"], default="ci" if os.environ.get("CI") else "local")
    parser.add_argument("-v", "--verbose", action="store_true", help="show every metric")


def _add_thorough(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--thorough", action="store_true", help="judge for smaller changes: 3 %% where the suite asks for 5 %%"
    )


def _plan(args: argparse.Namespace) -> int:
    if args.capabilities:
        return _capabilities(args)
    from perfgate.budget_plan import cases_section, choice_lines, choose_cases
    from perfgate.plan import Options, make_plan, parse_budget
    from perfgate.suite import load_suite
    from perfgate.terminal import plan_lines

    budget_s = parse_budget("--budget", args.budget)
    if args.cases and budget_s is None:
        raise UsageError("--cases prints what a budget chose: give --budget TIME too")
    suite = load_suite(args.suite)
    plan = make_plan(suite, suite.cases, Options(args.baselines, args.state, args.policy))
    if budget_s is None:
        _print_fitted(plan_lines(plan, suite))
        return EXIT_OK
    choice = choose_cases(suite, plan, args.state, budget_s)
    if args.cases:
        print(cases_section(choice, suite))
    else:
        _print_fitted(choice_lines(choice, budget_s, plan))
    return EXIT_OK


def _print_fitted(lines: Iterable[str]) -> None:
    from perfgate.terminal import fitted

    for line in lines:
        print("\n".join(fitted(line, sys.stdout)))


def _capabilities(args: argparse.Namespace) -> int:
    from perfgate.capabilities import matrix
    from perfgate.capability_words import as_markdown, as_text
    from perfgate.device import find_device

    print(as_markdown(matrix()) if args.capabilities == "markdown" else as_text(matrix(find_device())))
    return EXIT_OK


def _run(args: argparse.Namespace) -> int:
    from perfgate.gate import close_gate, run_gate
    from perfgate.history import history_path
    from perfgate.plan import Options, make_plan, parse_budget
    from perfgate.plant import parse_plant
    from perfgate.recall import recall
    from perfgate.report import Behind, forget_reports
    from perfgate.stopping import stop_by_signals
    from perfgate.suite import load_suite
    from perfgate.terminal import Terminal
    from perfgate.waivers import load_waivers

    budget_s = parse_budget("--budget", args.budget)
    rounds = checked_rounds(args.rounds)
    formats_of(args)  # a wrong one is told before anything is measured
    suite = load_suite(args.suite)
    options = Options(
        args.baselines, args.state, args.policy, rounds=rounds, budget_s=budget_s, plant=parse_plant(args.inject),
        rebuild_baseline=args.rebuild_baseline, thorough=args.thorough,
        waivers=load_waivers(args.waivers, args.baselines),
    )  # fmt: skip
    terminal = Terminal.on_stdout()
    forget_reports(args.out)
    plan = make_plan(suite, suite.cases, options)
    with ExitStack() as held:
        with stop_by_signals() as stop:
            with terminal:
                run, comparison = run_gate(suite, suite.cases, options, plan, terminal, held, stop=stop)
            past = recall(history_path(args.state), run, plan.baseline)
            code = _show(args, run, comparison, suite, Behind.of(plan.baseline, past))
        close_gate(comparison, plan, options)
    return code


def _judge(args: argparse.Namespace) -> int:
    from perfgate.rejudge import rejudge
    from perfgate.report import Behind

    judged = rejudge(args, args.run)
    return _show(args, judged.run, judged.comparison, judged.suite, Behind.of(judged.stored, judged.past))


def _show(
    args: argparse.Namespace, run: object, comparison: object, suite: Suite | None = None, behind: Behind | None = None
) -> int:
    """Print and write a judged run; its backends are compared where a suite asks for that."""
    from perfgate.claim_findings import findings_of
    from perfgate.comparison import Comparison
    from perfgate.record import Run
    from perfgate.report import Behind, beside, claims, write_reports
    from perfgate.report.annotations import annotation_lines, place_of
    from perfgate.report.formats import write_formats
    from perfgate.report.text import table
    from perfgate.report.versus import write_backends
    from perfgate.terminal import takes_colour

    assert isinstance(run, Run)
    assert isinstance(comparison, Comparison)
    width = shutil.get_terminal_size((120, 24)).columns
    colour = takes_colour(sys.stdout, os.environ)
    print(table(comparison, verbose=args.verbose, width=width, colour=colour, behind=behind or Behind()))
    found = findings_of(run, suite) if suite is not None else ()
    for line in beside(run, found, verbose=args.verbose):
        print(line)
    failed = claims.failed(found, suite.claims) if suite is not None else []
    paths = write_reports(run, comparison, args.out, behind, found)
    paths += write_formats(formats_of(args), run, comparison, args.out, failed)
    if suite is not None:
        paths += write_backends(run, suite, args.out, print)[1]
    for line in annotation_lines(comparison, place_of(args.suite)) if is_asked() else ():
        sys.stdout.write(line)  # as it is: `print` makes a plain text of it
        print()
    _print_fitted([f"reports: {args.out}/ ({', '.join(path.name for path in paths)})"])
    return EXIT_RED if comparison.is_red or failed else EXIT_OK


def _cache(args: argparse.Namespace) -> int:
    from perfgate.device import find_device
    from perfgate.engines import backend
    from perfgate.engines.cache import EngineCache
    from perfgate.engines.cache_use import parse_size
    from perfgate.record import now
    from perfgate.suite import load_suite

    cache = EngineCache(args.state / "engines", now)
    match args.action:
        case "list":
            for found in cache.entries():
                entry = found.entry
                seconds = sum(entry.phases.values())
                print(f"{entry.key}  {entry.engine_bytes / 1e6:8.1f} MB  {seconds:6.1f} s  built {entry.built}")
        case "why":
            device = find_device()
            for spec in load_suite(args.suite).engines:
                print(f"{spec.name}: {cache.why(spec, device, backend(spec.backend))}")
        case "prune":
            if args.max_bytes is None:
                raise UsageError("cache prune: say what to leave at most, such as --max-bytes 20GB")
            print(_told(cache.prune(parse_size("--max-bytes", args.max_bytes))))
        case _:
            print(_told(cache.prune(0)))
    return EXIT_OK


def _told(pruned: Pruned) -> str:
    used = f"; {pruned.in_use} in use were left" if pruned.in_use else ""
    return f"removed {pruned.removed} engines ({pruned.freed / 1e6:.1f} MB); {pruned.left / 1e6:.1f} MB are left{used}"


def _schema(args: argparse.Namespace) -> int:
    print(json.dumps(json_schema(args.kind), indent=2))
    return EXIT_OK


if __name__ == "__main__":
    sys.exit(main())

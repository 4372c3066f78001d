"""The command `perfgate import`: results that other programs measured become a run, a baseline or history."""

from __future__ import annotations

import argparse
import re
from pathlib import Path
from typing import TYPE_CHECKING

from perfgate.errors import UsageError

if TYPE_CHECKING:
    from perfgate.record import Run
    from perfgate.terminal import PlainScreen

_NAME = r"[A-Za-z0-9][A-Za-z0-9_.-]{0,59}"
_DEVICE = r"[a-z0-9_]{1,40}/[A-Za-z0-9][A-Za-z0-9_.-]{0,79}"


def add_import(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    parser.set_defaults(command=_import)
    parser.add_argument(
        "files", type=Path, nargs="+", metavar="FILE",
        help="trtllm-bench report, benchmark_serving or serve-bench result, or base_perf.csv; each is one round",
    )  # fmt: skip
    parser.add_argument(
        "--as", dest="kind", choices=["run", "baseline", "history"], default="run", help="what to make (default: run)"
    )
    parser.add_argument("--case", help="name of the case (default: made from model and load)")
    parser.add_argument("--engine", help="name of the build: files imported under one name are taken as one engine")
    parser.add_argument("--device", help="device key, such as sm_90/h200-141gb: no format tells it")
    parser.add_argument("--requests", type=int, help="requests that were sent, where files do not tell (SGLang's)")
    parser.add_argument("--out", type=Path, help="run file to write (default: the first file's name with .run.json)")
    parser.add_argument("--reason", help="why the figures may be trusted; with --as baseline, kept in the file")
    parser.add_argument("--baselines", type=Path, default=Path("baselines"), help="folder of reviewed baselines")
    parser.add_argument("--state", type=Path, default=Path(".perfgate"), help="folder of history.sqlite")
    parser.add_argument("-v", "--verbose", action="store_true", help="list figures left out and keys ignored")


def _import(args: argparse.Namespace) -> int:
    """Exit code 1 where a case is invalid, such as by failed requests: it can be looked at, and is never judged."""
    from perfgate.importing.assemble import UNTOLD_DEVICE, Naming, assemble, lines
    from perfgate.importing.faults import Faults
    from perfgate.importing.formats import read_results
    from perfgate.importing.source import read_source
    from perfgate.terminal import PlainScreen

    _check(args)
    faults, screen = Faults(), PlainScreen()
    sources = [source for path in args.files if (source := read_source(path, faults))]
    faults.stop()
    found = read_results(sources, args.requests)
    run = assemble(found, Naming(args.case, args.engine, args.device or UNTOLD_DEVICE))
    for line in lines(found, verbose=args.verbose):
        screen.write_line(line)
    {"run": _as_run, "baseline": _as_baseline, "history": _as_history}[args.kind](args, run, screen)
    return int(any(case.faults for one in run.rounds for case in one.cases))


def _check(args: argparse.Namespace) -> None:
    """Refuse options that do not go together.

    Raises:
        UsageError: with the first of them, or with a name that cannot be an id or a folder.
    """
    for option, text, pattern, like in (
        ("--case", args.case, _NAME, "a name of letters, digits, '.', '_' and '-'"),
        ("--engine", args.engine, _NAME, "a name of letters, digits, '.', '_' and '-'"),
        ("--device", args.device, _DEVICE, "a device key such as sm_90/h200-141gb"),
    ):
        if text is not None and not re.fullmatch(pattern, text):
            raise UsageError(f"{option}: found '{text}', expected {like}")
    if args.requests is not None and args.requests < 1:
        raise UsageError(f"--requests: found {args.requests}, expected a whole number above 0")
    if args.kind != "run" and args.device is None:
        raise UsageError(f"--as {args.kind}: no file tells the device key; give --device, such as sm_90/h200-141gb")
    if args.kind == "baseline" and not (args.reason or "").strip():
        raise UsageError("--as baseline: give --reason: why the next reader should trust these figures")
    if args.kind != "baseline" and args.reason is not None:
        raise UsageError(f"--reason goes with --as baseline, found --as {args.kind}")
    if args.kind != "run" and args.out is not None:
        raise UsageError(f"--out goes with --as run, found --as {args.kind}")


def _as_run(args: argparse.Namespace, run: Run, screen: PlainScreen) -> None:
    from perfgate.record import encode_pretty, write_atomic

    path = args.out or args.files[0].with_suffix(".run.json")
    if path in args.files:
        raise UsageError(f"--out: {path} is a file to import, and would be overwritten")
    write_atomic(path, encode_pretty(run))
    screen.write_line(f"{_size(run)} written to {path}; compare two with: perfgate compare A.run.json B.run.json")


def _as_baseline(args: argparse.Namespace, run: Run, screen: PlainScreen) -> None:
    """By the rules that every baseline is accepted by."""
    from perfgate.accepting import Request, accept
    from perfgate.baselines import find_baseline
    from perfgate.importing.suite import imported_suite
    from perfgate.judge import judge

    found = find_baseline([args.baselines], run.environment.device, run.suite, may_be_expired=True)
    before = found[1] if found else None
    suite = imported_suite(run, before)
    assert suite is not None, "an imported run has imported cases"
    said, proposal = accept([run], judge(run, before, suite.gate), args.baselines, Request(args.reason), suite.gate)
    for note in proposal.notes:
        screen.write_line(note)
    screen.write_line("no text was scored: nothing says that this engine answers as well as before")
    screen.write_line(said)


def _as_history(args: argparse.Namespace, run: Run, screen: PlainScreen) -> None:
    from perfgate.history import History, history_path

    with History(history_path(args.state)) as history:
        is_new = history.add(run, {})
    screen.write_line(f"{_size(run)} stored" if is_new else "nothing stored: there already, or nothing valid in it")


def _size(run: Run) -> str:
    from perfgate.report.figures import count

    return f"{count(len(run.cases), 'case')} in {count(len(run.rounds), 'round')}"

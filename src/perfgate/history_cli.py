"""`perfgate history`: list stored runs, export their values, watch them for creep and steps."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from perfgate.errors import UsageError
from perfgate.suite_default import default_suite

if TYPE_CHECKING:
    from perfgate.history import History
    from perfgate.metrics import Metric

EXIT_OK = 0


def add_history(commands: Any) -> None:
    """Add the command to the command line's subparsers."""
    history = commands.add_parser("history", help="list or export stored runs, or watch them for slow creep")
    actions = history.add_subparsers(required=True, metavar="ACTION")
    _add(actions, "list", _list, "one line per stored run, oldest first")
    export = _add(actions, "export", _export, "write every value to FILE.csv or FILE.parquet")
    export.add_argument("file", type=Path, help="FILE.csv or FILE.parquet (needs pyarrow)")
    watch = _add(actions, "watch", _watch, "report slow creep and steps; nothing is gated")
    watch.add_argument("--suite", type=Path, default=default_suite(), help="suite file (default: %(default)s)")
    watch.add_argument("--device", help="one device key (default: all that are stored of the suite)")


def _add(actions: Any, name: str, command: Any, text: str) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = actions.add_parser(name, help=text)
    parser.set_defaults(command=command)
    parser.add_argument(
        "--state", type=Path, default=Path(".perfgate"), help="folder of history.sqlite, unless PERFGATE_HISTORY is set"
    )
    return parser


def _open(args: argparse.Namespace) -> History:
    from perfgate.history import History, history_path

    path = history_path(args.state)
    if not path.exists():
        raise UsageError(f"{path}: no history there; it grows with every gate, or set PERFGATE_HISTORY or --state")
    return History(path)


def _list(args: argparse.Namespace) -> int:
    with _open(args) as history:
        for one in history.sessions():
            commit = one.commit or "no commit"
            print(f"{one.id[:12]}  {one.started}  {one.suite}  {one.device}  {commit}  {one.values} values")
    return EXIT_OK


def _export(args: argparse.Namespace) -> int:
    with _open(args) as history:
        print(f"{history.export(args.file)} values written to {args.file}")
    return EXIT_OK


def _watch(args: argparse.Namespace) -> int:
    from perfgate.suite import load_suite

    suite = load_suite(args.suite)
    with _open(args) as history:
        devices = dict.fromkeys(one.device for one in history.sessions(suite.name, args.device))
        if not devices:
            where = f" on '{args.device}'" if args.device else ""
            raise UsageError(f"{history.path}: no run of suite '{suite.name}'{where}; see `perfgate history list`")
        for device in devices:
            _watch_device(history, suite.name, device, suite.gate.metrics)
    return EXIT_OK


def _watch_device(history: History, suite: str, device: str, metrics: tuple[Metric, ...]) -> None:
    from perfgate.watch import PINNED, watch_trails

    trails = {
        (case, metric): points
        for case, case_hash in history.cases(suite, device).items()
        for metric, points in history.trail(suite, device, case, case_hash).items()
        if metric in {one.name for one in metrics}
    }
    longest = max(map(len, trails.values()), default=0)
    print(f"{suite} on {device}: {len(trails)} metrics, up to {longest} sessions")
    found = watch_trails(trails, metrics)
    for signal in found:
        print(f"  {signal.kind}{signal.doubt}: {signal.text}")
    if longest <= PINNED:
        print(f"  creep is watched from session {PINNED + 1} on: the first {PINNED} of a case teach its noise")
    print("  reported, not gated" if found else "  nothing seen")

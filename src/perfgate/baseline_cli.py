"""The command `perfgate baseline`: show, diff, accept and prune reviewed baselines."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # a command line that only prints its help imports no numpy
    from perfgate.accepting import Proposal, Request
    from perfgate.baselines import Baseline
    from perfgate.record import Run
    from perfgate.suite import Suite
    from perfgate.verdict import MetricVerdict

Command = Callable[[argparse.Namespace], int]
AddGate = Callable[[argparse.ArgumentParser, Command], None]


def add_baseline(parser: argparse.ArgumentParser, add_gate: AddGate) -> None:
    """Give the parser of `perfgate baseline` its actions; `add_gate` adds the options that all commands share."""
    actions = parser.add_subparsers(required=True, metavar="ACTION")

    def action(name: str, command: Command, text: str) -> argparse.ArgumentParser:
        one = actions.add_parser(name, help=text, description=text)
        add_gate(one, command)
        return one

    show = action("show", _show, "list what is accepted: levels, rounds, provenance, expiry and earlier acceptances")
    accept = action("accept", _accept, "make saved runs of one engine build the reviewed baseline")
    accept.add_argument("--reason", required=True, help="why; kept in the baseline file")
    diff = action("diff", _diff, "show what accepting saved runs would change; writes nothing")
    for one in (accept, diff):
        one.add_argument("runs", type=Path, nargs="+", metavar="RUN", help="run.json; several become sessions at once")
        one.add_argument("--expires", help="when the baseline is refused: 90d, or a date (default: never)")
        one.add_argument("--only-new", action="store_true", help="only cases that have no baseline yet")
        one.add_argument("--alone", action="store_true", help="leave out other known runs of the same engines")
        one.add_argument("--markdown", action="store_true", help="print the difference as Markdown")
    prune = action("prune", _prune, "list accepted cases that the suite no longer has; --yes removes them")
    prune.add_argument("--yes", action="store_true", help="write the file without them")
    for one in (show, prune):
        one.add_argument("--device", help="device key (default: this machine's)")


def _accept(args: argparse.Namespace) -> int:
    from perfgate.accepting import accept
    from perfgate.importing.suite import suite_for

    runs = _runs(args)
    before = _stored(args, runs[-1].suite, runs[-1].environment.device)
    suite = suite_for(args.suite, runs[-1], before)
    verdicts = _verdicts(args, runs, suite, before)
    said, proposal = accept(runs, verdicts, args.baselines, _request(args, args.reason), suite.gate, _known(args, runs))
    _tell(args, suite, proposal)
    print(said)
    return 0


def _diff(args: argparse.Namespace) -> int:
    from perfgate.accepting import propose
    from perfgate.importing.suite import suite_for

    runs = _runs(args)
    before = _stored(args, runs[-1].suite, runs[-1].environment.device)
    suite = suite_for(args.suite, runs[-1], before)
    verdicts = _verdicts(args, runs, suite, before)
    _tell(args, suite, propose(runs, verdicts, before, _request(args, "a look"), suite.gate, _known(args, runs)))
    return 0


def _runs(args: argparse.Namespace) -> list[Run]:
    """The runs given, oldest first, each once."""
    from perfgate.record import RUN_SCHEMA, Run, read_record

    found = {run.started: run for run in (read_record(path, Run, RUN_SCHEMA) for path in args.runs)}
    return [found[started] for started in sorted(found)]


def _stored(args: argparse.Namespace, suite: str, device: str) -> Baseline | None:
    from perfgate.baselines import find_baseline

    found = find_baseline([args.baselines], device, suite, may_be_expired=True)
    return found[1] if found else None


def _known(args: argparse.Namespace, runs: list[Run]) -> list[Run]:
    from perfgate.runs import known_runs

    return known_runs(args.state, runs[-1].suite, runs[-1].environment.device)


def _verdicts(args: argparse.Namespace, runs: list[Run], suite: Suite, before: Baseline | None) -> list[MetricVerdict]:
    """The verdicts on each run as its gate gave them, with the history as of before it."""
    from perfgate.history import history_path
    from perfgate.judge import judge
    from perfgate.recall import recall

    stored = (args.baselines, before) if before else None
    pasts = [recall(history_path(args.state), run, stored) for run in runs]
    for note in dict.fromkeys(past.note for past in pasts if past.note):
        print(f"note: {note}")
    return [v for run, past in zip(runs, pasts, strict=True) for v in judge(run, before, suite.gate, past.known)]


def _request(args: argparse.Namespace, reason: str) -> Request:
    from perfgate.accepting import Request
    from perfgate.baselines import parse_expiry

    expires = parse_expiry("--expires", args.expires, datetime.now(UTC)) if args.expires else None
    return Request(reason, expires, only_new=args.only_new, alone=args.alone)


def _tell(args: argparse.Namespace, suite: Suite, proposal: Proposal) -> None:
    from perfgate.baseline_diff import diff_baselines, render_diff, render_diff_markdown

    shown = None if args.verbose else {metric.name for metric in suite.gate.metrics}
    render = render_diff_markdown if args.markdown else render_diff
    print(render(diff_baselines(proposal.before, proposal.after), shown))
    for note in proposal.notes:
        print(f"{'- ' if args.markdown else ''}{note}")


def _show(args: argparse.Namespace) -> int:
    from perfgate.baseline_diff import diff_baselines, render_diff
    from perfgate.baselines import find_baseline
    from perfgate.suite import load_suite

    suite, device = load_suite(args.suite), _device(args)
    roots = [args.baselines, args.state / "baselines"]
    found = find_baseline(roots, device, suite.name, may_be_expired=True)
    if found is None:
        print(f"no baseline of suite {suite.name} for {device} in {' or '.join(map(str, roots))}")
        return 1
    path, baseline = found
    shown = None if args.verbose else {metric.name for metric in suite.gate.metrics}
    nothing = replace(baseline, cases={}, provenance=replace(baseline.provenance, versions={}))
    print("\n".join([str(path), *_history(baseline), ""]))
    print(render_diff(diff_baselines(nothing, baseline), shown))
    return 0


def _history(baseline: Baseline) -> list[str]:
    made = baseline.provenance
    is_expired = made.is_expired(datetime.now(UTC))
    lines = [f"product: {made.product}", f"expires: {made.expires or 'never'}{' (EXPIRED)' if is_expired else ''}"]
    for one in (*made.history, made.acceptance):
        lines.append(f"accepted {one.accepted} at {one.commit or 'no commit'}: {one.reason}")
        lines += [f"  although worse: {what}" for what in one.worse]
        lines += [f"  without the run of {started}" for started in one.left_out]
    return lines


def _prune(args: argparse.Namespace) -> int:
    from perfgate.baselines import baseline_path, save_baseline
    from perfgate.errors import BaselineError
    from perfgate.suite import load_suite

    suite, device = load_suite(args.suite), _device(args)
    path = baseline_path(args.baselines, device, suite.name)
    before = _stored(args, suite.name, device)
    if before is None:
        raise BaselineError(f"no baseline in {path}")
    wanted = {case.id for case in suite.cases}
    stale = sorted(before.cases.keys() - wanted)
    for case_id in stale:
        print(f"{case_id} is no case of suite {suite.name}")
    if stale and len(stale) == len(before.cases):
        raise BaselineError(f"{path} holds no case of the suite: delete the file")
    if stale and args.yes:
        save_baseline(path, replace(before, cases={k: v for k, v in before.cases.items() if k in wanted}))
    done = "removed" if args.yes else "to remove (--yes writes the file without them)"
    print(f"{len(stale)} of {len(before.cases)} cases {done if stale else 'to remove'}")
    return 0


def _device(args: argparse.Namespace) -> str:
    from perfgate.device import find_device

    return str(args.device or find_device().key)

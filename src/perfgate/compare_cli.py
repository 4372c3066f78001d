"""The command `perfgate compare A B`."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from perfgate.formats_cli import add_formats

if TYPE_CHECKING:
    from perfgate.comparison import Comparison
    from perfgate.record import Run
    from perfgate.report import Behind

Show = Callable[["argparse.Namespace", "Run", "Comparison", "Behind"], int]


def add_compare(parser: argparse.ArgumentParser, add_gate: Callable[..., None], show: Show) -> None:
    """Arguments of the command; `add_gate` adds a gate's, `show` prints a judged run and writes its reports."""
    add_gate(parser, lambda args: _compare(args, show))
    add_formats(parser)
    parser.add_argument("a", type=Path, help="run.json or baseline file, taken as the baseline")
    parser.add_argument("b", type=Path, help="run.json under test")
    parser.add_argument(
        "--map", action="append", default=[], metavar="A=B", dest="pairs",
        help="compare engine (or case) A of the first with engine (or case) B of the second; repeatable",
    )  # fmt: skip


def _compare(args: argparse.Namespace, show: Show) -> int:
    from perfgate.compared import candidate_alone, mapped, notes, parse_pairs, read_before, refuse_other_workloads
    from perfgate.comparison import compare
    from perfgate.importing.suite import suite_for
    from perfgate.recall import Past
    from perfgate.record import RUN_SCHEMA, Run, read_record
    from perfgate.rejudge import noted
    from perfgate.report import Behind
    from perfgate.waivers import load_waivers

    now = candidate_alone(read_record(args.b, Run, RUN_SCHEMA))
    before = read_before(args.a, now)
    suite = suite_for(args.suite, now, before, is_thorough=args.thorough)
    pairs = parse_pairs(args.pairs, before, now)
    refuse_other_workloads(pairs, suite)
    stored = (args.a, mapped(before, pairs))
    judged = compare(now, suite, stored, args.policy, waivers=load_waivers(args.waivers, args.baselines))
    told = replace(judged, notes=(*notes(before, pairs, now), *judged.notes))
    return show(args, now, noted(told, is_thorough=args.thorough), Behind.of(stored, Past()))

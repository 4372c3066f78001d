"""A saved run judged again as its gate would: with its suite, its baseline and the history of before it."""

from __future__ import annotations

import argparse
from dataclasses import dataclass, replace
from pathlib import Path

from perfgate.baselines import find_baseline
from perfgate.comparison import Comparison
from perfgate.history import history_path
from perfgate.importing.suite import suite_for
from perfgate.recall import Past, Stored, recall
from perfgate.record import RUN_SCHEMA, Run, read_record
from perfgate.signals import compare_with_past
from perfgate.suite import Suite
from perfgate.terms import THOROUGH_NOTE
from perfgate.waivers import load_waivers


@dataclass(frozen=True, slots=True)
class Rejudged:
    """A run with its verdicts and all that they were made from."""

    run: Run
    comparison: Comparison
    suite: Suite
    stored: Stored
    past: Past


def rejudge(args: argparse.Namespace, path: Path) -> Rejudged:
    """Judge a run.json under the options that every command has, and `--thorough`.

    Raises:
        PerfgateError: run, suite, baseline or waivers cannot be read.
    """
    waivers, run = load_waivers(args.waivers, args.baselines), read_record(path, Run, RUN_SCHEMA)
    stored = find_baseline([args.baselines, args.state / "baselines"], run.environment.device, run.suite)
    suite = suite_for(args.suite, run, stored[1] if stored else None, is_thorough=args.thorough)
    past = recall(history_path(args.state), run, stored)
    judged = compare_with_past(run, suite, stored, args.policy, past, waivers=waivers)
    return Rejudged(run, noted(judged, is_thorough=args.thorough), suite, stored, past)


def noted(comparison: Comparison, *, is_thorough: bool) -> Comparison:
    """The comparison, saying that it was thorough where it was."""
    return replace(comparison, notes=(THOROUGH_NOTE, *comparison.notes)) if is_thorough else comparison

"""Making a run the baseline: recorded on this machine, or accepted into the reviewed files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from perfgate.baselines import Baseline, Provenance, baseline_from_run, baseline_path, find_baseline, save_baseline
from perfgate.errors import BaselineError
from perfgate.metrics import CATALOGUE, Kind
from perfgate.record import Run
from perfgate.verdict import MetricVerdict, Verdict


def record_missing(run: Run, verdicts: Sequence[MetricVerdict], root: Path, before: Baseline | None) -> str:
    """Keep the cases that had no baseline as this machine's own; returns a line that says so."""
    if run.environment.inject:
        return "no baseline was recorded: a regression is planted in this run"
    unknown = {one.case for one in verdicts if one.verdict is Verdict.NO_BASELINE}
    partial = replace(run, cases=tuple(case for case in run.cases if case.id in unknown))
    path = baseline_path(root, run.environment.device, run.suite)
    save_baseline(path, baseline_from_run(partial, _provenance(run, "first run on this machine"), before))
    return f"recorded {len(unknown)} cases in {_shown(path)}, nothing judged yet: run again"


def accept(run: Run, verdicts: Sequence[MetricVerdict], root: Path, reason: str) -> str:
    """Make a run the reviewed baseline; returns a line that says so.

    Raises:
        BaselineError: a text scored worse, a case was invalid, or nothing valid was measured.
    """
    bad = [one for one in verdicts if one.verdict is Verdict.INVALID]
    dumber = [one for one in verdicts if one.verdict is Verdict.REGRESSED and CATALOGUE[one.metric].kind is Kind.PAIRED]
    for one in (*bad, *dumber):
        raise BaselineError(f"not accepted: {one.case} {one.metric} is {one.verdict}: {one.reason}")
    path = baseline_path(root, run.environment.device, run.suite)
    found = find_baseline([root], run.environment.device, run.suite)
    save_baseline(path, baseline_from_run(run, _provenance(run, reason), found[1] if found else None))
    return f"accepted this run as the baseline in {_shown(path)}: review and commit it"


def _shown(path: Path) -> Path:
    """A path as seen from here, where it lies below."""
    here = Path.cwd()
    return path.relative_to(here) if path.is_relative_to(here) else path


def _provenance(run: Run, reason: str) -> Provenance:
    made = run.environment
    now = datetime.now(UTC).isoformat(timespec="seconds")
    return Provenance(now, reason, made.product, made.versions, made.commit)

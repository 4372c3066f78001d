"""Which sessions make a baseline: all that are known of an engine, in order of time, never a selection."""

from __future__ import annotations

from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from dataclasses import replace
from functools import reduce

from perfgate.baselines import Baseline, Provenance, accepted_cases, baseline_from_run, engine_keys
from perfgate.halves import discords
from perfgate.record import Run
from perfgate.terms import Gate
from perfgate.verdict import MetricVerdict, Verdict


def newest_of(runs: Sequence[Run]) -> Run:
    return max(runs, key=lambda run: run.started)


def restricted(run: Run, wanted: AbstractSet[str]) -> Run:
    return replace(run, cases=tuple(case for case in run.cases if case.id in wanted))


def has_all(before: Baseline, run: Run) -> bool:
    """Whether the baseline holds this run's rounds already."""
    cases = accepted_cases(run)
    stored = {case_id: before.cases[case_id] for case_id in cases if case_id in before.cases}
    return bool(cases) and all(
        case_id in stored and stored[case_id].engine_key == case.engine_key and {*case.runs} <= {*stored[case_id].runs}
        for case_id, case in cases.items()
    )


def other_runs(
    runs: Sequence[Run], before: Baseline | None, known: Sequence[Run], gate: Gate
) -> tuple[list[Run], list[str]]:
    """Other known runs of the same engines and commit, oldest first, and lines on those that cannot go in."""
    starts = {run.started for run in runs}
    good, notes = [], []
    for run in sorted(known, key=lambda run: run.started):
        same = _shared(run, runs, before) if run.started not in starts else None
        if same is None:
            continue
        if found := discords(same, gate):
            notes.append(
                f"the run of {run.started} of the same engine is left out, it disagrees with itself: {found[0]}"
            )
        else:
            good.append(same)
    return good, notes


def _shared(other: Run, runs: Sequence[Run], before: Baseline | None) -> Run | None:
    """The cases of another run that measured the very same engine; None without any.

    A commit with '-dirty' names no state, so such runs stand alone. A run older than the newest
    accepted session of its engine was decided on when that was accepted.
    """
    newest = newest_of(runs)
    here, there = newest.environment, other.environment
    if there.inject or here.commit.endswith("-dirty") or (here.commit, here.versions) != (there.commit, there.versions):
        return None
    asked = {case.id: (case, engine_keys(run).get(case.engine, "")) for run in runs for case in run.cases}
    same = set()
    for case_id, case in accepted_cases(other).items():
        stored = before.cases.get(case_id) if before else None
        is_decided = stored is not None and stored.engine_key == case.engine_key and stored.runs[-1:] >= case.runs
        if case_id in asked and case.is_of(*asked[case_id]) and not is_decided:
            same.add(case_id)
    return restricted(other, same) if same else None


def merge(
    runs: Sequence[Run], others: Sequence[Run], verdicts: Sequence[MetricVerdict], before: Baseline | None,
    provenance: Provenance,
) -> tuple[Baseline, list[str]]:  # fmt: skip
    """All sessions in order of time, and the cases whose earlier sessions are dropped.

    Where an unchanged engine is red, its old sessions tell of a level that is accepted as gone: they
    would keep the gate red. Where it is better they stay: an unchanged engine that seems faster is luck
    until its sessions agree.
    """
    red = {one.case for one in verdicts if one.verdict is Verdict.REGRESSED}
    stored = before.cases if before else {}
    fresh = {case_id: case for run in runs for case_id, case in accepted_cases(run).items()}
    anew = sorted(
        case_id
        for case_id, case in fresh.items()
        if case_id in red and case_id in stored and stored[case_id].engine_key == case.engine_key
    )
    start = replace(before, cases={k: v for k, v in stored.items() if k not in anew}) if before else None
    ordered = sorted((*runs, *others), key=lambda run: run.started)
    after = reduce(lambda so_far, run: baseline_from_run(run, provenance, so_far), ordered, start)
    assert after is not None  # there is at least one run
    return replace(after, provenance=provenance), anew

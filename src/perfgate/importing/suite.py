"""How imported runs are judged where no suite is named: every metric that they hold, with the catalogue's limits."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import replace
from pathlib import Path

from perfgate.baselines import Baseline, accepted_cases
from perfgate.importing.assemble import SUITE
from perfgate.metrics import CATALOGUE
from perfgate.own_case import own_suite
from perfgate.record import Run
from perfgate.suite import Suite, load_suite
from perfgate.suite_default import default_suite
from perfgate.terms import DEFAULT_POLICIES, Gate

_ALWAYS = "requests_per_s"  # asked for where nothing valid was imported, so that the reason shows


def suite_for(path: Path, run: Run, baseline: Baseline | None, *, is_thorough: bool = False) -> Suite:
    """The suite at `path`; of a run of tests' own figures, and of an imported one where none was named, its own."""
    own = own_suite(run) or (imported_suite(run, baseline) if path == default_suite() else None)
    suite = own or load_suite(path, run.own_metrics)
    return suite.thorough() if is_thorough else suite


def imported_suite(run: Run, baseline: Baseline | None) -> Suite | None:
    """A suite without cases that gates what the baseline holds of an imported run; None: perfgate measured the run.

    What every case holds must be there; what only some hold is judged where both sides have it, and noted where not.
    """
    held = _held(run, baseline)
    if not held:
        return None
    names = {name for mine in held.values() for name in mine} or {_ALWAYS}
    always = set() if any(held.values()) else {_ALWAYS}
    for kind in {case.kind for case in run.cases}:
        told = [set(held[case.id]) for case in run.cases if case.kind == kind and held.get(case.id)]
        always |= set.intersection(*told) if told else set()
    metrics = [replace(metric, is_optional=name not in always) for name, metric in CATALOGUE.items() if name in names]
    return Suite(SUITE, Path(SUITE), (), Gate(tuple(metrics)), tuple(DEFAULT_POLICIES.items()))


def _held(run: Run, baseline: Baseline | None) -> Mapping[str, AbstractSet[str]]:
    """Metrics of each imported case: as the baseline has them, else the run."""
    stored, mine = baseline.cases if baseline else {}, accepted_cases(run)
    ids = [case.id for case in run.cases if case.origin]
    known = {case_id: stored.get(case_id) or mine.get(case_id) for case_id in ids}
    return {case_id: set(case.metrics) if case else set() for case_id, case in known.items()}

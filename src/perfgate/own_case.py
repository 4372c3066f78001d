"""A test that gates figures of its own, as a case: what it measured, and its verdict."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from perfgate.baselines import Baseline
from perfgate.comparison import CaseVerdict, outcome
from perfgate.judge import judge
from perfgate.metrics import CATALOGUE, Better, Metric
from perfgate.question import Known
from perfgate.record import CaseInfo, CaseRound, Environment, PreparedInfo, Round, Run, Side
from perfgate.suite import Suite
from perfgate.terms import DEFAULT_POLICIES, Action, Gate, Policy
from perfgate.verdict import MetricVerdict, Verdict, worst
from perfgate.waivers import Waiver, apply_waivers, today_utc

OWN = "own-tests"  # the name of the suite that such cases make; a suite of the user's cannot have it
KIND = "own"

# As of a suite that says nothing, but the first run on a machine records: there is no file to say so in.
POLICIES = {**DEFAULT_POLICIES, "local": replace(DEFAULT_POLICIES["local"], no_baseline=Action.RECORD)}


@dataclass(frozen=True, slots=True)
class OwnCase:
    """One test: its case, the metrics that it recorded with their rounds, and what came of it."""

    info: CaseInfo
    metrics: tuple[Metric, ...]
    rounds: tuple[Round, ...]
    environment: Environment
    prepared: PreparedInfo | None = None
    verdict: CaseVerdict | None = None
    notes: tuple[str, ...] = ()

    def as_run(self, started: str) -> Run:
        return own_run([self], started)


def own_gate(gate: Gate | None, metrics: Iterable[Metric], tests: int) -> Gate:
    """The gate for one of so many tests: the suite's, or the default, with its share of alpha."""
    common = gate or Gate(())
    return replace(common, metrics=tuple(metrics), alpha=common.alpha / max(1, tests))


def own_metric(metric: Metric) -> Metric:
    """A metric as the cases of tests measure it: one that a test did not record is not asked of it."""
    return replace(metric, works=(KIND,), is_optional=True)


def judged(
    case: OwnCase, started: str, gate: Gate, baseline: Baseline | None, policy: Policy, *,
    known: Known | None = None, waivers: Sequence[Waiver] = (),
) -> OwnCase:  # fmt: skip
    """The case with its verdict; a test that recorded nothing valid is invalid and failed."""
    if case.info.skip is not None:
        return replace(case, verdict=CaseVerdict(case.info, worst(()), "skipped", ()))
    found = judge(case.as_run(started), baseline, replace(gate, metrics=case.metrics), known)
    asked = {(case.info.id, metric.name) for metric in case.metrics}
    mine = [one for one in waivers if any(one.covers(*name) for name in asked)]
    found = (*found, *_lost(case, baseline))
    marked, notes = apply_waivers(found, mine, asked, case.environment.device, today_utc())
    result = "failed" if _fault(case) else outcome(marked, policy)
    verdict = CaseVerdict(case.info, worst(one.verdict for one in marked), result, marked)
    return replace(case, verdict=verdict, notes=notes)


def _lost(case: OwnCase, baseline: Baseline | None) -> tuple[MetricVerdict, ...]:
    """What the baseline of this test has and the test did not record: its absence is no pass."""
    stored = baseline.cases.get(case.info.id) if baseline else None
    if stored is None or stored.hash != case.info.hash or not case.metrics:
        return ()
    reason = "not recorded, and the baseline has it; accept a new baseline if it is gone for good"
    lost = {name: one for name, one in stored.metrics.items() if name not in {mine.name for mine in case.metrics}}
    return tuple(
        MetricVerdict(case.info.id, name, Verdict.INVALID, reason, one.unit, Better.LOWER, 0.0, 0.0)
        for name, one in lost.items()
    )


def _fault(case: OwnCase) -> str | None:
    return next((one.fault for one in case.rounds if one.fault), None)


def is_open(case: OwnCase) -> bool:
    """Whether more rounds may still decide something."""
    assert case.verdict is not None
    return any(one.verdict is Verdict.INCONCLUSIVE for one in case.verdict.metrics)


def own_round(case_id: str, index: int, started: str, seconds: float, values: dict[str, float]) -> Round:
    return Round(case_id, Side.CANDIDATE, index, started, seconds, (CaseRound(case_id, values),))


def own_run(cases: Sequence[OwnCase], started: str) -> Run:
    """All cases as one run; there is at least one."""
    metrics = {metric.name: metric for case in cases for metric in case.metrics if metric.name not in CATALOGUE}
    made = [case.environment for case in cases]
    versions = {name: version for one in made for name, version in one.versions.items()}
    rounds = [one for case in cases for one in case.rounds]
    return Run(
        OWN, started, replace(made[0], versions=versions), tuple(case.info for case in cases),
        tuple(case.prepared for case in cases if case.prepared),
        tuple(replace(one, index=index) for index, one in enumerate(rounds)), own_metrics=tuple(metrics.values()),
    )  # fmt: skip


def own_suite(run: Run) -> Suite | None:
    """The suite of a saved run of such cases, to judge it again; None for a run of another suite."""
    if run.suite != OWN:
        return None
    measured = {name for one in run.rounds for case in one.cases for name in case.values}
    known = [own_metric(CATALOGUE[name]) for name in sorted(measured & CATALOGUE.keys())]
    return Suite(OWN, Path(OWN), (), Gate((*run.own_metrics, *known)), tuple(POLICIES.items()))

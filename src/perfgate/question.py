"""What the judge is asked: one metric of one case with everything measured of it, or why it cannot be compared."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from perfgate.baselines import Baseline, BaselineCase, documents_of, same_loads
from perfgate.case import WorkKind
from perfgate.loads import hash_of_loads
from perfgate.metrics import PROCESS_WIDE, Kind, Metric, needed_samples
from perfgate.origin import why_not_comparable
from perfgate.record import CaseInfo, DocumentScore, Run, Side
from perfgate.terms import Gate
from perfgate.verdict import Cause, MetricVerdict, Ruling, Verdict

Known = Mapping[tuple[str, str], Sequence[Sequence[float]]]  # (case, metric) -> sessions of the baseline's engine


@dataclass(frozen=True, slots=True)
class Stored:
    """Earlier rounds of the baseline's engine, session after session, and the rounds of each session.

    pinned: how many of the first sessions alone tell the level; 0: the newest of all do.
    """

    values: NDArray[np.float64]
    sizes: tuple[int, ...]
    pinned: int = 0

    @property
    def of_level(self) -> NDArray[np.float64]:
        """The rounds that may tell the level."""
        return self.values[: sum(self.sizes[: self.pinned])] if self.pinned else self.values

    @property
    def last_session(self) -> NDArray[np.float64]:
        return self.values[len(self.values) - self.sizes[-1] :] if self.sizes else self.values


def gated(run: Run, case: CaseInfo, gate: Gate, baseline: Baseline | None = None) -> list[Metric]:
    """The gate's metrics that this kind of case measures; of a skipped case, those that its baseline has.

    An optional metric that no round gave is left out where its baseline lacks it too: the machine or the engine
    cannot tell it. Of imported figures it is left out with a note (`perfgate.comparison`).
    """
    mine = [metric for metric in gate.metrics if metric.is_of(case.kind)]
    stored = baseline.cases.get(case.id) if baseline and case.origin is None else None
    known = stored.metrics.keys() if stored and stored.hash == case.hash else ()
    if case.skip is not None:
        return [metric for metric in mine if metric.name in known]
    return [m for m in mine if not m.is_optional or m.name in known or run.values(case.id, m.name, Side.CANDIDATE)]


@dataclass(frozen=True, slots=True)
class Question:
    """One metric of one case with its data; `fault` says why it cannot be compared."""

    case: CaseInfo
    metric: Metric
    candidate: tuple[float, ...]
    beside: tuple[float, ...]  # today's rounds of the baseline's engine
    pairs: tuple[tuple[float, float], ...]  # baseline and candidate, run next to each other
    stored: Stored
    documents: tuple[Mapping[str, DocumentScore], Mapping[str, DocumentScore]]  # stored, candidate
    fault: Ruling | None

    def verdict(self, ruling: Ruling, **numbers: float | None) -> MetricVerdict:
        metric = self.metric
        known: dict[str, float | int | None] = {
            "baseline": _centre(self.beside or self.stored.of_level),
            "candidate": _centre(self.candidate),
            "rounds_stored": len(self.stored.values),
            "rounds_baseline": len(self.beside),
            "rounds_candidate": len(self.candidate),
        } | numbers
        return MetricVerdict(
            self.case.id, metric.name, ruling.verdict, ruling.reason, metric.unit, metric.better, metric.margin,
            metric.detect, cause=ruling.cause, **known,  # type: ignore[arg-type]
        )  # fmt: skip


def _centre(values: Sequence[float] | NDArray[np.float64]) -> float | None:
    numbers = np.asarray(values, dtype=np.float64)
    finite = numbers[np.isfinite(numbers)]
    return float(np.median(finite)) if len(finite) else None


def question(run: Run, case: CaseInfo, metric: Metric, baseline: Baseline | None, known: Known) -> Question:
    """What a run and its baseline hold of one metric."""
    stored = baseline.cases.get(case.id) if baseline else None
    candidate, beside = (tuple(run.values(case.id, metric.name, side)) for side in (Side.CANDIDATE, Side.BASELINE))
    is_comparable = metric.name not in PROCESS_WIDE or (
        stored is None or same_loads(stored.loads, hash_of_loads(run, case.engine))
    )
    earlier = _stored(case, metric, stored if is_comparable else None, known)
    if case.engine not in run.rerunnable:
        earlier = replace(earlier, pinned=_accepted(metric, stored))
    documents = (stored.documents if stored else {}, documents_of(run, case.id, Side.CANDIDATE))
    fault = _invalid(run, case, metric, candidate) or (
        _no_baseline(case, stored, np.append(earlier.values, beside)) if is_comparable else _other_loads(case)
    )
    return Question(case, metric, candidate, beside, tuple(run.pairs(case.id, metric.name)), earlier, documents, fault)


def planned_question(case: CaseInfo, metric: Metric, stored: BaselineCase, known: Known) -> Question:
    """The same before anything is measured."""
    return Question(case, metric, (), (), (), _stored(case, metric, stored, known), ({}, {}), None)


def _stored(case: CaseInfo, metric: Metric, stored: BaselineCase | None, known: Known) -> Stored:
    """What was accepted and, of noisy metrics, what history adds: an exact level must never follow later runs."""
    series = stored.metrics.get(metric.name) if stored else None
    is_told = metric.kind is Kind.NOISY and metric.name not in PROCESS_WIDE  # a history knows no loads
    further = known.get((case.id, metric.name), ()) if stored and is_told else ()
    sessions = [one for one in (*(series.sessions if series else ()), *further) if one]
    sizes = tuple(map(len, sessions))
    return Stored(np.fromiter(chain.from_iterable(sessions), np.float64, sum(sizes)), sizes)


def _accepted(metric: Metric, stored: BaselineCase | None) -> int:
    """How many sessions of a metric were accepted.

    Where stored rounds alone decide, these pin the level: one that followed later sessions would follow a creep that
    no single one of them shows.
    """
    series = stored.metrics.get(metric.name) if stored else None
    return sum(map(bool, series.sessions)) if series else 0


def _invalid(run: Run, case: CaseInfo, metric: Metric, candidate: tuple[float, ...]) -> Ruling | None:
    if case.skip is not None:
        return Ruling(
            Verdict.INVALID, f"its baseline has it, and it is not supported any more: {case.skip}", Cause.SKIPPED
        )
    if reason := broken(run, case.id):
        return Ruling(Verdict.BROKEN, reason, Cause.NO_ANSWER)
    if not candidate:
        return _absent(run, case, metric)
    if any(not math.isfinite(value) or value <= 0 for value in candidate):
        what = f"measured {min(candidate):g}, which no {metric.name} can be"
        return Ruling(Verdict.INVALID, what, Cause.NO_SUCH_VALUE)
    return None


def broken(run: Run, case_id: str) -> str | None:
    """What was wrong with the output of any of the candidate's rounds; one is enough."""
    mine = (one for one in run.rounds if one.side is Side.CANDIDATE and one.is_valid)
    cases = (measured for one in mine for measured in one.cases if measured.case == case_id and measured.broken)
    return next((measured.broken[0] for measured in cases), None)


def _absent(run: Run, case: CaseInfo, metric: Metric) -> Ruling:
    """Invalid, with the best known reason why a metric has no value."""
    mine = [one for one in run.rounds if one.engine == case.engine and one.side is Side.CANDIDATE]
    if not mine:
        return Ruling(Verdict.INVALID, f"not measured: there was no round of {case.engine}", Cause.NO_ROUND)
    cases = [measured for one in mine for measured in one.cases if measured.case == case.id]
    faults = [one.fault for one in mine if one.fault] + [fault for one in cases for fault in one.faults]
    if faults:
        return Ruling(Verdict.INVALID, faults[-1], Cause.ROUNDS_FAILED)
    if untold := next((one.untold[metric.name] for one in cases if metric.name in one.untold), ""):
        return Ruling(Verdict.INVALID, f"not measured: {untold}")
    counts = [len(sample) for one in cases for sample in one.samples.values()]
    if counts and max(counts) < needed_samples(metric.name):
        what = f"{max(counts)} samples a round, {metric.name} needs {needed_samples(metric.name)}: raise `requests`"
        return Ruling(Verdict.INVALID, what, Cause.FEW_SAMPLES)
    return Ruling(Verdict.INVALID, f"not measured: {_UNTOLD if case.kind == WorkKind.SERVING else _UNGIVEN}")


_UNGIVEN = "no round gave this metric"
_UNTOLD = (
    "failed requests made it infinite, the client came too late to tell it, or the server does not tell how many "
    "tokens came"
)


def _other_loads(case: CaseInfo) -> Ruling:
    what = f"it is of a whole process, and {case.engine} has other loads since it was accepted"
    return Ruling(Verdict.NO_BASELINE, f"{what}; accept a new one", Cause.OTHER_LOADS)


def _no_baseline(case: CaseInfo, stored: BaselineCase | None, values: NDArray[np.float64]) -> Ruling | None:
    if stored is None:
        return Ruling(Verdict.NO_BASELINE, "no baseline for this case on this device")
    if why := why_not_comparable(stored.origin, case.origin):
        return Ruling(Verdict.NO_BASELINE, why)
    if stored.hash != case.hash:
        return Ruling(Verdict.NO_BASELINE, "the case was changed since its baseline was accepted; accept a new one")
    if not len(values):
        return Ruling(Verdict.NO_BASELINE, "the baseline of this case lacks this metric")
    if not (np.isfinite(values) & (values > 0)).all():
        return Ruling(Verdict.INVALID, "the baseline holds values that cannot be; accept a new one")
    return None

"""The loss of quality against a reference engine of the same run: within what is allowed, beyond it, or undecided.

Each document is scored by both engines; the relative loss of perplexity is judged by a t interval over documents
(`perfgate.paired`): exceeded when it is beyond the allowed loss at alpha/M, within when more than that is ruled out at
beta. Nothing of the baseline enters, so an engine that was always too lossy is found as well.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from perfgate.baselines import Baseline, documents_of
from perfgate.metrics import CATALOGUE, LOSS
from perfgate.noisy import INTERVAL
from perfgate.paired import Documents, PairedChange, paired_change, why_not_paired
from perfgate.percent import percent
from perfgate.quality_suite import Reference
from perfgate.question import broken
from perfgate.record import CaseInfo, Run, Side
from perfgate.scores import perplexity
from perfgate.verdict import Cause, MetricVerdict, Ruling, Verdict

_STORED = "the accepted scores of "


@dataclass(frozen=True, slots=True)
class Loss:
    """One text under an engine and under its reference; `fault` says why they cannot be compared."""

    of: Reference
    reference: Documents
    now: Documents
    source: str  # whose scores the reference's are, in words
    fault: Ruling | None = None


def losses_of(run: Run, baseline: Baseline | None, references: Sequence[Reference]) -> list[Loss]:
    """The losses that this run can be asked for: of cases that it measured, whose reference it measured too.

    Where the run was told to leave the reference out, accepted scores of the reference stand in for it; without
    them the loss is not judged at all.
    """
    infos = {case.id: case for case in run.cases}
    asked = [one for one in references if one.case in infos and infos[one.case].skip is None]
    found = [_loss(run, baseline, one, infos.get(one.reference_case)) for one in asked]
    return [loss for loss in found if loss is not None]


def _loss(run: Run, baseline: Baseline | None, of: Reference, there: CaseInfo | None) -> Loss | None:
    now = documents_of(run, of.case, Side.CANDIDATE)
    if reason := broken(run, of.case):
        return Loss(of, {}, now, of.reference_engine, Ruling(Verdict.BROKEN, reason, Cause.NO_ANSWER))
    if there is not None and there.skip is None:
        reference, source = documents_of(run, of.reference_case, Side.CANDIDATE), of.reference_engine
        return Loss(of, reference, now, source, _fault(of, reference, now))
    stored = baseline.cases.get(of.reference_case) if baseline else None
    if stored is not None and stored.hash == of.reference_hash and stored.documents:
        return Loss(of, stored.documents, now, _STORED + of.reference_engine, _fault(of, stored.documents, now))
    if there is None:
        return None
    skipped = Ruling(Verdict.INVALID, f"its reference was skipped: {there.skip}")
    return Loss(of, {}, now, of.reference_engine, skipped)


def _fault(of: Reference, reference: Documents, now: Documents) -> Ruling | None:
    if not now:
        return Ruling(Verdict.INVALID, "no round scored the text")
    if not reference:
        return Ruling(Verdict.INVALID, f"no round of the reference {of.reference_engine} scored the text")
    why = why_not_paired(reference, now)
    return Ruling(Verdict.INVALID, f"{why} by the reference {of.reference_engine}") if why else None


def judge_loss(loss: Loss, alpha: float, beta: float) -> MetricVerdict:
    """The verdict on one loss; alpha, beta: probabilities of a false 'exceeded' and of a false 'within'."""
    if loss.fault is not None:
        return _verdict(loss, loss.fault)
    change, limit = paired_change(LOSS, loss.reference, loss.now), math.log1p(loss.of.allowed)
    red, fine, shown = change.below(1 - alpha), change.above(1 - beta), (1 + INTERVAL) / 2
    ruling = _ruling(loss, change, alpha, beta)
    more = change.documents_to(limit, 1 - (beta if change.size < limit else alpha))
    told = _verdict(
        loss, ruling, change=math.expm1(change.size), low=math.expm1(change.size - change.below(shown)),
        high=math.expm1(change.size + change.above(shown)), detectable=math.expm1(limit + red + fine),
    )  # fmt: skip
    return replace(told, more_documents=more) if ruling.verdict is Verdict.INCONCLUSIVE else told


def _ruling(loss: Loss, change: PairedChange, alpha: float, beta: float) -> Ruling:
    limit = math.log1p(loss.of.allowed)
    against = (
        f"the allowed {percent(loss.of.allowed)} loss against {loss.source}, paired over {change.documents} documents"
    )
    if change.size - change.below(1 - alpha) > limit:
        return Ruling(Verdict.REGRESSED, f"exceeds {against}", Cause.BEYOND_LOSS)
    if change.size + change.above(1 - beta) <= limit:
        return Ruling(Verdict.OK, f"within {against}")
    return Ruling(Verdict.INCONCLUSIVE, f"too close to {against}", Cause.FEW_DOCUMENTS)


def _verdict(
    loss: Loss, ruling: Ruling, *,
    change: float | None = None, low: float | None = None, high: float | None = None, detectable: float | None = None,
) -> MetricVerdict:  # fmt: skip
    metric, allowed = CATALOGUE[LOSS], loss.of.allowed
    return MetricVerdict(
        loss.of.case, LOSS, ruling.verdict, ruling.reason, metric.unit, metric.better, allowed, allowed,
        baseline=perplexity(loss.reference), candidate=perplexity(loss.now), change=change, low=low, high=high,
        detectable=detectable, rounds_candidate=int(bool(loss.now)), cause=ruling.cause,
    )  # fmt: skip

"""What a technique costs in perplexity, judged as a gate judges it (`perfgate.loss`), against what may be lost."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

from perfgate.advising.pairs import Technique
from perfgate.advising.sources import Sources
from perfgate.case import Case, EngineSpec, PerplexityWork
from perfgate.loss import Loss, judge_loss
from perfgate.paired import why_not_paired
from perfgate.quality_suite import USUAL, Reference
from perfgate.question import broken
from perfgate.terms import Gate
from perfgate.verdict import MetricVerdict, Verdict


class Cost(StrEnum):
    """How the loss stands to what is allowed."""

    WITHIN = "within"
    UNDECIDED = "undecided"
    EXCEEDED = "exceeded"
    BROKEN = "broken"
    UNMEASURED = "not measured"


@dataclass(frozen=True, slots=True)
class Quality:
    """The loss of perplexity on one text against the reference; None where it is not known.

    low, high: its 99 % interval over `documents`. more_documents: so many more like these would decide.
    """

    cost: Cost
    allowed: float
    reason: str
    case: str = ""
    reference_case: str = ""
    run: str = ""
    reference_run: str = ""
    loss: float | None = None
    low: float | None = None
    high: float | None = None
    documents: int = 0
    more_documents: int | None = None


_GRAVITY = list(Cost)  # of several texts the gravest counts, but one that was measured comes before one that was not


def quality_of(
    sources: Sources, technique: Technique, cases: Sequence[Case], gate: Gate, max_loss: float | None
) -> Quality:
    """The gravest of all texts; against the suite's own reference of the engine, else the root of its references."""
    if why := _why_broken(sources, technique.engine, cases):
        return Quality(Cost.BROKEN, max_loss if max_loss is not None else USUAL, why)
    found = list(_losses(sources, technique, cases, gate, max_loss))
    measured = [one for one in found if one.cost is not Cost.UNMEASURED]
    if measured:
        return max(measured, key=lambda one: _GRAVITY.index(one.cost))
    if found:
        return found[0]
    return Quality(Cost.UNMEASURED, max_loss if max_loss is not None else USUAL, "the suite scores no text of both")


def _why_broken(sources: Sources, engine: EngineSpec, cases: Sequence[Case]) -> str | None:
    mine = [case.id for case in cases if case.engine == engine]
    said = (f"{case}: {why}" for one in sources.every for case in mine if (why := broken(one.run, case)))
    return next(said, None)


def _losses(
    sources: Sources, technique: Technique, cases: Sequence[Case], gate: Gate, max_loss: float | None
) -> Iterator[Quality]:
    by_id, named = {case.id: case for case in cases}, {one.case: one for one in gate.references}
    texts = {case.work: case for case in cases if case.engine == technique.root}
    for case in (one for one in cases if one.engine == technique.engine and isinstance(one.work, PerplexityWork)):
        of = named.get(case.id)
        reference = by_id.get(of.reference_case) if of else texts.get(case.work)
        if reference is None:
            continue
        allowed = max_loss if max_loss is not None else of.allowed if of else USUAL
        yield _loss(sources, case, reference, allowed, gate)


def _loss(sources: Sources, case: Case, reference: Case, allowed: float, gate: Gate) -> Quality:
    stored, now = sources.documents(reference), sources.documents(case)
    if stored is None or now is None:
        missing = case.id if now is None else reference.id
        return Quality(Cost.UNMEASURED, allowed, f"{missing} has no scores here", case.id, reference.id)
    if why := why_not_paired(stored[1], now[1]):
        return Quality(Cost.UNMEASURED, allowed, f"{case.id} and {reference.id}: {why}", case.id, reference.id)
    of = Reference(case.id, case.engine.name, reference.id, reference.engine.name, reference.hash, allowed)
    judged = judge_loss(Loss(of, stored[1], now[1], reference.engine.name), gate.alpha, gate.beta)
    return Quality(
        _COSTS[judged.verdict], allowed, judged.reason, case.id, reference.id, now[0].name, stored[0].name,
        judged.change, judged.low, judged.high, len(now[1]), _more(judged),
    )  # fmt: skip


_COSTS = {Verdict.OK: Cost.WITHIN, Verdict.REGRESSED: Cost.EXCEEDED, Verdict.INCONCLUSIVE: Cost.UNDECIDED}


def _more(judged: MetricVerdict) -> int | None:
    return judged.more_documents if judged.verdict is Verdict.INCONCLUSIVE else None

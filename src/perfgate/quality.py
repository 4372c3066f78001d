"""Speed and quality as one transaction: whose quality failed, what that takes from them, and all texts' figures.

An engine that got faster by getting dumber is a regression: what is better about it counts for nothing.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from perfgate.baselines import documents_of
from perfgate.metrics import LOSS, PAIRED
from perfgate.percent import percent
from perfgate.quality_suite import Reference
from perfgate.record import CaseInfo, CaseRound, Run, Side
from perfgate.scores import bits_per_byte, perplexity
from perfgate.verdict import GRAVITY, MetricVerdict, Verdict


class Standing(StrEnum):
    """What a text says of its engine's quality."""

    WITHIN = "within"
    EXCEEDED = "exceeded"
    INCONCLUSIVE = "inconclusive"
    REGRESSED = "regressed"  # against the baseline, whatever the loss against the reference
    BROKEN = "broken"
    INVALID = "invalid"
    REFERENCE = "reference"
    UNJUDGED = "not judged"


@dataclass(frozen=True, slots=True)
class QualityLine:
    """One text under one engine.

    loss, low, high: relative loss of perplexity against the reference and its 99 % interval; allowed: what it may be.
    top1_agreement: share of tokens; kl: mean lower bound of KL(reference || engine), nats a token. why: of what is
    undecided. unlike: why agreement and KL are absent.
    """

    case: str
    engine: str
    standing: Standing
    reference: str | None = None
    perplexity: float | None = None
    bits_per_byte: float | None = None
    documents: int = 0
    tokens: int = 0
    loss: float | None = None
    low: float | None = None
    high: float | None = None
    allowed: float | None = None
    top1_agreement: float | None = None
    kl: float | None = None
    more_documents: int | None = None
    why: str = ""
    unlike: str | None = None

    @property
    def tone(self) -> Verdict:
        """The verdict whose colour fits."""
        return _TONES.get(self.standing, Verdict.INCONCLUSIVE)


_TONES = {
    Standing.WITHIN: Verdict.OK,
    Standing.REFERENCE: Verdict.OK,
    Standing.EXCEEDED: Verdict.REGRESSED,
    Standing.REGRESSED: Verdict.REGRESSED,
    Standing.BROKEN: Verdict.BROKEN,
    Standing.INVALID: Verdict.INVALID,
    Standing.UNJUDGED: Verdict.NO_BASELINE,
}


def failed_quality(verdicts: Sequence[MetricVerdict], cases: Sequence[CaseInfo]) -> dict[str, MetricVerdict]:
    """Engines whose quality failed, each with the gravest verdict that says so; what is waived is borne."""
    engines = {case.id: case.engine for case in cases}
    failed: dict[str, MetricVerdict] = {}
    for one in verdicts:
        is_red = one.verdict is Verdict.REGRESSED and one.metric in PAIRED
        if (is_red or one.verdict is Verdict.BROKEN) and not one.waived and one.case in engines:
            known = failed.get(engines[one.case])
            if known is None or GRAVITY[one.verdict] > GRAVITY[known.verdict]:
                failed[engines[one.case]] = one
    return failed


def without_bought(
    verdicts: Sequence[MetricVerdict], cases: Sequence[CaseInfo]
) -> tuple[tuple[MetricVerdict, ...], tuple[str, ...]]:
    """The verdicts without the wins of engines whose quality failed, and a line on each such engine."""
    failed, engines = failed_quality(verdicts, cases), {case.id: case.engine for case in cases}
    bought: dict[str, list[MetricVerdict]] = {}
    kept = []
    for one in verdicts:
        because = failed.get(engines.get(one.case, ""))
        if one.verdict is not Verdict.IMPROVED or because is None:
            kept.append(one)
            continue
        bought.setdefault(engines[one.case], []).append(one)
        kept.append(
            replace(one, verdict=Verdict.OK, reason=f"no win: {because.case} {because.metric} failed", cause=None)
        )
    return tuple(kept), tuple(_bought(engine, wins, failed[engine]) for engine, wins in bought.items())


def _bought(engine: str, wins: Sequence[MetricVerdict], because: MetricVerdict) -> str:
    best = max(wins, key=lambda one: abs(one.change or 0.0))
    more = f" (and {len(wins) - 1} more)" if len(wins) > 1 else ""
    return (
        f"{engine} got better and dumber at once: {best.case} {best.metric} "
        f"{percent(abs(best.change or 0.0))} better{more} "
        f"is no win while {because.case} {because.metric} is {because.verdict}"
    )


def unchecked(run: Run) -> tuple[str, ...]:
    """Lines on engines whose output nobody looked at, one for each reason."""
    reasons: dict[str, dict[str, None]] = {}
    for one, measured in _measured(run):
        if measured.unchecked:
            reasons.setdefault(measured.unchecked, {})[one] = None
    return tuple(f"output of {', '.join(engines)} was not checked: {why}" for why, engines in reasons.items())


def _measured(run: Run) -> Iterator[tuple[str, CaseRound]]:
    for one in run.rounds:
        if one.side is Side.CANDIDATE and one.is_valid:
            yield from ((one.engine, measured) for measured in one.cases)


def quality_lines(
    run: Run, references: Sequence[Reference], verdicts: Sequence[MetricVerdict]
) -> tuple[QualityLine, ...]:
    """Every text that the run was asked to score, in order."""
    scored = {measured.case: measured for _, measured in _measured(run) if measured.documents}
    asked = [case for case in run.cases if case.kind == "perplexity" and case.skip is None and case.origin is None]
    by_case = {one.case: one for one in references}
    whose = {one.reference_case for one in references}
    mine: dict[str, list[MetricVerdict]] = defaultdict(list)
    for one in verdicts:
        mine[one.case].append(one)
    return tuple(
        _line(run, case, by_case.get(case.id), scored.get(case.id), mine[case.id], whose) for case in asked
    )  # fmt: skip


def _line(
    run: Run, case: CaseInfo, of: Reference | None, scored: CaseRound | None, verdicts: Sequence[MetricVerdict],
    whose: set[str],
) -> QualityLine:  # fmt: skip
    documents = documents_of(run, case.id, Side.CANDIDATE)
    judged = next((one for one in verdicts if one.metric == LOSS), None)
    standing, why = _standing(case, of, judged, verdicts, whose)
    values = scored.values if scored else {}
    line = QualityLine(
        case.id, case.engine, standing, of.reference_engine if of else None, perplexity(documents),
        bits_per_byte(documents), len(documents), sum(one.tokens for one in documents.values()),
        allowed=of.allowed if of else None, why=why,
        unlike=scored.unlike if scored else None,
        top1_agreement=values.get("top1_agreement"), kl=values.get("kl_divergence"),
    )  # fmt: skip
    if judged is None:
        return line
    return replace(
        line, loss=judged.change, low=judged.low, high=judged.high, more_documents=judged.more_documents
    )  # fmt: skip


_WORDS = {
    Verdict.OK: Standing.WITHIN,
    Verdict.REGRESSED: Standing.EXCEEDED,
    Verdict.INCONCLUSIVE: Standing.INCONCLUSIVE,
    Verdict.INVALID: Standing.INVALID,
}


def _standing(
    case: CaseInfo, of: Reference | None, judged: MetricVerdict | None, verdicts: Sequence[MetricVerdict],
    whose: set[str],
) -> tuple[Standing, str]:  # fmt: skip
    texts = [one for one in verdicts if one.metric in PAIRED]
    for verdict, standing in ((Verdict.BROKEN, Standing.BROKEN), (Verdict.REGRESSED, Standing.REGRESSED)):
        found = next((one for one in texts if one.verdict is verdict and one is not judged), None)
        if found is not None and (verdict is Verdict.BROKEN or judged is None or judged.verdict is Verdict.OK):
            return standing, found.reason
    if judged is not None:
        return _WORDS.get(judged.verdict, Standing.BROKEN), judged.reason
    if case.id in whose:
        return Standing.REFERENCE, ""
    missing = f"{of.reference_case} was not measured" if of else "no reference is named for it"
    return Standing.UNJUDGED, missing

"""Verdicts: what is known of a metric, and the numbers behind it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from perfgate.metrics import PAIRED, Better
from perfgate.percent import changed_by, worsening


class Verdict(StrEnum):
    """What is known of one metric, in order of gravity (worst last)."""

    OK = "ok"
    IMPROVED = "improved"
    NO_BASELINE = "no-baseline"
    INCONCLUSIVE = "inconclusive"
    INVALID = "invalid"
    REGRESSED = "regressed"
    BROKEN = "broken"  # what the engine gave is no answer at all: however fast, it is worth nothing


class Cause(StrEnum):
    """Why a metric is not ok, as a kind: reasons of one cause differ in their figures alone."""

    BEYOND_MARGIN = "beyond-margin"
    BEYOND_LOSS = "beyond-loss"  # against a reference engine
    BETTER = "better"
    SINGLE_ROUND = "single-round"
    NOT_BESIDE = "not-beside"  # the baseline's engine was not measured beside it
    NEAR_MARGIN = "near-margin"
    TWO_MODES = "two-modes"
    WILD_ROUND = "wild-round"
    NOISE = "noise"
    FEW_DOCUMENTS = "few-documents"
    OTHER_LOADS = "other-loads"  # of the process that the baseline is of
    FEW_SAMPLES = "few-samples"
    ROUNDS_FAILED = "rounds-failed"
    SKIPPED = "skipped"  # accepted once, and not supported now
    NO_ROUND = "no-round"  # the time was up before the engine's first
    NO_SUCH_VALUE = "no-such-value"
    NO_ANSWER = "no-answer"


GRAVITY = {verdict: rank for rank, verdict in enumerate(Verdict)}


@dataclass(frozen=True, slots=True)
class Ruling:
    """A verdict with its reason in words. cause: None where the words are the same for all whom it concerns."""

    verdict: Verdict
    reason: str
    cause: Cause | None = None


@dataclass(frozen=True, slots=True)
class MetricVerdict:
    """The verdict on one metric of one case, and the numbers behind it.

    change, low, high: relative change toward worse (0.05 is 5 % worse) and its 99 % interval.
    evidence: e-value of 'worse than the margin'; red needs `needed_evidence`.
    detectable: the smallest worsening that these rounds could have shown (at alpha/M and beta).
    more_rounds, more_documents: estimate of what a verdict needs further; only when inconclusive.
    cause: the kind of the reason; None where the reason's words are that kind.
    waived: until when and why the verdict is borne (`perfgate.waivers`); the verdict itself stays.
    """

    case: str
    metric: str
    verdict: Verdict
    reason: str
    unit: str
    better: Better
    margin: float
    detect: float
    baseline: float | None = None
    candidate: float | None = None
    change: float | None = None
    low: float | None = None
    high: float | None = None
    evidence: float | None = None
    needed_evidence: float | None = None
    detectable: float | None = None
    more_rounds: int | None = None
    rounds_stored: int = 0
    rounds_baseline: int = 0
    rounds_candidate: int = 0
    waived: str | None = None
    more_documents: int | None = None
    cause: Cause | None = None

    @property
    def wants_rounds(self) -> bool:
        """Whether further rounds would tell more; texts score alike in every one."""
        return self.verdict is Verdict.INCONCLUSIVE and self.metric not in PAIRED

    @property
    def is_unchanged(self) -> bool:
        """Whether it was found as its baseline is: ok, and by no more than the margin better."""
        return self.verdict is Verdict.OK and self.change is not None and (1 + self.change) * (1 + self.margin) >= 1

    @property
    def sentence(self) -> str:
        """How much, how sure and why, in one line."""
        return f"{self._finding}; {self.waived}" if self.waived else self._finding

    @property
    def _finding(self) -> str:
        if self.change is None or self.low is None or self.high is None:
            return self.reason
        much = worsening(self.change)
        if self.low == self.high:
            return f"{much}; {self.reason}"
        return f"{much} (99 % interval {changed_by(self.low, '+')} to {changed_by(self.high, '+')}); {self.reason}"


def worst(verdicts: Iterable[Verdict]) -> Verdict:
    """The gravest of some verdicts; nothing measured is never ok."""
    return max(verdicts, key=GRAVITY.__getitem__, default=Verdict.INVALID)

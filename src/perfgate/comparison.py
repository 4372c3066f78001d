"""The judged run: what reports are made from."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from perfgate.judge import MetricVerdict, Verdict, worst
from perfgate.record import CaseInfo, Environment

COMPARISON_SCHEMA = 1


@dataclass(frozen=True, slots=True)
class CaseVerdict:
    """A case, its metrics' verdicts, and what the suite's policy makes of the worst of them."""

    case: CaseInfo
    verdict: Verdict
    outcome: str  # "passed", "failed", "warned", "recorded" or "skipped"
    metrics: tuple[MetricVerdict, ...]

    def assert_ok(self) -> None:
        """Fail the calling test unless the case passed.

        Raises:
            AssertionError: one line per metric that is not ok.
        """
        __tracebackhide__ = True
        if self.outcome != "passed":
            raise AssertionError("\n".join([f"{self.case.id}: {self.verdict}", *self.lines]))

    @property
    def lines(self) -> list[str]:
        """One line for each metric that is not ok."""
        fine = (Verdict.OK, Verdict.IMPROVED)
        return [f"  {one.metric}: {one.verdict}, {one.sentence}" for one in self.metrics if one.verdict not in fine] or [
            "  no metric of this case is gated: name one under gate.metrics"
        ]

    @property
    def headline(self) -> str:
        """The gravest metric and its reason, in one line."""
        gravest = [one for one in self.metrics if one.verdict is self.verdict]
        return "; ".join(f"{one.metric}: {one.reason}" for one in gravest[:3]) or "no metric of this case is gated"


@dataclass(frozen=True, slots=True)
class BaselineInfo:
    """Which baseline was compared with."""

    path: str
    accepted: str
    product: str
    versions: Mapping[str, str]
    commit: str


@dataclass(frozen=True, slots=True)
class Comparison:
    """Every verdict of a gate, with what it was compared with."""

    suite: str
    started: str
    seconds: float
    policy: str
    environment: Environment
    baseline: BaselineInfo | None
    cases: tuple[CaseVerdict, ...]
    alpha: float
    beta: float
    rounds: int
    notes: tuple[str, ...] = ()
    schema: int = COMPARISON_SCHEMA

    @property
    def metrics(self) -> tuple[MetricVerdict, ...]:
        return tuple(metric for case in self.cases for metric in case.metrics)

    @property
    def verdict(self) -> Verdict:
        return worst(case.verdict for case in self.cases if case.outcome != "skipped")

    def count(self) -> Mapping[str, int]:
        """Cases per outcome."""
        return Counter(case.outcome for case in self.cases)

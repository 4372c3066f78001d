"""What users add to a run: metrics of their own, their values in each round, and facts on the machine."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from perfgate.errors import UsageError
from perfgate.metrics import CATALOGUE, Kind, Metric
from perfgate.percent import percent
from perfgate.record import CaseInfo, CaseRound, Round

_NAME = re.compile(r"[a-z][a-z0-9_]{0,59}")


def _none(case: CaseInfo, measured: CaseRound) -> Mapping[str, float]:
    del case, measured
    return {}


@dataclass(frozen=True, slots=True)
class Extras:
    """metrics: beside the catalogue. figures: their values in one round of a case. machine: facts by name."""

    metrics: tuple[Metric, ...] = ()
    figures: Callable[[CaseInfo, CaseRound], Mapping[str, float]] = _none
    machine: Mapping[str, str] = field(default_factory=dict)

    def enriched(self, done: Round, cases: Mapping[str, CaseInfo]) -> Round:
        """The round with the figures of our own metrics in it; a round that does not count has none."""
        if not done.is_valid or not self.metrics:
            return done
        return replace(done, cases=tuple(self._enriched(one, cases[one.case]) for one in done.cases))

    def _enriched(self, measured: CaseRound, case: CaseInfo) -> CaseRound:
        figures = self.figures(case, measured)
        known = {metric.name for metric in self.metrics}
        if unknown := sorted(set(figures) - known):
            raise UsageError(
                f"pytest_perfgate_figures gave {', '.join(unknown)} for {case.id}; pytest_perfgate_metrics names "
                f"{', '.join(sorted(known))}"
            )
        return replace(measured, values={**measured.values, **{name: float(figures[name]) for name in figures}})


NO_EXTRAS = Extras()


def checked(metrics: Sequence[Metric]) -> tuple[Metric, ...]:
    """Metrics of a user's own.

    Raises:
        UsageError: every one that cannot be, with the reason.
    """
    counts = Counter(metric.name for metric in metrics)
    faults = [f"{metric.name}: {why}" for metric in metrics for why in _faults(metric, counts[metric.name])]
    if faults:
        raise UsageError("\n  ".join(["metrics that cannot be:", *dict.fromkeys(faults)]))
    return tuple(metrics)


def _faults(metric: Metric, count: int) -> list[str]:
    below = f"detect {percent(metric.detect, 3)} is below margin {percent(metric.margin, 3)}"
    faults = {
        "expected a name of small letters, digits and '_'": not _NAME.fullmatch(metric.name),
        "perfgate has a metric of this name; choose another": metric.name in CATALOGUE,
        "given twice": count > 1,
        "only perplexity is judged on pairs of texts; expected noisy or exact": metric.kind is Kind.PAIRED,
        below: metric.detect < metric.margin,
    }
    return [why for why, is_so in faults.items() if is_so]

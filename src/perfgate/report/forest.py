"""Changes with their intervals on one common axis: the figure that lets a table be read down."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from perfgate.percent import percent
from perfgate.verdict import MetricVerdict, Verdict

_SIZES = (0.05, 0.1, 0.2, 0.5, 1.0)  # what the axis may reach to either side
_QUIET = (Verdict.OK, Verdict.NO_BASELINE)


@dataclass(frozen=True, slots=True)
class Forest:
    """An axis from -size (better) to +size (worse); what is beyond is drawn at the rim."""

    size: float

    @classmethod
    def over(cls, metrics: Sequence[MetricVerdict]) -> Forest:
        """Wide enough for the changes that matter and for every margin, but at most 100 %."""
        wanted = max([*_changes(metrics), *(2 * one.margin for one in metrics if one.margin < 1)], default=0.0)
        return cls(next((size for size in _SIZES if size >= wanted), _SIZES[-1]))

    @property
    def ends(self) -> tuple[str, str]:
        return f"{percent(self.size, 0)} better", f"{percent(self.size, 0)} worse"

    def style(self, metric: MetricVerdict) -> str:
        """Custom properties in per cent of the axis: interval from l over w, change at c, margin at m; or nothing."""
        if metric.change is None or not math.isfinite(metric.change):
            return ""
        low, high = (
            metric.change if value is None or math.isnan(value) else value for value in (metric.low, metric.high)
        )
        left, right = sorted((self._at(low), self._at(high)))
        return f"--l:{left};--w:{right - left};--c:{self._at(metric.change)};--m:{self._at(metric.margin)}"

    def _at(self, value: float) -> int:
        return round(50 + 50 * min(max(value / self.size, -1.0), 1.0))


def _changes(metrics: Iterable[MetricVerdict]) -> list[float]:
    ends = [value for one in metrics if one.verdict not in _QUIET for value in (one.change, one.high)]
    return [abs(value) for value in ends if value is not None and math.isfinite(value)]

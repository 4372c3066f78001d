"""What stands behind a run: the stored rounds of its baseline, and the trail of each metric over earlier sessions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from perfgate.baselines import Baseline
from perfgate.measured import Point
from perfgate.recall import Past, Stored

Key = tuple[str, str]  # case id, metric


@dataclass(frozen=True, slots=True)
class Behind:
    """stored: accepted values, all sessions' rounds in order. trails: sessions before this run, oldest first."""

    stored: Mapping[Key, tuple[float, ...]] = field(default_factory=dict)
    trails: Mapping[Key, tuple[Point, ...]] = field(default_factory=dict)

    @classmethod
    def of(cls, stored: Stored, past: Past) -> Behind:
        """From the baseline that a run was judged against and what history told before it."""
        return cls(_values(stored[1]) if stored else {}, past.trails)


NOTHING_BEHIND = Behind()


def _values(baseline: Baseline) -> Mapping[Key, tuple[float, ...]]:
    return {
        (case, metric): tuple(value for session in series.sessions for value in session)
        for case, found in baseline.cases.items()
        for metric, series in found.metrics.items()
    }

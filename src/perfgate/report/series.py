"""The values of every round of a run, gathered in one pass."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from typing import NamedTuple

from perfgate.record import Run, Side


class Series(NamedTuple):
    """Which values: a metric of a case on one side."""

    case: str
    metric: str
    side: Side


def series_of(run: Run) -> Mapping[Series, list[float]]:
    """What `Run.values` gives, for all metrics at once; a report asks for thousands."""
    found: dict[Series, list[float]] = defaultdict(list)
    for one in run.rounds:
        for measured in one.cases if one.is_valid else ():
            for metric, value in measured.values.items() if not measured.faults else ():
                found[Series(measured.case, metric, one.side)].append(value)
    return dict(found)

"""What history keeps of a run: its valid values by series and side, and its own points of the trails."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping
from dataclasses import dataclass

from perfgate.metrics import catalogue
from perfgate.record import Run, Side


@dataclass(frozen=True, slots=True)
class Point:
    """One metric of one case in one session: medians over rounds, in the metric's canonical unit."""

    run: str
    started: str
    commit: str
    engine_key: str
    level: float
    baseline_key: str | None = None  # the engine that was measured beside it, where one was
    baseline_level: float | None = None


@dataclass(frozen=True, slots=True)
class Series:
    """What values are comparable with what: the columns of `series` but its number."""

    suite: str
    device: str
    case: str
    case_hash: str
    engine: str
    engine_key: str
    metric: str
    unit: str


def measured(run: Run, baseline_keys: Mapping[str, str]) -> dict[tuple[Series, Side], dict[int, float]]:
    """Value by round index, for every series and side that the run measured validly.

    baseline_keys: the engine key of each case's baseline; baseline rounds of other cases are left out.
    """
    keys, known = {one.engine: one.key for one in run.prepared}, catalogue(run.own_metrics)
    hashes = {case.id: case.hash for case in run.cases}
    found: dict[tuple[Series, Side], dict[int, float]] = {}
    for done in (one for one in run.rounds if one.is_valid):
        for case in (one for one in done.cases if not one.faults and one.case in hashes):
            key = keys.get(done.engine) if done.side is Side.CANDIDATE else baseline_keys.get(case.case)
            if key is None:
                continue
            for name, value in case.values.items():
                if name in known and math.isfinite(value):
                    series = Series(
                        run.suite, run.environment.device, case.case, hashes[case.case], done.engine, key, name,
                        known[name].unit,
                    )  # fmt: skip
                    found.setdefault((series, done.side), {})[done.index] = float(value)
    return found


def points_of(run: Run, baseline_keys: Mapping[str, str]) -> Mapping[tuple[str, str], Point]:
    """The run's own point of each trail, by case id and metric, as `History.trail` gives it once it is stored."""
    found: dict[tuple[str, str], dict[Side, tuple[str, float]]] = {}
    for (series, side), figures in measured(run, baseline_keys).items():
        sides = found.setdefault((series.case, series.metric), {})
        sides[side] = series.engine_key, statistics.median(figures.values())
    made = run.started, run.environment.commit
    return {
        key: Point("", *made, *sides[Side.CANDIDATE], *sides.get(Side.BASELINE, (None, None)))
        for key, sides in found.items()
        if Side.CANDIDATE in sides
    }

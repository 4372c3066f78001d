"""Where the configurations of a sweep stand in its pictures: build time across, one objective upwards."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from perfgate.metrics import CATALOGUE, Unit
from perfgate.report.tradeoff_words import title
from perfgate.tradeoffs import BUILD, Tradeoffs
from perfgate.versus import geometric_mean

_SCALES: Mapping[str, tuple[float, str]] = {Unit.BYTES: (1e-6, "MB"), Unit.SECONDS: (1.0, "s")}
_MS = (1e3, "ms")


@dataclass(frozen=True, slots=True)
class Spot:
    """A configuration's mean, lowest and highest round, in shown units; groups are places in two axes' values."""

    number: int
    name: str
    is_on_front: bool
    x: float
    x_low: float
    x_high: float
    y: float
    y_low: float
    y_high: float
    groups: tuple[int, int]


@dataclass(frozen=True, slots=True)
class Panel:
    """An objective over build time."""

    metric: str
    unit: str
    spots: tuple[Spot, ...]

    @property
    def title(self) -> str:
        return f"{title(self.metric)}{f', {self.unit}' if self.unit else ''}"


def panels(found: Tradeoffs) -> list[Panel]:
    """One for each objective but build time."""
    if BUILD not in found.objectives:
        return []
    return [_panel(found, metric) for metric in found.objectives if metric != BUILD]


def scale(metric: str) -> tuple[float, str]:
    """Factor and unit in which a picture shows a metric."""
    unit = CATALOGUE[metric].unit
    if unit is Unit.SECONDS and metric != BUILD:
        return _MS
    return _SCALES.get(unit, (1.0, "" if unit is Unit.RATIO else unit))


def grouping(found: Tradeoffs) -> list[tuple[str, tuple[str, ...]]]:
    """The axes that colours and marks tell: the first two with several values."""
    return [(axis, values) for axis, values in found.axes if len(values) > 1][:2]


def _panel(found: Tradeoffs, metric: str) -> Panel:
    factor, unit = scale(metric)
    spots = []
    for number, one in enumerate(found.options, 1):
        x, y = one.figures[BUILD], tuple(value * factor for value in one.figures[metric])
        places = [values.index(dict(one.values)[axis]) for axis, values in grouping(found)]
        groups = (places[0] if places else 0, places[1] if len(places) > 1 else 0)
        ends = (_centre(x), min(x), max(x), _centre(y), min(y), max(y))
        spots.append(Spot(number, one.name, one.is_on_front, *ends, groups))
    return Panel(metric, unit, tuple(spots))


def _centre(values: Sequence[float]) -> float:
    """The geometric mean, which rounding must not move beyond the values."""
    return min(max(geometric_mean(values), min(values)), max(values))

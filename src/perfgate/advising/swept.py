"""What a sweep says for a goal: the effects of its axes' values, judged as other evidence is.

An effect is over pairs of configurations that differ in one axis alone (`perfgate.sweep_effects`). Its interval is of
95 % by itself; here it is widened to the confidence that all of the evidence has together.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from scipy import special

from perfgate.advising.evidence import Evidence, Finding, judge
from perfgate.advising.goals import Names
from perfgate.advising.pairs import LOSSY
from perfgate.advising.quality import Cost, Quality
from perfgate.errors import RecordError
from perfgate.factors import MOST_ROUNDS
from perfgate.metrics import CATALOGUE
from perfgate.pareto import CONFIDENCE
from perfgate.percent import percent
from perfgate.record import read_record
from perfgate.sweep_effects import Basis, Change, Effect
from perfgate.tradeoffs import QUALITY, TRADEOFFS_SCHEMA, Tradeoffs
from perfgate.versus import Ratio, geometric_mean, goodness

_WIDEST = 300.0  # of a half-width, as a logarithm: more is no number


@dataclass(frozen=True, slots=True)
class Swept:
    """A sweep and the file that it was read from."""

    name: str
    found: Tradeoffs

    @property
    def effects(self) -> tuple[Effect, ...]:
        return self.found.effects


def read_swept(path: Path) -> Swept:
    """A sweep's tradeoffs.json.

    Raises:
        RecordError: unreadable, damaged, of another schema, or with figures that no sweep can have measured.
    """
    found = read_record(path, Tradeoffs, TRADEOFFS_SCHEMA)
    wrong = [(effect, one) for effect in found.effects for one in effect.changes if not _is_sound(found, effect, one)]
    for effect, one in wrong:
        what = f"{effect.axis} {effect.value} {one.metric}"
        raise RecordError(f"{path} is damaged: found an effect that no sweep has ({what}); sweep again")
    return Swept(path.name, found)


def _is_sound(found: Tradeoffs, effect: Effect, one: Change) -> bool:
    """Whether a sweep can have measured it: what divides, and what logarithms are taken of."""
    if one.metric not in CATALOGUE or one.metric not in found.noises or found.noises[one.metric].df < 0:
        return False
    fewest = 2 if one.basis is Basis.PAIRS else 1
    sides = [_figures(found, effect.axis, value, one.metric) for value in (effect.value, effect.against)]
    are_figures = all(sides) and all(0 < each < math.inf for side in sides for each in side)
    return are_figures and 0 < one.low <= one.ratio <= one.high < math.inf and effect.pairs >= fewest


def changes_of(effect: Effect, figures: Sequence[Names]) -> Iterator[Change]:
    """The effect on each figure, by the first of its names that the sweep has."""
    by_name = {one.metric: one for one in effect.changes}
    for names in figures:
        found = next((by_name[name] for name in names if name in by_name), None)
        if found is not None:
            yield found


def evidence_of(swept: Swept, effect: Effect, change: Change, confidence: float) -> Evidence:
    """One change of an effect as evidence; its rounds are those of all configurations that have the value."""
    metric = CATALOGUE[change.metric]
    times = goodness(metric, _widened(swept, effect, change, confidence))
    finding = judge(times, metric.margin, metric.detect)
    before, after = (
        _figures(swept.found, effect.axis, value, change.metric) for value in (effect.against, effect.value)
    )
    is_open = finding is Finding.UNDECIDED
    of_pairs = change.basis is Basis.PAIRS
    return Evidence(
        swept.name, swept.name, f"{swept.found.traffic} of {effect.axis} {effect.value}",
        f"{swept.found.traffic} of {effect.axis} {effect.against}", change.metric, metric.unit,
        geometric_mean(before), geometric_mean(after), times.value, times.low, times.high, confidence, len(after),
        len(before), f"{effect.pairs} pairs of configurations" if of_pairs else "noise of all rounds of the sweep",
        finding, None if of_pairs or not is_open else _more(times, change, swept.found.rounds),
        "the other axes move it: compare single configurations" if is_open and of_pairs else "",
    )  # fmt: skip


def quality_of(swept: Swept, effect: Effect, allowed: float) -> Quality:
    """The loss of perplexity that the effect tells, over its pairs of configurations."""
    change = next((one for one in effect.changes if one.metric == QUALITY), None)
    if change is None:
        return Quality(Cost.UNMEASURED, allowed, "the sweep scores no text")
    loss, low, high = (one - 1 for one in (change.ratio, change.low, change.high))
    cost = Cost.WITHIN if high <= allowed else Cost.EXCEEDED if low > allowed else Cost.UNDECIDED
    words = {Cost.WITHIN: "within", Cost.EXCEEDED: "exceeds", Cost.UNDECIDED: "too close to"}[cost]
    reason = f"{words} the allowed {percent(allowed)} loss against {effect.axis} {effect.against}"
    return Quality(cost, allowed, reason, run=swept.name, reference_run=swept.name, loss=loss, low=low, high=high)


def may_cost_quality(effect: Effect) -> bool:
    """Whether the axis may change what the engine says."""
    return effect.axis.partition(".")[0] in LOSSY


def _figures(found: Tradeoffs, axis: str, value: str, metric: str) -> list[float]:
    """A metric in every round of every configuration that has the value."""
    mine = (one for one in found.options if dict(one.values).get(axis) == value)
    return [each for one in mine for each in one.figures.get(metric, ())]


def _widened(swept: Swept, effect: Effect, change: Change, confidence: float) -> Ratio:
    """The interval at another confidence: its half-width is Student's t times an error that stays."""
    df = effect.pairs - 1 if change.basis is Basis.PAIRS else swept.found.noises[change.metric].df
    wide, usual = (_quantile(df, (1 + one) / 2) for one in (confidence, CONFIDENCE))
    half = min(math.log(change.high / change.ratio) * wide / usual, _WIDEST)
    return Ratio(change.ratio, change.ratio * math.exp(-half), change.ratio * math.exp(half))


def _quantile(df: int, share: float) -> float:
    return float(special.stdtrit(df, share) if df else special.ndtri(share))


def _more(times: Ratio, change: Change, rounds: int) -> int | None:
    """Further rounds a configuration: the half-width falls with the root of their number."""
    metric = CATALOGUE[change.metric]
    centre, half = math.log(times.value), math.log((times.high or times.value) / times.value)
    gain, open_to = math.log1p(metric.margin), math.log1p(max(metric.detect, metric.margin))
    reach = max(centre - gain, -gain - centre, open_to - centre)
    if not math.isfinite(half) or not math.isfinite(reach):
        return None
    wanted = math.ceil(rounds * (half / reach) ** 2)
    return max(wanted - rounds, 1) if wanted <= MOST_ROUNDS else None

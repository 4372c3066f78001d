"""One figure of an engine beside its reference's: times as good, with an interval, and whether that is worth having.

An interval that lies wholly above the metric's margin is a gain; one that leaves no room for a gain of the metric's
`detect` (5 % of a timed figure) is no gain. Both are the catalogue's: an effect between them is one or the other in the
end, so that a finite number of rounds decides.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from perfgate.advising.goals import Names
from perfgate.advising.pairs import Technique
from perfgate.advising.sources import Source, Sources
from perfgate.case import Case
from perfgate.factors import MOST_ROUNDS, Factor, Spread, Valued, factor
from perfgate.loads import why_unlike
from perfgate.metrics import CATALOGUE, Kind, Metric, Unit
from perfgate.percent import percent
from perfgate.terms import Noise
from perfgate.versus import Ratio, around_exact, geometric_mean, goodness


class Finding(StrEnum):
    """What an interval says."""

    BETTER = "better"
    WORSE = "worse"
    NO_GAIN = "no gain"
    UNDECIDED = "undecided"


@dataclass(frozen=True, slots=True)
class Evidence:
    """A metric of an engine's case beside the same of its reference.

    reference, value: geometric means over rounds, in `unit`. times: as good as the reference, so that more is better;
    low, high: its interval at `confidence`, None where one round a side tells none. more_rounds: further rounds a side
    that would decide; None where it is decided or no sensible number would do.
    """

    run: str
    reference_run: str
    case: str
    reference_case: str
    metric: str
    unit: str
    reference: float
    value: float
    times: float
    low: float | None
    high: float | None
    confidence: float
    rounds: int
    reference_rounds: int
    basis: str
    finding: Finding
    more_rounds: int | None = None
    note: str = ""


@dataclass(frozen=True, slots=True)
class Compared:
    """A metric of two cases with the rounds of both, ready to be weighed."""

    metric: Metric
    case: Case
    reference: Case
    sources: tuple[Source, Source]
    a: tuple[Valued, ...]
    b: tuple[Valued, ...]
    devices: float = 1.0  # of the engine, over those of the reference; a figure is divided by it where it is per device

    @property
    def is_of_one_run(self) -> bool:
        return self.sources[0] is self.sources[1]


def comparable(
    sources: Sources, technique: Technique, cases: Sequence[Case], figures: Sequence[Names], *, is_per_device: bool
) -> Iterator[Compared]:
    """Every figure that both engines have on a workload that both share; of the names of a figure the first one."""
    theirs = {case.work: case for case in cases if case.engine == technique.reference}
    for case in (one for one in cases if one.engine == technique.engine and one.work in theirs):
        for names in figures:
            made = (_compared(sources, theirs[case.work], case, CATALOGUE[name]) for name in names)
            found = next((one for one in made if one is not None), None)
            if found is not None:
                is_speed = found.metric.unit == Unit.TOKENS_PER_S
                yield replace(found, devices=_devices(technique) if is_per_device and is_speed else 1.0)


def _devices(technique: Technique) -> float:
    mine, theirs = (one.tp * one.pp for one in (technique.engine, technique.reference))
    return mine / theirs


def _compared(sources: Sources, reference: Case, case: Case, metric: Metric) -> Compared | None:
    """Of one run where one has both, else of the first run that has each."""
    if not metric.is_of(case.kind):
        return None
    for source in sources.every:
        a, b = (sources.values(source, one, metric.name) for one in (reference, case))
        if a and b and _is_alike(metric, (source, reference), (source, case)):
            return Compared(metric, case, reference, (source, source), tuple(a), tuple(b))
    apart = [sources.of(one, metric.name) for one in (reference, case)]
    if apart[0] is None or apart[1] is None:
        return None
    (one, a), (other, b) = apart[0], apart[1]
    if not _is_alike(metric, (one, reference), (other, case)):
        return None
    return Compared(metric, case, reference, (one, other), tuple(a), tuple(b))


def _is_alike(metric: Metric, reference: tuple[Source, Case], engine: tuple[Source, Case]) -> bool:
    both = ((source.run, case.engine.name) for source, case in (reference, engine))
    return not why_unlike(metric.name, *both)


def weigh(found: Compared, noise: Noise, confidence: float) -> Evidence:
    """The evidence of one comparison. noise: what is assumed where rounds are too few to tell, and of sessions."""
    metric = found.metric
    made = _factor(found, noise, confidence)
    times = goodness(metric, _scaled(made.ratio, 1 / found.devices))
    finding = judge(times, metric.margin, metric.detect)
    reference, value = (geometric_mean([one.value for one in side]) for side in (found.a, found.b))
    fewest = min(len(found.a), len(found.b))
    spread = made.spread or _assumed(found, noise)
    is_open = finding is Finding.UNDECIDED
    note = (
        f"noise of {percent(spread.sd)} is assumed: one round a side tells none"
        if is_open and spread.is_assumed
        else ""
    )
    return Evidence(
        found.sources[1].name, found.sources[0].name, found.case.id, found.reference.id, metric.name, metric.unit,
        reference, value, times.value, times.low, times.high, confidence, len(found.b), len(found.a), made.basis,
        finding, _more(times.value, metric, spread, fewest, confidence) if is_open else None, note,
    )  # fmt: skip


def judge(times: Ratio, margin: float, worth: float) -> Finding:
    """What an interval of 'times as good' says; pure and total."""
    if times.low is None or times.high is None:
        return Finding.UNDECIDED
    if times.low > 1 + margin:
        return Finding.BETTER
    if times.high < 1 / (1 + margin):
        return Finding.WORSE
    return Finding.NO_GAIN if times.high < 1 + max(worth, margin) else Finding.UNDECIDED


def rounds_to_decide(times: float, margin: float, worth: float, spread: Spread, confidence: float) -> int | None:
    """Rounds a side whose interval, on average, decides an effect of this size; None: more than `MOST_ROUNDS`."""
    if not 0 < times < math.inf:
        return None
    centre = math.log(times)
    gain, harm, open_to = math.log1p(margin), -math.log1p(margin), math.log1p(max(worth, margin))
    reach = max(centre - gain, harm - centre, open_to - centre)
    enough = (n for n in range(2, MOST_ROUNDS + 1) if spread.half_width(n, confidence) < reach)
    return next(enough, None)


def _more(times: float, metric: Metric, spread: Spread, fewest: int, confidence: float) -> int | None:
    wanted = rounds_to_decide(times, metric.margin, metric.detect, spread, confidence)
    return max(wanted - fewest, 1) if wanted else None


def _factor(found: Compared, noise: Noise, confidence: float) -> Factor:
    if found.metric.kind is Kind.EXACT:
        return Factor(around_exact(found.b[0].value / found.a[0].value), "exact")
    return factor(found.a, found.b, confidence, None if found.is_of_one_run else noise.session_sd)


def _assumed(found: Compared, noise: Noise) -> Spread:
    fixed = 0.0 if found.is_of_one_run else math.sqrt(2) * noise.session_sd
    return Spread(math.sqrt(2) * noise.round_sd, 2, fixed, is_assumed=True)


def _scaled(found: Ratio, by: float) -> Ratio:
    low, high = (None if end is None else end * by for end in (found.low, found.high))
    return Ratio(found.value * by, low, high)

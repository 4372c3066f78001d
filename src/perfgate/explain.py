"""Why a metric has its verdict: the numbers that the judge had, in words, under one heading each."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from perfgate.calibration import MetricNoise
from perfgate.comparison import CaseVerdict, Comparison
from perfgate.errors import UsageError
from perfgate.judge import noise_of
from perfgate.metrics import CATALOGUE, Kind
from perfgate.moved import elsewhere, move_of, readings
from perfgate.noisy import FRESH, NoiseKnown
from perfgate.record import Round
from perfgate.rejudge import Rejudged
from perfgate.report.around import facts
from perfgate.report.figures import count, detects, is_estimated, quantity, share, signed, worsening
from perfgate.report.findings import findings, planted
from perfgate.report.next_step import MOST_WORTH
from perfgate.schema import nearest
from perfgate.terms import Pairing
from perfgate.verdict import GRAVITY, MetricVerdict, Verdict

MOST_ROUNDS, MOST_SESSIONS = 40, 8  # shown: the newest
MOST_ODDS = 1e6


@dataclass(frozen=True, slots=True)
class Part:
    """One heading and its lines."""

    title: str
    lines: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Explanation:
    """A verdict with what lies behind it."""

    verdict: MetricVerdict
    parts: tuple[Part, ...]


def explain(
    judged: Rejudged,
    case: str,
    metric: str | None = None,
    calibrated: Mapping[tuple[str, str], MetricNoise] | None = None,
) -> Explanation:
    """The verdict on a metric of a case; without a metric on the gravest one.

    calibrated: what `perfgate calibrate` knows of this suite on this device.

    Raises:
        UsageError: the run has no such case or metric, or nothing of the case was judged.
    """
    found = _case(judged.comparison, case)
    one = _metric(found, metric)
    noise = noise_of(
        judged.run, judged.stored[1] if judged.stored else None, judged.suite.gate, judged.past.known
    ).get((case, one.metric))  # fmt: skip
    parts = {
        "the change": _change(one, judged),
        "why this verdict": _why(one, found),
        "rounds": _rounds(judged, one),
        "noise": _noise(judged, one, noise, (calibrated or {}).get((case, one.metric))),
        "since when": _since(judged, one),
        "what else moved": _moved(judged.comparison, found, one),
        "what differs from the baseline's environment": _differences(judged.comparison),
        "next": _next(judged.comparison, one),
    }
    return Explanation(one, tuple(Part(title, tuple(lines)) for title, lines in parts.items()))


def _case(comparison: Comparison, name: str) -> CaseVerdict:
    known = {case.case.id: case for case in comparison.cases}
    if name not in known:
        raise UsageError(f"the run has no case '{name}'; it has {', '.join(known)}{nearest(name, list(known))}")
    found = known[name]
    if found.case.skip is not None:
        raise UsageError(f"{name} was skipped: {found.case.skip}")
    if not found.metrics:
        raise UsageError(f"{name} has no verdict: no metric of it is gated")
    return found


def _metric(case: CaseVerdict, name: str | None) -> MetricVerdict:
    if name is None:
        return max(case.metrics, key=lambda one: (GRAVITY[one.verdict], one.evidence or 0.0))
    known = {one.metric: one for one in case.metrics}
    if name not in known:
        near = nearest(name, list(known))
        raise UsageError(f"{case.case.id} has no verdict on '{name}'; judged were {', '.join(known)}{near}")
    return known[name]


# ------------------------------------------------------------------ the numbers


def _change(one: MetricVerdict, judged: Rejudged) -> Iterator[str]:
    if judged.stored and judged.run.started in _accepted(judged, one):
        yield "THIS VERY RUN IS IN THE BASELINE: it is compared with itself, which tells nothing; run again"
    before = quantity(one.baseline, one.unit, like=one.candidate)
    yield f"baseline {before}, now {quantity(one.candidate, one.unit)} (medians); {one.better} is better"
    if one.change is not None and one.low is not None and one.high is not None:
        logs = ", ".join(f"{math.log1p(size):+.4f}" for size in (one.low, one.high))
        yield f"{worsening(one.change)}, 99 % interval {signed(one.low)} to {signed(one.high)} (worse is +)"
        if is_estimated(one):
            yield _estimator(one, judged)
        yield f"as a log-ratio {math.log1p(one.change):+.4f} [{logs}]"
    yield f"margin {share(one.margin)}: never red up to that; detect {share(one.detect)}: must not pass as ok"
    if one.detectable is not None:
        yield f"these rounds would have shown {detects(one.detectable)}"


def _estimator(one: MetricVerdict, judged: Rejudged) -> str:
    """What the change is, where it is not that between the medians."""
    pairs = len(judged.run.pairs(one.case, one.metric)) if judged.suite.gate.pairing is Pairing.INTERLEAVED else 0
    if pairs >= FRESH:
        return f"not that between the medians: the mean difference of logarithms within {pairs} pairs of rounds"
    rounds, beside = count(one.rounds_candidate, "round"), count(one.rounds_baseline, "round")
    return (
        f"not that between the medians: the mean logarithm of {rounds}, less that of {beside} of the baseline's engine "
        f"and the level of {count(one.rounds_stored, 'stored round')}, weighed by their noise; wild rounds are drawn in"
    )


def _accepted(judged: Rejudged, one: MetricVerdict) -> tuple[str, ...]:
    stored = judged.stored[1].cases.get(one.case) if judged.stored else None
    return stored.runs if stored else ()


def _why(one: MetricVerdict, case: CaseVerdict) -> Iterator[str]:
    yield f"{one.verdict}: {one.reason}"
    if one.evidence is not None and one.needed_evidence is not None:
        yield f"evidence of a worsening {_odds(one.evidence)} to 1; red needs {_odds(one.needed_evidence)} to 1"
    if one.more_rounds and one.more_rounds > MOST_WORTH:
        yield f"more than {MOST_WORTH} more rounds a side would be needed to decide"
    elif one.more_rounds:
        yield f"about {count(one.more_rounds, 'more round')} a side would decide, if the change is what it seems to be"
    if one.more_documents:
        yield f"about {count(one.more_documents, 'more document')} would decide"
    if one.waived:
        yield one.waived
    yield f"the case {case.outcome}; every verdict of it: " + ", ".join(f"{m.metric} {m.verdict}" for m in case.metrics)


def _odds(size: float) -> str:
    return f"{size:,.3g}" if size < 1 else f"{size:,.0f}" if size < MOST_ODDS else f"over {MOST_ODDS:,.0f}"


def _rounds(judged: Rejudged, one: MetricVerdict) -> Iterator[str]:
    engine = next(case.engine for case in judged.run.cases if case.id == one.case)
    mine = [done for done in judged.run.rounds if done.engine == engine]
    yield from (_round(done, one) for done in mine[-MOST_ROUNDS:])
    if len(mine) > MOST_ROUNDS:
        yield f"and {len(mine) - MOST_ROUNDS} earlier ones"
    stored = judged.stored[1].cases.get(one.case) if judged.stored else None
    series = stored.metrics.get(one.metric) if stored else None
    for number, session in enumerate(series.sessions[-MOST_SESSIONS:] if series else (), 1):
        values = ", ".join(quantity(value, one.unit) for value in session)
        yield f"accepted session {number}: {values or 'no valid round'}"
    further = judged.past.known.get((one.case, one.metric), ())
    if further:
        yield f"history adds {count(len(further), 'session')} of the baseline's engine, {sum(map(len, further))} rounds"


def _round(done: Round, one: MetricVerdict) -> str:
    head = f"round {done.index:<3} {done.side:<9} {done.started}  "
    faults = [done.fault] if done.fault else [f for case in done.cases if case.case == one.case for f in case.faults]
    if faults:
        return f"{head}does not count: {faults[0]}"
    value = done.value(one.case, one.metric)
    return f"{head}{'did not measure it' if value is None else quantity(value, one.unit)}"


def _noise(
    judged: Rejudged, one: MetricVerdict, known: NoiseKnown | None, calibrated: MetricNoise | None
) -> Iterator[str]:  # fmt: skip
    if known is None:
        kind = CATALOGUE[one.metric].kind if one.metric in CATALOGUE else Kind.NOISY
        yield {
            Kind.EXACT: "none: the worst round is compared with the margin",
            Kind.PAIRED: "that between documents: each is compared with itself",
            Kind.NOISY: "not asked for: there is nothing to compare",
        }[kind]
        return
    yield f"between rounds {share(known.round_sd)} ({known.round_df:.0f} degrees of freedom)"
    yield f"today's level about the expected one {share(known.day_sd)}"
    stated = judged.suite.gate.noise
    yield (
        f"learnt from {one.rounds_stored} stored rounds and today's, over all metrics of the gate, and what the "
        f"suite states (gate.noise: round {share(stated.round_sd)}, session {share(stated.session_sd)}, pair "
        f"{share(stated.pair_sd)})"
    )
    yield known.shape or "one level, no heavy tails seen"
    if calibrated is None:
        yield "not calibrated here: perfgate calibrate measures what this machine can detect"
    else:
        pairs, rounds = share(calibrated.pair_sd), share(calibrated.round_sd)
        yield f"calibrated here: pairs differ by {pairs}, rounds by {rounds}"


# ------------------------------------------------------------------ around it


def _since(judged: Rejudged, one: MetricVerdict) -> Iterator[str]:
    signals = [s for s in judged.comparison.signals if (s.case, s.metric) in {(one.case, one.metric), (None, None)}]
    yield from (f"{signal.kind}: {signal.text}{signal.doubt}" for signal in signals)
    trail = judged.past.trails.get((one.case, one.metric), ())
    if not trail:
        yield "no earlier session of this case in the history"
        return
    shown = ", ".join(quantity(point.level, one.unit) for point in trail[-MOST_SESSIONS:])
    yield f"{count(len(trail), 'earlier session')}, the newest: {shown}"
    if not signals:
        yield "neither a step nor a creep is seen in them"


def _moved(comparison: Comparison, case: CaseVerdict, one: MetricVerdict) -> Iterator[str]:
    for other in case.metrics:
        if other is not one and other.change is not None:
            span = f"{signed(other.low)} to {signed(other.high)}"
            yield f"{other.metric}: {move_of(other)}, {worsening(other.change)} ({span}), {other.verdict}"
    yield from readings(case.metrics)
    if case.waits is not None:
        yield f"decode steps: {case.waits.reason}"
    yield from elsewhere(comparison, one)


def _differences(comparison: Comparison) -> Iterator[str]:
    if planted_there := planted(comparison):
        yield planted_there
    if comparison.baseline is None:
        yield "there is no baseline"
        return
    changed = [fact for fact in facts(comparison) if fact.is_changed]
    yield from (f"{fact.name}: {fact.before} -> {fact.now}" for fact in changed)
    if not changed:
        yield f"nothing that is recorded; accepted {comparison.baseline.accepted}"


def _next(comparison: Comparison, one: MetricVerdict) -> Iterator[str]:
    for finding in findings(comparison):
        if finding.verdict is one.verdict and one in finding.cases.get(one.case, ()):
            yield finding.next_step
    if one.verdict is Verdict.OK:
        yield "nothing; --perfgate-thorough judges for smaller changes"

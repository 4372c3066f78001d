"""From rounds of engines measured against themselves to the noise of every metric: pure functions of runs."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from perfgate.boundness import waits_for
from perfgate.calibration import Choice, LeverCase, LeverFigures, MetricFigures
from perfgate.case import Case
from perfgate.device import Device
from perfgate.floats import Floats
from perfgate.levels import heavy_tail
from perfgate.metrics import CATALOGUE, Better, Kind
from perfgate.modes import find_levels
from perfgate.record import CaseRound, Round, Run, Side
from perfgate.sampling import SampleCurve, sample_curve, summary_of
from perfgate.spread import (
    Ratio,
    Spread,
    differ,
    pair_spread,
    pooled_ratio,
    round_spread,
    session_spread,
    trend,
    variance_ratio,
)
from perfgate.terms import Gate

ONCE = "build_s"  # an engine is built once, not once a round
CLEAR_ERRORS = 3.0  # standard errors beyond which a lever is said to have changed a level
STEMS = ("ttft", "tpot", "itl", "e2el")
SUMMARIES = ("mean", "tmean", "p10", "p50", "p90", "p95", "p99")
_OF_DECODING = ("itl", "tpot", "e2el", "output_tokens_per_s", "requests_per_s")  # metrics that decode steps make up

Stored = Mapping[tuple[str, str], Sequence[Sequence[float]]]  # values [session][round] by (case id, metric)


@dataclass(frozen=True, slots=True)
class _Series:
    """Log values of one metric of one case over sessions."""

    sides: list[list[list[float]]]  # [session][side][round]
    pairs: list[float]  # differences
    in_order: list[list[float]]  # [session][round], as they were measured


def noisy_metrics(runs: Sequence[Run], case: str) -> list[str]:
    """Metrics of a case with a noise to speak of: measured, positive in every round, and judged by rounds."""
    valid = [one for run in runs for one in _case_rounds(run.rounds, case)]
    names = [name for name in CATALOGUE if name != ONCE and CATALOGUE[name].kind is Kind.NOISY]
    return [name for name in names if valid and all(_is_usable(one.values.get(name)) for one in valid)]


def _is_usable(value: float | None) -> bool:
    return value is not None and math.isfinite(value) and value > 0


def _case_rounds(rounds: Iterable[Round], case: str) -> list[CaseRound]:
    return [mine for one in rounds if one.is_valid for mine in one.cases if mine.case == case and not mine.faults]


def _series(runs: Sequence[Run], case: str, metric: str) -> _Series:
    sides = [[_logs(run.values(case, metric, side)) for side in Side] for run in runs]
    pairs = [math.log(b / a) for run in runs for a, b in run.pairs(case, metric)]
    in_order = [[value for one in run.rounds if (value := one.value(case, metric)) is not None] for run in runs]
    return _Series(sides, pairs, [_logs(values) for values in in_order])


def _logs(values: Iterable[float]) -> list[float]:
    return [math.log(value) for value in values]


def metric_figures(
    runs: Sequence[Run], cases: Sequence[Case], gate: Gate, device: Device, stored: Stored
) -> list[MetricFigures]:
    """The noise of every metric that was measured; runs: one per session; stored: sessions of history."""
    out = []
    for case in cases:
        for name in noisy_metrics(runs, case.id):
            out.append(_figures(runs, case, name, gate, device, stored.get((case.id, name), ())))  # noqa: PERF401
    return out


def _figures(
    runs: Sequence[Run], case: Case, name: str, gate: Gate, device: Device, stored: Sequence[Sequence[float]]
) -> MetricFigures:
    mine = _series(runs, case.id, name)
    rounds, values = round_spread(mine.sides), [value for one in mine.in_order for value in one]
    sessions = [*(_logs(one) for one in stored if all(map(_is_usable, one))), *filter(None, mine.in_order)]
    between = session_spread(sessions)
    longest = max(mine.in_order, key=len)
    return MetricFigures(
        case=case.id,
        engine=case.engine.name,
        metric=name,
        is_gated=any(metric.name == name for metric in gate.metrics),
        level=math.exp(float(np.mean(values))),
        rounds=rounds,
        pairs=pair_spread(mine.pairs),
        sessions=between,
        session_count=len(sessions),
        trend=trend(longest),
        shape=_shape(mine.in_order, between),
        waits=waits_for(is_gpu=device.is_gpu, busy=_busy(runs, case.id, name), rounds=rounds),
        curve=_curve(runs, case.id, name),
    )


def _busy(runs: Sequence[Run], case: str, metric: str) -> float | None:
    """Share of a metric's time in which the device worked, median over rounds; None where nothing tells."""
    if metric in ("device_decode_step_p50", "device_prefill_p50"):
        return 1.0
    if not metric.startswith(_OF_DECODING):
        return None
    shares = [value for run in runs for side in Side for value in run.values(case, "device_busy_share", side)]
    return float(np.median(shares)) if shares else None


def _shape(sessions: Sequence[Sequence[float]], between: Spread | None) -> str:
    """Two levels or heavy tails in words, where there are rounds enough to see them."""
    known = [np.asarray(one) for one in sessions if one]
    values = np.concatenate(known) - float(np.mean(np.concatenate(known)))
    levels = find_levels(values, tuple(map(len, known)), between.sd**2 if between else 0.0)
    words = levels.words if levels else heavy_tail(values)
    return words.replace("stored rounds", "rounds")


def _curve(runs: Sequence[Run], case: str, name: str) -> SampleCurve | None:
    stem, _, summary = name.rpartition("_")
    if stem not in STEMS:
        return None
    samples = [pair for run in runs for pair in _sample_pairs(run, case, stem)]
    return sample_curve(samples, summary_of(summary))


def _sample_pairs(run: Run, case: str, stem: str) -> list[tuple[Floats, Floats]]:
    """Samples of both rounds of each pair, as `Run.pairs` pairs values."""
    out = []
    waiting: Round | None = None
    for one in run.rounds:
        if waiting and one.follows(waiting):
            both = [_case_rounds([side], case) for side in (waiting, one)]
            if all(both):
                a, b = (side[0].samples.get(stem, Floats()) for side in both)
                out.append((a, b))
                waiting = None
                continue
        waiting = one
    return out


# ------------------------------------------------------------------ choices


def choices(runs: Sequence[Run], cases: Sequence[Case], gate: Gate) -> list[Choice]:
    """For each latency of each case, which summary of a round is least noisy."""
    gated = {metric.name for metric in gate.metrics}
    found = (_choice(runs, case.id, stem, gated) for case in cases for stem in STEMS)
    return [one for one in found if one is not None]


def _choice(runs: Sequence[Run], case: str, stem: str, gated: set[str]) -> Choice | None:
    measured = set(noisy_metrics(runs, case))
    pairs = {name: _series(runs, case, f"{stem}_{name}").pairs for name in SUMMARIES if f"{stem}_{name}" in measured}
    spreads = {name: spread for name, mine in pairs.items() if (spread := pair_spread(mine)) is not None}
    if not spreads:
        return None
    order = sorted(spreads, key=lambda name: spreads[name].sd)
    used = tuple(name for name in order if f"{stem}_{name}" in gated)
    p = differ(pairs[order[0]], pairs[used[0]]) if used and used[0] != order[0] else 1.0
    return Choice(case, stem, {name: spreads[name] for name in order}, used, p)


# ------------------------------------------------------------------- levers


def lever_figures(
    name: str, what: str, changed: Run, unchanged: Run, cases: Sequence[Case], gate: Gate
) -> LeverFigures:
    """A lever's effect on the gated metrics, by rounds with it beside rounds without."""
    gated = {metric.name for metric in gate.metrics}
    found = [
        one
        for case in cases
        for metric in noisy_metrics([changed, unchanged], case.id)
        if metric in gated and (one := _lever_case(changed, unchanged, case.id, metric)) is not None
    ]
    engine_of = {case.id: case.engine.name for case in cases}
    pooled = {metric: _pooled([one for one in found if one.metric == metric], engine_of) for metric in gated}
    return LeverFigures(
        name, what, tuple(found), {metric: ratio for metric, ratio in sorted(pooled.items()) if ratio is not None}
    )


def _lever_case(changed: Run, unchanged: Run, case: str, metric: str) -> LeverCase | None:
    with_it, without = (_series([run], case, metric) for run in (changed, unchanged))
    one, other = pair_spread(with_it.pairs), pair_spread(without.pairs)
    if one is None or other is None:
        return None
    sign = 1.0 if CATALOGUE[metric].better is Better.LOWER else -1.0
    rows = [np.asarray(mine.in_order[0]) for mine in (with_it, without)]
    shift = sign * float(np.median(rows[0]) - np.median(rows[1]))
    error = math.sqrt(sum(float(row.var(ddof=1)) / len(row) for row in rows))
    is_clear = abs(shift) > CLEAR_ERRORS * error
    return LeverCase(case, metric, one, other, variance_ratio(one, other), math.expm1(shift), is_clear)


def _pooled(found: Sequence[LeverCase], engine_of: Mapping[str, str]) -> Ratio | None:
    """A single case's own interval; else what the engines say together."""
    if len(found) == 1:
        return found[0].ratio
    engines: dict[str, list[tuple[Spread, Spread]]] = {}
    for one in found:
        engines.setdefault(engine_of[one.case], []).append((one.changed, one.unchanged))
    return pooled_ratio(list(engines.values()))

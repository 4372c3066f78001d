"""A run judged with its past: verdicts that know earlier sessions, and signals over time and over the suite."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from perfgate.baselines import Baseline
from perfgate.comparison import Comparison, compare
from perfgate.measured import Point, points_of
from perfgate.metrics import Metric
from perfgate.recall import Past, engine_keys
from perfgate.record import Run
from perfgate.suite import Suite
from perfgate.waivers import Waiver
from perfgate.watch import Signal, SignalKind, Trails, engine_pairs, shift_signal, suite_shift, watch_trails

SEARCHED = 60  # newest sessions of a trail searched for steps; all 200 of 60 metrics would take 1 s more
NEWS = 10  # newest sessions of a trail whose steps a gate tells; `perfgate history watch` tells all


def compare_with_past(
    run: Run, suite: Suite, stored: tuple[Path, Baseline] | None, policy: str, past: Past, *,
    seconds: float = 0.0, waivers: Sequence[Waiver] = (),
) -> Comparison:  # fmt: skip
    """The run's comparison, judged beside `past` and with the signals that show when the run is added to it."""
    keys = engine_keys(run.cases, stored[1] if stored else None)
    signals = signals_of(run, suite.gate.metrics, past, keys)
    judged = compare(
        run, suite, stored, policy, seconds=seconds, waivers=waivers, known=past.known, signals=signals
    )  # fmt: skip
    return replace(judged, notes=(*judged.notes, past.note)) if past.note else judged


def signals_of(run: Run, metrics: Sequence[Metric], past: Past, baseline_keys: Mapping[str, str]) -> tuple[Signal, ...]:
    """The signals of a run and of the trails that it ends; metrics: those that are gated.

    baseline_keys: the engine key of each case's baseline, whose rounds may have been measured beside.
    """
    pairs = engine_pairs(run, metrics, past.known)
    shift = shift_signal(suite_shift(pairs.ratios, pair_var=pairs.variance), pairs.engines, run)
    trails = _trails(run, metrics, past, baseline_keys)
    over_time = [one for one in watch_trails(trails, metrics, SEARCHED) if _is_news(one, trails)]
    return (*([shift] if shift else []), *over_time)


def _trails(run: Run, metrics: Sequence[Metric], past: Past, baseline_keys: Mapping[str, str]) -> Trails:
    """The gated metrics' trails with this run at their end."""
    names = {metric.name for metric in metrics}
    now: dict[tuple[str, str], tuple[Point, ...]] = {
        key: (point,) for key, point in points_of(run, baseline_keys).items()
    }
    keys = [key for key in dict.fromkeys((*past.trails, *now)) if key[1] in names]
    return {key: (*past.trails.get(key, ()), *now.get(key, ())) for key in keys}


def _is_news(signal: Signal, trails: Trails) -> bool:
    """Whether a signal stands now: creep always does, a step for some sessions."""
    if signal.kind is not SignalKind.CHANGE_POINT or signal.case is None or signal.metric is None:
        return True
    newest = trails[signal.case, signal.metric][-NEWS:]
    return signal.started is not None and signal.started >= newest[0].started

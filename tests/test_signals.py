"""Signals of a gate: over time with the run at the end of its trails, and over the suite."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from perfgate.comparison import Comparison
from perfgate.history import History
from perfgate.measured import points_of
from perfgate.metrics import CATALOGUE
from perfgate.recall import Past, recall
from perfgate.record import CaseInfo, CaseRound, Environment, PreparedInfo, Round, Run, Side, decode, encode
from perfgate.signals import NEWS, compare_with_past, signals_of
from perfgate.suite import Suite
from perfgate.terms import DEFAULT_POLICIES, Gate, Reaction, Watch
from perfgate.watch import Signal, SignalKind

METRIC = CATALOGUE["itl_p10"]
KEYS = {f"e{i}-b1": "pin" for i in range(5)}


def _run(day: int, slower: float, engines: int = 1, noise: float = 0.005) -> Run:
    """BAAB of each engine; the machine differs from day to day."""
    rng = np.random.default_rng(day)
    today = 0.01 * math.exp(0.05 * rng.standard_normal())
    rounds = []
    for name in (f"e{i}" for i in range(engines)):
        for index, side in enumerate((Side.CANDIDATE, Side.BASELINE, Side.BASELINE, Side.CANDIDATE)):
            factor = (1 + slower if side is Side.CANDIDATE else 1.0) * math.exp(noise * rng.standard_normal())
            rounds.append(Round(name, side, index, "", 1.0, (CaseRound(f"{name}-b1", {"itl_p10": today * factor}),)))
    cases = tuple(CaseInfo(f"e{i}-b1", f"e{i}", "latency", "00ff") for i in range(engines))
    prepared = tuple(PreparedInfo(f"e{i}", f"k{day}", False, {}, 10, {}) for i in range(engines))
    started = f"2026-{1 + day // 28:02}-{1 + day % 28:02}T08:00:00+00:00"
    return Run("small", started, Environment("cpu/x", "x", {}, f"c{day}"), cases, prepared, tuple(rounds))


def _past(tmp_path: Path, slowdowns: Sequence[float], now: Run) -> Past:
    path = tmp_path / "h.sqlite"
    with History(path) as history:
        for day, slower in enumerate(slowdowns):
            history.add(_run(day, slower), KEYS)
    return recall(path, now, None)


def _kinds(found: Sequence[Signal]) -> list[SignalKind]:
    return [one.kind for one in found]


# ---------------------------------------------------------------------- over time


def test_a_runs_own_points_are_those_of_its_stored_trail(tmp_path: Path) -> None:
    with History(tmp_path / "h.sqlite") as history:
        history.add(_run(1, 0.1), KEYS)
        (stored,) = history.trail("small", "cpu/x", "e0-b1", "00ff")["itl_p10"]

    assert points_of(_run(1, 0.1), KEYS) == {("e0-b1", "itl_p10"): replace(stored, run="")}


def test_the_run_is_the_end_of_its_trail(tmp_path: Path) -> None:
    alarms = []
    for day in range(20, 40):
        now = _run(day, 0.06)
        found = signals_of(now, (METRIC,), _past(tmp_path, [0.0] * 20 + [0.06] * (day - 20), now), KEYS)
        if SignalKind.CREEP in _kinds(found):
            alarms.append(day)

    assert alarms
    assert alarms == list(range(alarms[0], 40))  # it stands
    assert alarms[0] >= 25


def test_a_creep_carries_the_trail_that_shows_it(tmp_path: Path) -> None:
    now = _run(40, 0.06)

    (creep,) = (
        one
        for one in signals_of(now, (METRIC,), _past(tmp_path, [0.0] * 20 + [0.06] * 20, now), KEYS)
        if one.kind is SignalKind.CREEP
    )

    assert len(creep.trail) == 41
    assert np.median(creep.trail[:20]) == pytest.approx(0.0, abs=0.01)
    assert np.median(creep.trail[20:]) == pytest.approx(0.06, abs=0.01)


def test_a_step_is_news_for_some_sessions_only(tmp_path: Path) -> None:
    told = []
    for length in (4, NEWS, NEWS + 5):
        now = _run(20 + length - 1, -0.2)
        past = _past(tmp_path, [0.0] * 20 + [-0.2] * (length - 1), now)
        told.append(SignalKind.CHANGE_POINT in _kinds(signals_of(now, (METRIC,), past, KEYS)))

    assert told == [True, True, False]


def test_metrics_that_are_not_gated_are_not_watched(tmp_path: Path) -> None:
    now = _run(40, 0.06)

    assert signals_of(now, (CATALOGUE["ttft_p50"],), _past(tmp_path, [0.0] * 20 + [0.06] * 20, now), KEYS) == ()


def test_without_a_past_nothing_is_seen_over_time() -> None:
    assert signals_of(_run(1, 0.0), (METRIC,), Past(), KEYS) == ()


# ---------------------------------------------------------------------- what fails


def _suite(watch: Watch) -> Suite:
    gate = Gate((METRIC.with_limits(0.05, 0.20),), watch=watch)
    return Suite("small", Path("small.yaml"), (), gate, tuple(DEFAULT_POLICIES.items()))


def _judged(watch: Watch, slower: float = 0.01) -> Comparison:
    return compare_with_past(_run(1, slower, engines=5, noise=0.0005), _suite(watch), None, "local", Past())


def test_a_uniform_slowdown_below_every_margin_is_reported() -> None:
    found = _judged(Watch())

    (shift,) = found.signals
    assert (shift.kind, round(shift.size, 3)) == (SignalKind.SUITE_SHIFT, 0.01)
    assert (found.failed_signals, found.is_red) == ((), False)


def test_a_uniform_slowdown_fails_where_the_suite_says_so() -> None:
    found = _judged(Watch(suite_shift=Reaction.FAIL))

    assert found.failed_signals == found.signals != ()
    assert found.is_red


def test_a_faster_suite_never_fails() -> None:
    found = _judged(Watch(Reaction.FAIL, Reaction.FAIL), slower=-0.01)

    assert _kinds(found.signals) == [SignalKind.SUITE_SHIFT]
    assert not found.is_red


CREEP = Signal(SignalKind.CREEP, "a", "itl_p10", 0.06, "2026-01-01", None, "a itl_p10: now 6.0 % worse")


@pytest.mark.parametrize(
    ("signal", "is_red"),
    [
        (CREEP, True),
        (replace(CREEP, is_confirmed=False), False),
        (replace(CREEP, size=-0.06), False),
        (replace(CREEP, kind=SignalKind.CHANGE_POINT), False),
        (replace(CREEP, kind=SignalKind.SUITE_SHIFT), False),
    ],
)
def test_only_a_confirmed_worsening_of_a_failing_kind_fails(signal: Signal, *, is_red: bool) -> None:
    watch = Watch(creep=Reaction.FAIL)

    assert replace(_judged(watch), signals=(signal,)).is_red is is_red


# ---------------------------------------------------------------------- comparison.json


def test_signals_survive_json() -> None:
    made = _judged(Watch(suite_shift=Reaction.FAIL))
    made = replace(made, signals=(*made.signals, replace(CREEP, trail=(0.0, 0.06))))

    assert decode(encode(made), Comparison, "comparison.json") == made


def test_an_older_comparison_has_no_signals() -> None:
    made = _judged(Watch())
    raw = json.loads(encode(made))
    del raw["signals"], raw["watch"]

    assert decode(json.dumps(raw).encode(), Comparison, "comparison.json") == replace(made, signals=())


def test_a_history_that_could_not_be_read_is_a_note() -> None:
    found = compare_with_past(_run(1, 0.0), _suite(Watch()), None, "local", Past(note="history is left out: why"))

    assert found.notes == ("history is left out: why",)

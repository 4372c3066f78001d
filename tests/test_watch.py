from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from perfgate.creep import Floats
from perfgate.measured import Point
from perfgate.metrics import CATALOGUE
from perfgate.record import CaseInfo, CaseRound, Environment, Round, Run, Side
from perfgate.watch import (
    PINNED,
    SignalKind,
    change_points,
    creep,
    engine_pairs,
    shift_signal,
    suite_shift,
    watch_trails,
)

METRICS, SESSIONS, START = 60, 90, 30
RAMP = math.log(1.05) * np.clip((np.arange(SESSIONS) - START) / 40, 0, 1)
ALONE = np.full((METRICS, SESSIONS), np.nan)


def _noise(seed: int, sd: float = 0.01, sessions: int = SESSIONS) -> Floats:
    return sd * np.random.default_rng(seed).standard_normal((METRICS, sessions))


def _drift(seed: int, step: float) -> Floats:
    return np.cumsum(step * np.random.default_rng(seed).standard_normal((METRICS, SESSIONS)), axis=1)


# ---------------------------------------------------------------------- creep


def test_a_creep_of_5_percent_is_found_beside_the_pinned_engine() -> None:
    drift = _drift(1, 0.002)

    found = creep(drift + RAMP + _noise(2), drift + _noise(3), tests=METRICS)

    assert (found.at > START).all()
    assert (found.first == found.at).all()
    assert found.confirmed.all()
    assert np.abs(found.size - math.log(1.05)).max() < 0.03
    assert (found.since <= found.at).all()
    assert float(np.median(found.since)) == pytest.approx(START + 12, abs=4)  # where it passes half of delta


@pytest.mark.parametrize("sd", [0.0, 1e-6, 0.003, 0.01, 0.05])
def test_drift_of_the_platform_is_no_creep(sd: float) -> None:
    drift = _drift(4, 0.005)

    found = creep(drift + _noise(5, sd), drift + _noise(6, sd), tests=METRICS)

    assert (found.first == -1).all()
    assert (found.at == -1).all()
    assert (found.since == -1).all()


def test_false_alarms_are_rarer_than_promised() -> None:
    seen = [creep(_noise(seed), _noise(seed + 1000), tests=METRICS).first for seed in range(100)]

    assert sum((first >= 0).any() for first in seen) <= 1


@pytest.mark.parametrize("place", [PINNED - 3, PINNED + 1, 50, SESSIONS - 1])
@pytest.mark.parametrize("sd", [0.002, 0.01])
def test_wild_sessions_raise_no_alarm(place: int, sd: float) -> None:
    wild = _noise(7, sd)
    wild[:, place] += 0.5
    wild[:, place - 1] += 0.1

    assert (creep(wild, _noise(8, sd), tests=METRICS).first == -1).all()


@pytest.mark.parametrize("share", [0.1, 0.3, 0.5])
@pytest.mark.parametrize("gap", [0.05, 0.25])
def test_two_modes_raise_no_alarm(share: float, gap: float) -> None:
    rng = np.random.default_rng(9)
    modes, others = (gap * (rng.random((METRICS, SESSIONS)) < share) for _ in range(2))

    assert (creep(modes + _noise(10, 0.003), others + _noise(11, 0.003), tests=METRICS).first == -1).all()


def test_a_creep_is_found_through_wild_sessions() -> None:
    rng = np.random.default_rng(12)
    wild = rng.choice([0.0, 0.3, -0.3], (METRICS, SESSIONS), p=[0.98, 0.01, 0.01])

    assert (creep(RAMP + wild + _noise(13), _noise(14), tests=METRICS).at > START).mean() > 0.95


def test_half_of_delta_is_tolerated_for_ever() -> None:
    found = creep(_noise(15, 0.003) + 0.010, _noise(16, 0.003), tests=METRICS)

    assert (found.first == -1).all()


def test_a_faster_engine_raises_no_alarm() -> None:
    assert (creep(_noise(17) - RAMP, _noise(18), tests=METRICS).first == -1).all()


def test_a_repaired_creep_does_not_stand() -> None:
    repaired = np.where(np.arange(SESSIONS) < 60, math.log(1.10) * (np.arange(SESSIONS) > 30), 0.0)

    found = creep(repaired + _noise(19, 0.005), _noise(20, 0.005), tests=METRICS)

    assert (found.first > 30).all()
    assert (found.at == -1).all()
    assert (found.since == -1).all()


def test_without_the_pinned_engine_an_alarm_is_not_confirmed() -> None:
    found = creep(2 * RAMP + _noise(21, 0.005), ALONE, tests=METRICS)

    assert (found.at > START).all()
    assert not found.confirmed.any()


def test_without_the_pinned_engine_a_small_drift_raises_no_alarm() -> None:
    assert (creep(_drift(22, 0.001) + _noise(23, 0.005), ALONE, tests=METRICS).first == -1).all()


def test_sessions_with_the_pinned_engine_count_also_between_others() -> None:
    beside = np.where(np.arange(SESSIONS) % 2, _noise(24, 0.005), np.nan)

    found = creep(RAMP + _noise(25, 0.005), beside, tests=METRICS)

    assert found.confirmed.all()
    assert (found.at > START).all()
    assert (found.at % 2 == 1).all()


@pytest.mark.parametrize("sessions", [0, 1, 2, PINNED])
def test_short_trails_raise_no_alarm(sessions: int) -> None:
    level = np.full((3, sessions), 1.0)

    found = creep(level, np.zeros_like(level), tests=3)

    assert found.at.tolist() == [-1, -1, -1]


def test_trails_without_a_metric_or_session_are_nothing() -> None:
    empty = np.empty((0, 40))

    assert creep(empty, empty, tests=1).at.size == 0


@settings(max_examples=20)
@given(st.floats(-5, 5), st.integers(0, 30))
def test_creep_depends_on_no_unit(scale: float, shift: int) -> None:
    level, beside = RAMP + _noise(26, 0.005), _noise(27, 0.005)
    padded = np.pad(level, ((0, 0), (0, shift)), constant_values=np.nan)

    same = creep(padded + scale, np.pad(beside, ((0, 0), (0, shift)), constant_values=np.nan) + scale, tests=METRICS)

    assert (np.abs(same.at - creep(level, beside, tests=METRICS).at) <= 2).all()  # the horizon grows with the trail


# ---------------------------------------------------------------------- steps


@given(st.integers(3, 57), st.floats(0.05, 2.0), st.booleans())
def test_a_clear_step_is_found_where_it_is(at: int, size: float, is_better: bool) -> None:  # noqa: FBT001 - hypothesis
    rng = np.random.default_rng(at)
    sign = -1 if is_better else 1
    series = 0.005 * rng.standard_normal(60) + sign * size * (np.arange(60) >= at)

    (found,) = change_points(series.tolist())

    assert abs(found.at - at) <= 1
    assert found.size == pytest.approx(sign * size, abs=0.02)


@given(st.integers(0, 59), st.floats(-3, 3), st.integers(0, 1000))
def test_one_wild_session_is_no_step(place: int, size: float, seed: int) -> None:
    series = (0.01 * np.random.default_rng(seed % 20).standard_normal(60)).tolist()
    before = change_points(series)
    series[place] += size

    assert len(change_points(series)) <= len(before)


def test_noise_has_no_steps() -> None:
    rng = np.random.default_rng(1)
    rows = [*0.01 * rng.standard_normal((100, 60)), *0.01 * rng.standard_t(3, (100, 60))]

    assert sum(bool(change_points(row.tolist())) for row in rows) <= 2


@given(st.lists(st.floats(-1, 1), max_size=5))
def test_short_series_have_no_steps(series: list[float]) -> None:
    assert change_points(series) == []


@given(st.lists(st.floats(-1, 1), min_size=6, max_size=40))
def test_segments_have_their_least_length_and_medians(series: list[float]) -> None:
    steps = change_points(series)
    edges = [0, *(step.at for step in steps), len(series)]

    assert all(b - a >= 3 for a, b in pairwise(edges))
    assert sum(step.size for step in steps) == pytest.approx(
        np.median(series[edges[-2] :]) - np.median(series[: edges[1]]), abs=1e-9
    )


def test_only_the_newest_sessions_of_a_long_series_are_looked_at() -> None:
    series = [0.0] * 30 + [1.0] * 500 + [2.0] * 500

    assert [(step.at, step.size) for step in change_points(series)] == [(530, 1.0)]


# ---------------------------------------------------------------------- suite-wide


def _pairs(seed: int, engines: int = 20, sd: float = 0.015) -> Floats:
    return sd * np.random.default_rng(seed).standard_normal((engines, 3, 2))


def test_a_uniform_2_percent_is_found() -> None:
    found = [suite_shift(_pairs(seed) + 0.02) for seed in range(200)]

    assert all(shift.is_slower and not shift.is_faster for shift in found)
    assert np.mean([shift.size or 0 for shift in found]) == pytest.approx(0.02, abs=0.001)


@pytest.mark.parametrize("engines", [4, 6, 20])
def test_false_suite_shifts_are_as_rare_as_promised(engines: int) -> None:
    found = [suite_shift(_pairs(seed, engines)) for seed in range(1000)]

    assert sum(shift.is_slower for shift in found) <= 12  # of 1000 at 0.5 %: more has probability 0.002
    assert sum(shift.is_faster for shift in found) <= 12


def test_a_faster_suite_is_faster() -> None:
    slower, faster = (suite_shift(sign * (_pairs(1) + 0.02)) for sign in (1, -1))

    assert faster.is_faster
    assert not faster.is_slower
    assert faster.size == pytest.approx(-(slower.size or 0))


@pytest.mark.parametrize("size", [0.05, 0.3, 3.0, -3.0])
def test_one_engine_with_a_large_change_is_not_the_suite(size: float) -> None:
    found = []
    for seed in range(100):
        pairs = _pairs(seed)
        pairs[3] += size
        found.append(suite_shift(pairs))

    assert sum(shift.is_slower or shift.is_faster for shift in found) <= 4
    assert max(abs(shift.size or 0) for shift in found) < 0.012
    same_way = [shift for shift in found if (shift.size or 0) * size > 0]
    assert all(shift.carriers[:1] == (3,) for shift in same_way)


def test_one_engine_with_a_large_change_does_not_hide_the_suite() -> None:
    pairs = _pairs(2) + 0.02
    pairs[3] += 1.0

    assert suite_shift(pairs).is_slower


def test_one_very_quiet_engine_does_not_decide_for_the_suite() -> None:
    pairs = _pairs(3)
    pairs[0] = 0.02 + _pairs(4)[0] / 1000

    assert not suite_shift(pairs, pair_var=np.var(pairs, axis=2)).is_slower


def test_three_engines_are_too_few() -> None:
    pairs = _pairs(5, 4) + 0.5
    pairs[0] = np.nan

    found = suite_shift(pairs)

    assert (found.size, found.error, found.is_slower, found.engines) == (None, None, False, 3)
    assert found.reason == "3 engines with pairs, 4 are needed"


def test_missing_pairs_and_metrics_are_left_out() -> None:
    pairs = _pairs(6) + 0.02
    pairs[:, 2, :] = np.nan
    pairs[4, :, 1] = np.nan
    pairs[7] = np.nan

    found = suite_shift(pairs)

    assert found.engines == 19
    assert found.is_slower


def test_known_noise_sharpens_the_estimate() -> None:
    rng = np.random.default_rng(7)
    sd = np.exp(rng.uniform(math.log(0.003), math.log(0.03), (20, 3)))
    draws = [sd[:, :, None] * rng.standard_normal((20, 3, 2)) for _ in range(200)]

    alone = np.std([suite_shift(one).size or 0 for one in draws])
    known = np.std([suite_shift(one, pair_var=sd**2).size or 0 for one in draws])

    assert known < 0.8 * alone


def test_pairs_without_any_noise_are_judged() -> None:
    assert suite_shift(np.full((5, 2, 2), 0.02)).is_slower
    assert not suite_shift(np.zeros((5, 2, 2))).is_slower


@given(st.integers(0, 50), st.permutations(range(6)))
def test_the_order_of_engines_does_not_matter(seed: int, order: list[int]) -> None:
    pairs = _pairs(seed, 6) + 0.01

    assert suite_shift(pairs[order]).slower == pytest.approx(suite_shift(pairs).slower, rel=1e-6, abs=1e-9)


# ---------------------------------------------------------------------- signals

ITL, RATE = CATALOGUE["itl_p50"], CATALOGUE["output_tokens_per_s"]


def _trail(level: Sequence[float], beside: Sequence[float | None], key: str = "pin") -> list[Point]:
    return [
        Point(f"r{i}", f"day {i}", f"c{i}", "new", value, key if base else None, base)
        for i, (value, base) in enumerate(zip(level, beside, strict=True))
    ]


def _creeping(seed: int, sign: int = 1, drift: float = 0.0) -> list[Point]:
    """50 sessions that are 6 % worse from session 20 on; `drift` on both sides at session 30."""
    rng = np.random.default_rng(seed)
    common = drift * (np.arange(50) >= 30)
    level = sign * (0.06 * (np.arange(50) >= 20) + 0.005 * rng.standard_normal(50)) + common
    return _trail(np.exp(level).tolist(), np.exp(common + 0.005 * rng.standard_normal(50)).tolist())


def test_a_creep_is_told_with_its_commits_and_size() -> None:
    (found, step) = watch_trails({("e-c", "itl_p50"): _creeping(1)}, [ITL])

    assert (found.kind, found.case, found.metric, found.is_confirmed) == (SignalKind.CREEP, "e-c", "itl_p50", True)
    assert found.size == pytest.approx(0.06, abs=0.01)
    assert found.started == "day 20"
    assert found.commits is not None
    assert found.commits.last_good == "c19"
    assert "worse than the pinned engine measured beside it; since day 20, commits c19..c2" in found.text
    assert (step.kind, step.started, str(step.commits)) == (SignalKind.CHANGE_POINT, "day 20", "c19..c20")
    assert step.size == pytest.approx(0.06, abs=0.01)


def test_a_rate_that_falls_is_worse() -> None:
    found = watch_trails({("e-c", "output_tokens_per_s"): _creeping(2, sign=-1)}, [RATE])

    assert [one.kind for one in found] == [SignalKind.CREEP, SignalKind.CHANGE_POINT]
    assert all(one.size > 0.04 for one in found)


def test_a_rate_that_rises_is_a_step_to_the_better() -> None:
    (found,) = watch_trails({("e-c", "output_tokens_per_s"): _creeping(2)}, [RATE])

    assert found.kind is SignalKind.CHANGE_POINT
    assert found.size < -0.04
    assert "better" in found.text


def test_a_step_of_the_platform_is_neither_creep_nor_step() -> None:
    trail = [replace(point, level=point.baseline_level or 0.0) for point in _creeping(3, drift=0.2)]

    assert watch_trails({("e-c", "itl_p50"): trail}, [ITL]) == []


def test_another_baseline_engine_is_not_the_pinned_one() -> None:
    old, new = _creeping(4)[:30], _creeping(5)[30:]
    trail = [replace(point, baseline_key="old") for point in old] + new

    found = watch_trails({("e-c", "itl_p50"): trail}, [ITL])

    assert [one.is_confirmed for one in found if one.kind is SignalKind.CREEP] in ([], [False])


def test_without_the_pinned_engine_the_text_says_so() -> None:
    level = np.exp(0.2 * (np.arange(50) >= 20) + 0.005 * np.random.default_rng(6).standard_normal(50))

    found = watch_trails({("e-c", "itl_p50"): _trail(level.tolist(), [None] * 50)}, [ITL])

    assert [(one.kind, one.is_confirmed) for one in found] == [
        (SignalKind.CREEP, False),
        (SignalKind.CHANGE_POINT, False),
    ]
    assert "the platform may have drifted" in found[0].text


def test_steps_can_be_sought_in_the_newest_sessions_alone() -> None:
    trails = {("e-c", "output_tokens_per_s"): _trail([100.0] * 10 + [200.0] * 40, [100.0] * 50)}
    metrics = [CATALOGUE["output_tokens_per_s"]]

    whole, newest = watch_trails(trails, metrics), watch_trails(trails, metrics, 30)

    assert [one.kind for one in whole] == [SignalKind.CHANGE_POINT]
    assert newest == []


def test_metrics_that_are_not_asked_for_are_not_watched() -> None:
    assert watch_trails({("e-c", "itl_p50"): _creeping(1)}, [RATE]) == []
    assert watch_trails({}, [ITL]) == []


def test_values_of_zero_are_left_out() -> None:
    trail = _trail([0.0] * 40, [0.0] * 40)

    assert watch_trails({("e-c", "itl_p50"): trail}, [ITL]) == []


def _run(slower: float, engines: int = 5) -> Run:
    """Two BAAB pairs an engine; the candidate of every engine is slower by `slower`, rates and latencies alike."""
    rng, rounds, cases = np.random.default_rng(1), [], []
    for number in range(engines):
        name = f"e{number}"
        cases.append(CaseInfo(f"{name}-b1", name, "latency", "h"))
        for index, side in enumerate((Side.CANDIDATE, Side.BASELINE, Side.BASELINE, Side.CANDIDATE)):
            factor = (1 + slower if side is Side.CANDIDATE else 1.0) * math.exp(0.002 * rng.standard_normal())
            values = {"itl_p50": 0.01 * factor, "output_tokens_per_s": 100 / factor, "output_tokens": 64.0}
            case = CaseRound(f"{name}-b1", values)
            rounds.append(Round(name, side, 4 * number + index, "", 1.0, (case,)))
    return Run("s", "day 1", Environment("cpu/x", "x", {}, "c"), tuple(cases), (), tuple(rounds))


def test_a_runs_pairs_are_grouped_by_engine_and_signed() -> None:
    known = {("e1-b1", "itl_p50"): ((1.0, math.e), (2.0,))}

    found = engine_pairs(_run(0.1), [ITL, RATE, CATALOGUE["output_tokens"]], known)

    assert found.engines == ("e0", "e1", "e2", "e3", "e4")
    assert found.ratios.shape == (5, 2, 2)
    assert found.ratios == pytest.approx(np.full((5, 2, 2), math.log(1.1)), abs=0.02)
    assert found.variance[1, 0] == pytest.approx(1.0)
    assert np.isfinite(found.variance).sum() == 1


def test_a_suite_wide_shift_is_told_with_its_carriers() -> None:
    run = _run(0.02)
    pairs = engine_pairs(run, [ITL, RATE])

    found = shift_signal(suite_shift(pairs.ratios, pair_var=pairs.variance), pairs.engines, run)

    assert found is not None
    assert (found.kind, found.case, found.metric, found.started) == (SignalKind.SUITE_SHIFT, None, None, "day 1")
    assert found.size == pytest.approx(0.02, abs=0.003)
    assert found.text.startswith("all 5 engines together are 2.")
    assert "standing out: e" in found.text


def test_no_shift_is_no_signal() -> None:
    for run in (_run(0.0), _run(0.1, engines=3), replace(_run(0.1), rounds=())):
        pairs = engine_pairs(run, [ITL, RATE])

        assert shift_signal(suite_shift(pairs.ratios, pair_var=pairs.variance), pairs.engines, run) is None

from __future__ import annotations

import re
from collections.abc import Sequence

import pytest
from examples import verdict
from hypothesis import given
from hypothesis import strategies as st

from perfgate.measured import Point
from perfgate.report.trend import HEIGHT, WIDTH, last_good, trend


def points(levels: Sequence[float]) -> list[Point]:
    return [Point("", f"2026-01-{i + 1:02d}T00:00:00Z", f"c{i + 1}", "k", level) for i, level in enumerate(levels)]


def ends(metric: str, levels: list[float]) -> tuple[int, int]:
    """Heights of the first and of the last session."""
    drawn = trend(verdict("c", metric, baseline=levels[0]), points(levels[:-1]), levels[-1])
    assert drawn is not None
    first, last = (re.match(r"M\d+ (\d+)", path) for path in (drawn.trail, drawn.end))
    assert first
    assert last
    return int(first[1]), int(last[1])


@pytest.mark.parametrize(("metric", "is_up"), [("ttft_p50", True), ("output_tokens_per_s", False)])
def test_upwards_is_worse(metric: str, *, is_up: bool) -> None:
    first, last = ends(metric, [1.0, 1.0, 1.0, 1.2])

    assert (last < first) is is_up


def test_a_step_is_marked_and_told_with_its_commits() -> None:
    drawn = trend(verdict("c", "ttft_p50", baseline=1.0), points([1.0] * 6 + [1.1] * 5), 1.1)

    assert drawn is not None
    assert drawn.step == "step: 10.0 % worse between 2026-01-06 (c6) and 2026-01-07 (c7)"
    assert drawn.steps.count("M") == 1
    assert drawn.said == "12 sessions since 2026-01-01: +0.0 % to +10.0 %"


def test_steps_within_the_margin_or_not_asked_for_are_not_marked() -> None:
    small = trend(verdict("c", "ttft_p50"), points([1.0] * 6 + [1.01] * 6), None)
    unasked = trend(verdict("c", "ttft_p50"), points([1.0] * 6 + [2.0] * 6), None, has_steps=False)

    assert small is not None
    assert unasked is not None
    assert (small.steps, unasked.steps) == ("", "")


def test_fewer_than_two_sessions_are_no_trend() -> None:
    assert trend(verdict("c", "ttft_p50"), points([1.0]), None) is None
    assert trend(verdict("c", "ttft_p50"), [], 1.0) is None


def test_only_the_newest_sessions_are_drawn() -> None:
    drawn = trend(verdict("c", "ttft_p50"), points([1.0 + i / 100 for i in range(25)]), 1.5, 5)

    assert drawn is not None
    assert drawn.said.startswith("6 sessions since 2026-01-21")


@given(st.lists(st.floats(5e-324, 1e308), min_size=2, max_size=30), st.floats(5e-324, 1e308))
def test_everything_stays_within_the_frame(levels: list[float], baseline: float) -> None:
    drawn = trend(verdict("c", "ttft_p50", baseline=baseline), points(levels[:-1]), levels[-1])

    assert drawn is not None
    for x, y in re.findall(r"M(\d+) (\d+)", drawn.trail + drawn.steps + drawn.end):
        assert int(x) <= WIDTH
        assert int(y) <= HEIGHT


def test_the_last_good_session_is_the_newest_within_the_margin() -> None:
    metric = verdict("c", "ttft_p50", baseline=1.0)

    found = last_good(metric, points([1.0, 1.3, 1.01, 1.2, 1.2]))

    assert found is not None
    good, bad = found
    assert bad is not None
    assert (good.commit, bad.commit) == ("c3", "c4")
    assert last_good(metric, points([1.0, 1.01])) == (points([1.0, 1.01])[1], None)
    assert last_good(metric, points([1.2])) is None

"""The roofline: where phases and limits stand."""

from __future__ import annotations

from dataclasses import replace

import pytest

from perfgate.record import Run
from perfgate.report.roof import HEIGHT, LEFT, MOST_NAMED, RIGHT, TOP, WIDTH, Roof, roof
from perfgate.roofline import Demand, Limits, Work
from test_distances import VALUES, measured
from test_roofline import CEILINGS, DEMAND


def drawn(run: Run) -> Roof:
    made = roof(run)
    assert made is not None
    return made


def corners(path: str) -> list[tuple[int, int]]:
    points = path.removeprefix("M").split("L")
    return [(int(x), int(y)) for x, y in (point.split() for point in points)]


def test_a_phase_says_what_it_reached_of_its_limit() -> None:
    found = drawn(measured(VALUES))

    assert [one.said for one in found.decode] == ["e-b1, decode: 800.0 GFLOP/s, 80.0 % of its limit"]
    assert [one.said for one in found.prefill] == ["e-b1, prefill: 25.00 TFLOP/s, 25.0 % of its limit"]


def test_the_slope_ends_where_the_rate_begins_and_phases_stand_below() -> None:
    found = drawn(measured(VALUES))

    (ceiling,) = found.ceilings
    assert ceiling.name == "bf16 100 TFLOP/s"
    assert corners(found.slope)[1] == corners(ceiling.path)[0]
    (x, y), (a, b) = corners(found.slope)
    dot_x, dot_y = (int(part) for part in found.decode[0].path[1:-2].split())
    assert dot_y > y + (b - y) * (dot_x - x) / (a - x)  # below is more on a screen
    assert LEFT <= dot_x <= WIDTH - RIGHT
    assert TOP <= dot_y <= HEIGHT


def test_ticks_are_powers_of_ten() -> None:
    found = drawn(measured(VALUES))

    assert [tick.text for tick in found.x_ticks] == ["1", "10", "100", "1,000"]
    assert "1 TFLOP/s" in [tick.text for tick in found.y_ticks]


def test_no_limits_or_no_work_is_no_picture() -> None:
    run = measured(VALUES)

    assert roof(replace(run, limits=None)) is None
    assert roof(measured(VALUES, demand=Demand(("bf16",)))) is None
    assert roof(measured({})) is None


@pytest.mark.parametrize("work", [Work(0.0, 1e10), Work(1e10, 0.0), Work(float("inf"), 1e10)])
def test_work_that_has_no_logarithm_is_left_out(work: Work) -> None:
    found = drawn(measured(VALUES, demand=replace(DEMAND, decode=work)))

    assert found.decode == ()


def test_a_device_whose_rates_are_not_known_has_a_slope_alone() -> None:
    run = measured(VALUES, demand=replace(DEMAND, rates=("fp8",)))

    assert drawn(run).ceilings == ()
    assert drawn(run).slope


def test_many_cases_are_one_mark() -> None:
    run = measured(VALUES)
    infos = tuple(replace(run.cases[0], id=f"e-b{at}") for at in range(MOST_NAMED + 1))
    (one,) = run.rounds
    cases = tuple(replace(one.cases[0], case=info.id) for info in infos)
    demands = {info.id: DEMAND for info in infos}
    many = replace(run, cases=infos, rounds=(replace(one, cases=cases),), limits=Limits(CEILINGS, demands))

    found = drawn(many)

    assert [mark.said for mark in found.decode] == ["81 phases"]

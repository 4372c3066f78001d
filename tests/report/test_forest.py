from __future__ import annotations

import math
import re
from typing import Any

import pytest
from examples import verdict
from hypothesis import given
from hypothesis import strategies as st

from perfgate.report.forest import Forest
from perfgate.verdict import Verdict


def parts(**numbers: Any) -> dict[str, int]:
    style = Forest(0.2).style(verdict("c", "ttft_p50", **numbers))
    return {name: int(value) for name, value in re.findall(r"--(\w):(\d+)", style)}


def test_no_change_is_in_the_middle_and_worse_is_right() -> None:
    assert parts(change=0.0, low=-0.1, high=0.1) == {"l": 25, "w": 50, "c": 50, "m": 55}
    assert parts(change=0.1, low=0.05, high=0.15)["c"] == 75


def test_what_is_beyond_the_axis_is_at_its_rim() -> None:
    assert parts(change=3.0, low=2.0, high=math.inf) == {"l": 100, "w": 0, "c": 100, "m": 55}


@pytest.mark.parametrize("change", [None, math.nan, math.inf])
def test_without_a_change_nothing_is_drawn(change: float | None) -> None:
    assert parts(change=change) == {}


def test_the_axis_is_as_wide_as_what_is_not_ok() -> None:
    quiet = verdict("c", "ttft_p50", change=0.9, high=0.9)
    bad = verdict("c", "tpot_p50", Verdict.REGRESSED, change=0.15, high=0.18)

    assert Forest.over([quiet]).ends == ("5 % better", "5 % worse")
    assert Forest.over([quiet, bad]).ends == ("20 % better", "20 % worse")


@given(st.floats(), st.floats(), st.floats())
def test_everything_stays_within_the_axis(change: float, low: float, high: float) -> None:
    found = parts(change=change, low=low, high=high)

    assert all(0 <= value <= 100 for value in found.values())
    assert found.get("l", 0) + found.get("w", 0) <= 100

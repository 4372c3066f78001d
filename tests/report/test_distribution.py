from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from perfgate.floats import Floats
from perfgate.record import CaseRound, Environment, Round, Run, Side
from perfgate.report.distribution import COARSE, FINE, Distribution, distributions, samples_of


def run_of(*rounds: tuple[Side, dict[str, tuple[float, ...]]], faults: tuple[str, ...] = ()) -> Run:
    made = tuple(
        Round("e", side, i, "", 1.0, (CaseRound("c", {}, {k: Floats(v) for k, v in samples.items()}, faults=faults),))
        for i, (side, samples) in enumerate(rounds)
    )
    return Run("s", "", Environment("d", "p", {}, ""), (), (), made)


def drawn(now: Sequence[float], before: Sequence[float] = ()) -> list[Distribution]:
    rounds = [(Side.CANDIDATE, {"ttft": tuple(now)})]
    rounds += [(Side.BASELINE, {"ttft": tuple(before)})] if before else []
    return list(distributions(samples_of(run_of(*rounds)).get("c", {}), FINE))


def test_quantiles_of_both_sides_and_the_change() -> None:
    (made,) = drawn([0.011 + i / 1e5 for i in range(101)], [0.010] * 101)

    assert made.quantiles[0] == ("p50", "10.00 ms", "11.50 ms", "15.0 % worse")
    assert made.note == "101 samples in 1 round; baseline 101 in 1"
    assert made.before


def test_without_a_baseline_there_is_one_curve() -> None:
    (made,) = drawn([0.01 + i / 1e4 for i in range(50)])

    assert made.before == made.before_rounds == ""
    assert [old for _, old, _, _ in made.quantiles] == ["-"] * 3


def test_requests_that_were_never_answered_are_counted() -> None:
    (made,) = drawn([0.01] * 60 + [math.inf] * 40)

    assert "40 never answered" in made.note
    assert [new for _, _, new, _ in made.quantiles] == ["10.00 ms", "-", "-"]


def test_too_few_samples_or_no_answer_at_all_is_no_figure() -> None:
    assert drawn([0.01] * 7) == []
    assert drawn([math.inf] * 50) == []


def test_rounds_at_fault_are_left_out() -> None:
    made = run_of((Side.CANDIDATE, {"ttft": (0.01,) * 50}), faults=("throttled",))

    assert not samples_of(made)


def test_a_coarse_figure_has_ttft_and_itl_alone_and_fewer_rounds() -> None:
    samples: tuple[float, ...] = (0.01, 0.02) * 20
    rounds = [(Side.CANDIDATE, dict.fromkeys(("e2el", "itl", "tpot", "ttft"), samples))] * 10
    found = samples_of(run_of(*rounds), COARSE.names)["c"]

    made = list(distributions(found, COARSE))

    assert [one.name for one in made] == ["ttft", "itl"]
    assert made[0].now_rounds.count("H") == COARSE.rounds


TIMES = st.floats(0) | st.just(math.nan)


@given(st.lists(TIMES, min_size=1, max_size=60), st.lists(TIMES, max_size=60))
def test_any_samples_are_drawn_without_fault(now: list[float], before: list[float]) -> None:
    answered = np.isfinite(now).any() and sum(not math.isnan(value) for value in now) >= 8

    assert len(drawn(now, before)) == answered

from __future__ import annotations

from dataclasses import replace

from examples import comparison, run

from perfgate.record import CaseRound, Side
from perfgate.report.series import Series, series_of


def test_series_are_what_the_run_gives() -> None:
    made = run(comparison())

    found = series_of(made)

    assert found
    assert all(values == made.values(*key) for key, values in found.items())


def test_rounds_and_cases_at_fault_are_left_out() -> None:
    good = run(comparison()).rounds[0]
    at_fault = replace(good, fault="killed", cases=(CaseRound("c", {"ttft_p50": 1.0}),))
    partly = replace(
        good, cases=(CaseRound("c", {"ttft_p50": 2.0}, faults=("throttled",)), CaseRound("d", {"ttft_p50": 3.0}))
    )

    found = series_of(run(comparison(), rounds=(at_fault, partly)))

    assert found == {Series("d", "ttft_p50", Side.CANDIDATE): [3.0]}

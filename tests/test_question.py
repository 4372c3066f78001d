"""Which metrics are asked of a run: an optional one that the baseline has is not let go in silence."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "report"))

from examples import ENVIRONMENT

from perfgate.baselines import Baseline, BaselineCase, Provenance, Series
from perfgate.judge import judge
from perfgate.metrics import CATALOGUE
from perfgate.record import CaseInfo, CaseRound, Origin, Round, Run, Side
from perfgate.terms import Gate
from perfgate.verdict import Verdict

CASE = CaseInfo("one-b1", "one", "latency", "00ff")
ROUND = Round("one", Side.CANDIDATE, 0, "x", 1.0, (CaseRound("one-b1", {"itl_p50": 0.01}),))
RUN = Run("small", "x", ENVIRONMENT, (CASE,), (), (ROUND,))
GATE = Gate((CATALOGUE["energy_j_per_token"],))


def _baseline(*metrics: str) -> Baseline:
    series = {name: Series(CATALOGUE[name].unit, ((0.1, 0.2),)) for name in metrics}
    made = Provenance("x", "first", "", {}, "")
    return Baseline("small", ENVIRONMENT.device, made, {CASE.id: BaselineCase(CASE.hash, "", series)})


def test_an_optional_metric_that_only_the_baseline_has_is_invalid() -> None:
    (found,) = judge(RUN, _baseline("energy_j_per_token"), GATE)

    assert found.verdict is Verdict.INVALID
    assert found.reason == "not measured: no round gave this metric"


def test_an_optional_metric_that_nobody_has_is_not_asked_for() -> None:
    assert judge(RUN, _baseline("itl_p50"), GATE) == ()
    assert judge(RUN, None, GATE) == ()


def test_of_imported_figures_it_is_left_out_with_a_note() -> None:
    imported = replace(RUN, cases=(replace(CASE, origin=Origin("x", {})),))

    assert judge(imported, _baseline("energy_j_per_token"), GATE) == ()

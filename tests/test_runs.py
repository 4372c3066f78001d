from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from perfgate.floats import Floats
from perfgate.record import CaseInfo, CaseRound, Environment, Round, Run, Side
from perfgate.runs import MOST_KEPT, keep_run, known_runs

RUN = Run(
    "small",
    "2026-01-14T08:00:00+00:00",
    Environment("cpu/x", "A CPU", {}, "0b1c2d3"),
    (CaseInfo("e-c", "e", "latency", "00ff"),),
    (),
    (Round("e", Side.CANDIDATE, 0, "", 1.0, (CaseRound("e-c", {"ttft_p50": 0.02}, {"ttft": Floats([0.02, 0.03])}),)),),
)


def test_a_kept_run_has_its_values_and_not_its_samples(tmp_path: Path) -> None:
    keep_run(RUN, tmp_path)

    (found,) = known_runs(tmp_path, "small", "cpu/x")
    assert found.values("e-c", "ttft_p50", Side.CANDIDATE) == [0.02]
    assert found.rounds[0].cases[0].samples == {}
    assert replace(found, rounds=RUN.rounds) == RUN


def test_runs_are_known_by_suite_and_device_in_order_of_time(tmp_path: Path) -> None:
    for started in ("2026-01-15T08:00:00+00:00", "2026-01-14T08:00:00+00:00"):
        keep_run(replace(RUN, started=started), tmp_path)
    keep_run(replace(RUN, started="2026-01-16T08:00:00+00:00", environment=Environment("cpu/y", "", {}, "")), tmp_path)
    keep_run(replace(RUN, suite="other"), tmp_path)

    assert [run.started[:10] for run in known_runs(tmp_path, "small", "cpu/x")] == ["2026-01-14", "2026-01-15"]
    assert known_runs(tmp_path, "none", "cpu/x") == []


def test_a_planted_regression_is_not_kept(tmp_path: Path) -> None:
    assert keep_run(replace(RUN, environment=replace(RUN.environment, inject={"decode": 1.2})), tmp_path) is None
    assert known_runs(tmp_path, "small", "cpu/x") == []


def test_a_damaged_file_is_passed_over(tmp_path: Path) -> None:
    path = keep_run(RUN, tmp_path)
    assert path is not None
    path.write_bytes(path.read_bytes()[:-9])

    assert known_runs(tmp_path, "small", "cpu/x") == []


def test_the_oldest_runs_are_removed(tmp_path: Path) -> None:
    for minute in range(MOST_KEPT + 2):
        keep_run(replace(RUN, started=f"2026-01-14T08:{minute:02}:00+00:00"), tmp_path)

    kept = known_runs(tmp_path, "small", "cpu/x")
    assert len(kept) == MOST_KEPT
    assert kept[0].started == "2026-01-14T08:02:00+00:00"

"""What cases cost here, as earlier rounds tell, and which are blunt, as a calibration tells."""

from __future__ import annotations

from pathlib import Path

import pytest

from perfgate.budget_plan import cases_section, choice_lines, choose_cases
from perfgate.calibration import MetricNoise, NoiseModel, noise_path
from perfgate.device import Device
from perfgate.gpu.sample import Region
from perfgate.plan import Plan
from perfgate.record import CaseInfo, CaseRound, Environment, Round, Run, Side, encode_pretty, write_atomic
from perfgate.runs import keep_run
from perfgate.suite import Suite, load_suite
from perfgate.terms import Pairing

SUITE = """
schema: 1
suite: s
defaults: {engine: {model: model}}
engines: {a: {}, b: {}}
workloads:
  b1: {kind: latency, prompts: texts.jsonl}
  b8: {kind: latency, prompts: texts.jsonl, concurrency: 8}
gate: {metrics: {itl_p50: {margin: 2%, detect: 5%}}, pairing: interleaved}
"""
DEVICE = Device("cpu/x", "a CPU")


@pytest.fixture
def suite(tmp_path: Path) -> Suite:
    (tmp_path / "suite.yaml").write_text(SUITE)
    return load_suite(tmp_path / "suite.yaml")


def _plan(suite: Suite) -> Plan:
    cases = tuple(CaseInfo(case.id, case.engine.name, case.kind, case.hash) for case in suite.cases)
    return Plan(DEVICE, cases, None, 5, 8.0, is_guess=True)


def test_what_was_seen_counts_and_tells_what_the_like_of_it_takes(suite: Suite, tmp_path: Path) -> None:
    case = CaseRound("a-b1", {"itl_p50": 0.01}, regions=(Region(0.0, 3.0),))
    done = Round("a", Side.CANDIDATE, 0, "2026-01-01T00:00:00+00:00", 4.0, (case,))
    keep_run(Run("s", "2026-01-01T00:00:00+00:00", Environment("cpu/x", "", {}, ""), (), (), (done,)), tmp_path)

    found = choose_cases(suite, _plan(suite), tmp_path, 1000.0)

    # five rounds of four cases of 3 s, and of two engines of 1 s
    assert found.seconds == pytest.approx(5 * (4 * 3.0 + 2 * 1.0))


def test_before_the_first_round_it_is_a_guess_that_adds_up_to_the_plan(suite: Suite, tmp_path: Path) -> None:
    plan = _plan(suite)

    found = choose_cases(suite, plan, tmp_path, 1000.0)

    assert found.seconds == pytest.approx(plan.estimate_s)
    assert "(a guess: nothing was measured here yet)" in next(choice_lines(found, 1000.0, plan))


def test_a_calibrated_case_that_shows_too_little_is_left_out_first(suite: Suite, tmp_path: Path) -> None:
    hashes = {case.id: case.hash for case in suite.cases}
    wild = {"a-b1": {"itl_p50": MetricNoise(hashes["a-b1"], Pairing.INTERLEAVED, (), 0.5, 9.0, 0.5, 9.0)}}
    model = NoiseModel("s", "cpu/x", "2026-01-01T00:00:00+00:00", wild)
    write_atomic(noise_path(tmp_path, "cpu/x", "s"), encode_pretty(model))

    found = choose_cases(suite, _plan(suite), tmp_path, 70.0)

    (left,) = found.left_out
    assert left.case.id == "a-b1"
    assert "noise: itl_p50 shows" in left.why
    assert cases_section(found, suite).splitlines() == [
        "cases:",
        "  - {engines: [a], workloads: [b8]}",
        "  - {engines: [b], workloads: [b1, b8]}",
    ]
    assert list(choice_lines(found, 70.0, _plan(suite)))[-1] == "pytest -k '[a-b8] or [b-b1] or [b-b8]'"

"""The sweep as tests: one for each configuration, collected only where the suite has a sweep."""

from __future__ import annotations

import pytest

from conftest import Project
from sweep_projects import with_sweep

TESTS = """
def test_tradeoffs(perfgate_tradeoff):
    perfgate_tradeoff.assert_measured()
"""
AXES = "engine_args: {fail: [null, build], refuse: [null, no such kernel]}"


def _pytest(pytester: pytest.Pytester, *args: str) -> pytest.RunResult:
    return pytester.runpytest_subprocess("-p", "no:cacheprovider", "test_tradeoffs.py", *args)


def test_each_configuration_is_a_test(pytester: pytest.Pytester, small_project: Project) -> None:
    small_project(edit=with_sweep(AXES))
    pytester.makepyfile(test_tradeoffs=TESTS)

    run = _pytest(pytester, "-rs", "--junitxml", "junit.xml")

    run.assert_outcomes(passed=1, failed=1, skipped=2)
    run.stdout.fnmatch_lines(["*told to fail at 'build'*", "*perfgate sweep*", "*not supported: no such kernel*"])
    assert (pytester.path / "perfgate-out" / "trtllm_tradeoffs.csv").exists()
    assert "perfgate_tradeoff_build_s" in (pytester.path / "junit.xml").read_text()


def test_a_choice_of_tests_is_a_choice_of_configurations(pytester: pytest.Pytester, small_project: Project) -> None:
    small_project(edit=with_sweep("precision: [fp32, int8_wo]"))
    pytester.makepyfile(test_tradeoffs=TESTS)

    plan = pytester.runpytest_subprocess("-p", "no:cacheprovider", "-k", "int8 or gate", "--perfgate-plan")

    plan.stdout.fnmatch_lines(["*int8_wo  measure: about*", "1 configuration to measure*"])
    assert "fp32  measure" not in plan.stdout.str()
    assert not (pytester.path / "perfgate-out").exists()  # tests of cases, which this suite has none of, judge nothing


def test_without_a_sweep_there_is_no_test(pytester: pytest.Pytester, small_project: Project) -> None:
    small_project()
    pytester.makepyfile(test_tradeoffs=TESTS)

    run = _pytest(pytester)

    run.assert_outcomes(deselected=1)
    assert run.ret == pytest.ExitCode.NO_TESTS_COLLECTED

"""Quantising as tests: one for each engine of the section, collected only where the suite has it."""

from __future__ import annotations

import pytest

from conftest import Project

TESTS = """
def test_quantization(perfgate_quantised):
    perfgate_quantised.assert_accepted()
"""
ENGINES = """
  int8: {precision: int8_wo}
  int4: {precision: int4_wo, engine_args: {step_us: 400, int4_loss: 0.2}}
  other: {precision: int8_wo, engine_args: {refuse: no such kernel}}
"""


def _section(text: str) -> str:
    return text + "\nquality: {reference: one, perplexity: 3%}\nquantize: {rounds: 1}\n"


def _pytest(pytester: pytest.Pytester, *args: str) -> pytest.RunResult:
    return pytester.runpytest_subprocess("-p", "no:cacheprovider", "test_quantization.py", *args)


def test_each_engine_is_a_test(pytester: pytest.Pytester, small_project: Project) -> None:
    small_project(ENGINES, _section)
    pytester.makepyfile(test_quantization=TESTS)

    run = _pytest(pytester, "-rs", "--junitxml", "junit.xml")

    run.assert_outcomes(passed=1, failed=1, skipped=1)
    run.stdout.fnmatch_lines(
        ["*adjust: int4*loses 22.1 %*", "*perfgate quantize int8*", "*not supported: no such kernel*"]
    )
    assert (pytester.path / "perfgate-out" / "quantize" / "int4" / "quantization.json").exists()
    assert "perfgate_ratio_engine_bytes_build" in (pytester.path / "junit.xml").read_text()


def test_the_plan_runs_nothing(pytester: pytest.Pytester, small_project: Project) -> None:
    small_project(ENGINES, _section)
    pytester.makepyfile(test_quantization=TESTS)

    plan = _pytest(pytester, "--perfgate-plan", "-k", "int8 or other")

    plan.stdout.fnmatch_lines(["*quantize int8 beside one: 1 rounds each*", "*quantize other: skip: no such kernel*"])
    assert not (pytester.path / "perfgate-out").exists()


def test_without_the_section_there_is_no_test(pytester: pytest.Pytester, small_project: Project) -> None:
    small_project()
    pytester.makepyfile(test_quantization=TESTS)

    run = _pytest(pytester)

    run.assert_outcomes(deselected=1)

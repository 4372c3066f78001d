"""Claims and limits in real pytest runs and on the command line, with the fake engine."""

from __future__ import annotations

from pathlib import Path

import pytest

from conftest import Project
from perfgate.cli import main
from perfgate.record import RUN_SCHEMA, Run, read_record

PERF_TEST = Path(__file__).parents[1] / "perf_tests" / "test_claims.py"
EIGHT = "  eight: {max_batch_size: 4, precision: fp8}"


def _write(project: Project, pytester: pytest.Pytester, more: str = "") -> Path:
    suite = project(EIGHT, lambda text: text + more)
    (pytester.path / "test_gate.py").write_text(PERF_TEST.read_text())
    return suite


def _run(pytester: pytest.Pytester, *args: str) -> pytest.RunResult:
    return pytester.runpytest_subprocess("-p", "no:cacheprovider", "-rsxX", "--perfgate-rounds=1", *args)


def test_claims_measure_their_engines_and_inform(
    small_project: Project, pytester: pytest.Pytester, capsys: pytest.CaptureFixture[str]
) -> None:
    suite = _write(small_project, pytester)

    done = _run(pytester, "-k", "fp8-quality or graphs", "--junitxml=junit.xml")

    done.assert_outcomes(passed=1, skipped=1, deselected=12)  # the fake engine scores the same in any precision
    done.stdout.fnmatch_lines(["*cannot be tested here: no engine of the suite has cuda_graphs: true*"])
    done.stdout.fnmatch_lines(["claims of the field: 1 holds,*cannot be tested here*"])
    assert "fp8-quality-eight-vs-one: holds: perplexity 1.00x" in (pytester.path / "junit.xml").read_text()
    run = read_record(pytester.path / "perfgate-out" / "run.json", Run, RUN_SCHEMA)
    assert {case.id for case in run.cases} == {"one-text", "eight-text"}
    assert main(["claims", str(pytester.path / "perfgate-out" / "run.json"), "--suite", str(suite)]) == 0
    assert "claims of the field" in capsys.readouterr().out


def test_a_suite_may_let_claims_gate(small_project: Project, pytester: pytest.Pytester) -> None:
    named = "claims: gate\nclaim_pairs: [{claim: fp8, reference: one, engine: eight}]\n"
    suite = _write(small_project, pytester, named)

    done = _run(pytester, "-k", "fp8-quality or fp8-memory")

    done.assert_outcomes(passed=1, failed=1, deselected=12)
    done.stdout.fnmatch_lines(["*cannot be tested here: the files of fake_engine:FakeBackend's engines are not*"])
    assert main(["claims", str(pytester.path / "perfgate-out" / "run.json"), "--suite", str(suite)]) == 1


def test_faults_in_claim_pairs_are_told_all_at_once(small_project: Project, pytester: pytest.Pytester) -> None:
    _write(small_project, pytester, "claim_pairs: [{claim: fp9, reference: two, engine: one}]\n")

    done = _run(pytester)

    assert done.ret == pytest.ExitCode.USAGE_ERROR
    done.stderr.fnmatch_lines(["*no claim 'fp9'*did you mean 'fp8'?*", "*no 'two' under engines; there: eight, one*"])

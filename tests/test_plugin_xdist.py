"""pytest-xdist: measured once by the controller, told by the workers, refused where it would be done twice."""

from __future__ import annotations

import pytest

from conftest import Project
from perfgate.record import RUN_SCHEMA, Run, read_record

pytest.importorskip("xdist", reason="pytest-xdist is not installed (extra dev)")

OWN = """
import pytest

@pytest.mark.parametrize("number", [1, 2])
def test_own(perfgate_gate, number):
    for _ in perfgate_gate.rounds():
        perfgate_gate.record("a_s", 1.0, unit="s", better="lower")
"""


def _gate(pytester: pytest.Pytester, *args: str) -> pytest.RunResult:
    return pytester.runpytest_subprocess("-p", "no:cacheprovider", "-n", "2", *args)


def test_the_controller_measures_once_and_workers_tell(pytester: pytest.Pytester, small_project: Project) -> None:
    small_project()
    pytester.makepyfile(test_own=OWN)

    found = _gate(pytester, "-k", "build or text or own", "--perfgate-rounds", "1", "--perfgate-policy", "ci")

    found.assert_outcomes(failed=4)
    assert found.stdout.str().count("measuring one, round 1") == 1
    assert found.stdout.str().count("= perfgate =") == 1
    cases = read_record(pytester.path / "perfgate-out" / "run.json", Run, RUN_SCHEMA).cases
    assert [case.id for case in cases] == ["one-build", "one-text"]
    own = read_record(pytester.path / "perfgate-out" / "own-tests" / "run.json", Run, RUN_SCHEMA)
    assert sorted(case.id for case in own.cases) == ["test_own-test_own-1", "test_own-test_own-2"]


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["--perfgate-update", "--perfgate-reason", "x"], "ERROR: perfgate: --perfgate-update with 2 workers: *-n*"),
        (["--perfgate-plan"], "ERROR: perfgate: --perfgate-plan with 2 workers: *"),
        (["--perfgate-suite", "nowhere.yaml"], "*nowhere.yaml: cannot be read: No such file*"),
    ],
)
def test_what_cannot_be_is_one_line_and_nothing_runs(
    pytester: pytest.Pytester, small_project: Project, args: list[str], words: str
) -> None:
    small_project()

    found = _gate(pytester, *args)

    assert found.ret == pytest.ExitCode.USAGE_ERROR
    found.stderr.fnmatch_lines([words])
    assert not (pytester.path / ".perfgate").exists()

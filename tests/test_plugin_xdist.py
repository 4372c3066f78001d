"""pytest-xdist: measured once by the controller, told by the workers, refused where it would be done twice."""

from __future__ import annotations

from itertools import groupby

import pytest

from conftest import Project
from perfgate.pytest_session import NOTHING
from perfgate.record import RUN_SCHEMA, Run, read_record

pytest.importorskip("xdist", reason="pytest-xdist is not installed (extra dev)")

# A round lasts until the test in the other worker has come, and a little longer: time enough for it to begin, too.
OWN = """
import os, pathlib, pytest, time

def tell(word, number):
    with open("rounds.txt", "a") as log:
        log.write(f"{word} {number} {os.getpid()}\\n")

@pytest.mark.parametrize("number", [1, 2])
def test_own(perfgate_gate, number):
    tell("comes", number)
    for _ in perfgate_gate.rounds():
        tell("begins", number)
        deadline = time.monotonic() + 30
        while pathlib.Path("rounds.txt").read_text().count("comes") < 2 and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(0.1)
        tell("ends", number)
        perfgate_gate.record("a_s", 1.0, unit="s", better="lower")
"""

LOST = """
from perfgate.pytest_session import PytestSession

PytestSession.measure_for = lambda self, exchange, selection: None
"""


def _gate(pytester: pytest.Pytester, *args: str) -> pytest.RunResult:
    return pytester.runpytest_subprocess("-p", "no:cacheprovider", "-n", "2", *args)


def test_the_controller_measures_once_and_workers_tell(pytester: pytest.Pytester, small_project: Project) -> None:
    small_project()

    found = _gate(pytester, "-k", "build or text", "--perfgate-rounds", "1", "--perfgate-policy", "ci")

    found.assert_outcomes(failed=2)
    assert found.stdout.str().count("measuring one, round 1") == 1
    assert found.stdout.str().count("= perfgate =") == 1
    cases = read_record(pytester.path / "perfgate-out" / "run.json", Run, RUN_SCHEMA).cases
    assert [case.id for case in cases] == ["one-build", "one-text"]


def test_tests_that_get_no_verdict_from_the_controller_fail(pytester: pytest.Pytester, small_project: Project) -> None:
    small_project()
    pytester.makeconftest(LOST)

    found = _gate(pytester, "-n", "1", "-k", "build")

    assert found.ret == pytest.ExitCode.TESTS_FAILED
    found.assert_outcomes(errors=1)
    found.stdout.fnmatch_lines([f"*{NOTHING}*"])


def test_gates_of_tests_own_take_turns_in_two_workers(
    pytester: pytest.Pytester, small_project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    small_project()
    pytester.makepyfile(test_own=OWN)
    monkeypatch.setenv("PERFGATE_LEASES", str(pytester.path / "leases"))

    _gate(pytester, "-k", "own", "--perfgate-rounds", "2", "--perfgate-policy", "ci").assert_outcomes(failed=2)

    told = [line.split() for line in (pytester.path / "rounds.txt").read_text().splitlines()]
    assert len({pid for _, _, pid in told}) == 2
    rounds = [line for line in told if line[0] != "comes"]
    turns = [[word for word, *_ in mine] for _, mine in groupby(rounds, key=lambda line: line[1:])]
    assert turns == [["begins", "ends"] * 2] * 2
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

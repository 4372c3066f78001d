"""Gates of tests' own figures in real pytest runs: recorded, judged, accepted, never green by accident."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from conftest import Project
from killing import files_of
from perfgate import builder
from perfgate.baselines import find_baseline
from perfgate.cli import main
from perfgate.device import find_device
from perfgate.process import Ended
from perfgate.record import RUN_SCHEMA, Run, Side, read_record

USAGE_ERROR = 4

# A figure without an engine: what FIGURE holds, with a spread of a thousandth.
PLAIN = """
import itertools, os, pytest
spread = itertools.cycle([1.0, 1.001, 0.999])

def test_pace(perfgate_gate):
    for _ in perfgate_gate.rounds():
        perfgate_gate.record("pace_s", float(os.environ["FIGURE"]) * next(spread), unit="s", better="lower")
"""

WITH_ENGINE = """
from perfgate.engines.base import Request

def tokens(engine, wanted):
    return sum(event.tokens for event in engine.generate([Request(0, (1, 2), wanted)], 1))

def test_tokens(perfgate_engine, perfgate_gate):
    engine = perfgate_engine(backend="fake_engine:FakeBackend", model="model", engine_args={"step_us": 50})
    for _ in perfgate_gate.rounds():
        perfgate_gate.record("tokens", engine.run(tokens, 7), unit="tokens", better="higher", is_exact=True)
"""


@pytest.fixture
def own(pytester: pytest.Pytester, small_project: Project, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a checkpoint and no suite."""
    small_project()
    (pytester.path / "suite.yaml").unlink()
    (pytester.path / "test_gate.py").unlink()
    pytester.makeini("[pytest]\n")
    monkeypatch.setenv("FIGURE", "0.1")
    return pytester.path


def _gate(pytester: pytest.Pytester, *args: str) -> pytest.RunResult:
    return pytester.runpytest_subprocess("-p", "no:cacheprovider", *args)


def _saved(own: Path) -> Run:
    return read_record(own / "perfgate-out" / "own-tests" / "run.json", Run, RUN_SCHEMA)


def test_a_figure_is_recorded_then_judged_and_red_when_it_got_worse(
    pytester: pytest.Pytester, own: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytester.makepyfile(test_own=PLAIN)

    first, second = _gate(pytester), _gate(pytester)
    monkeypatch.setenv("FIGURE", "0.2")
    third = pytester.runpytest_subprocess("--junitxml", "out.xml")
    again = pytester.runpytest_subprocess("--lf", "--perfgate-out", "again")
    monkeypatch.setenv("FIGURE", "0.1")
    mended = _gate(pytester, "--perfgate-out", "mended")

    first.assert_outcomes(skipped=1)
    first.stdout.fnmatch_lines(["*recorded 1 case in *own-tests.json, nothing judged yet: run again*"])
    second.assert_outcomes(passed=1)
    third.assert_outcomes(failed=1)
    again.assert_outcomes(failed=1)
    mended.assert_outcomes(passed=1)
    third.stdout.fnmatch_lines(["*pace_s: regressed, * % worse*", "*test_own-test_pace*pace_s*REGRESSED*"])
    assert 'name="perfgate_pace_s" value="regressed: 200.' in (own / "out.xml").read_text()
    assert [metric.name for metric in _saved(own).own_metrics] == ["pace_s"]
    capsys.readouterr()
    assert main(["judge", "perfgate-out/own-tests/run.json", "--out", "judged"]) == 1
    assert "REGRESSED" in capsys.readouterr().out


def test_an_engine_is_built_once_and_runs_in_processes_of_its_own(pytester: pytest.Pytester, own: Path) -> None:
    pytester.makepyfile(test_own=WITH_ENGINE)

    _gate(pytester, "--perfgate-rounds", "2").assert_outcomes(skipped=1)

    run = _saved(own)
    assert run.values("test_own-test_tokens", "tokens", Side.CANDIDATE) == [7.0, 7.0]
    assert [one.engine for one in run.prepared] == ["test_own-test_tokens"]
    assert run.environment.versions["fake"] == "1.0"


def test_the_build_of_an_engine_holds_the_lease_of_the_device(
    pytester: pytest.Pytester, own: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    held: list[list[str]] = []

    def build(*args: Any, kept_open: tuple[int, ...], **_: Any) -> Ended:
        held.append(files_of(kept_open))
        return Ended(1, args[3])

    monkeypatch.setattr(builder, "run_module", build)
    monkeypatch.setenv("PERFGATE_LEASES", str(own / "leases"))
    pytester.makepyfile(test_own=WITH_ENGINE)

    pytester.runpytest_inprocess("-p", "no:cacheprovider").assert_outcomes(failed=1)

    (lease,) = (own / "leases").iterdir()
    assert held == [[str(lease)]]


def test_baselines_are_accepted_as_of_a_suite(pytester: pytest.Pytester, own: Path) -> None:
    pytester.makepyfile(test_own=PLAIN)

    accepted = _gate(pytester, "--perfgate-update", "--perfgate-reason", "first")
    refused = _gate(pytester, "--perfgate-update", "--perfgate-reason", "again", "--perfgate-rounds", "1")

    accepted.stdout.fnmatch_lines(["*accepted this run as the baseline in baselines*own-tests.json: review*"])
    found = find_baseline([own / "baselines"], find_device().key, "own-tests")
    assert found is not None
    assert len(found[1].cases["test_own-test_pace"].metrics["pace_s"].sessions[0]) == 5
    assert refused.ret == USAGE_ERROR
    refused.stdout.fnmatch_lines(["ERROR: perfgate: not accepted: *1 valid round*needs 4*"])


NEVER_GREEN = """
import pytest

def test_nothing(perfgate_gate):
    pass

def test_no_value(perfgate_gate):
    for _ in perfgate_gate.rounds():
        pass

def test_outside(perfgate_gate):
    perfgate_gate.record("a_s", 1.0, unit="s", better="lower")

def test_twice(perfgate_gate):
    for _ in perfgate_gate.rounds():
        perfgate_gate.record("a_s", 1.0, unit="s", better="lower")
        perfgate_gate.record("a_s", 1.0, unit="s", better="lower")

def test_no_direction(perfgate_gate):
    for _ in perfgate_gate.rounds():
        perfgate_gate.record("a_s", 1.0, unit="s")

@pytest.mark.parametrize("value", [0.0, -1.0, float("nan"), float("inf")])
def test_no_figure(perfgate_gate, value):
    for _ in perfgate_gate.rounds():
        perfgate_gate.record("a_s", value, unit="s", better="lower")

def test_raises(perfgate_gate):
    for _ in perfgate_gate.rounds():
        perfgate_gate.record("a_s", 1.0, unit="s", better="lower")
        raise RuntimeError("the engine is on fire")

def test_inner_function(perfgate_engine, perfgate_gate):
    engine = perfgate_engine(backend="fake_engine:FakeBackend", model="model")
    for _ in perfgate_gate.rounds():
        engine.run(lambda engine: 1)

def test_bad_engine(perfgate_engine, perfgate_gate):
    perfgate_engine(backend="openvin", model="model", precision="fp31")
"""


def test_what_was_not_measured_is_never_green(pytester: pytest.Pytester, own: Path) -> None:
    pytester.makepyfile(test_own=NEVER_GREEN)

    run = _gate(pytester, "--perfgate-rounds", "1")

    run.assert_outcomes(failed=12)
    run.stdout.fnmatch_lines_random(
        [
            "*nothing was recorded: take rounds with*",
            "*round 1 recorded nothing: call perfgate_gate.record*",
            "*'a_s' was recorded outside a round*",
            "*'a_s' was recorded twice in one round*",
            "*say unit='s' (or another) and better='lower' or 'higher'; found unit='s', better=''*",
            "*'a_s': found 0, expected a finite number above 0*",
            "*'a_s': found nan, expected a finite number above 0*",
            "*RuntimeError: the engine is on fire*",
            "*define it with def at the top of the file*",
            "*engine 'engine' precision: found 'fp31'*",
        ]
    )
    outcomes = {case["outcome"] for case in json.loads(_comparison(own))["cases"]}
    assert outcomes == {"failed"}


def _comparison(own: Path) -> str:
    return (own / "perfgate-out" / "own-tests" / "comparison.json").read_text()


def test_a_suites_engine_is_had_by_its_name_and_both_gates_report(
    pytester: pytest.Pytester, small_project: Project
) -> None:
    small_project()
    head, _, tail = WITH_ENGINE.partition("perfgate_engine(backend=")
    named = f'{head}perfgate_engine("one"){tail.partition("})")[2]}'
    pytester.makepyfile(test_own=named)

    run = _gate(pytester, "-k", "build or tokens", "--perfgate-rounds", "1")

    run.assert_outcomes(skipped=2, deselected=2)
    run.stdout.fnmatch_lines(["*= perfgate =*", "*one-build*", "*= perfgate: figures of the tests' own =*"])
    assert (pytester.path / "perfgate-out" / "run.json").exists()


def test_a_plan_names_such_tests_and_runs_nothing(pytester: pytest.Pytester, own: Path) -> None:
    pytester.makepyfile(test_own=PLAIN)

    run = _gate(pytester, "--perfgate-plan")

    run.stdout.fnmatch_lines(["gates figures of its own: test_own.py::test_pace"])
    assert not (own / ".perfgate").exists()

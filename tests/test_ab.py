"""`perfgate ab` on the fake engine: engines, commits and package versions against each other."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from conftest import Project
from perfgate.ab import ab_gate
from perfgate.baselines import Provenance
from perfgate.case import WorkKind
from perfgate.contest import baseline_of
from perfgate.errors import UsageError
from perfgate.judge import judge
from perfgate.metrics import CATALOGUE
from perfgate.record import RUN_SCHEMA, CaseInfo, CaseRound, Environment, Round, Run, Side, read_record
from perfgate.terms import Gate
from perfgate.verdict import Verdict
from test_worktrees import git

GATE = Gate((CATALOGUE["tpot_p50"],))
HERE = Path(__file__).parent


def _ab(folder: Path, *args: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "perfgate.cli", "ab", *args, "--suite", "suite.yaml"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


def _commit(folder: Path, message: str) -> None:
    git(folder, "add", ".")
    git(folder, "commit", "-qm", message)


# ------------------------------------------------------------------ engines


def test_a_slower_engine_is_a_regression_and_fails_only_when_asked(small_project: Project) -> None:
    folder = small_project("  two: {engine_args: {step_us: 800}}").parent

    told, failed = (_ab(folder, "one", "two", "--workloads", "b1", *more) for more in ([], ["--fail"]))

    assert (told.returncode, failed.returncode) == (0, 1), told.stdout + told.stderr
    assert "itl_p10" in told.stdout
    assert "decided: 1 of 1 metrics, by pairs of rounds alone" in told.stdout
    run = read_record(folder / "perfgate-out" / "run.json", Run, RUN_SCHEMA)
    assert run.rerunnable == ("two",)
    assert len(run.pairs("two-b1", "itl_p10")) >= 3


def test_an_engine_against_itself_is_ok_and_its_text_is_scored_on_both_sides(small_project: Project) -> None:
    folder = small_project().parent

    done = _ab(folder, "one", "@", "--fail", "--workloads", "text", "build", "--rounds", "3")

    assert done.returncode == 0, done.stdout + done.stderr
    assert "decided: 2 of 2 metrics" in done.stdout
    run = read_record(folder / "perfgate-out" / "run.json", Run, RUN_SCHEMA)
    assert [one.side for one in run.rounds for case in one.cases if case.documents] == [Side.CANDIDATE, Side.BASELINE]


def test_a_side_that_never_ran_is_no_pass(small_project: Project) -> None:
    folder = small_project("  broken: {engine_args: {fail: run}}").parent

    done = _ab(folder, "broken", "one", "--workloads", "b1", "--rounds", "3", "--fail")

    assert done.returncode == 1, done.stdout + done.stderr
    assert "A's one was never measured: told to fail at 'run'" in " ".join(done.stdout.split())
    assert "decided: 0 of 1 metrics" in done.stdout


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["one", "tow"], "no engine 'tow'"),
        (["one", "one@fake"], "'fake' is no pin"),
        (["one", "one", "--rounds", "1"], "--rounds: found '1', expected a whole number from 3 to 1000"),
        (["one", "one", "--budget", "soon"], "--budget: found 'soon'"),
        (["one", "one@commit:HEAD"], "lies in no git repository"),
        (["one", "refused"], "cannot run here: no such kernel"),
        (["one", "served"], "cannot run here: the backend openai has no latency workloads"),
    ],
)
def test_a_wrong_request_is_one_line_and_nothing_is_measured(
    small_project: Project, args: Sequence[str], words: str
) -> None:
    served = "  served: {backend: openai, engine_args: {url: http://127.0.0.1:1}}"
    folder = small_project("  refused: {engine_args: {refuse: no such kernel}}\n" + served).parent

    done = _ab(folder, *args)

    assert done.returncode == 4
    assert words in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not (folder / "perfgate-out").exists()


# ------------------------------------------------------------------ commits


def test_a_commit_runs_its_own_code_checkpoint_and_suite(small_project: Project) -> None:
    folder = small_project(edit=lambda text: text.replace("fake_engine:", "own_engine:")).parent
    shutil.copy(HERE / "fake_engine.py", folder / "own_engine.py")
    (folder / ".gitignore").write_text(".perfgate\nperfgate-out\n__pycache__\n")
    git(folder, "init", "-q")
    _commit(folder, "fast")
    source = (folder / "own_engine.py").read_text()
    slow = source.replace('args.get("step_us", 200)', "900")
    assert slow != source
    (folder / "own_engine.py").write_text(slow)
    (folder / "model" / "weights").write_bytes(b"other weights")
    _commit(folder, "slow")

    slower = _ab(folder, "one@commit:HEAD~1", "@", "--workloads", "b1", "--fail")
    faster = _ab(folder, "one", "@commit:HEAD~1", "--workloads", "b1", "--fail", "--rounds", "6")

    assert slower.returncode == 1, slower.stdout + slower.stderr
    assert faster.returncode == 0, faster.stdout + faster.stderr
    assert "improved" in faster.stdout, faster.stdout
    assert f"commit {git(folder, 'rev-parse', 'HEAD~1')[:12]}" in slower.stdout
    assert git(folder, "status", "--porcelain") == ""


def test_a_workload_that_was_defined_otherwise_is_told(small_project: Project) -> None:
    suite = small_project()
    git(suite.parent, "init", "-q")
    _commit(suite.parent, "sixteen tokens")
    suite.write_text(suite.read_text().replace("output_len: 16", "output_len: 12"))

    done = _ab(suite.parent, "one@commit:HEAD", "one", "--workloads", "b1", "--rounds", "3")

    assert "workload b1 is defined otherwise in A's suite" in done.stdout, done.stdout + done.stderr


# ----------------------------------------------------------------- packages


@pytest.mark.slow
def test_a_pinned_package_is_measured_beside_another(small_project: Project, environments: Path) -> None:
    folder = small_project(edit=lambda text: text.replace("fake_engine:Fake", "pinned_engine:Pinned")).parent
    (folder / ".perfgate").mkdir()
    (folder / ".perfgate" / "environments").symlink_to(environments)

    done = _ab(
        folder, "one@perfgate-fakelib==1.0", "one@perfgate-fakelib==2.0", "--workloads", "b1", "--fail"
    )  # fmt: skip

    assert done.returncode == 1, done.stdout + done.stderr
    assert "A is one@perfgate-fakelib==1.0: perfgate-fakelib 1.0" in done.stdout
    assert "B is one@perfgate-fakelib==2.0: perfgate-fakelib 2.0" in done.stdout


def test_a_package_that_cannot_be_installed_is_one_line(small_project: Project, wheels: Path) -> None:
    assert wheels

    done = _ab(small_project().parent, "one@perfgate-fakelib==9.9", "one")

    assert done.returncode == 1
    assert "perfgate-fakelib==9.9 cannot be installed: No matching distribution" in done.stderr


# ------------------------------------------------------------------ judging


def _run(sides: Sequence[Side]) -> Run:
    """Rounds of one case, all alike; rounds of different sides that follow each other are pairs."""
    rounds = tuple(
        Round("e", side, index, "", 1.0, (CaseRound("e-w", {"tpot_p50": 0.01 + 1e-6 * (index % 3)}),))
        for index, side in enumerate(sides)
    )
    case = CaseInfo("e-w", "e", WorkKind.LATENCY, "hash")
    return Run("s", "", Environment("cpu/any", "any", {}, ""), (case,), (), rounds, ("e",))


def _verdict(run: Run) -> Verdict:
    provenance = Provenance("", "", "any", {}, "")
    (one,) = judge(run, baseline_of(run, provenance, {"e": "key"}), ab_gate(GATE, None, None))
    return one.verdict


def test_without_a_store_the_rounds_of_now_decide() -> None:
    assert _verdict(_run([Side.BASELINE, Side.CANDIDATE])) is Verdict.INCONCLUSIVE
    assert _verdict(_run([Side.BASELINE, Side.CANDIDATE] * 12)) is Verdict.OK


def test_no_round_of_a_noisy_metric_counts_twice() -> None:
    run = _run([Side.BASELINE, Side.CANDIDATE] * 3)

    assert baseline_of(run, Provenance("", "", "any", {}, ""), {"e": "key"}).cases["e-w"].metrics == {}


def test_an_engines_build_time_is_not_compared() -> None:
    gate = replace(GATE, metrics=(CATALOGUE["build_s"], CATALOGUE["tpot_p50"]))

    assert [metric.name for metric in ab_gate(gate, None, None).metrics] == ["tpot_p50"]


def test_options_go_before_the_suites_own_limits() -> None:
    gate = ab_gate(replace(GATE, first_rounds=1), 7, 30.0)

    assert (gate.first_rounds, gate.most_rounds, gate.budget_s) == (7, 7, 30.0)
    assert ab_gate(replace(GATE, first_rounds=1), None, None).first_rounds == 3
    with pytest.raises(UsageError, match="from 3 to 1000"):
        ab_gate(GATE, 2, None)

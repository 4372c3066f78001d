"""`perfgate calibrate` on the fake engine, and rounds pinned to cores."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from conftest import Project
from perfgate.calibrate_wish import LEVERS, MORE_SAMPLES, Wish, check_wish, pair, pull
from perfgate.calibration import Calibration, load_noise
from perfgate.case import Case, LatencyWork, ServingWork
from perfgate.errors import SuiteError, UsageError
from perfgate.pinning import allowed_cpus
from perfgate.record import RUN_SCHEMA, Run, Side, read_record
from perfgate.suite import load_suite
from perfgate.terms import Pairing

NOWHERE = 65_535
NOISY = "  two: {engine_args: {step_us: 400, noise: 0.2}}"


def _cli(folder: Path, *args: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "perfgate.cli", *args, "--suite", "suite.yaml"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


def _calibration(folder: Path) -> Calibration:
    return read_record(folder / "perfgate-out" / "calibration.json", Calibration, 1)


# ---------------------------------------------------------------- calibrate


@pytest.mark.parametrize("pairing", ["interleaved", "consecutive"])
def test_noise_between_processes_is_measured_told_and_kept(small_project: Project, pairing: str) -> None:
    folder = small_project(NOISY, edit=lambda text: text.replace("pairing: interleaved", f"pairing: {pairing}")).parent

    done = _cli(folder, "calibrate", "--engines", "two", "--rounds", "4", "--levers", "none")

    assert done.returncode == 0, done.stdout + done.stderr
    found = _calibration(folder)
    (gated,) = found.gated
    assert gated.rounds is not None
    assert gated.pairs is not None
    assert gated.pairs.df == 4
    assert 0.05 < gated.rounds.sd < 0.8  # 0.2 as planted, by eight rounds
    (model,) = (folder / ".perfgate" / "noise").rglob("small.json")
    noise = load_noise(folder / ".perfgate", found.environment.device, "small")
    assert noise["two-b1", "itl_p10"].round_sd == gated.rounds.sd
    assert all(words in done.stdout for words in ("What this machine can detect", "CPU", "pair_sd:", model.name))
    assert (folder / "perfgate-out" / "calibration.md").read_text().startswith("# Calibration of small on ")


def test_levers_are_tried_beside_unchanged_rounds(small_project: Project) -> None:
    folder = small_project().parent

    done = _cli(folder, "calibrate", "--workloads", "b1", "--rounds", "3", "--cpus", str(allowed_cpus()[-1]))

    assert done.returncode == 0, done.stdout + done.stderr
    pin, samples, warmup = _calibration(folder).levers
    assert [one.name for one in (pin, samples, warmup)] == list(LEVERS)
    assert not any(one.skipped for one in (pin, samples, warmup))
    assert pin.what == f"pinned to cores {allowed_cpus()[-1]}"
    assert all(one.cases[0].changed.df == 3 for one in (pin, samples, warmup))
    steps = [line for line in done.stdout.splitlines() if "against itself" in line]
    assert [line.rpartition("pair ")[2] for line in steps[:5]] == [
        "1", f"1, {pin.what}", "1, 2 times the requests", "1, 3 times the warm-up", "2",
    ]  # fmt: skip
    results = list((folder / ".perfgate" / "calibrate" / "cpu").glob("0-*/*.result.json"))
    assert len(results) == 4 * 3 * 2
    assert sum(b'"cpus":[]' in path.read_bytes() for path in results) == 3 * 3 * 2


def test_sessions_are_measured_one_after_the_other_and_told_apart(small_project: Project) -> None:
    folder = small_project(NOISY).parent

    done = _cli(
        folder, "calibrate", "--engines", "two", "--workloads", "b1", "--rounds", "3", "--sessions", "2",
        "--pause", "1s", "--levers", "none",
    )  # fmt: skip

    assert done.returncode == 0, done.stdout + done.stderr
    found = _calibration(folder)
    assert found.sessions == 2
    assert found.gated[0].session_count == 2
    assert found.gated[0].sessions is not None


def test_an_engine_that_fails_is_told_and_the_others_are_calibrated(small_project: Project) -> None:
    folder = small_project("  broken: {engine_args: {fail: run}}").parent

    done = _cli(folder, "calibrate", "--workloads", "b1", "--rounds", "3", "--levers", "none")

    assert done.returncode == 0, done.stdout + done.stderr
    assert "a round of broken does not count: told to fail at 'run'" in done.stdout
    assert {one.engine for one in _calibration(folder).metrics} == {"one"}


def test_nothing_valid_is_a_failure_with_its_reason(small_project: Project) -> None:
    folder = small_project("  broken: {engine_args: {fail: run}}").parent

    done = _cli(folder, "calibrate", "--engines", "broken", "--workloads", "b1", "--levers", "none")

    assert done.returncode == 1
    assert "no pair of valid rounds was measured: a round of broken does not count: told to fail" in done.stderr
    assert not (folder / ".perfgate" / "noise").exists()


def test_a_spent_budget_ends_it_with_what_is_there(small_project: Project) -> None:
    folder = small_project().parent

    done = _cli(folder, "calibrate", "--workloads", "b1", "--rounds", "500", "--budget", "4s", "--levers", "none")

    assert done.returncode == 0, done.stdout + done.stderr
    assert "the budget of 4 s is spent" in done.stdout


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["--engines", "tow"], "--engines: no 'tow'; there: one, two; did you mean 'two'?"),
        (["--workloads", "b2"], "--workloads: no 'b2'"),
        (["--workloads", "text"], "nothing to calibrate"),
        (["--levers", "pim"], "did you mean 'pin'?"),
        (["--rounds", "2"], "--rounds: found '2', expected a whole number from 3 to 1000"),
        (["--sessions", "0"], "--sessions: found 0"),
        (["--budget", "soon"], "--budget: found 'soon'"),
        (["--cpus", "a"], "--cpus: found 'a', expected a list of cores such as 0-3,8"),
        (["--cpus", str(NOWHERE)], f"--cpus: found core {NOWHERE}"),
    ],
)
def test_a_mistake_is_one_line(small_project: Project, args: list[str], words: str) -> None:
    folder = small_project(NOISY).parent

    done = _cli(folder, "calibrate", *args)

    assert done.returncode == 4
    assert words in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_pairs_alternate_who_begins() -> None:
    together, alone = pair("e", 0, Pairing.INTERLEAVED), pair("e", 1, Pairing.CONSECUTIVE)

    assert [[ask.side for ask in turnout] for turnout in together] == [[Side.CANDIDATE, Side.BASELINE]]
    assert [[ask.side for ask in turnout] for turnout in alone] == [[Side.BASELINE], [Side.CANDIDATE]]


def test_levers_change_what_they_say(small_project: Project) -> None:
    suite = load_suite(small_project())
    cases = tuple(case for case in suite.cases if isinstance(case.work, LatencyWork))

    samples, warmup = (pull(name, cases, Wish(), suite).cases[0].work for name in ("samples", "warmup"))

    assert isinstance(samples, LatencyWork)
    assert isinstance(warmup, LatencyWork)
    assert (samples.requests, samples.warmup_requests) == (32, 4)
    assert (warmup.requests, warmup.warmup_requests) == (16, 12)


def test_a_serving_workload_can_be_given_more_requests_and_more_warm_up(small_project: Project) -> None:
    suite = load_suite(small_project())
    cases = (Case(suite.engines[0], ServingWork("c4", concurrency=4, requests=40, warmup_requests=4)),)

    samples, warmup = (pull(name, cases, Wish(), suite).cases[0].work for name in ("samples", "warmup"))

    assert isinstance(samples, ServingWork)
    assert isinstance(warmup, ServingWork)
    assert (samples.requests, samples.warmup_requests) == (40 * MORE_SAMPLES, 4)
    assert (warmup.requests, warmup.warmup_requests > 4) == (40, True)


def test_a_lever_that_cannot_be_pulled_says_why(small_project: Project) -> None:
    core = allowed_cpus()[-1]
    suite = load_suite(
        small_project(edit=lambda text: text.replace("  first_rounds", f"  cpus: {core}\n  first_rounds"))
    )
    builds = tuple(case for case in suite.cases if case.work.name == "build")

    assert "pins to these cores already" in pull("pin", suite.cases, Wish(cpus=(core,)), suite).skipped
    assert "no latency or serving workload" in pull("samples", builds, Wish(), suite).skipped


# --------------------------------------------------------------------- cpus


def test_a_suite_may_pin_its_rounds_and_the_run_says_so(small_project: Project) -> None:
    core = allowed_cpus()[-1]
    folder = small_project(edit=lambda text: text.replace("  first_rounds", f"  cpus: [{core}]\n  first_rounds")).parent

    done = _cli(folder, "run", "--rounds", "1")

    assert done.returncode == 0, done.stdout + done.stderr
    run = read_record(folder / "perfgate-out" / "run.json", Run, RUN_SCHEMA)
    assert run.environment.cpus == (core,)
    assert {one.host.cpus for one in run.rounds} == {(core,)}


@pytest.mark.parametrize("args", [["plan"], ["run"], ["ab", "one", "one"], ["calibrate"]])
def test_cores_that_are_not_here_are_refused_before_anything_runs(small_project: Project, args: list[str]) -> None:
    folder = small_project(
        edit=lambda text: text.replace("  first_rounds", f"  cpus: [{NOWHERE}]\n  first_rounds")
    ).parent

    done = _cli(folder, *args)

    assert done.returncode == 4, done.stdout + done.stderr
    assert f"gate.cpus: found core {NOWHERE}" in done.stderr
    assert not (folder / ".perfgate" / "engines").exists()


def test_cores_are_whole_numbers(small_project: Project) -> None:
    source = small_project(edit=lambda text: text.replace("  first_rounds", "  cpus: [all]\n  first_rounds"))

    with pytest.raises(SuiteError, match=r"gate\.cpus"):
        load_suite(source)


def test_a_wish_is_checked_against_the_suite(small_project: Project) -> None:
    suite = load_suite(small_project())

    check_wish(Wish(engines=("one",), workloads=("b1",), levers=("pin",)), suite)
    with pytest.raises(UsageError, match="there: one"):
        check_wish(Wish(engines=("two",)), suite)

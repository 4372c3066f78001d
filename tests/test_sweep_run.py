"""`perfgate sweep` over the fake engine: builds, rounds, failures, a kill -9 and what is measured after it."""

from __future__ import annotations

import csv
import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import pytest
from jsonschema import validate

from conftest import Project
from perfgate.cli import main
from perfgate.json_schemas import json_schema
from perfgate.report.tradeoff_csv import FIELD_COLUMNS
from perfgate.suite import load_suite
from perfgate.sweep_plan import SweepWish, _digest, plan_sweep
from sweep_projects import built, with_sweep

EXIT_OK, EXIT_FAILED, EXIT_USAGE = 0, 1, 4


class SweepCommand(Protocol):
    """Write a project with a sweep where axes are given, and run the command: exit code, and all that was printed."""

    def __call__(
        self, *args: str, axes: str = "", rounds: int = 1, builds: int = 1, more: str = ""
    ) -> tuple[int, str]: ...


@pytest.fixture
def sweep(small_project: Project, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> SweepCommand:
    def run(*args: str, axes: str = "", rounds: int = 1, builds: int = 1, more: str = "") -> tuple[int, str]:
        if axes:
            monkeypatch.chdir(small_project(edit=with_sweep(axes, rounds, builds, more)).parent)
        code = main(["sweep", "--suite", "suite.yaml", *args])
        told = capsys.readouterr()
        return code, told.out + told.err

    return run


def test_a_sweep_leaves_its_files_and_says_what_each_value_costs(sweep: SweepCommand, tmp_path: Path) -> None:
    log = tmp_path / "builds"
    axes = f"engine_args: {{build_s: [0, 0.6], refuse: [null, no such kernel], build_log: [{log}]}}"

    code, told = sweep(axes=axes, rounds=2, builds=2)

    assert code == EXIT_OK, told
    assert "2 configurations measured" in told
    assert "skipped" in told
    assert "no such kernel" in told
    assert "engine_args.build_s 0.6 " in told  # what of it the noise lets one tell is for tests of words
    assert "\x1b" not in told  # no terminal: plain lines
    assert "\r" not in told
    assert "[    0/4] 0:00 gone, about" in told
    assert built(log) == 4  # each round after a cold build of its own
    out = Path("perfgate-out")
    names = {"trtllm_tradeoffs.csv", "tradeoffs.csv", "tradeoffs.json", "tradeoffs.txt", "tradeoffs.html"}
    assert names <= {path.name for path in out.iterdir()}
    rows = list(csv.DictReader((out / "trtllm_tradeoffs.csv").read_text().splitlines()))
    assert tuple(rows[0]) == FIELD_COLUMNS
    assert float(rows[1]["build_time_s"]) >= 0.6
    assert all(float(row[name]) > 0 for row in rows for name in FIELD_COLUMNS[-3:])
    found = json.loads((out / "tradeoffs.json").read_text())
    validate(found, json_schema("tradeoffs"))
    assert [len(one["figures"]["build_s"]) for one in found["options"]] == [2, 2]
    assert [len(one["figures"]["perplexity"]) for one in found["options"]] == [1, 1]
    assert len(found["skipped"]) == 2
    assert not list(Path(".perfgate/sweep/engines").iterdir())
    assert not Path(".perfgate/engines").exists()  # the engine cache is neither read nor written
    assert not list(Path(".perfgate/journal").iterdir())


def test_a_failed_configuration_is_listed_the_rest_goes_on_and_it_alone_is_tried_again(
    sweep: SweepCommand, tmp_path: Path
) -> None:
    log = tmp_path / "builds"
    axes = f"engine_args: {{fail: [build, crash, null], build_log: [{log}]}}"

    code, told = sweep(axes=axes)

    assert code == EXIT_FAILED
    assert "1 configuration measured, 1 on the front, 2 FAILED" in told
    assert "told to fail at 'build'" in told
    assert "ended with code -9" in told
    assert "failed" in (Path("perfgate-out") / "tradeoffs.csv").read_text()
    before = built(log)

    code, told = sweep()

    assert code == EXIT_FAILED
    assert "resuming the sweep" in told
    assert "1 round is already measured" in told
    assert built(log) == before + 1  # of the one that crashes


def test_a_sweep_killed_with_signal_9_goes_on_where_it_was(small_project: Project, tmp_path: Path) -> None:
    log, gate = tmp_path / "builds", tmp_path / "gate"
    axes = f"engine_args: {{gate: [null, {gate}], build_log: [{log}]}}"
    folder = small_project(edit=with_sweep(axes)).parent
    command = [sys.executable, "-m", "perfgate.cli", "sweep", "--suite", "suite.yaml"]
    journal = folder / ".perfgate" / "journal" / "small-sweep@cpu.jsonl"

    first = subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _wait_until(lambda: journal.exists() and journal.read_bytes().count(b"\n") == 2)
    first.send_signal(signal.SIGKILL)
    first.wait()
    assert built(log) == 1
    gate.touch()
    again = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)

    assert again.returncode == EXIT_OK, again.stdout + again.stderr
    assert "1 round is already measured" in again.stdout
    assert "measuring own_gate" not in again.stdout  # the first configuration, which was done
    assert "2 configurations measured" in again.stdout
    assert not journal.exists()


def _wait_until(is_so: Callable[[], bool]) -> None:
    until = time.monotonic() + 60
    while not is_so():
        assert time.monotonic() < until
        time.sleep(0.02)


def test_the_plan_lists_all_and_runs_nothing(sweep: SweepCommand) -> None:
    code, told = sweep(
        "--plan",
        axes="precision: [fp32, int8_wo]\nengine_args: {refuse: [null, no such kernel]}",
        more="skip: [{precision: int8_wo, engine_args: {refuse: [null]}, reason: too dear}]",
    )

    assert code == EXIT_OK
    lines = told.splitlines()
    assert any(line.startswith("  fp32-own_refuse ") and "measure: about" in line for line in lines)
    assert sum("skip: no such kernel" in line for line in lines) == 2
    assert "(1 left out: too dear)" in told
    assert "1 configuration to measure, 2 skipped" in told
    assert not Path(".perfgate").exists()
    assert not Path("perfgate-out").exists()


def test_rounds_of_other_weights_do_not_count(sweep: SweepCommand) -> None:
    sweep("--plan", axes="precision: [fp32]")
    suite = load_suite(Path("suite.yaml"))
    (before,) = plan_sweep(suite, SweepWish(Path("state"))).points
    (same,) = plan_sweep(suite, SweepWish(Path("state"), rounds=7)).points

    Path("model/weights").write_bytes(b"other weights")
    _digest.cache_clear()  # a new process would know none
    (after,) = plan_sweep(suite, SweepWish(Path("state"))).points

    assert before.key == same.key != after.key


def test_a_user_s_mistake_is_exit_code_4(sweep: SweepCommand, capsys: pytest.CaptureFixture[str]) -> None:
    codes = [
        sweep("--only", "fp31", axes="precision: [fp32]")[0],
        sweep("--rounds", "0")[0],
        main(["plan", "--suite", "suite.yaml"]),
        main(["run", "--suite", "suite.yaml"]),
    ]

    assert codes == [EXIT_USAGE] * 4
    assert "only a sweep: perfgate sweep --suite" in capsys.readouterr().err
    Path("suite.yaml").write_text(Path("suite.yaml").read_text().partition("\nsweep:")[0])
    code, told = sweep()
    assert code == EXIT_USAGE
    assert "has no section 'sweep:'" in told


def test_nothing_that_can_run_is_no_success(sweep: SweepCommand) -> None:
    code, told = sweep(axes="engine_args: {refuse: [no such kernel]}")

    assert code == EXIT_FAILED
    assert "nothing was measured" in told

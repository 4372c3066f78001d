"""`perfgate selftest` on the fake engine, in real processes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from conftest import Project
from perfgate.baselines import baseline_path
from perfgate.device import find_device

USAGE_ERROR = 4


def _command(*args: str) -> list[str]:
    return [sys.executable, "-m", "perfgate.cli", "selftest", "--suite", "suite.yaml", *args]


def _selftest(folder: Path, *args: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(_command(*args), cwd=folder, capture_output=True, text=True, check=False)


def _gates(folder: Path) -> list[dict[str, Any]]:
    """The finished gates, in order."""
    lines = (folder / "perfgate-out" / "selftest.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines[1:]]


def _sizes(folder: Path) -> list[tuple[str, float]]:
    return [(one["planted"]["what"], one["planted"]["size"]) for one in _gates(folder)]


def _wait_until(condition: Callable[[], bool]) -> None:
    until = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.02)


def test_large_plants_are_found_and_unchanged_gates_are_not_red(small_project: Project) -> None:
    folder = small_project().parent

    done = _selftest(folder, "--gates", "1", "--decode", "60", "--perplexity", "30")

    assert done.returncode == 0, done.stdout + done.stderr
    assert "one is recorded first" in done.stdout
    assert "decode +60 % was found in 1 of 1 gate, never called ok" in done.stdout
    assert "perplexity +30 % was found in 1 of 1 gate, never called ok" in done.stdout
    assert "none of 1 unchanged gate was red" in done.stdout
    assert _sizes(folder) == [("nothing", 0.0), ("decode", 0.6), ("perplexity", 0.3)]
    report = json.loads((folder / "perfgate-out" / "selftest.json").read_text())
    assert [one["found"]["count"] for one in report["tallies"]] == [0, 1, 1]
    assert "decode +60 %" in (folder / "perfgate-out" / "selftest.md").read_text()


def test_nothing_of_the_users_is_touched(small_project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = small_project().parent
    monkeypatch.setenv("PERFGATE_HISTORY", str(folder / "theirs.sqlite"))

    done = _selftest(folder, "--gates", "1", "--decode", "", "--perplexity", "30", "--workloads", "text")

    assert done.returncode == 0, done.stdout + done.stderr
    assert {path.name for path in (folder / ".perfgate").iterdir()} == {"engines", "selftest"}
    assert (folder / ".perfgate" / "selftest" / "engines").resolve() == folder / ".perfgate" / "engines"
    assert not (folder / "theirs.sqlite").exists()


def test_the_users_baseline_is_used_and_left_as_it_is(recorded_project: Path) -> None:
    folder = recorded_project.parent
    path = baseline_path(folder / ".perfgate" / "baselines", find_device().key, "small")
    before = path.read_bytes()

    done = _selftest(folder, "--gates", "1", "--decode", "", "--perplexity", "30", "--workloads", "text")

    assert done.returncode == 0, done.stdout + done.stderr
    assert "recorded" not in done.stdout
    assert path.read_bytes() == before


@pytest.mark.parametrize("sign", [signal.SIGKILL, signal.SIGINT])
def test_a_killed_or_stopped_selftest_goes_on_where_it_stopped(small_project: Project, sign: signal.Signals) -> None:
    folder = small_project().parent
    options = ["--gates", "2", "--decode", "", "--perplexity", "30", "--workloads", "text", "--rounds", "2"]
    ledger = folder / "perfgate-out" / "selftest.jsonl"
    with subprocess.Popen(
        _command(*options), cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        start_new_session=True,
    ) as child:  # fmt: skip
        _wait_until(lambda: ledger.exists() and ledger.read_bytes().count(b"\n") >= 3)
        os.killpg(child.pid, sign)
        _, told = child.communicate()
    if sign is signal.SIGINT:
        where = "gates that are done, if any, stand in perfgate-out/selftest.md"
        assert (child.returncode, told) == (
            1, f"perfgate: stopped by SIGINT: {where}; the same command goes on from there\n"
        )  # fmt: skip
        return  # what follows is as after a kill
    before = _gates(folder)

    done = _selftest(folder, *options)

    assert f"{len(before)} gates already done" in done.stdout, done.stdout + done.stderr
    assert _gates(folder)[: len(before)] == before
    assert _sizes(folder) == [("nothing", 0.0), ("perplexity", 0.3)] * 2
    assert "recorded" not in done.stdout


def test_more_gates_are_added_to_those_done_and_other_options_start_anew(small_project: Project) -> None:
    folder = small_project().parent
    options = ["--decode", "", "--perplexity", "30", "--workloads", "text", "--rounds", "1"]
    _selftest(folder, *options, "--gates", "1")
    first = _gates(folder)

    _selftest(folder, *options, "--gates", "2")
    more = _gates(folder)
    other = _selftest(folder, *options[:-2], "--gates", "1", "--rounds", "2")

    assert (more[:2], len(more)) == (first, 4)
    assert "kept as perfgate-out/selftest-" in other.stdout
    assert len(_gates(folder)) == 2
    assert len(list((folder / "perfgate-out").glob("selftest*.jsonl"))) == 2


def test_fresh_starts_anew_with_a_baseline_of_its_own(small_project: Project) -> None:
    folder = small_project().parent
    options = ["--decode", "", "--perplexity", "30", "--workloads", "text", "--gates", "1", "--rounds", "1"]
    _selftest(folder, *options)

    done = _selftest(folder, *options, "--fresh")

    assert "(--fresh): kept as" in done.stdout
    assert "one is recorded first" in done.stdout
    assert len(_gates(folder)) == 2


def test_a_plant_that_no_metric_shows_is_told_and_left_out(small_project: Project) -> None:
    folder = small_project().parent

    done = _selftest(folder, "--gates", "1", "--decode", "2", "--perplexity", "30", "--workloads", "text")

    assert "no selected case has a gated metric that shows decode +2 %: not planted" in done.stdout
    assert _sizes(folder) == [("nothing", 0.0), ("perplexity", 0.3)]


def test_an_engine_without_a_baseline_ends_the_test(small_project: Project) -> None:
    folder = small_project("  bad: {engine_args: {fail: run}}").parent

    done = _selftest(folder, "--gates", "1", "--engines", "bad", "--workloads", "b1")

    assert done.returncode == 1
    assert "the self-test has no baseline of bad-b1: " in done.stderr
    assert "told to fail at 'run'" in done.stderr


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["--gates", "0"], "--gates: found 0, expected a whole number from 1"),
        (["--decode", "2,x"], "--decode: found 'x', expected per cent"),
        (["--perplexity", "0"], "--perplexity: found '0', expected per cent"),
        (["--budget", "soon"], "--budget: found 'soon', expected a duration"),
        (["--engines", "onne"], "no engine 'onne' in"),
        (["--workloads", "bild"], "did you mean 'build'?"),
    ],
)
def test_a_mistake_is_one_line_and_nothing_runs(small_project: Project, args: list[str], words: str) -> None:
    folder = small_project().parent

    done = _selftest(folder, *args)

    assert done.returncode == USAGE_ERROR
    assert words in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not (folder / ".perfgate").exists()


def test_an_unsupported_engine_is_a_mistake(small_project: Project) -> None:
    folder = small_project("  two: {engine_args: {refuse: this chip has no such kernel}}").parent

    done = _selftest(folder, "--engines", "two")

    assert done.returncode == USAGE_ERROR
    assert "this chip has no such kernel" in done.stderr


def test_strict_turns_a_gross_miss_red(small_project: Project) -> None:
    folder = small_project().parent
    options = ["--gates", "1", "--decode", "", "--perplexity", "30", "--workloads", "text", "--rounds", "1"]
    found = _selftest(folder, *options, "--strict")
    ledger = folder / "perfgate-out" / "selftest.jsonl"
    ledger.write_text(ledger.read_text().replace('"verdict":"regressed"', '"verdict":"ok"'))

    told, strict = (_selftest(folder, *options, *more) for more in ([], ["--strict"]))

    assert (found.returncode, told.returncode, strict.returncode) == (0, 0, 1), strict.stdout + strict.stderr
    assert "WRONG: perplexity +30 % was called ok" in told.stdout

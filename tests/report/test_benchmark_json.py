from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from examples import HOSTILE, case, comparison, hostile, numberless, run, verdict
from hypothesis import given, settings
from hypothesis import strategies as st
from pytest_benchmark.stats import Stats

from perfgate.comparison import Comparison
from perfgate.record import CaseRound, Round, Run, Side, encode_pretty
from perfgate.report.benchmark_json import benchmarks
from perfgate.report.figures import plain

FIELDS = {
    "min", "max", "mean", "stddev", "rounds", "median", "iqr", "q1", "q3", "iqr_outliers", "stddev_outliers",
    "outliers", "ld15iqr", "hd15iqr", "ops", "total", "data", "iterations",
}  # fmt: skip


def document(measured: Run, made: Comparison) -> Any:
    return json.loads(encode_pretty(benchmarks(measured, made)), parse_constant=pytest.fail)


def one_metric(values: list[float]) -> tuple[Run, Comparison]:
    made = comparison(case("c", verdict("c", "ttft_p50")))
    rounds = tuple(
        Round("e", Side.CANDIDATE, i, "", 1.0, (CaseRound("c", {"ttft_p50": value}),)) for i, value in enumerate(values)
    )
    return run(made, rounds=rounds), made


def compare(*files: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pytest_benchmark", "compare", *map(str, files)]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=files[0].parent)


def test_every_metric_in_seconds_that_was_measured_is_a_benchmark() -> None:
    made = comparison()

    names = [one["name"] for one in document(run(made), made)["benchmarks"]]

    assert names == [
        "int8-chat[ttft_p50]",
        "int8-chat[tpot_p50]",
        "int8-chat[itl_p50]",
        "fp32-chat[ttft_p50]",
        "fp32-chat[tpot_p50]",
        "fp32-batch[itl_p50]",
        "int4-chat[ttft_p50]",
        "int4-chat[tpot_p50]",
    ]


def test_data_are_the_candidates_rounds() -> None:
    made = comparison()
    measured = run(made)

    stats = document(measured, made)["benchmarks"][0]["stats"]

    assert stats["data"] == measured.values("int8-chat", "ttft_p50", Side.CANDIDATE)
    assert stats.keys() == FIELDS


@settings(deadline=None)
@given(st.lists(st.floats(1e-6, 1e4), min_size=1, max_size=23))
def test_statistics_are_those_of_pytest_benchmark(values: list[float]) -> None:
    theirs: Any = Stats()  # type: ignore[no-untyped-call]
    theirs.data = list(values)

    stats = document(*one_metric(values))["benchmarks"][0]["stats"]

    exact = {"rounds", "min", "max", "median", "q1", "q3", "iqr", "iqr_outliers", "ld15iqr", "hd15iqr"}
    close = {"mean", "ops", "total", "stddev"}
    assert {name: stats[name] for name in exact} == {name: getattr(theirs, name) for name in exact}
    assert {name: stats[name] for name in close} == pytest.approx(
        {name: getattr(theirs, name) for name in close}, rel=1e-9, abs=1e-12
    )


def test_rounds_that_are_no_durations_are_left_out_and_counted() -> None:
    (entry,) = document(*one_metric([0.01, math.nan, math.inf, 0.0, -1.0]))["benchmarks"]

    assert entry["stats"]["data"] == [0.01]
    assert entry["extra_info"]["rounds_left_out"] == 4


def test_a_metric_without_a_duration_has_no_entry() -> None:
    assert document(*one_metric([math.nan]))["benchmarks"] == []


def test_the_real_compare_command_reads_the_file(tmp_path: Path) -> None:
    made = comparison()
    file = tmp_path / "benchmark.json"
    file.write_bytes(encode_pretty(benchmarks(run(made), made)))

    done = compare(file)

    assert done.returncode == 0, done.stderr
    assert "int8-chat[ttft_p50]" in done.stdout
    assert "12.4800" in done.stdout
    assert "Failed to load" not in done.stdout + done.stderr


def test_the_real_compare_command_sets_two_runs_side_by_side(tmp_path: Path) -> None:
    for name, value in (("old", 0.010), ("new", 0.020)):
        (tmp_path / f"{name}.json").write_bytes(encode_pretty(benchmarks(*one_metric([value, value]))))

    done = compare(tmp_path / "old.json", tmp_path / "new.json")

    assert done.returncode == 0, done.stderr
    assert "(2.00)" in done.stdout


def test_the_plugin_compares_with_the_file_as_a_stored_run(tmp_path: Path) -> None:
    made = comparison(case("test_it", verdict("test_it", "ttft_p50")), suite="test_it.py")
    (tmp_path / "stored" / "any").mkdir(parents=True)
    (tmp_path / "stored" / "any" / "0001_gate.json").write_bytes(encode_pretty(benchmarks(run(made), made)))
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    (tmp_path / "test_it.py").write_text(
        "import pytest\n"
        "@pytest.mark.parametrize('metric', ['ttft_p50'])\n"
        "def test_it(benchmark, metric):\n"
        "    benchmark.pedantic(lambda: None, rounds=2)\n"
    )
    options = ["-c", "pytest.ini", "--benchmark-storage=file://stored", "--benchmark-compare=any/0001"]

    command = [sys.executable, "-m", "pytest", *options, "test_it.py"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)

    assert done.returncode == 0, done.stdout
    assert "test_it[ttft_p50] (any/0001_gate)" in done.stdout
    assert "test_it[ttft_p50] (NOW)" in done.stdout


def test_hostile_names_are_one_printable_line() -> None:
    entries = document(*hostile())["benchmarks"]

    assert {entry["params"]["case"] for entry in entries} == {plain(HOSTILE)}


@pytest.mark.parametrize("value", [None, math.nan, math.inf, 0.0])
def test_unknown_numbers_do_not_stop_the_document(value: float | None) -> None:
    assert document(*numberless(value))["benchmarks"] == []

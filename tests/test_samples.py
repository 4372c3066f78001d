"""Files that earlier commits wrote (`scripts/sample.py`) are read, judged, resumed and accepted."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from perfgate.accepting import Request, accept
from perfgate.baselines import baseline_path, find_baseline, load_baseline
from perfgate.cli import EXIT_RED, EXIT_USAGE, main
from perfgate.comparison import COMPARISON_SCHEMA, Comparison, compare
from perfgate.journal import Header, Journal
from perfgate.record import RUN_SCHEMA, CaseRound, Run, Side, decode, encode, read_record
from perfgate.suite import load_suite
from perfgate.verdict import Verdict

SAMPLES = sorted((Path(__file__).parent / "samples").iterdir())
CASES = ("one-build", "one-b1", "one-text")

each = pytest.mark.parametrize("sample", SAMPLES, ids=lambda path: path.name)


def run_of(sample: Path) -> Run:
    return read_record(sample / "run.json", Run, RUN_SCHEMA)


def suite_of(sample: Path, folder: Path) -> Path:
    """The sample's suite with what it names."""
    (folder / "model").mkdir()
    (folder / "texts.jsonl").write_text('{"id": "d0", "text": "any"}\n')
    return Path(shutil.copy(sample / "suite.yaml", folder))


def test_there_are_samples_of_earlier_commits() -> None:
    assert len(SAMPLES) >= 5


@each
def test_a_run_is_read_whole(sample: Path) -> None:
    run = run_of(sample)

    assert tuple(case.id for case in run.cases) == CASES
    assert len(run.values("one-b1", "tpot_p50", Side.CANDIDATE)) >= 2
    assert decode(encode(run), Run, "again") == run


@each
def test_a_comparison_is_read_whole(sample: Path) -> None:
    made = read_record(sample / "comparison.json", Comparison, COMPARISON_SCHEMA)

    assert [case.case.id for case in made.cases] == list(CASES)


@each
def test_a_run_is_judged_against_the_baseline_of_its_time(sample: Path, tmp_path: Path) -> None:
    run, told = run_of(sample), read_record(sample / "comparison.json", Comparison, COMPARISON_SCHEMA)
    baseline = load_baseline(sample / "baseline.json", run.environment.device, run.suite)

    judged = compare(run, load_suite(suite_of(sample, tmp_path)), (sample / "baseline.json", baseline), "local")

    verdicts = {(one.case, one.metric): one.verdict for one in judged.metrics}
    exact = ("one-build", "engine_bytes"), ("one-text", "perplexity")
    assert {verdicts[key] for key in exact} == {Verdict.OK}
    assert verdicts["one-b1", "tpot_p50"] not in {Verdict.NO_BASELINE, Verdict.INVALID, Verdict.BROKEN}
    assert told.metrics  # it was judged then, too


@each
def test_a_run_of_eightfold_times_is_red_against_an_old_baseline(sample: Path, tmp_path: Path) -> None:
    run = run_of(sample)
    baseline = load_baseline(sample / "baseline.json", run.environment.device, run.suite)
    slow = replace(run, rounds=tuple(replace(one, cases=tuple(map(_slower, one.cases))) for one in run.rounds))

    judged = compare(slow, load_suite(suite_of(sample, tmp_path)), (sample / "baseline.json", baseline), "ci")

    assert judged.is_red


def _slower(measured: CaseRound) -> CaseRound:
    values = {name: value * 8 if name == "tpot_p50" else value for name, value in measured.values.items()}
    return replace(measured, values=values)


@each
def test_a_new_run_is_accepted_into_an_old_baseline(sample: Path, tmp_path: Path) -> None:
    run = run_of(sample)
    path = baseline_path(tmp_path, run.environment.device, run.suite)
    path.parent.mkdir(parents=True)
    shutil.copy(sample / "baseline.json", path)
    suite = load_suite(suite_of(sample, tmp_path))
    judged = compare(run, suite, find_baseline([tmp_path], run.environment.device, run.suite), "local")

    accept([run], judged.metrics, tmp_path, Request("a sample", None), suite.gate, [])

    (_, accepted) = find_baseline([tmp_path], run.environment.device, run.suite) or (None, None)
    assert accepted is not None
    assert len(accepted.cases["one-b1"].metrics["tpot_p50"].sessions) == 2
    assert [one.reason for one in accepted.provenance.history] == ["a sample"]


@each
def test_a_journal_is_taken_up_again(sample: Path, tmp_path: Path) -> None:
    path = tmp_path / "sample.jsonl"
    shutil.copy(sample / "journal.jsonl", path)
    lines = path.read_bytes().splitlines()

    header, rounds = Journal(path).resume(decode(lines[0], Header, path))

    assert header.suite == "sample"
    assert len(rounds) == len(lines) - 1 >= 2
    assert all(one.cases or one.fault for one in rounds)


@each
def test_the_command_line_makes_reports_of_an_old_run(sample: Path, tmp_path: Path) -> None:
    run = run_of(sample)
    path = baseline_path(tmp_path / "baselines", run.environment.device, run.suite)
    path.parent.mkdir(parents=True)
    shutil.copy(sample / "baseline.json", path)
    suite_of(sample, tmp_path)

    options = ["--suite", "suite.yaml", "--baselines", "baselines", "--state", "state", "--out", "out"]
    status = main(["judge", str(sample / "run.json"), *(at(tmp_path, one) for one in options)])

    assert status in {0, EXIT_RED}
    assert {"report.html", "comparison.csv", "benchmark.json"} <= {one.name for one in (tmp_path / "out").iterdir()}


def at(folder: Path, option: str) -> str:
    return option if option.startswith("--") else str(folder / option)


@pytest.mark.parametrize("name", ["run.json", "baseline.json"])
def test_a_newer_schema_is_refused_in_one_line(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    newer = json.loads((SAMPLES[-1] / name).read_text()) | {"schema": 2}
    (tmp_path / name).write_text(json.dumps(newer))
    files = {one: SAMPLES[-1] / one for one in ("run.json", "baseline.json")} | {name: tmp_path / name}
    suite_of(SAMPLES[-1], tmp_path)

    status = main(
        ["compare", str(files["baseline.json"]), str(files["run.json"]), "--suite", str(tmp_path / "suite.yaml")]
    )

    assert status == EXIT_USAGE
    said = f"perfgate: {tmp_path / name} has schema 2, this perfgate reads 1; use the perfgate that wrote it\n"
    assert capsys.readouterr().err == said


def test_a_journal_of_a_newer_schema_is_not_taken_up(tmp_path: Path) -> None:
    path = tmp_path / "sample.jsonl"
    lines = (SAMPLES[-1] / "journal.jsonl").read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([lines[0].replace(b'"schema":1', b'"schema":2'), *lines[1:]]))
    asked = decode(lines[0], Header, path)

    assert Journal(path).resume(asked) == (asked, [])

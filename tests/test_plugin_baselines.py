"""Accepting and waiving in real pytest runs and on the command line, on the fake engine."""

from __future__ import annotations

import csv
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from conftest import Project
from perfgate.baselines import Baseline, find_baseline
from perfgate.cli import main
from perfgate.device import find_device

USAGE_ERROR = 4
UPDATE = ("--perfgate-update", "--perfgate-reason", "first", "--perfgate-rounds", "4")


def _gate(pytester: pytest.Pytester, *args: str) -> pytest.RunResult:
    return pytester.runpytest_subprocess("-p", "no:cacheprovider", *args)


def _stored(pytester: pytest.Pytester) -> tuple[Path, Baseline]:
    found = find_baseline([pytester.path / "baselines"], find_device().key, "small")
    assert found is not None
    return found


def _waive(pytester: pytest.Pytester, metric: str = "itl_p10", days: int = 30) -> str:
    until = (datetime.now(UTC) + timedelta(days=days)).date().isoformat()
    (pytester.path / "baselines").mkdir(exist_ok=True)
    (pytester.path / "baselines" / "waivers.yaml").write_text(
        f"- {{case: '*', metric: {metric}, reason: a known bug, expires: {until}}}\n"
    )
    return until


@pytest.mark.usefixtures("recorded_project")
def test_a_waived_regression_is_xfailed_never_passed(pytester: pytest.Pytester) -> None:
    until = _waive(pytester)

    run = _gate(pytester, "--perfgate-inject", "decode=1.5", "-rx", "-k", "latency")

    run.assert_outcomes(xfailed=1, deselected=2)
    assert run.ret == 0
    run.stdout.fnmatch_lines(
        [
            "*one-b1 *itl_p10 * worse *REGRESSED, waived*",
            "*next: mend it before the waiver ends*",
            "REGRESSED, waived: 1 waived",
            f"XFAIL*itl_p10: regressed, waived until {until}: a known bug",
        ]
    )
    with (pytester.path / "perfgate-out" / "comparison.csv").open() as file:
        (row,) = [row for row in csv.DictReader(file) if row["metric"] == "itl_p10"]
    assert row["waived"] == f"waived until {until}: a known bug"
    assert "REGRESSED, waived" in (pytester.path / "perfgate-out" / "summary.md").read_text()
    assert "REGRESSED, waived" in (pytester.path / "perfgate-out" / "report.html").read_text()
    judged = main(["judge", "perfgate-out/run.json", "--suite", "suite.yaml"])
    assert judged == 0


@pytest.mark.usefixtures("recorded_project")
def test_an_expired_waiver_waives_nothing_and_is_told(pytester: pytest.Pytester) -> None:
    until = _waive(pytester, days=0)

    run = _gate(pytester, "--perfgate-inject", "decode=1.5", "-k", "latency")

    run.assert_outcomes(failed=1, deselected=2)
    run.stdout.fnmatch_lines([f"*the waiver of * itl_p10 expired on {until}*one-b1 itl_p10 counts again*"])


def test_faults_of_the_waivers_are_a_usage_error_and_nothing_runs(
    pytester: pytest.Pytester, small_project: Project
) -> None:
    small_project()
    _waive(pytester, days=500)

    run = _gate(pytester)

    assert run.ret == USAGE_ERROR
    run.stderr.fnmatch_lines(["*waivers.yaml have 1 fault:*", "*waivers.yaml:1 ?0?.expires: * is more than 180 days*"])
    assert not (pytester.path / ".perfgate").exists()


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["--perfgate-only-new"], "*--perfgate-only-new says what --perfgate-update accepts*"),
        (["--perfgate-expires", "90d"], "*--perfgate-expires is for the baseline*"),
        ([*UPDATE, "--perfgate-expires", "soon"], "*--perfgate-expires: found 'soon', expected days such as 90d*"),
        (["--perfgate-update", "--perfgate-reason", " "], "*--perfgate-update needs --perfgate-reason*"),
        (["--perfgate-waivers", "nowhere.yaml"], "*no waivers in *nowhere.yaml*"),
    ],
)
def test_a_wrong_option_is_one_line_and_nothing_runs(
    pytester: pytest.Pytester, small_project: Project, args: list[str], words: str
) -> None:
    small_project()

    run = _gate(pytester, *args)

    assert run.ret == USAGE_ERROR
    run.stderr.fnmatch_lines([words])
    assert not (pytester.path / ".perfgate").exists()


def test_only_new_adds_cases_and_leaves_the_others(pytester: pytest.Pytester, small_project: Project) -> None:
    small_project()
    _gate(pytester, *UPDATE, "-k", "build", "--perfgate-expires", "90d")
    before = _stored(pytester)[1]
    block = _block(_stored(pytester)[0], "one-build")

    run = _gate(pytester, *UPDATE, "--perfgate-only-new")

    after = _stored(pytester)[1]
    assert run.ret in {0, 1}
    assert set(before.cases) == {"one-build"}
    assert set(after.cases) == {"one-build", "one-b1", "one-text"}
    assert _block(_stored(pytester)[0], "one-build") == block
    assert before.provenance.expires is not None
    assert after.provenance.expires == before.provenance.expires


def test_too_few_rounds_are_refused_and_the_run_is_kept(pytester: pytest.Pytester, small_project: Project) -> None:
    small_project()

    run = _gate(pytester, *UPDATE, "--perfgate-rounds", "2", "-k", "build")

    assert run.ret == USAGE_ERROR
    run.stderr.fnmatch_lines(["*one-build has 2 valid rounds*a baseline needs 4*the run is kept in *runs?small?*.json"])
    assert len(list((pytester.path / ".perfgate" / "runs" / "small").glob("*.json"))) == 1
    assert not list((pytester.path / ".perfgate" / "journal").iterdir())


def test_the_life_of_a_baseline_on_the_command_line(
    pytester: pytest.Pytester,
    small_project: Project,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    suite = small_project()
    monkeypatch.chdir(pytester.path)
    _gate(pytester, "--perfgate-rounds", "4", "-k", "build")
    run, common = "perfgate-out/run.json", ["--suite", str(suite)]
    capsys.readouterr()

    assert main(["baseline", "diff", run, *common, "--markdown"]) == 0
    told = capsys.readouterr().out
    assert "- added (1): one-build" in told.replace("&#95;", "_")
    assert not list((pytester.path).glob("baselines/**/*.json"))

    assert main(["baseline", "accept", run, *common, "--reason", "trusted", "--expires", "30d"]) == 0
    told = capsys.readouterr().out
    assert "added (1): one-build" in told
    assert "- -> 4/1" not in told.splitlines()[0]
    assert "accepted this run as the baseline in" in told

    assert main(["baseline", "accept", run, *common, "--reason", "again"]) == USAGE_ERROR
    assert "in the baseline already" in capsys.readouterr().err

    assert main(["baseline", "show", *common]) == 0
    told = capsys.readouterr().out
    assert ": trusted" in told
    assert "engine_bytes" in told

    suite.write_text(suite.read_text().replace("  one: {", "  uno: {"))
    path = _stored(pytester)[0]
    text = path.read_text()
    path.write_text(
        text.replace('"one-build"', '"uno-build"').replace('"cases": {', '"cases": {"one-build": ' + _case(text) + ",")
    )
    assert main(["baseline", "prune", *common]) == 0
    assert "one-build is no case of suite small\n1 of 2 cases to remove" in capsys.readouterr().out
    assert main(["baseline", "prune", *common, "--yes"]) == 0
    assert set(_stored(pytester)[1].cases) == {"uno-build"}


def _case(text: str) -> str:
    return json.dumps(json.loads(text)["cases"]["one-build"])


def _block(path: Path, case: str) -> str:
    text = path.read_text()
    begin = text.index(f'  "{case}": {{')
    return text[begin : text.index("\n  }", begin)]

"""The history and its signals in whole gates, on the fake engine: pytest and the command line."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from conftest import Project
from perfgate.cli import main
from perfgate.device import find_device
from perfgate.history import History
from perfgate.record import RUN_SCHEMA, Round, Run, Side, encode, read_record
from perfgate.watch import SignalKind

FOUR = "\n".join(f"  {name}: {{max_batch_size: {i}}}" for i, name in enumerate(("two", "three", "four"), 5))


@pytest.fixture(autouse=True)
def _no_history_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PERFGATE_HISTORY", raising=False)


def _gate(pytester: pytest.Pytester, *args: str) -> pytest.RunResult:
    return pytester.runpytest_subprocess("-p", "no:cacheprovider", *args)


def _sessions(pytester: pytest.Pytester) -> int:
    with History(pytester.path / ".perfgate" / "history.sqlite") as history:
        return len(history.sessions("small", find_device().key))


def _saved(pytester: pytest.Pytester) -> Run:
    return read_record(pytester.path / "perfgate-out" / "run.json", Run, RUN_SCHEMA)


def _judged(pytester: pytest.Pytester) -> dict[str, object]:
    found: dict[str, object] = json.loads((pytester.path / "perfgate-out" / "comparison.json").read_text())
    return found


@pytest.mark.usefixtures("recorded_project")
def test_every_run_but_a_planted_one_is_stored(pytester: pytest.Pytester) -> None:
    _gate(pytester, "-k", "build")
    _gate(pytester, "-k", "build", "--perfgate-inject", "decode=1.5")

    assert _sessions(pytester) == 2


@pytest.mark.usefixtures("recorded_project")
def test_the_page_draws_stored_rounds_and_earlier_sessions(pytester: pytest.Pytester) -> None:
    _gate(pytester)

    page = (pytester.path / "perfgate-out" / "report.html").read_text()

    assert "<path class=s d=" in page  # stored rounds of the baseline
    assert "2 sessions since " in page


def _stored_rounds(pytester: pytest.Pytester) -> set[int]:
    return {
        metric["rounds_stored"]
        for case in _judged(pytester)["cases"]  # type: ignore[attr-defined]
        for metric in case["metrics"]
        if metric["metric"] == "itl_p10"
    }


@pytest.mark.usefixtures("recorded_project")
def test_the_judge_knows_sessions_beside_the_accepted_ones_and_judging_again_gives_the_same(
    pytester: pytest.Pytester,
) -> None:
    pick = ("-k", "latency")
    accepted = len(_saved(pytester).rounds)
    _gate(pytester, *pick)
    first = _stored_rounds(pytester)
    further = len(_saved(pytester).rounds)  # either side is the same engine
    _gate(pytester, *pick)
    second, judged = _stored_rounds(pytester), _judged(pytester)
    files = ["--suite", "suite.yaml", "--out", "again"]

    main(["judge", "perfgate-out/run.json", *files])

    again = json.loads((pytester.path / "again" / "comparison.json").read_text())
    assert (first, second) == ({accepted}, {accepted + further})
    assert again["cases"] == judged["cases"]
    assert again["signals"] == judged["signals"]


@pytest.mark.usefixtures("recorded_project")
def test_a_damaged_history_is_a_note_and_stops_no_gate(pytester: pytest.Pytester) -> None:
    (pytester.path / ".perfgate" / "history.sqlite").write_bytes(b"garbage" * 1000)

    found = _gate(pytester, "-k", "build")

    found.assert_outcomes(passed=1, deselected=2)
    assert found.stdout.str().count("history is left out") == 1


def _made_before(run: Run, slower: float, days: int) -> list[Run]:
    """Earlier runs of the same cases whose candidate was slower by `slower`, one a day; BAAB of each engine."""
    rounds = []
    for engine in dict.fromkeys(case.engine for case in run.cases):
        measured = next(one for one in run.rounds if one.engine == engine and one.is_valid).cases
        for index, side in enumerate((Side.BASELINE, Side.CANDIDATE, Side.CANDIDATE, Side.BASELINE)):
            factor = 1 + slower if side is Side.CANDIDATE else 1.0
            values = [
                replace(one, samples={}, values={k: v * factor for k, v in one.values.items()}) for one in measured
            ]
            rounds.append(Round(engine, side, index, run.started, 1.0, tuple(values)))
    return [
        replace(run, started=f"2026-{1 + day // 28:02}-{1 + day % 28:02}T08:00:00+00:00", rounds=tuple(rounds))
        for day in range(days)
    ]


def _wider(text: str) -> str:
    """A suite that alone would call nothing a regression, and fails on what the watch sees."""
    return text.replace("margin: 5%, detect: 20%", "margin: 60%, detect: 90%").replace(
        "gate:\n", "gate:\n  watch: {creep: fail, suite_shift: fail}\n"
    )


@pytest.fixture
def creeping(pytester: pytest.Pytester, recorded_project: Path) -> Callable[[], None]:
    """A project whose history says that it is 30 % slower than the baseline's engine for 20 sessions."""

    def make() -> None:
        recorded_project.write_text(_wider(recorded_project.read_text()))
        run = _saved(pytester)
        keys = {case.id: one.key for one in run.prepared for case in run.cases if case.engine == one.engine}
        runs = _made_before(run, 0.0, 20) + [
            replace(one, started=f"2026-06{one.started[7:]}") for one in _made_before(run, 0.3, 20)
        ]
        with History(pytester.path / ".perfgate" / "history.sqlite") as history:
            for one in runs:
                history.add(one, keys)

    return make


def test_a_confirmed_creep_reddens_the_session_where_the_suite_says_so(
    pytester: pytest.Pytester, creeping: Callable[[], None]
) -> None:
    creeping()

    found = _gate(pytester, "-k", "latency")

    found.assert_outcomes(passed=1, deselected=2)
    assert found.ret == 1
    found.stdout.fnmatch_lines(
        [
            f"*watch: {SignalKind.CREEP}: one-b1 itl_p10: now * % worse than the pinned engine*",
            "*ok, WATCH FAILED: 1 passed*",
            "*perfgate: failed by gate.watch: creep: one-b1 itl_p10: now *",
        ]
    )


def test_the_command_line_exits_with_1_on_a_failed_signal(
    pytester: pytest.Pytester, creeping: Callable[[], None], capsys: pytest.CaptureFixture[str]
) -> None:
    creeping()
    _gate(pytester, "-k", "latency")
    args = ["judge", "perfgate-out/run.json", "--out", "again"]
    Path("calm.yaml").write_text(Path("suite.yaml").read_text().replace("creep: fail", "creep: report"))

    fails, reports = (main([*args, "--suite", name]) for name in ("suite.yaml", "calm.yaml"))

    assert (fails, reports) == (1, 0)
    assert "(reported, not gated)" in " ".join(capsys.readouterr().out.split())  # wherever the line is broken


def test_a_suite_wide_slowdown_fails_the_command_line_and_a_faster_suite_does_not(
    pytester: pytest.Pytester, small_project: Project
) -> None:
    small_project(FOUR, edit=_wider)
    _gate(pytester, "-k", "latency", "--perfgate-rounds", "3")
    run = replace(_saved(pytester), environment=replace(_saved(pytester).environment, commit="other"))
    codes = []
    for slower in (0.3, -0.3, 0.0):
        (judged,) = _made_before(run, slower, 1)
        path = pytester.path / "made.json"
        path.write_bytes(encode(replace(judged, rerunnable=("one", "two", "three", "four"))))
        codes.append(main(["judge", str(path), "--suite", "suite.yaml", "--out", "again"]))

    assert codes == [1, 0, 0]


@pytest.mark.usefixtures("recorded_project")
def test_thorough_is_said_and_judges_with_finer_limits(
    pytester: pytest.Pytester, capsys: pytest.CaptureFixture[str]
) -> None:
    found = _gate(pytester, "-k", "latency", "--perfgate-thorough")
    main(["judge", "perfgate-out/run.json", "--suite", "suite.yaml", "--out", "again", "--thorough"])

    found.stdout.fnmatch_lines(["*thorough: detect and margin at 60 %*"])
    assert "thorough: detect and margin at 60 %" in capsys.readouterr().out
    again = json.loads((pytester.path / "again" / "comparison.json").read_text())
    limits = {(one["metric"], round(one["margin"], 6), round(one["detect"], 6)) for one in again["cases"][0]["metrics"]}
    assert limits == {("itl_p10", 0.03, 0.12)}
    assert math.isclose(_judged(pytester)["cases"][0]["metrics"][0]["margin"], 0.03)  # type: ignore[index]

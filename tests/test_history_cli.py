from __future__ import annotations

import csv
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from perfgate.cli import main
from perfgate.history import History
from perfgate.record import CaseInfo, CaseRound, Environment, PreparedInfo, Round, Run, Side

DEVICE = "cpu/x86_64-avx512"


def _run(day: int, slower: float) -> Run:
    """A BAAB gate of one engine whose candidate is slower by `slower`; the machine differs from day to day."""
    rng = np.random.default_rng(day)
    today = 0.01 * math.exp(0.05 * rng.standard_normal())
    rounds = []
    for index, side in enumerate((Side.CANDIDATE, Side.BASELINE, Side.BASELINE, Side.CANDIDATE)):
        factor = (1 + slower if side is Side.CANDIDATE else 1.0) * math.exp(0.005 * rng.standard_normal())
        values = {"itl_p10": today * factor, "ttft_p50": today}
        rounds.append(Round("one", side, index, "", 1.0, (CaseRound("one-b1", values),)))
    started = f"2026-{1 + day // 28:02}-{1 + day % 28:02}T08:00:00+00:00"
    made = Environment(DEVICE, "AMD EPYC", {}, f"c{day}")
    prepared = PreparedInfo("one", f"k{day}", False, {}, 10, {})
    return Run("small", started, made, (CaseInfo("one-b1", "one", "latency", "00ff"),), (prepared,), tuple(rounds))


@pytest.fixture
def fill(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[list[float]], Path]:
    """Write a history of one session per given slowdown; returns the state folder."""
    monkeypatch.delenv("PERFGATE_HISTORY", raising=False)

    def write(slowdowns: list[float]) -> Path:
        with History(tmp_path / "history.sqlite") as store:
            for day, slower in enumerate(slowdowns):
                assert store.add(_run(day, slower), {"one-b1": "pin"})
        return tmp_path

    return write


def test_list_shows_runs_oldest_first(fill: Callable[[list[float]], Path], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["history", "list", "--state", str(fill([0.0, 0.0]))]) == 0

    first, second = capsys.readouterr().out.splitlines()
    assert "2026-01-01T08:00:00+00:00  small  cpu/x86_64-avx512  c0  8 values" in first
    assert "2026-01-02T08:00:00+00:00  small  cpu/x86_64-avx512  c1  8 values" in second


def test_export_writes_every_value(
    fill: Callable[[list[float]], Path], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    out = tmp_path / "values.csv"

    assert main(["history", "export", str(out), "--state", str(fill([0.0, 0.0]))]) == 0

    assert capsys.readouterr().out == f"16 values written to {out}\n"
    assert len(list(csv.DictReader(out.read_text().splitlines()))) == 16


def test_watch_reports_a_creep_and_gates_nothing(
    fill: Callable[[list[float]], Path], small_project: Callable[[], Path], capsys: pytest.CaptureFixture[str]
) -> None:
    state = fill([0.0] * 20 + [0.06] * 20)

    assert main(["history", "watch", "--state", str(state), "--suite", str(small_project())]) == 0

    head, creep, *_, last = capsys.readouterr().out.splitlines()
    assert head == f"small on {DEVICE}: 1 metrics, up to 40 sessions"
    assert creep.startswith("  creep: one-b1 itl_p10: now ")
    assert "since 2026-01-21T08:00:00+00:00, commits c19..c2" in creep
    assert last == "  reported, not gated"


def test_watch_is_quiet_where_nothing_changed(
    fill: Callable[[list[float]], Path], small_project: Callable[[], Path], capsys: pytest.CaptureFixture[str]
) -> None:
    state = fill([0.0] * 40)

    assert main(["history", "watch", "--state", str(state), "--suite", str(small_project())]) == 0

    assert capsys.readouterr().out.splitlines()[1:] == ["  nothing seen"]


def test_watch_says_when_it_begins(
    fill: Callable[[list[float]], Path], small_project: Callable[[], Path], capsys: pytest.CaptureFixture[str]
) -> None:
    state = fill([0.0] * 5)

    assert main(["history", "watch", "--state", str(state), "--suite", str(small_project())]) == 0

    assert "creep is watched from session 16 on" in capsys.readouterr().out


@pytest.mark.parametrize("action", [["list"], ["export", "out.csv"]])
def test_no_history_is_a_usage_error(
    action: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("PERFGATE_HISTORY", raising=False)

    assert main(["history", *action, "--state", str(tmp_path)]) == 4

    assert "no history there; it grows with every gate" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_another_device_is_a_usage_error(
    fill: Callable[[list[float]], Path], small_project: Callable[[], Path], capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--state", str(fill([0.0])), "--suite", str(small_project()), "--device", "sm_90/h200-141gb"]

    assert main(["history", "watch", *arguments]) == 4

    assert "no run of suite 'small' on 'sm_90/h200-141gb'" in capsys.readouterr().err


def test_the_environment_names_the_history(
    fill: Callable[[list[float]], Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PERFGATE_HISTORY", str(fill([0.0]) / "history.sqlite"))

    assert main(["history", "list", "--state", "elsewhere"]) == 0

    assert len(capsys.readouterr().out.splitlines()) == 1

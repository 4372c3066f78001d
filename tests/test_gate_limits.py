"""A gate with the limits of its device: shares in rounds, sections in reports, and none where they are in doubt."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

import perfgate.gate  # noqa: F401 - pytester forgets what a test imports first, and numpy comes only once a process
from conftest import Project
from perfgate import ceilings
from perfgate.ceiling_probe import Probed
from perfgate.cli import main
from perfgate.record import RUN_SCHEMA, Run, Side, read_record
from perfgate.roofline import Rate

CONFIG = Path(__file__).parents[1] / "fixtures" / "models" / "tiny-llama" / "config.json"
FAST = Probed(Rate(1e15, 9e14, 1.1e15, 5), {"fp32": Rate(1e16, 9e15, 2e16, 5)})


@pytest.fixture
def gate(small_project: Project, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project whose suite asks for limits and whose model has a shape; returns the run that a gate will leave."""
    monkeypatch.setattr(ceilings, "probe", lambda *_args: FAST)
    monkeypatch.chdir(pytester.path)
    small_project("", lambda text: text.replace("suite: small", "suite: small\nroofline: true"))
    shutil.copy(CONFIG, pytester.path / "model")
    return pytester.path / "perfgate-out" / "run.json"


RUN = ["run", "--suite", "suite.yaml", "--rounds", "1", "--policy", "local"]


def test_rounds_have_shares_and_the_run_its_limits(gate: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(RUN) == 0

    run = read_record(gate, Run, RUN_SCHEMA)
    (share,) = run.values("one-b1", "mbu_decode", Side.CANDIDATE)
    assert 0 < share < 1e-3
    assert run.limits is not None
    assert set(run.limits.demands) == {"one-b1"}
    assert "distance to the limit: decode " in capsys.readouterr().out
    assert main(["roofline", str(gate)]) == 0
    assert "copies: 1e+06 GB/s" in capsys.readouterr().out


def test_limits_in_doubt_are_not_used(
    gate: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(ceilings, "probe", lambda *_args: Probed(FAST.copy, FAST.matrix, foreign_share=0.7))

    assert main(RUN) == 0

    run = read_record(gate, Run, RUN_SCHEMA)
    assert run.limits is None
    assert run.values("one-b1", "mbu_decode", Side.CANDIDATE) == []
    assert "no distance to the limit: others took 70% of the machine" in capsys.readouterr().out
    assert main(["roofline", str(gate)]) == 4
    assert "name its suite with --suite FILE" in capsys.readouterr().err
    assert main(["roofline", str(gate), "--suite", "suite.yaml"]) == 0
    shown = capsys.readouterr().out
    assert "too low? others took 70%" in shown
    assert "one-b1" in shown

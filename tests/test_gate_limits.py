"""A gate with the limits of its device: shares in rounds, sections in reports, and none where they are in doubt."""

from __future__ import annotations

import os
import shutil
import time
from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import perfgate.gate  # noqa: F401 - pytester forgets what a test imports first, and numpy comes only once a process
from conftest import Project
from killing import files_of
from perfgate import ceilings, leases
from perfgate.ceiling_probe import Probed
from perfgate.cli import EXIT_RED, EXIT_USAGE, main
from perfgate.device import find_device
from perfgate.leases import Wait, leased, places
from perfgate.process import Ended
from perfgate.record import RUN_SCHEMA, Run, Side, read_record
from perfgate.roofline import Rate

CONFIG = Path(__file__).parents[1] / "fixtures" / "models" / "tiny-llama" / "config.json"
PROBE = ceilings.probe
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
    assert "no distance to the limit: others took 70 % of the machine" in capsys.readouterr().out
    assert main(["roofline", str(gate)]) == 4
    assert "name its suite with --suite FILE" in capsys.readouterr().err
    assert main(["roofline", str(gate), "--suite", "suite.yaml"]) == 0
    shown = capsys.readouterr().out
    assert "too low? others took 70 %" in shown
    assert "one-b1" in shown


@pytest.fixture
def probed(gate: Path, monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The files that each probe of the limits was given to hold open; no probe finds anything."""
    held: list[list[str]] = []

    def run(*args: Any, kept_open: tuple[int, ...]) -> Ended:
        held.append(files_of(kept_open))
        return Ended(1, args[3])

    monkeypatch.setattr(ceilings, "probe", PROBE)
    monkeypatch.setattr(ceilings, "run_module", run)
    monkeypatch.setenv("PERFGATE_LEASES", str(gate.parents[1] / "leases"))
    return held


@pytest.mark.parametrize(
    ("command", "code"),
    [(RUN, 0), (["roofline"], EXIT_RED), (["roofline", "--fresh"], EXIT_RED)],
    ids=["gate", "command", "fresh"],
)
def test_the_probe_of_the_limits_holds_the_lease_of_the_device(
    probed: list[list[str]], gate: Path, command: list[str], code: int
) -> None:
    assert main(command) == code

    assert probed == [[str(gate.parents[1] / "leases" / f"{places(find_device(), ())[0].file}.lock")]]


def test_limits_are_not_measured_beside_a_gate(
    probed: list[list[str]], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    who = f"{find_device().key} is measured on by pid {os.getpid()}'s gate, since "
    with leased(places(find_device(), ()), Wait(0.0, print)), monkeypatch.context() as hurried:
        hurried.setattr(leases, "WAIT_S", 0.0)
        assert main(["roofline"]) == EXIT_USAGE
    assert who in capsys.readouterr().err
    assert probed == []

    with ExitStack() as other:
        other.enter_context(leased(places(find_device(), ()), Wait(0.0, print)))
        ends = SimpleNamespace(monotonic=time.monotonic, sleep=lambda _: other.close())
        monkeypatch.setattr(leases, "time", ends)
        main(["roofline"])
    assert capsys.readouterr().out.startswith(f"waiting for {find_device().key}: it is measured on by pid ")
    assert len(probed) == 1


@pytest.mark.usefixtures("gate")
def test_limits_that_are_known_are_told_beside_a_gate(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(RUN) == 0
    capsys.readouterr()

    with leased(places(find_device(), ()), Wait(0.0, print)):
        assert main(["roofline"]) == 0

    told = capsys.readouterr().out
    assert "copies: 1e+06 GB/s" in told
    assert "waiting" not in told

"""Two real gates at the same time on one device: the second measures when the first has ended."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable, Iterator
from itertools import groupby
from pathlib import Path

import pytest

from gpu.nvml_machine import Card, Machine, double
from killing import Project


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[tuple[Project, Project]]:
    """Two projects whose engines write to one file when a round has them, and wait in it for `tmp_path`/go."""
    projects = Project.make(tmp_path / "first"), Project.make(tmp_path / "second")
    for project in projects:
        suite = project.root / "suite.yaml"
        more = f'load_log: "{tmp_path / "rounds.txt"}", load_gate: "{tmp_path / "go"}", step_us'
        suite.write_text(suite.read_text().replace("step_us", more))
    yield projects
    for project in projects:
        project.kill_all()


def _rounds(folder: Path) -> list[list[str]]:
    """What engines wrote: 'begins' or 'ends', whose, in which process."""
    path = folder / "rounds.txt"
    return [line.split() for line in path.read_text().splitlines()] if path.exists() else []


def _await(project: Project, gate: subprocess.Popen[bytes], until: Callable[[], bool]) -> None:
    while not until():
        assert gate.poll() is None, project.told
        time.sleep(0.02)


@pytest.mark.parametrize(("cards", "device", "rounds"), [([], "cpu/", 2), ([Card()], "sm_90/", 1)], ids=["CPU", "GPU"])
def test_two_gates_take_turns_on_one_device(
    tmp_path: Path, pair: tuple[Project, Project], cards: list[Card], device: str, rounds: int
) -> None:
    first, second = pair
    nvml = double.install(tmp_path / "nvml", Machine(cards))
    shared = {**nvml, "PERFGATE_LEASES": str(tmp_path / "leases"), "CUDA_VISIBLE_DEVICES": "0"}

    a = first.start(first.command("run", "--rounds", str(rounds)), **shared)
    _await(first, a, lambda: bool(_rounds(tmp_path)))  # it is in its first round, and stays there
    b = second.start(second.command("run", "--rounds", str(rounds)), **shared)
    _await(second, b, lambda: "waiting for" in second.told or len(_rounds(tmp_path)) > 1)
    (tmp_path / "go").touch()

    assert [a.wait(), b.wait()] == [0, 0], first.told + second.told
    told = _rounds(tmp_path)
    for begins, ends in zip(told[::2], told[1::2], strict=True):
        assert (begins[0], ends) == ("begins", ["ends", *begins[1:]])
    assert [(name, len(list(lines))) for name, lines in groupby(told[::2], lambda line: line[1])] == [
        ("first", rounds),
        ("second", rounds),
    ]
    assert f"it is measured on by pid {a.pid}'s gate" in second.told
    assert "waiting for" not in first.told
    for project in pair:
        run = json.loads((project.root / "perfgate-out" / "run.json").read_bytes())
        assert [one["fault"] for one in run["rounds"]] == rounds * [None]
        assert run["environment"]["device"].startswith(device)

"""Two real gates at the same time: on one device the second measures when the first has ended, in one folder too."""

from __future__ import annotations

import json
import re
import subprocess
import time
from collections.abc import Callable, Iterator
from itertools import groupby
from pathlib import Path

import pytest

from gpu.nvml_machine import OTHER, OWN, Card, Machine, double
from killing import Project

LATE = """
import os, sys, time
_sync = os.fsync

def _late(handle):
    if "/perfgate-out/" in os.readlink(f"/proc/self/fd/{{handle}}"):
        open("{folder}/held", "w").close()
        while not os.path.exists("{folder}/release"):
            time.sleep(0.01)
    _sync(handle)

if "perfgate.cli" in " ".join(sys.orig_argv):
    os.fsync = _late
"""


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


@pytest.mark.parametrize(("cards", "device", "rounds"), [([], "cpu/", 1), ([Card()], "sm_90/", 1)], ids=["CPU", "GPU"])
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


def test_the_second_of_two_gates_in_one_folder_measures_and_is_judged_by_what_the_first_left(
    tmp_path: Path, pair: tuple[Project, Project]
) -> None:
    """The first is held between its last round and its reports: its lease is free, its journal is there."""
    first, second = pair
    (tmp_path / "go").touch()
    command = _in_the_folder_of(first)
    shared = {"PERFGATE_LEASES": str(tmp_path / "leases")}

    a = first.start(command, **shared, **_late(tmp_path))
    _await(first, a, (tmp_path / "held").exists)
    b = second.start(command, **shared)
    _await(second, b, lambda: "waiting for" in second.told or len(_rounds(tmp_path)) > 2)
    (tmp_path / "release").touch()

    assert [a.wait(), b.wait()] == [0, 0], first.told + second.told
    assert re.search(rf"suite kills in .*/first/.perfgate: it is held, .* by pid {a.pid}'s gate", second.told)
    assert "resuming" not in second.told
    assert len(first.reported_rounds()) == 1
    assert not set(first.reported_rounds()) & set(second.reported_rounds())
    assert {verdict for _, _, verdict, _ in first.verdicts()} == {"no-baseline"}
    assert "no-baseline" not in {verdict for _, _, verdict, _ in second.verdicts()}
    assert not list((first.root / ".perfgate" / "journal").iterdir())


def test_two_gates_on_two_gpus_share_a_folder_and_neither_waits(tmp_path: Path, pair: tuple[Project, Project]) -> None:
    state = pair[0].root / ".perfgate"
    nvml = double.install(tmp_path / "nvml", Machine([Card(uuid=OWN), Card(uuid=OTHER)]))
    shared = {**nvml, "PERFGATE_LEASES": str(tmp_path / "leases")}

    command = _in_the_folder_of(pair[0])
    gates = [one.start(command, **shared | {"CUDA_VISIBLE_DEVICES": str(at)}) for at, one in enumerate(pair)]
    _await(pair[0], gates[0], lambda: len(_rounds(tmp_path)) == 2)  # both are in their round
    (tmp_path / "go").touch()

    assert [gate.wait() for gate in gates] == [0, 0], pair[0].told + pair[1].told
    for project, card in zip(pair, (OWN, OTHER), strict=True):
        assert "waiting for" not in project.told
        run = json.loads((project.root / "perfgate-out" / "run.json").read_bytes())
        assert [one["fault"] for one in run["rounds"]] == [None]
        assert (state / "work" / f"gpu-{card}" / "000-one-candidate.log").exists()
    assert len(_rounds(tmp_path)) == 4  # each began and ended one
    assert len(list((state / "runs" / "kills").iterdir())) == 2
    assert not list((state / "journal").iterdir())


def _in_the_folder_of(project: Project) -> list[str]:
    """A gate of its suite and state, wherever it is started and reports to."""
    return project.command(
        "run", "--suite", str(project.root / "suite.yaml"), "--state", str(project.root / ".perfgate"), "--rounds", "1"
    )


def _late(folder: Path) -> dict[str, str]:
    """Of a gate whose first report takes until `folder`/release is there; it then makes `folder`/held."""
    (folder / "late").mkdir()
    (folder / "late" / "sitecustomize.py").write_text(LATE.format(folder=folder))
    return {"PYTHONPATH": str(folder / "late")}

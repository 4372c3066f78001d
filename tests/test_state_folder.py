"""Links and special files in the state folder: refused in one line each, and where they lead nothing changes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from conftest import HERE, Project
from perfgate.errors import UsageError
from perfgate.state_folder import check_state

EXIT_USAGE = 4


def test_links_that_lead_out_are_refused_and_what_they_lead_to_is_left(small_project: Project) -> None:
    folder = small_project().parent
    outside = folder / "precious"
    outside.write_text("kept")
    places = ["history.sqlite", "journal/small@cpu.jsonl", "noise", "work/cpu/000-one-candidate.log"]
    for place in places:
        link = folder / ".perfgate" / place
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(outside)
    command = [sys.executable, "-m", "perfgate.cli", "run", "--suite", "suite.yaml"]

    ended = subprocess.run(
        command, cwd=folder, env={**os.environ, "PYTHONPATH": os.pathsep.join([str(HERE), *sys.path])},
        capture_output=True, text=True, check=False,
    )  # fmt: skip

    assert ended.returncode == EXIT_USAGE, ended.stdout + ended.stderr
    told = [f".perfgate/{one} is a link that leads out of the state folder, to {outside}: remove it" for one in places]
    assert ended.stderr.removeprefix("perfgate: ").splitlines() == "\n  ".join(told).splitlines()
    assert outside.read_text() == "kept"


def test_everything_that_is_wrong_is_told_at_once(tmp_path: Path) -> None:
    state = tmp_path / "state"
    (state / "journal").mkdir(parents=True)
    (state / "journal" / "gone.jsonl").symlink_to(tmp_path / "nowhere")
    os.mkfifo(state / "journal" / "small.jsonl")

    with pytest.raises(UsageError) as told:
        check_state(state)

    assert str(told.value).splitlines() == [
        f"{state}/journal/gone.jsonl is a link that leads out of the state folder, to {tmp_path}/nowhere: remove it",
        f"  {state}/journal/small.jsonl is neither a file nor a folder: remove it",
    ]


def test_the_folder_and_its_stores_may_be_links_and_links_may_stay_within(tmp_path: Path) -> None:
    (tmp_path / "disk" / "work").mkdir(parents=True)
    (tmp_path / "disk" / "latest").symlink_to("work")
    (tmp_path / "shared").mkdir()
    (tmp_path / "disk" / "engines").symlink_to(tmp_path / "shared")
    (tmp_path / "state").symlink_to(tmp_path / "disk")

    check_state(tmp_path / "state")
    check_state(tmp_path / "not made yet")

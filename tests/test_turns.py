"""Turns of real processes: one at a time, in ABBA order, and none survives its parent."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from perfgate.errors import RoundError
from perfgate.fault_kinds import ProcessFault
from perfgate.turns import Launch, run_in_turns

CHILD = """
import sys
from pathlib import Path
from perfgate.turns import turn_from_parent

name, log, turns = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
for _ in range(turns):
    with turn_from_parent():
        with log.open("a") as out:
            out.write(name + "(")
            out.flush()
            out.write(")")
"""

HASTY_PARENT = """
import os, socket, subprocess, sys

ours, theirs = socket.socketpair()
child = subprocess.Popen([sys.executable, "-m", "child", *sys.argv[1:]], stdin=theirs, stderr=subprocess.PIPE)
theirs.close()
if sys.argv[1] == "asks":
    ours.close()
else:
    ours.recv(1)
    ours.sendall(b"g")
    ours.close()
sys.stdout.buffer.write(child.communicate()[1])
"""

PARENT = """
import sys
from pathlib import Path
from perfgate.turns import Launch, run_in_turns

run_in_turns([Launch("sleeper", (sys.argv[1],), Path(sys.argv[1] + ".log"))], 60)
"""

SLEEPER = """
import sys, time
from pathlib import Path
from perfgate.turns import turn_from_parent

with turn_from_parent():
    Path(sys.argv[1]).write_text("here")
    time.sleep(0.5)
with turn_from_parent():
    time.sleep(60)
"""


@pytest.fixture(autouse=True)
def _modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "child.py").write_text(CHILD)
    (tmp_path / "sleeper.py").write_text(SLEEPER)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])]))


def _launch(folder: Path, name: str, turns: int) -> Launch:
    return Launch("child", (name, str(folder / "order"), str(turns)), folder / f"{name}.log")


def test_two_processes_take_turns_in_abba_order_and_never_overlap(tmp_path: Path) -> None:
    ended = run_in_turns([_launch(tmp_path, "A", 4), _launch(tmp_path, "B", 4)], 30)

    assert (tmp_path / "order").read_text() == "A()B()B()A()A()B()B()A()"
    assert [one.code for one in ended] == [0, 0]


def test_one_that_ends_early_leaves_the_turns_to_the_other(tmp_path: Path) -> None:
    run_in_turns([_launch(tmp_path, "A", 1), _launch(tmp_path, "B", 3)], 30)

    assert (tmp_path / "order").read_text() == "A()B()B()B()"


def test_one_alone_gets_every_turn(tmp_path: Path) -> None:
    run_in_turns([_launch(tmp_path, "A", 3)], 30)

    assert (tmp_path / "order").read_text() == "A()A()A()"


def test_a_process_that_crashes_is_told_by_its_code_and_last_words(tmp_path: Path) -> None:
    (ended,) = run_in_turns([Launch("child", ("A", "no/such/folder/order", "1"), tmp_path / "A.log")], 30)

    assert ended.code == 1
    assert "FileNotFoundError" in ended.last_words


def test_processes_that_do_not_end_are_killed(tmp_path: Path) -> None:
    with pytest.raises(RoundError, match="no end within 1 s: killed"):
        run_in_turns([Launch("sleeper", (str(tmp_path / "mark"),), tmp_path / "A.log")], 1)

    assert not _running(tmp_path)


def test_one_that_holds_its_turn_without_progress_is_ended_before_the_deadline(tmp_path: Path) -> None:
    launch = Launch("sleeper", (str(tmp_path / "mark"),), tmp_path / "A.log", stall_s=1.0)

    with pytest.raises(RoundError, match=r"no word, .* while 'starting': killed \(log: ") as raised:
        run_in_turns([launch], 60)

    assert raised.value.kind is ProcessFault.STALLED
    assert not _running(tmp_path)


@pytest.mark.parametrize("moment", ["asks", "holds"])
def test_a_child_whose_parent_went_away_says_so_in_one_line(tmp_path: Path, moment: str) -> None:
    """It raised BrokenPipeError, with a traceback, where the line was closed under it."""
    command = [sys.executable, "-c", HASTY_PARENT, moment, str(tmp_path / "order"), "2"]

    told = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True).stdout

    assert told == "the parent process is gone\n"


def test_a_child_ends_when_its_parent_is_killed(tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    parent = subprocess.Popen([sys.executable, "-c", PARENT, str(mark)])
    while not mark.exists():
        assert parent.poll() is None
    assert _running(tmp_path)

    parent.kill()
    parent.wait()

    deadline = time.monotonic() + 30
    while _running(tmp_path) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not _running(tmp_path)


def _running(folder: Path) -> list[str]:
    listed = subprocess.run(["ps", "-ww", "-eo", "args"], capture_output=True, text=True, check=True).stdout
    return [line for line in listed.splitlines() if "sleeper" in line and str(folder) in line]

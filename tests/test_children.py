"""Real children that hang, crash, and leave processes behind."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from perfgate.errors import RoundError
from perfgate.fault_kinds import ProcessFault
from perfgate.process import run, start
from perfgate.process_tree import process_of

LEAVER = """
import os, subprocess, sys, time
stay = [sys.executable, "-c", "import time; time.sleep(60)"]
subprocess.Popen(stay, start_new_session=True)  # left the group, re-parented when we end
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:  # twice, as daemons do
        time.sleep(60)
    os._exit(0)
"""
BARE = """
import subprocess, sys, time
subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], start_new_session=True, env={})
time.sleep(60)
"""


def _run(folder: Path, script: str, timeout_s: float = 30.0, stall_s: float = float("inf")) -> int:
    return run("child", [sys.executable, "-c", script], timeout_s, folder / "child.log", os.environ, None, stall_s).code


def _alive(marked: bytes) -> list[int]:
    """Processes beside us with those bytes in their environment."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and int(entry.name) != os.getpid() and marked in (entry / "environ").read_bytes():
                found.append(int(entry.name))
        except OSError:
            continue
    return found


@pytest.mark.parametrize("end", ["", "os._exit(3)", "os.kill(os.getpid(), 9)"], ids=["ends", "fails", "is killed"])
def test_what_left_the_group_is_ended_with_the_child(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, end: str) -> None:
    monkeypatch.setenv("PERFGATE_TEST_MARK", str(tmp_path))

    child = start([sys.executable, "-c", LEAVER + end], tmp_path / "child.log", os.environ, grace_s=0.1)
    child.process.wait()
    deadline = time.monotonic() + 10
    while len(left := _alive(str(tmp_path).encode())) < 2 and time.monotonic() < deadline:
        time.sleep(0.01)  # one of them is perhaps just being forked
    child.end()

    assert len(left) >= 2
    assert not [pid for pid in left if _runs(pid)]
    assert "perfgate: killed what outlived the process:" in (tmp_path / "child.log").read_text()


def test_what_hid_its_environment_is_found_below_a_child_that_is_ended(tmp_path: Path) -> None:
    child = start([sys.executable, "-c", BARE], tmp_path / "child.log", os.environ, grace_s=0.1)
    while not (below := _children(child.process.pid)):
        time.sleep(0.01)

    child.end()

    assert not [pid for pid in below if _runs(pid)]


def test_bystanders_are_left_alone(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as bystander:
        child = start([sys.executable, "-c", LEAVER], tmp_path / "child.log", os.environ, grace_s=0.1)
        child.process.wait()
        child.end()

        assert bystander.poll() is None
        bystander.communicate(b"\n")


def test_stalled_child_is_ended_long_before_its_deadline(tmp_path: Path) -> None:
    script = "from perfgate.heartbeat import beat\nimport time\nbeat('loading weights')\ntime.sleep(60)"

    with pytest.raises(RoundError, match=r"child: no word, .* while 'loading weights': killed") as raised:
        _run(tmp_path, script, timeout_s=60, stall_s=0.6)

    assert raised.value.kind is ProcessFault.STALLED


def test_silent_child_that_computes_lives_on(tmp_path: Path) -> None:
    script = "import time\nbegin = time.process_time()\nwhile time.process_time() < begin + 1: pass"

    assert _run(tmp_path, script, stall_s=0.5) == 0


def test_deadline_tells_what_the_child_was_at(tmp_path: Path) -> None:
    script = "from perfgate.heartbeat import beat\nimport time\nbeat('warming up')\ntime.sleep(60)"

    with pytest.raises(RoundError, match="did not end within 2 s and was killed while 'warming up'") as raised:
        _run(tmp_path, script, timeout_s=2)

    assert raised.value.kind is ProcessFault.DEADLINE


def _children(pid: int) -> list[int]:
    return [int(one) for one in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def _runs(pid: int) -> bool:
    found = process_of(pid)
    return found is not None and found.lives

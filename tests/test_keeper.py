"""What a killed parent left is ended, and what it held is free then: real processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from killing import ENDED_S, await_so
from perfgate.engines.supervisor import parts
from perfgate.keeper import Charge, _scrub
from perfgate.leases import Place, Wait, leased
from perfgate.process_tree import carriers

PARENT = """
import os, sys, time; from pathlib import Path
from perfgate.leases import Place, Wait, leased
from perfgate.process import start
with leased([Place("cpu", "cpu")], Wait(0.0, print)) as handles:
    child = start([sys.executable, "-c", sys.argv[2]], Path(sys.argv[1]), os.environ, kept_open=handles)
    print(child.process.pid, flush=True)
    time.sleep(600)
"""
SERVER_PARENT = """
import sys, time; from pathlib import Path
from perfgate.engines.kept import Kept, Launch, Patience, free_port
from perfgate.leases import Place, Wait, leased
with leased([Place("cpu", "cpu")], Wait(0.0, print)) as handles:
    Kept(Launch((sys.executable, "-c", sys.argv[2]), free_port()), Path(sys.argv[1]), Patience(), handles)
    print("started", flush=True)
    time.sleep(600)
"""
STUBBORN = """
import os, signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)
time.sleep(600)
"""
VARIABLES = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
MARK = "PERFGATE_TEST_KEEPER"


@pytest.mark.parametrize("child", ["import time; time.sleep(600)", STUBBORN], ids=["builds", "is stubborn"])
def test_a_child_ends_with_its_killed_parent_and_its_lease_is_free_then(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, child: str
) -> None:
    monkeypatch.setenv("PERFGATE_LEASES", str(tmp_path / "leases"))
    variables = {**os.environ, MARK: str(tmp_path), "PYTHONPATH": os.pathsep.join(sys.path)}
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, str(tmp_path / "log"), child], env=variables, stdout=subprocess.PIPE
    )
    assert parent.stdout is not None
    parent.stdout.readline()

    parent.send_signal(signal.SIGKILL)
    parent.communicate()
    with leased([Place("cpu", "cpu")], Wait(4 * ENDED_S, lambda _: None)):
        left = [one.command for one in carriers(f"{MARK}={tmp_path}".encode()) if one.lives]

    assert left == []


@pytest.mark.parametrize("script", [PARENT, SERVER_PARENT], ids=["child", "server"])
def test_the_log_of_a_killed_parents_child_is_without_secrets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str
) -> None:
    monkeypatch.setenv("PERFGATE_LEASES", str(tmp_path / "leases"))
    password, long = "planted-password", "planted" * 3000  # longer than what the keeper is told at once
    told = {"HUB_PASSWORD": long, "DATABASE_URL": f"postgres://u:{password}@h/db"}
    child = (
        "import os, signal, time; signal.signal(signal.SIGINT, signal.SIG_DFL)\n"
        "print(os.environ['HUB_PASSWORD'], 'planted-password', 'hf_plantedPlantedPlanted01')\n"
        "print('https://me:other-planted@hub/', flush=True); time.sleep(600)"
    )
    log, variables = tmp_path / "log", VARIABLES | told | {"PERFGATE_LEASES": str(tmp_path / "leases")}
    parent = subprocess.Popen([sys.executable, "-c", script, str(log), child], env=variables, stdout=subprocess.PIPE)
    assert parent.stdout is not None
    parent.stdout.readline()
    await_so(lambda: "other-planted" in log.read_text(), parent)

    parent.send_signal(signal.SIGKILL)
    parent.communicate()
    with leased([Place("cpu", "cpu")], Wait(4 * ENDED_S, lambda _: None)):
        assert log.read_text() == "*** *** ***\nhttps://***@hub/\n"


def test_a_parent_whose_keeper_was_killed_goes_on(tmp_path: Path) -> None:
    script = (
        "import os, signal, sys; from pathlib import Path; from perfgate import keeping\n"
        "from perfgate.process import run\n"
        "for number in range(3):\n"
        "    print(run('child', [sys.executable, '-c', ''], 60.0, Path(sys.argv[1]), os.environ).code)\n"
        "    keeping._lines[0]._keeper.kill(); keeping._lines[0]._keeper.wait()\n"
    )

    ended = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "log")], env=VARIABLES,
        capture_output=True, text=True, check=False, timeout=4 * ENDED_S,
    )  # fmt: skip

    assert (ended.stdout, ended.returncode) == ("0\n0\n0\n", 0), ended.stderr


def test_the_keeper_ends_with_its_parent(tmp_path: Path) -> None:
    script = "import os, sys; from pathlib import Path; from perfgate.process import run\n"
    script += "from perfgate import keeping\n"
    script += "run('child', [sys.executable, '-c', ''], 60.0, Path(sys.argv[1]), os.environ)\n"
    script += "print(keeping._lines[0]._keeper.pid)"

    ended = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "log")], env=VARIABLES,
        capture_output=True, text=True, check=True,
    )  # fmt: skip

    deadline = time.monotonic() + ENDED_S
    while Path(f"/proc/{ended.stdout.strip()}").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not Path(f"/proc/{ended.stdout.strip()}").exists()


def test_all_parts_of_a_servers_log_are_without_secrets(tmp_path: Path) -> None:
    """A long one has its end in files of its own."""
    log = tmp_path / "server.log"
    for part in parts(log):
        part.write_text("key planted-password\n")

    _scrub(Charge("mark", 0.0, log, secrets=("planted-password",)))

    assert [part.read_text() for part in parts(log)] == ["key ***\n"] * 3

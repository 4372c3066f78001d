"""CPU time and memory of a tree of processes."""

from __future__ import annotations

import os
import subprocess
import sys
import time

from perfgate.process_tree import tree_cpu_s, tree_peak_bytes

BURN = "import time; b = time.process_time()\nwhile time.process_time() < b + 0.2: pass\n"
CHILD = f"""
import subprocess, sys
subprocess.run([sys.executable, '-c', {BURN!r}])
grand = subprocess.Popen([sys.executable, '-c', "x = bytearray(40_000_000); print('up', flush=True); input()"],
                         stdin=subprocess.PIPE, start_new_session=True)
input()
grand.communicate()
"""


def test_children_that_live_and_that_have_ended_count() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", CHILD], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as child:  # fmt: skip
        assert child.stdin is not None
        assert child.stdout is not None
        assert child.stdout.readline() == b"up\n"
        spent, memory = tree_cpu_s(child.pid), tree_peak_bytes(child.pid)
        child.stdin.close()

    assert 0.2 <= spent < 5
    assert memory > 40_000_000


def test_our_own_time_counts() -> None:
    before, begin = tree_cpu_s(os.getpid()), time.process_time()
    while time.process_time() < begin + 0.1:
        pass

    assert tree_cpu_s(os.getpid()) - before >= 0.08


def test_a_process_that_is_gone_has_none() -> None:
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()

    assert tree_cpu_s(child.pid) == 0
    assert tree_peak_bytes(child.pid) == 0

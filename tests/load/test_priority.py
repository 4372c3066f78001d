from __future__ import annotations

import os
import subprocess
import sys

import pytest

from perfgate.load import priority
from perfgate.load.priority import ahead, real_time
from perfgate.process import HERE

TELL = """
import os
from perfgate.load.priority import ahead
def now():
    group = open("/proc/self/autogroup").read().split()[-1] if os.path.exists("/proc/self/autogroup") else "none"
    return os.getpriority(os.PRIO_PROCESS, 0), group
before = now()
with ahead() as nice:
    print(nice, *now())
print(*before, *now())
"""


def told(*command: str) -> tuple[list[str], list[str]]:
    """What a session of its own tells: the nice value reached, of process and autogroup then; before and afterwards."""
    code = [*command, sys.executable, "-c", TELL]
    found = subprocess.run(code, capture_output=True, check=True, text=True, env=HERE.variables, start_new_session=True)
    within, around = found.stdout.splitlines()
    return within.split(), around.split()


def test_a_session_of_its_own_goes_ahead_as_far_as_it_may_and_steps_back() -> None:
    (nice, own, group), (before, group_before, after, group_after) = told()

    assert nice == own
    assert nice in {"-10", before}
    assert group in {nice, group_before}
    assert (after, group_after) == (before, group_before)


def test_who_was_told_to_give_way_gives_way() -> None:
    (nice, own, _), _ = told("nice", "-n", "5")

    assert nice == own == str(os.getpriority(os.PRIO_PROCESS, 0) + 5)


def test_a_class_that_was_chosen_is_kept() -> None:
    (nice, own, group), (before, group_before, *after) = told("chrt", "--batch", "0")

    assert (nice, own, group) == (before, before, group_before)
    assert after == [before, group_before]


def test_a_system_that_allows_nothing_is_borne(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(priority, "_SCHED_SETATTR", {})
    before = os.getpriority(os.PRIO_PROCESS, 0)

    with ahead() as nice:
        assert nice == os.getpriority(os.PRIO_PROCESS, 0) == before


def test_nobody_is_hurried_who_did_not_wish_it() -> None:
    with real_time(is_wished=False) as is_real_time:
        assert is_real_time is (os.sched_getscheduler(0) == os.SCHED_FIFO)


def test_the_class_is_as_it_was_afterwards() -> None:
    before = os.sched_getscheduler(0)

    with real_time(is_wished=True) as is_real_time:
        assert is_real_time is (os.sched_getscheduler(0) == os.SCHED_FIFO)

    assert os.sched_getscheduler(0) == before


def test_a_system_that_refuses_is_told_and_borne(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "sched_setscheduler", refuse)

    with real_time(is_wished=True) as is_real_time:
        assert not is_real_time

from __future__ import annotations

import os

import pytest

from perfgate.load.priority import real_time


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

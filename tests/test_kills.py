"""SIGKILL at random moments: what was finished survives, nothing half-written is read, nobody is left behind.

Two hundred kills with tests/report/test_kills_of_reports.py: most of forks of this process that write one kind of
file after the other, some of whole gates. The seed is printed; PERFGATE_TEST_SEED repeats one. benchmarks/soak.py
kills whole gates for hours.
"""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from fake_engine import FakeBackend
from killing import Project, fork_and_kill, half_written, slow_disk, victim
from perfgate.baselines import Baseline, Provenance, baseline_from_run, load_baseline, save_baseline
from perfgate.case import EngineSpec
from perfgate.device import Device
from perfgate.engines.cache import EngineCache, verify
from perfgate.floats import Floats
from perfgate.history import History
from perfgate.journal import Header, Journal
from perfgate.record import (
    CaseInfo,
    CaseRound,
    Environment,
    PreparedInfo,
    Round,
    Run,
    Side,
    now,
)

KILLS = 50  # of each kind of file
LONGEST_S = 0.02  # a fork works before it is killed: long enough for several files
DEVICE = Device("cpu/x86_64", "some CPU")
HEADER = Header("small", "2026-01-14T08:00:00+00:00", "f00d")
Say = Callable[[int], None]


@pytest.fixture
def rng() -> random.Random:
    seed = int(os.environ.get("PERFGATE_TEST_SEED") or time.time_ns() % 10**9)
    print(f"PERFGATE_TEST_SEED={seed}")  # noqa: T201 - pytest shows it where a test fails
    return random.Random(seed)  # noqa: S311 - moments to kill at


@pytest.mark.parametrize(("kills", "delay_s"), [(KILLS, 0.0), (10, 0.01)], ids=["", "on a slow disk"])
def test_every_round_that_was_finished_is_in_the_journal(
    tmp_path: Path, rng: random.Random, kills: int, delay_s: float
) -> None:
    path = tmp_path / "journal.jsonl"

    for _ in range(kills):

        def work(say: Say) -> None:
            if delay_s:
                slow_disk(delay_s)
            journal = Journal(path)
            count = len(journal.resume(HEADER)[1])
            while True:
                journal.append(_round(count))
                count += 1
                say(count)

        finished = fork_and_kill(work, rng.uniform(0, LONGEST_S + 30 * delay_s))
        left = Journal(path).resume(HEADER)[1]

        assert len(left) in (finished, finished + 1)  # the last may have been written, and its word not said
        assert left == [_round(index) for index in range(len(left))]


def test_a_baseline_is_the_old_one_or_the_new_one(tmp_path: Path, rng: random.Random) -> None:
    path = tmp_path / DEVICE.key / "small.json"
    kinds = [_baseline(index) for index in range(2)]

    for _ in range(KILLS):

        def work(say: Say) -> None:
            for number in range(10**6):
                save_baseline(path, kinds[number % 2])
                say(number)

        fork_and_kill(work, rng.uniform(0, LONGEST_S))

        assert load_baseline(path, DEVICE.key, "small") in kinds

    save_baseline(path, kinds[0])
    assert half_written(tmp_path) == []


def test_an_engine_in_the_cache_is_whole_and_its_lock_is_free(tmp_path: Path, rng: random.Random) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "weights").write_bytes(b"weights" * 1000)
    spec = EngineSpec("one", tmp_path / "model", "fake", engine_args=(("build_s", 0.001),))
    cache = EngineCache(tmp_path / "engines", now)

    for _ in range(KILLS):

        def work(say: Say) -> None:
            for number in range(10**6):
                say(number)
                EngineCache(tmp_path / "engines", now).get(spec, DEVICE, FakeBackend(), fresh=True)

        fork_and_kill(work, rng.uniform(0, LONGEST_S))
        read_as_whole = cache.entries()
        found = cache.lookup(spec, DEVICE, FakeBackend())

        assert found is None or verify(found.folder) == found.entry
        assert len(read_as_whole) == (found is not None)

    whole = cache.get(spec, DEVICE, FakeBackend())
    assert verify(whole.folder) == whole.entry
    assert {path.name for path in cache.root.iterdir() if path.is_dir()} == {whole.entry.key}
    assert cache.prune(0).removed == 1


def test_every_run_that_was_remembered_is_in_the_history(tmp_path: Path, rng: random.Random) -> None:
    path = tmp_path / "history.sqlite"
    finished = 0

    for _ in range(KILLS // 2):

        def work(say: Say, begin: int = finished) -> None:
            for number in range(begin + 1, 10**6):
                with History(path) as history:
                    history.add(_run(number), {})
                say(number)

        finished = fork_and_kill(work, rng.uniform(0, LONGEST_S))
        with History(path) as history:
            stored = [one.id for one in history.sessions()]
            assert len(stored) in (finished, finished + 1)
            assert all(one.values == 1 for one in history.sessions())


def test_a_gate_that_is_killed_again_and_again_ends_as_if_nothing_had_been(tmp_path: Path, rng: random.Random) -> None:
    """Whoever is killed: the gate, a round, a build, or the keeper of them."""
    calm, hunted = Project.make(tmp_path / "calm"), Project.make(tmp_path / "hunted")
    for project in (calm, hunted):
        assert project.run(project.command("run", "--rounds", "1")) == 0, project.told
    assert calm.run(calm.command("run", "--rounds", "3")) == 0, calm.told

    kept: list[str] = []
    for _ in range(3):
        gate = hunted.start(hunted.command("run", "--rounds", "3"))
        time.sleep(rng.uniform(0.5, 3.0))
        if one := victim(gate, rng):
            os.kill(one.pid, 9)
        gate.kill()
        gate.wait()
        assert hunted.await_quiet() == []
        rounds = list(hunted.rounds())
        assert rounds[: len(kept)] == kept or not rounds  # empty: the gate was reported just then
        kept = rounds
    assert hunted.run(hunted.command("run", "--rounds", "3")) == 0, hunted.told

    assert hunted.verdicts() == calm.verdicts()
    assert hunted.await_quiet() == []
    assert half_written(hunted.root) == []
    assert not list(hunted.root.glob(".perfgate/journal/*"))


def _round(index: int) -> Round:
    measured = CaseRound("one-b1", {"itl_p50": 0.001 * index}, {"ttft": Floats(0.001 * n for n in range(200))})
    return Round("one", Side.CANDIDATE, index, "2026-01-14T08:00:01+00:00", 1.0, (measured,))


def _run(number: int) -> Run:
    started = f"2026-01-14T08:{number // 60 % 60:02}:{number % 60:02}+00:00"
    return Run(
        "small", started, Environment(DEVICE.key, DEVICE.product, {}, f"c{number}"),
        (CaseInfo("one-b1", "one", "latency", "0123"),), (PreparedInfo("one", "k", True, {}, 1, {}),),
        (_round(number),),
    )  # fmt: skip


def _baseline(number: int) -> Baseline:
    run = replace(_run(number), rounds=tuple(_round(index) for index in range(1, 40 * (number + 1))))
    return baseline_from_run(run, Provenance(run.started, "a test", DEVICE.product, {}, ""))

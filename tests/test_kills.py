"""SIGKILL at random moments: what was finished survives, nothing half-written is read, nobody is left behind.

Two hundred kills with tests/report/test_kills_of_reports.py of forks of this process that write one kind of file after
the other; and kills of whole gates, most at moments that are waited for. The seed of the others is printed, and
PERFGATE_TEST_SEED repeats it. PERFGATE_KILLS=200 kills whole gates that often; benchmarks/soak.py, for hours.
"""

from __future__ import annotations

import math
import os
import random
import re
import signal
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from fake_engine import FakeBackend
from killing import (
    SERVER,
    Kept,
    Project,
    await_free,
    fork_and_kill,
    half_written,
    hunted,
    is_free,
    round_name,
    slow_disk,
    victim,
    words_of,
)
from perfgate.baselines import Baseline, Provenance, baseline_from_run, load_baseline, save_baseline
from perfgate.case import EngineSpec
from perfgate.device import Device
from perfgate.engines.cache import EngineCache, verify
from perfgate.floats import Floats
from perfgate.history import History
from perfgate.journal import Header, Journal
from perfgate.process_tree import descendants
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
KILLS_OF_A_TURN = 6  # of whole gates: four of one, two of one over a server
TURNS = math.ceil(int(os.environ.get("PERFGATE_KILLS", KILLS_OF_A_TURN)) / KILLS_OF_A_TURN)
BUILD, ROUND = "perfgate.builder", "perfgate.worker"
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


@pytest.mark.parametrize("turn", range(TURNS))
def test_a_gate_that_is_killed_again_and_again_ends_as_if_nothing_had_been(
    tmp_path: Path, rng: random.Random, turn: int
) -> None:
    """A build, a round, pytest, and whoever is at work at a random moment: the gate, a child, or who keeps them."""
    del turn
    with hunted(tmp_path / "calm") as calm, hunted(tmp_path / "hunted") as project:
        first, gate, session = (
            project.command("run", "--rounds", "1"), project.command("run", "--rounds", "2"),
            project.pytest("--perfgate-rounds", "2"),
        )  # fmt: skip
        _end(calm, first)
        _end(calm, gate)

        _kill(project, project.start_held(first, BUILD), BUILD)
        _end(project, first)
        kept = Kept(project)
        _kill(project, project.start_held(gate, "work/cpu/001-"), ROUND)
        assert (kept.lost(), len(kept.rounds)) == ([], 1)
        _kill(project, project.start_held(session, "work/cpu/002-"))
        assert (kept.lost(), len(kept.rounds)) == ([], 2)
        _kill_somebody(project, gate, rng)
        assert kept.lost() == []
        _end(project, gate)
        assert kept.lost() == []

        assert project.verdicts() == calm.verdicts()
        assert half_written(project.root) == []
        assert not list(project.root.glob(".perfgate/journal/*"))


@pytest.mark.parametrize("turn", range(TURNS))
def test_a_killed_gate_over_a_server_leaves_no_port_and_goes_on(tmp_path: Path, turn: int) -> None:
    """The server is killed, then the gate alone, each while a client is at work."""
    del turn
    with hunted(tmp_path / "calm", serves=True) as calm, hunted(tmp_path / "hunted", serves=True) as project:
        gate = project.command("run", "--rounds", "2")
        _end(calm, gate)

        kept = Kept(project)
        ports = _kill(project, project.start_held(gate, "work/cpu/000-one-candidate/c2."), SERVER)
        assert (len(ports), kept.lost(), kept.rounds) == (1, [], [])
        ports = _kill(project, project.start_held(gate, "work/cpu/001-one-candidate/c2."))
        assert (len(ports), kept.lost(), len(kept.rounds)) == (1, [], 1)
        _end(project, gate)
        assert kept.lost() == []

        assert project.verdicts() == calm.verdicts()
        assert half_written(project.root) == []


def test_a_gate_that_was_killed_when_its_rounds_were_the_baseline_measures_anew(tmp_path: Path) -> None:
    with hunted(tmp_path / "project") as project:
        gate = project.command("run", "--rounds", "1")
        _kill(project, project.start_held(gate, "perfgate.cli", once=".perfgate/baselines/**/*.json"))
        (left,) = project.rounds()
        _end(project, gate)

        assert re.search(r"the interrupted run of \S+ is in the baseline already: measuring anew", project.told)
        assert "already measured" not in project.told
        assert project.reported_rounds()
        assert round_name(left) not in project.reported_rounds()
        assert not list(project.root.glob(".perfgate/journal/*"))


def _end(project: Project, command: list[str]) -> None:
    """Let it come to its end: nothing runs on."""
    assert project.run(command) == 0, project.told
    assert project.await_quiet() == []


def _kill_somebody(project: Project, command: list[str], rng: random.Random) -> None:
    gate = project.start(command)
    time.sleep(rng.uniform(0.5, 3.0))
    gate.send_signal(signal.SIGSTOP)  # or it goes on with a round that was killed, which is another promise
    if one := victim(gate, rng):
        with suppress(ProcessLookupError):
            os.kill(one.pid, signal.SIGKILL)
    _kill(project, gate)


def _kill(project: Project, gate: subprocess.Popen[bytes], who: str = "") -> list[int]:
    """Kill the process of a gate that has `who` in its command, if that is asked for, and the gate: nothing is left.

    Returns the ports where its servers had been listening.
    """
    ports = [port for port in project.ports if not is_free(port)]
    if who:
        gate.send_signal(signal.SIGSTOP)  # so that it does not see what becomes of its child
        (one,) = [one for one in descendants(gate.pid) if who in " ".join(words_of(one))]
        os.kill(one.pid, signal.SIGKILL)
    gate.kill()
    gate.wait()
    assert project.await_quiet() == []
    assert await_free(ports) == []
    return ports


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

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from fake_server import FakeServer, Manner, wait_for
from running import asks, target

from perfgate.errors import RoundError, UsageError
from perfgate.load.ask import LoadPlan
from perfgate.load.client import recover, run_load
from perfgate.load.job import Job
from perfgate.load.progress import count_responses
from perfgate.load.target import Target
from perfgate.process import HERE
from perfgate.record import encode, write_atomic


def test_a_load_runs_in_a_process_of_its_own(tmp_path: Path) -> None:
    with FakeServer(Manner()) as server:
        result = run_load(target(server), LoadPlan(asks(10), 2), tmp_path)

    assert [one.fault for one in result.records] == [None] * 10
    assert result.path.startswith("epoll")
    assert result.ends[0].cpu_ns > 0
    assert count_responses(result.raw[0]) == 10


@pytest.mark.parametrize("concurrency", [4, None])
def test_shards_share_one_load_and_one_start(tmp_path: Path, concurrency: int | None) -> None:
    due = None if concurrency else [0.005 * at for at in range(12)]
    with FakeServer(Manner(itl_s=0.01)) as server:
        result = run_load(target(server), LoadPlan(asks(12, due_s=due), concurrency), tmp_path, shards=2)

    assert [one.index for one in result.records] == list(range(12))
    assert [one.fault for one in result.records] == [None] * 12
    assert len(result.raw) == len(result.ends) == 2
    assert result.ends[0].started_ns == result.ends[1].started_ns
    assert server.most_in_flight <= (concurrency or 12)


def test_a_killed_client_leaves_what_it_had_measured(tmp_path: Path) -> None:
    with FakeServer(Manner(itl_s=0.01)) as server:
        job = Job.of(target(server), LoadPlan(asks(5000), 4), tmp_path / "load.raw")
        write_atomic(tmp_path / "load.job.json", encode(job))
        command = HERE.command(
            "perfgate.load.process", [str(tmp_path / "load.job.json"), str(tmp_path / "result.json")]
        )
        with subprocess.Popen(command, env=HERE.variables) as client:
            enough = wait_for(lambda: count_responses(job.raw) >= 12)
            os.kill(client.pid, signal.SIGKILL)

    found = recover(tmp_path / "load.job.json")

    assert enough
    assert len(found.records) >= 12
    assert all(one.fault is None and one.output_tokens == 4 for one in found.records)
    assert found.ends == ()


def test_a_client_that_crashes_is_an_error_that_names_its_log(tmp_path: Path) -> None:
    unknown = Target("http://name.invalid:1")

    with pytest.raises(RoundError, match=r"cannot look up 'name.invalid'.*load.log"):
        run_load(unknown, LoadPlan(asks(1), 1), tmp_path)


def test_the_timed_process_loads_no_numpy_and_no_test_framework(tmp_path: Path) -> None:
    code = (
        "import sys, perfgate.load.process; print(sorted({'numpy', 'scipy', 'pytest', 'asyncio'} & set(sys.modules)))"
    )
    found = subprocess.run(
        [sys.executable, "-c", code], env=HERE.variables, capture_output=True, check=True, text=True, cwd=tmp_path
    )

    assert found.stdout == "[]\n"


@pytest.mark.parametrize(
    ("plan", "words"),
    [
        (LoadPlan((), 1), "no requests"),
        (LoadPlan(asks(2), 0), "concurrency"),
        (LoadPlan(asks(2), 1, warmup=2), "warmup"),
        (LoadPlan(asks(2), None), "due time"),
        (LoadPlan(asks(1, due_s=[float("nan")]), None), "due_s"),
    ],
)
def test_a_plan_that_cannot_be_is_refused(tmp_path: Path, plan: LoadPlan, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        Job.of(Target("http://localhost:1"), plan, tmp_path / "raw")

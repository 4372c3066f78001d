"""Every kind of child that writes into a log has it cut, by one mechanism: real processes that flood theirs."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from perfgate.case import EngineSpec
from perfgate.engines import tensorrt_llm_build, transformers_ranks
from perfgate.engines.transformers_call import RankJob
from perfgate.keeping import kept
from perfgate.load.ask import Ask, LoadPlan
from perfgate.load.job import Job
from perfgate.load.shards import send_in_shards
from perfgate.load.target import Target

LIMIT, FLOOD = 100_000, 1_000_000
# Before anything of the child's own: a flood, and then patience until its log has been cut.
FLOODS = f"""
import os, stat, sys, time
words = " ".join(sys.orig_argv)
if "--together" in words or "transformers_rank" in words or "a builder" in words:
    os.write(2, b"flood " * ({FLOOD} // 6))
    deadline = time.monotonic() + 5
    while os.fstat(2).st_size >= {FLOOD} - 6 and time.monotonic() < deadline:
        time.sleep(0.02)
"""


def _build(folder: Path) -> list[Path]:
    tensorrt_llm_build._execute("flood", [sys.executable, "-c", "'a builder'"], folder / "entry")
    return list(folder.rglob("*-flood.log"))


def _shards(folder: Path) -> list[Path]:
    ask = Ask({"model": "m", "prompt": [1], "max_tokens": 1}, 1, 1)
    job = Job.of(Target("http://127.0.0.1:9"), LoadPlan((ask, ask), 2), folder / "a.raw", 2, ())
    send_in_shards(job, folder / "a.result.json")
    return list(folder.glob("a-*.log"))


def _rank(folder: Path) -> list[Path]:
    job = RankJob(EngineSpec("e", folder, "transformers", tp=2), folder, folder / "meet", 1, 0)
    rank = transformers_ranks._start(job, 1, folder)
    rank.process.wait(60)  # it finds no engine
    rank.child.end(0.0)
    return [rank.child.log]


@pytest.mark.parametrize("flood", [_build, _shards, _rank])
def test_no_childs_log_grows_without_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, flood: Callable[[Path], list[Path]]
) -> None:
    (tmp_path / "sitecustomize.py").write_text(FLOODS)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), *sys.path]))
    monkeypatch.setattr("perfgate.process.kept", lambda one, held: kept(replace(one, log_bytes=LIMIT), held))

    logs = flood(tmp_path)

    assert logs
    for log in logs:
        assert b"bytes of this log were left out here" in log.read_bytes()
        assert log.stat().st_size < FLOOD / 2

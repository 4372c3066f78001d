"""What a round's process tells beside its measurements."""

from __future__ import annotations

from pathlib import Path

import pytest

from perfgate.case import BuildWork, EngineSpec
from perfgate.engines.base import EngineStats
from perfgate.record import Side
from perfgate.worker import NOTES, Job, _built, _log

JOB = Job(EngineSpec("e", Path("model")), Path("engine"), Side.CANDIDATE, 0, 60.0, values={"build_s": 3.0})


def test_gpu_memory_is_a_value_where_the_library_tells() -> None:
    told, silent = (_built(JOB, BuildWork("build"), 2.0, EngineStats(peak_gpu_bytes=given)) for given in (7, None))

    assert told.values["peak_gpu_memory_bytes"] == 7.0
    assert silent.values.keys() == {"build_s", "load_s", "peak_memory_bytes"}


def test_log_says_what_the_engine_ran_with(capsys: pytest.CaptureFixture[str]) -> None:
    _log(EngineStats(notes={"dtype": "bf16"}, kv_blocks=512))

    assert capsys.readouterr().out == f"{NOTES}dtype bf16; kv_blocks 512\n"

"""What a round's process tells beside its measurements."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

import pytest

from fake_engine import WEIGHTS, FakeBackend, FakeEngine
from perfgate.case import BuildWork, EngineSpec, LatencyWork
from perfgate.engines.base import EngineStats
from perfgate.plant import Plant
from perfgate.process import Interpreter
from perfgate.record import CaseRound, Round, Side, encode
from perfgate.record import decode as decode_record
from perfgate.turns import Launch, run_in_turns
from perfgate.worker import NOTES, Job, _built, _log, _measure

HERE = Path(__file__).parent
JOB = Job(EngineSpec("e", Path("model")), Path("engine"), Side.CANDIDATE, 0, 60.0, values={"build_s": 3.0})


def test_gpu_memory_is_a_value_where_the_library_tells() -> None:
    told, silent = (_built(JOB, BuildWork("build"), 2.0, 9, EngineStats(peak_gpu_bytes=given)) for given in (7, None))

    assert told.values["peak_gpu_memory_bytes"] == 7.0
    assert silent.values.keys() == {"build_s", "load_s", "peak_memory_bytes"}


def test_log_says_what_the_engine_ran_with(capsys: pytest.CaptureFixture[str]) -> None:
    _log(EngineStats(notes={"dtype": "bf16"}, kv_blocks=512))

    assert capsys.readouterr().out == f"{NOTES}dtype bf16; kv_blocks 512\n"


def test_an_engine_s_folder_is_absolute_as_tasks_change_the_working_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Path] = []

    class Asked(FakeBackend):
        @contextmanager
        def load(self, spec: EngineSpec, prepared: Path, plant: Plant) -> Iterator[FakeEngine]:  # noqa: ARG002
            asked.append(prepared)
            yield FakeEngine({}, plant)

    monkeypatch.setattr("perfgate.worker.backend", lambda _: Asked())
    monkeypatch.setattr("perfgate.worker.turn_from_parent", nullcontext)

    _measure(JOB)

    assert asked == [Path.cwd() / JOB.prepared]


def measured(folder: Path, device_us: int, decode: float = 1.0) -> tuple[CaseRound, str]:
    """A latency case of the fake engine in a real worker, and its log."""
    texts = folder / "texts.jsonl"
    texts.write_text('{"id": "d", "text": "def f(x): return x"}\n')
    args = (("device_us", device_us), ("step_us", 400))
    spec = EngineSpec("e", folder, "fake_engine:FakeBackend", engine_args=args)
    (folder / WEIGHTS).write_text("weights")
    work = LatencyWork("b", texts, 8, 8, 2, 4, warmup_requests=1)
    job = Job(spec, folder, Side.CANDIDATE, 0, 60.0, latency=(work,), plant=Plant(decode=decode))
    (folder / "job.json").write_bytes(encode(job))
    here = Interpreter(Path(sys.executable), (str(HERE.parent / "src"), str(HERE)))
    words = (str(folder / "job.json"), str(folder / "round.json"))
    run_in_turns([Launch("perfgate.worker", words, folder / "log", here)], 60.0)
    found = decode_record((folder / "round.json").read_bytes(), Round, "round.json")
    assert found.fault is None
    return found.cases[0], (folder / "log").read_text()


def test_device_times_stand_beside_wall_times_and_a_planted_wait_is_the_host_s(tmp_path: Path) -> None:
    true, planted = (measured(tmp_path, 100, ratio)[0].values for ratio in (1.0, 3.0))

    assert true["device_decode_step_p50"] == planted["device_decode_step_p50"] == pytest.approx(1e-4)
    assert true["device_prefill_p50"] == pytest.approx(1e-3)
    assert true["device_busy_share"] <= 0.25  # a step takes 400 us of the host, and three times as long planted
    assert planted["device_busy_share"] <= 0.25 / 3
    assert planted["itl_p50"] >= 3 * 400e-6


def test_what_is_not_known_is_absent_and_its_reason_in_the_log(tmp_path: Path) -> None:
    case, log = measured(tmp_path, 0)

    assert case.faults == ()
    assert not [name for name in case.values if name.startswith("device_")]
    assert "no device times: told not to tell" in log

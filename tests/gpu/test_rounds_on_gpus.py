"""Rounds of the fake engine on a machine with scripted GPUs: real workers, a real sampling process."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from gpu.nvml_machine import OTHER, OWN, Card, Machine, Process, double
from perfgate.case import Case, EngineSpec, LatencyWork
from perfgate.engines.cache import Entry, Found
from perfgate.gpu.facts import Gpu
from perfgate.gpu.validity import GpuLimits, GpuWish
from perfgate.measure import Ask, Bench, Hardware
from perfgate.metrics import CATALOGUE
from perfgate.plant import Plant
from perfgate.record import Round, Side
from perfgate.terms import Gate

TESTS = str(Path(__file__).parent.parent)
GATE = Gate((CATALOGUE["itl_p10"],), round_timeout_s=60.0, max_foreign_cpu=1000.0)
GPUS = tuple(Gpu(at, uuid, "NVIDIA H200", (9, 0), 2**37) for at, uuid in enumerate((OWN, OTHER)))

Measured = Callable[..., Round]


@pytest.fixture
def measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Measured:
    """A round on GPUs of which the first is as told."""
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([TESTS, *filter(None, [os.environ.get("PYTHONPATH")])]))
    monkeypatch.syspath_prepend(TESTS)
    (tmp_path / "prepared").mkdir()
    (tmp_path / "prepared" / "weights.bin").write_text("weights")
    (tmp_path / "texts.jsonl").write_text("".join(f'{{"id": "d{at}", "text": "{"abc " * 20}"}}\n' for at in range(4)))

    def run(*, gate: Gate = GATE, tp: int = 1, fail: str = "", **card: object) -> Round:
        machine = Machine([Card(**card), Card(OTHER, power=100_000)], log=str(tmp_path / "asked.txt"))  # type: ignore[arg-type]
        for name, value in double.install(tmp_path / "nvml", machine).items():
            monkeypatch.setenv(name, value)
        args = (("fail", fail),) if fail else ()
        spec = EngineSpec("one", tmp_path, "fake_engine:FakeBackend", engine_args=(*args, ("step_us", 2000)), tp=tp)
        case = Case(spec, LatencyWork("b1", tmp_path / "texts.jsonl", 8, 16, 1, 32, 0))
        found = Found(tmp_path / "prepared", Entry("key", {}, {}, {}, 7, {}, ""), from_cache=True)
        bench = Bench(
            tmp_path / "work", gate, (case,), {("one", Side.CANDIDATE): found}, Plant(), hardware=Hardware(GPUS)
        )
        return bench.measure((Ask("one", Side.CANDIDATE),), [])[0]

    return run


def test_a_round_keeps_what_its_gpus_did(measured: Measured) -> None:
    one = measured(tp=2)

    assert one.fault is None
    assert one.gpu is not None
    assert [(gpu.uuid, gpu.gaps, gpu.energy_by) for gpu in one.gpu.gpus] == [(OWN, 0, "counter"), (OTHER, 0, "counter")]
    assert one.cases[0].values["gpu_power_mean_w"] == pytest.approx(400.0, rel=0.01)
    assert one.gpu.sampling is not None
    assert one.gpu.sampling.cpu_s > 0
    assert one.gpu.lock is None
    assert one.gpu.trace is not None
    assert [set(gpu.power_w) for gpu in one.gpu.trace.gpus] == [{300}, {100}]
    assert one.gpu.trace.timed


def test_a_gpu_that_another_uses_makes_the_round_invalid_unless_allowed(measured: Measured) -> None:
    one = measured(processes=[Process(1, "init", busy=20)])

    assert one.fault == "the engine's GPU 0 was used by another's process 1 (init, 1.0 GiB) while it was timed"
    assert one.gpu is not None
    assert one.gpu.trace is not None
    assert one.gpu.trace.gpus[0].foreign
    shared = replace(GATE, gpu=GpuWish(GpuLimits(foreign=True)))
    assert measured(gate=shared, processes=[Process(1, "init", busy=20)]).fault is None


def test_clocks_are_put_back_when_the_measuring_process_dies(measured: Measured, tmp_path: Path) -> None:
    one = measured(gate=replace(GATE, gpu=GpuWish(lock_mhz=1500)), fail="crash")

    assert one.fault is not None
    assert "code -9" in one.fault
    assert (tmp_path / "asked.txt").read_text() == "lock 1500 1500\nreset\n"

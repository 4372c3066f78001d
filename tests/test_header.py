"""The first lines of a gate: device, driver, clocks, engines, baseline."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import pytest

from perfgate import header
from perfgate.baselines import Baseline, Provenance
from perfgate.case import EngineSpec
from perfgate.device import Device
from perfgate.gpu.facts import Gpu

CPU = Device("cpu/x86_64-avx512", "a CPU")
H200 = Gpu(0, "GPU-0", "NVIDIA H200", (9, 0), 2**37, sm_max_mhz=1980, mem_max_mhz=3201)


def _gpus(*gpus: Gpu) -> Device:
    return Device("sm_90/h200-141gb", "NVIDIA H200", driver="580.1", gpus=gpus)


@pytest.mark.parametrize(("mhz", "told"), [(3400.4, "3,400 MHz now"), (None, "clock not told")])
def test_of_a_cpu_the_clock_is_told_as_it_is_now(monkeypatch: pytest.MonkeyPatch, mhz: float | None, told: str) -> None:
    monkeypatch.setattr(header, "clock_mhz", lambda: mhz)

    assert header.device_line(CPU, {"rack": "B7"}) == f"device cpu/x86_64-avx512 (a CPU), {told}, rack B7"


@pytest.mark.parametrize(
    ("gpus", "told"),
    [
        ((H200, replace(H200, index=1)), "SM clock up to 1,980 MHz, memory 3,201 MHz"),
        ((replace(H200, app_sm_mhz=1500, app_mem_mhz=2619),), "SM clock up to 1,500 MHz, memory 2,619 MHz"),
        ((H200, replace(H200, sm_max_mhz=1755)),
         "SM clock up to 1,755 MHz, memory 3,201 MHz or SM clock up to 1,980 MHz, memory 3,201 MHz"),
        ((replace(H200, sm_max_mhz=None),), "clocks not told"),
    ],
)  # fmt: skip
def test_of_gpus_driver_and_clocks_as_they_are_set_are_told(gpus: tuple[Gpu, ...], told: str) -> None:
    assert header.device_line(_gpus(*gpus), {}) == f"device sm_90/h200-141gb (NVIDIA H200), driver 580.1, {told}"


def test_engines_are_told_by_the_versions_of_their_backends_once_each() -> None:
    specs = [EngineSpec(name, Path("m"), "fake_engine:FakeBackend") for name in ("one", "two")]

    assert header.engines_line(specs) == "fake 1.0"


def test_the_id_of_a_baseline_is_that_of_its_file(tmp_path: Path) -> None:
    path = tmp_path / "small.json"
    path.write_bytes(b"{}")
    made = Provenance("2026-01-14T08:00:00+00:00", "why", "a CPU", {}, "0b1c2d3")

    line = header.baseline_line((path, Baseline("small", "cpu/x", made, {})))

    assert line.startswith(f"baseline {hashlib.sha256(b'{}').hexdigest()[:10]} of 2026-01-14 at 0b1c2d3: ")
    assert header.baseline_line(None) == "no baseline on this device yet"

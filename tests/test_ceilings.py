"""A device's limits: measured in a child process, kept by what they depend on, never where they are doubtful."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from perfgate import ceiling_probe, ceilings
from perfgate.ceiling_probe import Probed, ProbeJob, Unit, last_level_cache, probe_gpu, rate_of
from perfgate.ceilings import CeilingStore, measure_ceilings, probe
from perfgate.device import Device
from perfgate.errors import RoundError
from perfgate.roofline import Rate

CPU = Device("cpu/x86_64-avx512", "Example 9000")
GPU = Device("sm_90/h200-141gb", "NVIDIA H200", "580.1")
FOUND = Probed(Rate(2.0, 1.8, 2.1, 5), {"fp32": Rate(3.0, 2.0, 3.5, 5)}, 1024, versions={"numpy": "2"})


@pytest.fixture
def probes(monkeypatch: pytest.MonkeyPatch) -> list[Probed]:
    """What probes find, one after the other."""
    queue: list[Probed] = []
    monkeypatch.setattr(ceilings, "probe", lambda *_args: queue.pop(0))
    return queue


def test_the_cpu_is_measured_in_a_process_of_its_own(tmp_path: Path) -> None:
    found = probe(ProbeJob(Unit.CPU, figure_s=0.0), tmp_path)

    assert found.copy is not None
    assert found.copy.repeats == ceiling_probe.LEAST
    assert found.matrix["fp32"].median > 0
    assert found.untold["bf16"]


def test_limits_are_measured_once_and_again_when_asked_for(tmp_path: Path, probes: list[Probed]) -> None:
    probes += [FOUND, replace(FOUND, cache_bytes=2048)]
    store = CeilingStore(tmp_path)

    first, kept = store.get(CPU), store.get(CPU)

    assert kept == first
    assert (first.device, first.cache_bytes) == (CPU.key, 1024)
    assert store.get(CPU, fresh=True).cache_bytes == 2048


def test_another_driver_or_other_cores_need_limits_of_their_own(tmp_path: Path, probes: list[Probed]) -> None:
    probes.append(FOUND)
    store = CeilingStore(tmp_path)
    store.get(GPU)

    assert store.find(GPU) is not None
    assert store.find(replace(GPU, driver="590.0")) is None
    assert store.find(GPU, cpus=(2, 3)) is None


def test_what_was_measured_on_a_disturbed_machine_is_not_kept(tmp_path: Path, probes: list[Probed]) -> None:
    probes.append(replace(FOUND, foreign_share=0.8))
    store = CeilingStore(tmp_path)

    assert store.get(CPU).doubt
    assert store.find(CPU) is None


def test_a_damaged_file_counts_as_none(tmp_path: Path, probes: list[Probed]) -> None:
    probes.append(FOUND)
    store = CeilingStore(tmp_path)
    store.get(CPU)
    for path in (tmp_path / "ceilings").glob("*.json"):
        path.write_text("{")

    assert store.find(CPU) is None


def test_a_device_that_cannot_be_measured_has_a_reason(tmp_path: Path, probes: list[Probed]) -> None:
    probes.append(Probed(None, untold={"gpu": "torch is not installed"}))

    with pytest.raises(RoundError, match="torch is not installed"):
        measure_ceilings(GPU, tmp_path)


def test_a_rate_is_the_median_with_its_extremes() -> None:
    found = rate_of(100.0, [1.0, 2.0, 4.0])

    assert found == Rate(50.0, 25.0, 100.0, 3)


def test_a_shared_cache_counts_once(tmp_path: Path) -> None:
    for core, shared in ((0, "0-1"), (1, "0-1"), (2, "2")):
        for index, level, size in ((0, "1", "32K"), (3, "3", "1024K")):
            folder = tmp_path / f"cpu{core}" / "cache" / f"index{index}"
            folder.mkdir(parents=True)
            for name, text in (("level", level), ("shared_cpu_list", shared), ("size", size)):
                (folder / name).write_text(f"{text}\n")

    assert last_level_cache((0, 1, 2), tmp_path) == 2 * 2**20
    assert last_level_cache((7,), tmp_path) is None


class _Double:
    """A torch that multiplies by numpy and has no fp8."""

    __version__ = "double"
    version = SimpleNamespace(cuda="none")
    backends = SimpleNamespace(cuda=SimpleNamespace(matmul=SimpleNamespace(allow_tf32=True)))
    uint8, int8, float32, bfloat16, float16 = np.uint8, np.int8, np.float32, np.float32, np.float16

    class _Array(np.ndarray[Any, Any]):
        def to(self, dtype: Any) -> Any:
            return self.astype(dtype)

        def t(self) -> Any:
            return self.T

        def copy_(self, other: Any) -> None:
            self[...] = other

    def __init__(self) -> None:
        clock = iter(range(1, 10_000_000))
        event = type("Event", (), {"record": lambda _: None, "elapsed_time": lambda *_: float(next(clock) % 7 + 30)})
        self.cuda = SimpleNamespace(
            is_available=lambda: True, get_device_properties=lambda _: SimpleNamespace(name="Double", L2_cache_size=9),
            mem_get_info=lambda: (2**20, 2**20), Event=lambda enable_timing: event(), synchronize=lambda: None,  # noqa: ARG005
            empty_cache=lambda: None,
        )  # fmt: skip

    def _made(self, array: Any) -> Any:
        return array.view(self._Array)

    def ones(self, size: Any, dtype: Any = np.float32, device: str = "") -> Any:
        del device
        return self._made(np.ones(size or 1, dtype))

    def empty_like(self, other: Any) -> Any:
        return self._made(np.empty_like(other))

    def randn(self, rows: int, columns: int, device: str, dtype: Any) -> Any:
        del rows, columns, device
        return self._made(np.ones((4, 4), dtype))

    def randint(self, low: int, high: int, size: Any, device: str, dtype: Any) -> Any:
        del low, high, size, device
        return self._made(np.ones((4, 4), dtype))

    def matmul(self, a: Any, b: Any, out: Any) -> Any:
        return np.matmul(a, b, out=out)

    def _int_mm(self, a: Any, b: Any) -> Any:
        return a @ b


def test_a_gpu_is_measured_in_every_precision_it_has_and_says_why_not_in_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    double = _Double()
    monkeypatch.setitem(sys.modules, "torch", double)

    found = probe_gpu(figure_s=0.0)

    assert found.copy is not None
    assert set(found.matrix) == {"bf16", "fp16", "int8", "fp32", "tf32"}
    assert "float8_e4m3fn" in found.untold["fp8"]
    assert (found.product, found.cache_bytes) == ("Double", 9)
    assert double.backends.cuda.matmul.allow_tf32 is False


def test_without_a_gpu_the_probe_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(__version__="2", cuda=SimpleNamespace(is_available=bool)))

    assert probe_gpu().untold == {"gpu": "torch 2 sees no GPU"}

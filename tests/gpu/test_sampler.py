"""The sampling process, over a scripted NVML: real processes, and ends of all kinds."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path

import pytest

from gpu.nvml_machine import OWN, Card, Machine, Process, double
from perfgate.gpu.facts import Gpu
from perfgate.gpu.nvml import open_nvml
from perfgate.gpu.reading import read_gpus
from perfgate.gpu.sample import Reading
from perfgate.gpu.sampler import PROCESSES_EVERY_S, ticks
from perfgate.gpu.watch import Watch, read_samples, watching
from perfgate.process_tree import descendants

GPU = Gpu(0, OWN, "NVIDIA H200", (9, 0), 2**37)
LOCK = "nvmlDeviceSetGpuLockedClocks"


def _install(monkeypatch: pytest.MonkeyPatch, folder: Path, **card: object) -> Path:
    """A machine of one card for child processes; returns the file that tells what was asked of it."""
    log = folder / "asked.txt"
    made = double.install(folder / "nvml", Machine([Card(**card)], log=str(log)))  # type: ignore[arg-type]
    for name, value in made.items():
        monkeypatch.setenv(name, value)
    return log


def _watch_for(seconds: float, folder: Path, lock_mhz: int | None = None) -> Watch:
    with watching(folder, "w", [GPU], lock_mhz=lock_mhz, period_s=0.02) as watch:
        time.sleep(seconds)
    return watch


def test_a_gpu_is_sampled_by_a_process_that_tells_its_own_cost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _install(monkeypatch, tmp_path, processes=[Process(os.getpid(), "us", busy=10), Process(1, busy=5)])

    found = _watch_for(0.2, tmp_path).samples

    assert found.fault is None
    assert found.sampling is not None
    assert found.sampling.ticks == len(found.ticks) > 2
    assert 0 < found.sampling.cpu_s < found.sampling.wall_s
    first, last = found.ticks[0], found.ticks[-1]
    assert [one.is_own for one in first.gpus[0].processes or ()] == [True, False]
    assert last.gpus[0].processes is not None
    assert last.at_s - first.at_s >= 0.2
    assert (last.gpus[0].energy_j or 0) > (first.gpus[0].energy_j or 0)


def test_nothing_is_started_without_gpus(tmp_path: Path) -> None:
    with watching(tmp_path, "w", []) as watch:
        pass

    assert not watch.samples.ticks
    assert not list(tmp_path.iterdir())


def test_a_gpu_that_is_gone_is_a_fault_and_no_crash(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _install(monkeypatch, tmp_path, uuid="GPU-another")

    assert _watch_for(0.0, tmp_path).samples.fault == f"NVML no longer lists {OWN}"


def test_clocks_are_locked_meanwhile_and_put_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = _install(monkeypatch, tmp_path)

    found = _watch_for(0.05, tmp_path, lock_mhz=1500).samples

    assert log.read_text().split("\n") == ["lock 1500 1500", "reset", ""]
    assert {tick.gpus[0].sm_mhz for tick in found.ticks} == {1500}
    assert found.lock_fault is None


def test_clocks_are_never_touched_unasked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = _install(monkeypatch, tmp_path)

    _watch_for(0.0, tmp_path)

    assert not log.exists()


def test_a_refused_lock_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _install(monkeypatch, tmp_path, refuses={LOCK: double.NVML_ERROR_NO_PERMISSION})

    assert _watch_for(0.0, tmp_path, lock_mhz=1500).samples.lock_fault == "Insufficient Permissions"


def test_clocks_are_put_back_when_the_one_who_asked_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = _install(monkeypatch, tmp_path)
    code = (
        "import sys, time; from pathlib import Path; from perfgate.gpu.facts import Gpu\n"
        "from perfgate.gpu.watch import watching\n"
        f"with watching(Path({str(tmp_path)!r}), 'w', [Gpu(0, {OWN!r}, 'x', (9, 0), 1)], lock_mhz=1500):\n"
        "    print('ready', flush=True); time.sleep(60)"
    )
    child = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    assert child.stdout.readline() == "ready\n"

    child.send_signal(signal.SIGKILL)
    child.wait()

    until = time.monotonic() + 20
    while "reset" not in log.read_text() and time.monotonic() < until:
        time.sleep(0.01)
    assert log.read_text() == "lock 1500 1500\nreset\n"
    child.stdout.close()


def test_clocks_are_put_back_when_a_round_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = _install(monkeypatch, tmp_path)

    with pytest.raises(ZeroDivisionError), watching(tmp_path, "w", [GPU], lock_mhz=1500):
        _ = 1 / 0

    assert log.read_text().endswith("reset\n")


def test_a_killed_sampler_is_one_line_and_its_clocks_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _install(monkeypatch, tmp_path)

    with watching(tmp_path, "w", [GPU], lock_mhz=1500, period_s=0.02) as watch:
        (sampler,) = [one for one in descendants(os.getpid()) if "perfgate.gpu.sampler" in one.command]
        os.kill(sampler.pid, signal.SIGKILL)
        time.sleep(0.05)

    assert watch.samples.ticks
    assert watch.samples.fault == (
        "the sampling process was killed: the GPUs' figures of this round are not told; "
        "clocks may still be locked (nvidia-smi -rgc puts them back)"
    )


def test_a_file_that_a_crash_cut_off_is_read_to_its_last_whole_line(tmp_path: Path) -> None:
    path = tmp_path / "s.jsonl"
    path.write_text('{"tick":{"at_s":1.0,"gpus":[{"power_w":5.0}]}}\n{"tick":{"at_s":2.0')

    found = read_samples(path, (OWN,), 0.1)

    assert [tick.at_s for tick in found.ticks] == [1.0]
    assert read_samples(tmp_path / "absent", (OWN,), 0.1).fault is not None


def test_ticks_keep_to_a_grid_and_leave_out_what_was_missed() -> None:
    now = [100.0]
    naps = iter([0.0, 0.0, 0.25, 0.0, 0.0])  # how much later than asked each wait ends

    def wait(seconds: float) -> bool:
        late = next(naps, None)
        now[0] += seconds + (late or 0.0)
        return late is not None

    found = [tick.at_s for tick in ticks(lambda _: (), 0.1, wait, lambda: now[0])]

    assert found == pytest.approx([100.0, 100.1, 100.2, 100.55, 100.6, 100.7, 100.8])


def test_processes_are_looked_at_once_a_second_first_and_last() -> None:
    now, left, looks = [0.0], [25], list[bool]()

    def wait(seconds: float) -> bool:
        now[0] += seconds
        left[0] -= 1
        return left[0] > 0

    def read(look: bool) -> tuple[Reading, ...]:  # noqa: FBT001 - as the sampler calls it
        looks.append(look)
        return ()

    at = [tick.at_s for tick, look in zip(ticks(read, 0.1, wait, lambda: now[0]), looks, strict=False) if look]

    assert at[0] == 0.0
    assert looks[-1]
    assert all(later - sooner >= PROCESSES_EVERY_S - 1e-9 for sooner, later in pairwise(at[:-1]))


def test_what_a_gpu_never_answers_is_asked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    card, asked = Card(), list[object]()

    def refuse(handle: object) -> None:
        asked.append(handle)
        raise double.NVMLError(double.NVML_ERROR_NOT_SUPPORTED)

    monkeypatch.setitem(sys.modules, "pynvml", double.as_module())
    monkeypatch.delenv(double.SCRIPT, raising=False)
    monkeypatch.setattr(double, "nvmlDeviceGetPowerUsage", refuse)
    with open_nvml() as nvml:
        answers = [nvml.ask_again("nvmlDeviceGetPowerUsage", card) for _ in range(3)]

    assert (answers, len(asked)) == ([None] * 3, 1)


def test_a_child_reads_the_script(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _install(monkeypatch, tmp_path, name="NVIDIA T4")
    monkeypatch.setitem(sys.modules, "pynvml", double.as_module())

    assert [gpu.name for gpu in read_gpus({}).seen] == ["NVIDIA T4"]

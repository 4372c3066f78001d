"""Findings on a machine: what is unfit, what to type, and what cannot be known."""

from __future__ import annotations

import json
import re
import tomllib
from dataclasses import replace
from pathlib import Path

import pytest

from gpu.nvml_machine import OTHER, OWN, Card, Process, pretend
from perfgate import doctor_facts
from perfgate.cli import main
from perfgate.doctor import Finding, Fitness, findings
from perfgate.doctor_cli import lines
from perfgate.doctor_facts import Clock, Cpu, Facts, quota_cores, read_facts
from perfgate.gpu.facts import Gpu, GpuNow, GpuProcess, Gpus
from perfgate.report.page import Page

CPU = Cpu(
    cores=(0, 1, 2, 3), governors=("performance",), is_turbo_on=False, siblings=((0,), (1,), (2,), (3,)),
    busy_share=0.01, steal_share=0.0, load=0.2, quota_cores=None, is_quota_told=True,
)  # fmt: skip
GPU = Gpu(
    0, OWN, "NVIDIA H200", (9, 0), 2**37, power_limit_w=700.0, power_default_w=700.0, ecc=True, ecc_pending=True,
    persistence=True, mig=False, pcie_width=16, pcie_width_max=16, compute_mode="default",
)  # fmt: skip
NOW = GpuNow(OWN, 1980, 3201, 40, 80.0, 1.0, 0.0, 2**29, ("idle",), 5, ())
FIT = Facts(
    cpu=CPU, clock=Clock("tsc", 3e-8, 6e-5), gpus=Gpus("575", "12.9", "12", (GPU,)), now=(NOW,), has_nvidia=True,
    memory_bytes=2**36, memory_free_bytes=2**35, cache=".perfgate", cache_free_bytes=2**40, open_files_most=65536,
)  # fmt: skip
BARE = replace(FIT, gpus=Gpus(fault="NVML: Driver Not Loaded"), now=())


def _on(**gpu: object) -> Facts:
    return replace(FIT, gpus=replace(FIT.gpus, seen=(replace(GPU, **gpu),)))  # type: ignore[arg-type]


def _now(**state: object) -> Facts:
    return replace(FIT, now=(replace(NOW, **state),))  # type: ignore[arg-type]


def _cpu(**cpu: object) -> Facts:
    return replace(FIT, cpu=replace(CPU, **cpu))  # type: ignore[arg-type]


def _found(facts: Facts, topic: str) -> Finding:
    (one,) = [one for one in findings(facts) if one.topic == topic]
    return one


def test_a_fit_machine_has_nothing_unfit() -> None:
    found = findings(FIT)

    assert {one.fitness for one in found} == {Fitness.FIT, Fitness.UNKNOWN}
    assert [one.topic for one in found if one.fitness is Fitness.UNKNOWN] == ["GPU clocks locked"]


@pytest.mark.parametrize(
    ("facts", "topic", "words", "then"),
    [
        (_on(persistence=False), "GPU persistence mode", "off on GPU 0", "nvidia-smi -pm 1"),
        (_on(power_limit_w=500.0), "GPU power limit", "500 W on GPU 0, the default is 700 W", "-i 0 -pl 700"),
        (_on(ecc_pending=False), "GPU ECC", "a change waits on GPU 0", "--gpu-reset"),
        (_on(compute_mode="prohibited"), "GPU compute mode", "no CUDA program can run", "-c DEFAULT"),
        (_on(pcie_width=8), "GPU PCIe", "8 of 16 lanes on GPU 0", "reseat"),
        (_now(processes=(GpuProcess(7, None, 2**30),)), "GPU processes", "process 7 (name not told, 1.0 GiB)", "end"),
        (_now(reasons=("thermal slowdown (driver)",)), "GPU throttling", "thermal slowdown (driver)", "TEMPERATURE"),
        (replace(FIT, gpus=replace(FIT.gpus, is_order_sure=False)), "GPU order", "several", "CUDA_DEVICE_ORDER"),
        (BARE, "GPU", "Driver Not Loaded", "nvidia-smi"),
        (replace(BARE, missing={"nvidia": ("pynvml",)}), "GPU", "not installed", "pip install nvidia-ml-py"),
        (replace(BARE, gpus=Gpus(hidden=2)), "GPU", "2 there, none visible", "CUDA_VISIBLE_DEVICES"),
        (_cpu(governors=("powersave",)), "CPU governor", "powersave", "cpupower"),
        (_cpu(is_turbo_on=True), "CPU turbo", "on", "no_turbo"),
        (_cpu(siblings=((0, 2), (1, 3))), "CPU hyperthreads", "2 cores are shared", "gate.cpus of 0-1"),
        (_cpu(steal_share=0.05), "steal time", "5.0 % of the machine", "machine of your own"),
        (_cpu(busy_share=0.3), "load now", "30.0 % of the machine", "end"),
        (_cpu(quota_cores=2.5), "CPU limit", "2.5 cores' time, 4 cores", "--cpuset-cpus"),
        (replace(FIT, memory_free_bytes=2**30), "memory", "1.0 of 64.0 GiB free", "end"),
        (replace(FIT, cache_free_bytes=2**30), "disk", "1.0 GiB free", "cache prune"),
        (replace(FIT, open_files_most=1024), "open files", "1024 a process", "ulimit -Hn 4096"),
        (replace(FIT, clock=Clock("hpet", 1e-6, 0.0)), "clock", "hpet", "tsc"),
        (replace(FIT, clock=Clock("tsc", 1e-8, 2e-3)), "timers", "2000 us late", "load"),
        (replace(FIT, missing=doctor_facts.BACKENDS), "backends", "ready: none", "pytest-perfgate[embedded]"),
    ],
)  # fmt: skip
def test_what_is_unfit_says_what_was_found_and_what_to_type(facts: Facts, topic: str, words: str, then: str) -> None:
    one = _found(facts, topic)

    assert one.fitness is Fitness.UNFIT
    assert words in one.found
    assert then in one.next


@pytest.mark.parametrize(
    ("facts", "topic"),
    [
        (_on(persistence=None), "GPU persistence mode"),
        (_on(power_limit_w=None, power_default_w=None), "GPU power limit"),
        (_on(ecc=None, ecc_pending=None), "GPU ECC"),
        (_on(compute_mode=None), "GPU compute mode"),
        (_on(pcie_width=None), "GPU PCIe"),
        (_on(place="1/0"), "GPU MIG"),
        (_now(processes=None), "GPU processes"),
        (_now(reasons=None), "GPU throttling"),
        (_cpu(governors=None), "CPU governor"),
        (_cpu(is_turbo_on=None), "CPU turbo"),
        (_cpu(siblings=None), "CPU hyperthreads"),
        (_cpu(steal_share=None), "steal time"),
        (_cpu(is_quota_told=False), "CPU limit"),
        (replace(FIT, memory_bytes=None), "memory"),
        (replace(FIT, cache_free_bytes=None), "disk"),
    ],
)
def test_what_is_not_told_is_neither_fit_nor_unfit(facts: Facts, topic: str) -> None:
    assert _found(facts, topic).fitness is Fitness.UNKNOWN


def test_gpus_that_differ_in_ecc_are_unfit() -> None:
    both = replace(
        FIT, gpus=replace(FIT.gpus, seen=(GPU, replace(GPU, index=1, uuid=OTHER, ecc=False, ecc_pending=False)))
    )

    assert _found(both, "GPU ECC").found.startswith("on for GPU 0 only")


def test_a_machine_without_any_gpu_is_fit() -> None:
    assert _found(replace(BARE, has_nvidia=False), "GPU") == Finding("GPU", Fitness.FIT, "none: cases run on the CPU")


def test_a_limit_that_covers_all_cores_is_none() -> None:
    assert _found(_cpu(quota_cores=4.0), "CPU limit").fitness is Fitness.FIT


def test_words_begin_with_what_is_unfit() -> None:
    text = list(lines(findings(_on(persistence=False)), Page(100, has_colour=False)))

    assert text[0] == "unfit (1)"
    assert text[1].startswith("  GPU persistence mode  off on GPU 0")
    assert text[2].strip() == "-> sudo nvidia-smi -pm 1"
    assert any(line.startswith("cannot be known here (1)") for line in text)


@pytest.mark.parametrize("width", [80, 200])
def test_words_fit_the_terminal_and_colours_say_no_more_than_they(width: int) -> None:
    found = findings(_on(persistence=False))

    plain = list(lines(found, Page(width, has_colour=False)))
    coloured = list(lines(found, Page(width, has_colour=True)))

    assert max(len(line) for line in plain if "->" not in line) <= min(width, 120)
    assert coloured != plain
    assert [re.sub(r"\x1b\[[0-9;]*m", "", line) for line in coloured] == plain


# ------------------------------------------------------------------ reading


@pytest.mark.parametrize(
    ("files", "found"),
    [
        ({"cpu.max": "max 100000"}, (True, None)),
        ({"cpu.max": "150000 100000"}, (True, 1.5)),
        ({"cpu.max": "400000 100000", "box/cpu.max": "200000 100000"}, (True, 2.0)),
        ({"cpu.max": "100000 100000", "box/cpu.max": "max 100000"}, (True, 1.0)),
        ({"cpu/cpu.cfs_quota_us": "50000", "cpu/cpu.cfs_period_us": "100000"}, (True, 0.5)),
        ({"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, (True, None)),
        ({}, (True, None)),
    ],
)
def test_the_containers_limit_is_the_lowest_of_its_groups(
    tmp_path: Path, files: dict[str, str], found: tuple[bool, float | None]
) -> None:
    root, own = tmp_path / "cgroup", tmp_path / "own"
    root.mkdir()
    own.write_text("0::/box\n")
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(f"{text}\n")

    assert quota_cores(root, own) == found
    assert quota_cores(tmp_path / "absent", own) == (False, None)


def test_this_machine_can_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, Card(processes=[Process(1, "other", busy=1)]))
    monkeypatch.setattr(doctor_facts, "LOOK_S", 0.01)

    found = read_facts(tmp_path / "not" / "there")

    assert found.cpu.cores
    assert found.clock.call_s > 0
    assert found.cache_free_bytes
    assert [one.uuid for one in found.now] == [OWN]
    assert _found(found, "GPU processes").fitness is Fitness.UNFIT


def test_the_command_exits_with_1_where_something_is_unfit(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(doctor_facts, "read_facts", lambda _: FIT)
    assert main(["doctor"]) == 0

    monkeypatch.setattr(doctor_facts, "read_facts", lambda _: _on(persistence=False))
    capsys.readouterr()
    assert main(["doctor", "--json"]) == 1
    told = json.loads(capsys.readouterr().out)
    assert [one["topic"] for one in told["findings"] if one["fitness"] == "unfit"] == ["GPU persistence mode"]
    assert told["facts"]["gpus"]["seen"][0]["persistence"] is False


def test_the_extras_that_it_names_can_be_installed() -> None:
    project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text(encoding="utf-8"))["project"]

    assert set(doctor_facts.EXTRAS) <= set(project["optional-dependencies"])

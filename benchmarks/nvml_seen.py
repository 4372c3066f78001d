"""Everything that perfgate reads of the GPUs of this machine, as JSON: facts, state, a short sampling, findings.

    python benchmarks/nvml_seen.py [--seconds 5] [--command "python work.py"] > seen.json

With --command that program runs while the GPUs are sampled: the reading then says whether it is known as our own.
Whatever cannot be read is null, with NVML's reason beside it.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import subprocess
import sys
import time
import traceback
from collections.abc import Callable
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from perfgate.device import find_device
from perfgate.gpu.facts import settings
from perfgate.gpu.nvml import NoNvmlError, open_nvml
from perfgate.gpu.reading import read_gpus, read_now
from perfgate.gpu.visible import all_gpus, visible_gpus
from perfgate.record import encode

COUNTER_S = 1.0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=5.0, help="how long to sample, where no command is given")
    parser.add_argument("--command", default="", help="a program to run meanwhile")
    args = parser.parse_args()
    parts: dict[str, Callable[[], Any]] = {
        "visible": lambda: {name: os.environ.get(name) for name in ("CUDA_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER")},
        "device": find_device,
        "gpus": read_gpus,
        "settings": lambda: settings(read_gpus().seen),
        "now": _now,
        "counters": _counters,
        "sampled": lambda: _sampled(args.seconds, shlex.split(args.command)),
        "doctor": _doctor,
    }
    print(json.dumps({name: _plain(_tried(part)) for name, part in parts.items()}, indent=1))
    return 0


def _plain(record: Any) -> Any:
    return json.loads(encode(record))


def _tried(part: Callable[[], Any]) -> Any:
    """What a part tells, or how it failed: the others still count."""
    try:
        return part()
    except Exception:  # noqa: BLE001 - every failure on a new kind of machine is a finding
        return {"failed": traceback.format_exc().splitlines()[-4:]}


def _now() -> Any:
    """The state of every GPU, and why some of it is not told."""
    try:
        with open_nvml() as nvml:
            return [read_now(nvml, one, os.getpid()) for one in all_gpus(nvml)]
    except NoNvmlError as exc:
        return str(exc)


def _counters() -> Any:
    """How often the driver refreshes what it tells: distinct values a second, polled as fast as it answers."""
    names = {
        "energy": ("nvmlDeviceGetTotalEnergyConsumption",),
        "power": ("nvmlDeviceGetPowerUsage",),
        "sm clock": ("nvmlDeviceGetClockInfo", "NVML_CLOCK_SM"),
        "reasons": ("nvmlDeviceGetCurrentClocksEventReasons",),
        "temperature": ("nvmlDeviceGetTemperature", "NVML_TEMPERATURE_GPU"),
        "memory": ("nvmlDeviceGetMemoryInfo",),
        "utilization": ("nvmlDeviceGetUtilizationRates",),
        "processes": ("nvmlDeviceGetComputeRunningProcesses",),
    }
    try:
        with open_nvml() as nvml:
            gpu = visible_gpus(all_gpus(nvml), os.environ)[0].parent
            return {
                name: _polled(partial(nvml.ask, query, gpu, *map(nvml.constant, more)))
                for name, (query, *more) in names.items()
            }
    except NoNvmlError as exc:
        return str(exc)


def _polled(ask: Callable[[], Any]) -> dict[str, float]:
    begin, cpu, seen, calls, changes = time.perf_counter(), time.process_time(), None, 0, 0
    while time.perf_counter() < begin + COUNTER_S:
        value = str(ask())
        calls, changes, seen = calls + 1, changes + (value != seen), value
    took, used = time.perf_counter() - begin, time.process_time() - cpu
    return {"calls_per_s": calls / took, "changes_per_s": changes / took, "cpu_us_per_call": 1e6 * used / calls}


def _sampled(seconds: float, command: list[str]) -> Any:
    from perfgate.gpu.watch import watching

    device = find_device()
    with TemporaryDirectory() as folder:
        with watching(Path(folder), "seen", device.gpus) as watch:
            begin = time.perf_counter()
            code = subprocess.run(command, stdout=sys.stderr, check=False).returncode if command else None
            time.sleep(0.0 if command else seconds)
            end = time.perf_counter()
        return {"begin_s": begin, "end_s": end, "code": code, "samples": watch.samples, "seen": watch.seen(begin, end)}


def _doctor() -> Any:
    from perfgate.doctor import findings
    from perfgate.doctor_facts import read_facts

    facts = read_facts(Path(".perfgate"))
    return {"facts": facts, "findings": findings(facts)}


if __name__ == "__main__":
    sys.exit(main())

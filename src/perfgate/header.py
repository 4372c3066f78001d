"""The first lines of a gate: what is measured, on which device, with which engines, against which baseline."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path

from perfgate.accepting import shown
from perfgate.baselines import Baseline
from perfgate.case import EngineSpec
from perfgate.device import Device
from perfgate.engines import backend
from perfgate.plan import Options, Plan
from perfgate.report.figures import count
from perfgate.suite import Suite
from perfgate.telemetry import clock_mhz
from perfgate.terminal import clock

_SHORT = 10  # digits of a baseline's id


def header_lines(plan: Plan, suite: Suite, options: Options, machine: Mapping[str, str] | None = None) -> list[str]:
    """Lines for people, each after 'perfgate: '. machine: what hooks add."""
    planted = options.plant.words
    measured = set(plan.engines)
    specs = [spec for spec in suite.engines if spec.name in measured]
    told = [
        f"suite {suite.name}, {len(plan.cases)} cases ({_skips(plan)} skipped), policy {options.policy}",
        device_line(plan.device, machine or {}),
        *([f"engines {line}"] if (line := engines_line(specs)) else []),
        baseline_line(plan.baseline),
        _work(plan),
        *([f"PLANTED REGRESSION: {', '.join(planted)}"] if planted else []),
    ]
    return [f"perfgate: {line}" for line in told]


def _work(plan: Plan) -> str:
    guess = " (a guess: nothing was measured here yet)" if plan.is_guess else ""
    engines, rounds = count(len(plan.engines), "engine"), count(plan.rounds, "round")
    return f"{engines} x {rounds}, about {clock(plan.estimate_s)} of measuring{guess}"


def _skips(plan: Plan) -> int:
    return sum(case.skip is not None for case in plan.cases)


def device_line(device: Device, machine: Mapping[str, str]) -> str:
    """'device cpu/x86_64-avx512 (AMD EPYC ...), 3,400 MHz now'."""
    more = [
        *([f"driver {device.driver}"] if device.driver else []),
        _clocks(device),
        *(f"{name} {value}" for name, value in machine.items()),
    ]
    return ", ".join([f"device {device.key} ({device.product})", *more])


def _clocks(device: Device) -> str:
    """Of a CPU as it is now; of GPUs how far they may go, as they are set: rounds tell what they ran at."""
    if not device.is_gpu:
        mhz = clock_mhz()
        return f"{mhz:,.0f} MHz now" if mhz else "clock not told"
    asked = {(one.app_sm_mhz or one.sm_max_mhz, one.app_mem_mhz or one.mem_max_mhz) for one in device.gpus}
    told = [
        f"SM clock up to {sm:,} MHz, memory {memory:,} MHz" for sm, memory in sorted(asked, key=str) if sm and memory
    ]
    return " or ".join(told) or "clocks not told"


def engines_line(specs: Sequence[EngineSpec]) -> str:
    """'openvino 2026.4.1, openvino-genai 2026.4.1.0': what the backends of these engines say of themselves."""
    versions = {name: version for kind in {spec.backend for spec in specs} for name, version in _versions(kind).items()}
    return ", ".join(f"{name} {versions[name]}" for name in sorted(versions))


def _versions(kind: str) -> Mapping[str, str]:
    return backend(kind).versions()


def baseline_line(stored: tuple[Path, Baseline] | None) -> str:
    """Which baseline, and the id that its file's contents have: two runs with one id were judged against the same."""
    if stored is None:
        return "no baseline on this device yet"
    path, baseline = stored
    made = baseline.provenance
    commit = f" at {made.commit}" if made.commit else ""
    return f"baseline {baseline_id(path)} of {made.accepted[:10]}{commit}: {shown(path)}"


def baseline_id(path: Path) -> str:
    """The first digits of the SHA-256 of the file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()[:_SHORT]

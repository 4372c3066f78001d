"""The measured limits of this machine's CPU and GPU as JSON: copy bandwidth and matrix rates, with their spread.

    python benchmarks/roofline_probe.py [--unit gpu] [--times 3] [--figure 0.8s] > limits.json

Each probe is a process of its own, as in a gate; with --times each is made so often, to see how far processes differ.
Bandwidth is in GB/s (bytes read plus bytes written), matrix rates in TFLOP/s. Needs numpy for the CPU and torch for
the GPU; what cannot be measured is in the JSON with its reason, and the exit code is 1 where nothing was measured.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "src"))  # also where perfgate is not installed

from perfgate.ceiling_probe import FIGURE_S, Probed, ProbeJob, Unit
from perfgate.ceilings import probe
from perfgate.device import find_device
from perfgate.errors import PerfgateError
from perfgate.record import now
from perfgate.roofline import Rate
from perfgate.schema import parse_duration

GIGA, TERA = 1e9, 1e12


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--unit", choices=[*Unit], help="only this one (default: both)")
    parser.add_argument("--times", type=int, default=3, help="processes for each unit (default: 3)")
    parser.add_argument("--figure", type=_seconds, default=FIGURE_S, help="time for each figure, such as 0.8s")
    args = parser.parse_args()
    units = [Unit(args.unit)] if args.unit else list(Unit)
    found = {unit.value: _measured(unit, args.times, args.figure) for unit in units}
    device = asdict(find_device())
    print(json.dumps({"measured": now(), "device": device, **found}, indent=1))
    return int(not any(one["probes"] for one in found.values()))


def _seconds(text: str) -> float:
    seconds = parse_duration(text)
    if seconds is None:
        raise argparse.ArgumentTypeError(f"found '{text}', expected a duration such as 800ms or 2s")
    return seconds


def _measured(unit: Unit, times: int, figure_s: float) -> dict[str, Any]:
    """Every probe's figures, the middle of their medians, or why there are none."""
    probes: list[dict[str, Any]] = []
    faults: list[str] = []
    for _ in range(times):
        begin = time.perf_counter()
        try:
            with tempfile.TemporaryDirectory() as folder:
                found = probe(ProbeJob(unit, figure_s=figure_s), Path(folder))
        except PerfgateError as exc:
            faults.append(str(exc))
            continue
        if found.copy is None:
            faults += list(found.untold.values())
            break
        probes.append(_shown(found) | {"seconds": round(time.perf_counter() - begin, 2)})
    return {"probes": probes, "faults": faults, "middle": _middle(probes)}


def _shown(found: Probed) -> dict[str, Any]:
    assert found.copy is not None
    return {
        "product": found.product,
        "versions": dict(found.versions),
        "cache_bytes": found.cache_bytes,
        "copy_gb_per_s": _rate(found.copy, GIGA),
        "matrix_tflops": {name: _rate(rate, TERA) for name, rate in found.matrix.items()},
        "foreign_cpu_share": round(found.foreign_share, 4),
        "untold": dict(found.untold),
    }


def _rate(rate: Rate, scale: float) -> dict[str, float]:
    return {
        "median": round(rate.median / scale, 4),
        "low": round(rate.low / scale, 4),
        "high": round(rate.high / scale, 4),
        "repeats": rate.repeats,
        "spread": round(rate.spread, 4),
    }


def _middle(probes: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Of each figure the middle one of all processes' medians, and how far the processes lie apart."""
    if not probes:
        return {}
    names = probes[0]["matrix_tflops"]
    series = {"copy_gb_per_s": [one["copy_gb_per_s"]["median"] for one in probes]}
    for name in names:
        series[f"{name}_tflops"] = [
            one["matrix_tflops"][name]["median"] for one in probes if name in one["matrix_tflops"]
        ]
    return {
        name: {
            "median": sorted(values)[len(values) // 2],
            "apart": round((max(values) - min(values)) / max(values), 4),
        }
        for name, values in series.items()
    }


if __name__ == "__main__":
    sys.exit(main())

"""What sampling the GPUs costs, by its period: CPU of the sampling process, and how long one look takes.

    python benchmarks/telemetry_cost.py [--seconds 10] [--double N] [--json]

Without a GPU, `--double N` samples N GPUs of the double in tests/doubles: the cost of our own code without NVML's.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from perfgate.gpu.facts import Gpu
from perfgate.gpu.reading import read_gpus
from perfgate.gpu.sample import Samples
from perfgate.gpu.watch import watching

PERIODS_S = (0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
DOUBLES = Path(__file__).resolve().parent.parent / "tests" / "doubles"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=10.0, help="for each period")
    parser.add_argument("--double", type=int, default=0, metavar="N", help="N GPUs that are not there")
    parser.add_argument("--json", action="store_true", help="the figures for machines")
    args = parser.parse_args()
    with TemporaryDirectory() as folder:
        if args.double:
            _pretend(Path(folder), args.double)
        found = read_gpus()
        if not found.seen:
            print(f"no GPU here: {found.fault or 'none is visible'}; --double 1 measures our own part", file=sys.stderr)
            return 1
        rows = [_measured(Path(folder), found.seen, period_s, args.seconds) for period_s in PERIODS_S]
    if args.json:
        print(json.dumps({"gpus": [gpu.name for gpu in found.seen], "driver": found.driver, "rows": rows}, indent=1))
        return 0
    print(f"{len(found.seen)} x {found.seen[0].name}, driver {found.driver}, {args.seconds:g} s each\n")
    print("| period ms | looks | CPU share of a core | CPU us a look | look mean ms | look most ms | gaps |")
    print("|--|--|--|--|--|--|--|")
    for row in rows:
        print(
            "| {period_ms:.0f} | {looks} | {share:.3%} | {us:.0f} | {mean_ms:.2f} | {most_ms:.2f} | {gaps} |".format(
                **row
            )
        )
    return 0


def _pretend(folder: Path, gpus: int) -> None:
    sys.path.insert(0, str(DOUBLES))
    double: Any = importlib.import_module("pynvml_double")

    cards = [double.Card(uuid=f"GPU-double-{number}", processes=[double.Process(1)]) for number in range(gpus)]
    os.environ.update(double.install(folder / "double", double.Machine(cards)))
    sys.modules["pynvml"] = double.as_module()


def _measured(folder: Path, gpus: Sequence[Gpu], period_s: float, seconds: float) -> dict[str, float]:
    with watching(folder, "cost", gpus, period_s=period_s) as watch:
        begin = time.perf_counter()
        time.sleep(seconds)
        end = time.perf_counter()
    return _row(watch.samples, watch.seen(begin, end)[0].gaps)


def _row(samples: Samples, gaps: int) -> dict[str, float]:
    cost = samples.sampling
    if cost is None:
        raise SystemExit(f"the sampling process failed: {samples.fault}")
    return {
        "period_ms": cost.period_s * 1e3,
        "looks": cost.ticks,
        "share": cost.cpu_share,
        "us": 1e6 * cost.cpu_s / max(cost.ticks, 1),
        "mean_ms": cost.tick_mean_s * 1e3,
        "most_ms": cost.tick_most_s * 1e3,
        "gaps": gaps,
        **{f"sampling_{name}": value for name, value in asdict(cost).items() if name != "cpus"},
    }


if __name__ == "__main__":
    sys.exit(main())

"""How long judging takes: 60 metrics of 20 cases, and 10,000 metrics with 1,000 stored rounds each.

python benchmarks/judging.py
"""

from __future__ import annotations

import resource
import statistics
import time

import numpy as np

from perfgate.baselines import Baseline, BaselineCase, Provenance, Series
from perfgate.judge import judge
from perfgate.metrics import CATALOGUE
from perfgate.record import CaseInfo, CaseRound, Environment, Round, Run, Side
from perfgate.terms import Gate

METRICS = ("ttft_p50", "tpot_p50", "output_tokens_per_s")


def world(cases: int, sessions: int, rounds: int) -> tuple[Run, Baseline]:
    """A run of three candidate rounds and a baseline of `sessions` x `rounds`, 2 % noise."""
    rng = np.random.default_rng(1)
    infos = tuple(CaseInfo(f"e{i}-w", f"e{i}", "latency", "h") for i in range(cases))
    measured = []
    for index in range(3):
        for info in infos:
            values = dict(zip(METRICS, rng.lognormal(0, 0.02, 3).tolist(), strict=True))
            measured.append(Round(info.engine, Side.CANDIDATE, index, "", 1.0, (CaseRound(info.id, values),)))
    stored = {}
    for info in infos:
        draws = rng.lognormal(0, 0.02, (3, sessions, rounds)).tolist()
        series = {name: Series("s", tuple(map(tuple, rows))) for name, rows in zip(METRICS, draws, strict=True)}
        stored[info.id] = BaselineCase("h", "k", series)
    run = Run("s", "", Environment("cpu/x", "", {}, ""), infos, (), tuple(measured))
    return run, Baseline("s", "cpu/x", Provenance("", "", "", {}, ""), stored)


def main() -> None:
    gate = Gate(tuple(CATALOGUE[name] for name in METRICS))
    for label, shape, repeats in (
        ("60 metrics, 5 stored rounds", (20, 1, 5), 15),
        ("10,000 metrics, 1,000 stored rounds", (3334, 100, 10), 1),
    ):
        run, baseline = world(*shape)
        times = []
        for _ in range(repeats):
            begin = time.perf_counter()
            judge(run, baseline, gate)
            times.append(time.perf_counter() - begin)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
        middle, low, high = (1e3 * number for number in (statistics.median(times), min(times), max(times)))
        print(f"{label:<40} {middle:9.1f} ms ({low:.1f} to {high:.1f}), peak {peak:.2f} GB")


if __name__ == "__main__":
    main()

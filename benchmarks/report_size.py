"""How large report.html is and how long it takes to write: 200 cases with samples, stored rounds and history.

Once as an engine on a CPU leaves it, and once with all that a page can have: the GPUs' course over every round, the
device's limits, quality, claims, and rounds that do not count.

python benchmarks/report_size.py [--keep FOLDER]
"""

from __future__ import annotations

import argparse
import resource
import statistics
import time
from dataclasses import replace
from pathlib import Path

import numpy as np

from perfgate.claim import shipped_claims
from perfgate.claim_findings import Finding
from perfgate.claim_findings import Standing as ClaimStanding
from perfgate.claim_pairs import ClaimCase
from perfgate.comparison import BaselineInfo, CaseVerdict, Comparison
from perfgate.distances import with_shares
from perfgate.fault_kinds import ProcessFault
from perfgate.floats import Floats
from perfgate.gpu.sample import Region
from perfgate.gpu.seen import GpuRound, GpuSeen
from perfgate.gpu.trace import MOST_POINTS, GpuTrace, Trace
from perfgate.measured import Point
from perfgate.metrics import CATALOGUE, Better
from perfgate.quality import QualityLine, Standing
from perfgate.record import CaseInfo, CaseRound, Environment, Host, PreparedInfo, Round, Run, Side
from perfgate.report import Behind
from perfgate.report.html import render_html
from perfgate.roofline import Ceilings, Demand, Limits, Rate, Work
from perfgate.verdict import MetricVerdict, Verdict, worst
from perfgate.versus import Ratio

ENGINES, LOADS = 20, (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)
PAIRS, REQUESTS, TOKENS, SESSIONS = 6, 64, 48, 40
THREE = ("ttft_p50", "itl_p50", "output_tokens_per_s")
EIGHT = (*THREE, "ttft_p90", "tpot_p50", "itl_p90", "e2el_p50", "requests_per_s")
SLOWER = 0.12  # of every seventh engine under load
RNG = np.random.default_rng(7)


def world(names: tuple[str, ...]) -> tuple[Run, Comparison, Behind]:
    """Engines under growing load, two of them slower than before; 3 % noise."""
    infos = tuple(
        CaseInfo(
            f"llama8b-e{engine}-c{load}",
            f"llama8b-e{engine}",
            "latency",
            "0" * 16,
            concurrency=load,
            family=f"f{engine}",
        )
        for engine in range(ENGINES)
        for load in LOADS
    )
    cases = tuple(case(info, names) for info in infos)
    here = Environment("sm_90/h200-141gb", "NVIDIA H200", {"tensorrt-llm": "1.2.1", "driver": "570.86"}, "0b1c2d3e")
    base = BaselineInfo("baselines/b.json", "2026-01-14", "NVIDIA H200", {"tensorrt-llm": "1.2.0"}, "a9b8c7d6")
    prepared = tuple(
        PreparedInfo(f"llama8b-e{i}", "k", i % 2 == 0, {"convert": 40.0 + i, "build": 200.0 + 9 * i}, 9**11, {})
        for i in range(ENGINES)
    )
    run = Run("serving", "2026-02-03T04:05:06+00:00", here, infos, prepared, tuple(rounds(cases)))
    made = Comparison("serving", run.started, 3192.4, "ci", here, base, cases, 0.005, 0.004, len(run.rounds))
    return run, made, behind(cases)


def case(info: CaseInfo, names: tuple[str, ...]) -> CaseVerdict:
    metrics = tuple(verdict(info, name) for name in names)
    gravest = worst(one.verdict for one in metrics)
    return CaseVerdict(info, gravest, "failed" if gravest is Verdict.REGRESSED else "passed", metrics)


def verdict(info: CaseInfo, name: str) -> MetricVerdict:
    known, load = CATALOGUE[name], info.concurrency or 1
    level = 0.008 * (1 + load / 64) if known.better is Better.LOWER else 120 * load / (1 + load / 64)
    is_slow = int(info.engine.rpartition("e")[2]) % 7 == 3 and load > 32
    change = SLOWER if is_slow else float(RNG.normal(0, 0.01))
    now = level * (1 + change) if known.better is Better.LOWER else level / (1 + change)
    return MetricVerdict(
        info.id, name, Verdict.REGRESSED if is_slow else Verdict.OK,
        "worse than the 2.0% margin against 6 fresh baseline rounds" if is_slow else "a worsening of 5% is ruled out",
        known.unit, known.better, known.margin, known.detect, level, now, change, change - 0.02, change + 0.02,
        51234.0 if is_slow else 0.02, 700.0, 0.052, None, 9, PAIRS, PAIRS,
    )  # fmt: skip


def rounds(cases: tuple[CaseVerdict, ...]) -> list[Round]:
    pool = [samples() for _ in range(40)]
    made = []
    for index in range(2 * PAIRS):
        side = (Side.BASELINE, Side.CANDIDATE)[(index + index // 2) % 2]
        for engine in range(ENGINES):
            mine = cases[engine * len(LOADS) : (engine + 1) * len(LOADS)]
            measured = tuple(CaseRound(one.case.id, values(one, side), pool[RNG.integers(40)]) for one in mine)
            started = f"2026-02-03T04:{5 + index:02d}:{2 * engine:02d}+00:00"
            host = Host(float(RNG.exponential(0.02)), 0.0, float(RNG.normal(1980, 5)))
            made.append(Round(f"llama8b-e{engine}", side, index, started, 12.0, measured, host))
    return made


def values(one: CaseVerdict, side: Side) -> dict[str, float]:
    levels = {m.metric: m.candidate if side is Side.CANDIDATE else m.baseline for m in one.metrics}
    return {name: float((level or 0.0) * RNG.lognormal(0, 0.03)) for name, level in levels.items()}


def samples() -> dict[str, Floats]:
    spread = {"ttft": REQUESTS, "itl": REQUESTS * (TOKENS - 1), "tpot": REQUESTS, "e2el": REQUESTS}
    return {name: Floats(RNG.lognormal(-4.6, 0.3, count).tolist()) for name, count in spread.items()}


Everything = tuple[Run, Comparison, Behind, tuple[Finding, ...]]


def with_everything(run: Run, made: Comparison, told: Behind) -> Everything:
    """The same on two GPUs: each round with its trace, a tenth of them throttled, limits, quality and claims."""
    matrix = {"bf16": _rate(6.9e14), "fp8": _rate(1.3e15)}
    ceilings = Ceilings(made.environment.device, "NVIDIA H200", {"torch": "2.8"}, run.started, _rate(4e12), matrix)
    demands = {one.id: _demand(one.concurrency or 1) for one in run.cases}
    limits = Limits(ceilings, demands)
    measured = replace(run, rounds=tuple(with_shares(on_gpus(one), limits) for one in run.rounds), limits=limits)
    lines = tuple(
        QualityLine(one.id, one.engine, Standing.WITHIN, "llama8b-e0", 5.4, 0.8, 40, 20285, 0.004, 0.001, 0.007, 0.01)
        for one in run.cases[:: len(LOADS)]
    )
    found = tuple(
        Finding(ClaimCase(claim, check), ClaimStanding.HOLDS, Ratio(1.4, 1.3, 1.5), "6 rounds a side")
        for claim in shipped_claims()
        for check in claim.checks
    )
    return measured, replace(made, quality=lines), told, found


def on_gpus(one: Round) -> Round:
    gpus = tuple(
        GpuTrace(
            tuple(RNG.integers(450, 700, MOST_POINTS).tolist()),
            tuple((1980 - 15 * RNG.integers(0, 20, MOST_POINTS)).tolist()),
            tuple(RNG.integers(80, 100, MOST_POINTS).tolist()),
            tuple(RNG.integers(50, 80, MOST_POINTS).tolist()),
            tuple(RNG.integers(120_000, 130_000, MOST_POINTS).tolist()),
            (7, 8),
        )
        for _ in range(2)
    )
    timed = tuple(Region(2.0 + at, 2.8 + at) for at in range(10))
    seen = tuple(GpuSeen(name, 100, reasons={"power cap": 0.6}, temperature_most_c=80.0) for name in "ab")
    kept = replace(one, gpu=GpuRound(seen, trace=Trace(12.0, timed, gpus)))
    if one.index % 10 != 1 or not one.engine.endswith("3"):
        return kept
    return replace(kept, fault="the engine's GPU 0 throttled while it was timed", fault_kind=ProcessFault.DISTURBED)


def _rate(value: float) -> Rate:
    return Rate(value, value * 0.98, value * 1.02, 10)


def _demand(load: int) -> Demand:
    return Demand(("bf16",), Work(1.6e10 + load * 1e8, 1.6e10 * load), Work(1.6e10, 2e12))


def behind(cases: tuple[CaseVerdict, ...]) -> Behind:
    stored, trails = {}, {}
    for one in cases:
        for m in one.metrics:
            levels = (m.baseline or 0.0) * RNG.lognormal(0, 0.02, SESSIONS)
            stored[m.case, m.metric] = tuple(((m.baseline or 0.0) * RNG.lognormal(0, 0.03, 10)).tolist())
            trails[m.case, m.metric] = tuple(
                Point(f"r{i}", f"2026-01-{1 + i % 28:02d}T00:00:00+00:00", f"{i:07x}", "k", float(level))
                for i, level in enumerate(levels)
            )
    return Behind(stored, trails)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--keep", type=Path, help="folder to leave the pages in")
    keep = parser.parse_args().keep
    for names, has_all in ((THREE, False), (EIGHT, False), (EIGHT, True)):
        made: Everything = (*world(names), ())
        made = with_everything(*made[:3]) if has_all else made
        times, used, page = [], [], ""
        for _ in range(7):
            begin, begin_cpu = time.perf_counter(), time.process_time()
            page = render_html(*made)
            times.append(time.perf_counter() - begin)
            used.append(time.process_time() - begin_cpu)
        label = f"{ENGINES * len(LOADS)} cases, {len(names)} gated metrics each{', all parts' if has_all else ''}"
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
        print(
            f"{label:<48} {len(page.encode()):>9,} bytes, {statistics.median(times):.2f} s "
            f"({min(times):.2f} to {max(times):.2f}), {statistics.median(used):.2f} s of CPU, peak {peak:.2f} GB"
        )
        if keep:
            (keep / f"report-{len(names)}{'-all' if has_all else ''}.html").write_text(page)


if __name__ == "__main__":
    main()

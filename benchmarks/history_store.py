"""How long the history takes: adding runs and asking what is known, 10,000 metrics of 1,000 rounds each.

And what it adds to a gate of 60 metrics: recalling its past, the signals of its trails, and judging beside it.

python benchmarks/history_store.py [--cases 3334] [--sessions 100] [--rounds 10] [--gates 200]
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from pathlib import Path

import numpy as np

from perfgate.baselines import Baseline, BaselineCase, Provenance
from perfgate.history import History
from perfgate.judge import judge
from perfgate.metrics import CATALOGUE
from perfgate.recall import recall
from perfgate.record import CaseInfo, CaseRound, Environment, PreparedInfo, Round, Run, Side
from perfgate.signals import signals_of
from perfgate.terms import Gate

METRICS = ("ttft_p50", "tpot_p50", "output_tokens_per_s")


def one_run(rng: np.random.Generator, day: int, cases: int, rounds: int) -> Run:
    """Rounds of one engine that measures every case, 2 % noise."""
    draws = rng.lognormal(0, 0.02, (rounds, cases, len(METRICS))).tolist()
    measured = tuple(
        Round("e", Side.CANDIDATE, index, "", 1.0, tuple(
            CaseRound(f"e-w{i}", dict(zip(METRICS, row, strict=True))) for i, row in enumerate(rows)
        ))
        for index, rows in enumerate(draws)
    )  # fmt: skip
    infos = tuple(CaseInfo(f"e-w{i}", "e", "latency", "h") for i in range(cases))
    made = Environment("cpu/x", "x", {}, "c")
    return Run("s", f"2026-{day:05}", made, infos, (PreparedInfo("e", "k", True, {}, 0, {}),), measured)


def one_gate(rng: np.random.Generator, day: int, engines: int = 10, workloads: int = 2) -> Run:
    """BAAB BAAB of every engine, 60 metrics, 2 % noise."""
    sides = (Side.BASELINE, Side.CANDIDATE, Side.CANDIDATE, Side.BASELINE) * 2
    draws = rng.lognormal(0, 0.02, (engines, len(sides), workloads, len(METRICS))).tolist()
    rounds = tuple(
        Round(f"e{e}", side, index, "", 1.0, tuple(
            CaseRound(f"e{e}-w{w}", dict(zip(METRICS, row, strict=True))) for w, row in enumerate(draws[e][index])
        ))
        for e in range(engines) for index, side in enumerate(sides)
    )  # fmt: skip
    infos = tuple(CaseInfo(f"e{e}-w{w}", f"e{e}", "latency", "h") for e in range(engines) for w in range(workloads))
    prepared = tuple(PreparedInfo(f"e{e}", f"k{day}", True, {}, 0, {}) for e in range(engines))
    return Run("s", f"2026-{day:05}", Environment("cpu/x", "x", {}, "c"), infos, prepared, rounds)


def watch_gates(rng: np.random.Generator, gates: int) -> None:
    """Fill a history with gates, then time what the next one asks of it."""
    now = one_gate(rng, gates)
    stored = {case.id: BaselineCase("h", "pin", {}) for case in now.cases}
    keys = dict.fromkeys(stored, "pin")
    baseline = Baseline("s", "cpu/x", Provenance("", "", "", {}, ""), stored)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "history.sqlite"
        with History(path) as history:
            for day in range(gates):
                history.add(one_gate(rng, day), keys)
        begin = time.perf_counter()
        past = recall(path, now, (path, baseline))
        recalled = time.perf_counter()
        found = signals_of(now, [CATALOGUE[name] for name in METRICS], past, keys)
        watched = time.perf_counter()
        judge(now, baseline, Gate(tuple(CATALOGUE[name] for name in METRICS)), past.known)
        judged = time.perf_counter()
    print(f"a gate of {len(past.known)} metrics after {gates} others: recalled in {recalled - begin:.2f} s, ", end="")
    print(f"watched in {watched - recalled:.2f} s ({len(found)} signals), ", end="")
    print(f"judged in {judged - watched:.2f} s")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=3334)
    parser.add_argument("--sessions", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--gates", type=int, default=200)
    args = parser.parse_args()
    rng, added = np.random.default_rng(1), []
    with tempfile.TemporaryDirectory() as folder, History(Path(folder) / "history.sqlite") as history:
        for day in range(args.sessions):
            run = one_run(rng, day, args.cases, args.rounds)
            begin = time.perf_counter()
            history.add(run, {})
            added.append(time.perf_counter() - begin)
        begin = time.perf_counter()
        known = history.known("s", "cpu/x", {f"e-w{i}": ("h", "k") for i in range(args.cases)})
        asked = time.perf_counter() - begin
        size = sum(file.stat().st_size for file in Path(folder).iterdir()) / 1e6
    values = sum(len(rounds) for sessions in known.values() for rounds in sessions.values)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    print(f"{len(known)} metrics, {values} values, file {size:.0f} MB")
    print(f"add: {np.median(added):.2f} s a run ({min(added):.2f} to {max(added):.2f})")
    print(f"known: {asked:.2f} s, peak {peak:.2f} GB")
    watch_gates(rng, args.gates)


if __name__ == "__main__":
    main()

"""How long the history takes: adding runs and asking what is known, 10,000 metrics of 1,000 rounds each.

python benchmarks/history_store.py [--cases 3334] [--sessions 100] [--rounds 10]
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from pathlib import Path

import numpy as np

from perfgate.history import History
from perfgate.record import CaseInfo, CaseRound, Environment, PreparedInfo, Round, Run, Side

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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=3334)
    parser.add_argument("--sessions", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=10)
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


if __name__ == "__main__":
    main()

"""Error rates on simulated pairs (`pairing: interleaved`): false alarms, slowdowns found, called ok, pairs needed.

    python benchmarks/error_rates.py [--metrics 30000]

A gate of 54 tests at alpha 0.5 % (a metric may alarm with probability 9.3e-5), margin 5 %, detect 10 %,
3 to 12 pairs, stated spread of a pair's difference 5 %, five stored rounds. Normal noise, and Student
noise with 3 degrees of freedom of the same variance. Seeds are fixed.
"""

from __future__ import annotations

import argparse
import math
from dataclasses import dataclass

import numpy as np

from perfgate.evidence import weigh
from perfgate.noise import Store, store_of_pairs
from perfgate.noisy import EDGE, LEAN, ROBUST_SLACK, modes_apart
from perfgate.terms import Noise

TESTS, ALPHA, BETA, MARGIN, DETECT, FIRST, MOST, PAIR_SD = 54, 0.005, 0.004, 0.05, 0.10, 3, 12, 0.05
STORED = 5


@dataclass(frozen=True)
class Rates:
    """Shares of metrics, and pairs on average."""

    red: float
    ok: float
    pairs: float


def simulate(change: float, sd: float, metrics: int, *, heavy: bool, seed: int) -> Rates:
    """Sequential gates on `metrics` independent metrics whose candidate is slower by `change`."""
    rng = np.random.default_rng(seed)
    shape = (metrics, MOST)
    noise = rng.standard_t(3, shape) / math.sqrt(3) if heavy else rng.standard_normal(shape)
    differences = math.log1p(change) + sd * noise
    red, fine, pairs = np.zeros(metrics, bool), np.zeros(metrics, bool), np.full(metrics, MOST)
    for n in range(FIRST, MOST + 1):
        open_ = np.flatnonzero(~(red | fine))
        found = weigh(_prior(len(open_)), np.empty((len(open_), 0)), differences[open_, :n], *_limits(len(open_)))
        bar = math.log(TESTS / ALPHA)
        hidden = modes_apart(STORED + n, n, Noise().two_modes)
        is_red = (
            (np.minimum(found.worse, hidden) >= bar)
            & (found.worse_robust >= bar - ROBUST_SLACK)
            & (found.beyond >= EDGE)
        )
        is_fine = ~is_red & (found.fine >= math.log(2 / BETA)) & (found.beyond < LEAN)
        red[open_[is_red]], fine[open_[is_fine]] = True, True
        pairs[open_[is_red | is_fine]] = n
    return Rates(float(red.mean()), float(fine.mean()), float(pairs.mean()))


def _prior(count: int) -> Store:
    return store_of_pairs(count, Noise(pair_sd=PAIR_SD))


def _limits(count: int) -> tuple[np.ndarray, np.ndarray]:
    return np.full(count, math.log1p(MARGIN)), np.full(count, math.log1p(DETECT))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--metrics", type=int, default=30_000, help="simulated metrics per line")
    metrics = parser.parse_args().metrics
    print(f"{'true change':>11}  {'pair sd':>7}  {'noise':<8}  {'red':>9}  {'ok':>8}  {'pairs':>5}")
    for change, sds in ((0.0, (0.02, 0.05, 0.10, 0.25)), (0.10, (0.02, 0.03, 0.05)), (0.20, (0.03, 0.05, 0.08))):
        for sd in sds:
            for heavy in (False, True):
                rates = simulate(change, sd, metrics, heavy=heavy, seed=1)
                name = "student3" if heavy else "normal"
                print(
                    f"{change:>11.0%}  {sd:>7.0%}  {name:<8}  {rates.red:>9.5f}  {rates.ok:>8.4f}  {rates.pairs:>5.1f}"
                )


if __name__ == "__main__":
    main()
